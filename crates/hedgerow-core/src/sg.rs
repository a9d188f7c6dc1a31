//! Security groups, their rules, and the plain verdict function.
//!
//! [`judge`] is linear over rules and obviously right; the eBPF evaluator is the fast one and is
//! tested against it. Groups hold allow rules only, so order does not matter and a packet that no
//! rule matches is refused ("Security group rules", Amazon VPC User Guide).

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use crate::prefix::{BadPrefix, IpPrefix, Ipv4Prefix, Ipv6Prefix};

/// A security group's id, `sg-…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupId(pub String);

/// A rule's id, `sgr-…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(pub String);

macro_rules! id {
    ($t:ty) => {
        impl From<&str> for $t {
            fn from(s: &str) -> Self {
                Self(s.to_owned())
            }
        }
        impl std::fmt::Display for $t {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
id!(GroupId);
id!(RuleId);

/// Which gate a rule stands at: leaving the interface, or reaching it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Direction {
    /// From the VPC to the interface.
    Ingress,
    /// From the interface to the VPC.
    Egress,
}

/// Who may be at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Peer {
    /// Addresses of an IPv4 prefix.
    V4(Ipv4Prefix),
    /// Addresses of an IPv6 prefix.
    V6(Ipv6Prefix),
    /// The private addresses of the interfaces that carry this group.
    Group(GroupId),
}

/// What a rule says of the protocol. Numbers are IANA's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Traffic {
    /// Every protocol and port (EC2's `-1`).
    All,
    /// TCP (6).
    Tcp {
        /// First destination port.
        from: u16,
        /// Last destination port.
        to: u16,
    },
    /// UDP (17).
    Udp {
        /// First destination port.
        from: u16,
        /// Last destination port.
        to: u16,
    },
    /// ICMP (1); `None` is EC2's `-1`. A code without a type is not a rule.
    Icmp {
        /// Message type; `None`: all types.
        kind: Option<u8>,
        /// Message code; `None`: all codes.
        code: Option<u8>,
    },
    /// ICMPv6 (58), which is not ICMP; `None` as there.
    Icmpv6 {
        /// Message type; `None`: all types.
        kind: Option<u8>,
        /// Message code; `None`: all codes.
        code: Option<u8>,
    },
    /// Any other protocol by its number; such rules have no ports.
    Other(u8),
}

/// IANA protocol number of ICMP.
pub const ICMP: u8 = 1;
/// IANA protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;
/// IANA protocol number of TCP.
pub const TCP: u8 = 6;
/// IANA protocol number of UDP.
pub const UDP: u8 = 17;

/// One allow rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// `sgr-…`.
    pub id: RuleId,
    /// Which gate the rule opens.
    pub direction: Direction,
    /// For which protocol and ports.
    pub traffic: Traffic,
    /// For whom at the other end.
    pub peer: Peer,
}

/// A security group as the evaluator needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// `sg-…`.
    pub id: GroupId,
    /// Allow rules of both directions.
    pub rules: Vec<Rule>,
}

/// The first packet of a flow, as one gate sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// IANA protocol number.
    pub protocol: u8,
    /// Destination port for TCP and UDP; `type << 8 | code` for ICMP and ICMPv6; 0
    /// otherwise.
    pub port: u16,
    /// Address at the other end: the destination at the egress gate, the source at ingress.
    pub peer: IpAddr,
    /// Groups of the interface in this VPC that owns `peer`; empty where none does.
    pub peer_groups: BTreeSet<GroupId>,
}

impl Traffic {
    /// Whether a packet of `protocol` and `port` (see [`Packet::port`]) is meant.
    pub fn matches(&self, protocol: u8, port: u16) -> bool {
        match *self {
            Traffic::All => true,
            Traffic::Tcp { from, to } => protocol == TCP && (from..=to).contains(&port),
            Traffic::Udp { from, to } => protocol == UDP && (from..=to).contains(&port),
            Traffic::Icmp { kind, code } => protocol == ICMP && is_message(port, kind, code),
            Traffic::Icmpv6 { kind, code } => protocol == ICMPV6 && is_message(port, kind, code),
            Traffic::Other(number) => protocol == number,
        }
    }
}

/// Whether `port`, which is `type << 8 | code`, is such a message.
fn is_message(port: u16, kind: Option<u8>, code: Option<u8>) -> bool {
    let [packet_kind, packet_code] = port.to_be_bytes();
    kind.is_none_or(|k| k == packet_kind) && code.is_none_or(|c| c == packet_code)
}

impl Peer {
    /// The prefix, where the peer is one.
    pub fn prefix(&self) -> Option<IpPrefix> {
        match self {
            Peer::V4(prefix) => Some(IpPrefix::V4(*prefix)),
            Peer::V6(prefix) => Some(IpPrefix::V6(*prefix)),
            Peer::Group(_) => None,
        }
    }

    /// Whether the peer is everybody in the family of `address`: 0.0.0.0/0 or ::/0.
    pub fn is_everybody(&self, address: IpAddr) -> bool {
        self.prefix() == Some(IpPrefix::any(address))
    }
}

impl From<IpPrefix> for Peer {
    fn from(prefix: IpPrefix) -> Self {
        match prefix {
            IpPrefix::V4(prefix) => Peer::V4(prefix),
            IpPrefix::V6(prefix) => Peer::V6(prefix),
        }
    }
}

impl Rule {
    /// Whether the rule lets `packet` pass the gate `direction`.
    pub fn allows(&self, direction: Direction, packet: &Packet) -> bool {
        self.direction == direction
            && self.traffic.matches(packet.protocol, packet.port)
            && match &self.peer {
                Peer::Group(group) => packet.peer_groups.contains(group),
                peer => peer.prefix().is_some_and(|prefix| prefix.contains(packet.peer)),
            }
    }
}

/// The rule that lets `packet` pass the gate `direction` of an interface with `groups`; `None`
/// means the packet is refused. Where several match, the first in the order given is named.
pub fn judge<'a>(
    groups: impl IntoIterator<Item = &'a Group>,
    direction: Direction,
    packet: &Packet,
) -> Option<&'a Rule> {
    groups.into_iter().flat_map(|g| &g.rules).find(|r| r.allows(direction, packet))
}

/// Whether `groups` track the flow that `packet`, which passes the gate `direction`, starts. They do
/// not where a rule lets everybody in (or out) with TCP or UDP and the other direction's rules let
/// every answer pass: such a flow ends when the rule goes ("Untracked connections", Amazon EC2 User
/// Guide). Everybody is 0.0.0.0/0 for IPv4, ::/0 for IPv6.
pub fn tracks<'a>(
    groups: impl IntoIterator<Item = &'a Group>,
    direction: Direction,
    packet: &Packet,
) -> bool {
    let rules: Vec<&Rule> = groups.into_iter().flat_map(|group| &group.rules).collect();
    let for_all = |rule: &&&Rule| rule.peer.is_everybody(packet.peer);
    let mut open = rules.iter().filter(for_all);
    let mut answers = rules.iter().filter(for_all);
    !(open.any(|rule| rule.allows(direction, packet))
        && answers
            .any(|rule| rule.direction != direction && rule.traffic.is_all_of(packet.protocol)))
}

impl Traffic {
    /// Whether every packet of `protocol`, TCP or UDP, is meant; never for other protocols.
    pub fn is_all_of(&self, protocol: u8) -> bool {
        match *self {
            Traffic::All => protocol == TCP || protocol == UDP,
            Traffic::Tcp { from: 0, to: u16::MAX } => protocol == TCP,
            Traffic::Udp { from: 0, to: u16::MAX } => protocol == UDP,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(protocol: u8, port: u16, peer: &str) -> Packet {
        let peer = peer.parse().expect("address");
        Packet { protocol, port, peer, peer_groups: BTreeSet::new() }
    }

    fn rule(direction: Direction, traffic: Traffic, prefix: &str) -> Rule {
        let prefix: IpPrefix = prefix.parse().expect("prefix");
        Rule { id: prefix.to_string().as_str().into(), direction, traffic, peer: prefix.into() }
    }

    #[test]
    fn icmp_and_icmpv6_are_two_protocols() {
        let kind = Some(128);
        let group = Group {
            id: "sg-1".into(),
            rules: vec![
                rule(Direction::Ingress, Traffic::Icmp { kind, code: None }, "::/0"),
                rule(Direction::Ingress, Traffic::Icmpv6 { kind, code: None }, "2001:db8::/32"),
            ],
        };
        let named = |packet: &Packet| {
            judge([&group], Direction::Ingress, packet).map(|rule| rule.id.0.clone())
        };
        assert_eq!(named(&packet(ICMPV6, 128 << 8, "2001:db8::1")), Some("2001:db8::/32".into()));
        assert_eq!(named(&packet(ICMPV6, 129 << 8, "2001:db8::1")), None, "another type");
        assert_eq!(named(&packet(ICMP, 128 << 8, "2001:db8::1")), Some("::/0".into()));
        assert_eq!(named(&packet(ICMP, 128 << 8, "10.0.0.1")), None, "::/0 is not for IPv4");
    }

    #[test]
    fn everybody_is_the_familys() {
        let tcp = Traffic::Tcp { from: 80, to: 80 };
        let tracked = |rules: &[(Direction, Traffic, &str)], peer: &str| {
            let rules =
                rules.iter().map(|(direction, traffic, peer)| rule(*direction, *traffic, peer));
            let group = Group { id: "sg-1".into(), rules: rules.collect() };
            tracks([&group], Direction::Ingress, &packet(TCP, 80, peer))
        };
        let v6 = [(Direction::Ingress, tcp, "::/0"), (Direction::Egress, Traffic::All, "::/0")];
        assert!(!tracked(&v6, "2001:db8::1"));
        assert!(tracked(&v6, "10.0.0.1"));
        let mixed =
            [(Direction::Ingress, tcp, "::/0"), (Direction::Egress, Traffic::All, "0.0.0.0/0")];
        assert!(tracked(&mixed, "2001:db8::1"), "answers over IPv6 need a rule for IPv6");
    }
}
