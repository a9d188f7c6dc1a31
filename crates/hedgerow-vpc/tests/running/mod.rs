//! The binary with its wire, over HTTP only, for one test; stopped and swept at its end.

// Each test program uses a part of this.
#![allow(dead_code)]

#[path = "../harness/calls.rs"]
mod calls;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

#[allow(unused_imports, reason = "each test program uses a part")]
pub use calls::{TIMEOUT, exchange};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const BINARY: &str = env!("CARGO_BIN_EXE_hedgerow-vpc");

/// A running VPC; stopped and swept at the end whatever happens.
pub struct Vpc {
    child: Child,
    name: String,
    pub endpoint: SocketAddr,
    /// Its standard output, behind the line with the endpoint.
    pub output: BufReader<ChildStdout>,
    pub directory: tempdir::TempDir,
}

/// A directory of our own, removed at the end.
pub mod tempdir {
    pub struct TempDir(pub std::path::PathBuf);

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

impl Vpc {
    /// With these options besides its name and address. `{dir}` in them is a directory of the test.
    pub fn start(options: &[&str]) -> Vpc {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("api{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(format!("hedgerow-vpc-{name}"));
        std::fs::create_dir_all(&directory).expect("a directory");
        let directory = tempdir::TempDir(directory);
        let mut child = Command::new(BINARY)
            .args(["run", "--listen", "127.0.0.1:0", "--name", &name])
            .args(options.iter().map(|o| o.replace("{dir}", &directory.0.to_string_lossy())))
            .stdout(Stdio::piped())
            .spawn()
            .expect("start hedgerow-vpc");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        output.read_line(&mut line).expect("the endpoint's line");
        let address = line.trim().strip_prefix("http://").expect("it started").to_owned();
        let endpoint = address.parse().expect("an address");
        Vpc { child, name, endpoint, output, directory }
    }

    /// Sends an action; the text of the first `element` of the answer.
    pub fn ask(&self, action: &str, element: &str) -> String {
        calls::ask(self.endpoint, action, element)
    }

    pub fn namespace(&self, object: &str) -> PathBuf {
        calls::namespace(&self.name, object)
    }

    /// Runs `work` in an instance's network namespace.
    pub fn inside<T: Send>(&self, instance: &str, work: impl FnOnce() -> T + Send) -> T {
        calls::inside(&self.namespace(instance), work)
    }

    pub fn left(&self) -> Vec<String> {
        calls::names("/run/netns", &format!("hr.{}.", self.name))
    }

    /// SIGTERM, and at most five seconds for it.
    pub fn stop(&mut self) -> bool {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Vpc {
    fn drop(&mut self) {
        if !self.stop() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = Command::new(BINARY).args(["sweep", "--name", &self.name]).output();
    }
}

/// Python with AWS's own clients, and no keys or settings of ours.
pub fn python() -> Command {
    let cache = std::env::var("HEDGEROW_CACHE").unwrap_or("/var/cache/hedgerow".into());
    let python = PathBuf::from(cache).join("aws/bin/python");
    assert!(python.exists(), "{} is missing: `make setup` installs it", python.display());
    let mut command = Command::new(python);
    command.env_clear().env("HOME", "/nonexistent").env("NO_PROXY", "*");
    command
}

pub fn metadata(method: &str, path: &str, header: &str) -> String {
    let to = SocketAddr::from(([169, 254, 169, 254], 80));
    let request =
        format!("{method} /latest/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n");
    exchange(to, &request).expect("metadata answers")
}

pub fn body(answer: &str) -> &str {
    answer.split("\r\n\r\n").nth(1).unwrap_or_default()
}
