//! The decision about a pod's creation: pure.
//!
//! First match wins (REFERENCE.md §1, Admission):
//!
//! 1. a `pod-eni` annotation of the user's own → denied
//! 2. `hostNetwork: true` → untouched
//! 3. Fargate label → the Fargate annotation, the user's own replaced or stripped
//! 4. Windows → untouched, with a warning where a policy selects it
//! 5. a policy selects it → one branch interface in limits and requests of the first container
//! 6. otherwise untouched

use hedgerow_core::names::{FARGATE_POD_SG, FARGATE_PROFILE, POD_ENI};
use hedgerow_core::select::Selection;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

/// What to answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// As it is.
    Allow,
    /// As it is, with a word to the user.
    Warn(String),
    /// Not at all.
    Deny(String),
    /// With these JSON patch operations.
    Patch(Vec<Value>),
}

impl Decision {
    /// The metric's label.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Allow => "untouched",
            Self::Warn(_) => "warned",
            Self::Deny(_) => "denied",
            Self::Patch(_) => "mutated",
        }
    }
}

/// Rules 1 and 2, which need no policies. `None`: [`decide`] decides.
pub fn first_look(pod: &Pod) -> Option<Decision> {
    if pod.annotations().contains_key(POD_ENI) {
        return Some(Decision::Deny(format!(
            "the annotation {POD_ENI} is written by the Hedgerow controller only; remove it from \
             the pod (or its template)"
        )));
    }
    let host_network = pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
    host_network.then_some(Decision::Allow)
}

/// Rules 3 to 6, after [`first_look`]. `selection`: what the policies of its namespace say.
pub fn decide(pod: &Pod, selection: &Selection) -> Decision {
    if pod.labels().contains_key(FARGATE_PROFILE) {
        return fargate(pod, selection);
    }
    if !selection.is_selected() {
        return Decision::Allow;
    }
    if is_windows(pod) {
        return Decision::Warn(format!(
            "SecurityGroupPolicy {} selects this Windows pod; security groups for pods are for \
             Linux only and do not apply to it",
            selection.policies.join(", ")
        ));
    }
    request_branch(pod)
}

fn is_windows(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| {
        spec.os.as_ref().is_some_and(|os| os.name == "windows")
            || ["kubernetes.io/os", "beta.kubernetes.io/os"].iter().any(|key| {
                let wanted = spec.node_selector.as_ref().and_then(|s| s.get(*key));
                wanted.is_some_and(|os| os == "windows")
            })
    })
}

fn fargate(pod: &Pod, selection: &Selection) -> Decision {
    let key = FARGATE_POD_SG.replace('/', "~1");
    let groups: Vec<&str> = selection.groups.iter().map(|g| g.0.as_str()).collect();
    let present = pod.annotations().contains_key(FARGATE_POD_SG);
    if !groups.is_empty() {
        let value = groups.join(",");
        if pod.metadata.annotations.is_none() {
            return Decision::Patch(vec![add(
                "/metadata/annotations",
                json!({FARGATE_POD_SG: value}),
            )]);
        }
        return Decision::Patch(vec![add(&format!("/metadata/annotations/{key}"), json!(value))]);
    }
    if present {
        let path = format!("/metadata/annotations/{key}");
        return Decision::Patch(vec![json!({"op": "remove", "path": path})]);
    }
    Decision::Allow
}

/// One branch interface, in limits and requests of the first container. A pod without containers
/// is left to the API server, which refuses it.
fn request_branch(pod: &Pod) -> Decision {
    let Some(container) = pod.spec.as_ref().and_then(|s| s.containers.first()) else {
        return Decision::Allow;
    };
    let one = json!({POD_ENI: "1"});
    let base = "/spec/containers/0/resources";
    let Some(resources) = &container.resources else {
        return Decision::Patch(vec![add(base, json!({"limits": one, "requests": one}))]);
    };
    let key = POD_ENI.replace('/', "~1");
    let operations = [("limits", &resources.limits), ("requests", &resources.requests)].map(
        |(list, present)| match present {
            Some(_) => add(&format!("{base}/{list}/{key}"), json!("1")),
            None => add(&format!("{base}/{list}"), one.clone()),
        },
    );
    Decision::Patch(operations.to_vec())
}

fn add(path: &str, value: Value) -> Value {
    json!({"op": "add", "path": path, "value": value})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected() -> Selection {
        Selection { policies: vec!["p".into()], groups: vec!["sg-1".into(), "sg-2".into()] }
    }

    fn pod(change: impl Fn(&mut Value)) -> Pod {
        let mut value = json!({
            "metadata": {"generateName": "p-", "namespace": "ns"},
            "spec": {"containers": [{"name": "a", "resources": {}}, {"name": "b"}]}
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    fn answer(pod: &Pod, selection: &Selection) -> Decision {
        first_look(pod).unwrap_or_else(|| decide(pod, selection))
    }

    fn paths(decision: &Decision) -> Vec<String> {
        let Decision::Patch(operations) = decision else { panic!("{decision:?}") };
        operations.iter().map(|o| format!("{} {}", o["op"], o["path"]).replace('"', "")).collect()
    }

    const LIMITS: &str = "add /spec/containers/0/resources/limits";
    const REQUESTS: &str = "add /spec/containers/0/resources/requests";

    #[test]
    fn a_selected_pod_requests_one_branch() {
        let decision = answer(&pod(|_| ()), &selected());
        assert_eq!(paths(&decision), [LIMITS, REQUESTS]);
        let bare = pod(|p| p["spec"]["containers"][0] = json!({"name": "a"}));
        assert_eq!(paths(&answer(&bare, &selected())), ["add /spec/containers/0/resources"]);
        let mixed = pod(|p| {
            p["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1", POD_ENI: "7"}});
        });
        let decision = answer(&mixed, &selected());
        let own = format!("{LIMITS}/vpc.amazonaws.com~1pod-eni");
        assert_eq!(paths(&decision), [own.as_str(), REQUESTS]);
        let Decision::Patch(operations) = decision else { unreachable!() };
        assert_eq!(operations[0]["value"], "1");
        assert_eq!(operations[1]["value"], json!({POD_ENI: "1"}));
    }

    #[test]
    fn untouched_pods() {
        let nothing = Selection::default();
        assert_eq!(answer(&pod(|_| ()), &nothing), Decision::Allow);
        let host = pod(|p| p["spec"]["hostNetwork"] = json!(true));
        assert_eq!(answer(&host, &selected()), Decision::Allow);
        for change in [
            (|p: &mut Value| p["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "windows"}))
                as fn(&mut _),
            |p| p["spec"]["os"] = json!({"name": "windows"}),
        ] {
            assert!(matches!(answer(&pod(change), &selected()), Decision::Warn(_)));
            assert_eq!(answer(&pod(change), &nothing), Decision::Allow);
        }
    }

    #[test]
    fn a_forged_annotation_is_denied_whatever_else_holds() {
        let forged = pod(|p| {
            p["metadata"]["annotations"] = json!({POD_ENI: "[]"});
            p["spec"]["hostNetwork"] = json!(true);
        });
        assert!(matches!(answer(&forged, &Selection::default()), Decision::Deny(_)));
    }

    #[test]
    fn fargate_pods_get_the_annotation_instead() {
        let fargate = |annotations: Value| {
            pod(move |p| {
                p["metadata"]["labels"] = json!({FARGATE_PROFILE: "fp"});
                p["metadata"]["annotations"] = annotations.clone();
            })
        };
        let own = "/metadata/annotations/fargate.amazonaws.com~1pod-sg";
        let forged = json!({FARGATE_POD_SG: "sg-mine"});
        assert_eq!(
            answer(&fargate(Value::Null), &selected()),
            Decision::Patch(vec![add(
                "/metadata/annotations",
                json!({FARGATE_POD_SG: "sg-1,sg-2"})
            )])
        );
        assert_eq!(
            answer(&fargate(forged.clone()), &selected()),
            Decision::Patch(vec![add(own, json!("sg-1,sg-2"))])
        );
        assert_eq!(
            paths(&answer(&fargate(forged), &Selection::default())),
            [format!("remove {own}")]
        );
        assert_eq!(answer(&fargate(json!({"a": "b"})), &Selection::default()), Decision::Allow);
    }
}
