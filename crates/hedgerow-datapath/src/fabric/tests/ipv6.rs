//! IPv6, by whole frames through `BPF_PROG_TEST_RUN`: neighbour discovery, extension headers,
//! fragments, what is truncated, errors about tracked flows. Needs root.

mod gateways;

use std::net::Ipv6Addr;

use hedgerow_core::sg::{ICMPV6, IpPrefix, UDP};

use super::*;

/// The sender's subnet and others of the VPC.
const CLIENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1);
const NEIGHBOUR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);
const FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 2);
/// In the far one's delegated prefix.
const DELEGATED: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0xd, 0, 0, 9);
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 1);
const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
const DNS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253);
const NOBODY: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

fn mac(key: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, key]
}

/// Client and neighbour in one subnet, another interface in a second; the client may send anything,
/// the others let UDP 9 and echo requests in.
fn bench() -> Bench {
    let mut fabric = Fabric::load().expect("load the fabric (root?)");
    let events = fabric.take_events().expect("events");
    fabric.tell_accepted(true);
    let mut bench = Bench { fabric, events };
    let rule = |direction, traffic| Rule {
        id: "sgr-1".into(),
        direction,
        traffic,
        peer: "::/0".parse::<IpPrefix>().expect("prefix").into(),
    };
    let echo = Traffic::Icmpv6 { kind: Some(128), code: None };
    let rules = [
        ("sg-client", vec![rule(Direction::Egress, Traffic::All)]),
        (
            "sg-server",
            vec![
                rule(Direction::Ingress, Traffic::Udp { from: 9, to: 9 }),
                rule(Direction::Ingress, echo),
            ],
        ),
    ];
    for (id, rules) in rules {
        let group = Group { id: id.into(), rules };
        bench.fabric.put_group(0, group, Instant::now()).expect("put group");
    }
    for (key, address, group, subnet) in [
        (1, CLIENT, "sg-client", "10.0.0.0/24"),
        (2, NEIGHBOUR, "sg-server", "10.0.0.0/24"),
        (3, FAR, "sg-server", "10.0.1.0/24"),
    ] {
        let mut view = Bench::view(key, vec![address.into()], group);
        view.mac = mac(key as u8);
        view.subnet = subnet.parse().expect("prefix");
        if key == 3 {
            view.prefixes_v6 = vec!["2001:db8:0:2:d::/80".parse().expect("prefix")];
        }
        bench.fabric.put_interface(view, Instant::now()).expect("put interface");
    }
    bench.fabric.put_port(PORT, 1, 0).expect("put port");
    bench
}

/// A frame from the interface `key`, to the router.
fn packet(key: u8, ends: (Ipv6Addr, Ipv6Addr), next: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = [ROUTER_MAC, mac(key)].concat();
    let [high, low] = (payload.len() as u16).to_be_bytes();
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, high, low, next, 255]);
    frame.extend([ends.0.octets(), ends.1.octets()].concat());
    frame.extend(payload);
    frame
}

/// 1000 → `port`.
fn udp(port: u16) -> Vec<u8> {
    [[3, 232], port.to_be_bytes(), [0, 8], [0, 0]].concat()
}

impl Bench {
    /// What becomes of a frame that the interface `key` sends: the frame as it leaves, and what was
    /// reported.
    fn show(&mut self, key: u32, frame: &[u8]) -> (Option<Vec<u8>>, Option<Event>) {
        self.fabric.put_port(PORT, key, 0).expect("put port");
        let out = self.fabric.rehearse(PORT, frame).expect("test run");
        let events = self.events.drain();
        assert!(events.len() <= 1, "{events:?}");
        (out, events.first().copied())
    }

    fn reason(&mut self, key: u32, frame: &[u8]) -> Option<Reason> {
        let (out, event) = self.show(key, frame);
        let reason = event.map(|event| event.reason);
        assert_eq!(out.is_some(), reason.is_none_or(|reason| reason == Reason::Allowed));
        reason
    }
}

/// A neighbour solicitation from `source` for `target`.
fn solicitation(source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1);
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    if source != NOBODY {
        message.extend([1, 1, 2, 0, 0, 0, 0, 1]);
    }
    packet(1, (source, group), ICMPV6, &message)
}

/// One's complement sum of an answer with its pseudo header; 0xffff if its checksum is right.
fn sum(frame: &[u8]) -> u32 {
    let mut bytes = frame[22..].to_vec();
    bytes.extend(((frame.len() - 54) as u32).to_be_bytes());
    bytes.extend([0, 0, 0, ICMPV6]);
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16)
}

/// Who answers, and for whom.
fn answer(bench: &mut Bench, frame: &[u8]) -> Option<([u8; 6], u8, Ipv6Addr, Ipv6Addr)> {
    let (out, event) = bench.show(1, frame);
    assert_eq!(event, None, "discovery is no flow");
    let out = out?;
    assert_eq!(out.len(), 14 + 40 + 32);
    assert_eq!((out[20], out[21], out[54]), (ICMPV6, 255, 136), "an advertisement");
    assert_eq!(sum(&out), 0xffff, "its checksum");
    assert_eq!(out[..6], mac(1));
    let at = |from: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&out[from..from + 16]).expect("16"));
    assert_eq!((at(22), &out[6..12]), (at(62), &out[80..86]), "who is asked for answers");
    Some((out[80..86].try_into().expect("6"), out[58], at(62), at(38)))
}

#[test]
fn the_vpc_answers_neighbour_solicitations() {
    let mut bench = bench();
    for (target, who, flags) in [
        (ROUTER_LINK_LOCAL, ROUTER_MAC, 0xe0),
        (NEIGHBOUR, mac(2), 0x60),
        (METADATA, ROUTER_MAC, 0xe0),
        (DNS, ROUTER_MAC, 0xe0),
    ] {
        for asker in [CLIENT, LINK_LOCAL] {
            let seen = answer(&mut bench, &solicitation(asker, target));
            assert_eq!(seen, Some((who, flags, target, asker)), "{target}");
        }
    }
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let seen = answer(&mut bench, &solicitation(NOBODY, NEIGHBOUR));
    assert_eq!(seen, Some((mac(2), 0x20, NEIGHBOUR, all)), "a duplicate is told to all");
    for silent in [CLIENT, FAR, LINK_LOCAL, Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 77)] {
        assert_eq!(answer(&mut bench, &solicitation(NOBODY, silent)), None, "{silent}");
        assert_eq!(answer(&mut bench, &solicitation(CLIENT, silent)), None, "{silent}");
    }
    let mut from_afar = solicitation(CLIENT, NEIGHBOUR);
    from_afar[21] = 254;
    assert_eq!(answer(&mut bench, &from_afar), None, "it came over a router");
    let mut short = solicitation(CLIENT, NEIGHBOUR);
    short[19] = 16;
    assert_eq!(answer(&mut bench, &short), None, "no target");
}

#[test]
fn the_router_advertises_itself_without_a_prefix() {
    let mut bench = bench();
    let routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
    let solicitation = packet(1, (LINK_LOCAL, routers), ICMPV6, &[133, 0, 0, 0, 0, 0, 0, 0]);
    let (out, event) = bench.show(1, &solicitation);
    let out = out.expect("an answer");
    assert_eq!((event, sum(&out)), (None, 0xffff));
    assert_eq!(out[22..38], ROUTER_LINK_LOCAL.octets());
    assert_eq!(out[38..54], LINK_LOCAL.octets());
    // Type, hop limit, managed, 1,800 s; the router's MAC; MTU 9001.
    assert_eq!((out[54], &out[58..62]), (134, &[64, 0x80, 7, 8][..]));
    assert_eq!((&out[70..72], &out[72..78]), (&[1, 1][..], &ROUTER_MAC[..]));
    assert_eq!(out[78..], [5, 1, 0, 0, 0, 0, 0x23, 0x29]);
}

#[test]
fn what_belongs_to_a_link_stays_there() {
    let mut bench = bench();
    let listeners = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
    // Hop-by-hop options with a router alert, then a version 2 report.
    let mut report = vec![ICMPV6, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0, 0, 0, 0, 0];
    let seen = bench.show(1, &packet(1, (LINK_LOCAL, listeners), 0, &report));
    assert_eq!(seen, (None, None), "listener reports go in silence");
    report[8] = 136;
    let seen = bench.show(1, &packet(1, (CLIENT, NEIGHBOUR), 0, &report));
    assert_eq!(seen, (None, None), "so do advertisements");
    let ends = [
        ((LINK_LOCAL, listeners), Reason::Multicast),
        ((LINK_LOCAL, NEIGHBOUR), Reason::SourceAddress),
        ((FAR, NEIGHBOUR), Reason::SourceAddress),
        ((NOBODY, NEIGHBOUR), Reason::SourceAddress),
        ((CLIENT, LINK_LOCAL), Reason::NoRoute),
        ((CLIENT, ROUTER_LINK_LOCAL), Reason::NoRoute),
    ];
    for (ends, reason) in ends {
        let seen = bench.reason(1, &packet(1, ends, UDP, &udp(9)));
        assert_eq!(seen, Some(reason), "{ends:?}");
    }
}

#[test]
fn addresses_and_delegated_prefixes_are_found() {
    let mut bench = bench();
    for to in [NEIGHBOUR, FAR, DELEGATED] {
        let (out, event) = bench.show(1, &packet(1, (CLIENT, to), UDP, &udp(9)));
        let event = event.expect("a new flow");
        assert_eq!((event.reason, event.destination), (Reason::Allowed, to.into()));
        let out = out.expect("forwarded");
        let (owner, sender) = if to == NEIGHBOUR { (mac(2), mac(1)) } else { (mac(3), ROUTER_MAC) };
        assert_eq!((&out[..6], &out[6..12]), (&owner[..], &sender[..]));
        assert_eq!(out[21], 255, "the hop limit is left alone");
        assert_eq!(bench.reason(1, &packet(1, (CLIENT, to), UDP, &udp(9))), None, "tracked");
    }
    let answer = [[0, 9], [3, 232], [0, 8], [0, 0]].concat();
    assert_eq!(bench.reason(3, &packet(3, (DELEGATED, CLIENT), UDP, &answer)), None);
    let elsewhere = Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0xe, 0, 0, 9);
    let seen = bench.reason(1, &packet(1, (CLIENT, elsewhere), UDP, &udp(9)));
    assert_eq!(seen, Some(Reason::NoRoute));
}

#[test]
fn services_are_reached_whatever_groups_say() {
    let mut bench = bench();
    bench
        .fabric
        .put_service(0, PORT, [2, 0, 0, 0, 0, 9], Ipv4Addr::new(10, 0, 0, 2))
        .expect("put service");
    for to in [METADATA, DNS] {
        let (out, _) = bench.show(2, &packet(2, (NEIGHBOUR, to), UDP, &udp(53)));
        assert_eq!(out.expect("delivered")[..6], [2, 0, 0, 0, 0, 9]);
    }
    bench
        .fabric
        .put_service(0, PORT, [2, 0, 0, 0, 0, 9], Ipv4Addr::new(10, 0, 0, 2))
        .expect("put service");
    let frame = packet(9, (DNS, NEIGHBOUR), UDP, &udp(1000));
    let out = bench.fabric.rehearse(PORT, &frame).expect("test run").expect("delivered");
    assert_eq!((&out[..6], &out[6..12]), (&mac(2)[..], &ROUTER_MAC[..]));
}

#[test]
fn transport_is_behind_extension_headers() {
    let mut bench = bench();
    let options = |next: u8| vec![next, 0, 1, 4, 0, 0, 0, 0];
    let long = |next: u8| [vec![next, 1], vec![0; 14]].concat();
    let authentication = |next: u8| [vec![next, 4], vec![0; 22]].concat();
    let chain = [options(43), long(60), long(51), authentication(UDP)].concat();
    for (port, reason) in [(9, Reason::Allowed), (10, Reason::IngressGroups)] {
        let payload = [chain.clone(), udp(port)].concat();
        let (_, event) = bench.show(1, &packet(1, (CLIENT, NEIGHBOUR), 0, &payload));
        let event = event.expect("news");
        assert_eq!((event.reason, event.protocol, event.destination_port), (reason, UDP, port));
    }
    let seven = [options(60).repeat(6), options(UDP), udp(9)].concat();
    let seen = bench.reason(1, &packet(1, (CLIENT, NEIGHBOUR), 60, &seven));
    assert_eq!(seen, Some(Reason::Malformed), "more than anybody needs");
}

#[test]
fn truncated_packets_are_malformed() {
    let mut bench = bench();
    let whole =
        packet(1, (CLIENT, NEIGHBOUR), 60, &[vec![UDP, 0, 0, 0, 0, 0, 0, 0], udp(9)].concat());
    // The kernel shows no program less of IPv6 than its header.
    for length in 54..whole.len() {
        let seen = bench.reason(1, &whole[..length]);
        assert_eq!(seen, Some(Reason::Malformed), "{length} bytes");
    }
    // The frame is whole, but the header says less.
    for length in 0..16 {
        let mut frame = whole.clone();
        frame[19] = length;
        assert_eq!(bench.reason(1, &frame), Some(Reason::Malformed), "length {length}");
    }
    assert_eq!(bench.reason(1, &whole), Some(Reason::Allowed));
}

#[test]
fn fragments_follow_the_first() {
    let mut bench = bench();
    let fragment = |offset: u16, more: u16, id: u8, data: &[u8]| {
        let [a, b] = (offset | more).to_be_bytes();
        let payload = [&[UDP, 0, a, b, 0, 0, 0, id], data].concat();
        packet(1, (CLIENT, NEIGHBOUR), 44, &payload)
    };
    let later = |id| fragment(16, 0, id, &[0; 8]);
    assert_eq!(bench.reason(1, &later(1)), Some(Reason::Fragment), "nothing is known of it");
    let first = [udp(9), vec![0; 8]].concat();
    assert_eq!(bench.reason(1, &fragment(0, 1, 1, &first)), Some(Reason::Allowed));
    assert_eq!(bench.reason(1, &later(1)), None);
    assert_eq!(bench.reason(1, &later(2)), Some(Reason::Fragment), "another datagram's");
    let refused = [udp(10), vec![0; 8]].concat();
    assert_eq!(bench.reason(1, &fragment(0, 1, 3, &refused)), Some(Reason::IngressGroups));
    assert_eq!(bench.reason(1, &later(3)), Some(Reason::Fragment));
}

#[test]
fn echoes_and_errors_belong_to_their_flow() {
    let mut bench = bench();
    let echo = |kind: u8, id: u8| vec![kind, 0, 0, 0, 0, id, 0, 1];
    let mut send = |key: u8, ends, message: &[u8]| {
        bench.reason(u32::from(key), &packet(key, ends, ICMPV6, message))
    };
    let (there, back) = ((CLIENT, NEIGHBOUR), (NEIGHBOUR, CLIENT));
    assert_eq!(send(2, back, &echo(129, 1)), Some(Reason::EgressGroups), "nobody asked");
    assert_eq!(send(1, there, &echo(128, 1)), Some(Reason::Allowed));
    assert_eq!(send(2, back, &echo(129, 1)), None);
    assert_eq!(send(2, back, &echo(129, 2)), Some(Reason::EgressGroups), "another id");
    assert_eq!(send(2, back, &echo(128, 1)), Some(Reason::EgressGroups), "a request");
    // Port unreachable and packet too big, which quote the request from its IPv6 header on.
    let quote = packet(1, there, ICMPV6, &echo(128, 1))[14..].to_vec();
    for kind in [1u8, 2, 3, 4] {
        let error = [vec![kind, 0, 0, 0, 0, 0, 5, 0], quote.clone()].concat();
        assert_eq!(send(2, back, &error), None, "type {kind}");
    }
    let mut other = quote.clone();
    other[45] = 2;
    let error = [vec![1, 4, 0, 0, 0, 0, 0, 0], other].concat();
    assert_eq!(send(2, back, &error), Some(Reason::EgressGroups), "quotes no tracked flow");
    let redirect = [vec![137, 0, 0, 0, 0, 0, 0, 0], quote].concat();
    let (out, event) = bench.show(2, &packet(2, back, ICMPV6, &redirect));
    assert_eq!((out, event), (None, None), "redirects are the router's");
}
