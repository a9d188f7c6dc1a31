//! What the controller and the agent may ask of EC2.

use super::branch;
use super::cluster::Cluster;

/// Both work with the least-privilege policies that ship for AWS, by the keys that are theirs, and
/// were never refused anything.
pub fn shipped_policies(cluster: &Cluster) {
    branch::tutorial_pods(cluster);
    let endpoint = cluster.lab.run("echo $AWS_ENDPOINT_URL");
    let bound = cluster.lab.run(&format!("curl -sS --noproxy '*' {endpoint}/_hedgerow/iam"));
    let bound: serde_json::Value = serde_json::from_str(&bound).expect("JSON");
    let shipped = |file: &str| -> serde_json::Value {
        let path = format!("{}/../../deploy/iam/{file}", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).expect("shipped")).expect("JSON")
    };
    assert_eq!(bound["AKIAHEDGEROWCONTROLLER"], shipped("controller.json"));
    assert_eq!(bound[format!("role/{}-node", cluster.lab.name)], shipped("agent.json"));

    let metrics = cluster.lab.run(&format!("curl -sS --noproxy '*' {endpoint}/metrics"));
    let calls = |action: &str, key: &str| {
        let line = format!("action=\"{action}\",principal=\"{key}");
        metrics.lines().any(|text| text.contains(&line))
    };
    assert!(calls("AssociateTrunkInterface", "AKIAHEDGEROWCONTROLLER"), "{metrics}");
    assert!(calls("AttachNetworkInterface", "ASIA"), "the node's role: {metrics}");
    assert!(!metrics.contains("UnauthorizedOperation"), "{metrics}");
    assert!(!metrics.contains("AuthFailure"), "{metrics}");
}
