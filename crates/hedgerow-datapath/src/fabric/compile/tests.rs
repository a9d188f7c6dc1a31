use super::*;

fn rule(number: usize, traffic: Traffic, peer: &str) -> Rule {
    let peer = match peer.parse() {
        Ok(prefix) => IpPrefix::into(prefix),
        Err(_) => Peer::Group(peer.into()),
    };
    let id = RuleId(format!("sgr-{number}"));
    Rule { id, direction: Direction::Ingress, traffic, peer }
}

fn gate(rules: Vec<Rule>) -> Gate {
    compile([&Group { id: "sg-1".into(), rules }], Direction::Ingress).expect("few rules")
}

fn port_bits(gate: &Gate, table: usize, port: u16) -> u64 {
    let block = gate.tables[table].at[usize::from(port >> 8)];
    let bits = gate.blocks[usize::from(block)].at[usize::from(port & 255)];
    gate.bits[usize::from(bits)].word[0]
}

#[test]
fn port_ranges_have_exact_edges() {
    let any = "0.0.0.0/0";
    let gate = gate(vec![
        rule(0, Traffic::Tcp { from: 5432, to: 5432 }, any),
        rule(1, Traffic::Tcp { from: 1000, to: 6000 }, any),
        rule(2, Traffic::Tcp { from: 65535, to: 65535 }, any),
        rule(3, Traffic::All, any),
        rule(4, Traffic::Udp { from: 0, to: 65535 }, any),
    ]);
    let seen = [0, 999, 1000, 5431, 5432, 5433, 6000, 6001, 65534, 65535]
        .map(|port| port_bits(&gate, 0, port));
    let expected = [8, 8, 10, 10, 11, 10, 10, 8, 8, 12];
    assert_eq!(seen, expected);
    assert_eq!(port_bits(&gate, 1, 77), 0b11000);
    assert!(gate.blocks.len() < 12, "uniform blocks are shared: {}", gate.blocks.len());
}

#[test]
fn icmp_types_and_codes() {
    let any = "0.0.0.0/0";
    let gate = gate(vec![
        rule(0, Traffic::Icmp { kind: Some(8), code: None }, any),
        rule(1, Traffic::Icmp { kind: Some(3), code: Some(4) }, any),
        rule(2, Traffic::Icmp { kind: None, code: None }, any),
        rule(3, Traffic::Icmpv6 { kind: Some(8), code: None }, any),
    ]);
    assert_eq!(port_bits(&gate, 3, 0x0800), 0b1000, "ICMPv6 is another protocol");
    assert_eq!(port_bits(&gate, 2, 0x0800), 0b101);
    assert_eq!(port_bits(&gate, 2, 0x08ff), 0b101);
    assert_eq!(port_bits(&gate, 2, 0x0304), 0b110);
    assert_eq!(port_bits(&gate, 2, 0x0303), 0b100);
    assert_eq!(port_bits(&gate, 0, 0x0800), 0, "not for TCP");
}

#[test]
fn a_prefix_carries_the_bits_of_all_that_cover_it() {
    let all = Traffic::All;
    let gate = gate(vec![
        rule(0, all, "10.1.2.0/24"),
        rule(1, all, "10.0.0.0/8"),
        rule(2, all, "10.1.0.0/16"),
        rule(3, all, "10.2.0.0/16"),
        rule(4, all, "0.0.0.0/0"),
        rule(5, all, "10.1.2.0/24"),
        rule(6, all, "::/0"),
        rule(7, all, "2001:db8::/32"),
    ]);
    let bits: BTreeMap<String, u64> =
        gate.prefixes.iter().map(|(p, bits)| (p.to_string(), bits.word[0])).collect();
    assert_eq!(bits["10.1.2.0/24"], 0b110111);
    assert_eq!(bits["10.1.0.0/16"], 0b010110);
    assert_eq!(bits["10.2.0.0/16"], 0b011010);
    assert_eq!(bits["0.0.0.0/0"], 0b010000);
    assert_eq!(bits["2001:db8::/32"], 0b11000000, "not those of IPv4");
    assert_eq!(bits["::/0"], 0b01000000);
    assert_eq!(gate.prefixes.len(), 7);
}

#[test]
fn peer_groups_are_united() {
    let gate = gate(vec![rule(0, Traffic::All, "sg-a"), rule(1, Traffic::All, "sg-b")]);
    let both = BTreeSet::from(["sg-a".into(), "sg-b".into(), "sg-c".into()]);
    assert_eq!(gate.peer_bits(&both).word[0], 0b11);
    assert_eq!(gate.peer_bits(&BTreeSet::from(["sg-b".into()])).word[0], 0b10);
}

#[test]
fn a_thousand_rules_and_no_more() {
    let rules = |n: usize| Group {
        id: "sg-1".into(),
        rules: (0..n).map(|i| rule(i, Traffic::All, "10.0.0.0/8")).collect(),
    };
    assert!(compile([&rules(MAX_RULES)], Direction::Ingress).is_ok());
    let refused = compile([&rules(MAX_RULES + 1)], Direction::Ingress);
    assert_eq!(
        refused.map(|_| ()),
        Err(TooManyRules { count: MAX_RULES + 1, direction: Direction::Ingress })
    );
}
