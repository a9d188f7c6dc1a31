//! What the API server lets in, also when something is broken.

use super::branch::tutorial_pods;
use super::cluster::{Cluster, PYTHON_IMAGE, enforced, policy, server};

/// The API server itself refuses them, with a message.
pub fn bad_policies(cluster: &Cluster) {
    cluster.namespace("bad");
    let none = cluster.try_apply(&policy("bad", "none", "backend", &[]));
    assert!(!none.ok);
    assert!(none.err.contains("groupIds") && none.err.contains("at least 1"), "{}", none.err);
    let seventeen: Vec<_> = (0..17).map(|n| format!("sg-{n:017x}")).collect();
    let seventeen: Vec<_> = seventeen.iter().map(String::as_str).collect();
    let many = cluster.try_apply(&policy("bad", "many", "backend", &seventeen));
    assert!(!many.ok);
    assert!(many.err.contains("groupIds") && many.err.contains("16"), "{}", many.err);
    cluster.kubectl(&["delete", "namespace", "bad", "--wait=false"]);
}

/// Nobody but the controller writes the annotation that opens the trunk.
pub fn forged_annotation(cluster: &Cluster) {
    tutorial_pods(cluster);
    cluster.namespace("forged");
    let group = cluster.cluster_group.clone();
    for namespace in ["forged", "tutorial"] {
        let manifest = format!(
            r#"
apiVersion: v1
kind: Pod
metadata:
  name: forged
  namespace: {namespace}
  annotations: {{vpc.amazonaws.com/pod-eni: '[{{"eniId":"eni-1","vlanId":1}}]'}}
spec: {{containers: [{{name: c, image: {PYTHON_IMAGE}}}]}}
"#
        );
        let said = cluster.try_apply(&manifest);
        assert!(!said.ok && said.err.contains("pod-eni"), "{namespace}: {}", said.err);
    }
    cluster.apply(&policy("forged", "all", "backend", &[&group]));
    enforced(cluster, "forged");
    cluster.apply(&server("forged", "victim", ", role: backend"));
    cluster.ready("forged", "victim");
    let said = cluster.try_kubectl(&[
        "annotate",
        "pod",
        "-n",
        "forged",
        "victim",
        "--overwrite",
        "vpc.amazonaws.com/pod-eni=[]",
    ]);
    assert!(!said.ok && said.err.contains("pod-eni"), "{}", said.err);
    cluster.kubectl(&["delete", "namespace", "forged", "--wait=false"]);
}

/// Webhook down: a labelled namespace admits no pod; one that slipped in elsewhere gets no network.
pub fn fail_closed(cluster: &Cluster) {
    cluster.enable_pod_eni();
    cluster.namespace("closed");
    cluster.namespace("slipped");
    let group = cluster.cluster_group.clone();
    cluster.apply(&policy("closed", "all", "backend", &[&group]));
    enforced(cluster, "closed");

    cluster.kubectl(&[
        "scale",
        "-n",
        "kube-system",
        "deployment/hedgerow-controller",
        "--replicas=0",
    ]);
    cluster.kubectl(&[
        "wait",
        "-n",
        "kube-system",
        "--for=delete",
        "pod",
        "-l",
        "app=hedgerow-controller",
        "--timeout=60s",
    ]);
    let said = cluster.try_apply(&server("closed", "refused", ""));
    assert!(!said.ok && said.err.contains("failed calling webhook"), "{}", said.err);

    // With the controller away nobody labels this namespace, so the webhook is not asked.
    cluster.apply(&policy("slipped", "all", "backend", &[&group]));
    cluster.apply(&server("slipped", "slipped", ", role: backend"));
    let message = cluster.event("slipped", "slipped", "SecurityGroupsNotAdmitted");
    assert!(message.contains("SecurityGroupPolicy"), "{message}");
    let pod = cluster.get(&["pod", "-n", "slipped", "slipped"]);
    assert_eq!(pod["status"]["phase"], "Pending", "it never starts");

    cluster.kubectl(&[
        "scale",
        "-n",
        "kube-system",
        "deployment/hedgerow-controller",
        "--replicas=1",
    ]);
    cluster.kubectl(&[
        "rollout",
        "status",
        "-n",
        "kube-system",
        "deployment/hedgerow-controller",
        "--timeout=60s",
    ]);
    enforced(cluster, "slipped");
    cluster.kubectl(&["delete", "pod", "-n", "slipped", "slipped", "--force", "--grace-period=0"]);
    cluster.apply(&server("slipped", "slipped", ", role: backend"));
    cluster.ready("slipped", "slipped");
    cluster.kubectl(&["delete", "namespace", "closed", "slipped", "--wait=false"]);
}
