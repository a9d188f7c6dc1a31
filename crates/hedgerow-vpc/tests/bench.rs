//! What the fabric costs live packets, and how soon a change of rules reaches them: `make bench`.
//! Needs root.

#[allow(dead_code, reason = "made for tests of every kind")]
mod harness;
mod running;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::raw::{IPV4, Tap, frame, ipv4, udp};
use harness::{Lab, egress, ingress, interface, tcp};
use hedgerow_core::sg::Traffic;
use hedgerow_datapath::sys::Netns;
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::unistd::Pid;
use running::Vpc;

/// Rules of each group: EC2's default quota.
const RULES: u16 = 60;
/// Port of the servers here.
const PORT: u16 = 5432;

/// A line for the table of `bench/run.py`.
fn report(what: &str, unit: &str, peer: Option<(&str, f64)>, ours: f64, goal: &str) {
    let (name, peer) = peer.map_or(("", String::new()), |(name, value)| (name, value.to_string()));
    println!("bench\t{what}\t{unit}\t{name}\t{peer}\t{ours}\t{goal}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One processor for client and server, as netperf's TCP_RR on one core.
fn pin() {
    let mut one = CpuSet::new();
    one.set(0).expect("processor 0");
    sched_setaffinity(Pid::from_raw(0), &one).expect("pin to processor 0");
}

/// A connection whose other end, pinned to the same processor, sends every byte back.
struct RoundTrips(TcpStream);

impl RoundTrips {
    fn between(client: &Netns, server: &Netns, to: SocketAddr) -> Self {
        let listener = server.run(|| TcpListener::bind(to).expect("listen")).expect("enter");
        std::thread::spawn(move || {
            pin();
            let (mut stream, _) = listener.accept().expect("accept");
            stream.set_nodelay(true).expect("no delay");
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
        });
        let stream = client.run(|| TcpStream::connect(to).expect("connect")).expect("enter");
        stream.set_nodelay(true).expect("no delay");
        Self(stream)
    }

    /// Microseconds of one, the mean of some.
    fn measure(&mut self) -> f64 {
        const COUNT: u32 = 4_000;
        let (start, mut byte) = (Instant::now(), [1]);
        for _ in 0..COUNT {
            self.0.write_all(&byte).expect("ask");
            self.0.read_exact(&mut byte).expect("answer");
        }
        start.elapsed().as_secs_f64() * 1e6 / f64::from(COUNT)
    }
}

/// Two namespaces with nothing but a veth pair between them; gone with their descriptors.
fn direct_pair() -> (Netns, Netns) {
    let alone = || {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace (root?)");
            Netns::current().expect("the namespace")
        });
        made.join().expect("the thread")
    };
    let (client, server) = (alone(), alone());
    let there = format!("/proc/{}/fd/{}", std::process::id(), server.as_fd().as_raw_fd());
    let ip = |namespace: &Netns, line: &str| {
        let run = || Command::new("ip").args(line.split(' ')).status();
        let status = namespace.run(run).expect("enter").expect("run ip");
        assert!(status.success(), "ip {line}");
    };
    let end = "eth0 mtu 9001";
    ip(&client, &format!("link add {end} type veth peer name {end} netns {there}"));
    for (namespace, address) in [(&client, "192.0.2.1/24"), (&server, "192.0.2.2/24")] {
        ip(namespace, &format!("address add {address} dev eth0"));
        ip(namespace, "link set eth0 up");
    }
    (client, server)
}

#[test]
#[ignore = "a measurement, for `make bench`"]
fn round_trips_on_one_core() {
    let lab = Lab::new();
    let others = |n: u16| Traffic::Udp { from: 16 * n, to: 16 * n + 7 };
    let (mut out, mut into) = (Vec::new(), Vec::new());
    for n in 1..RULES {
        out.push(egress(&format!("sgr-out-{n}"), others(n), "10.9.0.0/16"));
        into.push(ingress(&format!("sgr-in-{n}"), others(n), "10.9.0.0/16"));
    }
    out.push(egress("sgr-out", tcp(PORT), "0.0.0.0/0"));
    into.push(ingress("sgr-in", tcp(PORT), "sg-client"));
    lab.group("sg-client", &out);
    lab.group("sg-server", &into);
    let client = lab.host("client", &interface(1, [1, 10], &["sg-client"]));
    let server = lab.host("server", &interface(2, [1, 20], &["sg-server"]));
    let mut ours = RoundTrips::between(
        &client.namespace(),
        &server.namespace(),
        (server.address(), PORT).into(),
    );
    let (near, far) = direct_pair();
    let mut direct = RoundTrips::between(&near, &far, SocketAddr::from(([192, 0, 2, 2], PORT)));
    pin();
    let rounds: Vec<(f64, f64)> = (0..60).map(|_| (direct.measure(), ours.measure())).collect();
    let (direct, ours): (Vec<f64>, Vec<f64>) = rounds.into_iter().skip(5).unzip();
    let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    let (best, best_ours) = (least(&direct), least(&ours));
    let line = |what: &str, direct: f64, ours: f64| {
        report(what, "us", Some(("veth pair", direct)), ours, "ratio <= 1.15");
    };
    line("TCP_RR, one core, 60 rules, best", best, best_ours);
    line("TCP_RR, one core, 60 rules, median", median(direct), median(ours));
}

/// A stream of datagrams from one instance to another, every one a flow of its own.
struct Probe {
    start: Instant,
    done: AtomicBool,
    /// When the datagrams that arrived were sent, nanoseconds since the start.
    passed: Mutex<Vec<u64>>,
}

/// Ends the stream, also when the test fails.
struct Ends<'a>(&'a Probe);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.done.store(true, Ordering::Relaxed);
    }
}

impl Probe {
    fn millis(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * 1e3
    }

    /// Sends one every 100 µs or so, with the time in it.
    fn send(&self, link: &Tap, macs: [[u8; 6]; 2], addresses: [Ipv4Addr; 2]) {
        for port in (1_024..=u16::MAX).cycle() {
            if self.done.load(Ordering::Relaxed) {
                return;
            }
            let now = self.start.elapsed().as_nanos() as u64;
            let datagram = udp(port, PORT, &now.to_be_bytes());
            let packet = ipv4(addresses[0], addresses[1], 17, (0, 0, false), &datagram);
            link.send(&frame(macs[1], macs[0], None, IPV4, &packet));
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn receive(&self, socket: &UdpSocket) {
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout");
        while !self.done.load(Ordering::Relaxed) {
            let mut sent = [0; 8];
            if socket.recv(&mut sent).is_ok() {
                self.passed.lock().expect("no panic").push(u64::from_be_bytes(sent));
            }
        }
    }

    /// Makes a change and lets it work. When it was asked for and answered, and when the datagrams
    /// that passed from then on were sent; milliseconds.
    fn change(&self, vpc: &Vpc, request: &str) -> (f64, f64, Vec<f64>) {
        self.passed.lock().expect("no panic").clear();
        let asked = self.millis();
        vpc.ask(request, "return");
        let answered = self.millis();
        std::thread::sleep(Duration::from_millis(60));
        let passed = self.passed.lock().expect("no panic");
        let passed = passed.iter().map(|sent| *sent as f64 / 1e6).filter(|sent| *sent >= asked);
        (asked, answered, passed.collect())
    }
}

/// A group on so many interfaces, and an instance in it; the group's id and the instance's.
fn group_of_many(vpc: &Vpc, id: &str, subnet: &str, interfaces: usize) -> (String, String) {
    let make = format!("CreateSecurityGroup&VpcId={id}&GroupName=many&GroupDescription=x");
    let group = vpc.ask(&make, "groupId");
    // One short of the quota, so that the rule of the measurement has room.
    for port in 1..RULES {
        let rule = format!(
            "AuthorizeSecurityGroupIngress&GroupId={group}&IpPermissions.1.IpProtocol=tcp\
             &IpPermissions.1.FromPort={port}&IpPermissions.1.ToPort={port}\
             &IpPermissions.1.IpRanges.1.CidrIp=10.9.0.0/16"
        );
        vpc.ask(&rule, "return");
    }
    let detached = format!("CreateNetworkInterface&SubnetId={subnet}&SecurityGroupId.1={group}");
    (1..interfaces).for_each(|_| drop(vpc.ask(&detached, "networkInterfaceId")));
    let instance = run(vpc, subnet, &group, "10.0.15.20");
    (group, instance)
}

fn run(vpc: &Vpc, subnet: &str, group: &str, address: &str) -> String {
    let request = format!(
        "RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1\
         &SubnetId={subnet}&SecurityGroupId.1={group}&PrivateIpAddress={address}"
    );
    vpc.ask(&request, "instanceId")
}

#[test]
#[ignore = "a measurement, for `make bench`"]
fn a_rule_change_reaches_packets() {
    let vpc = Vpc::start(&[]);
    let id = vpc.ask("CreateVpc&CidrBlock=10.0.0.0/16", "vpcId");
    let subnet = vpc.ask(&format!("CreateSubnet&VpcId={id}&CidrBlock=10.0.0.0/20"), "subnetId");
    let (group, server) = group_of_many(&vpc, &id, &subnet, 1_000);
    let make = format!("CreateSecurityGroup&VpcId={id}&GroupName=one&GroupDescription=x");
    let client = run(&vpc, &subnet, &vpc.ask(&make, "groupId"), "10.0.15.10");
    let rule = format!(
        "GroupId={group}&IpPermissions.1.IpProtocol=udp&IpPermissions.1.FromPort={PORT}\
         &IpPermissions.1.ToPort={PORT}&IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0/20"
    );
    let (authorize, revoke) = (
        format!("AuthorizeSecurityGroupIngress&{rule}"),
        format!("RevokeSecurityGroupIngress&{rule}"),
    );
    let mac = || mac_of("eth0");
    let macs = [vpc.inside(&client, mac), vpc.inside(&server, mac)];
    let addresses = [Ipv4Addr::new(10, 0, 15, 10), Ipv4Addr::new(10, 0, 15, 20)];
    let link = vpc.inside(&client, || Tap::open("eth0").expect("a packet socket"));
    let socket = vpc.inside(&server, || UdpSocket::bind((addresses[1], PORT)).expect("bind"));
    let probe =
        Probe { start: Instant::now(), done: AtomicBool::new(false), passed: Mutex::default() };
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let _ends = Ends(&probe);
        scope.spawn(|| probe.send(&link, macs, addresses));
        scope.spawn(|| probe.receive(&socket));
        for _ in 0..30 {
            let (asked, answered, passed) = probe.change(&vpc, &authorize);
            let first = passed.into_iter().reduce(f64::min).expect("the rule lets them in");
            added.push(first.max(answered) - asked);
            let (asked, answered, passed) = probe.change(&vpc, &revoke);
            let last = passed.into_iter().fold(asked, f64::max);
            assert!(last <= answered, "a new flow passed {} ms too late", last - answered);
            removed.push(answered - asked);
        }
    });
    for (what, took) in [("added", added), ("removed", removed)] {
        let worst = took.iter().copied().fold(0.0, f64::max);
        let line = |which: &str, value: f64| {
            let what = format!("rule {what}, 1,000 interfaces, to packets, {which}");
            report(&what, "ms", None, value, "<= 20");
        };
        line("median", median(took));
        line("worst of 30", worst);
    }
}

/// The MAC of a link in the calling thread's namespace.
fn mac_of(link: &str) -> [u8; 6] {
    let all = nix::ifaddrs::getifaddrs().expect("links").filter(|a| a.interface_name == link);
    let mut macs = all.filter_map(|a| a.address?.as_link_addr()?.addr());
    macs.next().expect("the link has a MAC")
}
