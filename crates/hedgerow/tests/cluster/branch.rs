//! Trunk and branch interfaces: when they come, what they say, when they go.

use std::time::Duration;

use serde_json::Value;

use super::cluster::{Cluster, enforced, policy, server};

fn interfaces(cluster: &Cluster, filter: &str) -> Vec<Value> {
    let answer = cluster.aws(&["ec2", "describe-network-interfaces", "--filters", filter]);
    answer["NetworkInterfaces"].as_array().expect("a list").clone()
}

/// No node has a trunk and a selected pod waits for a resource that no node offers.
pub fn before_the_switch(cluster: &Cluster) {
    assert_eq!(cluster.capacity(), "", "no branch capacity");
    assert!(interfaces(cluster, "Name=interface-type,Values=trunk").is_empty(), "no trunk");
    let label = cluster.kubectl(&[
        "get",
        "nodes",
        "-o",
        r"jsonpath={.items[0].metadata.labels.vpc\.amazonaws\.com/has-trunk-attached}",
    ]);
    assert_eq!(label, "false", "the type supports a trunk and has none yet");

    cluster.namespace("early");
    let group = cluster.cluster_group.clone();
    cluster.apply(&policy("early", "all", "backend", &[&group]));
    enforced(cluster, "early");
    cluster.apply(&server("early", "early", ", role: backend"));
    let message = cluster.event("early", "early", "FailedScheduling");
    assert!(message.contains("Insufficient vpc.amazonaws.com/pod-eni"), "{message}");
    assert_eq!(cluster.branch("early", "early"), None);
    cluster.kubectl(&["delete", "namespace", "early", "--wait=false"]);
}

/// `kubectl set env` brings the trunk at the highest device index, capacity and label.
pub fn the_switch(cluster: &Cluster) {
    cluster.enable_pod_eni();
    let trunks = interfaces(cluster, "Name=interface-type,Values=trunk");
    assert_eq!(trunks.len(), 1, "{trunks:#?}");
    assert_eq!(trunks[0]["Description"], "aws-k8s-trunk-eni");
    assert_eq!(trunks[0]["Attachment"]["DeviceIndex"], 3, "m5.xlarge has indexes 0 to 3");
    assert_eq!(trunks[0]["Attachment"]["DeleteOnTermination"], true);
    let nodes = cluster.kubectl(&[
        "get",
        "nodes",
        "-o",
        "name",
        "-l",
        "vpc.amazonaws.com/has-trunk-attached=true",
    ]);
    assert_eq!(nodes.lines().count(), 1, "{nodes}");
    let features =
        cluster.kubectl(&["get", "cninode", "-A", "-o", "jsonpath={..features[*].name}"]);
    assert_eq!(features, "SecurityGroupsForPods");
}

/// Two policies with two groups, a pod that they select and one that they do not.
pub fn tutorial_pods(cluster: &Cluster) -> Vec<String> {
    cluster.enable_pod_eni();
    let group = cluster.cluster_group.clone();
    if let Some(extra) = cluster.find_group("tutorial-extra") {
        return vec![group, extra];
    }
    let extra = cluster.group("tutorial-extra");
    cluster.namespace("tutorial");
    cluster.apply(&policy("tutorial", "first", "backend", &[&group]));
    cluster.apply(&policy("tutorial", "second", "backend", &[&extra, &group]));
    enforced(cluster, "tutorial");
    cluster.apply(&server("tutorial", "selected", ", role: backend"));
    cluster.apply(&server("tutorial", "other", ""));
    cluster.ready("tutorial", "selected");
    cluster.ready("tutorial", "other");
    vec![group, extra]
}

/// Resource, annotation, events and interface agree.
pub fn a_selected_pod(cluster: &Cluster) {
    let expected = tutorial_pods(cluster);
    assert_eq!(cluster.branch("tutorial", "other"), None);
    let annotation = cluster.branch("tutorial", "selected").expect("an annotation");
    let branch = &annotation[0];
    assert_eq!(branch["privateIp"], cluster.address("tutorial", "selected").as_str());
    let vlan = branch["vlanId"].as_u64().expect("a number");
    assert!((1..=120).contains(&vlan), "{vlan}");

    let id = branch["eniId"].as_str().expect("eniId");
    let found = interfaces(cluster, &format!("Name=network-interface-id,Values={id}"));
    let interface = &found[0];
    assert_eq!(interface["Description"], "aws-k8s-branch-eni");
    assert_eq!(interface["Status"], "in-use");
    assert_eq!(interface["MacAddress"], branch["ifAddress"]);
    let mut groups: Vec<_> = interface["Groups"]
        .as_array()
        .expect("groups")
        .iter()
        .map(|g| g["GroupId"].as_str().expect("id").to_owned())
        .collect();
    groups.sort();
    let mut sorted = expected.clone();
    sorted.sort();
    assert_eq!(groups, sorted, "the union of both policies, without duplicates");

    let requested = cluster.event("tutorial", "selected", "SecurityGroupRequested");
    assert_eq!(
        requested,
        format!("Pod will get the following Security Groups [{}]", expected.join(" ")),
        "policies by name, groups in their order"
    );
    let allocated = cluster.event("tutorial", "selected", "ResourceAllocated");
    assert!(allocated.contains(id), "{allocated}");
}

/// The pod waits, its event has EC2's words, and a corrected policy helps the next one.
pub fn unknown_group(cluster: &Cluster) {
    cluster.enable_pod_eni();
    cluster.namespace("unknown");
    cluster.apply(&policy("unknown", "wrong", "backend", &["sg-00000000000000bad"]));
    enforced(cluster, "unknown");
    let pod = server("unknown", "waiting", ", role: backend");
    cluster.apply(&pod);
    let message = cluster.event("unknown", "waiting", "BranchAllocationFailed");
    assert!(
        message.contains(
            "An error occurred (InvalidSecurityGroupID.NotFound) when calling the \
             CreateNetworkInterface operation: The securityGroup ID 'sg-00000000000000bad' does not exist"
        ),
        "{message}"
    );
    let waiting = cluster.get(&["pod", "-n", "unknown", "waiting"]);
    assert_eq!(waiting["status"]["phase"], "Pending");

    let group = cluster.cluster_group.clone();
    cluster.apply(&policy("unknown", "wrong", "backend", &[&group]));
    cluster.kubectl(&["delete", "pod", "-n", "unknown", "waiting"]);
    cluster.apply(&pod);
    cluster.ready("unknown", "waiting");
    cluster.kubectl(&["delete", "namespace", "unknown", "--wait=false"]);
}

/// After the cool-down, interface, VLAN and address are free, and the next pod takes them.
pub fn deletion(cluster: &Cluster) {
    cluster.apply(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: amazon-vpc-cni, namespace: kube-system}, \
          data: {branch-eni-cooldown: '30'}}",
    );
    cluster.enable_pod_eni();
    cluster.namespace("gone");
    let group = cluster.cluster_group.clone();
    cluster.apply(&policy("gone", "all", "backend", &[&group]));
    enforced(cluster, "gone");
    cluster.apply(&server("gone", "first", ", role: backend"));
    cluster.ready("gone", "first");
    let first = cluster.branch("gone", "first").expect("annotated")[0].clone();
    let (id, address) = (first["eniId"].as_str().unwrap(), first["privateIp"].as_str().unwrap());

    cluster.kubectl(&["delete", "pod", "-n", "gone", "first"]);
    let resting = interfaces(cluster, &format!("Name=network-interface-id,Values={id}"));
    assert_eq!(resting.len(), 1, "it rests before it is released");
    cluster.within(Duration::from_secs(75), "the interface's release", || {
        let filter = format!("Name=private-ip-address,Values={address}");
        interfaces(cluster, &filter).is_empty().then_some(())
    });
    let links = cluster.on_node(&["ip", "-br", "link"]);
    assert!(links.ok, "{}", links.err);

    cluster.apply(&server("gone", "second", ", role: backend"));
    cluster.ready("gone", "second");
    let second = cluster.branch("gone", "second").expect("annotated")[0].clone();
    assert!(second["vlanId"].as_u64() <= first["vlanId"].as_u64(), "the lowest free VLAN id");
    assert_ne!(second["eniId"], first["eniId"]);
    cluster.kubectl(&["delete", "namespace", "gone", "--wait=false"]);
}
