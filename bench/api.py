"""The EC2 API of hedgerow-vpc beside moto's server, by the same client in one run.

Usage: api.py HEDGEROW_VPC MOTO_SERVER

Prints for each measurement: the peer's value, ours, the ratio. Requests go over one connection, one
after the other, without botocore: its own work would hide the servers'. Answers are read whole.
"""

import http.client
import re
import subprocess
import sys
import time
import urllib.parse

SIGNED = ("AWS4-HMAC-SHA256 Credential=any/20260101/us-west-2/ec2/aws4_request, "
          "SignedHeaders=host, Signature=0")


class Server:
    """A server of the EC2 API on a port of its own, until the end of the block."""

    def __init__(self, port, command):
        self.port = port
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        deadline = time.time() + 60
        while True:
            try:
                self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
                self.connection.connect()
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
        body = urllib.parse.urlencode({"Action": action, "Version": "2016-11-15", **parameters})
        headers = {"Authorization": SIGNED, "Content-Type": "application/x-www-form-urlencoded"}
        try:
            self.connection.request("POST", "/", body, headers)
            response = self.connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            # A server that does not keep connections.
            self.connection.close()
            self.connection.request("POST", "/", body, headers)
            response = self.connection.getresponse()
        text = response.read().decode()
        assert response.status == 200, f"{action}: {text}"
        return text

    def make(self, element, action, **parameters):
        return re.search(f"<{element}>([^<]+)<", self.ask(action, **parameters)).group(1)

    def memory(self):
        """Resident memory, MB."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) / 1e3


def median(server, times, action, **parameters):
    """Milliseconds of a request, the median of some."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        server.ask(action, **parameters)
        taken.append((time.perf_counter() - started) * 1e3)
    return sorted(taken)[len(taken) // 2]


def measure(server, interfaces, by_id_of):
    """Creations per second; ms of a describe of 500; ms by id among `by_id_of`; MB then."""
    vpc = server.make("vpcId", "CreateVpc", CidrBlock="10.0.0.0/16")
    subnets = [server.make("subnetId", "CreateSubnet", VpcId=vpc, CidrBlock=f"10.0.{64 * n}.0/18")
               for n in range(4)]
    started = time.perf_counter()
    ids = [server.make("networkInterfaceId", "CreateNetworkInterface", SubnetId=subnets[0])
           for _ in range(interfaces)]
    rate = interfaces / (time.perf_counter() - started)
    page = {f"NetworkInterfaceId.{n + 1}": id for n, id in enumerate(ids[:500])}
    listed = server.ask("DescribeNetworkInterfaces", **page)
    assert len(re.findall("<networkInterfaceId>", listed)) == 500
    describe = median(server, 15, "DescribeNetworkInterfaces", **page)
    before = server.memory()
    # A /18 has 16,379 addresses for interfaces; more VPCs give more.
    made, place = interfaces, 1
    while made < by_id_of:
        room = min(16_000, by_id_of - made)
        if place >= len(subnets):
            vpc = server.make("vpcId", "CreateVpc", CidrBlock="10.0.0.0/16")
            subnets += [server.make("subnetId", "CreateSubnet", VpcId=vpc,
                                    CidrBlock=f"10.0.{64 * n}.0/18") for n in range(4)]
        for _ in range(room):
            server.ask("CreateNetworkInterface", SubnetId=subnets[place])
        made, place = made + room, place + 1
    one = {"NetworkInterfaceId.1": ids[len(ids) // 2]}
    by_id = median(server, 51, "DescribeNetworkInterfaces", **one)
    return rate, describe, by_id, server.memory(), before


def main():
    ours, peer = sys.argv[1:]
    print(f"{'':52}{'moto':>12}{'hedgerow':>12}{'ratio':>10}")

    def line(what, theirs, own, better):
        print(f"{what:52}{theirs:12.2f}{own:12.2f}{better:9.1f}x", flush=True)

    with Server(14567, [peer, "-H", "127.0.0.1", "-p", "14567"]) as server:
        theirs = measure(server, 1_000, 1_000)
    with Server(14566, [ours, "run", "--records-only", "--seed", "1", "--listen",
                        "127.0.0.1:14566"]) as server:
        own = measure(server, 1_000, 100_000)
    line("CreateNetworkInterface, per second", theirs[0], own[0], own[0] / theirs[0])
    line("DescribeNetworkInterfaces of 500, ms", theirs[1], own[1], theirs[1] / own[1])
    line("one by id (moto: of 1,000; ours: of 100,000), ms", theirs[2], own[2], theirs[2] / own[2])
    print(f"{'memory with 100,000 interfaces, records only, MB':52}{'-':>12}{own[3]:12.1f}")
    print("goals: rate 50x; 500 in 3 ms; by id in 1 ms; memory below 400 MB "
          "(of a debug build the times are not those of a release)")


main()
