//! Cases that once differed, by name.

use hedgerow_core::reason::Reason;

use super::generate::{
    Body, Edge, FIXED, Fixed, Interface, Net, Pick, Send, Step, To, Topology, Twist, What,
};
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
    let fixed = Fixed { groups: Vec::new(), secondaries: Vec::new() };
    Topology {
        lists: Vec::new(),
        nets: [net(), net()],
        fixed: vec![fixed; FIXED],
        steps: Vec::new(),
    }
}

fn send(from: u8, to: u8, body: Body) -> Step {
    let to = To::Interface(Pick(to), Pick(0));
    let what = What::New { to, body, first_fragment: false };
    Step::Send(Send { from: Pick(from), what, twist: Twist::Nothing })
}

/// Runs the case both ways; why its only packet fared as it did.
fn fate(name: &str, topology: &Topology) -> Reason {
    let [by_test_run, live] = [Mode::TestRun, Mode::Live].map(|mode| {
        let mut bench = Bench::new(mode, format!("t{}-{name}{}", std::process::id(), mode as u8));
        let tally = bench.run(0, topology, true).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(tally.packets, 1, "{tally:?}");
        *tally.seen.keys().next().expect("a packet")
    });
    assert_eq!(by_test_run, live);
    live
}

/// The flow record of a packet that a network ACL kept in its subnet named the security-group rule
/// that had let it out of its interface, as if that rule had decided.
#[test]
fn a_drop_by_a_network_acl_names_no_rule() {
    let mut topology = quiet();
    // A subnet whose list lets nothing pass, and a branch in it, which is the seventh interface.
    topology.nets[0].acls = vec![Vec::new()];
    topology.nets[0].subnets = vec![Edge { table: None, acl: Some(Pick(0)) }];
    topology.nets[0].interfaces = vec![Interface {
        subnet: Pick(1),
        host: Pick(0),
        groups: Vec::new(),
        check: true,
        trunk: Some(Pick(0)),
    }];
    topology.steps = vec![send(FIXED as u8, 0, Body::Udp { from: 1024, to: 53 })];
    assert_eq!(fate("acl", &topology), Reason::NetworkAclEgress);
}
