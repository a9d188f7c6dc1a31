//! IPv6 addresses of instances go on over `kill -9`, and the next start gives each the one that it has
//! by the records, whatever became of these meanwhile. Needs root.

mod restarting;

use std::net::{Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use restarting::{TIMEOUT, Vpc};

const PORT: u16 = 5432;
/// An address that somebody in an instance took for themselves.
const OWN: &str = "fd00::77";

/// A dual-stack subnet, with a group that lets UDP in from its own members.
struct Network {
    vpc: Vpc,
    subnet: String,
    group: String,
}

impl Network {
    fn new(name: &str) -> Network {
        let mut vpc = Vpc::new(name);
        vpc.start(false);
        let create = "CreateVpc&CidrBlock=10.0.0.0/16&AmazonProvidedIpv6CidrBlock=true";
        let network = vpc.ask(create, "vpcId");
        let block = vpc.ask(&format!("DescribeVpcs&VpcId.1={network}"), "ipv6CidrBlock");
        let block = block.strip_suffix("00::/56").expect("a /56");
        let subnet = format!(
            "CreateSubnet&VpcId={network}&CidrBlock=10.0.1.0/24&Ipv6CidrBlock={block}01::/64"
        );
        let subnet = vpc.ask(&subnet, "subnetId");
        let group = vpc.group(&network, "members");
        let rule = format!(
            "AuthorizeSecurityGroupIngress&GroupId={group}&IpPermissions.1.IpProtocol=udp\
             &IpPermissions.1.FromPort={PORT}&IpPermissions.1.ToPort={PORT}\
             &IpPermissions.1.Groups.1.GroupId={group}"
        );
        vpc.ask(&rule, "return");
        Network { vpc, subnet, group }
    }

    fn run(&self, address: &str) -> Host {
        let instance = self.vpc.run(&self.subnet, &self.group, address);
        let find = format!("DescribeInstances&InstanceId.1={instance}");
        let interface = self.vpc.ask(&find, "networkInterfaceId");
        Host { instance, interface }
    }

    fn assign(&self, host: &Host) -> Ipv6Addr {
        let request =
            format!("AssignIpv6Addresses&NetworkInterfaceId={}&Ipv6AddressCount=1", host.interface);
        self.vpc.ask(&request, "networkInterfaceId");
        let find = format!("DescribeNetworkInterfaces&NetworkInterfaceId.1={}", host.interface);
        self.vpc.ask(&find, "ipv6Address").parse().expect("an IPv6 address")
    }

    fn unassign(&self, host: &Host, address: Ipv6Addr) {
        let request = format!(
            "UnassignIpv6Addresses&NetworkInterfaceId={}&Ipv6Addresses.1={address}",
            host.interface
        );
        self.vpc.ask(&request, "networkInterfaceId");
    }

    fn bind(&self, host: &Host, address: Ipv6Addr, port: u16) -> UdpSocket {
        let bind = || UdpSocket::bind((address, port));
        let socket = self.vpc.inside(&host.instance, bind).expect("bind to the address");
        socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        socket
    }

    /// The IPv6 addresses of `eth0` that are not for the link only.
    fn shown(&self, host: &Host) -> Vec<String> {
        let show = ["-6", "-o", "address", "show", "dev", "eth0", "scope", "global"];
        let output = self.vpc.inside(&host.instance, || Command::new("ip").args(show).output());
        let text = String::from_utf8(output.expect("run ip").stdout).expect("text");
        let mut shown: Vec<String> = text
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3)?.split('/').next().map(str::to_owned))
            .collect();
        shown.sort();
        shown
    }
}

struct Host {
    instance: String,
    interface: String,
}

/// Whether a packet arrives.
fn passes(near: &UdpSocket, far: &UdpSocket) -> bool {
    near.send(b"x").expect("send");
    far.recv(&mut [0; 4]).is_ok()
}

impl Network {
    /// Kills the process, and starts it with other records of the same VPC; those of before are at
    /// `kept` then.
    fn restart_with(&mut self, records: Option<&Path>, kept: &Path) {
        self.vpc.end(Signal::SIGKILL);
        let copy = |from: &Path, to: &Path| {
            let _absent = std::fs::remove_dir_all(to);
            let copied = Command::new("cp").arg("-a").args([from, to]).status();
            assert!(copied.expect("run cp").success(), "{} to {}", from.display(), to.display());
        };
        copy(&self.vpc.directory, kept);
        if let Some(records) = records {
            copy(records, &self.vpc.directory);
        }
        self.vpc.start(false);
    }
}

/// Two directories of records, removed at the end.
struct Kept([PathBuf; 2]);

impl Drop for Kept {
    fn drop(&mut self) {
        for directory in &self.0 {
            let _absent = std::fs::remove_dir_all(directory);
        }
    }
}

#[test]
fn packets_go_on_and_the_next_start_gives_the_addresses_of_the_records() {
    let mut network = Network::new("six");
    let directory = network.vpc.directory.display().to_string();
    let kept = Kept(["old", "new"].map(|which| format!("{directory}-{which}").into()));
    let [old, new] = &kept.0;
    let [client, server, bare] = ["10.0.1.10", "10.0.1.20", "10.0.1.30"].map(|a| network.run(a));
    let from = network.assign(&client);
    let first = network.assign(&server);
    let near = network.bind(&client, from, 4_000);
    let far = network.bind(&server, first, PORT);
    near.connect((first, PORT)).expect("a route");
    assert!(passes(&near, &far), "before");
    network.vpc.end(Signal::SIGKILL);
    assert!(passes(&near, &far), "while no process runs");
    network.restart_with(None, old);
    assert!(passes(&near, &far), "after the start");

    let add = ["address", "add", &format!("{OWN}/128"), "dev", "eth0"].map(str::to_owned);
    let added = network.vpc.inside(&server.instance, || Command::new("ip").args(add).status());
    assert!(added.expect("run ip").success());
    network.unassign(&server, first);
    let second = network.assign(&server);
    let third = network.assign(&bare);
    assert_ne!(first, second);
    assert_eq!(network.shown(&server), [second.to_string(), OWN.to_owned()]);

    // As if the process had been killed before it noted that.
    network.restart_with(Some(old), new);
    assert_eq!(network.shown(&server), [first.to_string(), OWN.to_owned()]);
    assert_eq!(network.shown(&bare), [""; 0]);
    assert!(passes(&near, &far), "to the address that it has again");

    // As if all that had been noted and not been done.
    network.restart_with(Some(new), old);
    assert_eq!(network.shown(&server), [second.to_string(), OWN.to_owned()]);
    assert_eq!(network.shown(&bare), [third.to_string()]);
    assert!(!passes(&near, &far), "the address is nobody's");
    for (host, address) in [(&server, second), (&bare, third)] {
        let far = network.bind(host, address, PORT);
        near.connect((address, PORT)).expect("a route");
        assert!(passes(&near, &far), "to {address}");
    }
}
