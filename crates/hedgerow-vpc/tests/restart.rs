//! Records and machine agree, with a wire: after `kill -9`, and when the machine refuses. Needs root.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const BINARY: &str = env!("CARGO_BIN_EXE_hedgerow-vpc");
const TIMEOUT: Duration = Duration::from_millis(1_500);
const RUN: &str =
    "RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1&ClientToken=a";

/// A VPC process with a directory; both are gone at the end whatever happens.
struct Vpc {
    name: String,
    directory: PathBuf,
    child: Option<Child>,
    endpoint: SocketAddr,
}

impl Vpc {
    fn new(what: &str) -> Vpc {
        let name = format!("{what}{}", std::process::id());
        let directory = std::env::temp_dir().join(format!("hedgerow-vpc-{name}"));
        let _absent = std::fs::remove_dir_all(&directory);
        let endpoint = SocketAddr::from(([127, 0, 0, 1], 0));
        Vpc { name, directory, child: None, endpoint }
    }

    fn start(&mut self, records_only: bool) {
        let mut command = Command::new(BINARY);
        command.args(["run", "--listen", "127.0.0.1:0", "--seed", "7", "--name", &self.name]);
        match records_only {
            true => command.arg("--records-only"),
            false => command.arg("--state").arg(&self.directory),
        };
        let mut child = command.stdout(Stdio::piped()).spawn().expect("start hedgerow-vpc");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        self.child = Some(child);
        BufReader::new(stdout).read_line(&mut line).expect("the endpoint's line");
        let address = line.trim().strip_prefix("http://").expect("it started");
        self.endpoint = address.parse().expect("an address");
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut child) = self.child.take() else { return };
        let _gone = kill(Pid::from_raw(child.id().cast_signed()), signal);
        let _status = child.wait();
    }

    fn send(&self, action: &str) -> String {
        let body = format!("Action={action}");
        let length = body.len();
        exchange(
            self.endpoint,
            &format!(
                "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            ),
        )
    }

    /// Sends an action that succeeds; the text of the first `element` of the answer.
    fn ask(&self, action: &str, element: &str) -> String {
        let answer = self.send(action);
        assert!(answer.starts_with("HTTP/1.1 200"), "{action}: {answer}");
        let rest = answer.split(&format!("<{element}>")).nth(1).unwrap_or_default();
        rest.split('<').next().unwrap_or_default().to_owned()
    }

    fn namespace(&self, object: &str) -> PathBuf {
        Path::new("/run/netns").join(format!("hr.{}.{object}", self.name))
    }

    /// Runs `work` in an instance's network namespace.
    fn inside<T: Send>(&self, instance: &str, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(self.namespace(instance)).expect("the instance's namespace");
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(namespace, CloneFlags::CLONE_NEWNET).expect("enter the namespace");
                work()
            });
            thread.join().expect("the work inside")
        })
    }
}

impl Drop for Vpc {
    fn drop(&mut self) {
        self.end(Signal::SIGTERM);
        let _ = Command::new(BINARY).args(["sweep", "--name", &self.name]).output();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn exchange(to: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect_timeout(&to, TIMEOUT).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn after_kill_9_the_machine_is_what_the_records_say() {
    let mut vpc = Vpc::new("again");
    vpc.start(false);
    let network = vpc.ask("CreateVpc&CidrBlock=10.0.0.0/16", "vpcId");
    let subnet =
        vpc.ask(&format!("CreateSubnet&VpcId={network}&CidrBlock=10.0.1.0/24"), "subnetId");
    let group = |vpc: &Vpc, name: &str| {
        let request =
            format!("CreateSecurityGroup&VpcId={network}&GroupName={name}&GroupDescription=x");
        vpc.ask(&request, "groupId")
    };
    let (app, db) = (group(&vpc, "app"), group(&vpc, "db"));
    let run = |vpc: &Vpc, group: &str, address: &str| {
        let request = format!(
            "RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1\
             &SubnetId={subnet}&SecurityGroupId.1={group}&PrivateIpAddress={address}"
        );
        vpc.ask(&request, "instanceId")
    };
    let (client, server) = (run(&vpc, &app, "10.0.1.10"), run(&vpc, &db, "10.0.1.20"));
    let rule = |port: u16| {
        format!(
            "GroupId={db}&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort={port}\
             &IpPermissions.1.ToPort={port}&IpPermissions.1.Groups.1.GroupId={app}"
        )
    };
    vpc.ask(&format!("AuthorizeSecurityGroupIngress&{}", rule(5432)), "return");
    for _ in 0..2 {
        vpc.end(Signal::SIGKILL);
        vpc.start(false);
        let listen = |port: u16| {
            vpc.inside(&server, || TcpListener::bind(("10.0.1.20", port)).expect("its address"))
        };
        let _listeners = (listen(5432), listen(80));
        let connects = |port: u16| {
            let target = SocketAddr::from(([10, 0, 1, 20], port));
            vpc.inside(&client, || TcpStream::connect_timeout(&target, TIMEOUT).is_ok())
        };
        assert!(connects(5432), "the rule that was answered lets the group in");
        assert!(!connects(80), "and nothing else");
        let metadata = SocketAddr::from(([169, 254, 169, 254], 80));
        let request =
            "GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = vpc.inside(&client, || exchange(metadata, request));
        assert!(answer.ends_with(&client), "{answer}");
    }
    // Records are whole enough to change them.
    vpc.ask(&format!("TerminateInstances&InstanceId.1={client}"), "instanceId");
    assert!(!vpc.namespace(&client).exists(), "the namespace went with the instance");
}

#[test]
fn what_the_machine_refuses_did_not_happen() {
    let mut vpc = Vpc::new("refused");
    // The same seed and the same requests give the same ids.
    vpc.start(true);
    let first = vpc.ask(RUN, "instanceId");
    vpc.end(Signal::SIGKILL);
    vpc.start(false);
    File::create(vpc.namespace(&first)).expect("a file where the namespace should be");

    let answer = vpc.send(RUN);
    assert!(answer.contains("<Code>InternalError</Code>"), "{answer}");
    let none = |vpc: &Vpc, action: &str, what: &str| {
        let answer = vpc.send(action);
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains(what), "{answer}");
    };
    none(&vpc, "DescribeInstances", "<instanceId>");
    none(&vpc, "DescribeNetworkInterfaces", "<networkInterfaceId>");
    // A repeated request tries anew, with another id.
    let second = vpc.ask(RUN, "instanceId");
    assert_ne!(second, first);
    assert!(vpc.namespace(&second).exists());
    vpc.end(Signal::SIGKILL);
    vpc.start(false);
    assert_eq!(vpc.ask("DescribeInstances", "instanceId"), second);
    assert!(vpc.namespace(&second).exists() && !vpc.namespace(&first).exists());
}
