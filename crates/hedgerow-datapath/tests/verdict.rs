//! The eBPF evaluator says what [`hedgerow_core::sg::judge`] says: whole frames through the fabric
//! program by `BPF_PROG_TEST_RUN`, random groups and packets, both gates, rule by rule.

#[path = "verdict/subnets.rs"]
mod subnets;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use aya::programs::{TestRun, TestRunOptions};
use hedgerow_core::reason::Reason;
use hedgerow_core::sg::{
    Direction, Group, GroupId, ICMP, ICMPV6, IpPrefix, Packet, Peer, Rule, RuleId, TCP, Traffic,
    UDP, judge, tracks,
};
use hedgerow_datapath::fabric::{
    Event, Events, Fabric, Interface, Kind, Place, ROUTER_MAC, Timeouts,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// The loopback device: the frames come from there as far as the program can tell.
const PORT: u32 = 1;
const TC_ACT_REDIRECT: u32 = 7;
const TC_ACT_SHOT: u32 = 2;
const SENDER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const RECEIVERS: usize = 3;

/// What a gate would be told: protocol and port of one random packet, and to whom.
#[derive(Debug, Clone)]
struct Sent {
    protocol: u8,
    port: u16,
    to: usize,
    /// Over IPv6.
    six: bool,
}

impl Sent {
    /// The address of an end in the packet's family.
    fn address(&self, end: Ipv4Addr) -> IpAddr {
        if self.six { six(end).into() } else { end.into() }
    }
}

/// The IPv6 address of what has this one of IPv4; its parts are in three of the four words.
fn six(address: Ipv4Addr) -> Ipv6Addr {
    let [_, a, b, c] = address.octets().map(u16::from);
    Ipv6Addr::new(0x2001, 0xdb8, a, 0, b << 4, 0, 0, c)
}

/// Random groups, their members, and packets; `change` replaces a group's rules halfway.
#[derive(Debug, Clone)]
struct Scene {
    groups: Vec<Vec<(Direction, Traffic, Peer)>>,
    change: (usize, Vec<(Direction, Traffic, Peer)>),
    sender: (Ipv4Addr, BTreeSet<usize>),
    receivers: Vec<(Ipv4Addr, BTreeSet<usize>)>,
    packets: Vec<Sent>,
}

fn group_id(number: usize) -> GroupId {
    GroupId(format!("sg-{number}"))
}

fn group(number: usize, rules: &[(Direction, Traffic, Peer)]) -> Group {
    let rule = |(position, (direction, traffic, peer)): (usize, &(_, _, Peer))| Rule {
        id: RuleId(format!("sgr-{number}-{position}")),
        direction: *direction,
        traffic: *traffic,
        peer: peer.clone(),
    };
    Group { id: group_id(number), rules: rules.iter().enumerate().map(rule).collect() }
}

const GROUPS: usize = 5;

/// Few and close, so that random prefixes often hold random addresses.
fn address() -> impl Strategy<Value = Ipv4Addr> {
    (0u8..3, 0u8..3, 0u8..8).prop_map(|(a, b, c)| Ipv4Addr::new(10, a, b, c))
}

/// Around the borders of blocks and of the rules below.
fn port() -> impl Strategy<Value = u16> {
    let border = proptest::sample::select(vec![0, 80, 255, 256, 443, 511, 512, 5432, 65535]);
    prop_oneof![
        4 => (border, -1i32..=1).prop_map(|(port, by)| (port + by).clamp(0, 65535) as u16),
        1 => any::<u16>(),
    ]
}

fn icmp_port(kinds: [u8; 6]) -> impl Strategy<Value = u16> {
    let kind = proptest::sample::select(kinds.to_vec());
    (kind, 0u8..3).prop_map(|(kind, code)| u16::from_be_bytes([kind, code]))
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let range = || (port(), port()).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let kind = proptest::sample::select(vec![None, Some(0u8), Some(3), Some(8)]);
    let code = proptest::option::of(0u8..3);
    let kind_v6 = proptest::sample::select(vec![None, Some(1u8), Some(128), Some(129)]);
    let code_v6 = proptest::option::of(0u8..3);
    prop_oneof![
        3 => Just(Traffic::All),
        4 => range().prop_map(|(from, to)| Traffic::Tcp { from, to }),
        3 => range().prop_map(|(from, to)| Traffic::Udp { from, to }),
        2 => (kind, code).prop_map(|(kind, code)| Traffic::Icmp { kind, code }),
        2 => (kind_v6, code_v6).prop_map(|(kind, code)| Traffic::Icmpv6 { kind, code }),
        1 => proptest::sample::select(vec![0u8, 47, 50, 255]).prop_map(Traffic::Other),
    ]
}

/// A prefix of either family.
fn prefix() -> impl Strategy<Value = IpPrefix> {
    let len = proptest::sample::select(vec![0u8, 0, 8, 8, 13, 14, 16, 23, 24, 29, 31, 32]);
    let len_v6 = proptest::sample::select(vec![0u8, 0, 0, 32, 46, 47, 48, 71, 76, 96, 126, 128]);
    prop_oneof![
        (address(), len).prop_map(|(address, len)| IpPrefix::new(address.into(), len)),
        (address(), len_v6).prop_map(|(address, len)| IpPrefix::new(six(address).into(), len)),
    ]
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        2 => prefix().prop_map(Peer::from),
        1 => (0..GROUPS).prop_map(|group| Peer::Group(group_id(group))),
    ]
}

fn rules() -> impl Strategy<Value = Vec<(Direction, Traffic, Peer)>> {
    let direction =
        prop_oneof![Just(Direction::Ingress), Just(Direction::Egress), Just(Direction::Egress)];
    proptest::collection::vec((direction, traffic(), peer()), 0..20)
}

fn sent() -> impl Strategy<Value = Sent> {
    let other = || proptest::sample::select(vec![0u8, 47, 50, 255]);
    let what = prop_oneof![
        4 => (port(), any::<bool>()).prop_map(|(port, six)| (TCP, port, six)),
        3 => (port(), any::<bool>()).prop_map(|(port, six)| (UDP, port, six)),
        1 => icmp_port([0, 3, 8, 11, 13, 200]).prop_map(|port| (ICMP, port, false)),
        1 => icmp_port([1, 3, 128, 128, 129, 200]).prop_map(|port| (ICMPV6, port, true)),
        1 => other().prop_map(|protocol| (protocol, 0, false)),
        // 0 would be an extension header.
        1 => other().prop_map(|protocol| (protocol.max(47), 0, true)),
    ];
    (what, 0..RECEIVERS).prop_map(|((protocol, port, six), to)| Sent { protocol, port, to, six })
}

fn scene(packets: usize) -> impl Strategy<Value = Scene> {
    let members = || proptest::collection::btree_set(0..GROUPS, 0..=4);
    let addresses = proptest::collection::btree_set(address(), RECEIVERS + 1).prop_shuffle_vec();
    (
        proptest::collection::vec(rules(), GROUPS),
        (0..GROUPS, rules()),
        addresses,
        proptest::collection::vec(members(), RECEIVERS + 1),
        proptest::collection::vec(sent(), packets),
    )
        .prop_map(|(groups, change, addresses, members, packets)| {
            let mut ends = addresses.into_iter().zip(members);
            let sender = ends.next().expect("one more than receivers");
            Scene { groups, change, sender, receivers: ends.collect(), packets }
        })
}

/// Sets in random order: the sender is not always the lowest address.
trait ShuffleVec {
    fn prop_shuffle_vec(self) -> BoxedStrategy<Vec<Ipv4Addr>>;
}

impl<S: Strategy<Value = BTreeSet<Ipv4Addr>> + 'static> ShuffleVec for S {
    fn prop_shuffle_vec(self) -> BoxedStrategy<Vec<Ipv4Addr>> {
        self.prop_map(|set| set.into_iter().collect::<Vec<_>>()).prop_shuffle().boxed()
    }
}

/// One loaded fabric for all scenes; keys are never reused.
struct Bench {
    fabric: Fabric,
    events: Events,
    /// Jumps between scenes: nothing is in flight then, so nothing needs to rest.
    clock: Instant,
    next_key: u32,
    judged: usize,
    /// By outcome, and whether over IPv6.
    seen: BTreeMap<(Reason, bool), usize>,
    /// Flows that ended with their rules, and that did not.
    outlived: [usize; 2],
}

impl Bench {
    fn new() -> Self {
        let mut fabric = Fabric::load().expect("load the fabric (root?)");
        let events = fabric.take_events().expect("events");
        fabric.tell_accepted(true);
        let clock = Instant::now();
        Self {
            fabric,
            events,
            clock,
            next_key: 1,
            judged: 0,
            seen: BTreeMap::new(),
            outlived: [0; 2],
        }
    }

    fn interface(&mut self, vpc: u32, end: &(Ipv4Addr, BTreeSet<usize>)) -> u32 {
        let key = self.next_key;
        self.next_key += 1;
        let view = Interface {
            key,
            vpc,
            subnet: "192.0.2.0/24".parse().expect("prefix"),
            subnet_v6: None,
            mac: SENDER_MAC,
            addresses: vec![end.0.into(), six(end.0).into()],
            prefixes_v6: Vec::new(),
            groups: end.1.iter().copied().map(group_id).collect(),
            source_dest_check: true,
            routes: None,
            acl: None,
            timeouts: Timeouts::default(),
            place: Place::Port(PORT),
            kind: Kind::Instance,
            logged: false,
        };
        self.fabric.put_interface(view, self.clock).expect("put interface");
        key
    }

    /// Runs one frame; what the program did and reported.
    fn send(&mut self, frame: &[u8]) -> (u32, Vec<Event>) {
        let mut context = [0u8; 192];
        // struct __sk_buff: ifindex is the eleventh word.
        context[40..44].copy_from_slice(&PORT.to_ne_bytes());
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.ctx_in = Some(&context);
        let result = self.fabric.program().expect("program").test_run(options).expect("test run");
        (result.return_value, self.events.drain())
    }
}

/// A frame as [`Sent`] says; `number` makes the flow unlike the others of its scene.
fn frame(from: Ipv4Addr, to: Ipv4Addr, sent: &Sent, number: u16) -> Vec<u8> {
    let (from, to) = (sent.address(from), sent.address(to));
    let mut transport = vec![0u8; 28];
    match sent.protocol {
        TCP => {
            transport[..2].copy_from_slice(&(1024 + number).to_be_bytes());
            transport[2..4].copy_from_slice(&sent.port.to_be_bytes());
            transport[12] = 5 << 4;
            transport[13] = 0x02; // SYN
        }
        UDP => {
            transport[..2].copy_from_slice(&(1024 + number).to_be_bytes());
            transport[2..4].copy_from_slice(&sent.port.to_be_bytes());
            transport[5] = 28;
        }
        ICMP | ICMPV6 => {
            transport[..2].copy_from_slice(&sent.port.to_be_bytes());
            transport[4..6].copy_from_slice(&number.to_be_bytes());
        }
        _ => {}
    }
    let mut frame = [ROUTER_MAC, SENDER_MAC].concat();
    let length = transport.len() as u8;
    match (from, to) {
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, length, sent.protocol, 64]);
            frame.extend([from.octets(), to.octets()].concat());
        }
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend([0x08, 0x00, 0x45, 0, 0, 20 + length, 0, 1, 0, 0, 64]);
            frame.extend([sent.protocol, 0, 0]);
            frame.extend([from.octets(), to.octets()].concat());
        }
        _ => unreachable!("both ends are of the packet's family"),
    }
    frame.extend(transport);
    frame
}

/// What [`judge`] says of a packet at both gates: reason, egress rule, ingress rule.
fn expected(scene: &Scene, groups: &[Group], sent: &Sent) -> (Reason, [Option<RuleId>; 2]) {
    let of = |members: &BTreeSet<usize>| -> Vec<Group> {
        members.iter().map(|number| groups[*number].clone()).collect()
    };
    let ids = |members: &BTreeSet<usize>| members.iter().copied().map(group_id).collect();
    let (from, to) = (&scene.sender, &scene.receivers[sent.to]);
    let gate =
        |own: &(Ipv4Addr, BTreeSet<usize>), peer: &(Ipv4Addr, BTreeSet<usize>), direction| {
            let packet = Packet {
                protocol: sent.protocol,
                port: sent.port,
                peer: sent.address(peer.0),
                peer_groups: ids(&peer.1),
            };
            judge(&of(&own.1), direction, &packet).map(|rule| rule.id.clone())
        };
    let egress = gate(from, to, Direction::Egress);
    if egress.is_none() {
        return (Reason::EgressGroups, [None, None]);
    }
    match gate(to, from, Direction::Ingress) {
        None => (Reason::IngressGroups, [egress, None]),
        ingress => (Reason::Allowed, [egress, ingress]),
    }
}

/// What becomes of an allowed flow when all rules go: it lives on where both ends track it.
fn without_rules(scene: &Scene, groups: &[Group], sent: &Sent) -> Reason {
    let (from, to) = (&scene.sender, &scene.receivers[sent.to]);
    let tracks =
        |own: &(Ipv4Addr, BTreeSet<usize>), peer: &(Ipv4Addr, BTreeSet<usize>), direction| {
            let packet = Packet {
                protocol: sent.protocol,
                port: sent.port,
                peer: sent.address(peer.0),
                peer_groups: peer.1.iter().copied().map(group_id).collect(),
            };
            tracks(own.1.iter().map(|number| &groups[*number]), direction, &packet)
        };
    if !tracks(from, to, Direction::Egress) {
        Reason::EgressGroups
    } else if !tracks(to, from, Direction::Ingress) {
        Reason::IngressGroups
    } else {
        Reason::Allowed
    }
}

fn agrees(bench: &mut Bench, scene: &Scene) -> Result<(), TestCaseError> {
    bench.clock += Duration::from_secs(10);
    let vpc = bench.next_key;
    let mut groups: Vec<Group> =
        scene.groups.iter().enumerate().map(|(number, rules)| group(number, rules)).collect();
    for group in &groups {
        bench.fabric.put_group(vpc, group.clone(), bench.clock).expect("put group");
    }
    let sender = bench.interface(vpc, &scene.sender);
    bench.fabric.put_port(PORT, sender, vpc).expect("put port");
    let receivers: Vec<u32> = scene.receivers.iter().map(|end| bench.interface(vpc, end)).collect();
    // Protocols without ports have one flow per pair of addresses.
    let mut tracked = BTreeSet::new();
    let mut flows = Vec::new();
    for (number, sent) in scene.packets.iter().enumerate() {
        if number == scene.packets.len() / 2 {
            let (changed, rules) = &scene.change;
            groups[*changed] = group(*changed, rules);
            let new = groups[*changed].clone();
            bench.fabric.put_group(vpc, new, bench.clock).expect("put group");
        }
        if tracked.contains(&(sent.protocol, sent.to, sent.six)) {
            continue;
        }
        let to = scene.receivers[sent.to].0;
        let (action, events) = bench.send(&frame(scene.sender.0, to, sent, number as u16));
        let (reason, rules) = expected(scene, &groups, sent);
        prop_assert_eq!(events.len(), 1, "{:?}: one event each", sent);
        let event = events[0];
        let named = |consulted: Option<hedgerow_datapath::fabric::Consulted>, direction| {
            let consulted = consulted?;
            bench.fabric.rule(consulted.set, direction, consulted.rule?).cloned()
        };
        let seen =
            [named(event.egress, Direction::Egress), named(event.ingress, Direction::Ingress)];
        prop_assert_eq!((event.reason, seen), (reason, rules), "{:?}", sent);
        let allowed = reason == Reason::Allowed;
        prop_assert_eq!(action, if allowed { TC_ACT_REDIRECT } else { TC_ACT_SHOT });
        prop_assert_eq!((event.from, event.to), (Some(sender), Some(receivers[sent.to])));
        let ends = (sent.address(scene.sender.0), sent.address(to));
        prop_assert_eq!((event.source, event.destination), ends);
        if allowed && !matches!(sent.protocol, TCP | UDP | ICMP | ICMPV6) {
            tracked.insert((sent.protocol, sent.to, sent.six));
        }
        if allowed {
            let later = without_rules(scene, &groups, sent);
            // ICMP that asks nothing is never tracked.
            let [kind, _] = sent.port.to_be_bytes();
            let asks = match sent.protocol {
                ICMP => matches!(kind, 0 | 8 | 13),
                ICMPV6 => matches!(kind, 128 | 129),
                _ => true,
            };
            if asks {
                flows.push((frame(scene.sender.0, to, sent, number as u16), later));
            }
        }
        bench.judged += 1;
        *bench.seen.entry((reason, sent.six)).or_default() += 1;
    }
    for number in 0..groups.len() {
        bench.fabric.put_group(vpc, group(number, &[]), bench.clock).expect("put group");
    }
    for (frame, later) in flows {
        let (_, events) = bench.send(&frame);
        let seen = events.first().map_or(Reason::Allowed, |event| event.reason);
        prop_assert_eq!(seen, later, "{:?}", frame);
        bench.outlived[usize::from(later == Reason::Allowed)] += 1;
    }
    for key in receivers.into_iter().chain([sender]) {
        bench.fabric.remove_interface(key, bench.clock).expect("remove interface");
    }
    for group in &groups {
        bench.fabric.remove_group(vpc, &group.id, bench.clock).expect("remove group");
    }
    Ok(())
}

#[test]
fn ebpf_judges_like_the_plain_function() {
    let bench = RefCell::new(Bench::new());
    let config = Config { cases: 120, failure_persistence: None, ..Config::default() };
    let start = Instant::now();
    let result =
        TestRunner::new(config).run(&scene(60), |scene| agrees(&mut bench.borrow_mut(), &scene));
    let bench = bench.into_inner();
    println!("{} packets in {:?}: {:?}", bench.judged, start.elapsed(), bench.seen);
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(bench.outlived.iter().all(|flows| *flows >= 20), "both: {:?}", bench.outlived);
    assert!(bench.judged >= 5_000, "enough packets were judged: {}", bench.judged);
    for reason in [Reason::Allowed, Reason::EgressGroups, Reason::IngressGroups] {
        for six in [false, true] {
            let seen = bench.seen.get(&(reason, six)).copied().unwrap_or(0);
            assert!(seen >= 150, "every outcome is common: {reason} {six} {seen}");
        }
    }
}

#[test]
fn the_last_of_a_thousand_rules_decides() {
    let mut bench = Bench::new();
    let rule = |number: u16| {
        let traffic = Traffic::Tcp { from: number * 8, to: number * 8 + 3 };
        (Direction::Ingress, traffic, Peer::V4("10.0.0.0/8".parse().expect("prefix")))
    };
    let all = Peer::V4("0.0.0.0/0".parse().expect("prefix"));
    let mut groups = vec![Vec::new(); GROUPS];
    groups[0] = vec![(Direction::Egress, Traffic::All, all)];
    groups[1] = (0..1000).map(rule).collect();
    let ends = |last, group| (Ipv4Addr::new(10, 0, 0, last), BTreeSet::from([group]));
    let packets = [0u16, 3, 4, 7, 8, 7992, 7995, 7996];
    let scene = Scene {
        change: (2, Vec::new()),
        groups,
        sender: ends(1, 0),
        receivers: vec![ends(2, 1)],
        packets: packets.map(|port| Sent { protocol: TCP, port, to: 0, six: false }).to_vec(),
    };
    agrees(&mut bench, &scene).expect("agrees");
    assert_eq!(bench.seen[&(Reason::Allowed, false)], 5);
    assert_eq!(bench.seen[&(Reason::IngressGroups, false)], 3);
}
