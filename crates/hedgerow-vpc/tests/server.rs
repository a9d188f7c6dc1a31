//! The binary under AWS's own Python client, in records-only mode.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use hedgerow_vpc::api::{ACTIONS, names_labs_own};

/// The server, killed at the end whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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

/// The script succeeds against a server of its own.
fn passes(script: &str) {
    let cache = std::env::var("HEDGEROW_CACHE").unwrap_or("/var/cache/hedgerow".into());
    let python = PathBuf::from(cache).join("aws/bin/python");
    assert!(
        python.exists(),
        "{} is missing: `make setup` installs the AWS CLI there",
        python.display()
    );
    let (_server, endpoint) = start();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let run = Command::new(python).arg(script).arg(&endpoint).output().expect("run Python");
    assert!(
        run.status.success(),
        "{}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
}

#[test]
fn botocore_walks_from_a_vpc_to_an_instance() {
    passes("walk.py");
}

#[test]
fn botocore_builds_and_removes_a_network_as_terraform_does() {
    passes("flows.py");
}

#[test]
fn it_lists_what_clients_can_ask() {
    let program = Command::new(env!("CARGO_BIN_EXE_hedgerow-vpc")).arg("actions").output();
    let listed = String::from_utf8(program.expect("run hedgerow-vpc").stdout).expect("text");
    let listed: Vec<&str> = listed.lines().collect();
    let built = ACTIONS.iter().filter(|action| !action.labs_own);
    let built: Vec<&str> = built.map(|action| action.name).collect();
    assert!(listed == built && listed.contains(&"DescribeVpcs"), "{listed:?}");
    let hidden = |name: &&&str| names_labs_own(format!("Action={name}").as_bytes()).is_some();
    assert_eq!(listed.iter().find(hidden), None, "no client can ask it");
}

#[test]
fn flow_logs_need_packets() {
    for option in ["--flow-log", "--flow-log-json", "--flow-log-dir"] {
        let arguments = ["run", "--records-only", "--listen", "127.0.0.1:0", option, "-"];
        let run = Command::new(env!("CARGO_BIN_EXE_hedgerow-vpc")).args(arguments).output();
        let run = run.expect("run hedgerow-vpc");
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(!run.status.success() && said.contains("cannot be used with"), "{option}: {said}");
    }
}
