//! ADD, DEL and CHECK: what the plugin asks for, from the cluster's view to the node's network.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hedgerow_cni::answer::{CniError, Code};
use hedgerow_cni::message::{Attachment, PodRef, Request, Response};
use hedgerow_k8s::PodEni;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use crate::cluster::{Cluster, RETRY};
use crate::decide::{self, Decision};
use crate::ipam::Sandbox;
use crate::metrics::Metrics;
use crate::node::{self, Node, NodeNetError};
use crate::pod_net::SandboxKey;

/// How long ADD waits for the pod's branch interface: below the plugin's 60 s and the kubelet's
/// two minutes, above the controller's usual second.
const BRANCH_DEADLINE: Duration = Duration::from_secs(30);
/// How long ADD waits for an address, while EC2 is asked for more.
const ADDRESS_DEADLINE: Duration = Duration::from_secs(10);
/// Event reason: the pod slipped past admission.
const NOT_ADMITTED: &str = "SecurityGroupsNotAdmitted";
/// Event reason: no branch interface in time.
const NO_BRANCH: &str = "BranchInterfaceNotReady";

/// Answers the plugin.
pub struct Service {
    node: Arc<Node>,
    cluster: Cluster,
    metrics: Arc<Metrics>,
    locks: Locks,
}

/// What a pod gets.
enum Network {
    Regular,
    Branch(PodEni),
}

impl Service {
    /// A service over the node's network and the cluster's view.
    pub fn new(node: Arc<Node>, cluster: Cluster, metrics: Arc<Metrics>) -> Self {
        Self { node, cluster, metrics, locks: Locks::default() }
    }

    /// Does what is asked.
    pub async fn handle(&self, request: Request) -> Response {
        let start = Instant::now();
        let (command, result) = match request {
            Request::Add { container_id, netns, ifname, pod } => {
                ("add", self.add(container_id, netns, ifname, pod).await.map(Response::Added))
            }
            Request::Del { container_id, ifname } => {
                let key = SandboxKey::new(&container_id, &ifname);
                ("del", self.del(key).await.map(|()| Response::Done))
            }
            Request::Check { container_id, ifname, .. } => {
                let key = SandboxKey::new(&container_id, &ifname);
                ("check", self.check(key).await.map(|()| Response::Done))
            }
        };
        self.metrics.request(command, result.is_ok(), start.elapsed());
        result.unwrap_or_else(|error| {
            tracing::warn!(command, %error, "refused");
            Response::Failed(error)
        })
    }

    async fn add(
        &self,
        container_id: String,
        netns: String,
        ifname: String,
        pod: Option<PodRef>,
    ) -> Result<Attachment, CniError> {
        let key = SandboxKey::new(&container_id, &ifname);
        let _only_one = self.locks.lock(&key).await;
        let pod = pod.ok_or_else(|| {
            let advice = "this network is for Kubernetes pods: the runtime must set CNI_ARGS";
            CniError::new(Code::InvalidEnvironment, "the runtime did not name the pod", advice)
        })?;
        let network = self.network_of(&pod).await?;
        if self.node.pool().sandbox(&key).is_some() {
            self.disconnect(&key).await?;
        }
        let sandbox = Sandbox {
            container_id,
            ifname,
            netns,
            pod: Some(pod),
            address: std::net::Ipv4Addr::UNSPECIFIED,
            vlan: None,
            host_ifindex: 0,
            wire: None,
        };
        self.connect(node::Request { key, sandbox }, network).await
    }

    /// Connects; waits a while for what is on its way (an address, an interface, the trunk).
    async fn connect(
        &self,
        request: node::Request,
        network: Network,
    ) -> Result<Attachment, CniError> {
        let network = Arc::new(network);
        let deadline = Instant::now() + ADDRESS_DEADLINE;
        loop {
            let (node, request, network) =
                (Arc::clone(&self.node), request.clone(), Arc::clone(&network));
            let done = tokio::task::spawn_blocking(move || match &*network {
                Network::Regular => node.connect_regular(request),
                Network::Branch(branch) => node.connect_branch(request, branch),
            });
            let error = match done.await {
                Ok(Ok(attachment)) => return Ok(attachment),
                Ok(Err(error)) => error,
                Err(e) => {
                    return Err(CniError::new(Code::SetupFailed, "connecting died", e.to_string()));
                }
            };
            let passing = matches!(
                error,
                NodeNetError::NoAddress | NodeNetError::NoInterface(_) | NodeNetError::NoTrunk
            );
            if !passing || Instant::now() >= deadline {
                return Err(cni_error(&error));
            }
            if matches!(error, NodeNetError::NoAddress) {
                self.node.changed.notify_one();
            } else {
                self.node.ask_for_refresh();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Decides what the pod gets; waits for the pod to be seen and for its branch interface.
    async fn network_of(&self, wanted: &PodRef) -> Result<Network, CniError> {
        let deadline = Instant::now() + BRANCH_DEADLINE;
        let mut changes = self.cluster.changes();
        let mut last_seen: Option<Arc<Pod>> = None;
        let mut asked = None;
        loop {
            changes.mark_unchanged();
            let cached = self
                .cluster
                .pod(&wanted.namespace, &wanted.name)
                .filter(|p| decide::is_same(p, wanted.uid.as_deref()));
            let pod = match cached {
                Some(pod) => Some(pod),
                // The watch is behind the kubelet: ask, but not at every change.
                None if asked.is_none_or(|at: Instant| at.elapsed() >= RETRY) => {
                    asked = Some(Instant::now());
                    self.fetch(wanted).await?
                }
                None => last_seen.clone(),
            };
            let waits_for = match &pod {
                None => "the pod to appear".to_owned(),
                Some(pod) => match self.decide(pod).await? {
                    Decision::Regular => return Ok(Network::Regular),
                    Decision::Branch(branch) => return Ok(Network::Branch(branch)),
                    Decision::Refuse(why) => {
                        self.cluster.warn(pod, NOT_ADMITTED, &why).await;
                        let text = "the pod was not admitted with its security groups";
                        return Err(CniError::new(Code::Refused, text, why));
                    }
                    Decision::Wait(what) => what,
                },
            };
            last_seen = pod.or(last_seen);
            if Instant::now() >= deadline {
                return Err(self.too_late(last_seen.as_deref(), &waits_for).await);
            }
            let pause = tokio::time::sleep_until(deadline.min(Instant::now() + RETRY));
            tokio::select! { _ = changes.changed() => {}, () = pause => {} }
        }
    }

    async fn too_late(&self, pod: Option<&Pod>, waits_for: &str) -> CniError {
        let text = format!("waited {BRANCH_DEADLINE:?} for {waits_for}");
        let advice = "see the pod's events and the logs of Hedgerow's controller";
        if let Some(pod) = pod {
            self.cluster.warn(pod, NO_BRANCH, &format!("{text}; {advice}")).await;
        }
        CniError::new(Code::TryAgain, text, advice)
    }

    /// The pod from the API server, if it is the one that is meant.
    async fn fetch(&self, wanted: &PodRef) -> Result<Option<Arc<Pod>>, CniError> {
        let again = |e: crate::cluster::ClusterError| {
            CniError::new(Code::TryAgain, "the pod is not known yet", e.to_string())
        };
        let pod = self.cluster.fetch_pod(&wanted.namespace, &wanted.name).await.map_err(again)?;
        let gone = |why: &str| {
            let advice = "the sandbox belongs to a pod that is gone; the kubelet gives it up";
            CniError::new(Code::UnknownContainer, format!("pod {wanted} {why}"), advice)
        };
        match pod {
            None => Err(gone("does not exist")),
            Some(pod) if decide::is_same(&pod, wanted.uid.as_deref()) => Ok(Some(Arc::new(pod))),
            Some(_) => Err(gone("was replaced by another pod of the same name")),
        }
    }

    async fn decide(&self, pod: &Pod) -> Result<Decision, CniError> {
        let enforced = self.cluster.enforced(pod).await.map_err(|e| {
            CniError::new(
                Code::TryAgain,
                "which policies select the pod is not known",
                e.to_string(),
            )
        })?;
        Ok(decide::decide(pod, enforced.as_ref().map(|(p, l)| (p.as_slice(), l))))
    }

    async fn del(&self, key: SandboxKey) -> Result<(), CniError> {
        let _only_one = self.locks.lock(&key).await;
        self.disconnect(&key).await
    }

    async fn disconnect(&self, key: &SandboxKey) -> Result<(), CniError> {
        let (node, key) = (Arc::clone(&self.node), key.clone());
        match tokio::task::spawn_blocking(move || node.disconnect(&key)).await {
            Ok(done) => done.map_err(|e| cni_error(&e)),
            Err(e) => Err(CniError::new(Code::TryAgain, "disconnecting died", e.to_string())),
        }
    }

    async fn check(&self, key: SandboxKey) -> Result<(), CniError> {
        let node = Arc::clone(&self.node);
        let missing = match tokio::task::spawn_blocking(move || node.missing(&key)).await {
            Ok(found) => found.map_err(|e| cni_error(&e))?,
            Err(e) => return Err(CniError::new(Code::TryAgain, "checking died", e.to_string())),
        };
        missing.map_or(Ok(()), |what| {
            let advice = "delete the pod so that its network is made anew";
            Err(CniError::new(Code::UnknownContainer, format!("{what} is missing"), advice))
        })
    }

    /// Releases what was made for a request whose caller went away before the answer.
    pub async fn abandon(&self, container_id: &str, ifname: &str) {
        let key = SandboxKey::new(container_id, ifname);
        if let Err(error) = self.del(key).await {
            tracing::warn!(%error, container_id, "what an abandoned ADD made is left");
        }
    }

    /// Releases sandboxes whose link vanished and that nobody is working on.
    pub async fn sweep(&self) {
        let node = Arc::clone(&self.node);
        let vanished = match tokio::task::spawn_blocking(move || node.vanished()).await {
            Ok(Ok(keys)) => keys,
            Ok(Err(error)) => return tracing::warn!(%error, "looking for vanished sandboxes"),
            Err(_) => return,
        };
        for key in vanished {
            let Some(_only_one) = self.locks.try_lock(&key) else { continue };
            // ADD may have finished, or begun and ended, since the links were listed.
            let node = Arc::clone(&self.node);
            let still = tokio::task::spawn_blocking(move || node.vanished()).await;
            if !matches!(still, Ok(Ok(keys)) if keys.contains(&key)) {
                continue;
            }
            tracing::info!(sandbox = %key, "its link vanished without a DEL; released");
            if let Err(error) = self.disconnect(&key).await {
                tracing::warn!(%error, sandbox = %key, "could not be released");
            }
        }
    }
}

/// The runtime's view of a failure on the node.
fn cni_error(error: &NodeNetError) -> CniError {
    let (code, advice) = match error {
        NodeNetError::NoAddress => (
            Code::TryAgain,
            "the node is full of pods, or its subnet of addresses: see the log of aws-node",
        ),
        NodeNetError::NoInterface(_)
        | NodeNetError::NoTrunk
        | NodeNetError::Conflict(_)
        | NodeNetError::Arp(_) => (Code::TryAgain, "it is tried again; see the log of aws-node"),
        _ => (Code::SetupFailed, "see the log of aws-node on this node"),
    };
    CniError::new(code, error.to_string(), advice)
}

type Lock = Arc<tokio::sync::Mutex<()>>;

/// One lock for each sandbox that something is done to.
#[derive(Default)]
struct Locks(Mutex<HashMap<SandboxKey, Lock>>);

impl Locks {
    fn get(&self, key: &SandboxKey) -> Lock {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that only the map holds are not in use.
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry(key.clone()).or_default())
    }

    async fn lock(&self, key: &SandboxKey) -> tokio::sync::OwnedMutexGuard<()> {
        self.get(key).lock_owned().await
    }

    fn try_lock(&self, key: &SandboxKey) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        self.get(key).try_lock_owned().ok()
    }
}
