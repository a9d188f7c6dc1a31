//! Packets to and from outside, and what is too large for that way.

use hedgerow_core::acl::Entry;

use super::*;

/// Somebody outside.
const OUTSIDE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb9, 0, 0, 0, 0, 0, 7);
const INTERNET: u32 = 0x4000_0000;
const EGRESS_ONLY: u32 = 0x6000_0000;
/// The route table of the client's subnet.
const TABLE: u32 = 1;
const ACL: u32 = 1;

fn prefix(text: &str) -> IpPrefix {
    text.parse().expect("prefix")
}

/// The bench whose VPC has the block 2001:db8::/48, gateways of both kinds, and a route to one.
fn behind(gateway: u32) -> Bench {
    let mut bench = bench();
    for (key, kind) in [(INTERNET, Kind::Internet), (EGRESS_ONLY, Kind::EgressOnly)] {
        let mut view = Bench::view(key, Vec::new(), "sg-client");
        view.subnet = Ipv4Prefix::ANY;
        view.groups.clear();
        (view.source_dest_check, view.kind) = (false, kind);
        bench.fabric.put_interface(view, Instant::now()).expect("put interface");
    }
    for key in [1, 2, 3] {
        let mut view = bench.fabric.interface(key).expect("known").clone();
        view.routes = Some(TABLE);
        bench.fabric.put_interface(view, Instant::now()).expect("put interface");
    }
    let IpPrefix::V6(block) = prefix("2001:db8::/48") else { panic!("of IPv6") };
    bench.fabric.put_public_block(block, 0).expect("put block");
    bench.leads(Some(Target::Interface(gateway)));
    bench
}

impl Bench {
    /// Where everything but the VPC's own block goes.
    fn leads(&mut self, target: Option<Target>) {
        let local = (prefix("2001:db8::/48"), Target::Local);
        let default = target.map(|target| (prefix("::/0"), target));
        let routes = [local].into_iter().chain(default).collect();
        self.fabric.put_routes(TABLE, routes, Instant::now()).expect("put routes");
    }

    /// What becomes of a packet that comes from outside, and why.
    fn arrives(&mut self, source: Ipv6Addr, to: Ipv6Addr, next: u8, payload: &[u8]) -> Arrival {
        self.fabric.put_internet(PORT).expect("put the Internet");
        let frame = packet(9, (source, to), next, payload);
        let out = self.fabric.rehearse(PORT, &frame).expect("test run");
        let events = self.events.drain();
        assert!(events.len() <= 1, "{events:?}");
        let event = events.first();
        assert_eq!(out.is_some(), event.is_none_or(|event| event.reason == Reason::Allowed));
        Arrival { frame: out, event: event.copied() }
    }
}

struct Arrival {
    frame: Option<Vec<u8>>,
    event: Option<Event>,
}

impl Arrival {
    fn reason(&self) -> Option<Reason> {
        self.event.map(|event| event.reason)
    }
}

#[test]
fn addresses_are_public_as_they_are() {
    let mut bench = behind(INTERNET);
    let (out, event) = bench.show(1, &packet(1, (CLIENT, OUTSIDE), UDP, &udp(9)));
    let (out, event) = (out.expect("forwarded"), event.expect("a new flow"));
    assert_eq!((event.reason, event.to), (Reason::Allowed, Some(INTERNET)));
    assert_eq!(out[22..38], CLIENT.octets(), "nothing is exchanged");
    let answer = [[0, 9], [3, 232], [0, 8], [0, 0]].concat();
    let back = bench.arrives(OUTSIDE, CLIENT, UDP, &answer);
    let frame = back.frame.expect("tracked");
    assert_eq!((back.event, &frame[..12]), (None, &[mac(1), ROUTER_MAC].concat()[..]));

    let new = bench.arrives(OUTSIDE, NEIGHBOUR, UDP, &udp(9));
    let event = new.event.expect("a new flow");
    assert_eq!((event.from, event.to, event.vpc), (Some(INTERNET), Some(2), 0));
    assert_eq!(new.reason(), Some(Reason::Allowed), "by the rule");
    let refused = bench.arrives(OUTSIDE, NEIGHBOUR, UDP, &udp(10));
    assert_eq!(refused.reason(), Some(Reason::IngressGroups));
    let stranger = Ipv6Addr::new(0x2001, 0xdba, 0, 0, 0, 0, 0, 1);
    let dropped = [
        ((OUTSIDE, stranger), Reason::UnknownPublicAddress, None),
        (
            (OUTSIDE, Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 77)),
            Reason::UnknownPublicAddress,
            None,
        ),
        ((CLIENT, NEIGHBOUR), Reason::SourceAddress, Some(2)),
        ((LINK_LOCAL, NEIGHBOUR), Reason::SourceAddress, Some(2)),
    ];
    for ((source, to), reason, at) in dropped {
        let event = bench.arrives(source, to, UDP, &udp(9)).event.expect("a drop");
        assert_eq!((event.reason, event.to), (reason, at), "{source} → {to}");
    }
    for kind in [133, 135, 136, 143] {
        let chatter = packet(9, (LINK_LOCAL, NEIGHBOUR), ICMPV6, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        let out = bench.fabric.rehearse(PORT, &chatter).expect("test run");
        assert_eq!((out, bench.events.drain()), (None, Vec::new()), "type {kind}");
    }
}

#[test]
fn what_comes_in_is_a_matter_of_the_way_back() {
    let mut bench = behind(INTERNET);
    for (target, reason) in [
        (None, Reason::NoRoute),
        (Some(Target::Unserved), Reason::NoRoute),
        (Some(Target::Blackhole), Reason::Blackhole),
        (Some(Target::Interface(3)), Reason::NoRoute),
        (Some(Target::Interface(99)), Reason::NoRoute),
        (Some(Target::Local), Reason::SourceAddress),
        (Some(Target::Interface(EGRESS_ONLY)), Reason::EgressOnly),
        (Some(Target::Interface(INTERNET)), Reason::Allowed),
    ] {
        bench.leads(target);
        let seen = bench.arrives(OUTSIDE, NEIGHBOUR, UDP, &udp(9));
        let event = seen.event.expect("news");
        assert_eq!((event.reason, event.to), (reason, Some(2)), "{target:?}");
    }
    bench.leads(None);
    let seen = bench.arrives(OUTSIDE, NEIGHBOUR, UDP, &udp(9));
    assert_eq!(seen.reason(), Some(Reason::NoRoute), "also for a flow that is known");
    bench.leads(Some(Target::Interface(INTERNET)));
    let IpPrefix::V6(block) = prefix("2001:db8::/48") else { panic!("of IPv6") };
    bench.fabric.remove_public_block(block).expect("remove block");
    let seen = bench.arrives(OUTSIDE, NEIGHBOUR, UDP, &udp(9));
    assert_eq!(seen.reason(), Some(Reason::UnknownPublicAddress));
}

#[test]
fn an_egress_only_gateway_lets_answers_in() {
    let mut bench = behind(EGRESS_ONLY);
    // Untracked: everything may come and go.
    let open = |direction| Rule {
        id: "sgr-1".into(),
        direction,
        traffic: Traffic::All,
        peer: prefix("::/0").into(),
    };
    let rules = [Direction::Ingress, Direction::Egress].map(open).to_vec();
    bench
        .fabric
        .put_group(0, Group { id: "sg-client".into(), rules }, Instant::now())
        .expect("put group");
    let answer = [[0, 9], [3, 232], [0, 8], [0, 0]].concat();
    let echo = |kind: u8| vec![kind, 0, 0, 0, 0, 1, 0, 1];
    let unasked = |bench: &mut Bench, next, payload: &[u8]| {
        bench.arrives(OUTSIDE, CLIENT, next, payload).reason()
    };
    let refused = Some(Reason::EgressOnly);
    assert_eq!(unasked(&mut bench, UDP, &answer), refused);
    assert_eq!(unasked(&mut bench, ICMPV6, &echo(128)), refused);
    assert_eq!(unasked(&mut bench, ICMPV6, &echo(129)), refused);
    let there = packet(1, (CLIENT, OUTSIDE), UDP, &udp(9));
    assert_eq!(bench.reason(1, &there), Some(Reason::Allowed));
    assert_eq!(unasked(&mut bench, UDP, &answer), None);
    let ping = packet(1, (CLIENT, OUTSIDE), ICMPV6, &echo(128));
    assert_eq!(bench.reason(1, &ping), Some(Reason::Allowed));
    assert_eq!(unasked(&mut bench, ICMPV6, &echo(129)), None);
    assert_eq!(unasked(&mut bench, ICMPV6, &echo(128)), refused, "a request is no answer");

    // Errors about what began inside, from wherever.
    let error = |quote: &[u8]| [&[2, 0, 0, 0, 0, 0, 5, 0], quote].concat();
    let router = Ipv6Addr::new(0x2001, 0xdbc, 0, 0, 0, 0, 0, 1);
    let seen = bench.arrives(router, CLIENT, ICMPV6, &error(&there[14..]));
    assert_eq!((seen.frame.is_some(), seen.reason()), (true, None));
    let other = packet(1, (CLIENT, OUTSIDE), UDP, &udp(10));
    let seen = bench.arrives(router, CLIENT, ICMPV6, &error(&other[14..]));
    assert_eq!(seen.reason(), refused, "quotes no flow");

    // A flow of the internet gateway is none of this one's.
    bench.leads(Some(Target::Interface(INTERNET)));
    let asked = [[0, 7], [0, 7], [0, 8], [0, 0]].concat();
    assert_eq!(unasked(&mut bench, UDP, &asked), Some(Reason::Allowed));
    bench.leads(Some(Target::Interface(EGRESS_ONLY)));
    assert_eq!(unasked(&mut bench, UDP, &asked), refused);
    assert_eq!(unasked(&mut bench, UDP, &answer), None, "this one's is still there");
}

#[test]
fn errors_belong_to_the_flow_they_quote_whoever_reports() {
    let mut bench = behind(EGRESS_ONLY);
    let routes = vec![
        (prefix("2001:db8::/48"), Target::Local),
        (prefix("2001:db9::/32"), Target::Interface(INTERNET)),
        (prefix("::/0"), Target::Interface(EGRESS_ONLY)),
    ];
    bench.fabric.put_routes(TABLE, routes, Instant::now()).expect("put routes");
    let router = Ipv6Addr::new(0x2001, 0xdbc, 0, 0, 0, 0, 0, 1);
    let mut reports = |to: Ipv6Addr, by: Ipv6Addr| {
        let there = packet(1, (CLIENT, to), UDP, &udp(9));
        let error = [&[3, 0, 0, 0, 0, 0, 0, 0], &there[14..]].concat();
        let before = bench.arrives(by, CLIENT, ICMPV6, &error).reason();
        assert_eq!(bench.reason(1, &there), Some(Reason::Allowed));
        let after = bench.arrives(by, CLIENT, ICMPV6, &error);
        assert_eq!((after.frame.is_some(), after.reason()), (true, None), "{by} about {to}");
        before
    };
    assert_eq!(reports(OUTSIDE, router), Some(Reason::EgressOnly), "by the internet gateway");
    assert_eq!(reports(router, OUTSIDE), Some(Reason::IngressGroups), "by the egress-only one");
}

#[test]
fn who_forwards_for_addresses_of_nobody_does_not_get_out() {
    let mut bench = behind(INTERNET);
    let mut view = bench.fabric.interface(1).expect("known").clone();
    view.source_dest_check = false;
    bench.fabric.put_interface(view, Instant::now()).expect("put interface");
    let private = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    for (source, reason) in [(private, Reason::NoPublicAddress), (NEIGHBOUR, Reason::Allowed)] {
        let seen = bench.reason(1, &packet(1, (source, OUTSIDE), UDP, &udp(9)));
        assert_eq!(seen, Some(reason), "{source}");
    }
}

/// A datagram of 1,501 bytes, and an error about one.
fn too_large() -> [Vec<u8>; 2] {
    let mut datagram = udp(9);
    datagram[4..6].copy_from_slice(&1461u16.to_be_bytes());
    datagram.resize(1461, 7);
    let quote = packet(1, (CLIENT, OUTSIDE), UDP, &datagram)[14..1435].to_vec();
    let error = [vec![1, 4, 0, 0, 0, 0, 0, 0], quote, vec![0; 32]].concat();
    [(UDP, datagram), (ICMPV6, error)]
        .map(|(next, payload)| packet(1, (CLIENT, OUTSIDE), next, &payload))
}

#[test]
fn the_router_tells_how_large_a_packet_may_be() {
    let mut bench = behind(INTERNET);
    let [datagram, error] = too_large();
    assert_eq!((datagram.len(), error.len()), (14 + 1501, 14 + 1501));
    let mut tell = |frame: &[u8]| {
        bench.fabric.put_port(PORT, 1, 0).expect("put port");
        let out = bench.fabric.rehearse(PORT, frame).expect("test run");
        let reasons: Vec<_> = bench.events.drain().iter().map(|event| event.reason).collect();
        (out, reasons)
    };
    let (answer, reasons) = tell(&datagram);
    assert_eq!(reasons, [Reason::Allowed, Reason::PacketTooBig], "a flow, whose packet is lost");
    let answer = answer.expect("an answer");
    assert_eq!(answer.len(), 14 + 1280, "as much as every way takes");
    assert_eq!((&answer[..6], &answer[6..12]), (&mac(1)[..], &ROUTER_MAC[..]));
    assert_eq!(answer[14..22], [0x60, 0, 0, 0, 4, 216, ICMPV6, 255], "1,240 bytes of ICMPv6");
    assert_eq!(answer[22..54], [ROUTER_LINK_LOCAL.octets(), CLIENT.octets()].concat());
    assert_eq!((&answer[54..56], &answer[58..62]), (&[2, 0][..], &1500u32.to_be_bytes()[..]));
    assert_eq!(answer[62..], datagram[14..14 + 1232], "what was sent");
    assert_eq!(sum(&answer), 0xffff, "the checksum");
    let (answer, reasons) = tell(&datagram);
    assert_eq!((answer.is_some(), &reasons[..]), (true, &[Reason::PacketTooBig][..]), "tracked");
    let (answer, reasons) = tell(&error);
    assert_eq!((answer, reasons.last()), (None, Some(&Reason::PacketTooBig)), "none about errors");

    // The list of the sender's subnet must let it in, from the router.
    for (peer, allow, passes) in
        [("fe80::/10", true, true), ("2001::/16", true, false), ("fe80::/10", false, false)]
    {
        let too_big = Traffic::Icmpv6 { kind: Some(2), code: Some(0) };
        let entry = |allow, traffic, peer| Entry { allow, traffic, peer: prefix(peer) };
        let acl = Acl {
            ingress: vec![
                entry(allow, too_big, peer),
                entry(true, Traffic::Icmp { kind: None, code: None }, "::/0"),
            ],
            egress: vec![entry(true, Traffic::All, "::/0")],
        };
        bench.fabric.put_acl(ACL, acl, Instant::now()).expect("put list");
        let mut view = bench.fabric.interface(1).expect("known").clone();
        view.acl = Some(ACL);
        bench.fabric.put_interface(view, Instant::now()).expect("put interface");
        bench.fabric.put_port(PORT, 1, 0).expect("put port");
        let out = bench.fabric.rehearse(PORT, &datagram).expect("test run");
        assert_eq!(out.is_some(), passes, "{peer} {allow}");
        let drop = bench.events.drain().pop().expect("a drop");
        assert_eq!((drop.reason, drop.source), (Reason::PacketTooBig, CLIENT.into()));
    }
}
