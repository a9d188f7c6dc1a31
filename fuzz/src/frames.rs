//! Frames: the fabric's parser, in the kernel (`BPF_PROG_TEST_RUN`), does what a plain parser says.
//!
//! The kernel's program has no coverage counters; the plain parser has, and takes the same turns.
//! Needs root.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use aya::programs::ProgramError;
use hedgerow_core::reason::Reason;
use hedgerow_core::sg::{Direction, Group, GroupId, Peer, Rule, RuleId, Traffic};
use hedgerow_datapath::fabric::{
    Event, Events, Fabric, FabricError, Interface, Kind, Place, ROUTER_MAC, Timeouts,
};

const SENDER: [u8; 4] = [10, 0, 0, 10];
const RECEIVER: [u8; 4] = [10, 0, 0, 20];
const SENDER_V6: Ipv6Addr = Ipv6Addr::new(0x3fff, 0x23, 0, 0, 0, 0, 0, 0x10);
const RECEIVER_V6: Ipv6Addr = Ipv6Addr::new(0x3fff, 0x23, 0, 0, 0, 0, 0, 0x20);
const SENDER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const RECEIVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The loopback device: the frames come from there, as far as the program can tell.
const PORT: u32 = 1;
const UNTAGGED: u16 = 0xffff;
/// The tag of a branch that the sender's port has too.
const BRANCH_VLAN: u16 = 5;

/// What must become of a frame.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Dropped(Reason),
    /// No verdict: ARP and neighbour discovery that is answered or not, and protocols that a VPC does
    /// not carry.
    Unjudged,
    Forwarded,
    /// It depends on frames before: later fragments, ICMP errors.
    Open,
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The fabric's order of precedence (`bpf/fabric.bpf.c`), told again.
fn fate(frame: &[u8]) -> Fate {
    let (Some(mut ethertype), mut l3) = (word(frame, 12), 14) else {
        return Fate::Dropped(Reason::Malformed);
    };
    let mut vlan = UNTAGGED;
    if ethertype == 0x8100 {
        let (Some(tag), Some(inner)) = (word(frame, 14), word(frame, 16)) else {
            return Fate::Dropped(Reason::Malformed);
        };
        (vlan, ethertype, l3) = (tag & 0xfff, inner, 18);
    }
    if vlan != UNTAGGED && vlan != BRANCH_VLAN {
        return Fate::Dropped(Reason::UnknownVlan);
    }
    if frame[6..12] != SENDER_MAC {
        return Fate::Dropped(Reason::SourceMac);
    }
    match ethertype {
        0x0806 => arp(&frame[l3..]),
        0x0800 => match ipv4(&frame[l3..]) {
            Some(_) if vlan == BRANCH_VLAN => Fate::Dropped(Reason::SourceAddress),
            Some(packet) => judge(frame, &packet),
            None => Fate::Dropped(Reason::Malformed),
        },
        0x86dd => match ipv6(&frame[l3..]) {
            Some(packet) => judge_v6(frame, &packet, vlan == BRANCH_VLAN),
            None => Fate::Dropped(Reason::Malformed),
        },
        _ => Fate::Unjudged,
    }
}

fn arp(bytes: &[u8]) -> Fate {
    let whole = bytes.len() >= 28 && bytes[..6] == [0, 1, 8, 0, 6, 4];
    if whole { Fate::Unjudged } else { Fate::Dropped(Reason::Malformed) }
}

struct Packet<A> {
    source: A,
    destination: A,
    protocol: u8,
    later_fragment: bool,
    /// Destination port, or ICMP type and code.
    port: u16,
}

/// A datagram that lies wholly in `bytes`, and whose headers do not contradict each other.
fn ipv4(bytes: &[u8]) -> Option<Packet<[u8; 4]>> {
    let header = bytes.get(..20)?;
    let (length, total) = (usize::from(header[0] & 15) * 4, usize::from(word(header, 2)?));
    if header[0] >> 4 != 4 || length < 20 || total < length || total > bytes.len() {
        return None;
    }
    let fragment = word(header, 6)?;
    let packet = Packet {
        source: header[12..16].try_into().ok()?,
        destination: header[16..20].try_into().ok()?,
        protocol: header[9],
        later_fragment: fragment & 0x1fff != 0,
        port: 0,
    };
    if packet.later_fragment {
        return Some(packet);
    }
    let more = fragment & 0x2000 != 0;
    let port = transport((packet.protocol, ICMP), &bytes[length..total], more)?;
    Some(Packet { port, ..packet })
}

/// The same of IPv6, behind at most six extension headers (RFC 8200, 4).
fn ipv6(bytes: &[u8]) -> Option<Packet<Ipv6Addr>> {
    let header = bytes.get(..40)?;
    let total = 40 + usize::from(word(header, 4)?);
    let address =
        |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(&header[at..at + 16]).ok()?));
    let bytes = bytes.get(..total).filter(|_| header[0] >> 4 == 6)?;
    let mut packet = Packet {
        source: address(8)?,
        destination: address(24)?,
        protocol: header[6],
        later_fragment: false,
        port: 0,
    };
    let (mut at, mut more) = (40, false);
    for _ in 0..MOST_EXTENSIONS {
        if !EXTENSIONS.contains(&packet.protocol) {
            break;
        }
        let extension = bytes.get(at..at + 8)?;
        let length = usize::from(extension[1]);
        at += match packet.protocol {
            FRAGMENT => 8,
            AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        if packet.protocol == FRAGMENT {
            let fragment = word(extension, 2)?;
            more = fragment & 1 != 0;
            packet.later_fragment = fragment >> 3 != 0;
        }
        packet.protocol = extension[0];
        if packet.later_fragment {
            return Some(packet);
        }
    }
    if EXTENSIONS.contains(&packet.protocol) {
        return None;
    }
    // A header may say that it ends where the packet has ended already.
    let rest = bytes.get(at..).unwrap_or_default();
    let port = transport((packet.protocol, ICMPV6), rest, more)?;
    Some(Packet { port, ..packet })
}

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
/// Hop-by-hop options, routing, fragment, authentication, destination options.
const EXTENSIONS: [u8; 5] = [0, 43, FRAGMENT, AUTHENTICATION, 60];
const MOST_EXTENSIONS: usize = 6;

/// The port of a transport header that is whole; `icmp` is the family's number of it.
fn transport((protocol, icmp): (u8, u8), bytes: &[u8], more: bool) -> Option<u16> {
    match protocol {
        6 => {
            let header = bytes.get(..20)?;
            let length = usize::from(header[12] >> 4) * 4;
            (20..=bytes.len()).contains(&length).then(|| word(header, 2))?
        }
        17 => {
            let header = bytes.get(..8)?;
            let length = usize::from(word(header, 4)?);
            (length >= 8 && (more || length <= bytes.len())).then(|| word(header, 2))?
        }
        number if number == icmp => word(bytes.get(..8)?, 0),
        _ => Some(0),
    }
}

fn judge_v6(frame: &[u8], packet: &Packet<Ipv6Addr>, branch: bool) -> Fate {
    let local = |address: Ipv6Addr| address.is_unspecified() || address.is_unicast_link_local();
    let kind = packet.port >> 8;
    if packet.protocol == ICMPV6 && matches!(kind, 130..=137 | 143) {
        return Fate::Unjudged;
    }
    if frame[0] & 1 == 1 || packet.destination.is_multicast() {
        return Fate::Dropped(Reason::Multicast);
    }
    if branch || packet.source != SENDER_V6 {
        return Fate::Dropped(Reason::SourceAddress);
    }
    if packet.destination == SENDER_V6 {
        return Fate::Open;
    }
    if local(packet.destination) || packet.destination != RECEIVER_V6 {
        // Services of the VPC, which this one has not, and nobody's addresses.
        return Fate::Dropped(Reason::NoRoute);
    }
    let allowed = match packet.protocol {
        _ if packet.later_fragment => return Fate::Open,
        ICMPV6 if matches!(kind, 1..=4) => return Fate::Open,
        ICMPV6 => kind == 128,
        6 | 17 => (1000..2000).contains(&packet.port),
        47 => true,
        _ => false,
    };
    if allowed { Fate::Forwarded } else { Fate::Dropped(Reason::IngressGroups) }
}

fn judge(frame: &[u8], packet: &Packet<[u8; 4]>) -> Fate {
    if packet.source != SENDER {
        return Fate::Dropped(Reason::SourceAddress);
    }
    let [first, .., last] = packet.destination;
    let in_subnet = packet.destination[..3] == SENDER[..3];
    if frame[0] & 1 == 1 || first >= 224 || (in_subnet && last == 255) {
        return Fate::Dropped(Reason::Multicast);
    }
    if packet.destination == SENDER {
        return Fate::Open;
    }
    if packet.destination != RECEIVER {
        // Services of the VPC, which this one has not, and nobody's addresses.
        return Fate::Dropped(Reason::NoRoute);
    }
    let allowed = match packet.protocol {
        _ if packet.later_fragment => return Fate::Open,
        1 if matches!(packet.port >> 8, 3 | 4 | 11 | 12) => return Fate::Open,
        1 => packet.port >> 8 == 8,
        6 | 17 => (1000..2000).contains(&packet.port),
        47 => true,
        _ => false,
    };
    if allowed { Fate::Forwarded } else { Fate::Dropped(Reason::IngressGroups) }
}

struct Bench {
    fabric: Fabric,
    events: Events,
}

static BENCH: OnceLock<Mutex<Bench>> = OnceLock::new();

fn rule(number: usize, direction: Direction, traffic: Traffic, peer: &str) -> Rule {
    let peer: hedgerow_core::prefix::IpPrefix = peer.parse().expect("prefix");
    Rule { id: RuleId(format!("sgr-{number}")), direction, traffic, peer: Peer::from(peer) }
}

/// An interface in subnet 10.0.0.0/24 that checks addresses.
fn plain(key: u32, place: Place) -> Interface {
    Interface {
        key,
        vpc: 1,
        subnet: "10.0.0.0/24".parse().expect("prefix"),
        subnet_v6: Some("3fff:23::/64".parse().expect("prefix")),
        mac: [0; 6],
        addresses: Vec::new(),
        prefixes_v6: Vec::new(),
        groups: BTreeSet::new(),
        source_dest_check: true,
        routes: None,
        acl: None,
        timeouts: Timeouts::default(),
        place,
        kind: Kind::Instance,
        logged: true,
    }
}

impl Bench {
    fn new() -> Self {
        let mut fabric = Fabric::load().expect("load the fabric (root?)");
        let events = fabric.take_events().expect("events");
        let (now, range) = (Instant::now(), (1000, 1999));
        let traffic = [
            Traffic::Tcp { from: range.0, to: range.1 },
            Traffic::Udp { from: range.0, to: range.1 },
            Traffic::Icmp { kind: Some(8), code: None },
            Traffic::Icmpv6 { kind: Some(128), code: None },
            Traffic::Other(47),
        ];
        let all = ["0.0.0.0/0", "::/0"];
        let open = all.map(|peer| rule(0, Direction::Egress, Traffic::All, peer)).to_vec();
        // Not for everybody: such flows would not be tracked, which is another test's matter.
        let near = ["10.0.0.0/8", "3fff:23::/32"];
        let ingress = traffic.into_iter().flat_map(|traffic| near.map(|peer| (traffic, peer)));
        let guarded = (1..)
            .zip(ingress)
            .map(|(n, (traffic, peer))| rule(n, Direction::Ingress, traffic, peer))
            .collect();
        for (id, rules) in [("sg-open", open), ("sg-guarded", guarded)] {
            let group = Group { id: id.into(), rules };
            fabric.put_group(1, group, now).expect("put group");
        }
        let interface =
            |key, mac, address: Option<([u8; 4], Ipv6Addr)>, group: &str, place| Interface {
                mac,
                addresses: address
                    .into_iter()
                    .flat_map(|(v4, v6)| [Ipv4Addr::from(v4).into(), v6.into()])
                    .collect(),
                groups: BTreeSet::from([GroupId(group.to_owned())]),
                ..plain(key, place)
            };
        for view in [
            interface(1, SENDER_MAC, Some((SENDER, SENDER_V6)), "sg-open", Place::Port(PORT)),
            interface(
                2,
                RECEIVER_MAC,
                Some((RECEIVER, RECEIVER_V6)),
                "sg-guarded",
                Place::Port(PORT),
            ),
            interface(
                3,
                SENDER_MAC,
                None,
                "sg-open",
                Place::Branch { trunk: 1, vlan: BRANCH_VLAN },
            ),
        ] {
            fabric.put_interface(view, now).expect("put interface");
        }
        fabric.put_port(PORT, 1, 1).expect("put port");
        Bench { fabric, events }
    }
}

pub fn run(bytes: &[u8]) {
    let Some((how, bytes)) = bytes.split_first() else { return };
    // What BPF_PROG_TEST_RUN takes.
    if !(14..2_000).contains(&bytes.len()) {
        return;
    }
    let mut frame = bytes.to_vec();
    amend(*how, &mut frame);
    let mut bench = BENCH.get_or_init(|| Mutex::new(Bench::new())).lock().expect("one thread");
    let leaves = match bench.fabric.rehearse(PORT, &frame) {
        Ok(leaves) => leaves,
        // The kernel does not make a packet of it, for example of half an IPv6 header.
        Err(FabricError::Program(ProgramError::SyscallError(error)))
            if error.io_error.kind() == ErrorKind::InvalidInput =>
        {
            return;
        }
        Err(error) => panic!("rehearse {frame:02x?}: {error}"),
    };
    let events: Vec<Event> = bench.events.drain();
    let reasons: Vec<Reason> = events.iter().map(|event| event.reason).collect();
    let fate = fate(&frame);
    let agrees = match &fate {
        Fate::Dropped(reason) => leaves.is_none() && reasons == [*reason],
        Fate::Unjudged => reasons.is_empty(),
        Fate::Forwarded => {
            let to_receiver = |frame: &Vec<u8>| frame.starts_with(&RECEIVER_MAC);
            leaves.as_ref().is_some_and(to_receiver)
                && (reasons.is_empty() || reasons == [Reason::Allowed])
        }
        Fate::Open => true,
    };
    assert!(agrees, "expected {fate:?}, got {reasons:?} and {leaves:02x?} of {frame:02x?}");
}

/// Puts right what random bytes would hardly ever have, as far as `how` says.
fn amend(how: u8, frame: &mut [u8]) {
    if how & 1 != 0 {
        frame[..6].copy_from_slice(&ROUTER_MAC);
        frame[6..12].copy_from_slice(&SENDER_MAC);
    }
    let l3 = if frame[12..14] == [0x81, 0] { 18 } else { 14 };
    let end = frame.len();
    if how & 16 != 0 {
        amend_v6(how, frame, l3);
        return;
    }
    if how & 2 != 0 && end >= l3 + 20 {
        frame[l3 - 2..l3].copy_from_slice(&[8, 0]);
        frame[l3 + 12..l3 + 16].copy_from_slice(&SENDER);
        frame[l3 + 16..l3 + 20].copy_from_slice(&RECEIVER);
    }
    if how & 4 != 0 && end >= l3 + 20 {
        frame[l3] = 0x45 | frame[l3] & 0x0f;
        frame[l3 + 2..l3 + 4].copy_from_slice(&((end - l3) as u16).to_be_bytes());
    }
    if how & 8 != 0 && end >= l3 + 20 {
        frame[l3 + 6..l3 + 8].fill(0);
    }
}

fn amend_v6(how: u8, frame: &mut [u8], l3: usize) {
    let end = frame.len();
    if end < l3 + 40 {
        return;
    }
    if how & 2 != 0 {
        frame[l3 - 2..l3].copy_from_slice(&[0x86, 0xdd]);
        frame[l3 + 8..l3 + 24].copy_from_slice(&SENDER_V6.octets());
        frame[l3 + 24..l3 + 40].copy_from_slice(&RECEIVER_V6.octets());
    }
    if how & 4 != 0 {
        frame[l3] = 0x60 | frame[l3] & 0x0f;
        frame[l3 + 4..l3 + 6].copy_from_slice(&((end - l3 - 40) as u16).to_be_bytes());
    }
    if how & 8 != 0 {
        frame[l3 + 6] = EXTENSIONS[usize::from(frame[l3 + 6]) % EXTENSIONS.len()];
    }
}
