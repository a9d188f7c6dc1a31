//! Route tables and network ACLs: the program says what [`hedgerow_core::route::lookup`] and
//! [`hedgerow_core::acl::passes`] say, of new flows and, after a change, of tracked ones.

use hedgerow_core::acl::{self, Entry};
use hedgerow_core::route::{self, Target};
use hedgerow_core::sg::{IpPrefix, Ipv4Prefix};
use hedgerow_datapath::fabric::Acl;

use super::*;

/// Where a random route leads; `Box` forwards for others.
#[derive(Debug, Clone, Copy)]
enum Leads {
    Local,
    Box,
    Blackhole,
    Unserved,
}

/// Route table, the sender's list outwards and the receivers' inwards.
type Rules = (Vec<(IpPrefix, Leads)>, Vec<Entry>, Vec<Entry>);

#[derive(Debug, Clone)]
struct Edges {
    before: Rules,
    after: Rules,
    sender: Ipv4Addr,
    owners: Vec<Ipv4Addr>,
    packets: Vec<(Sent, Ipv4Addr)>,
}

fn edge_rules() -> impl Strategy<Value = Rules> {
    let leads = proptest::sample::select(vec![
        Leads::Local,
        Leads::Local,
        Leads::Local,
        Leads::Box,
        Leads::Blackhole,
        Leads::Unserved,
    ]);
    let routes = proptest::collection::vec((prefix(), leads), 0..16).prop_map(|mut routes| {
        routes.push(("10.0.0.0/8".parse().expect("prefix"), Leads::Local));
        routes.push(("2001:db8::/32".parse().expect("prefix"), Leads::Local));
        let once: BTreeMap<_, _> = routes.into_iter().collect();
        once.into_iter().collect()
    });
    (routes, entries(), entries())
}

/// A list that ends with an entry for all, as most do.
fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let allow = prop_oneof![3 => Just(true), 1 => Just(false)];
    let entry = (allow, traffic(), prefix());
    let entry = entry.prop_map(|(allow, traffic, peer)| Entry { allow, traffic, peer });
    proptest::collection::vec(entry, 0..16).prop_map(|mut entries| {
        for peer in ["0.0.0.0/0", "::/0"] {
            let peer = peer.parse().expect("prefix");
            entries.push(Entry { allow: true, traffic: Traffic::All, peer });
        }
        entries
    })
}

fn edges() -> impl Strategy<Value = Edges> {
    let addresses = proptest::collection::btree_set(address(), RECEIVERS + 1).prop_shuffle_vec();
    let packets = proptest::collection::vec((sent(), 0..RECEIVERS, address()), 30);
    (edge_rules(), edge_rules(), addresses, packets).prop_map(
        |(before, after, mut owners, packets)| {
            let sender = owners.pop().expect("one more than receivers");
            let to = |(sent, owner, other): (Sent, usize, Ipv4Addr)| {
                let known = sent.port % 4 != 0 || other == sender;
                (sent, if known { owners[owner] } else { other })
            };
            let packets = packets.into_iter().map(to).collect();
            Edges { before, after, sender, owners, packets }
        },
    )
}

/// What the plain functions say; the groups let everything pass.
fn verdict(edges: &Edges, rules: &Rules, sent: &Sent, to: Ipv4Addr) -> Reason {
    let (routes, out, into) = rules;
    match route::lookup(&targets(routes, 1), sent.address(to)) {
        Some(Target::Local) if edges.owners.contains(&to) => {}
        Some(Target::Interface(_)) => {}
        Some(Target::Blackhole) => return Reason::Blackhole,
        _ => return Reason::NoRoute,
    }
    if !acl::passes(out, sent.protocol, sent.port, sent.address(to)) {
        return Reason::NetworkAclEgress;
    }
    if !acl::passes(into, sent.protocol, sent.port, sent.address(edges.sender)) {
        return Reason::NetworkAclIngress;
    }
    Reason::Allowed
}

fn targets(routes: &[(IpPrefix, Leads)], middle: u32) -> Vec<(IpPrefix, Target)> {
    let target = |leads| match leads {
        Leads::Local => Target::Local,
        Leads::Box => Target::Interface(middle),
        Leads::Blackhole => Target::Blackhole,
        Leads::Unserved => Target::Unserved,
    };
    routes.iter().map(|(prefix, leads)| (*prefix, target(*leads))).collect()
}

impl Bench {
    fn put_rules(&mut self, vpc: u32, rules: &Rules, middle: u32) {
        let (routes, out, into) = rules;
        self.fabric.put_routes(vpc, targets(routes, middle), self.clock).expect("put routes");
        let lists = [
            (vpc * 2, Acl { ingress: Vec::new(), egress: out.clone() }),
            (vpc * 2 + 1, Acl { ingress: into.clone(), egress: Vec::new() }),
        ];
        for (key, list) in lists {
            self.fabric.put_acl(key, list, self.clock).expect("put ACL");
        }
    }

    /// An interface whose groups let everything pass.
    fn edge_interface(&mut self, vpc: u32, address: Ipv4Addr, number: u8) -> u32 {
        let key = self.interface(vpc, &(address, BTreeSet::from([0])));
        let mut view = self.fabric.interface(key).expect("just put").clone();
        let (sender, middle) = (number == 0, number == 1);
        view.subnet = Ipv4Prefix::new(Ipv4Addr::new(192, 0, 2 + number, 0), 24);
        view.routes = sender.then_some(vpc);
        view.acl = Some(vpc * 2 + u32::from(!sender));
        view.source_dest_check = !middle;
        self.fabric.put_interface(view, self.clock).expect("put interface");
        key
    }
}

fn edges_agree(bench: &mut Bench, edges: &Edges) -> Result<(), TestCaseError> {
    bench.clock += Duration::from_secs(10);
    let vpc = bench.next_key;
    // Tracked: everybody may come in, but no rule says that all may go out.
    let rule = |direction, peer: &str| {
        let peer: IpPrefix = peer.parse().expect("prefix");
        (direction, Traffic::All, peer.into())
    };
    let (out, into) = (Direction::Egress, Direction::Ingress);
    let rules = [
        rule(into, "0.0.0.0/0"),
        rule(into, "::/0"),
        rule(out, "0.0.0.0/1"),
        rule(out, "2000::/3"),
    ];
    let open = group(0, &rules);
    bench.fabric.put_group(vpc, open, bench.clock).expect("put group");
    let sender = bench.edge_interface(vpc, edges.sender, 0);
    let middle = bench.edge_interface(vpc, Ipv4Addr::new(172, 16, 0, 9), 1);
    let mut keys = vec![sender, middle];
    keys.extend(edges.owners.iter().map(|owner| bench.edge_interface(vpc, *owner, 2)));
    bench.fabric.put_port(PORT, sender, vpc).expect("put port");
    for (rules, number) in [(&edges.before, 0), (&edges.after, 1), (&edges.before, 2)] {
        bench.put_rules(vpc, rules, middle);
        for (position, (sent, to)) in edges.packets.iter().enumerate() {
            let frame = frame(edges.sender, *to, sent, position as u16);
            // The second is forwarded on the shortcut, if any is.
            for time in 0..2 {
                let (action, events) = bench.send(&frame);
                let expected = verdict(edges, rules, sent, *to);
                let what = format!("{sent:?} to {to}, rules {number}, time {time}");
                let allowed = expected == Reason::Allowed;
                prop_assert_eq!(
                    action,
                    if allowed { TC_ACT_REDIRECT } else { TC_ACT_SHOT },
                    "{}",
                    &what
                );
                // Of a tracked flow there is no news.
                let seen = events.first().map_or(Reason::Allowed, |event| event.reason);
                prop_assert_eq!(seen, expected, "{}", what);
                bench.judged += 1;
                *bench.seen.entry((expected, sent.six)).or_default() += 1;
            }
        }
    }
    for key in keys {
        bench.fabric.remove_interface(key, bench.clock).expect("remove interface");
    }
    bench.fabric.remove_group(vpc, &group_id(0), bench.clock).expect("remove group");
    bench.fabric.remove_routes(vpc, bench.clock).expect("remove routes");
    for key in [vpc * 2, vpc * 2 + 1] {
        bench.fabric.remove_acl(key, bench.clock).expect("remove ACL");
    }
    Ok(())
}

#[test]
fn routes_and_network_acls_agree_with_the_plain_functions() {
    let bench = RefCell::new(Bench::new());
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let result =
        TestRunner::new(config).run(&edges(), |edges| edges_agree(&mut bench.borrow_mut(), &edges));
    let bench = bench.into_inner();
    println!("{} packets: {:?}", bench.judged, bench.seen);
    if let Err(error) = result {
        panic!("{error}");
    }
    let common = [
        Reason::Allowed,
        Reason::NoRoute,
        Reason::Blackhole,
        Reason::NetworkAclEgress,
        Reason::NetworkAclIngress,
    ];
    for reason in common {
        for six in [false, true] {
            let seen = bench.seen.get(&(reason, six)).copied().unwrap_or(0);
            assert!(seen >= 50, "every outcome is common: {reason} {six} {seen}");
        }
    }
}
