//! Flow records: what the fabric decided, in words, and as lines like EC2's flow logs.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hedgerow_core::reason::Reason;
use hedgerow_core::sg::{Direction, GroupId, RuleId};

/// Whether a packet passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It did.
    Accept,
    /// It was dropped.
    Reject,
}

/// Where a packet was judged: at an interface, in a direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// `eni-…`; `None` when the frame could not be attributed to an interface.
    pub interface: Option<String>,
    /// [`Direction::Egress`] at the sender's interface, [`Direction::Ingress`] at the receiver's.
    pub direction: Direction,
    /// Groups on that interface when the record was made, in id order.
    pub groups: Vec<GroupId>,
}

/// One verdict of the fabric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowRecord {
    /// First packet that the record stands for.
    pub start: SystemTime,
    /// Last packet that the record stands for.
    pub end: SystemTime,
    /// `vpc-…`; empty when the frame could not be attributed to an interface.
    pub vpc: String,
    /// The gate that judged.
    pub gate: Gate,
    /// The interface at the other end (`eni-…`), if one in the VPC has the address.
    pub other: Option<String>,
    /// Source address; 0.0.0.0 for frames dropped before their addresses were known.
    pub source: IpAddr,
    /// Destination address; as `source`.
    pub destination: IpAddr,
    /// Source port of TCP and UDP; 0 otherwise.
    pub source_port: u16,
    /// Destination port of TCP and UDP; `type << 8 | code` for ICMP; 0 otherwise.
    pub destination_port: u16,
    /// IANA protocol number; 0 when unknown.
    pub protocol: u8,
    /// Packets the record stands for: 1 for an accepted new flow.
    pub packets: u64,
    /// Their bytes, Ethernet header included.
    pub bytes: u64,
    /// [`Reason::Allowed`] or why it was dropped.
    pub reason: Reason,
    /// The rule that let it pass; `None` for drops.
    pub rule: Option<RuleId>,
}

/// Packets of one flow, in one direction, that fared the same: what flow logs are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowCount {
    /// When the first of them came.
    pub start: SystemTime,
    /// When the last of them came.
    pub end: SystemTime,
    /// Interface of the sender (`eni-…`), if it is one of the VPC's.
    pub from: Option<String>,
    /// Interface of the receiver, if it is one of the VPC's.
    pub to: Option<String>,
    /// Whether they went to an internet gateway.
    pub to_internet: bool,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source port of TCP and UDP; 0 otherwise.
    pub source_port: u16,
    /// Destination port of TCP and UDP; 0 otherwise.
    pub destination_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// How many they are, as on a wire.
    pub packets: u64,
    /// Bytes of their IP packets.
    pub bytes: u64,
    /// FIN 1, SYN 2, RST 4, and ACK 16 where it came with SYN: all that were seen.
    pub tcp_flags: u8,
    /// [`Reason::Allowed`] or why they were dropped.
    pub reason: Reason,
}

impl FlowCount {
    /// The interfaces at which they are logged, and in which direction.
    pub fn gates(&self) -> impl Iterator<Item = (&str, Direction)> {
        let gate = |direction: &Direction| {
            let interface = match direction {
                Direction::Egress => &self.from,
                Direction::Ingress => &self.to,
            };
            interface.as_deref().map(|id| (id, *direction))
        };
        let from_outside = self.from.is_none() && self.to.is_some();
        gates(self.reason, from_outside).iter().filter_map(gate)
    }
}

/// What was counted since the last time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// By flow and direction.
    pub counts: Vec<FlowCount>,
    /// Packets since the start of the program that there was no room to count.
    pub missed: u64,
}

/// The gates at which a verdict is logged: what passed, passed both; of what came from outside to an
/// interface, that one's.
pub(super) fn gates(reason: Reason, from_outside: bool) -> &'static [Direction] {
    match reason {
        Reason::Allowed => &[Direction::Egress, Direction::Ingress],
        Reason::IngressGroups | Reason::NetworkAclIngress | Reason::DestinationAddress => {
            &[Direction::Ingress]
        }
        _ if from_outside => &[Direction::Ingress],
        _ => &[Direction::Egress],
    }
}

impl FlowRecord {
    /// Whether the packet passed.
    pub fn action(&self) -> Action {
        if self.reason == Reason::Allowed { Action::Accept } else { Action::Reject }
    }

    /// The record as a line (no newline): EC2's default format, version 2 ("Flow log records",
    /// Amazon VPC User Guide), then `groups=`, `reason=` and `rule=`. Unknown fields are `-`.
    pub fn line(&self, account: &str) -> String {
        let seconds =
            |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        // EC2 writes port 0 for ICMP; the type and code would read as a port.
        let has_ports = matches!(self.protocol, hedgerow_core::sg::TCP | hedgerow_core::sg::UDP);
        let destination_port = if has_ports { self.destination_port } else { 0 };
        let groups: Vec<&str> = self.gate.groups.iter().map(|g| g.0.as_str()).collect();
        format!(
            "2 {account} {} {} {} {} {} {} {} {} {} {} {} OK groups={} reason={} rule={}",
            self.gate.interface.as_deref().unwrap_or("-"),
            self.source,
            self.destination,
            self.source_port,
            destination_port,
            self.protocol,
            self.packets,
            self.bytes,
            seconds(self.start),
            seconds(self.end),
            match self.action() {
                Action::Accept => "ACCEPT",
                Action::Reject => "REJECT",
            },
            if groups.is_empty() { "-".to_owned() } else { groups.join(",") },
            self.reason,
            self.rule.as_ref().map_or("-", |rule| rule.0.as_str()),
        )
    }
}
