//! The datapath of a node: four programs between the pods' veths and the uplinks.
//!
//! ```text
//!   pod eth0 ══ host veth ── from_pod ──┬─ Service, node, stack flow ──► host stack (kube-proxy)
//!                                       ├─ local regular pod ──────────► its eth0 (redirect_peer)
//!                                       └─ all else: dress, tag ───────► uplink ── to_wire ──► VPC
//!   pod eth0 ◄═ redirect_peer ── from_wire ◄── uplink ◄── VPC
//!                                    └─ flow that left through the stack ──► host stack
//!   host stack ──► host veth ── to_pod ──► pod eth0         (strict pods: replies of such flows only)
//!   host stack ──► uplink ── to_wire ──► dressed as the pod's own uplink ──► VPC
//! ```
//!
//! Every pod has an [`Uplink`]; regular pods and branch pods differ in nothing else, but that
//! [strict](Endpoint::strict) pods take no local shortcut. Programs and maps are in `bpf/node*`.
//!
//! Maps and the links of uplinks are pinned under `<pin root>/v<layout>`; an agent that starts again
//! replaces the programs in place and finds endpoints and flows as they were.
//!
//! What the host's stack must be told (routes, rules, sysctls) is at [`MARK_TO_WIRE`],
//! [`MARK_TO_POD`] and their tables.

mod error;

use std::net::Ipv4Addr;
use std::path::Path;

use hedgerow_core::reason::Reason;
use hedgerow_core::sg::Ipv4Prefix;

pub use error::NodeError;

/// Result of this module.
pub type Result<T, E = NodeError> = std::result::Result<T, E>;

/// Packet mark: a strict pod's packet to a Service. One rule for all pods,
/// `fwmark MARK_TO_WIRE/MARK_MASK lookup TABLE_TO_WIRE`, sends it out by the trunk whatever
/// address kube-proxy chose.
pub const MARK_TO_WIRE: u32 = 0x100;
/// Packet mark: a reply from the VPC that un-DNAT must see before a strict pod does. One rule for
/// all pods, `fwmark MARK_TO_POD/MARK_MASK lookup TABLE_TO_POD`.
pub const MARK_TO_POD: u32 = 0x200;
/// The mark bits that are ours. kube-proxy has 0x4000 and 0x8000, portmap 0x2000, others' are
/// left as they are.
pub const MARK_MASK: u32 = 0x700;
/// Routing table of [`MARK_TO_WIRE`]: a default route by the trunk.
pub const TABLE_TO_WIRE: u32 = 0x6801;
/// Routing table of [`MARK_TO_POD`]: every strict pod's address /32 by its host veth.
pub const TABLE_TO_POD: u32 = 0x6802;

/// How a pod's frames enter and leave the VPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uplink {
    /// The ENI or trunk on this node.
    pub ifindex: u32,
    /// VLAN id of a branch; `None` for an ENI's own address.
    pub vlan: Option<u16>,
    /// MAC of the ENI or branch.
    pub source_mac: [u8; 6],
    /// MAC of the subnet's router.
    pub gateway_mac: [u8; 6],
}

/// A pod on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Host side of its veth pair; identifies the endpoint.
    pub host_ifindex: u32,
    /// Its one address.
    pub address: Ipv4Addr,
    /// MAC of its side of the veth pair.
    pub pod_mac: [u8; 6],
    /// Where its frames go.
    pub uplink: Uplink,
    /// Whether everything to and from it must cross the VPC.
    pub strict: bool,
}

/// What the programs know of the node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeConfig {
    /// Service CIDRs: handed to the host's stack for kube-proxy.
    pub service_prefixes: Vec<Ipv4Prefix>,
    /// Addresses of the node itself: regular pods reach them through the host's stack.
    pub node_addresses: Vec<Ipv4Addr>,
}

/// The loaded programs and their maps. Dropping it leaves everything attached.
#[derive(Debug)]
pub struct NodeDatapath {}

impl NodeDatapath {
    /// Loads the programs; creates the pinned maps under `pin_root/v<layout>` or takes up those of
    /// an earlier agent, after comparing their layout. `pin_root` is on a bpffs.
    pub fn open(pin_root: &Path) -> Result<Self> {
        Err(NodeError::Unfinished(pin_root.to_owned()))
    }

    /// Makes Service prefixes and node addresses exactly these.
    pub fn configure(&mut self, _config: &NodeConfig) -> Result<()> {
        Ok(())
    }

    /// Attaches to an ENI or trunk; replaces an earlier agent's programs without losing a packet.
    pub fn attach_uplink(&mut self, _ifname: &str) -> Result<()> {
        Ok(())
    }

    /// Detaches from an ENI or trunk; nothing happens where nothing is attached.
    pub fn detach_uplink(&mut self, _ifname: &str) -> Result<()> {
        Ok(())
    }

    /// Attaches to the host side of a pod's veth pair; replaces without losing a packet.
    pub fn attach_pod(&mut self, _host_veth: &str) -> Result<()> {
        Ok(())
    }

    /// Makes the endpoint known, or replaces the one with the same `host_ifindex`.
    pub fn put_endpoint(&mut self, _endpoint: &Endpoint) -> Result<()> {
        Ok(())
    }

    /// Forgets the endpoint; nothing happens where there is none.
    pub fn remove_endpoint(&mut self, _host_ifindex: u32) -> Result<()> {
        Ok(())
    }

    /// Every known endpoint, by host interface.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>> {
        Ok(Vec::new())
    }

    /// How many packets got each verdict since the maps were made.
    pub fn counters(&self) -> Result<Vec<(Reason, u64)>> {
        Ok(Vec::new())
    }
}
