//! VPC DNS: what instances ask at 169.254.169.253 and at their VPC's base + 2.
//!
//! ```text
//!   instance ──UDP, TCP──► serve ──bytes──► message ──name──► names (state: instances, zones)
//!                            └── what nobody here knows ──► forward, if a resolver was named
//! ```
//!
//! `names` and `message` are pure. Security groups do not apply to these addresses, as at EC2.

mod forward;
mod message;
mod names;
mod serve;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) use forward::{Forwarder, parse as parse_forwarder};
pub use message::{Reply, Transport, reply};
pub use names::find;
pub(crate) use serve::{Service, serve_tcp, serve_udp};

/// Where every VPC has its DNS, beside the VPC's base + 2.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);
/// The same in IPv6.
pub(crate) const IPV6_ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253);
/// The port of DNS.
pub(crate) const PORT: u16 = 53;

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It has these addresses.
    Addresses(Vec<IpAddr>),
    /// It is an address written backwards, of the host with this name.
    Host(String),
    /// It would be in this zone of ours, and is not there.
    Absent {
        /// The zone, without a dot at its end.
        zone: String,
    },
    /// It is in no zone of ours.
    Elsewhere,
    /// The VPC has no DNS (`enableDnsSupport` is off).
    Off,
}
