//! From the words of effects to those of the fabric.

use hedgerow_core::acl::Entry;
use hedgerow_core::route::Target;
use hedgerow_core::sg::{ICMP, ICMPV6, TCP, Traffic, UDP};
use hedgerow_datapath::fabric::{Acl, Timeouts};

use super::gateways::{Gateways, egress_key, internet_key};
use crate::effect::{AclEntry, AclView, ConnectionTimeouts, RouteTarget};

pub(super) fn target(gateways: &Gateways, vpc: u32, target: &RouteTarget) -> Target {
    match target {
        RouteTarget::Local => Target::Local,
        RouteTarget::Interface(key) => Target::Interface(*key),
        RouteTarget::Blackhole => Target::Blackhole,
        RouteTarget::InternetGateway(_) => Target::Interface(internet_key(vpc)),
        RouteTarget::NatGateway(key) => {
            gateways.nat_interface(*key).map_or(Target::Unserved, Target::Interface)
        }
        RouteTarget::EgressOnlyInternetGateway(_) => Target::Interface(egress_key(vpc)),
    }
}

pub(super) fn acl(view: &AclView) -> Acl {
    let entries = |entries: &[AclEntry]| entries.iter().map(entry).collect();
    Acl { ingress: entries(&view.ingress), egress: entries(&view.egress) }
}

fn entry(entry: &AclEntry) -> Entry {
    let (from, to) = entry.ports.unwrap_or((0, u16::MAX));
    let traffic = match entry.protocol {
        None => Traffic::All,
        Some(TCP) => Traffic::Tcp { from, to },
        Some(UDP) => Traffic::Udp { from, to },
        Some(ICMP) => {
            let (kind, code) = entry.icmp.unwrap_or((None, None));
            Traffic::Icmp { kind, code }
        }
        Some(ICMPV6) => {
            let (kind, code) = entry.icmp.unwrap_or((None, None));
            Traffic::Icmpv6 { kind, code }
        }
        Some(other) => Traffic::Other(other),
    };
    Entry { allow: entry.allow, traffic, peer: entry.cidr }
}

pub(super) fn timeouts(timeouts: Option<ConnectionTimeouts>) -> Timeouts {
    let ConnectionTimeouts { tcp_established, udp_stream, udp } = timeouts.unwrap_or_default();
    Timeouts { tcp: tcp_established, udp, stream: udp_stream }
}
