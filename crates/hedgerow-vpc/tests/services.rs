//! EKS and RDS under AWS's own Python client.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The server, killed at the end whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server that keeps records only, and returns its endpoint.
fn start() -> (Running, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hedgerow-vpc"))
        .args(["run", "--records-only", "--seed", "7", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("start hedgerow-vpc");
    let stdout = child.stdout.take().expect("a pipe");
    let running = Running(child);
    let mut endpoint = String::new();
    BufReader::new(stdout).read_line(&mut endpoint).expect("the endpoint's line");
    (running, endpoint.trim().to_owned())
}

/// Runs a script of this folder against an endpoint.
fn walk(script: &str, endpoint: &str) {
    let cache = std::env::var("HEDGEROW_CACHE").unwrap_or("/var/cache/hedgerow".into());
    let python = PathBuf::from(cache).join("aws/bin/python");
    assert!(python.exists(), "{} is missing: `make setup` installs it", python.display());
    let script = format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR"));
    let walk = Command::new(python).arg(script).arg(endpoint).output().expect("run Python");
    assert!(
        walk.status.success(),
        "{}{}",
        String::from_utf8_lossy(&walk.stdout),
        String::from_utf8_lossy(&walk.stderr)
    );
}

#[test]
fn eks_tells_of_the_labs_cluster_and_who_may_reach_it() {
    let (_server, endpoint) = start();
    walk("eks.py", &endpoint);
}
