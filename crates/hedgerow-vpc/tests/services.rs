//! EKS and RDS under AWS's own Python client.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const BINARY: &str = env!("CARGO_BIN_EXE_hedgerow-vpc");

/// The server; asked to end at the end whatever happens, and swept.
struct Running {
    child: Child,
    name: Option<String>,
}

impl Running {
    /// SIGTERM, and at most fifteen seconds for it.
    fn stop(&mut self) -> bool {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.stop() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if let Some(name) = &self.name {
            let _ = Command::new(BINARY).args(["sweep", "--name", name]).output();
        }
    }
}

/// Starts a server, with records only unless it is to have a name, and returns its endpoint.
fn start(name: Option<&str>) -> (Running, String) {
    let mut command = Command::new(BINARY);
    command.args(["run", "--seed", "7", "--listen", "127.0.0.1:0"]);
    match name {
        Some(name) => command.args(["--name", name]),
        None => command.arg("--records-only"),
    };
    let mut child = command.stdout(Stdio::piped()).spawn().expect("start hedgerow-vpc");
    let stdout = child.stdout.take().expect("a pipe");
    let running = Running { child, name: name.map(str::to_owned) };
    let mut endpoint = String::new();
    BufReader::new(stdout).read_line(&mut endpoint).expect("the endpoint's line");
    (running, endpoint.trim().to_owned())
}

/// Runs a script of this folder.
fn walk(script: &str, arguments: &[&str]) {
    let cache = std::env::var("HEDGEROW_CACHE").unwrap_or("/var/cache/hedgerow".into());
    let python = PathBuf::from(cache).join("aws/bin/python");
    assert!(python.exists(), "{} is missing: `make setup` installs it", python.display());
    let script = format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR"));
    let walk = Command::new(python).arg(script).args(arguments).output().expect("run Python");
    assert!(
        walk.status.success(),
        "{}{}",
        String::from_utf8_lossy(&walk.stdout),
        String::from_utf8_lossy(&walk.stderr)
    );
}

#[test]
fn eks_tells_of_the_labs_cluster_and_who_may_reach_it() {
    let (_server, endpoint) = start(None);
    walk("eks.py", &[&endpoint]);
}

#[test]
fn rds_keeps_records_and_says_that_nothing_runs() {
    let (_server, endpoint) = start(None);
    walk("rds.py", &[&endpoint]);
}

/// Needs root, and Debian's postgresql-15.
#[test]
fn rds_runs_postgresql_behind_the_groups_it_was_given() {
    let name = format!("rds{}", std::process::id());
    let (mut server, endpoint) = start(Some(&name));
    walk("rds.py", &[&endpoint, &name]);
    assert!(server.stop(), "a clean exit on SIGTERM");
    let folder = std::env::temp_dir().join(format!("hedgerow-{name}-databases"));
    assert!(!folder.exists(), "nothing of a database is left");
}
