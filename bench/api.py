"""The EC2 API of hedgerow-vpc beside moto's server, by the same client in one run.

Usage: api.py RELEASE_DIR MOTO_SERVER

The client is `load` (crates/hedgerow-vpc/examples/load.rs): kept connections with one request in
flight on each, no botocore, answers read whole. It costs some microseconds per request, so that what
is measured is the servers. Each server gets the number of connections that suits it best, moto's
threads one as well; latencies are of a single connection. What the table gets is described in run.py.
"""

import http.client
import re
import socket
import subprocess
import sys
import time
import urllib.parse

SIGNED = ("AWS4-HMAC-SHA256 Credential=any/20260101/us-west-2/ec2/aws4_request, "
          "SignedHeaders=host, Signature=0")
# Connections at a time that are tried for the rate.
AT_A_TIME = [1, 4, 16]


def form(action, **parameters):
    """A request's body."""
    return urllib.parse.urlencode({"Action": action, "Version": "2016-11-15", **parameters})


class Server:
    """A server of the EC2 API on a port of its own, until the end of the block."""

    def __init__(self, load, port, command):
        self.load = load
        self.port = port
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        deadline = time.time() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return
            except OSError:
                if self.process.poll() is not None or time.time() > deadline:
                    self.process.kill()
                    raise
                time.sleep(0.1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def ask(self, action, **parameters):
        """The text of an answer."""
        headers = {"Authorization": SIGNED, "Content-Type": "application/x-www-form-urlencoded"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("POST", "/", form(action, **parameters), headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        assert response.status == 200, f"{action}: {text}"
        return text

    def make(self, element, action, **parameters):
        return re.search(f"<{element}>([^<]+)<", self.ask(action, **parameters)).group(1)

    def repeat(self, connections, count, action, **parameters):
        """Seconds that so many equal requests take, and milliseconds of the median one."""
        command = [self.load, f"127.0.0.1:{self.port}", str(connections), str(count),
                   form(action, **parameters)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds, median, _ = map(float, done.stdout.split())
        return seconds, median

    def memory(self):
        """Resident memory, MB."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) / 1e3


def subnets(server):
    """Subnets without end, of 16,379 addresses for interfaces each."""
    while True:
        vpc = server.make("vpcId", "CreateVpc", CidrBlock="10.0.0.0/16")
        for n in range(4):
            yield server.make("subnetId", "CreateSubnet", VpcId=vpc, CidrBlock=f"10.0.{64 * n}.0/18")


def measure(server, per_round, by_id_of):
    """Creations per second at best and how many at a time; ms of a describe of 500; ms of one by
    id among `by_id_of`; MB then."""
    places = subnets(server)
    rates, made = [], 0
    for at_a_time in AT_A_TIME:
        subnet = next(places)
        seconds, _ = server.repeat(at_a_time, per_round, "CreateNetworkInterface", SubnetId=subnet)
        rates.append((per_round / seconds, at_a_time))
        made += per_round
    listed = server.ask("DescribeNetworkInterfaces", **{
        "Filter.1.Name": "subnet-id", "Filter.1.Value.1": subnet})
    ids = re.findall("<networkInterfaceId>([^<]+)<", listed)
    assert len(ids) == per_round, len(ids)
    page = {f"NetworkInterfaceId.{n + 1}": id for n, id in enumerate(ids[:500])}
    assert server.ask("DescribeNetworkInterfaces", **page).count("<networkInterfaceId>") == 500
    _, describe = server.repeat(1, 30, "DescribeNetworkInterfaces", **page)
    while made < by_id_of:
        room = min(16_000, by_id_of - made)
        server.repeat(4, room, "CreateNetworkInterface", SubnetId=next(places))
        made += room
    one = {"NetworkInterfaceId.1": ids[len(ids) // 2]}
    _, by_id = server.repeat(1, 200, "DescribeNetworkInterfaces", **one)
    return max(rates), describe, by_id, server.memory()


def main():
    release, peer = sys.argv[1:]
    load, ours = f"{release}/examples/load", f"{release}/hedgerow-vpc"
    with Server(load, 14567, [peer, "-H", "127.0.0.1", "-p", "14567"]) as server:
        theirs = measure(server, 1_000, 3_000)
    with Server(load, 14566, [ours, "run", "--records-only", "--seed", "1", "--listen",
                              "127.0.0.1:14566"]) as server:
        own = measure(server, 10_000, 100_000)
    print(f"CreateNetworkInterface is fastest with {theirs[0][1]} connections at moto, "
          f"{own[0][1]} at hedgerow-vpc")
    for what, unit, value, goal in [
        ("CreateNetworkInterface", "1/s", lambda of: of[0][0], "ratio >= 50"),
        ("DescribeNetworkInterfaces of 500", "ms", lambda of: of[1], "<= 3"),
        ("one by id (moto: of 3,000; ours: of 100,000)", "ms", lambda of: of[2], "<= 1"),
    ]:
        print("bench", what, unit, "moto", value(theirs), value(own), goal, sep="\t")
    print("bench", "memory with 100,000 interfaces, records only", "MB", "", "", own[3], "<= 400",
          sep="\t")


main()
