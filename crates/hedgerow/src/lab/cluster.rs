//! Questions to the cluster: is the API server ready, are the nodes, are the system's pods.

use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

/// A client for the cluster of this kubeconfig.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("reading {}", kubeconfig.display()))?;
    let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("using {}", kubeconfig.display()))?;
    // The lab is on this machine, whatever the environment says.
    config.proxy_url = None;
    Client::try_from(config).context("making a Kubernetes client")
}

/// Whether the API server is ready to serve.
pub async fn api_ready(client: &Client) -> bool {
    let request = http::Request::get("/readyz").body(Vec::new());
    match request {
        Ok(request) => client.request_text(request).await.is_ok(),
        Err(_) => false,
    }
}

/// A node as users see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Whether it takes pods.
    pub ready: bool,
    /// Why not, in the kubelet's words.
    pub message: String,
    /// Kubelet version.
    pub version: String,
}

/// Every node.
pub async fn nodes(client: &Client) -> Result<Vec<NodeView>> {
    let nodes = Api::<Node>::all(client.clone())
        .list(&ListParams::default())
        .await
        .context("listing nodes")?;
    Ok(nodes.items.iter().map(view).collect())
}

fn view(node: &Node) -> NodeView {
    let status = node.status.as_ref();
    let ready = status
        .and_then(|status| status.conditions.as_ref())
        .and_then(|conditions| conditions.iter().find(|condition| condition.type_ == "Ready"));
    NodeView {
        name: node.metadata.name.clone().unwrap_or_default(),
        ready: ready.is_some_and(|condition| condition.status == "True"),
        message: ready.and_then(|condition| condition.message.clone()).unwrap_or_default(),
        version: status
            .and_then(|status| status.node_info.as_ref())
            .map(|info| info.kubelet_version.clone())
            .unwrap_or_default(),
    }
}

/// Names of the Deployments of `kube-system` that do not have all their replicas ready; `None` if
/// there is no Deployment yet.
pub async fn unready_deployments(client: &Client) -> Result<Option<Vec<String>>> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), "kube-system")
        .list(&ListParams::default())
        .await
        .context("listing Deployments of kube-system")?;
    if deployments.items.is_empty() {
        return Ok(None);
    }
    let unready = deployments.items.iter().filter(|deployment| !is_ready(deployment));
    Ok(Some(unready.filter_map(|deployment| deployment.metadata.name.clone()).collect()))
}

fn is_ready(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.as_ref();
    status.and_then(|status| status.ready_replicas).unwrap_or(0) >= wanted
}
