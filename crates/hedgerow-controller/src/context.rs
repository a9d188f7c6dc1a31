//! What every part of the controller shares.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hedgerow_cloud::{Cloud, Tags};
use hedgerow_core::names;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, ListParams};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::config::Args;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::plan::is_finished;
use crate::trunk::{PodKey, Trunk};

/// Shared by all parts.
pub struct Context {
    /// Flags.
    pub args: Args,
    /// The cluster.
    pub client: Client,
    /// EC2.
    pub cloud: Arc<dyn Cloud>,
    /// Events on pods and nodes.
    pub events: Events,
    /// Counters.
    pub metrics: Metrics,
    /// All pods, as last seen.
    pub pods: Store<Pod>,
    /// All nodes, as last seen.
    pub nodes: Store<Node>,
    /// How long a branch rests.
    pub cooldown: watch::Sender<Duration>,
    trunks: Mutex<HashMap<String, Arc<Mutex<Trunk>>>>,
    /// Instance types by instance id, as EC2 told them.
    types: Mutex<HashMap<String, String>>,
    /// Pods whose branch could not be made.
    pub failures: Mutex<Backoff<PodKey>>,
    started: Instant,
}

/// Locks; what a panicking thread left behind is still whole (every change is one statement).
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    /// Nothing is known yet.
    pub fn new(
        args: Args,
        client: Client,
        cloud: Arc<dyn Cloud>,
        pods: Store<Pod>,
        nodes: Store<Node>,
    ) -> Self {
        let cooldown = watch::Sender::new(Duration::from_secs(args.cooldown.max(30)));
        Self {
            events: Events::new(client.clone()),
            metrics: Metrics::default(),
            trunks: Mutex::default(),
            types: Mutex::default(),
            failures: Mutex::default(),
            started: Instant::now(),
            args,
            client,
            cloud,
            pods,
            nodes,
            cooldown,
        }
    }

    /// Time since the controller started.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The trunk of a node, if it is up.
    pub fn trunk(&self, node: &str) -> Option<Arc<Mutex<Trunk>>> {
        lock(&self.trunks).get(node).cloned()
    }

    /// Every trunk that is up.
    pub fn trunks(&self) -> Vec<Arc<Mutex<Trunk>>> {
        lock(&self.trunks).values().cloned().collect()
    }

    /// The trunk of a node is up.
    pub fn put_trunk(&self, node: &str, trunk: Trunk) {
        let mut trunks = lock(&self.trunks);
        trunks.insert(node.to_owned(), Arc::new(Mutex::new(trunk)));
        self.metrics.trunks.set(trunks.len() as i64);
    }

    /// Forgets the trunk of a node, if it is that of `instance`.
    pub fn drop_trunk(&self, node: &str, instance: &str) {
        let mut trunks = lock(&self.trunks);
        if trunks.get(node).is_some_and(|t| lock(t).instance == instance) {
            trunks.remove(node);
        }
        self.metrics.trunks.set(trunks.len() as i64);
    }

    /// The instance's type; EC2 is asked once.
    pub async fn instance_type(&self, instance: &str) -> hedgerow_cloud::Result<String> {
        if let Some(known) = lock(&self.types).get(instance) {
            return Ok(known.clone());
        }
        let told = self.cloud.describe_instance(instance).await?.instance_type;
        lock(&self.types).insert(instance.to_owned(), told.clone());
        Ok(told)
    }

    /// Waits until [`Context::pods`] has been filled.
    ///
    /// Not by `Store::wait_until_ready`: kube 5.0 wakes only the last of several waiters
    /// (`DelayedInit` polls one oneshot receiver for all), and the pod loop is one already.
    pub async fn pods_known(&self) {
        let none = ListParams::default().limit(1);
        loop {
            if !self.pods.is_empty() {
                return;
            }
            let api = Api::<PartialObjectMeta<Pod>>::all(self.client.clone());
            if api.list(&none).await.is_ok_and(|list| list.items.is_empty()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether the pod is there, under this UID, with containers that may still talk.
    pub fn pod_needs_branch(&self, key: &PodKey) -> bool {
        let reference = ObjectRef::new(&key.name).within(&key.namespace);
        self.pods
            .get(&reference)
            .is_some_and(|pod| pod.metadata.uid.as_deref() == Some(&key.uid) && !is_finished(&pod))
    }

    /// Tags of everything made for an instance.
    pub fn tags(&self, instance: &str) -> Tags {
        let mut tags = self.owner_tags();
        tags.insert(names::TAG_INSTANCE.into(), instance.into());
        tags
    }

    /// Tags of everything made for this cluster.
    pub fn owner_tags(&self) -> Tags {
        Tags::from([
            (names::TAG_OWNER.into(), names::TAG_OWNER_VALUE.into()),
            (names::cluster_tag(&self.args.cluster), "owned".into()),
        ])
    }
}

/// A token for one logical EC2 request: the SDK repeats it, we never reuse it. (A token derived
/// from the node would, after a deletion, give back the interface that is gone.)
pub fn client_token() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("hedgerow-{now:x}-{:x}-{count:x}", std::process::id())
}
