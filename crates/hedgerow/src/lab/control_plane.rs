//! etcd, API server, controller-manager and scheduler, in the network of the control plane's
//! instance: the cluster sees them where EKS's would be, behind an interface with the cluster
//! security group.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result};

use super::eks;
use super::preflight::Tools;
use super::process::{Process, Start, start};
use super::state::{LabDir, State};
use super::{PUBLIC_ENDPOINT, SERVICE_BLOCK};

/// Where etcd listens: the loopback of the instance's network, so labs do not collide.
const ETCD_CLIENTS: &str = "http://127.0.0.1:2379";
const ETCD_PEERS: &str = "http://127.0.0.1:2380";

/// Starts etcd, the API server and the relay that carries the machine's clients to it.
pub fn start_api(dir: &LabDir, state: &State, tools: &Tools) -> Result<Vec<Process>> {
    let data = dir.root().join("etcd");
    std::fs::create_dir_all(&data).with_context(|| format!("making {}", data.display()))?;
    let address = state.control_plane.address;
    Ok(vec![
        component(dir, state, tools, "etcd", etcd(&data))?,
        component(dir, state, tools, "kube-apiserver", api_server(&dir.pki(), address))?,
        relay(dir, state, tools)?,
    ])
}

/// Starts what needs a ready API server: earlier the controller-manager is refused the ConfigMap
/// `extension-apiserver-authentication` and ends.
pub fn start_controllers(dir: &LabDir, state: &State, tools: &Tools) -> Result<Vec<Process>> {
    let (manager, scheduler) = (controller_manager(&dir.pki()), scheduler(&dir.pki()));
    Ok(vec![
        component(dir, state, tools, "kube-controller-manager", manager)?,
        component(dir, state, tools, "kube-scheduler", scheduler)?,
    ])
}

fn component(
    dir: &LabDir,
    state: &State,
    tools: &Tools,
    name: &str,
    args: Vec<String>,
) -> Result<Process> {
    let netns = state.control_plane.netns(&state.name);
    let program = tools.kubernetes.join(name);
    start(dir, Start { component: name, program, args, netns: Some(&netns) })
}

fn relay(dir: &LabDir, state: &State, tools: &Tools) -> Result<Process> {
    let args = vec![
        "lab".to_owned(),
        "relay".to_owned(),
        format!("--listen=127.0.0.1:{}", state.api_port),
        format!("--netns={}", state.control_plane.netns(&state.name).display()),
        format!("--to={}:443", state.control_plane.address),
        format!("--gate={}", eks::gate(state)),
        format!("--public={PUBLIC_ENDPOINT}:443"),
        format!("--public-netns={}", state.internet().display()),
    ];
    let program = tools.hedgerow.clone();
    start(dir, Start { component: "relay", program, args, netns: None })
}

/// No fsync: nothing of a lab outlives its machine.
fn etcd(data: &Path) -> Vec<String> {
    vec![
        "--name=lab".to_owned(),
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={ETCD_CLIENTS}"),
        format!("--advertise-client-urls={ETCD_CLIENTS}"),
        format!("--listen-peer-urls={ETCD_PEERS}"),
        format!("--initial-advertise-peer-urls={ETCD_PEERS}"),
        format!("--initial-cluster=lab={ETCD_PEERS}"),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

fn api_server(pki: &Path, address: Ipv4Addr) -> Vec<String> {
    let pki = pki.display();
    vec![
        format!("--etcd-servers={ETCD_CLIENTS}"),
        format!("--bind-address={address}"),
        // Becomes the endpoint of the `kubernetes` Service.
        format!("--advertise-address={address}"),
        "--secure-port=443".to_owned(),
        format!("--service-cluster-ip-range={SERVICE_BLOCK}"),
        format!("--tls-cert-file={pki}/apiserver.crt"),
        format!("--tls-private-key-file={pki}/apiserver.key"),
        format!("--client-ca-file={pki}/ca.crt"),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--kubelet-certificate-authority={pki}/ca.crt"),
        format!("--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt"),
        format!("--kubelet-client-key={pki}/apiserver-kubelet-client.key"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        // Webhooks by `service:` go to endpoint addresses: no kube-proxy runs here.
        "--enable-aggregator-routing=true".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={pki}/sa.pub"),
        format!("--service-account-signing-key-file={pki}/sa.key"),
        format!("--requestheader-client-ca-file={pki}/front-proxy-ca.crt"),
        "--requestheader-allowed-names=front-proxy-client".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        format!("--proxy-client-cert-file={pki}/front-proxy-client.crt"),
        format!("--proxy-client-key-file={pki}/front-proxy-client.key"),
        "--profiling=false".to_owned(),
    ]
}

/// The rate limits are raised: at the default 20 requests a second, starting each controller with
/// its own credentials takes 150 ms, and the `default` ServiceAccount 6 s instead of 2.
fn rates() -> [String; 2] {
    ["--kube-api-qps=1000".to_owned(), "--kube-api-burst=2000".to_owned()]
}

fn clients_of_api(pki: &Path, name: &str) -> Vec<String> {
    let kubeconfig = pki.join(format!("{name}.kubeconfig"));
    let kubeconfig = kubeconfig.display();
    let mut args = vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--leader-elect=false".to_owned(),
    ];
    args.extend(rates());
    args
}

fn controller_manager(pki: &Path) -> Vec<String> {
    let mut args = clients_of_api(pki, "kube-controller-manager");
    let pki = pki.display();
    args.extend([
        "--use-service-account-credentials=true".to_owned(),
        "--allocate-node-cidrs=false".to_owned(),
        format!("--service-cluster-ip-range={SERVICE_BLOCK}"),
        format!("--root-ca-file={pki}/ca.crt"),
        format!("--service-account-private-key-file={pki}/sa.key"),
        format!("--cluster-signing-cert-file={pki}/ca.crt"),
        format!("--cluster-signing-key-file={pki}/ca.key"),
        format!("--requestheader-client-ca-file={pki}/front-proxy-ca.crt"),
        "--profiling=false".to_owned(),
    ]);
    args
}

fn scheduler(pki: &Path) -> Vec<String> {
    let mut args = clients_of_api(pki, "kube-scheduler");
    args.push("--profiling=false".to_owned());
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::KUBERNETES_SERVICE;
    use hedgerow_core::sg::Ipv4Prefix;

    #[test]
    fn service_addresses_lie_in_the_service_block() {
        let block: Ipv4Prefix = SERVICE_BLOCK.parse().expect("a prefix");
        assert_eq!(block.nth(1), KUBERNETES_SERVICE);
        assert!(block.contains(crate::lab::DNS_ADDRESS.parse().expect("an address")));
    }
}
