//! What the agent knows of the cluster: its own pods, and where pod ENIs are on, the policies and
//! service accounts that may concern them. All from watches, so that ADD asks nobody.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use hedgerow_core::select::{Labels, Policy};
use hedgerow_core::sg::Ipv4Prefix;
use hedgerow_k8s::SecurityGroupPolicy;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::core::PartialObjectMeta;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// The API server did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A request failed.
    #[error("{operation}: {error}")]
    Api {
        /// What was asked.
        operation: String,
        /// The error.
        error: Box<kube::Error>,
    },
    /// A watch ended for good.
    #[error("the watch of {0} ended")]
    WatchEnded(&'static str),
}

fn failed(operation: impl Into<String>) -> impl FnOnce(kube::Error) -> ClusterError {
    move |error| ClusterError::Api { operation: operation.into(), error: Box::new(error) }
}

type Accounts = Store<PartialObjectMeta<ServiceAccount>>;

/// The agent's view of the cluster.
pub struct Cluster {
    client: Client,
    pods: Store<Pod>,
    enforced: Option<(Store<SecurityGroupPolicy>, Accounts)>,
    changed: watch::Receiver<()>,
    recorder: Recorder,
}

impl Cluster {
    /// Starts the watches; they run until the process ends.
    pub fn start(client: Client, node_name: &str, pod_eni: bool) -> Self {
        let (change, changed) = watch::channel(());
        let change = Arc::new(change);
        let mine = watcher::Config::default().fields(&format!("spec.nodeName={node_name}"));
        let pods = follow(Api::<Pod>::all(client.clone()), mine, "pods", Arc::clone(&change));
        let enforced = pod_eni.then(|| {
            let policies = Api::<SecurityGroupPolicy>::all(client.clone());
            let accounts = Api::<PartialObjectMeta<ServiceAccount>>::all(client.clone());
            let all = watcher::Config::default;
            (
                follow(policies, all(), "securitygrouppolicies", Arc::clone(&change)),
                follow(accounts, all(), "serviceaccounts", change),
            )
        });
        let reporter = Reporter {
            controller: "hedgerow-agent".to_owned(),
            instance: Some(node_name.to_owned()),
        };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { client, pods, enforced, changed, recorder }
    }

    /// Waits until every watch has its first full list.
    pub async fn synced(&self) -> Result<(), ClusterError> {
        let ended = |what| move |_| ClusterError::WatchEnded(what);
        self.pods.wait_until_ready().await.map_err(ended("pods"))?;
        if let Some((policies, accounts)) = &self.enforced {
            policies.wait_until_ready().await.map_err(ended("securitygrouppolicies"))?;
            accounts.wait_until_ready().await.map_err(ended("serviceaccounts"))?;
        }
        Ok(())
    }

    /// Rings at every change of what is watched.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.clone()
    }

    /// The pod as last seen on this node.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.pods.get(&ObjectRef::new(name).within(namespace))
    }

    /// Asks the API server for the pod; `None` when there is none.
    pub async fn fetch_pod(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Pod>, ClusterError> {
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        api.get_opt(name).await.map_err(failed(format!("get pod {namespace}/{name}")))
    }

    /// The policies of the pod's namespace and its service account's labels, where policies apply
    /// on this node. A service account that the watch has not seen yet is asked for; one that is
    /// gone has no labels.
    pub async fn enforced(&self, pod: &Pod) -> Result<Option<(Vec<Policy>, Labels)>, ClusterError> {
        let Some((policies, accounts)) = &self.enforced else { return Ok(None) };
        let namespace = pod.namespace().unwrap_or_default();
        let here = |p: &Arc<SecurityGroupPolicy>| p.namespace().as_deref() == Some(&namespace);
        let policies: Vec<Policy> =
            policies.state().iter().filter(|p| here(p)).map(|p| Policy::from(&**p)).collect();
        if policies.is_empty() {
            return Ok(Some((policies, Labels::new())));
        }
        let spec = pod.spec.as_ref();
        let name = spec.and_then(|s| s.service_account_name.as_deref()).unwrap_or("default");
        let key = ObjectRef::new(name).within(&namespace);
        let labels = match accounts.get(&key) {
            Some(account) => account.labels().clone(),
            None => {
                let api = Api::<ServiceAccount>::namespaced(self.client.clone(), &namespace);
                let account = api.get_metadata_opt(name).await;
                let account =
                    account.map_err(failed(format!("get serviceaccount {namespace}/{name}")))?;
                account.map(|a| a.labels().clone()).unwrap_or_default()
            }
        };
        Ok(Some((policies, labels)))
    }

    /// The Service prefixes of the cluster (Kubernetes 1.33 and up has them as objects).
    pub async fn service_prefixes(&self) -> Result<Vec<Ipv4Prefix>, ClusterError> {
        let list = Api::<ServiceCIDR>::all(self.client.clone())
            .list(&Default::default())
            .await
            .map_err(failed("list servicecidrs (set SERVICE_CIDRS where there are none)"))?;
        let cidrs =
            list.items.into_iter().filter_map(|c| c.spec).flat_map(|s| s.cidrs.unwrap_or_default());
        Ok(cidrs.filter_map(|text| text.parse().ok()).collect())
    }

    /// Writes a warning on the pod; a failure is only logged.
    pub async fn warn(&self, pod: &Pod, reason: &str, note: &str) {
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note.chars().take(1024).collect()),
            action: "SetUpNetwork".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &pod.object_ref(&())).await {
            tracing::warn!(%error, reason, pod = pod.name_any(), "the event could not be written");
        }
    }
}

/// Runs a watch into a store and rings at every change.
fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    what: &'static str,
    change: Arc<watch::Sender<()>>,
) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let stream = reflector::reflector(writer, watcher(api, config).default_backoff());
    tokio::spawn(async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            match event {
                Ok(_) => drop(change.send(())),
                Err(error) => tracing::warn!(%error, what, "watching failed; trying again"),
            }
        }
    });
    store
}

/// Between two attempts at something that the API server or EC2 refused.
pub const RETRY: Duration = Duration::from_secs(2);
