//! From groups to what the evaluator looks up: pure, per set of groups and direction.
//!
//! Every rule has a bit; its number is the rule's position in the order in which
//! [`hedgerow_core::sg::judge`] tries rules, so that the lowest bit names the same rule. A packet
//! passes when `ports & (prefixes | groups)` is not zero, where
//!
//! - `ports` has the rules that match its protocol and port: a two-level table of 256 blocks of
//!   256 ports, most of which are the same few blocks;
//! - `prefixes` has the rules whose prefix holds the peer's address. The kernel's table answers
//!   with the longest prefix only, so each carries the bits of all that cover it;
//! - `groups` has the rules that name one of the peer's groups.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hedgerow_core::sg::{Direction, Group, GroupId, Ipv4Prefix, Peer, Rule, RuleId, Traffic};
use hedgerow_core::sg::{ICMP, TCP, UDP};

use super::layout::{Bits, Block, RULE_WORDS};

/// Most rules an interface may have in one direction.
pub const MAX_RULES: usize = RULE_WORDS * 64;

/// More rules than the evaluator has bits for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "compile rules: {count} {direction:?} rules on one interface, at most {MAX_RULES} are \
     possible; remove rules or groups"
)]
pub struct TooManyRules {
    /// How many there are.
    pub count: usize,
    /// Which way.
    pub direction: Direction,
}

/// The compiled rules of a set of groups in one direction. Numbers inside count from 0 within
/// this value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Rule of each bit.
    pub rules: Vec<RuleId>,
    /// Distinct bit vectors.
    pub bits: Vec<Bits>,
    /// Distinct blocks; entries are positions in `bits`.
    pub blocks: Vec<Block>,
    /// TCP, UDP, ICMP; entries are positions in `blocks`.
    pub tables: [Block; 3],
    /// Position in `blocks` of the block indexed by protocol number.
    pub others: u16,
    /// Peer prefixes, each with the bits of all rules whose prefix covers it.
    pub prefixes: Vec<(Ipv4Prefix, Bits)>,
    /// Peer groups.
    pub groups: BTreeMap<GroupId, Bits>,
}

impl Gate {
    /// Bits of the rules that name one of `groups` as peer.
    pub fn peer_bits(&self, groups: &BTreeSet<GroupId>) -> Bits {
        let named = groups.iter().filter_map(|group| self.groups.get(group));
        named.fold(Bits::NONE, Bits::union)
    }
}

/// Compiles the rules of `groups`, in that order, for `direction`.
///
/// # Errors
/// [`TooManyRules`].
pub fn compile<'a>(
    groups: impl IntoIterator<Item = &'a Group>,
    direction: Direction,
) -> Result<Gate, TooManyRules> {
    let rules: Vec<&Rule> = groups
        .into_iter()
        .flat_map(|group| &group.rules)
        .filter(|rule| rule.direction == direction)
        .collect();
    if rules.len() > MAX_RULES {
        return Err(TooManyRules { count: rules.len(), direction });
    }
    let mut shared = Shared::default();
    let tables = [TCP, UDP, ICMP].map(|protocol| port_table(&rules, protocol, &mut shared));
    let others = std::array::from_fn(|protocol| {
        let mut bits = Bits::NONE;
        for (number, rule) in rules.iter().enumerate() {
            if rule.traffic.matches(protocol as u8, 0) {
                bits.insert(number);
            }
        }
        shared.bits(bits)
    });
    let others = shared.block(Block { at: others });
    Ok(Gate {
        rules: rules.iter().map(|rule| rule.id.clone()).collect(),
        tables,
        others,
        prefixes: prefixes(&rules),
        groups: peer_groups(&rules),
        bits: shared.bits,
        blocks: shared.blocks,
    })
}

/// Bit vectors and blocks, each kept once.
#[derive(Default)]
struct Shared {
    bits: Vec<Bits>,
    bits_at: HashMap<Bits, u16>,
    blocks: Vec<Block>,
    blocks_at: HashMap<Block, u16>,
    uniform: HashMap<u16, u16>,
}

impl Shared {
    fn bits(&mut self, bits: Bits) -> u16 {
        *self.bits_at.entry(bits).or_insert_with(|| {
            self.bits.push(bits);
            (self.bits.len() - 1) as u16
        })
    }

    fn block(&mut self, block: Block) -> u16 {
        *self.blocks_at.entry(block).or_insert_with(|| {
            self.blocks.push(block);
            (self.blocks.len() - 1) as u16
        })
    }

    /// The block in which every port has the same bits.
    fn uniform(&mut self, bits: u16) -> u16 {
        if let Some(&known) = self.uniform.get(&bits) {
            return known;
        }
        let block = self.block(Block { at: [bits; 256] });
        self.uniform.insert(bits, block);
        block
    }
}

/// The intervals of ports (ICMP: type << 8 | code) that `traffic` means under `protocol`; disjoint.
fn intervals(traffic: Traffic, protocol: u8) -> Vec<(u16, u16)> {
    let either = |matches, from, to| if matches { vec![(from, to)] } else { Vec::new() };
    match traffic {
        Traffic::All => vec![(0, u16::MAX)],
        Traffic::Tcp { from, to } => either(protocol == TCP && from <= to, from, to),
        Traffic::Udp { from, to } => either(protocol == UDP && from <= to, from, to),
        Traffic::Other(number) => either(protocol == number, 0, u16::MAX),
        Traffic::Icmp { .. } if protocol != ICMP => Vec::new(),
        Traffic::Icmp { kind: None, code: None } => vec![(0, u16::MAX)],
        Traffic::Icmp { kind: Some(kind), code } => {
            let word = |code| u16::from_be_bytes([kind, code]);
            vec![(word(code.unwrap_or(0)), word(code.unwrap_or(u8::MAX)))]
        }
        Traffic::Icmp { kind: None, code: Some(code) } => {
            let word = |kind| u16::from_be_bytes([kind, code]);
            (0..=u8::MAX).map(|kind| (word(kind), word(kind))).collect()
        }
    }
}

/// Cuts 0..=65535 where the set of matching rules changes: (first port, bits), ascending, the
/// first at port 0.
fn segments(rules: &[&Rule], protocol: u8, shared: &mut Shared) -> Vec<(u32, u16)> {
    let mut changes: BTreeMap<u32, Vec<(usize, bool)>> = BTreeMap::from([(0, Vec::new())]);
    for (number, rule) in rules.iter().enumerate() {
        for (from, to) in intervals(rule.traffic, protocol) {
            changes.entry(u32::from(from)).or_default().push((number, true));
            changes.entry(u32::from(to) + 1).or_default().push((number, false));
        }
    }
    let mut bits = Bits::NONE;
    let mut cut = Vec::with_capacity(changes.len());
    for (start, changes) in changes.range(..=u32::from(u16::MAX)) {
        // A rule's intervals are disjoint, but may touch: ends first.
        for (number, _) in changes.iter().filter(|(_, starts)| !starts) {
            bits.remove(*number);
        }
        for (number, _) in changes.iter().filter(|(_, starts)| *starts) {
            bits.insert(*number);
        }
        cut.push((*start, shared.bits(bits)));
    }
    cut
}

fn port_table(rules: &[&Rule], protocol: u8, shared: &mut Shared) -> Block {
    let segments = segments(rules, protocol, shared);
    let mut at = 0;
    let table = std::array::from_fn(|high| {
        let (first, last) = ((high as u32) << 8, (high as u32) << 8 | 255);
        while segments.get(at + 1).is_some_and(|(start, _)| *start <= first) {
            at += 1;
        }
        if segments.get(at + 1).is_none_or(|(start, _)| *start > last) {
            return shared.uniform(segments[at].1);
        }
        let mut here = at;
        let block = std::array::from_fn(|low| {
            let port = first | low as u32;
            while segments.get(here + 1).is_some_and(|(start, _)| *start <= port) {
                here += 1;
            }
            segments[here].1
        });
        shared.block(Block { at: block })
    });
    Block { at: table }
}

/// Distinct peer prefixes, each with the bits of all that cover it.
fn prefixes(rules: &[&Rule]) -> Vec<(Ipv4Prefix, Bits)> {
    // Ordered by address, then length: what covers a prefix comes before it.
    let mut own: BTreeMap<Ipv4Prefix, Bits> = BTreeMap::new();
    for (number, rule) in rules.iter().enumerate() {
        if let Peer::V4(prefix) = &rule.peer {
            own.entry(*prefix).or_insert(Bits::NONE).insert(number);
        }
    }
    let mut covering: Vec<(Ipv4Prefix, Bits)> = Vec::new();
    own.into_iter()
        .map(|(prefix, bits)| {
            while covering.last().is_some_and(|(wider, _)| !wider.covers(&prefix)) {
                covering.pop();
            }
            let inherited = covering.last().map_or(Bits::NONE, |(_, bits)| *bits);
            let all = bits.union(&inherited);
            covering.push((prefix, all));
            (prefix, all)
        })
        .collect()
}

fn peer_groups(rules: &[&Rule]) -> BTreeMap<GroupId, Bits> {
    let mut groups = BTreeMap::new();
    for (number, rule) in rules.iter().enumerate() {
        if let Peer::Group(group) = &rule.peer {
            groups.entry(group.clone()).or_insert(Bits::NONE).insert(number);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(number: usize, traffic: Traffic, peer: &str) -> Rule {
        let peer = match peer.parse() {
            Ok(prefix) => Peer::V4(prefix),
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
        ]);
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
        ]);
        let bits: BTreeMap<String, u64> =
            gate.prefixes.iter().map(|(p, bits)| (p.to_string(), bits.word[0])).collect();
        assert_eq!(bits["10.1.2.0/24"], 0b110111);
        assert_eq!(bits["10.1.0.0/16"], 0b010110);
        assert_eq!(bits["10.2.0.0/16"], 0b011010);
        assert_eq!(bits["0.0.0.0/0"], 0b010000);
        assert_eq!(gate.prefixes.len(), 5);
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
}
