//! The node's request for a trunk: the feature `SecurityGroupsForPods` of its CNINode.
//!
//! The controller makes the object; the agent adds and removes its one feature and touches
//! nothing else. The patch carries the version it was computed from, so that a change by somebody
//! else in between makes it fail and be computed anew.

use futures::StreamExt;
use hedgerow_core::names::FEATURE_POD_SECURITY_GROUPS;
use hedgerow_k8s::CNINode;
use hedgerow_k8s::resources::Feature;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

/// The list of features that it should be; `None` when it is so already.
fn wanted(features: &[Feature], pod_eni: bool) -> Option<Vec<Feature>> {
    let has = features.iter().any(|f| f.name == FEATURE_POD_SECURITY_GROUPS);
    if has == pod_eni {
        return None;
    }
    let mut features: Vec<Feature> =
        features.iter().filter(|f| f.name != FEATURE_POD_SECURITY_GROUPS).cloned().collect();
    if pod_eni {
        let name = FEATURE_POD_SECURITY_GROUPS.to_owned();
        features.push(Feature { name, value: String::new() });
    }
    Some(features)
}

/// Keeps the feature as `pod_eni` says, for ever.
pub async fn keep(client: Client, node_name: String, pod_eni: bool) {
    let api = Api::<CNINode>::all(client);
    let stream = watcher::watch_object(api.clone(), &node_name).default_backoff();
    let mut stream = std::pin::pin!(stream);
    while let Some(seen) = stream.next().await {
        let object = match seen {
            Ok(Some(object)) => object,
            Ok(None) => {
                tracing::info!(node_name, "no CNINode yet; the controller makes it");
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "watching the CNINode failed; trying again");
                continue;
            }
        };
        let Some(features) = wanted(&object.spec.features, pod_eni) else { continue };
        let patch = json!({
            "metadata": {"resourceVersion": object.resource_version()},
            "spec": {"features": features},
        });
        match api.patch(&node_name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => tracing::info!(node_name, pod_eni, "feature {FEATURE_POD_SECURITY_GROUPS}"),
            // Somebody else changed it; the watch brings the new version.
            Err(error) => tracing::warn!(%error, "the CNINode was not changed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_feature_changes() {
        let other = Feature { name: "CustomNetworking".into(), value: "zone-a".into() };
        let ours = Feature { name: FEATURE_POD_SECURITY_GROUPS.into(), value: String::new() };
        let both = [other.clone(), ours.clone()];
        assert_eq!(wanted(&[], false), None);
        assert_eq!(wanted(&both, true), None);
        assert_eq!(wanted(&[], true), Some(vec![ours]));
        assert_eq!(wanted(std::slice::from_ref(&other), true), Some(both.to_vec()));
        assert_eq!(wanted(&both, false), Some(vec![other]));
    }
}
