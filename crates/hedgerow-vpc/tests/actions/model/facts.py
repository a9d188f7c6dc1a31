"""Writes facts.txt and answers.txt: what botocore's model of EC2 says of the actions that are built.

Names only: of each action's request members, down to the last one, of its filters, and of its
answer's elements. To be run when an action is added: `python3 facts.py`, where botocore is installed
or under the cache of the official AWS clients.
"""

import gzip
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
TABLE = HERE / "../../../src/api/table.rs"
FILTER = re.compile(r"<li>\s*<p>\s*<code>([^<]*)</code>")


def model():
    found = pathlib.Path("/var/cache/hedgerow/aws/lib").glob("*/site-packages/botocore")
    for root in [*map(pathlib.Path, sys.argv[1:]), *found]:
        path = root / "data/ec2/2016-11-15/service-2.json.gz"
        if path.exists():
            return json.loads(gzip.open(path).read())
    sys.exit("no botocore found: give its directory as the argument")


def wire_name(name, member):
    """As botocore's EC2 serializer writes the member."""
    if "queryName" in member:
        return member["queryName"]
    name = member.get("locationName", name)
    return name[0].upper() + name[1:]


def members(shapes, shape, prefix=""):
    for name, member in shapes[shape].get("members", {}).items():
        path = prefix + wire_name(name, member)
        inner = shapes[member["shape"]]
        while inner["type"] == "list":
            path += ".1"
            inner = shapes[inner["member"]["shape"]] | {"name": inner["member"]["shape"]}
        if inner["type"] == "structure":
            yield from members(shapes, inner.get("name", member["shape"]), path + ".")
        else:
            yield path


def filters(shapes, shape):
    for member in shapes[shape].get("members", {}).values():
        if member["shape"] == "FilterList":
            names = FILTER.findall(member.get("documentation", ""))
            return ["tag:KEY" if name.startswith("tag:") or name == "tag" else name for name in names]
    return []


def pages(shapes, shape):
    """How many results a page may have, where the model says so."""
    member = shapes[shape].get("members", {}).get("MaxResults")
    sizes = member and shapes[member["shape"]]
    if sizes and "max" in sizes:
        yield f"  pages {sizes['min']} {sizes['max']}\n"


def elements(shapes, shape, depth=1):
    """An answer's elements, one a line, indented by how deep they are."""
    inner = shapes[shape]
    if inner["type"] == "list":
        yield " " * depth + inner["member"].get("locationName", "member")
        yield from elements(shapes, inner["member"]["shape"], depth + 1)
    for name, member in sorted(inner.get("members", {}).items()):
        yield " " * depth + member.get("locationName", name)
        yield from elements(shapes, member["shape"], depth + 1)


def main():
    ec2 = model()
    facts, answers = ((HERE / name).open("w") for name in ("facts.txt", "answers.txt"))
    for action in sorted(re.findall(r"^    Ec2 (\w+)\(", TABLE.read_text(), re.MULTILINE)):
        operation = ec2["operations"].get(action)
        if operation is None:
            continue
        shape = operation["input"]["shape"]
        print(action, file=facts)
        for path in sorted(set(members(ec2["shapes"], shape))):
            print(f"  {path}", file=facts)
        print(*pages(ec2["shapes"], shape), sep="", end="", file=facts)
        for name in sorted(set(filters(ec2["shapes"], shape))):
            print(f"  filter {name}", file=facts)
        print(action, file=answers)
        if "output" in operation:
            print(*elements(ec2["shapes"], operation["output"]["shape"]), sep="\n", file=answers)


main()
