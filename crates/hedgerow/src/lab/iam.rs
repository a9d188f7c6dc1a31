//! What the lab's parts may ask of EC2: the least-privilege policies that ship for AWS, bound as a
//! user would bind them.
//!
//! ```text
//!   controller ── an access key of its own                        ── deploy/iam/controller.json
//!   agent ── keys of its node's role, from the metadata service   ── deploy/iam/agent.json
//! ```

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::state::LabName;

/// The controller's access key id; `hedgerow-vpc` verifies no signature, so any secret fits.
pub const CONTROLLER_KEY: &str = "AKIAHEDGEROWCONTROLLER";
const CONTROLLER_POLICY: &str = include_str!("../../../../deploy/iam/controller.json");
const AGENT_POLICY: &str = include_str!("../../../../deploy/iam/agent.json");
/// How long the VPC may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The role of the lab's nodes, and the name of its instance profile.
pub fn node_role(name: &LabName) -> String {
    format!("{name}-node")
}

/// Binds the policies at the VPC on this port of the machine.
pub async fn bind(port: u16, name: &LabName) -> Result<()> {
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
    let role = format!("role/{}", node_role(name));
    for (principal, policy) in [(CONTROLLER_KEY, CONTROLLER_POLICY), (&role, AGENT_POLICY)] {
        let binding = || format!("binding the policy of {principal} at hedgerow-vpc");
        let url = format!("http://127.0.0.1:{port}/_hedgerow/iam/{principal}");
        let answer = http.put(url).body(policy).send().await.with_context(binding)?;
        if !answer.status().is_success() {
            bail!("{}: {}", binding(), answer.text().await.unwrap_or_default());
        }
    }
    Ok(())
}
