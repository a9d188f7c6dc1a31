//! A `hedgerow-vpc` with a directory that can be killed and started again; all gone at the end.
#![allow(dead_code, reason = "each test file uses a part")]

#[path = "../harness/calls.rs"]
mod calls;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[allow(unused_imports, reason = "each test program uses a part")]
pub use calls::{TIMEOUT, exchange};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const BINARY: &str = env!("CARGO_BIN_EXE_hedgerow-vpc");

/// A VPC process with a directory; both are gone at the end whatever happens.
pub struct Vpc {
    pub name: String,
    pub directory: PathBuf,
    child: Option<Child>,
    pub endpoint: SocketAddr,
    /// Options besides those of every start.
    pub options: Vec<&'static str>,
}

impl Vpc {
    pub fn new(what: &str) -> Vpc {
        let name = format!("{what}{}", std::process::id());
        let directory = std::env::temp_dir().join(format!("hedgerow-vpc-{name}"));
        let _absent = std::fs::remove_dir_all(&directory);
        let endpoint = SocketAddr::from(([127, 0, 0, 1], 0));
        Vpc { name, directory, child: None, endpoint, options: Vec::new() }
    }

    pub fn start(&mut self, records_only: bool) {
        let child = self.command(records_only).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("start hedgerow-vpc");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        self.child = Some(child);
        BufReader::new(stdout).read_line(&mut line).expect("the endpoint's line");
        let address = line.trim().strip_prefix("http://").expect("it started");
        self.endpoint = address.parse().expect("an address");
    }

    /// Kills a start some time after its log has said this.
    pub fn start_and_kill(&mut self, said: &str, after: Duration) {
        let mut command = self.command(false);
        command.env("RUST_LOG", "debug").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start hedgerow-vpc");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        self.child = Some(child);
        let mut lines = log.lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains(said)), "it did not say: {said}");
        std::thread::sleep(after);
        self.end(Signal::SIGKILL);
    }

    fn command(&self, records_only: bool) -> Command {
        let mut command = Command::new(BINARY);
        command.args(["run", "--listen", "127.0.0.1:0", "--seed", "7", "--name", &self.name]);
        match records_only {
            true => command.arg("--records-only"),
            false => command.arg("--state").arg(&self.directory),
        };
        command.args(&self.options);
        command
    }

    pub fn end(&mut self, signal: Signal) {
        let Some(mut child) = self.child.take() else { return };
        let _gone = kill(Pid::from_raw(child.id().cast_signed()), signal);
        let _status = child.wait();
    }

    /// A VPC with a subnet 10.0.1.0/24; their ids.
    pub fn network(&self) -> (String, String) {
        let network = self.ask("CreateVpc&CidrBlock=10.0.0.0/16", "vpcId");
        let subnet = format!("CreateSubnet&VpcId={network}&CidrBlock=10.0.1.0/24");
        let subnet = self.ask(&subnet, "subnetId");
        (network, subnet)
    }

    pub fn group(&self, network: &str, name: &str) -> String {
        let request =
            format!("CreateSecurityGroup&VpcId={network}&GroupName={name}&GroupDescription=x");
        self.ask(&request, "groupId")
    }

    pub fn run(&self, subnet: &str, group: &str, address: &str) -> String {
        let request = format!(
            "RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1\
             &SubnetId={subnet}&SecurityGroupId.1={group}&PrivateIpAddress={address}"
        );
        self.ask(&request, "instanceId")
    }

    /// What of it is on the machine: namespaces and pins.
    pub fn left(&self) -> Vec<String> {
        let mut left = calls::names("/run/netns", &format!("hr.{}.", self.name));
        left.extend(calls::names("/run/hedgerow-vpc", &self.name));
        left
    }

    pub fn sweep(&self) {
        let _ = Command::new(BINARY).args(["sweep", "--name", &self.name]).output();
    }

    pub fn send(&self, action: &str) -> String {
        calls::send(self.endpoint, action)
    }

    /// Sends an action that succeeds; the text of the first `element` of the answer.
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
}

impl Drop for Vpc {
    fn drop(&mut self) {
        self.end(Signal::SIGTERM);
        self.sweep();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
