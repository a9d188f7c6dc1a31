//! What C and Rust share, byte for byte. The C side is `bpf/node_maps.h`; both assert sizes.

use std::net::Ipv4Addr;

use super::{Endpoint, Uplink};

/// Version of the pinned maps: raise it with any change of size or meaning in `bpf/node_maps.h`.
pub(super) const LAYOUT: u32 = 1;
/// `NODE_ENDPOINTS`: how many endpoints there can be.
pub(super) const ENDPOINTS: usize = 1024;
/// Slots of `node_endpoints`: twice the endpoints, so that a slot rests before it is used again.
pub(super) const SLOTS: u32 = 2 * ENDPOINTS as u32;

const STRICT: u16 = 0x1;

/// `struct node_endpoint`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawEndpoint {
    pub(super) host_ifindex: u32,
    pub(super) address: u32,
    pub(super) uplink_ifindex: u32,
    pub(super) vlan: u16,
    flags: u16,
    gateway_mac: [u8; 6],
    uplink_mac: [u8; 6],
    pod_mac: [u8; 6],
    pad: [u8; 2],
}
const _: () = assert!(size_of::<RawEndpoint>() == 36);

// SAFETY: repr(C), integers and bytes only, no padding (the fields add up to the asserted size).
unsafe impl aya::Pod for RawEndpoint {}

/// `struct node_vlan`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawVlan {
    pub(super) ifindex: u32,
    pub(super) vlan: u32,
}
const _: () = assert!(size_of::<RawVlan>() == 8);

// SAFETY: repr(C), two u32, no padding.
unsafe impl aya::Pod for RawVlan {}

/// An address as it lies in a packet.
pub(super) fn network_order(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

/// The inverse of [`network_order`].
pub(super) fn from_network_order(bits: u32) -> Ipv4Addr {
    Ipv4Addr::from(bits.to_ne_bytes())
}

impl RawEndpoint {
    /// Its key in `node_by_vlan`, if its frames are tagged.
    pub(super) fn vlan_key(&self) -> Option<RawVlan> {
        (self.vlan != 0)
            .then_some(RawVlan { ifindex: self.uplink_ifindex, vlan: u32::from(self.vlan) })
    }
}

impl From<&Endpoint> for RawEndpoint {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            host_ifindex: endpoint.host_ifindex,
            address: network_order(endpoint.address),
            uplink_ifindex: endpoint.uplink.ifindex,
            vlan: endpoint.uplink.vlan.unwrap_or(0),
            flags: if endpoint.strict { STRICT } else { 0 },
            gateway_mac: endpoint.uplink.gateway_mac,
            uplink_mac: endpoint.uplink.source_mac,
            pod_mac: endpoint.pod_mac,
            pad: [0; 2],
        }
    }
}

impl From<RawEndpoint> for Endpoint {
    fn from(raw: RawEndpoint) -> Self {
        Self {
            host_ifindex: raw.host_ifindex,
            address: from_network_order(raw.address),
            pod_mac: raw.pod_mac,
            uplink: Uplink {
                ifindex: raw.uplink_ifindex,
                vlan: (raw.vlan != 0).then_some(raw.vlan),
                source_mac: raw.uplink_mac,
                gateway_mac: raw.gateway_mac,
            },
            strict: raw.flags & STRICT != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_survive_the_layout() {
        for (vlan, strict) in [(None, false), (Some(120), true)] {
            let endpoint = Endpoint {
                host_ifindex: 7,
                address: Ipv4Addr::new(10, 0, 1, 9),
                pod_mac: [2, 0, 0, 0, 0, 9],
                uplink: Uplink {
                    ifindex: 3,
                    vlan,
                    source_mac: [2, 0, 0, 0, 1, 1],
                    gateway_mac: [2, 0, 0, 0, 1, 2],
                },
                strict,
            };
            assert_eq!(Endpoint::from(RawEndpoint::from(&endpoint)), endpoint);
        }
    }
}
