//! Connection tracking, by whole frames through `BPF_PROG_TEST_RUN`: which packets are judged, and
//! how long each leaves its flow to live. Needs root.

mod flows;
mod ipv6;

use std::net::{IpAddr, Ipv4Addr};

use aya::maps::{Array, MapData};
use aya::programs::{TestRun, TestRunOptions};
use hedgerow_core::sg::{Ipv4Prefix, Peer, Rule, Traffic};

mod pins;

use super::*;

/// The loopback device stands for both ends' ports.
pub(super) const PORT: u32 = 1;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN: u8 = 0x01;
const RST: u8 = 0x04;

/// `struct hr_flow_set` of the programs, which user space never writes, in words of 32 bits: a head and
/// 32 entries.
type FlowSet = [u32; 33 * LINE];
const LINE: usize = 16;
/// Where in an entry what is.
const EXPIRES: usize = 2;
const VERSION: usize = 5;
const KEY: usize = 6;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Client,
    Server,
}
use Side::{Client, Server};

pub(super) struct Bench {
    pub(super) fabric: Fabric,
    pub(super) events: Events,
}

impl Bench {
    /// The client may send anything; the server lets TCP and UDP 9 and echo requests in.
    fn new() -> Self {
        Self::of(Fabric::load().expect("load the fabric (root?)"))
    }

    pub(super) fn of(mut fabric: Fabric) -> Self {
        let events = fabric.take_events().expect("events");
        fabric.tell_accepted(true);
        let mut bench = Self { fabric, events };
        let echo = Traffic::Icmp { kind: Some(8), code: None };
        bench.group("sg-client", Direction::Egress, &[Traffic::All]);
        let (tcp, udp) = (Traffic::Tcp { from: 9, to: 9 }, Traffic::Udp { from: 9, to: 9 });
        bench.group("sg-server", Direction::Ingress, &[tcp, udp, echo]);
        for (key, address, group) in [(1, CLIENT, "sg-client"), (2, SERVER, "sg-server")] {
            let view = Self::view(key, vec![address.into()], group);
            bench.fabric.put_interface(view, Instant::now()).expect("put interface");
        }
        bench
    }

    /// An interface of one group at the port.
    fn view(key: u32, addresses: Vec<IpAddr>, group: &str) -> Interface {
        Interface {
            key,
            vpc: 0,
            subnet: "10.0.0.0/24".parse().expect("prefix"),
            subnet_v6: None,
            mac: MAC,
            addresses,
            prefixes_v6: Vec::new(),
            groups: [group.into()].into(),
            source_dest_check: true,
            routes: None,
            acl: None,
            timeouts: Timeouts::default(),
            place: Place::Port(PORT),
            kind: Kind::Instance,
            logged: false,
        }
    }

    pub(super) fn group(&mut self, id: &str, direction: Direction, traffic: &[Traffic]) {
        let rule = |traffic: &Traffic| Rule {
            id: "sgr-1".into(),
            direction,
            traffic: *traffic,
            peer: Peer::V4(Ipv4Prefix::ANY),
        };
        let group = Group { id: id.into(), rules: traffic.iter().map(rule).collect() };
        self.fabric.put_group(0, group, Instant::now()).expect("put group");
    }

    /// Sends a frame; the event it caused, if any.
    fn send(&mut self, from: Side, protocol: u8, transport: &[u8]) -> Option<Reason> {
        let (key, source, destination) = match from {
            Client => (1, CLIENT, SERVER),
            Server => (2, SERVER, CLIENT),
        };
        self.fabric.put_port(PORT, key, 0).expect("put port");
        self.run(&frame(source, destination, protocol, transport));
        let events = self.events.drain();
        assert!(events.len() <= 1, "{events:?}");
        events.first().map(|event| event.reason)
    }

    /// Runs the program on a frame.
    fn run(&self, frame: &[u8]) {
        self.run_program("fabric", frame, 1, 0);
    }

    /// Runs one of the object's programs on a frame; nanoseconds per run.
    pub(super) fn run_program(&self, name: &str, frame: &[u8], repeat: u32, mark: u32) -> u128 {
        let mut context = [0u8; 192];
        // struct __sk_buff: mark is the third word, ifindex the eleventh.
        context[8..12].copy_from_slice(&mark.to_ne_bytes());
        context[40..44].copy_from_slice(&PORT.to_ne_bytes());
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.ctx_in = Some(&context);
        options.repeat = repeat;
        let program = self.fabric.ebpf.program(name).expect("program");
        let program: &SchedClassifier = program.try_into().expect("classifier");
        program.test_run(options).expect("test run").duration.as_nanos()
    }

    fn tcp(&mut self, from: Side, flags: u8) -> Option<Reason> {
        let mut header = [0u8; 20];
        let (source, destination) = if from == Client { (1000u16, 9u16) } else { (9, 1000) };
        header[..2].copy_from_slice(&source.to_be_bytes());
        header[2..4].copy_from_slice(&destination.to_be_bytes());
        header[12] = 5 << 4;
        header[13] = flags;
        self.send(from, 6, &header)
    }

    fn udp(&mut self, from: Side) -> Option<Reason> {
        let (source, destination) = if from == Client { (1000u16, 9u16) } else { (9, 1000) };
        let mut header = [source.to_be_bytes(), destination.to_be_bytes()].concat();
        header.extend([0, 8, 0, 0]);
        self.send(from, 17, &header)
    }

    fn icmp(&mut self, from: Side, kind: u8, id: u8) -> Option<Reason> {
        self.send(from, 1, &[kind, 0, 0, 0, 0, id, 0, 1])
    }

    /// The entries of the table that are not free.
    fn flows(&self) -> Vec<[u32; LINE]> {
        let map = self.fabric.ebpf.map("flows").expect("map flows");
        let sets: Array<&MapData, FlowSet> = map.try_into().expect("typed");
        let taken = |set: FlowSet| {
            let tags: [u8; 32] = bytemuck::cast_slice(&set[..8]).try_into().expect("32 tags");
            let entry =
                move |way: usize| set[(way + 1) * LINE..][..LINE].try_into().expect("a line");
            (0..32).filter(move |way| tags[*way] != 0).map(entry).collect::<Vec<_>>()
        };
        sets.iter().flat_map(|set| taken(set.expect("a set"))).collect()
    }

    /// Seconds that the only flow has left, the second that may have passed meanwhile forgiven.
    fn left(&self) -> u32 {
        let all = self.flows();
        assert_eq!(all.len(), 1, "one entry for both directions");
        let now = (crate::sys::monotonic_ns() >> 30) as u32;
        // Ticks, rounded up twice.
        let left = u64::from(all[0][EXPIRES].wrapping_sub(now)) * (1 << 30) / 1_000_000_000;
        (left as u32).next_multiple_of(10)
    }
}

pub(super) fn frame(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, transport: &[u8]) -> Vec<u8> {
    let mut frame = [ROUTER_MAC, MAC].concat();
    frame.extend([8, 0, 0x45, 0, 0, 20 + transport.len() as u8, 0, 1, 0, 0, 64]);
    frame.extend([protocol, 0, 0]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    frame.extend(transport);
    frame
}

const NEW: Option<Reason> = Some(Reason::Allowed);
const TRACKED: Option<Reason> = None;

#[test]
fn tcp_lives_as_long_as_its_state_says() {
    let mut bench = Bench::new();
    assert_eq!((bench.tcp(Client, SYN), bench.left()), (NEW, 120));
    assert_eq!((bench.tcp(Client, SYN), bench.left()), (TRACKED, 120), "repeated before a reply");
    assert_eq!((bench.tcp(Server, SYN | ACK), bench.left()), (TRACKED, 120));
    assert_eq!((bench.tcp(Client, ACK), bench.left()), (TRACKED, 432_000));
    assert_eq!((bench.tcp(Server, ACK | FIN), bench.left()), (TRACKED, 120));
    assert_eq!((bench.tcp(Client, ACK | FIN), bench.left()), (TRACKED, 120));
    assert_eq!((bench.tcp(Client, SYN), bench.left()), (NEW, 120), "the port is used again");
    assert_eq!((bench.tcp(Server, RST | ACK), bench.left()), (TRACKED, 10));
    assert_eq!((bench.tcp(Client, SYN), bench.left()), (NEW, 120), "after a reset");
}

#[test]
fn a_syn_is_judged_even_on_a_tracked_flow() {
    let mut bench = Bench::new();
    let handshake = [(Client, SYN), (Server, SYN | ACK), (Client, ACK)];
    let seen = handshake.map(|(from, flags)| bench.tcp(from, flags));
    assert_eq!(seen, [NEW, TRACKED, TRACKED]);
    assert_eq!(bench.tcp(Server, SYN), Some(Reason::EgressGroups), "not the server's to start");
    bench.group("sg-server", Direction::Ingress, &[]);
    assert_eq!(bench.tcp(Client, SYN), Some(Reason::IngressGroups), "a new connection");
    assert_eq!((bench.tcp(Client, ACK), bench.left()), (TRACKED, 432_000), "the old one lives");
}

#[test]
fn udp_becomes_a_stream_with_a_reply() {
    let mut bench = Bench::new();
    assert_eq!(bench.udp(Server), Some(Reason::EgressGroups), "nobody asked");
    assert_eq!((bench.udp(Client), bench.left()), (NEW, 30));
    assert_eq!((bench.udp(Server), bench.left()), (TRACKED, 180));
    assert_eq!((bench.udp(Client), bench.left()), (TRACKED, 180));
}

#[test]
fn icmp_replies_belong_to_their_request() {
    let mut bench = Bench::new();
    assert_eq!(bench.icmp(Server, 0, 1), Some(Reason::EgressGroups), "nobody asked");
    assert_eq!((bench.icmp(Client, 8, 1), bench.left()), (NEW, 30));
    assert_eq!((bench.icmp(Server, 0, 1), bench.left()), (TRACKED, 30));
    assert_eq!(bench.icmp(Server, 0, 2), Some(Reason::EgressGroups), "another id");
    assert_eq!(bench.icmp(Server, 8, 1), Some(Reason::EgressGroups), "a request is no reply");
    assert_eq!(bench.icmp(Server, 3, 1), Some(Reason::EgressGroups), "quotes no tracked flow");
}

#[test]
fn idle_timeouts_are_the_interfaces_and_the_shorter_counts() {
    let mut bench = Bench::new();
    for (key, timeouts) in [
        (1, Timeouts { tcp: 600, udp: 60, stream: 100 }),
        (2, Timeouts { tcp: 900, udp: 30, stream: 150 }),
    ] {
        let mut view = bench.fabric.interface(key).expect("known").clone();
        view.timeouts = timeouts;
        bench.fabric.put_interface(view, Instant::now()).expect("put interface");
    }
    assert_eq!((bench.udp(Client), bench.left()), (NEW, 30));
    assert_eq!((bench.udp(Server), bench.left()), (TRACKED, 100));
}

/// `interface_hints` has one place for both.
#[test]
fn interfaces_whose_keys_collide_are_told_apart() {
    let mut bench = Bench::new();
    let far = 1 + limits::HINTS;
    bench.group("sg-mute", Direction::Egress, &[]);
    let view = Bench::view(far, vec![Ipv4Addr::new(10, 0, 0, 3).into()], "sg-mute");
    bench.fabric.put_interface(view, Instant::now()).expect("put interface");
    assert_eq!(bench.udp(Client), NEW, "the other one's record would not let it");

    let mute = Bench::view(1, vec![CLIENT.into()], "sg-mute");
    bench.fabric.put_interface(mute, Instant::now()).expect("put interface");
    assert_eq!(bench.tcp(Client, SYN), Some(Reason::EgressGroups));
    bench.fabric.remove_interface(far, Instant::now()).expect("remove interface");
    assert_eq!(bench.tcp(Client, SYN), Some(Reason::EgressGroups));
    bench.fabric.remove_interface(1, Instant::now()).expect("remove interface");
    assert_eq!(bench.tcp(Client, SYN), Some(Reason::UnknownPort), "its record is still there");
}

/// Each test that starts a VPC, and each start of the node, waits for the verifier: about 2 µs an
/// instruction. What multiplies it are functions that are inlined where many states meet.
#[test]
fn the_verifier_has_little_to_follow() {
    let fabric = Fabric::load().expect("load the fabric (root?)");
    let followed = |name: &&str| {
        let program = fabric.ebpf.program(name).expect("program");
        let program: &SchedClassifier = program.try_into().expect("classifier");
        let info = program.info().expect("information about the program");
        info.verified_instruction_count().expect("the kernel tells")
    };
    let followed: Vec<u32> = PROGRAMS.iter().map(followed).collect();
    assert!(followed.iter().sum::<u32>() < 150_000, "{PROGRAMS:?}: {followed:?}");
}

#[test]
fn rules_that_found_no_room_can_be_put_again() {
    let mut bench = Bench::new();
    let start = Instant::now();
    let rules = |port: u16| Group {
        id: "sg-server".into(),
        rules: vec![Rule {
            id: "sgr-1".into(),
            direction: Direction::Ingress,
            traffic: Traffic::Tcp { from: port, to: port },
            peer: Peer::V4(Ipv4Prefix::ANY),
        }],
    };
    // What was replaced rests, so at one instant the room runs out.
    let full = (0..maps::limits::SETS).find_map(|n| {
        let port = 9 + (n % 2) as u16;
        bench.fabric.put_group(0, rules(port), start).err().map(|error| (port, error))
    });
    let (port, error) = full.expect("more changes than sets");
    assert!(matches!(error, FabricError::Full(_)), "{error}");
    assert_eq!(bench.tcp(Client, SYN), Some(Reason::IngressGroups), "nothing passes");
    bench.fabric.put_group(0, rules(port), start).expect_err("not taken for done");

    // Entries rest until nothing reads them, then their numbers do.
    let hour = std::time::Duration::from_secs(3600);
    bench.fabric.remove_routes(7, start + hour).expect("any change");
    let later = start + 2 * hour;
    bench.fabric.put_group(0, rules(port), later).expect("room again");
    bench.fabric.put_group(0, rules(9), later).expect("room for a change");
    assert_eq!(bench.tcp(Client, SYN), Some(Reason::Allowed));
}
