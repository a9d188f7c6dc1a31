"""Everything that `make bench` measures, and one table of it at the end.

Usage: run.py RELEASE_DIR MOTO_SERVER

The measurements print a line `bench<TAB>what<TAB>unit<TAB>peer<TAB>its value<TAB>ours<TAB>goal`
each, where the peer may be empty and the goal is `<= 3`, `>= 5`, `ratio <= 1.15` (ours to the
peer's) or empty; what else they print is passed on. They are numbers, not verdicts: a busy machine
measures itself, so a goal that is missed does not fail the run. A measurement that fails does.
"""

import operator
import pathlib
import subprocess
import sys

CARGO = ["cargo", "test", "--quiet", "--locked"]
IGNORED = ["--", "--ignored", "--nocapture", "--test-threads", "1"]


def commands(release, moto):
    """What is run, in order."""
    here = pathlib.Path(__file__).parent
    return [
        [*CARGO, "-p", "hedgerow-datapath", "--lib", "bench", *IGNORED],
        [*CARGO, "--release", "-p", "hedgerow-vpc", "--test", "bench", *IGNORED],
        [sys.executable, str(here / "api.py"), release, moto],
    ]


def run(command):
    """The lines for the table that a command prints, and whether it succeeded."""
    rows = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            # The test harness leaves its dots before it.
            other, mark, row = line.partition("bench\t")
            if mark:
                rows.append(row.rstrip("\n").split("\t"))
            elif other.strip():
                print(other, end="", flush=True)
    return rows, process.returncode == 0


def number(value):
    """With as many digits as say something."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def reached(goal, ours, ratio):
    """Whether the goal is reached; empty where there is none."""
    if not goal:
        return ""
    relative = goal.startswith("ratio ")
    sign, limit = goal.removeprefix("ratio ").split()
    compare = {"<=": operator.le, ">=": operator.ge}[sign]
    return "reached" if compare(ratio if relative else ours, float(limit)) else "MISSED"


def cells(row):
    """A line for the table as its columns."""
    what, unit, peer, theirs, ours, goal = row
    ours, ratio = float(ours), None
    if theirs:
        ratio = ours / float(theirs)
        peer = f"{peer} {number(float(theirs))}"
    shown = "" if ratio is None else f"{ratio:.2f}"
    return what, unit, peer, number(ours), shown, goal, reached(goal, ours, ratio)


def main():
    release, moto = sys.argv[1:]
    rows, failed = [], []
    for command in commands(release, moto):
        more, succeeded = run(command)
        rows += more
        if not succeeded:
            failed.append(" ".join(command))
    table = [("measurement", "unit", "peer", "ours", "ratio", "goal", ""), *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table)]
    print()
    for line in table:
        text = [cell.rjust(width) if 1 < at < 5 else cell.ljust(width)
                for at, (cell, width) in enumerate(zip(line, widths))]
        print("  ".join(text).rstrip())
    for command in failed:
        print(f"failed: {command}", file=sys.stderr)
    sys.exit(bool(failed))


main()
