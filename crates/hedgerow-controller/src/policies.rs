//! Which groups a pod gets, read live from the API server.
//!
//! Policies are few per namespace and the read is one LIST; a watch cache could lag behind the
//! policy that a user has just applied, and the pod would run without its groups.

use hedgerow_core::select::{Labels, Policy, Selection, select};
use hedgerow_k8s::SecurityGroupPolicy;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

/// Why the groups of a pod cannot be told. The pod must not start then.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The policies could not be read.
    #[error("reading the SecurityGroupPolicies of namespace {namespace}: {source}")]
    Policies {
        /// Namespace.
        namespace: String,
        /// The API server's words.
        source: Box<kube::Error>,
    },
    /// The ServiceAccount could not be read.
    #[error("reading ServiceAccount {namespace}/{name}, whose labels a policy tests: {source}")]
    ServiceAccount {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// The API server's words.
        source: Box<kube::Error>,
    },
}

/// The policies of `namespace` that select `pod`, and their groups.
pub async fn selection(
    client: &Client,
    namespace: &str,
    pod: &Pod,
) -> Result<Selection, PolicyError> {
    let list = Api::<SecurityGroupPolicy>::namespaced(client.clone(), namespace)
        .list(&ListParams::default())
        .await
        .map_err(|e| PolicyError::Policies {
            namespace: namespace.to_owned(),
            source: Box::new(e),
        })?;
    let policies: Vec<Policy> = list.items.iter().map(Policy::from).collect();
    let account_labels = if policies.iter().any(|p| p.service_account.is_some()) {
        service_account_labels(client, namespace, pod).await?
    } else {
        Labels::new()
    };
    Ok(select(&policies, pod.labels(), &account_labels))
}

async fn service_account_labels(
    client: &Client,
    namespace: &str,
    pod: &Pod,
) -> Result<Labels, PolicyError> {
    let spec = pod.spec.as_ref();
    let name = spec
        .and_then(|s| s.service_account_name.as_deref())
        .filter(|n| !n.is_empty())
        .unwrap_or("default");
    let account = Api::<ServiceAccount>::namespaced(client.clone(), namespace)
        .get(name)
        .await
        .map_err(|e| PolicyError::ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            source: Box::new(e),
        })?;
    Ok(account.metadata.labels.unwrap_or_default())
}
