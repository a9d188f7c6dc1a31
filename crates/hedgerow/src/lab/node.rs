//! The machine's side of a node: its folder, certificates and configuration files, its cgroups,
//! and its first process in namespaces of its own. What happens inside is in `node_init`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::{fs, thread};

use anyhow::{Context, Result, anyhow};
use hedgerow_core::limits;
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::{Value, json};

use super::node_init::{GO, IN_NODE, NodeInit};
use super::pki::{self, ClusterPki, Subject, client};
use super::preflight::{CNI_PLUGINS, Tools};
use super::process::{Process, clean_environment, log_file, open_netns, record};
use super::state::{Instance, LabDir, LabName};
use super::{DNS_ADDRESS, DNS_IN_VPC, REGION, cgroup};

/// The sandbox image, as Kubernetes 1.34 names it.
pub const PAUSE_IMAGE: &str = "registry.k8s.io/pause:3.10.1";

/// A node whose runtime starts, and which waits for the word to start its kubelet.
pub struct StartingNode {
    /// Its PID 1.
    pub process: Process,
    stdin: ChildStdin,
}

impl StartingNode {
    /// The API server is ready: lets the kubelet and kube-proxy start as soon as the images are in.
    pub fn go(mut self) -> Result<()> {
        self.stdin.write_all(GO).with_context(|| {
            format!("telling {} that the API server is ready", self.process.component)
        })
    }
}

/// Makes everything the node needs and starts its PID 1.
pub fn start(
    dir: &LabDir,
    lab: &LabName,
    node: &Instance,
    server: &str,
    pki: &ClusterPki,
    tools: &Tools,
) -> Result<StartingNode> {
    let folder = dir.node(&node.name);
    prepare(&folder, lab, node, server, pki)
        .with_context(|| format!("preparing the files of {}", node.name))?;
    cgroup::create(&node.cgroup(lab))?;
    let init = NodeInit {
        hostname: node.name.clone(),
        address: node.address,
        cgroup: node.cgroup(lab),
        folder: folder.clone(),
        log: dir.log(),
        kubernetes: tools.kubernetes.clone(),
        images: tools.images.clone(),
    };
    let config = folder.join("node.json");
    fs::write(&config, serde_json::to_vec_pretty(&init)?)
        .with_context(|| format!("writing {}", config.display()))?;
    spawn(dir, lab, node, &config, tools)
}

/// Starts PID 1. A thread of its own moves to the instance's network and asks for new namespaces;
/// a new PID namespace holds the children made after, so the child is its first process.
fn spawn(
    dir: &LabDir,
    lab: &LabName,
    node: &Instance,
    config: &Path,
    tools: &Tools,
) -> Result<StartingNode> {
    let component = node.component();
    let netns = open_netns(&node.netns(lab))?;
    let log = log_file(dir, &component)?;
    let mut command = Command::new(&tools.hedgerow);
    command.args(["lab", "node-init"]).arg(config);
    command.stdin(Stdio::piped());
    command.stdout(log.try_clone().context("sharing the log")?).stderr(log);
    clean_environment(&mut command);
    let spawned = thread::spawn(move || -> Result<_> {
        setns(netns, CloneFlags::CLONE_NEWNET).context("entering the instance's network")?;
        unshare(
            CloneFlags::CLONE_NEWNS
                | CloneFlags::CLONE_NEWPID
                | CloneFlags::CLONE_NEWUTS
                | CloneFlags::CLONE_NEWIPC,
        )
        .context("making mount, pid, uts and ipc namespaces")?;
        command.spawn().context("starting the node's first process")
    });
    let mut child = spawned
        .join()
        .map_err(|_| anyhow!("the thread that starts {} panicked", node.name))?
        .with_context(|| format!("starting node {}", node.name))?;
    let stdin = child.stdin.take().context("the pipe to the node's first process")?;
    let process = record(dir, &component, child.id() as i32)?;
    Ok(StartingNode { process, stdin })
}

/// Writes the node's files. Paths in them are those inside the node.
fn prepare(
    folder: &Path,
    lab: &LabName,
    node: &Instance,
    server: &str,
    pki: &ClusterPki,
) -> Result<()> {
    // Real directories of the machine's file system: containerd's root cannot be on an overlay.
    for name in ["kubelet", "containerd", "cni", "pods", "containers", "etc.work", "opt.work"] {
        make(&folder.join(name))?;
    }
    let config = folder.join("config");
    make(&config)?;
    let certificate = pki.ca.sign(&Subject {
        name: &format!("system:node:{}", node.name),
        group: Some("system:nodes"),
        dns: &[&node.name],
        // Without it the API server cannot reach the kubelet for logs and exec.
        addresses: &[node.address],
    })?;
    pki::write(&config.join("ca.crt"), &pki.ca.certificate)?;
    pki::write_pair(&config, "kubelet", &certificate)?;
    let user = format!("system:node:{}", node.name);
    let user = client(&user, Some("system:nodes"));
    pki.write_kubeconfig(&config.join("kubelet.kubeconfig"), server, &user)?;
    let user = client("system:kube-proxy", None);
    pki.write_kubeconfig(&config.join("kube-proxy.kubeconfig"), server, &user)?;
    pki::write(&config.join("containerd.toml"), &containerd_config())?;
    pki::write(&config.join("kubelet.json"), &kubelet_config(lab, node)?.to_string())?;
    pki::write(&config.join("kube-proxy.json"), &kube_proxy_config(node).to_string())?;
    pki::write(&config.join("labels"), &kubelet_labels(node))?;
    // For pods that use the node's resolver, such as CoreDNS.
    pki::write(&config.join("resolv.conf"), &resolv_conf())?;
    prepare_etc(&folder.join("etc"), node)?;
    copy_cni_plugins(&folder.join("opt/cni/bin"))
}

/// What the node has in `/etc` beside the machine's files.
fn prepare_etc(etc: &Path, node: &Instance) -> Result<()> {
    use sha2::Digest;
    make(&etc.join("cni/net.d"))?;
    let hosts = format!("127.0.0.1 localhost\n{} {}\n", node.address, node.name);
    fs::write(etc.join("hosts"), hosts).context("writing the node's /etc/hosts")?;
    fs::write(etc.join("resolv.conf"), resolv_conf())
        .context("writing the node's /etc/resolv.conf")?;
    let digest = sha2::Sha256::digest(node.id.as_bytes());
    let id: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(etc.join("machine-id"), id + "\n").context("writing the node's /etc/machine-id")
}

/// As DHCP tells an instance: the VPC's DNS, and the region's domain.
fn resolv_conf() -> String {
    format!("search {REGION}.compute.internal\nnameserver {DNS_IN_VPC}\n")
}

/// Copies, and does not link: what is installed on a node must not change the machine's plugins.
fn copy_cni_plugins(bin: &Path) -> Result<()> {
    make(bin)?;
    let plugins = fs::read_dir(CNI_PLUGINS).with_context(|| format!("reading {CNI_PLUGINS}"))?;
    for plugin in plugins {
        let from = plugin.with_context(|| format!("reading {CNI_PLUGINS}"))?.path();
        let to = bin.join(from.file_name().unwrap_or_default());
        fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
    }
    Ok(())
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}

/// containerd 1.6. Lowering a container's OOM score and AppArmor profiles need what a lab may lack.
fn containerd_config() -> String {
    format!(
        r#"version = 2
disabled_plugins = ["io.containerd.internal.v1.opt"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
"#
    )
}

fn in_node(file: &str) -> PathBuf {
    Path::new(IN_NODE).join("node/config").join(file)
}

fn kubelet_config(lab: &LabName, node: &Instance) -> Result<Value> {
    let limits = limits::instance_type(&node.instance_type)
        .with_context(|| format!("'{}' is not an instance type", node.instance_type))?;
    Ok(json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": in_node("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": in_node("kubelet.crt"),
        "tlsPrivateKeyFile": in_node("kubelet.key"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "clusterDomain": "cluster.local",
        "clusterDNS": [DNS_ADDRESS],
        "resolvConf": in_node("resolv.conf"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", node.cgroup(lab)),
        "enforceNodeAllocatable": ["pods"],
        // Cgroup version 1 is what these nodes have; later kubelets refuse it unless told.
        "failCgroupV1": false,
        "failSwapOn": false,
        // Lowering it needs CAP_SYS_RESOURCE.
        "oomScoreAdj": 0,
        // An image once collected cannot be pulled again.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "nodeStatusUpdateFrequency": "5s",
        "maxPods": limits.max_pods(),
        "providerID": format!("aws:///{}/{}", node.zone, node.id),
    }))
}

/// The labels a cloud provider would set; the kubelet may set these itself.
fn kubelet_labels(node: &Instance) -> String {
    format!(
        "node.kubernetes.io/instance-type={},topology.kubernetes.io/region={REGION},\
         topology.kubernetes.io/zone={}",
        node.instance_type, node.zone
    )
}

/// As EKS runs it: no cluster CIDR. kube-proxy then takes no address for "not a pod's" and
/// masquerades no Service traffic but hairpins and NodePorts, so groups see the pod's address.
fn kube_proxy_config(node: &Instance) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": in_node("kube-proxy.kubeconfig")},
        "clusterCIDR": "",
        "hostnameOverride": node.name,
        "oomScoreAdj": 0,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "conntrack": {
            // nf_conntrack_max belongs to the machine.
            "maxPerCore": 0,
            "min": 0,
            "tcpCloseWaitTimeout": "1h0m0s",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelet_knows_its_instance() {
        let lab: LabName = "test".parse().expect("a name");
        let node = Instance {
            id: "i-1".into(),
            instance_type: "m5.xlarge".into(),
            address: [10, 0, 0, 12].into(),
            zone: "us-west-2a".into(),
            name: "ip-10-0-0-12.us-west-2.compute.internal".into(),
        };
        let config = kubelet_config(&lab, &node).expect("a known type");
        assert_eq!(config["maxPods"], 58);
        assert_eq!(config["providerID"], "aws:///us-west-2a/i-1");
        assert_eq!(config["cgroupRoot"], "/hr.test.i-1");
        assert_eq!(config["address"], "10.0.0.12");
    }
}
