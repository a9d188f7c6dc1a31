//! The node's network state and what is done to it: sandboxes, their addresses, the datapath.
//!
//! Everything here blocks for microseconds to milliseconds and is called from blocking threads.
//! Nothing here knows Kubernetes or EC2.
//!
//! The order of ADD makes every crash harmless: address and intent are in the checkpoint before
//! the link is made; the endpoint is in the datapath before the link is up; undoing runs in
//! reverse. DEL removes endpoint, link and record in this order, so a repeated DEL finds what is
//! left.

mod carriers;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hedgerow_cni::message::Attachment;
use hedgerow_datapath::node::{Endpoint, NodeDatapath, NodeError, Uplink};
use hedgerow_k8s::PodEni;
use tokio::sync::Notify;

pub use carriers::{Carrier, Wanted};

use crate::arp::{self, ArpError, Question};
use crate::ipam::{CheckpointError, Conflict, Pool, Sandbox, Wire};
use crate::netlink::{Netlink, NetlinkError};
use crate::pod_net::{self, POD_GATEWAY, PodNet, PodNetError, SandboxKey};
use crate::sysctl::SysctlError;

/// How long the VPC may take to know a branch that the annotation already names.
const BRANCH_PATIENCE: Duration = Duration::from_secs(5);

/// Why the node's network could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum NodeNetError {
    /// No address is free.
    #[error(
        "no free address: all secondary addresses of the node's interfaces are used or resting"
    )]
    NoAddress,
    /// The interface that has the address is not up on the node yet.
    #[error("the interface that carries {0} is not ready on the node")]
    NoInterface(String),
    /// The node has no trunk.
    #[error("the node has no trunk interface yet")]
    NoTrunk,
    /// Another sandbox has the branch still.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The pod's network.
    #[error(transparent)]
    PodNet(#[from] PodNetError),
    /// The kernel.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The router did not answer.
    #[error(transparent)]
    Arp(#[from] ArpError),
    /// The datapath.
    #[error(transparent)]
    Datapath(#[from] NodeError),
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A sysctl.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
}

type Result<T, E = NodeNetError> = std::result::Result<T, E>;

/// A sandbox to connect.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its key.
    pub key: SandboxKey,
    /// What is known of it; address and VLAN are filled in.
    pub sandbox: Sandbox,
}

/// The node's network state.
pub struct Node {
    pool: Mutex<Pool>,
    datapath: Mutex<NodeDatapath>,
    carriers: Mutex<BTreeMap<String, Carrier>>,
    checkpoint: PathBuf,
    mtu: u32,
    refresh: AtomicBool,
    /// Rung when addresses were given out or came back, and when links change.
    pub changed: Notify,
}

/// Locks; a panic elsewhere leaves these states whole, so poison is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Node {
    /// Takes up the checkpoint of an earlier agent, if there is one.
    pub fn new(datapath: NodeDatapath, checkpoint: PathBuf, mtu: u32) -> Self {
        let pool = Pool::load(&checkpoint).unwrap_or_else(|error| {
            tracing::error!(%error, "starting without it: links and endpoints tell who has what");
            Pool::default()
        });
        Self {
            pool: Mutex::new(pool),
            datapath: Mutex::new(datapath),
            carriers: Mutex::default(),
            checkpoint,
            mtu,
            refresh: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// The address pool.
    pub fn pool(&self) -> MutexGuard<'_, Pool> {
        lock(&self.pool)
    }

    /// The datapath.
    pub fn datapath(&self) -> MutexGuard<'_, NodeDatapath> {
        lock(&self.datapath)
    }

    /// Writes the checkpoint.
    fn save(&self) -> Result<()> {
        Ok(self.pool().save(&self.checkpoint)?)
    }

    /// The node's trunk, once it is up.
    pub fn trunk(&self) -> Option<Carrier> {
        lock(&self.carriers).values().find(|c| c.trunk).cloned()
    }

    /// The addresses of the node itself, loopback not included.
    pub fn own_addresses(&self) -> Result<Vec<Ipv4Addr>> {
        let all = Netlink::open()?.addresses(0)?;
        Ok(all.into_iter().filter(|a| !a.is_loopback()).collect())
    }

    /// Connects a regular pod: an address of the pool, the ENI that has it.
    pub fn connect_regular(&self, request: Request) -> Result<Attachment> {
        let Request { key, sandbox } = request;
        let sandbox = self.pool().allocate(&key, sandbox, now()).ok_or(NodeNetError::NoAddress)?;
        self.changed.notify_one();
        self.undone_on_error(&key, || {
            self.save()?;
            let missing = || NodeNetError::NoInterface(sandbox.address.to_string());
            let eni = self.pool().eni_of(sandbox.address).map(str::to_owned).ok_or_else(missing)?;
            let carrier = lock(&self.carriers).get(&eni).cloned().ok_or_else(missing)?;
            let wire =
                Wire { carrier: carrier.mac, source: carrier.mac, gateway: carrier.gateway_mac };
            self.plumb(&key, sandbox.clone(), wire, &carrier)
        })
    }

    /// Connects a branch pod through the trunk. The router's answer on the branch's VLAN proves
    /// that the branch hangs on this trunk.
    pub fn connect_branch(&self, request: Request, branch: &PodEni) -> Result<Attachment> {
        let Request { key, mut sandbox } = request;
        sandbox.address = branch.private_ip;
        sandbox.vlan = Some(branch.vlan);
        let trunk = self.trunk().ok_or(NodeNetError::NoTrunk)?;
        self.pool().claim_branch(&key, sandbox.clone())?;
        self.undone_on_error(&key, || {
            self.save()?;
            let question = Question {
                link: trunk.link,
                vlan: Some(branch.vlan),
                source_mac: branch.mac,
                source: branch.private_ip,
                gateway: branch.subnet.nth(1),
            };
            let gateway = arp::resolve(&question, BRANCH_PATIENCE)?;
            let wire = Wire { carrier: trunk.mac, source: branch.mac, gateway };
            self.plumb(&key, sandbox.clone(), wire, &trunk)
        })
    }

    /// Runs `work`; when it fails, everything that ADD made so far goes again.
    fn undone_on_error<T>(&self, key: &SandboxKey, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let done = work();
        if let Err(cause) = &done
            && let Err(error) = self.disconnect(key)
        {
            tracing::error!(%cause, %error, sandbox = %key, "a failed ADD could not be undone");
        }
        done
    }

    fn plumb(
        &self,
        key: &SandboxKey,
        mut sandbox: Sandbox,
        wire: Wire,
        carrier: &Carrier,
    ) -> Result<Attachment> {
        sandbox.wire = Some(wire);
        let net = self.pod_net(key, &sandbox);
        let host_name = net.host_name();
        let host = pod_net::set_up(&mut Netlink::open()?, &net, |host| {
            sandbox.host_ifindex = host;
            self.pool().update(key, &sandbox);
            let mut datapath = self.datapath();
            datapath.put_endpoint(&endpoint(key, &sandbox, wire, carrier.link))?;
            datapath.attach_pod(&host_name)
        })?;
        tracing::debug!(sandbox = %key, host, address = %sandbox.address, "connected");
        self.save()?;
        Ok(attachment(key, &sandbox))
    }

    fn pod_net(&self, key: &SandboxKey, sandbox: &Sandbox) -> PodNet {
        PodNet {
            key: key.clone(),
            netns: sandbox.netns.clone().into(),
            ifname: sandbox.ifname.clone(),
            address: sandbox.address,
            strict: sandbox.vlan.is_some(),
            mtu: self.mtu,
        }
    }

    /// Removes whatever the sandbox has; nothing happens where it has nothing.
    pub fn disconnect(&self, key: &SandboxKey) -> Result<()> {
        let mut netlink = Netlink::open()?;
        let known = self.pool().sandbox(key).map_or(0, |s| s.host_ifindex);
        let mut indexes = vec![known];
        for branch in [false, true] {
            indexes.extend(netlink.link(&key.host_name(branch))?.map(|l| l.index));
        }
        indexes.retain(|i| *i != 0);
        indexes.dedup();
        for index in indexes {
            self.datapath().remove_endpoint(index)?;
        }
        pod_net::tear_down(&mut netlink, key)?;
        if self.pool().release(key, now()).is_some() {
            self.save()?;
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Says what is missing of a sandbox's network; `None` when all is there.
    pub fn missing(&self, key: &SandboxKey) -> Result<Option<String>> {
        let Some(sandbox) = self.pool().sandbox(key).cloned() else {
            return Ok(Some("any record of the sandbox".to_owned()));
        };
        let net = self.pod_net(key, &sandbox);
        if let Some(what) = pod_net::missing(&mut Netlink::open()?, &net)? {
            return Ok(Some(what));
        }
        let host = sandbox.host_ifindex;
        let known = self.datapath().endpoints()?.iter().any(|e| e.host_ifindex == host);
        Ok((!known).then(|| "the datapath's endpoint".to_owned()))
    }

    /// Asks for EC2 to be read soon: something that it knows is missing here.
    pub fn ask_for_refresh(&self) {
        self.refresh.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Whether somebody asked for that since the last call.
    pub fn take_refresh(&self) -> bool {
        self.refresh.swap(false, Ordering::Relaxed)
    }

    /// After a start: sandboxes whose link is still there get their programs and endpoints again,
    /// endpoints without a sandbox are adopted or removed. Call it once interfaces are up.
    pub fn restore(&self) -> Result<()> {
        let links = Netlink::open()?.links()?;
        let endpoints = self.datapath().endpoints()?;
        for endpoint in endpoints {
            let link = links.iter().find(|l| l.index == endpoint.host_ifindex);
            match link.and_then(|l| SandboxKey::of_link(&l.name)) {
                Some(key) => self.pool().adopt(key, adopted(&endpoint)),
                None => self.datapath().remove_endpoint(endpoint.host_ifindex)?,
            }
        }
        let carriers = lock(&self.carriers).clone();
        let sandboxes: Vec<_> =
            self.pool().sandboxes().map(|(k, s)| (k.clone(), s.clone())).collect();
        for (key, sandbox) in sandboxes {
            let host_name = key.host_name(sandbox.vlan.is_some());
            let alive =
                links.iter().any(|l| l.name == host_name && l.index == sandbox.host_ifindex);
            let carrier = |wire: &Wire| carriers.values().find(|c| c.mac == wire.carrier);
            if alive {
                if let Some((wire, carrier)) = sandbox.wire.and_then(|w| Some((w, carrier(&w)?))) {
                    let endpoint = endpoint(&key, &sandbox, wire, carrier.link);
                    self.datapath().put_endpoint(&endpoint)?;
                }
                self.datapath().attach_pod(&host_name)?;
            } else {
                self.disconnect(&key)?;
            }
        }
        self.save()
    }

    /// Keys of sandboxes whose link is gone: their namespace was removed without a DEL that
    /// reached us. The caller disconnects those that nobody is working on.
    pub fn vanished(&self) -> Result<Vec<SandboxKey>> {
        let links = Netlink::open()?.links()?;
        let pool = self.pool();
        let gone = |key: &SandboxKey, s: &Sandbox| {
            !links.iter().any(|l| l.name == key.host_name(s.vlan.is_some()))
        };
        Ok(pool.sandboxes().filter(|(k, s)| gone(k, s)).map(|(k, _)| k.clone()).collect())
    }
}

fn endpoint(key: &SandboxKey, sandbox: &Sandbox, wire: Wire, link: u32) -> Endpoint {
    Endpoint {
        host_ifindex: sandbox.host_ifindex,
        address: sandbox.address,
        pod_mac: key.pod_mac().0,
        uplink: Uplink {
            ifindex: link,
            vlan: sandbox.vlan,
            source_mac: wire.source.0,
            gateway_mac: wire.gateway.0,
        },
        strict: sandbox.vlan.is_some(),
    }
}

/// What an endpoint without a record tells of its sandbox.
fn adopted(endpoint: &Endpoint) -> Sandbox {
    Sandbox {
        container_id: String::new(),
        ifname: "eth0".to_owned(),
        netns: String::new(),
        pod: None,
        address: endpoint.address,
        vlan: endpoint.uplink.vlan,
        host_ifindex: endpoint.host_ifindex,
        wire: None,
    }
}

fn attachment(key: &SandboxKey, sandbox: &Sandbox) -> Attachment {
    Attachment {
        host_name: key.host_name(sandbox.vlan.is_some()),
        host_mac: key.host_mac().to_string(),
        pod_name: sandbox.ifname.clone(),
        pod_mac: key.pod_mac().to_string(),
        address: sandbox.address,
        gateway: POD_GATEWAY,
    }
}
