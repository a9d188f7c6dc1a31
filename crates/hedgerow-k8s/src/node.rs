//! What a Node object says of its instance.

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

use hedgerow_core::names::COMPUTE_TYPE;

/// The instance id in a provider id, `aws:///ZONE/i-…`.
pub fn instance_of_provider_id(provider_id: &str) -> Option<&str> {
    let id = provider_id.strip_prefix("aws://")?.rsplit('/').next()?;
    let hex = id.strip_prefix("i-")?;
    (!hex.is_empty() && hex.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(id)
}

/// The instance of a node that Hedgerow manages: Linux, an EC2 provider id, not left to EKS Auto.
pub fn managed_instance(node: &Node) -> Option<&str> {
    let labels = node.labels();
    if labels.get("kubernetes.io/os").is_some_and(|os| os != "linux")
        || labels.get(COMPUTE_TYPE).is_some_and(|t| t == "auto")
    {
        return None;
    }
    instance_of_provider_id(node.spec.as_ref()?.provider_id.as_deref()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provider_ids() {
        for (text, id) in [
            ("aws:///us-west-2a/i-0123456789abcdef0", Some("i-0123456789abcdef0")),
            ("aws:///i-01", Some("i-01")),
            ("gce:///zone/i-01", None),
            ("aws:///us-west-2a/fargate-ip-10-0-0-1", None),
            ("aws:///us-west-2a/i-", None),
            ("", None),
        ] {
            assert_eq!(instance_of_provider_id(text), id, "{text}");
        }
    }

    #[test]
    fn windows_auto_and_foreign_nodes_are_left_alone() {
        let node = |labels: &[(&str, &str)]| -> Node {
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "n", "labels": labels.iter().copied()
                    .collect::<std::collections::BTreeMap<_, _>>()},
                "spec": {"providerID": "aws:///us-west-2a/i-01"}
            }))
            .unwrap()
        };
        assert_eq!(managed_instance(&node(&[("kubernetes.io/os", "linux")])), Some("i-01"));
        assert_eq!(managed_instance(&node(&[("kubernetes.io/os", "windows")])), None);
        assert_eq!(managed_instance(&node(&[(COMPUTE_TYPE, "auto")])), None);
        assert_eq!(managed_instance(&Node::default()), None);
    }
}
