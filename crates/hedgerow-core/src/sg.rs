//! Security groups, their rules, and the plain verdict function.
//!
//! [`judge`] is linear over rules and obviously right; the eBPF evaluator is the fast one and is
//! tested against it. Groups hold allow rules only, so order does not matter and a packet that no
//! rule matches is refused ("Security group rules", Amazon VPC User Guide).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

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

/// An IPv4 prefix, host bits zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ipv4Prefix {
    /// Network address; bits past `len` are zero.
    pub address: Ipv4Addr,
    /// Prefix length, 0 to 32.
    pub len: u8,
}

/// A text that is not an IPv4 prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an IPv4 prefix (expected A.B.C.D/N with N from 0 to 32)")]
pub struct BadPrefix(pub String);

impl Ipv4Prefix {
    /// All addresses.
    pub const ANY: Ipv4Prefix = Ipv4Prefix { address: Ipv4Addr::UNSPECIFIED, len: 0 };

    /// The prefix of length `len` (at most 32) that holds `address`; host bits are cleared.
    pub fn new(address: Ipv4Addr, len: u8) -> Self {
        let len = len.min(32);
        Self { address: Ipv4Addr::from_bits(address.to_bits() & Self::mask_bits(len)), len }
    }

    fn mask_bits(len: u8) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
    }

    /// Whether `address` lies in the prefix.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & Self::mask_bits(self.len) == self.address.to_bits()
    }

    /// Whether every address of `other` lies in the prefix.
    pub fn covers(&self, other: &Ipv4Prefix) -> bool {
        self.len <= other.len && self.contains(other.address)
    }

    /// Whether the two prefixes share an address.
    pub fn overlaps(&self, other: &Ipv4Prefix) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// How many addresses the prefix holds.
    pub fn size(&self) -> u64 {
        1 << (32 - u32::from(self.len))
    }

    /// The address `offset` places after the network address; wraps past the end of IPv4.
    pub fn nth(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits().wrapping_add(offset))
    }
}

impl std::str::FromStr for Ipv4Prefix {
    type Err = BadPrefix;

    /// Parses `A.B.C.D/N`; host bits are cleared, as EC2 does.
    fn from_str(text: &str) -> Result<Self, BadPrefix> {
        let bad = || BadPrefix(text.to_owned());
        let (address, len) = text.split_once('/').ok_or_else(bad)?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let len: u8 = len.parse().map_err(|_| bad())?;
        if len > 32 {
            return Err(bad());
        }
        Ok(Self::new(address, len))
    }
}

impl std::fmt::Display for Ipv4Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

/// Who may be at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Peer {
    /// Addresses of a prefix.
    V4(Ipv4Prefix),
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
    /// Any other protocol by its number; such rules have no ports.
    Other(u8),
}

/// IANA protocol number of ICMP.
pub const ICMP: u8 = 1;
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
    /// Destination port for TCP and UDP; `type << 8 | code` for ICMP; 0 otherwise.
    pub port: u16,
    /// Address at the other end: the destination at the egress gate, the source at ingress.
    pub peer: Ipv4Addr,
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
            Traffic::Icmp { kind, code } => {
                let [packet_kind, packet_code] = port.to_be_bytes();
                protocol == ICMP
                    && kind.is_none_or(|k| k == packet_kind)
                    && code.is_none_or(|c| c == packet_code)
            }
            Traffic::Other(number) => protocol == number,
        }
    }
}

impl Rule {
    /// Whether the rule lets `packet` pass the gate `direction`.
    pub fn allows(&self, direction: Direction, packet: &Packet) -> bool {
        self.direction == direction
            && self.traffic.matches(packet.protocol, packet.port)
            && match &self.peer {
                Peer::V4(prefix) => prefix.contains(packet.peer),
                Peer::Group(group) => packet.peer_groups.contains(group),
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
/// Guide).
pub fn tracks<'a>(
    groups: impl IntoIterator<Item = &'a Group>,
    direction: Direction,
    packet: &Packet,
) -> bool {
    let rules: Vec<&Rule> = groups.into_iter().flat_map(|group| &group.rules).collect();
    let for_all = |rule: &&&Rule| rule.peer == Peer::V4(Ipv4Prefix::ANY);
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
