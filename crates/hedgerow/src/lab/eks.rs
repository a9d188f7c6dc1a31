//! Tells `hedgerow-vpc` of the lab's cluster, so that `aws eks` knows it and decides who may reach
//! its API server from the machine.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::state::State;
use super::{KUBERNETES_VERSION, PUBLIC_ENDPOINT, REGION, SERVICE_BLOCK};

/// How long the VPC may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The admin's path of the lab's cluster at its VPC.
fn path(state: &State) -> String {
    format!("{}/_hedgerow/eks/clusters/{}", state.ec2_endpoint(), state.name)
}

/// Where the relay asks who may come in.
pub fn gate(state: &State) -> String {
    format!("{}/access?region={REGION}", path(state))
}

/// Registers the cluster; `endpoint` is its URL on the machine, `ca` its certificate authority, PEM.
pub async fn register(state: &State, endpoint: &str, ca: &str) -> Result<()> {
    let version = KUBERNETES_VERSION.trim_start_matches('v');
    let version = version.rsplit_once('.').map_or(version, |(minor, _patch)| minor);
    let cluster = json!({
        "version": version,
        "endpoint": endpoint,
        "certificateAuthority": STANDARD.encode(ca),
        "subnetIds": state.subnet_ids,
        "clusterSecurityGroupId": state.cluster_security_group_id,
        "serviceIpv4Cidr": SERVICE_BLOCK,
        "endpointName": {
            "name": state.endpoint_name(),
            "privateAddress": state.control_plane.address,
            "publicAddress": PUBLIC_ENDPOINT,
        },
    });
    let registering = || format!("registering cluster '{}' at hedgerow-vpc", state.name);
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
    let request = http.put(format!("{}?region={REGION}", path(state))).body(cluster.to_string());
    let answer = request.send().await.with_context(registering)?;
    if !answer.status().is_success() {
        bail!("{}: {}", registering(), answer.text().await.unwrap_or_default());
    }
    Ok(())
}
