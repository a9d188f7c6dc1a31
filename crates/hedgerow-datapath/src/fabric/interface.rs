//! An interface as the fabric is told of it, and its record in the maps.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use hedgerow_core::sg::{GroupId, IpPrefix, Ipv4Prefix, Ipv6Prefix};

use super::layout::{InterfaceRecord, UNTAGGED, VlanKey};

/// Where an interface's frames enter and leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: packets to it are dropped as `peer_down`.
    Detached,
    /// A port of its own, by ifindex in the fabric's namespace; frames are untagged.
    Port(u32),
    /// The port of its trunk; frames are tagged.
    Branch {
        /// Interface key of the trunk.
        trunk: u32,
        /// VLAN id.
        vlan: u16,
    },
}

/// What an interface stands for; decides which gates are asked and how large packets may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// An instance's, guarded by its groups.
    #[default]
    Instance,
    /// A NAT gateway's: no groups.
    Nat,
    /// A VPC's internet gateway: no groups, and its port is the Internet's.
    Internet,
    /// A VPC's egress-only internet gateways: as [`Kind::Internet`], and only flows that began inside.
    EgressOnly,
}

impl Kind {
    /// `HR_KIND_…`.
    fn number(self) -> u8 {
        match self {
            Kind::Instance => 0,
            Kind::Nat => 1,
            Kind::Internet => 2,
            Kind::EgressOnly => 3,
        }
    }

    /// The largest packet that it takes ("Network maximum transmission unit", Amazon EC2 User Guide;
    /// "NAT gateway basics", Amazon VPC User Guide).
    pub fn mtu(self) -> u16 {
        match self {
            Kind::Instance => 9001,
            Kind::Nat => 8500,
            Kind::Internet | Kind::EgressOnly => 1500,
        }
    }
}

/// An interface as the program needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Never reused, never 0.
    pub key: u32,
    /// VPC key.
    pub vpc: u32,
    /// The subnet's IPv4 block, which tells it from others; the router is at base + 1, and at
    /// [`ROUTER_LINK_LOCAL`](super::ROUTER_LINK_LOCAL).
    pub subnet: Ipv4Prefix,
    /// The subnet's IPv6 block, at most 64 bits long.
    pub subnet_v6: Option<Ipv6Prefix>,
    /// MAC address.
    pub mac: [u8; 6],
    /// Private IPv4 addresses, those of delegated prefixes one by one, and IPv6 addresses.
    pub addresses: Vec<IpAddr>,
    /// Delegated IPv6 prefixes, all of whose addresses are the interface's.
    pub prefixes_v6: Vec<Ipv6Prefix>,
    /// Groups.
    pub groups: BTreeSet<GroupId>,
    /// Whether frames must carry an address of its own as source.
    pub source_dest_check: bool,
    /// Key of its subnet's route table; `None`: every interface of the VPC is reached, nothing else.
    pub routes: Option<u32>,
    /// Key of its subnet's network ACL; `None`: everything passes.
    pub acl: Option<u32>,
    /// For how long its flows may be idle.
    pub timeouts: Timeouts,
    /// Where it is plugged in.
    pub place: Place,
    /// What it stands for.
    pub kind: Kind,
    /// Whether a flow log wants its packets: they are counted ([`super::Account`]).
    pub logged: bool,
}

impl Interface {
    /// All addresses that are the interface's.
    pub(super) fn holds(&self) -> impl Iterator<Item = IpPrefix> + use<'_> {
        let one = |address: &IpAddr| IpPrefix::new(*address, u8::MAX);
        let delegated = self.prefixes_v6.iter().copied().map(IpPrefix::V6);
        self.addresses.iter().map(one).chain(delegated)
    }
}

/// Idle timeouts of tracked flows, in seconds; of a flow's two ends the shorter one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Established TCP.
    pub tcp: u32,
    /// UDP without an answer.
    pub udp: u32,
    /// UDP that was answered.
    pub stream: u32,
}

impl Default for Timeouts {
    /// "Idle connection tracking timeout", Amazon EC2 User Guide.
    fn default() -> Self {
        Self { tcp: 432_000, udp: 30, stream: 180 }
    }
}

/// Seconds in the program's ticks of 2^30 ns, rounded up; `HR_TICKS`.
const fn ticks(seconds: u32) -> u32 {
    (seconds as u64 * 1_000_000_000).div_ceil(1 << 30) as u32
}

/// An interface that is in the maps.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) view: Interface,
    pub(super) slot: u32,
    pub(super) combination: u32,
    pub(super) routes: u32,
    pub(super) acl: u32,
    /// Since which generation it has each of its addresses.
    pub(super) since: HashMap<IpPrefix, u32>,
}

impl Known {
    /// `ifindex` is that of the port where its frames leave, 0: none.
    pub(super) fn record(&self, ifindex: u32) -> InterfaceRecord {
        let view = &self.view;
        let vlan = match view.place {
            Place::Branch { vlan, .. } => vlan,
            Place::Detached | Place::Port(_) => UNTAGGED,
        };
        let (block, mask) = view.subnet_v6.map_or((0, 0), |block| {
            let mask = u128::MAX.checked_shl(128 - u32::from(block.len)).unwrap_or(0);
            (block.address.to_bits(), mask)
        });
        // In network order.
        let first = |bits: u128| [bits >> 96, bits >> 64].map(|word| (word as u32).to_be());
        let Timeouts { tcp, udp, stream } = view.timeouts;
        InterfaceRecord {
            key: view.key,
            vpc: view.vpc,
            ifindex,
            combination: self.combination,
            subnet: view.subnet.address.to_bits().to_be(),
            mask: u32::MAX.checked_shl(32 - u32::from(view.subnet.len)).unwrap_or(0).to_be(),
            vlan,
            mac: view.mac,
            check: u32::from(view.source_dest_check),
            routes: self.routes,
            acl: self.acl,
            idle: [tcp, udp, stream].map(ticks),
            kind: view.kind.number(),
            logged: u8::from(view.logged),
            mtu: view.kind.mtu(),
            subnet_v6: first(block),
            mask_v6: first(mask),
        }
    }
}

/// Its key in `vlans`, if it is a branch.
pub(super) fn vlan_key(view: &Interface) -> Option<VlanKey> {
    match view.place {
        Place::Branch { trunk, vlan } => Some(VlanKey { trunk, vlan: u32::from(vlan) }),
        _ => None,
    }
}
