//! Packets as they are generated, judged and sent.

use std::net::{IpAddr, Ipv6Addr};

use hedgerow_core::sg::{ICMP, ICMPV6, TCP, UDP};

pub const TCP_FIN: u8 = 1;
pub const TCP_SYN: u8 = 2;
pub const TCP_RST: u8 = 4;
pub const TCP_ACK: u8 = 16;

/// Extension headers, by which a packet of IPv6 may be longer: hop-by-hop and destination options,
/// routing, authentication, and the header of a fragment that is the whole datagram. Six of them are
/// as many as the fabric reads.
pub const EXTENSIONS: [&[u8]; 8] = [
    &[],
    &[0],
    &[60],
    &[0, 43],
    &[51],
    &[FRAGMENT],
    &[0, 60, 43, 60, 51, 60],
    &[0, 60, 43, 60, 51, 60, 60],
];

/// The number of the fragment header.
pub const FRAGMENT: u8 = 44;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    Tcp {
        from: u16,
        to: u16,
        flags: u8,
    },
    Udp {
        from: u16,
        to: u16,
    },
    Icmp {
        kind: u8,
        code: u8,
        id: u16,
    },
    Icmpv6 {
        kind: u8,
        code: u8,
        id: u16,
    },
    Other(u8),
    /// Neighbour solicitation (RFC 4861).
    Solicit(Ipv6Addr),
}

impl Body {
    pub fn protocol(self) -> u8 {
        match self {
            Body::Tcp { .. } => TCP,
            Body::Udp { .. } => UDP,
            Body::Icmp { .. } => ICMP,
            Body::Icmpv6 { .. } | Body::Solicit(_) => ICMPV6,
            Body::Other(number) => number,
        }
    }

    /// Source and destination port as rules and records have them.
    pub fn ports(self) -> (u16, u16) {
        match self {
            Body::Tcp { from, to, .. } | Body::Udp { from, to } => (from, to),
            Body::Icmp { kind, code, .. } | Body::Icmpv6 { kind, code, .. } => {
                (0, u16::from_be_bytes([kind, code]))
            }
            Body::Other(_) => (0, 0),
            Body::Solicit(_) => (0, u16::from_be_bytes([135, 0])),
        }
    }

    pub fn flags(self) -> u8 {
        if let Body::Tcp { flags, .. } = self { flags } else { 0 }
    }

    /// What a packet of this family has in its place. ICMP of the wrong family is just a protocol; 0 is
    /// an extension header in IPv6.
    pub fn of_family(self, six: bool) -> Body {
        match self {
            Body::Icmp { kind, code, id } if six => {
                let kind = match kind {
                    8 => 128,
                    0 => 129,
                    3 => 1,
                    4 => 2,
                    11 => 3,
                    12 => 4,
                    other => other,
                };
                Body::Icmpv6 { kind, code, id }
            }
            Body::Other(58) if six => Body::Other(1),
            Body::Other(0) if six => Body::Other(59),
            other => other,
        }
    }

    /// What answers it; `flags` are TCP's.
    pub fn answer(self, flags: u8) -> Option<Body> {
        match self {
            Body::Tcp { from, to, .. } => {
                Some(Body::Tcp { from: to, to: from, flags: flags | TCP_ACK })
            }
            Body::Udp { from, to } => Some(Body::Udp { from: to, to: from }),
            Body::Icmp { kind: 8, code, id } => Some(Body::Icmp { kind: 0, code, id }),
            Body::Icmp { kind: 13, code, id } => Some(Body::Icmp { kind: 14, code, id }),
            Body::Icmpv6 { kind: 128, code, id } => Some(Body::Icmpv6 { kind: 129, code, id }),
            Body::Icmp { .. } | Body::Icmpv6 { .. } | Body::Solicit(_) => None,
            Body::Other(number) => Some(Body::Other(number)),
        }
    }
}

/// A packet at the port where it enters.
#[derive(Debug, Clone)]
pub struct Packet {
    pub port: usize,
    pub vlan: Option<u16>,
    pub source_mac: [u8; 6],
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Identification of the datagram.
    pub id: u16,
    /// Extension headers of IPv6 before the body, that of a fragment among them.
    pub extensions: Vec<u8>,
    pub body: Body,
    pub part: Part,
    /// The packet that an ICMP error is about.
    pub about: Option<(IpAddr, IpAddr, Body)>,
}

/// The port behind which is the Internet.
pub const OUTSIDE: usize = usize::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    First,
    Later,
}

impl Packet {
    pub fn is_six(&self) -> bool {
        self.destination.is_ipv6()
    }

    /// As an internet gateway changes it: the same address in what an ICMP error is about, too.
    pub fn translate_source(&mut self, to: IpAddr) {
        let from = std::mem::replace(&mut self.source, to);
        if let Some((_, destination, _)) = &mut self.about
            && *destination == from
        {
            *destination = to;
        }
    }

    /// The same of the destination.
    pub fn translate_destination(&mut self, to: IpAddr) {
        let from = std::mem::replace(&mut self.destination, to);
        if let Some((source, ..)) = &mut self.about
            && *source == from
        {
            *source = to;
        }
    }

    /// Whether it has more extension headers than are read.
    pub fn is_too_long(&self) -> bool {
        self.extensions.len() > MOST_EXTENSIONS
    }

    /// The protocol that is seen: behind the extension headers that are read.
    pub fn protocol(&self) -> u8 {
        *self.extensions.get(MOST_EXTENSIONS).unwrap_or(&self.body.protocol())
    }

    /// The ports that are seen.
    pub fn ports(&self) -> (u16, u16) {
        match self.part == Part::Later || self.is_too_long() {
            true => (0, 0),
            false => self.body.ports(),
        }
    }

    /// Whether it is for the link only: neighbour discovery, and who listens to which group.
    pub fn is_of_the_link(&self) -> bool {
        self.part != Part::Later
            && matches!(self.body, Body::Icmpv6 { kind: 130..=137 | 143, .. } | Body::Solicit(_))
    }
}

/// How many extension headers are read ([`Reason::Malformed`]).
const MOST_EXTENSIONS: usize = 6;
