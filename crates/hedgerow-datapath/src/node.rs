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
//! # What the agent must tell the host's stack
//!
//! Per node, before the first pod:
//! - sysctls: `net.ipv4.ip_forward=1`; `net.ipv4.conf.all.rp_filter=0` (1 and 2 both drop what comes
//!   from an interface without addresses by another route; from_pod checks sources itself);
//!   `rp_filter=0` on every uplink; `accept_local=1` on the trunk (Services whose backend is a process
//!   of this node)
//! - rules: `pref 100 fwmark MARK_TO_WIRE/MARK_MASK lookup TABLE_TO_WIRE`, `pref 101 fwmark
//!   MARK_TO_POD/MARK_MASK lookup TABLE_TO_POD`, and then `pref 200 lookup local` in place of the
//!   kernel's at pref 0 (add first, then delete), so that a strict pod reaches its own node behind a
//!   Service across the VPC, too
//! - `TABLE_TO_WIRE`: `default via ROUTER dev ENI` by the node's first interface, with a permanent
//!   neighbour: to_wire makes a strict pod's packet a frame of its branch, and what kube-proxy
//!   masqueraded has the node's address and leaves as the node's own. The trunk needs no address
//! - uplinks up, attached; endpoints need the MAC of the subnet's router
//!
//! Per pod, on its host veth: `rp_filter=0`, [`attach_pod`](NodeDatapath::attach_pod),
//! [`put_endpoint`](NodeDatapath::put_endpoint), a permanent neighbour of the pod's address and MAC;
//! a route of its address /32 with scope link, in the main table for a regular pod, in `TABLE_TO_POD`
//! and nowhere else for a strict one. In the pod: its address /32, `default via 169.254.1.1 dev eth0
//! onlink`, permanent neighbour 169.254.1.1 with the host veth's MAC (any will do).
//!
//! # Known limits
//! - A strict pod that a Service sends back to itself is masqueraded by kube-proxy, so its groups see
//!   the node as the client.
//! - Flows through the stack are remembered in an LRU of 65,536; one that was evicted is found again
//!   by the pod's next packet, not by the peer's.
//! - IPv4 only; the MTU is the kernel's business, path MTU errors follow their flow.

mod attach;
mod endpoints;
mod error;
mod layout;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use aya::maps::Map;
use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, LpmTrie, MapData, PerCpuArray};
use aya::{Ebpf, EbpfLoader};
use aya_obj::maps::PinningType;
use hedgerow_core::reason::Reason;
use hedgerow_core::sg::Ipv4Prefix;

use endpoints::{Endpoints, failed};
pub use error::NodeError;
use layout::{LAYOUT, network_order};

use crate::pins;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/node.bpf.o"));
const SERVICES: &str = "node_services";
const COUNTERS: &str = "node_counters";

/// Result of this module.
pub type Result<T, E = NodeError> = std::result::Result<T, E>;

/// Packet mark: a strict pod's packet to a Service. One rule for all pods,
/// `fwmark MARK_TO_WIRE/MARK_MASK lookup TABLE_TO_WIRE`, sends it to the VPC whatever
/// address kube-proxy chose.
pub const MARK_TO_WIRE: u32 = 0x100;
/// Packet mark: a reply from the VPC that un-DNAT must see before a strict pod does. One rule for
/// all pods, `fwmark MARK_TO_POD/MARK_MASK lookup TABLE_TO_POD`.
pub const MARK_TO_POD: u32 = 0x200;
/// The mark bits that are ours. kube-proxy has 0x4000 and 0x8000, portmap 0x2000, others' are
/// left as they are.
pub const MARK_MASK: u32 = 0x700;
/// Routing table of [`MARK_TO_WIRE`]: a default route by the node's first interface.
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

/// Takes a map out of the loaded object as its typed form.
fn take_map<T: TryFrom<Map>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T> {
    let map = ebpf.take_map(name).ok_or(NodeError::Missing(name))?;
    T::try_from(map).map_err(|_| NodeError::Missing(name))
}

/// The loaded programs and their maps. Dropping it leaves everything attached.
pub struct NodeDatapath {
    ebpf: Ebpf,
    links: PathBuf,
    endpoints: Endpoints,
    services: LpmTrie<MapData, u32, u32>,
    addresses: HashMap<MapData, u32, u32>,
    counters: PerCpuArray<MapData, u64>,
}

impl NodeDatapath {
    /// Loads the programs; creates the pinned maps under `pin_root/v<layout>` or takes up those of
    /// an earlier agent, after comparing their layout. `pin_root` is on a bpffs.
    pub fn open(pin_root: &Path) -> Result<Self> {
        let maps = pin_root.join(format!("v{LAYOUT}"));
        let links = maps.join("links");
        pins::make_directory(pin_root, &links)?;
        pins::check(OBJECT, &maps, |_, map| map.pinning() == PinningType::ByName)?;
        attach::sweep_links(&links)?;
        let mut ebpf = EbpfLoader::new()
            .default_map_pin_directory(&maps)
            .load(OBJECT)
            .map_err(NodeError::Load)?;
        attach::load_programs(&mut ebpf)?;
        Ok(Self {
            endpoints: Endpoints::take(&mut ebpf)?,
            services: take_map(&mut ebpf, SERVICES)?,
            addresses: take_map(&mut ebpf, "node_addresses")?,
            counters: take_map(&mut ebpf, COUNTERS)?,
            ebpf,
            links,
        })
    }

    /// Makes Service prefixes and node addresses exactly these; what stays is never missing.
    pub fn configure(&mut self, config: &NodeConfig) -> Result<()> {
        let wanted: Vec<Key<u32>> = config
            .service_prefixes
            .iter()
            .map(|prefix| Key::new(prefix.len.into(), network_order(prefix.address)))
            .collect();
        for key in &wanted {
            self.services.insert(key, 1, 0).map_err(failed("write", SERVICES))?;
        }
        let present: Vec<Key<u32>> =
            self.services.keys().collect::<Result<_, _>>().map_err(failed("list", SERVICES))?;
        let same =
            |a: &Key<u32>, b: &Key<u32>| (a.prefix_len(), a.data()) == (b.prefix_len(), b.data());
        for key in present.iter().filter(|key| !wanted.iter().any(|w| same(w, key))) {
            self.services.remove(key).map_err(failed("remove from", SERVICES))?;
        }
        endpoints::addresses_exactly(&mut self.addresses, &config.node_addresses)
    }

    /// Attaches to an ENI or trunk of the calling thread's network namespace; replaces an earlier
    /// agent's programs without losing a packet. 25 ms the first time.
    pub fn attach_uplink(&mut self, ifname: &str) -> Result<()> {
        attach::attach_uplink(&mut self.ebpf, &self.links, ifname)
    }

    /// Detaches from an ENI or trunk; nothing happens where nothing is attached.
    pub fn detach_uplink(&mut self, ifname: &str) -> Result<()> {
        attach::detach_uplink(&self.links, ifname)
    }

    /// Attaches to the host side of a pod's veth pair; replaces without losing a packet. Until the
    /// endpoint is put, everything from and to the pod is dropped. Goes with the veth.
    pub fn attach_pod(&mut self, host_veth: &str) -> Result<()> {
        attach::attach_pod(&mut self.ebpf, host_veth)
    }

    /// Makes the endpoint known, or replaces the one with the same `host_ifindex`. From the return
    /// on its first packet is judged by it; until then the old one, never a mixture, is seen.
    pub fn put_endpoint(&mut self, endpoint: &Endpoint) -> Result<()> {
        self.endpoints.put(endpoint)
    }

    /// Forgets the endpoint; nothing happens where there is none.
    pub fn remove_endpoint(&mut self, host_ifindex: u32) -> Result<()> {
        self.endpoints.remove(host_ifindex)
    }

    /// Every known endpoint, by host interface; after [`open`](Self::open) those of the agent before.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>> {
        Ok(self.endpoints.list())
    }

    /// How many packets got each verdict since the maps were made.
    pub fn counters(&self) -> Result<Vec<(Reason, u64)>> {
        let count = |&reason: &Reason| {
            let values =
                self.counters.get(&(reason as u32), 0).map_err(failed("read", COUNTERS))?;
            Ok((reason, values.iter().sum()))
        };
        Reason::ALL.iter().map(count).collect()
    }
}
