//! Packets of both kinds of pod.

use super::branch::tutorial_pods;
use super::cluster::{Cluster, enforced, policy, server};

/// Readiness probes came through: regular pods locally, branch pods round through the VPC, under
/// the cluster group that lets the node in.
pub fn probes(cluster: &Cluster) {
    tutorial_pods(cluster);
    // They are Ready, so the kubelet's HTTP probes of both were answered.
    let links = cluster.on_node(&["ip", "-br", "link"]).out;
    assert_eq!(links.lines().filter(|l| l.starts_with("vlan")).count(), 1, "{links}");
}

/// ClusterIP and names, from both kinds of pod to both kinds of pod.
pub fn services_and_dns(cluster: &Cluster) {
    tutorial_pods(cluster);
    for name in ["selected", "other"] {
        cluster.kubectl(&["expose", "pod", "-n", "tutorial", name, "--port=8080"]);
    }
    for client in ["selected", "other"] {
        for service in ["selected", "other"] {
            let host = format!("{service}.tutorial.svc.cluster.local");
            cluster.eventually(&format!("{client} to reach {host}"), || {
                cluster.reaches("tutorial", client, &host).then_some(())
            });
        }
    }
    let address = cluster.kubectl(&[
        "get",
        "service",
        "-n",
        "tutorial",
        "selected",
        "-o",
        "jsonpath={.spec.clusterIP}",
    ]);
    assert!(cluster.reaches("tutorial", "other", &address), "by the Service's address");
}

/// Two pods of one node: a branch pod is reached only as its groups say, and learns it at once.
pub fn groups_between_pods(cluster: &Cluster) {
    tutorial_pods(cluster);
    let lonely = cluster.group("lonely");
    cluster.namespace("lonely");
    cluster.apply(&policy("lonely", "all", "backend", &[&lonely]));
    enforced(cluster, "lonely");
    // Without a probe: its only group lets nobody in, the kubelet included.
    let pod = server("lonely", "lonely", ", role: backend")
        .replace("    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}\n", "");
    cluster.apply(&pod);
    cluster.ready("lonely", "lonely");
    let address = cluster.address("lonely", "lonely");
    assert!(!cluster.reaches("tutorial", "other", &address), "no rule lets it in");
    assert!(!cluster.reaches("tutorial", "selected", &address), "no rule lets it in");

    let source = cluster.cluster_group.clone();
    let rule =
        ["--group-id", &lonely, "--protocol", "tcp", "--port", "8080", "--source-group", &source];
    cluster.aws(&[&["ec2", "authorize-security-group-ingress"], &rule[..]].concat());
    assert!(cluster.reaches("tutorial", "other", &address), "the new rule acts at once");
    assert!(cluster.reaches("tutorial", "selected", &address), "the new rule acts at once");
    cluster.aws(&[&["ec2", "revoke-security-group-ingress"], &rule[..]].concat());
    assert!(!cluster.reaches("tutorial", "other", &address), "and so does its removal");
    let imds = cluster.try_kubectl(&[
        "exec",
        "-n",
        "tutorial",
        "selected",
        "--",
        "python3",
        "-c",
        "import socket; socket.create_connection(('169.254.169.254', 80), 2)",
    ]);
    assert!(!imds.ok && imds.err.contains("timed out"), "pods do not reach IMDS: {}", imds.err);
    cluster.kubectl(&["delete", "namespace", "lonely", "--wait=false"]);
}

/// portmap is in the chain.
pub fn host_port(cluster: &Cluster) {
    tutorial_pods(cluster);
    cluster.namespace("hostport");
    let pod = server("hostport", "hostport", "")
        .replace("{containerPort: 8080}", "{containerPort: 8080, hostPort: 18080}");
    cluster.apply(&pod);
    cluster.ready("hostport", "hostport");
    let program = format!(
        "import socket; s = socket.create_connection(('{}', 18080), 3); \
         s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(s.recv(99))",
        cluster.node_address()
    );
    let said =
        cluster.try_kubectl(&["exec", "-n", "tutorial", "other", "--", "python3", "-c", &program]);
    assert!(said.ok && said.out.contains("200 OK"), "{}{}", said.out, said.err);
    cluster.kubectl(&["delete", "namespace", "hostport", "--wait=false"]);
}

/// The datapath is pinned: pods talk while the agent is away, and pods made after it are right.
pub fn agent_restart(cluster: &Cluster) {
    tutorial_pods(cluster);
    let before = cluster.address("tutorial", "selected");
    cluster.kubectl(&["rollout", "restart", "-n", "kube-system", "daemonset/aws-node"]);
    for _ in 0..5 {
        assert!(cluster.reaches("tutorial", "other", &before), "during the agent's restart");
    }
    cluster.kubectl(&[
        "rollout",
        "status",
        "-n",
        "kube-system",
        "daemonset/aws-node",
        "--timeout=60s",
    ]);
    assert!(cluster.reaches("tutorial", "other", &before), "after the agent's restart");
    cluster.apply(&server("tutorial", "later", ", role: backend"));
    cluster.ready("tutorial", "later");
    assert!(cluster.reaches("tutorial", "later", &before), "a new pod after the restart");
    assert_ne!(cluster.address("tutorial", "later"), before);
    cluster.kubectl(&["delete", "pod", "-n", "tutorial", "later"]);
}
