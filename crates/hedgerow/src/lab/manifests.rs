//! What is installed in a new cluster: Hedgerow's own manifests as a user would apply them, the
//! settings they read, and CoreDNS.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::iam::CONTROLLER_KEY;
use super::state::State;
use super::{EC2_IN_VPC, REGION};

/// (file name, text) of `deploy/*.yaml` and `lab/manifests/*.yaml` when this was built.
const MANIFESTS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/manifests.rs"));

/// Just after the API server says it is ready, `kube-system` may not be there yet.
const RETRY: Duration = Duration::from_secs(15);

/// Everything to apply, as one YAML stream: resource definitions, settings, the rest.
pub fn stream(state: &State) -> String {
    let defines = |name: &str| name.starts_with("crd");
    let (definitions, rest): (Vec<_>, Vec<_>) =
        MANIFESTS.iter().partition(|(name, _)| defines(name));
    let texts = |files: Vec<&(&str, &str)>| -> Vec<String> {
        files.into_iter().map(|(_, text)| (*text).to_owned()).collect()
    };
    let mut documents = texts(definitions);
    documents.push(settings(state).to_string());
    documents.extend(secrets().map(|secret| secret.to_string()));
    documents.extend(texts(rest));
    documents.join("\n---\n")
}

fn settings(state: &State) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "hedgerow", "namespace": "kube-system"},
        "data": {
            "CLUSTER_NAME": state.name,
            "VPC_ID": state.vpc_id,
            "CLUSTER_SECURITY_GROUP_ID": state.cluster_security_group_id,
        },
    })
}

/// How the cluster reaches EC2, and the controller's keys; the agents have those of their node's role.
fn secrets() -> [Value; 2] {
    let secret = |name: &str, data: Value| {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": "kube-system"},
            "stringData": data,
        })
    };
    let endpoint = json!({"AWS_ENDPOINT_URL_EC2": EC2_IN_VPC, "AWS_REGION": REGION});
    let keys = json!({"AWS_ACCESS_KEY_ID": CONTROLLER_KEY, "AWS_SECRET_ACCESS_KEY": "hedgerow"});
    [secret("hedgerow-aws", endpoint), secret("hedgerow-controller-aws", keys)]
}

/// Applies a YAML stream by server-side apply.
pub fn apply(kubectl: &Path, kubeconfig: &Path, stream: &str) -> Result<()> {
    let deadline = Instant::now() + RETRY;
    loop {
        let error = match apply_once(kubectl, kubeconfig, stream)? {
            None => return Ok(()),
            Some(error) => error,
        };
        if Instant::now() >= deadline {
            bail!("kubectl apply of the lab's manifests:\n{error}");
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// `None` on success, kubectl's words otherwise.
fn apply_once(kubectl: &Path, kubeconfig: &Path, stream: &str) -> Result<Option<String>> {
    let mut child = Command::new(kubectl)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        // Validation by kubectl makes a new API server build its OpenAPI documents: seconds.
        .args(["apply", "--server-side", "--force-conflicts", "--validate=false", "--filename=-"])
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", kubectl.display()))?;
    let mut stdin = child.stdin.take().context("the pipe to kubectl")?;
    // A kubectl that ends early breaks the pipe; its own words are the better error.
    let _ = stdin.write_all(stream.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().context("waiting for kubectl")?;
    if output.status.success() {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&output.stderr).into_owned()))
}
