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
//!
//! The entries of a network ACL are such rules too, some of which deny: the lowest bit decides.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hedgerow_core::acl::Entry;
use hedgerow_core::sg::{
    Direction, Group, GroupId, ICMP, ICMPV6, IpPrefix, Ipv4Prefix, Ipv6Prefix, Peer, Rule, RuleId,
    TCP, Traffic, UDP,
};

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
    /// TCP, UDP, ICMP, ICMPv6; entries are positions in `blocks`.
    pub tables: [Block; 4],
    /// Position in `blocks` of the block indexed by protocol number.
    pub others: u16,
    /// Peer prefixes, each with the bits of all rules whose prefix covers it.
    pub prefixes: Vec<(IpPrefix, Bits)>,
    /// Peer groups.
    pub groups: BTreeMap<GroupId, Bits>,
    /// Rules that deny: none but in network ACLs.
    pub denies: Bits,
    /// Of rules for everybody.
    pub open: Bits,
    /// Whether every packet of TCP, of UDP passes, whoever is at the other end, in IPv4 and then in
    /// IPv6: then all answers to the other direction's flows do.
    pub answers: [bool; 4],
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
    compile_rules(&rules, direction)
}

/// Compiles one direction of a network ACL, whose entries are in the order of their numbers.
///
/// # Errors
/// [`TooManyRules`].
pub fn compile_acl(entries: &[Entry], direction: Direction) -> Result<Gate, TooManyRules> {
    let rule = |(position, entry): (usize, &Entry)| Rule {
        id: RuleId(position.to_string()),
        direction,
        traffic: entry.traffic,
        peer: entry.peer.into(),
    };
    let rules: Vec<Rule> = entries.iter().enumerate().map(rule).collect();
    let mut gate = compile_rules(&rules.iter().collect::<Vec<_>>(), direction)?;
    for (position, _) in entries.iter().enumerate().filter(|(_, entry)| !entry.allow) {
        gate.denies.insert(position);
    }
    // Lists know no flows.
    gate.open = Bits::NONE;
    Ok(gate)
}

fn compile_rules(rules: &[&Rule], direction: Direction) -> Result<Gate, TooManyRules> {
    if rules.len() > MAX_RULES {
        return Err(TooManyRules { count: rules.len(), direction });
    }
    let mut open = Bits::NONE;
    let everybody = [Peer::V4(Ipv4Prefix::ANY), Peer::V6(Ipv6Prefix::ANY)];
    for (number, _) in rules.iter().enumerate().filter(|(_, rule)| everybody.contains(&rule.peer)) {
        open.insert(number);
    }
    let [v4, v6] = everybody;
    let answers = [(&v4, TCP), (&v4, UDP), (&v6, TCP), (&v6, UDP)].map(|(peer, protocol)| {
        rules.iter().any(|rule| rule.peer == *peer && rule.traffic.is_all_of(protocol))
    });
    let mut shared = Shared::default();
    let tables = [TCP, UDP, ICMP, ICMPV6].map(|protocol| port_table(rules, protocol, &mut shared));
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
        prefixes: prefixes(rules),
        groups: peer_groups(rules),
        denies: Bits::NONE,
        open,
        answers,
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
        Traffic::Icmp { kind, code } if protocol == ICMP => messages(kind, code),
        Traffic::Icmpv6 { kind, code } if protocol == ICMPV6 => messages(kind, code),
        Traffic::Icmp { .. } | Traffic::Icmpv6 { .. } => Vec::new(),
    }
}

/// The intervals of type << 8 | code.
fn messages(kind: Option<u8>, code: Option<u8>) -> Vec<(u16, u16)> {
    match (kind, code) {
        (None, None) => vec![(0, u16::MAX)],
        (Some(kind), code) => {
            let word = |code| u16::from_be_bytes([kind, code]);
            vec![(word(code.unwrap_or(0)), word(code.unwrap_or(u8::MAX)))]
        }
        (None, Some(code)) => {
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
fn prefixes(rules: &[&Rule]) -> Vec<(IpPrefix, Bits)> {
    // Ordered by family, address, then length: what covers a prefix comes before it.
    let mut own: BTreeMap<IpPrefix, Bits> = BTreeMap::new();
    for (number, rule) in rules.iter().enumerate() {
        if let Some(prefix) = rule.peer.prefix() {
            own.entry(prefix).or_insert(Bits::NONE).insert(number);
        }
    }
    let mut covering: Vec<(IpPrefix, Bits)> = Vec::new();
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
mod tests;
