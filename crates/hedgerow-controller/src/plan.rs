//! What a node and a pod need: decisions, no I/O.

use hedgerow_core::names::POD_ENI;
use hedgerow_k8s::PodEni;
use hedgerow_k8s::pod_eni::BadPodEni;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;

/// What is known of a managed node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeFacts<'a> {
    /// Its CNINode exists.
    pub has_cninode: bool,
    /// Its agent asks for a trunk, or it had one already (label).
    pub asks_for_trunk: bool,
    /// Branches that its instance type carries; `None`: no trunk.
    pub branch_limit: Option<u32>,
    /// The trunk is up and its state rebuilt.
    pub trunk_is_up: bool,
    /// The label `has-trunk-attached`.
    pub label: Option<&'a str>,
    /// The pod-eni quantity in status.capacity.
    pub capacity: Option<&'a str>,
    /// The pod-eni quantity in status.allocatable.
    pub allocatable: Option<&'a str>,
}

/// One thing to do for a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeStep {
    /// Create its CNINode.
    CreateCniNode,
    /// Make the trunk, or find it again.
    StartTrunk {
        /// Branches it will carry.
        limit: u32,
    },
    /// Tell the node that its type has no trunk.
    TellUnsupported,
    /// Write the label.
    Label(bool),
    /// Write capacity and allocatable.
    WriteCapacity(u32),
}

/// What to do for a managed node now. After [`NodeStep::StartTrunk`] the node is looked at again.
pub fn plan_node(facts: &NodeFacts) -> Vec<NodeStep> {
    let mut steps = Vec::new();
    if !facts.has_cninode {
        steps.push(NodeStep::CreateCniNode);
    }
    let Some(limit) = facts.branch_limit.filter(|n| *n > 0) else {
        if facts.asks_for_trunk {
            steps.push(NodeStep::TellUnsupported);
        }
        return steps;
    };
    if facts.asks_for_trunk && !facts.trunk_is_up {
        steps.push(NodeStep::StartTrunk { limit });
        return steps;
    }
    if facts.trunk_is_up {
        let quantity = limit.to_string();
        if facts.capacity != Some(&quantity) || facts.allocatable != Some(&quantity) {
            steps.push(NodeStep::WriteCapacity(limit));
        }
    }
    // The label follows the capacity: whoever waits for the label may schedule at once.
    let label = if facts.trunk_is_up { "true" } else { "false" };
    if facts.label != Some(label) {
        steps.push(NodeStep::Label(facts.trunk_is_up));
    }
    steps
}

/// What a pod needs of the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodStep {
    /// Nothing: not ours, not bound, or finished.
    Nothing,
    /// It has its branch.
    Adopt(PodEni),
    /// Its annotation is not one that the controller writes.
    Refuse(BadPodEni),
    /// Make a branch on its node.
    Allocate {
        /// The node it is bound to.
        node: String,
    },
}

/// What to do for a pod now.
pub fn plan_pod(pod: &Pod) -> PodStep {
    let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default();
    if node.is_empty() || !requests_branch(pod) || is_finished(pod) {
        return PodStep::Nothing;
    }
    match pod.annotations().get(POD_ENI).filter(|text| !text.is_empty()) {
        Some(text) => match PodEni::decode_first(text) {
            Ok(eni) => PodStep::Adopt(eni),
            Err(error) => PodStep::Refuse(error),
        },
        // A pod that is told to end before it started gets no branch any more.
        None if pod.metadata.deletion_timestamp.is_some() => PodStep::Nothing,
        None => PodStep::Allocate { node: node.to_owned() },
    }
}

/// Whether any container asks for the pod-eni resource.
pub fn requests_branch(pod: &Pod) -> bool {
    let asks = |container: &Container| {
        container.resources.as_ref().is_some_and(|r| {
            [&r.limits, &r.requests]
                .into_iter()
                .flatten()
                .any(|list| list.get(POD_ENI).is_some_and(|quantity| quantity.0 != "0"))
        })
    };
    pod.spec.as_ref().is_some_and(|spec| {
        spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(asks)
    })
}

/// Whether the pod's containers have ended for good. Deletion alone does not end them: until the
/// object is gone they may still talk.
pub fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The highest device index below `limit` that is not taken.
pub fn highest_free_index(taken: impl Iterator<Item = u8>, limit: u32) -> Option<u8> {
    let taken: std::collections::BTreeSet<u8> = taken.collect();
    let limit = u8::try_from(limit).unwrap_or(u8::MAX);
    (1..limit).rev().find(|index| !taken.contains(index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const FRESH: NodeFacts = NodeFacts {
        has_cninode: true,
        asks_for_trunk: false,
        branch_limit: Some(18),
        trunk_is_up: false,
        label: None,
        capacity: None,
        allocatable: None,
    };

    #[test]
    fn before_the_feature_is_asked_for_there_is_neither_trunk_nor_capacity() {
        let steps = plan_node(&NodeFacts { has_cninode: false, ..FRESH });
        assert_eq!(steps, [NodeStep::CreateCniNode, NodeStep::Label(false)]);
        assert!(plan_node(&NodeFacts { label: Some("false"), ..FRESH }).is_empty());
    }

    #[test]
    fn trunk_then_capacity_then_label() {
        let asks = NodeFacts { asks_for_trunk: true, label: Some("false"), ..FRESH };
        assert_eq!(plan_node(&asks), [NodeStep::StartTrunk { limit: 18 }]);
        let up = NodeFacts { trunk_is_up: true, ..asks };
        assert_eq!(plan_node(&up), [NodeStep::WriteCapacity(18), NodeStep::Label(true)]);
        let done =
            NodeFacts { label: Some("true"), capacity: Some("18"), allocatable: Some("18"), ..up };
        assert!(plan_node(&done).is_empty());
        let kubelet_restarted = NodeFacts { capacity: Some("0"), ..done };
        assert_eq!(plan_node(&kubelet_restarted), [NodeStep::WriteCapacity(18)]);
    }

    #[test]
    fn types_without_a_trunk_are_told_only_when_they_ask() {
        let small = NodeFacts { branch_limit: None, ..FRESH };
        assert!(plan_node(&small).is_empty());
        let asks = NodeFacts { asks_for_trunk: true, ..small };
        assert_eq!(plan_node(&asks), [NodeStep::TellUnsupported]);
        let none = NodeFacts { branch_limit: Some(0), ..asks };
        assert_eq!(plan_node(&none), [NodeStep::TellUnsupported]);
    }

    fn pod(change: impl Fn(&mut serde_json::Value)) -> Pod {
        let mut value = json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "annotations": {}},
            "spec": {"nodeName": "n1", "containers": [
                {"name": "c", "resources": {"limits": {POD_ENI: "1"}, "requests": {POD_ENI: "1"}}}]},
            "status": {"phase": "Pending"}
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_bound_unfinished_pods_that_ask_get_a_branch() {
        assert_eq!(plan_pod(&pod(|_| ())), PodStep::Allocate { node: "n1".into() });
        for change in [
            (|p: &mut serde_json::Value| p["spec"]["nodeName"] = json!("")) as fn(&mut _),
            |p| p["spec"]["containers"][0]["resources"] = json!({}),
            |p| p["spec"]["containers"][0]["resources"] = json!({"limits": {POD_ENI: "0"}}),
            |p| p["status"]["phase"] = json!("Succeeded"),
            |p| p["status"]["phase"] = json!("Failed"),
            |p| p["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
        ] {
            assert_eq!(plan_pod(&pod(change)), PodStep::Nothing);
        }
    }

    #[test]
    fn annotated_pods_are_adopted_and_nonsense_is_refused() {
        let text = r#"[{"eniId":"eni-0a","ifAddress":"02:00:00:00:00:01","privateIp":"10.0.1.9",
            "ipv6Addr":"","vlanId":7,"subnetCidr":"10.0.1.0/24","subnetV6Cidr":"",
            "associationID":"trunk-assoc-1"}]"#;
        let annotated = pod(|p| p["metadata"]["annotations"][POD_ENI] = json!(text));
        assert!(matches!(plan_pod(&annotated), PodStep::Adopt(eni) if eni.vlan == 7));
        let ending = pod(|p| {
            p["metadata"]["annotations"][POD_ENI] = json!(text);
            p["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        });
        assert!(matches!(plan_pod(&ending), PodStep::Adopt(_)), "its containers still talk");
        let forged = pod(|p| p["metadata"]["annotations"][POD_ENI] = json!("[{}]"));
        assert!(matches!(plan_pod(&forged), PodStep::Refuse(_)));
    }

    #[test]
    fn trunk_goes_to_the_highest_free_index() {
        assert_eq!(highest_free_index([0, 1].into_iter(), 4), Some(3));
        assert_eq!(highest_free_index([0, 3].into_iter(), 4), Some(2));
        assert_eq!(highest_free_index([0, 1, 2, 3].into_iter(), 4), None);
        assert_eq!(highest_free_index([0].into_iter(), 1), None);
    }
}
