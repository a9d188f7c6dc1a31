//! Cases that once differed, by name.

use hedgerow_core::reason::Reason;

use super::addresses::{FIXED, nth, subnet_blocks};
use super::generate::{
    Edge, Fixed, Interface, Leads, Net, Pick, Route, Send, Six, Step, To, Topology, Twist, What,
};
use super::packet::Body;
use super::{Bench, Mode};

/// Nothing but what is there in every case, in the VPCs' default groups.
fn quiet() -> Topology {
    let net = || Net {
        groups: Vec::new(),
        tables: Vec::new(),
        acls: Vec::new(),
        subnets: Vec::new(),
        fixed: Edge { table: None, acl: None },
        interfaces: Vec::new(),
    };
    let fixed = Fixed { groups: Vec::new(), secondaries: Vec::new(), sixes: Vec::new() };
    Topology {
        lists: Vec::new(),
        nets: [net(), net()],
        fixed: vec![fixed; FIXED],
        elastics: Vec::new(),
        steps: Vec::new(),
    }
}

/// A second subnet, and a branch in it: the seventh interface.
fn second_subnet(topology: &mut Topology, edge: Edge) {
    topology.nets[0].subnets = vec![edge];
    topology.nets[0].interfaces = vec![Interface {
        subnet: Pick(1),
        host: Pick(0),
        six: Some(Six::Address(Pick(0))),
        groups: Vec::new(),
        check: true,
        trunk: Some(Pick(0)),
    }];
}

fn send(from: u8, to: To, body: Body) -> Step {
    let what = What::New { to, body, first_fragment: false, extensions: 0 };
    Step::Send(Send { from: Pick(from), what, twist: Twist::Nothing })
}

/// Runs the case both ways; why its only packet fared as it did.
fn fate(name: &str, topology: &Topology) -> Reason {
    let [by_test_run, live] = [Mode::TestRun, Mode::Live].map(|mode| {
        let mut bench = Bench::new(mode, format!("t{}-{name}{}", std::process::id(), mode as u8));
        let tally = bench.run(0, topology, true).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(tally.packets, 1, "{tally:?}");
        tally.seen.keys().next().expect("a packet").1
    });
    assert_eq!(by_test_run, live);
    live
}

/// The flow record of a packet that a network ACL kept in its subnet named the security-group rule
/// that had let it out of its interface, as if that rule had decided.
#[test]
fn a_drop_by_a_network_acl_names_no_rule() {
    let mut topology = quiet();
    topology.nets[0].acls = vec![Vec::new()];
    second_subnet(&mut topology, Edge { table: None, acl: Some(Pick(0)) });
    let to = To::Interface(Pick(0), Pick(0));
    topology.steps = vec![send(FIXED as u8, to, Body::Udp { from: 1024, to: 53 })];
    assert_eq!(fate("acl", &topology), Reason::NetworkAclEgress);
}

/// A packet to an IPv6 address of its own subnet that nobody has went where the route table leads; in
/// IPv4 no route is asked within a subnet.
#[test]
fn nobody_of_the_own_subnet_is_not_routed() {
    let mut topology = quiet();
    let own = subnet_blocks(0, 0)[1];
    topology.nets[0].tables = vec![vec![Route { prefix: own, to: Leads::Interface(Pick(0)) }]];
    second_subnet(&mut topology, Edge { table: Some(Pick(0)), acl: None });
    let nobody = To::Address(nth(own, 15));
    topology.steps = vec![send(FIXED as u8, nobody, Body::Udp { from: 1024, to: 53 })];
    assert_eq!(fate("near", &topology), Reason::NoRoute);
}

/// A packet of IPv6 from outside, whose receiver's subnet routes its source to an interface, was put
/// down to that interface, which had never seen it.
#[test]
fn who_the_way_back_leads_to_did_not_send() {
    let mut topology = quiet();
    let back =
        Route { prefix: "2001:db8::/32".parse().expect("a prefix"), to: Leads::Interface(Pick(0)) };
    topology.nets[0].tables = vec![vec![back]];
    second_subnet(&mut topology, Edge { table: Some(Pick(0)), acl: None });
    // The fifth interface of the VPC, and its IPv6 address.
    let to = To::Interface(Pick(4), Pick(1));
    let body = Body::Udp { from: 1024, to: 53 };
    let what = What::Outside { to, body, first_fragment: false, extensions: 0 };
    topology.steps = vec![Step::Send(Send { from: Pick(0), what, twist: Twist::Nothing })];
    assert_eq!(fate("back", &topology), Reason::NoRoute);
}
