//! Questions to the cluster: is the API server ready, are the nodes, are the system's pods.

use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
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
    let tainted = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).is_some_and(|taints| {
        taints.iter().any(|taint| taint.key == "node.kubernetes.io/not-ready")
    });
    let true_condition = ready.is_some_and(|condition| condition.status == "True");
    let message = match true_condition && tainted {
        true => Some("the controller-manager has not lifted the not-ready taint yet".to_owned()),
        false => ready.and_then(|condition| condition.message.clone()),
    };
    NodeView {
        name: node.metadata.name.clone().unwrap_or_default(),
        // The condition comes first; pods are scheduled once the taint is gone.
        ready: true_condition && !tainted,
        message: message.unwrap_or_default(),
        version: status
            .and_then(|status| status.node_info.as_ref())
            .map(|info| info.kubelet_version.clone())
            .unwrap_or_default(),
    }
}

/// What keeps the Deployments of `kube-system` from having all their replicas ready; `None` if
/// nothing does. Having no Deployment at all is something.
pub async fn unready_deployments(client: &Client) -> Result<Option<String>> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), "kube-system")
        .list(&ListParams::default())
        .await
        .context("listing Deployments of kube-system")?;
    if deployments.items.is_empty() {
        return Ok(Some("there is no Deployment yet".to_owned()));
    }
    if deployments.items.iter().all(is_ready) {
        return Ok(None);
    }
    let pods = Api::<Pod>::namespaced(client.clone(), "kube-system")
        .list(&ListParams::default())
        .await
        .context("listing pods of kube-system")?;
    let unready: Vec<String> = pods.items.iter().filter_map(why_unready).collect();
    Ok(Some(unready.join("; ")))
}

fn is_ready(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.as_ref();
    status.and_then(|status| status.ready_replicas).unwrap_or(0) >= wanted
}

/// Why a pod is not ready, in Kubernetes' words; `None` if it is.
fn why_unready(pod: &Pod) -> Option<String> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
        return None;
    }
    let containers = status.init_container_statuses.into_iter().flatten();
    let containers = containers.chain(status.container_statuses.into_iter().flatten());
    let waiting = containers
        .filter_map(|container| container.state?.waiting)
        .find_map(|waiting| Some(format!("{} {}", waiting.reason?, waiting.message?)));
    let condition = conditions
        .into_iter()
        .find(|condition| condition.status != "True")
        .and_then(|condition| condition.message);
    let why = waiting.or(condition).or(status.phase).unwrap_or_default();
    Some(format!("{name}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn why(status: serde_json::Value) -> Option<String> {
        let pod = json!({"metadata": {"name": "p"}, "status": status});
        why_unready(&serde_json::from_value(pod).expect("a pod"))
    }

    #[test]
    fn a_pod_says_why_it_is_not_ready() {
        let not = json!({"type": "Ready", "status": "False", "message": "not yet"});
        let crash = json!({"reason": "CrashLoopBackOff", "message": "back-off 10s"});
        let container = json!({
            "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 1,
            "state": {"waiting": crash},
        });
        assert_eq!(why(json!({"conditions": [{"type": "Ready", "status": "True"}]})), None);
        assert_eq!(why(json!({"conditions": [not]})).as_deref(), Some("p: not yet"));
        assert_eq!(
            why(json!({"conditions": [not], "containerStatuses": [container]})).as_deref(),
            Some("p: CrashLoopBackOff back-off 10s")
        );
        assert_eq!(why(json!({"phase": "Pending"})).as_deref(), Some("p: Pending"));
    }
}
