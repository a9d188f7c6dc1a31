//! The lab by itself: what it offers to users and to other people's tests, and that it leaves
//! nothing behind.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::{Lab, interfaces, sysctls};

const READY: Duration = Duration::from_secs(40);

#[test]
fn a_lab_offers_what_clusters_offer_and_leaves_nothing() {
    let (before, links) = (sysctls(), interfaces());
    let lab = Lab::up("whole", &["--node", "m5.large", "--node", "t3.medium"]);
    let nodes = lab.nodes();
    assert_eq!(nodes.len(), 2, "{nodes:?}");
    users_find_their_tools(&lab);
    a_second_up_is_refused(&lab);
    nodes_take_pods_by_their_type(&lab);
    commands_run_on_nodes(&lab, &nodes[0]);
    pods_are_reached_every_way(&lab);
    the_endpoint_follows_the_clusters_access(&lab, &nodes[0]);
    assert_eq!(sysctls(), before, "while the lab runs");
    lab.down();
    assert_eq!(lab.remains(), Vec::<String>::new());
    assert_eq!((sysctls(), interfaces()), (before, links));

    let again = lab.try_up(&[]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    lab.down();
    lab.down();
    assert_eq!(lab.remains(), Vec::<String>::new());
}

fn users_find_their_tools(lab: &Lab) {
    let vpc =
        lab.run("aws ec2 describe-vpcs --vpc-ids $VPC_ID --query 'Vpcs[].CidrBlock' --output text");
    assert_eq!(vpc, "10.0.0.0/16");
    let running = lab.run(
        "aws ec2 describe-instances --filters Name=vpc-id,Values=$VPC_ID \
         --query 'length(Reservations[].Instances[])'",
    );
    assert_eq!(running, "3", "control plane and two nodes");
    let group = lab.run(
        "aws ec2 describe-security-groups --group-ids $CLUSTER_SECURITY_GROUP_ID \
         --query 'SecurityGroups[0].GroupName' --output text",
    );
    assert!(group.starts_with(&format!("eks-cluster-sg-{}-", lab.name)), "{group}");
    let status = lab.hedgerow(&["status"]);
    for component in ["etcd", "kube-apiserver", "kubelet", "m5.large", "t3.medium"] {
        assert!(status.contains(component), "{component} is not in\n{status}");
    }
    assert!(lab.hedgerow(&["logs"]).contains("kube-scheduler"));
}

fn a_second_up_is_refused(lab: &Lab) {
    let refused = lab.try_up(&[]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("is already up"), "{words}");
    assert!(words.contains(&format!("hedgerow lab down --name {}", lab.name)), "{words}");
}

fn nodes_take_pods_by_their_type(lab: &Lab) {
    let pods = lab.run("kubectl get nodes -o jsonpath='{.items[*].status.capacity.pods}'");
    let mut pods: Vec<&str> = pods.split_whitespace().collect();
    pods.sort_unstable();
    assert_eq!(pods, ["17", "29"], "m5.large and t3.medium");
    assert_eq!(lab.run("kubectl get nodes -o jsonpath='{.items[*].spec.taints}'"), "");
    let zones = lab.run("kubectl get nodes -o jsonpath='{.items[*].metadata.labels.topology\\.kubernetes\\.io/zone}'");
    let mut zones: Vec<&str> = zones.split_whitespace().collect();
    zones.sort_unstable();
    assert_eq!(zones, ["us-west-2a", "us-west-2b"]);
}

fn commands_run_on_nodes(lab: &Lab, node: &str) {
    assert_eq!(lab.hedgerow(&["exec", node, "--", "hostname"]).trim(), node);
    let failed = lab.try_hedgerow(&["exec", node, "--", "sh", "-c", "exit 7"]);
    assert_eq!(failed.status.code(), Some(7));
    let ports = lab.hedgerow(&["exec", node, "--", "cat", "/proc/net/tcp"]);
    // kube-proxy's health and metrics, on 127.0.0.1.
    for port in [10256, 10249] {
        assert!(ports.contains(&format!("0100007F:{port:04X}")), "{port} is not in\n{ports}");
    }
    let plugins = lab.hedgerow(&["exec", node, "--", "ls", "/opt/cni/bin"]);
    for plugin in ["loopback", "portmap", "bandwidth"] {
        assert!(plugins.contains(plugin), "{plugin} is not in\n{plugins}");
    }
}

/// CoreDNS is the pod that every lab has; it serves HTTP on its probe and metrics ports.
fn pods_are_reached_every_way(lab: &Lab) {
    let name = lab.run(
        "kubectl get pods -n kube-system -l k8s-app=kube-dns -o jsonpath='{.items[0].metadata.name}'",
    );
    lab.run(&format!("kubectl wait -n kube-system --for=condition=Ready pod/{name} --timeout=30s"));
    let logs = lab.run(&format!("kubectl logs -n kube-system {name}"));
    assert!(logs.contains("CoreDNS-1.14.7"), "{logs}");
    let version = lab.run(&format!("kubectl exec -n kube-system {name} -- /coredns -version"));
    assert!(version.contains("1.14.7"), "{version}");
    let proxied = lab.run(&format!(
        "kubectl get --raw /api/v1/namespaces/kube-system/pods/{name}:8181/proxy/ready"
    ));
    assert_eq!(proxied, "OK");
    lab.eventually(
        "kubectl get --raw /api/v1/namespaces/kube-system/services/kube-dns:9153/proxy/metrics",
        READY,
        |text| text.contains("coredns_build_info"),
    );
    assert_eq!(forwarded(lab, &name), "OK");
}

/// What a GET of `/ready` answers through `kubectl port-forward`.
fn forwarded(lab: &Lab, pod: &str) -> String {
    let target = format!("pod/{pod}");
    let mut forward = lab
        .command("kubectl", &["port-forward", "-n", "kube-system", &target, ":8181"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl starts");
    // Stays open: kubectl writes a line for each connection.
    let mut said = BufReader::new(forward.stdout.take().expect("piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("kubectl says its port");
    // Forwarding from 127.0.0.1:40123 -> 8181
    let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split_whitespace().next());
    let answer = port.and_then(|port| port.parse().ok()).map(get_ready);
    forward.kill().expect("kubectl runs");
    forward.wait().expect("kubectl ends");
    answer.unwrap_or_else(|| panic!("kubectl port-forward: {line}"))
}

fn get_ready(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    stream.write_all(b"GET /ready HTTP/1.0\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer.rsplit("\r\n").next().unwrap_or_default().to_owned()
}

/// Without private access who asks by the endpoint's name comes in by the public endpoint, nodes too:
/// with a way to the Internet, and from an address that is let in. The control plane's own
/// interfaces go on: pods ask them by the Service `kubernetes`, and they reach kubelets.
fn the_endpoint_follows_the_clusters_access(lab: &Lab, node: &str) {
    let on_node = |script: &str| lab.try_hedgerow(&["exec", node, "--", "sh", "-c", script]);
    let said = |script: &str| {
        let text = String::from_utf8_lossy(&on_node(script).stdout).into_owned();
        text.trim().to_owned()
    };
    let config = "/run/lab/node/config/kubelet.kubeconfig";
    let name = said(&format!("sed -n 's|.*server: https://||p' {config}"));
    assert!(name.ends_with(".gr7.us-west-2.eks.amazonaws.com"), "{name}");
    let address = || said(&format!("getent ahostsv4 {name} | head -n 1 | cut -d ' ' -f 1"));
    let healthy = |host: &str| said(&format!("curl -sk -m 3 https://{host}/healthz; true")) == "ok";
    // On a busy machine one attempt proves nothing.
    let soon = |host: &str| {
        let deadline = Instant::now() + READY;
        std::iter::repeat_with(|| healthy(host)).find(|ok| *ok || Instant::now() > deadline)
            == Some(true)
    };
    let (reached, refused) = (|| soon(&name), || !healthy(&name));
    let from_machine = || lab.try_run("kubectl get --raw /healthz").status.success();
    let update = |config: &str| {
        let line = "aws eks update-cluster-config --name $CLUSTER_NAME --resources-vpc-config";
        lab.run(&format!("{line} {config}"));
    };
    assert!(address().starts_with("10.0.") && reached(), "{}", address());
    update("endpointPrivateAccess=false");
    assert_eq!((address().as_str(), refused()), ("203.0.113.10", true), "no way out");
    assert!(soon("10.100.0.1"), "the Service, by the control plane's interface");
    assert_eq!(lab.hedgerow(&["exec", node, "--", "hostname"]).trim(), node);
    lab.run(&format!("kubectl get --raw /api/v1/nodes/{node}/proxy/healthz"));

    // Nodes are in private subnets; what they send outside comes from the NAT gateway's address.
    let public = lab.run(
        "set -e
         made() { aws ec2 \"$@\" --output text; }
         IP=$(made allocate-address --domain vpc --query AllocationId)
         GATEWAY=$(made describe-internet-gateways --query 'InternetGateways[0].InternetGatewayId' \
           --filters Name=attachment.vpc-id,Values=$VPC_ID)
         MAIN=$(made describe-route-tables --query 'RouteTables[0].RouteTableId' \
           --filters Name=vpc-id,Values=$VPC_ID)
         SUBNET=$(made create-subnet --vpc-id $VPC_ID --cidr-block 10.0.64.0/24 \
           --query Subnet.SubnetId)
         TABLE=$(made create-route-table --vpc-id $VPC_ID --query RouteTable.RouteTableId)
         made associate-route-table --route-table-id $TABLE --subnet-id $SUBNET >&2
         made create-route --route-table-id $TABLE --gateway-id $GATEWAY \
           --destination-cidr-block 0.0.0.0/0 >&2
         NAT=$(made create-nat-gateway --subnet-id $SUBNET --allocation-id $IP \
           --query NatGateway.NatGatewayId)
         made create-route --route-table-id $MAIN --nat-gateway-id $NAT \
           --destination-cidr-block 0.0.0.0/0 >&2
         made describe-addresses --allocation-ids $IP --query 'Addresses[0].PublicIp'",
    );
    assert!(reached(), "by the public endpoint");
    the_kubelet_comes_by_the_public_endpoint(lab, node);
    update("publicAccessCidrs=203.0.113.99/32");
    assert!(refused() && !from_machine(), "neither address is let in");
    update(&format!("publicAccessCidrs={public}/32"));
    assert!(reached() && !from_machine(), "{public} is let in, 127.0.0.1 is not");
    update("endpointPrivateAccess=true,endpointPublicAccess=false");
    assert!(address().starts_with("10.0.") && reached() && !from_machine(), "{}", address());
    assert!(!healthy("203.0.113.10"), "no public access, {public} or not");
    update("endpointPublicAccess=true,publicAccessCidrs=0.0.0.0/0");
    assert!(address().starts_with("10.0.") && reached() && from_machine(), "{}", address());
}

/// A kubelet that starts now asks by the name: its connection is to 203.0.113.10, port 443.
fn the_kubelet_comes_by_the_public_endpoint(lab: &Lab, node: &str) {
    let exec = |words: &str| {
        let output = lab.try_hedgerow(&["exec", node, "--", "sh", "-c", words]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let kubelet = "for p in /proc/[0-9]*; do case $(tr '\\0' ' ' < $p/cmdline 2>/dev/null) in \
         */kubelet\\ *) echo ${p#/proc/};; esac; done";
    let before = exec(kubelet);
    exec(&format!("kill {before}"));
    let deadline = Instant::now() + READY;
    // The state 01 is an established connection's.
    while !exec("cat /proc/net/tcp").contains("0A7100CB:01BB 01") {
        assert!(Instant::now() < deadline, "kubelet {before}: {}", exec("cat /proc/net/tcp"));
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_ne!(exec(kubelet), before, "started again");
    lab.run(&format!("kubectl wait --for=condition=Ready node/{node} --timeout=40s"));
}

#[test]
fn a_failed_up_says_why_and_leaves_nothing() {
    let lab = Lab::named("broken");
    let folder = tempfile::tempdir().expect("a folder");
    let cache = std::env::var("HEDGEROW_CACHE").unwrap_or("/var/cache/hedgerow".to_owned());
    let built = fs::read_dir(format!("{cache}/kubernetes/v1.34.4")).expect("Kubernetes is built");
    for program in built.map(|entry| entry.expect("listed").path()) {
        let broken = program.ends_with("kube-apiserver");
        let target = if broken { "/bin/false".into() } else { program.clone() };
        symlink(target, folder.path().join(program.file_name().expect("a file"))).expect("linked");
    }
    let failed = lab.try_up(&["--kubernetes-bin", &folder.path().display().to_string()]);
    let words = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success(), "{words}");
    assert!(words.contains("kube-apiserver ended"), "{words}");
    assert_eq!(lab.remains(), Vec::<String>::new());
}

#[test]
fn missing_things_are_named_together() {
    let lab = Lab::named("missing");
    let args =
        ["--kubernetes-bin", "/nonexistent", "--images", "/nonexistent", "--node", "m9.tiny"];
    let failed = lab.try_up(&args);
    let words = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success(), "{words}");
    for part in
        ["kube-apiserver", "make setup", "image archives", "'m9.tiny' is not an instance type"]
    {
        assert!(words.contains(part), "{part} is not in\n{words}");
    }
    assert_eq!(lab.remains(), Vec::<String>::new());
}
