//! What network a pod gets: the agent's half of "a pod never silently gets the node's groups".
//!
//! Precedence:
//! 1. the pod asks for `vpc.amazonaws.com/pod-eni`: its branch interface, or it waits for one;
//! 2. pod ENIs are on and a policy selects it: it slipped past admission and is refused;
//! 3. otherwise the node's groups, by a secondary address.

use hedgerow_core::names::POD_ENI;
use hedgerow_core::select::{self, Labels, Policy};
use hedgerow_k8s::PodEni;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;

/// Annotation of a static pod's mirror: the uid that the kubelet knows it by.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// A secondary address of the node's interfaces.
    Regular,
    /// This branch interface.
    Branch(PodEni),
    /// Not yet; the text says for what.
    Wait(String),
    /// Never as it is; the text says why and what to do.
    Refuse(String),
}

/// Whether this is the pod that the runtime means. Without a uid the name must do.
pub fn is_same(pod: &Pod, uid: Option<&str>) -> bool {
    let Some(uid) = uid else { return true };
    pod.metadata.uid.as_deref() == Some(uid)
        || pod.annotations().get(MIRROR).is_some_and(|hash| hash == uid)
}

/// Whether the pod asks for a branch interface.
pub fn asks_for_branch(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let asks = |container: &Container| {
        container.resources.as_ref().is_some_and(|r| {
            [&r.limits, &r.requests]
                .into_iter()
                .flatten()
                .any(|list| list.get(POD_ENI).is_some_and(|q| q.0 != "0"))
        })
    };
    spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(asks)
}

/// Decides. `enforced` holds the policies of the pod's namespace and the labels of its service
/// account; `None` while pod ENIs are off on this node.
pub fn decide(pod: &Pod, enforced: Option<(&[Policy], &Labels)>) -> Decision {
    if asks_for_branch(pod) {
        return match pod.annotations().get(POD_ENI) {
            None => Decision::Wait("the controller to give the pod a branch interface".to_owned()),
            Some(text) => match PodEni::decode_first(text) {
                Ok(branch) => Decision::Branch(branch),
                Err(e) => Decision::Wait(format!("a sound annotation: {e}")),
            },
        };
    }
    let Some((policies, account)) = enforced else { return Decision::Regular };
    let selection = select::select(policies, pod.labels(), account);
    if !selection.is_selected() {
        return Decision::Regular;
    }
    Decision::Refuse(format!(
        "SecurityGroupPolicy {} selects this pod, but it was created without its security groups \
         ({POD_ENI} is not requested): delete the pod so that it is created anew, and if it happens \
         again see that Hedgerow's webhook is called for the namespace",
        selection.policies.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use hedgerow_core::select::Selector;
    use hedgerow_core::sg::GroupId;
    use serde_json::json;

    use super::*;

    const ANNOTATION: &str = r#"[{"eniId":"eni-0a","ifAddress":"02:11:22:33:44:55","privateIp":"10.0.1.20","ipv6Addr":"","vlanId":3,"subnetCidr":"10.0.1.0/24","subnetV6Cidr":"","associationID":"trunk-assoc-0"}]"#;

    fn pod(asks: bool, annotation: Option<&str>) -> Pod {
        let limits = if asks { json!({POD_ENI: "1"}) } else { json!({"cpu": "1"}) };
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "d", "uid": "u-1", "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": limits}}]}
        }))
        .unwrap();
        if let Some(text) = annotation {
            pod.annotations_mut().insert(POD_ENI.to_owned(), text.to_owned());
        }
        pod
    }

    fn all() -> Vec<Policy> {
        vec![Policy {
            name: "all".to_owned(),
            pod: Some(Selector::default()),
            service_account: None,
            groups: vec![GroupId::from("sg-1")],
        }]
    }

    #[test]
    fn who_gets_what() {
        let none = Labels::new();
        let policies = all();
        let on = |policies| Some::<(&[Policy], &Labels)>((policies, &none));
        assert_eq!(decide(&pod(false, None), None), Decision::Regular, "pod ENIs are off");
        assert_eq!(decide(&pod(false, None), on(&[])), Decision::Regular, "no policy");
        assert!(
            matches!(decide(&pod(false, None), on(&policies)), Decision::Refuse(t) if t.contains("all"))
        );
        assert!(matches!(decide(&pod(true, None), on(&policies)), Decision::Wait(_)));
        assert!(
            matches!(decide(&pod(true, None), None), Decision::Wait(_)),
            "never the node's groups"
        );
        assert!(matches!(decide(&pod(true, Some("[]")), None), Decision::Wait(_)));
        let Decision::Branch(branch) = decide(&pod(true, Some(ANNOTATION)), on(&policies)) else {
            panic!("a branch");
        };
        assert_eq!(branch.vlan, 3);
        assert!(
            matches!(decide(&pod(false, Some(ANNOTATION)), on(&policies)), Decision::Refuse(_)),
            "an annotation alone admits nobody"
        );
        assert_eq!(decide(&pod(false, Some(ANNOTATION)), None), Decision::Regular);
    }

    #[test]
    fn a_namesake_is_another_pod() {
        let mut pod = pod(false, None);
        assert!(is_same(&pod, Some("u-1")) && is_same(&pod, None));
        assert!(!is_same(&pod, Some("u-0")));
        pod.annotations_mut().insert(MIRROR.to_owned(), "hash".to_owned());
        assert!(is_same(&pod, Some("hash")));
    }
}
