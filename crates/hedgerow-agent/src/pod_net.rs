//! A pod's network: the veth pair, its addresses, routes and neighbours.
//!
//! ```text
//!   pod namespace                              node
//!   eth0  address/32                           eni… or vlan… + 11 hex digits
//!    default via 169.254.1.1 ══ veth pair ══   route address/32 in the pod's table
//!    169.254.1.1 is the host's end (permanent) address is the pod's end (permanent)
//! ```
//!
//! The host's end has no address and answers no ARP: both sides have permanent neighbour entries.
//! Its name comes from the sandbox's id, so that DEL needs no memory: see [`SandboxKey`].

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hedgerow_core::mac::Mac;
use hedgerow_core::names::{BRANCH_VETH_PREFIX, VETH_PREFIX};
use hedgerow_datapath::node::TABLE_TO_POD;

use crate::netlink::{Netlink, NetlinkError, Route, TABLE_MAIN, VethPair};
use crate::sysctl;

/// Next hop of every pod's default route (as the Amazon VPC CNI has it).
pub const POD_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// Why a pod's network could not be made or unmade.
#[derive(Debug, thiserror::Error)]
pub enum PodNetError {
    /// The sandbox's namespace cannot be opened.
    #[error("open the network namespace {path}: {error} (does the agent see /var/run/netns?)")]
    Netns {
        /// Path that the runtime gave.
        path: PathBuf,
        /// The error.
        error: std::io::Error,
    },
    /// The sandbox's namespace is the node's.
    #[error("{0} is the node's own network namespace; a host-network pod needs no plugin")]
    OwnNamespace(PathBuf),
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A link that was just made is not there.
    #[error("the link {0} vanished while it was set up")]
    Vanished(String),
    /// A sysctl could not be written.
    #[error(transparent)]
    Sysctl(#[from] sysctl::SysctlError),
    /// The datapath did not take the pod.
    #[error("the datapath did not take the pod: {0}")]
    Datapath(String),
}

/// What tells a sandbox's veth pair from all others: eleven hex digits of a hash of container id
/// and interface name. Container ids are never used twice, so neither are keys.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct SandboxKey(String);

impl SandboxKey {
    /// The key of a sandbox's interface.
    pub fn new(container_id: &str, ifname: &str) -> Self {
        Self(format!("{:011x}", fnv1a(&[container_id, ifname]) >> 20))
    }

    /// The key in the name of a host veth, if it is one of ours.
    pub fn of_link(name: &str) -> Option<Self> {
        let digits =
            name.strip_prefix(VETH_PREFIX).or_else(|| name.strip_prefix(BRANCH_VETH_PREFIX))?;
        let ours =
            digits.len() == 11 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        ours.then(|| Self(digits.to_owned()))
    }

    /// Name of the host's end: `eni…`, or `vlan…` for a pod with a branch interface.
    pub fn host_name(&self, branch: bool) -> String {
        format!("{}{}", if branch { BRANCH_VETH_PREFIX } else { VETH_PREFIX }, self.0)
    }

    /// A locally administered MAC for one end of the pair.
    fn mac(&self, end: &str) -> Mac {
        let [_, _, a, b, c, d, e, f] = fnv1a(&[&self.0, end]).to_be_bytes();
        Mac([(a & 0xfc) | 0x02, b, c, d, e, f])
    }

    /// MAC of the host's end.
    pub fn host_mac(&self) -> Mac {
        self.mac("host")
    }

    /// MAC of the pod's end.
    pub fn pod_mac(&self) -> Mac {
        self.mac("pod")
    }
}

impl std::fmt::Display for SandboxKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// FNV-1a over 64 bits, parts separated by a byte that no name contains: stable for all time,
/// because links outlive agents.
fn fnv1a(parts: &[&str]) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let bytes = parts.iter().flat_map(|p| p.bytes().chain([0]));
    // One more round spreads the last bytes into the high digits that are used.
    bytes.chain([0; 8]).fold(0xcbf2_9ce4_8422_2325, step)
}

/// A pod's network to make.
#[derive(Debug, Clone)]
pub struct PodNet {
    /// The sandbox.
    pub key: SandboxKey,
    /// Path of its network namespace.
    pub netns: PathBuf,
    /// Interface in it.
    pub ifname: String,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// Whether it has a branch interface in strict mode: reached by [`TABLE_TO_POD`] only.
    pub strict: bool,
    /// MTU of both ends.
    pub mtu: u32,
}

impl PodNet {
    /// Name of the host's end.
    pub fn host_name(&self) -> String {
        self.key.host_name(self.strict)
    }
}

/// Makes the pod's network. `attach` is called with the host end's index when the pair is there
/// and still down: when it returns, the first packet will be judged correctly. On any error
/// nothing is left; what `attach` did is the caller's to undo.
pub fn set_up<E: std::fmt::Display>(
    node: &mut Netlink,
    pod: &PodNet,
    attach: impl FnOnce(u32) -> Result<(), E>,
) -> Result<u32, PodNetError> {
    let netns = open_netns(&pod.netns)?;
    let mut inside = Netlink::open_in(netns.as_fd())?;
    let host_name = pod.host_name();
    node.create_veth(&VethPair {
        host_name: &host_name,
        host_mac: pod.key.host_mac(),
        pod_name: &pod.ifname,
        pod_mac: pod.key.pod_mac(),
        mtu: pod.mtu,
        netns: netns.as_fd(),
    })?;
    let done = connect(node, &mut inside, pod, &host_name, attach);
    if done.is_err()
        && let Err(error) = node.delete_link(&host_name)
    {
        tracing::warn!(%error, link = host_name, "a half-made veth pair could not be deleted");
    }
    done
}

fn connect<E: std::fmt::Display>(
    node: &mut Netlink,
    inside: &mut Netlink,
    pod: &PodNet,
    host_name: &str,
    attach: impl FnOnce(u32) -> Result<(), E>,
) -> Result<u32, PodNetError> {
    let vanished = |name: &str| PodNetError::Vanished(name.to_owned());
    let host = node.link(host_name)?.ok_or_else(|| vanished(host_name))?.index;
    sysctl::prepare_pod_link(host_name)?;
    attach(host).map_err(|e| PodNetError::Datapath(e.to_string()))?;
    node.set_up(host, None)?;
    node.put_neighbour(host, pod.address, pod.key.pod_mac())?;
    let table = if pod.strict { TABLE_TO_POD } else { TABLE_MAIN };
    node.put_route(&Route { destination: (pod.address, 32), gateway: None, link: host, table })?;

    let eth = inside.link(&pod.ifname)?.ok_or_else(|| vanished(&pod.ifname))?.index;
    inside.set_up(eth, None)?;
    inside.put_address(eth, pod.address, 32)?;
    inside.put_neighbour(eth, POD_GATEWAY, pod.key.host_mac())?;
    let on_link =
        Route { destination: (POD_GATEWAY, 32), gateway: None, link: eth, table: TABLE_MAIN };
    inside.put_route(&on_link)?;
    let default = (Ipv4Addr::UNSPECIFIED, 0);
    inside.put_route(&Route { destination: default, gateway: Some(POD_GATEWAY), ..on_link })?;
    Ok(host)
}

/// Removes the pod's network, whichever kind it is; false when there was nothing. Routes and
/// neighbours go with the link.
pub fn tear_down(node: &mut Netlink, key: &SandboxKey) -> Result<bool, PodNetError> {
    let regular = node.delete_link(&key.host_name(false))?;
    let branch = node.delete_link(&key.host_name(true))?;
    Ok(regular || branch)
}

/// Says what is missing of the pod's network (for CHECK); `None` when all is there.
pub fn missing(node: &mut Netlink, pod: &PodNet) -> Result<Option<String>, PodNetError> {
    let host_name = pod.host_name();
    let Some(host) = node.link(&host_name)? else {
        return Ok(Some(format!("the link {host_name}")));
    };
    if !host.up {
        return Ok(Some(format!("{host_name} being up")));
    }
    let netns = open_netns(&pod.netns)?;
    let mut inside = Netlink::open_in(netns.as_fd())?;
    let Some(eth) = inside.link(&pod.ifname)? else {
        return Ok(Some(format!("the pod's {}", pod.ifname)));
    };
    let has = inside.addresses(eth.index)?.contains(&pod.address);
    Ok((!has).then(|| format!("the address {} on the pod's {}", pod.address, pod.ifname)))
}

fn open_netns(path: &Path) -> Result<File, PodNetError> {
    let failed = |error| PodNetError::Netns { path: path.to_owned(), error };
    let file = File::open(path).map_err(failed)?;
    let theirs = file.metadata().map_err(failed)?;
    let ours = std::fs::metadata("/proc/thread-self/ns/net").map_err(failed)?;
    if (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()) {
        return Err(PodNetError::OwnNamespace(path.to_owned()));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_stable_and_fit_a_link_name() {
        let key = SandboxKey::new("0f6d", "eth0");
        assert_eq!(key, SandboxKey::new("0f6d", "eth0"));
        assert_ne!(key, SandboxKey::new("0f6e", "eth0"));
        assert_ne!(SandboxKey::new("a", "bc"), SandboxKey::new("ab", "c"));
        assert_eq!(key.host_name(true).len(), 15);
        for branch in [false, true] {
            assert_eq!(SandboxKey::of_link(&key.host_name(branch)), Some(key.clone()));
        }
        for other in ["eth0", "eni", "enixyz01234567", "vlan0", "lo"] {
            assert_eq!(SandboxKey::of_link(other), None, "{other}");
        }
    }

    #[test]
    fn macs_are_local_unicast_and_differ() {
        let key = SandboxKey::new("0f6d", "eth0");
        assert_ne!(key.host_mac(), key.pod_mac());
        for mac in [key.host_mac(), key.pod_mac()] {
            assert_eq!(mac.0[0] & 0x03, 0x02, "{mac}");
        }
    }
}
