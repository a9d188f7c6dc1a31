//! What runs on the machine goes on over `kill -9` and the next start takes it up. Needs root.

mod restarting;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Scope;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use restarting::{TIMEOUT, Vpc, exchange};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 10);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 20);

/// A VPC with two instances: the server's group lets TCP and UDP 5432 in from the client's.
struct Pair {
    vpc: Vpc,
    subnet: String,
    network: String,
    rules: [String; 2],
    client: String,
    server: String,
}

impl Pair {
    fn new(what: &str, options: &[&'static str]) -> Pair {
        let mut vpc = Vpc::new(what);
        vpc.options = options.to_vec();
        vpc.start(false);
        let (network, subnet) = vpc.network();
        let (app, db) = (vpc.group(&network, "app"), vpc.group(&network, "db"));
        let client = vpc.run(&subnet, &app, "10.0.1.10");
        let server = vpc.run(&subnet, &db, "10.0.1.20");
        let rules = ["tcp", "udp"].map(|protocol| {
            format!(
                "GroupId={db}&IpPermissions.1.IpProtocol={protocol}&IpPermissions.1.FromPort=5432\
                 &IpPermissions.1.ToPort=5432&IpPermissions.1.Groups.1.GroupId={app}"
            )
        });
        for rule in &rules {
            vpc.ask(&format!("AuthorizeSecurityGroupIngress&{rule}"), "return");
        }
        Pair { vpc, subnet, network, rules, client, server }
    }

    /// The server's socket and one of the client's that is connected to it.
    fn udp(&self) -> (UdpSocket, UdpSocket) {
        let far = self.vpc.inside(&self.server, || UdpSocket::bind((SERVER, 5432)).expect("bind"));
        let near = self.vpc.inside(&self.client, || UdpSocket::bind((CLIENT, 4000)).expect("bind"));
        near.connect((SERVER, 5432)).expect("a route");
        (far, near)
    }

    fn connects(&self) -> bool {
        let target = SocketAddr::from((SERVER, 5432));
        self.vpc.inside(&self.client, || TcpStream::connect_timeout(&target, TIMEOUT).is_ok())
    }
}

/// Waits until `count` is past what it is now by `more`.
fn goes_on(count: &AtomicU64, more: u64, what: &str) {
    let (from, deadline) = (count.load(Ordering::Relaxed), Instant::now() + Duration::from_secs(5));
    while count.load(Ordering::Relaxed) < from + more {
        assert!(Instant::now() < deadline, "{what}: nothing arrives");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends 1, 2, 3 … by `near` until `stop`, and counts in `seen` what comes in that order by `far`.
fn numbers<'s>(
    scope: &'s Scope<'s, '_>,
    (mut near, mut far): (TcpStream, TcpStream),
    seen: &'s AtomicU64,
    stop: &'s AtomicBool,
) {
    scope.spawn(move || {
        for number in 1_u64.. {
            if stop.load(Ordering::Relaxed) || near.write_all(&number.to_le_bytes()).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    });
    scope.spawn(move || {
        let mut bytes = [0; 8];
        for number in 1_u64.. {
            if far.read_exact(&mut bytes).is_err() {
                return;
            }
            assert_eq!(u64::from_le_bytes(bytes), number);
            seen.store(number, Ordering::Relaxed);
        }
    });
}

#[test]
fn a_connection_goes_on_over_kill_9_and_keeps_what_it_was_granted() {
    let mut pair = Pair::new("flow", &[]);
    let listener =
        pair.vpc.inside(&pair.server, || TcpListener::bind((SERVER, 5432)).expect("bind"));
    let near =
        pair.vpc.inside(&pair.client, || TcpStream::connect((SERVER, 5432)).expect("allowed"));
    let (far, _) = listener.accept().expect("a connection");
    // What a user does inside an instance is the user's.
    let add = ["address", "add", "10.0.1.77/32", "dev", "eth0"];
    let added = pair.vpc.inside(&pair.client, || Command::new("ip").args(add).status());
    assert!(added.expect("run ip").success());
    let inode = |vpc: &Vpc, name: &str| {
        std::fs::metadata(vpc.namespace(name)).expect("the namespace").ino()
    };
    let namespaces = [&pair.client, &pair.server].map(|name| inode(&pair.vpc, name));
    let token = || {
        let to = SocketAddr::from(([169, 254, 169, 254], 80));
        let header = "X-aws-ec2-metadata-token-ttl-seconds: 600\r\n";
        exchange(
            to,
            &format!(
                "PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n"
            ),
        )
        .expect("metadata answers")
    };
    let token = pair.vpc.inside(&pair.client, token);
    let token = token.split("\r\n\r\n").nth(1).expect("a token").to_owned();

    let (seen, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let cutter = far.try_clone().expect("another handle");
        numbers(scope, (near, far), &seen, &stop);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            goes_on(&seen, 100, "before");
            pair.vpc.end(Signal::SIGKILL);
            goes_on(&seen, 300, "while no process runs");
            assert!(pair.connects(), "new connections are judged by the rules last answered");
            pair.vpc.start(false);
            goes_on(&seen, 100, "after the start");
            assert_eq!([&pair.client, &pair.server].map(|n| inode(&pair.vpc, n)), namespaces);
            assert!(pair.connects());
            pair.vpc.ask(&format!("RevokeSecurityGroupIngress&{}", pair.rules[0]), "return");
            assert!(!pair.connects(), "the rule is gone");
            goes_on(&seen, 100, "though its rule is gone");
            pair.vpc.end(Signal::SIGKILL);
            assert!(!pair.connects(), "nor while no process runs");
            pair.vpc.start(false);
            goes_on(&seen, 100, "after another start");
            assert!(!pair.connects(), "nor later");
        }));
        stop.store(true, Ordering::Relaxed);
        let _closed = cutter.shutdown(std::net::Shutdown::Both);
        checked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });

    let addresses = || Command::new("ip").args(["address", "show", "dev", "eth0"]).output();
    let shown = pair.vpc.inside(&pair.client, addresses).expect("run ip").stdout;
    let shown = String::from_utf8(shown).expect("text");
    assert!(shown.contains("10.0.1.77/32") && shown.contains("10.0.1.10/24"), "{shown}");
    let get = format!(
        "GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         X-aws-ec2-metadata-token: {token}\r\n\r\n"
    );
    let to = SocketAddr::from(([169, 254, 169, 254], 80));
    let answer = pair.vpc.inside(&pair.client, || exchange(to, &get)).expect("metadata answers");
    assert!(answer.ends_with(&pair.client), "a session token survives: {answer}");

    pair.vpc.end(Signal::SIGTERM);
    assert_eq!(pair.vpc.left(), [""; 0], "an ordinary end leaves nothing");
}

#[test]
fn no_packet_is_lost_over_kills_and_starts() {
    const APART: Duration = Duration::from_micros(400);
    let mut pair = Pair::new("udp", &[]);
    let (far, near) = pair.udp();
    far.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let (seen, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            for number in 1_u64.. {
                if stop.load(Ordering::Relaxed) {
                    return number - 1;
                }
                near.send(&number.to_le_bytes()).expect("a packet is sent");
                std::thread::sleep(APART);
            }
            0
        });
        scope.spawn(|| {
            let mut bytes = [0; 8];
            let mut next = 1;
            loop {
                match far.recv(&mut bytes) {
                    Ok(_) => {
                        assert_eq!(u64::from_le_bytes(bytes), next, "lost before this one");
                        seen.store(next, Ordering::Relaxed);
                        next += 1;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                    Err(error) => panic!("receive: {error}"),
                }
            }
        });
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            goes_on(&seen, 100, "before");
            pair.vpc.end(Signal::SIGKILL);
            // While programs are loaded.
            pair.vpc.start_and_kill("", Duration::from_millis(100));
            for after in [0, 2] {
                // In the middle of changing programs over, or just behind it.
                pair.vpc.start_and_kill("going live", Duration::from_millis(after));
                pair.vpc.start(false);
                goes_on(&seen, 50, "after a start");
                pair.vpc.end(Signal::SIGKILL);
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let sent = sender.join().expect("the sender");
        checked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        sent
    });
    assert_eq!(seen.load(Ordering::Relaxed), sent);
    assert!(sent > 1_000, "{sent} packets");
}

#[test]
fn a_flow_is_not_inherited_with_an_address() {
    let mut pair = Pair::new("heir", &[]);
    let (far, near) = pair.udp();
    let mut bytes = [0; 8];
    far.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    near.send(b"1").expect("send");
    assert_eq!(far.recv(&mut bytes).expect("allowed"), 1);
    pair.vpc.ask(&format!("TerminateInstances&InstanceId.1={}", pair.server), "instanceId");
    let closed = pair.vpc.group(&pair.network, "closed");
    let heir = pair.vpc.run(&pair.subnet, &closed, "10.0.1.20");
    pair.vpc.end(Signal::SIGKILL);
    let far = pair.vpc.inside(&heir, || UdpSocket::bind((SERVER, 5432)).expect("bind"));
    far.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    // Its MAC is another: the neighbour is asked anew.
    let flush = || Command::new("ip").args(["neighbour", "flush", "all"]).status();
    let flushed = pair.vpc.inside(&pair.client, flush);
    assert!(flushed.expect("run ip").success());
    let mut refused = |when: &str| {
        for _ in 0..3 {
            near.send(b"2").expect("send");
            assert!(far.recv(&mut bytes).is_err(), "{when}: the flow was the other's");
        }
    };
    refused("while no process runs");
    for _ in 0..2 {
        pair.vpc.start(false);
        refused("after the start");
        pair.vpc.end(Signal::SIGKILL);
    }
    pair.vpc.start(false);
    let rule = format!(
        "AuthorizeSecurityGroupIngress&GroupId={closed}&IpPermissions.1.IpProtocol=udp\
         &IpPermissions.1.FromPort=5432&IpPermissions.1.ToPort=5432\
         &IpPermissions.1.IpRanges.1.CidrIp=10.0.1.10/32"
    );
    pair.vpc.ask(&rule, "return");
    near.send(b"3").expect("send");
    assert_eq!(far.recv(&mut bytes).expect("by its own rule"), 1);
}

/// A process with a network of its own.
struct Inner(std::process::Child);

impl Inner {
    fn new() -> Inner {
        let mut unshare = Command::new("unshare");
        unshare.args(["-n", "sh", "-c", "echo; exec sleep 60"]).stdout(Stdio::piped());
        let mut child = unshare.spawn().expect("run unshare");
        let mut ready = [0];
        child.stdout.take().expect("a pipe").read_exact(&mut ready).expect("it is there");
        Inner(child)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_missing_is_made_and_what_no_record_names_is_removed() {
    let mut pair = Pair::new("part", &["--leave-running"]);
    let (far, near) = pair.udp();
    far.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    let third = {
        let group = pair.vpc.group(&pair.network, "third");
        pair.vpc.run(&pair.subnet, &group, "10.0.1.30")
    };
    // An interface that its user moved on, as a container runtime does.
    let second = format!("CreateNetworkInterface&SubnetId={}", pair.subnet);
    let second = pair.vpc.ask(&second, "networkInterfaceId");
    let attach = format!(
        "AttachNetworkInterface&NetworkInterfaceId={second}&InstanceId={}&DeviceIndex=1",
        pair.client
    );
    pair.vpc.ask(&attach, "attachmentId");
    let inner = Inner::new();
    let number = inner.0.id().to_string();
    let moved = || Command::new("ip").args(["link", "set", "eth1", "netns", &number]).status();
    assert!(pair.vpc.inside(&pair.client, moved).expect("run ip").success());
    let gateway = pair.vpc.ask("CreateInternetGateway", "internetGatewayId");
    let attach = format!("InternetGatewayId={gateway}&VpcId={}", pair.network);
    pair.vpc.ask(&format!("AttachInternetGateway&{attach}"), "return");
    let internet = |vpc: &Vpc| {
        let namespace = std::fs::metadata(vpc.namespace("internet"));
        namespace.map(|namespace| namespace.ino()).ok()
    };
    let outside = internet(&pair.vpc);
    pair.vpc.end(Signal::SIGTERM);
    let mut bytes = [0; 8];
    let passes = |bytes: &mut [u8], what: &str| {
        near.send(b"x").expect("send");
        far.recv(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    };
    passes(&mut bytes, "SIGTERM leaves packets running where asked");
    let lose = |name: &str| {
        let path = pair.vpc.namespace(name);
        nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH).expect("unmount");
        std::fs::remove_file(path).expect("remove");
    };
    lose(&third);
    let stranger = pair.vpc.namespace("i-stranger");
    std::fs::write(&stranger, "").expect("a file where a namespace could be");
    pair.vpc.start(false);
    assert!(!stranger.exists(), "no record names it");
    passes(&mut bytes, "the others go on");
    let show = ["-t", &number, "-n", "ip", "link", "show", "eth1"];
    let shown = Command::new("nsenter").args(show).status().expect("run nsenter");
    assert!(shown.success(), "it stays where its user put it");
    let addresses = || Command::new("ip").args(["address", "show", "dev", "eth0"]).output();
    let shown = pair.vpc.inside(&third, addresses).expect("run ip").stdout;
    let shown = String::from_utf8(shown).expect("text");
    assert!(shown.contains("10.0.1.30/24") && shown.contains("UP"), "made anew: {shown}");
    assert!(outside.is_some() && internet(&pair.vpc) == outside, "the Internet stays");
    pair.vpc.ask(&format!("DetachInternetGateway&{attach}"), "return");
    pair.vpc.ask(&format!("TerminateInstances&InstanceId.1={third}"), "instanceId");
    assert!(!pair.vpc.namespace(&third).exists());

    // Other records: nothing of these may be taken for theirs.
    pair.vpc.end(Signal::SIGKILL);
    std::fs::remove_dir_all(&pair.vpc.directory).expect("remove the records");
    pair.vpc.start(false);
    assert!(!pair.vpc.namespace(&pair.client).exists());
    pair.vpc.options.clear();
    pair.vpc.end(Signal::SIGKILL);
    pair.vpc.sweep();
    assert_eq!(pair.vpc.left(), [""; 0]);
}

/// A session of a database, kept open.
struct Session(std::process::Child, BufReader<ChildStdout>);

impl Session {
    fn new(vpc: &Vpc, instance: &str, address: &str) -> Session {
        let mut psql = Command::new("psql");
        psql.args(["-At", "-q", "-h", address, "-U", "keeper", "orders"]);
        psql.env("PGPASSWORD", "hedge-row-1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = vpc.inside(instance, || psql.spawn().expect("start psql"));
        let out = child.stdout.take().expect("a pipe");
        Session(child, BufReader::new(out))
    }

    /// The line that a query gives; empty where there is no session any more.
    fn ask(&mut self, query: &str) -> String {
        let mut line = String::new();
        let asked = writeln!(self.0.stdin.as_mut().expect("a pipe"), "{query}");
        let _ended = asked.and_then(|()| self.1.read_line(&mut line));
        line.trim().to_owned()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_database_and_its_sessions_go_on_over_kill_9() {
    let mut pair = Pair::new("base", &[]);
    let Pair { network, subnet, .. } = &pair;
    let zone = pair.vpc.ask(&format!("DescribeSubnets&SubnetId.1={subnet}"), "availabilityZone");
    let other = if zone.ends_with('a') { 'b' } else { 'a' };
    let (region, _) = zone.split_at(zone.len() - 1);
    let second = format!(
        "CreateSubnet&VpcId={network}&CidrBlock=10.0.2.0/24&AvailabilityZone={region}{other}"
    );
    let second = pair.vpc.ask(&second, "subnetId");
    let groups = format!(
        "CreateDBSubnetGroup&Version=2014-10-31&DBSubnetGroupName=private\
         &DBSubnetGroupDescription=d&SubnetIds.SubnetIdentifier.1={subnet}\
         &SubnetIds.SubnetIdentifier.2={second}"
    );
    pair.vpc.ask(&groups, "VpcId");
    let db = pair.rules[0].split(['=', '&']).nth(1).expect("the group of the rules");
    let create = format!(
        "CreateDBInstance&Version=2014-10-31&DBInstanceIdentifier=orders\
         &DBInstanceClass=db.t3.micro&Engine=postgres&AllocatedStorage=20&MasterUsername=keeper\
         &MasterUserPassword=hedge-row-1&DBName=orders&DBSubnetGroupName=private\
         &PubliclyAccessible=false&VpcSecurityGroupIds.VpcSecurityGroupId.1={db}"
    );
    pair.vpc.ask(&create, "DBInstanceStatus");
    let status = |vpc: &Vpc| vpc.ask("DescribeDBInstances&Version=2014-10-31", "DBInstanceStatus");
    let available = |vpc: &Vpc| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while status(vpc) != "available" {
            assert!(Instant::now() < deadline, "the database is {}", status(vpc));
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    available(&pair.vpc);
    let interface = "DescribeNetworkInterfaces&Filter.1.Name=description\
                     &Filter.1.Value.1=RDSNetworkInterface";
    let address = pair.vpc.ask(interface, "privateIpAddress");
    let mut session = Session::new(&pair.vpc, &pair.client, &address);
    assert_eq!(session.ask("CREATE TEMPORARY TABLE t AS SELECT 41 AS n; SELECT n FROM t;"), "41");
    let databases = pair.vpc.directory.join("databases");
    let number = || {
        let folder = std::fs::read_dir(&databases).expect("databases").next().expect("one");
        let file = folder.expect("its folder").path().join("data/postmaster.pid");
        let text = std::fs::read_to_string(file).expect("a running server's number");
        text.lines().next().expect("a number").to_owned()
    };
    let runs = |number: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        stat.contains("(postgres)") && !stat.contains(") Z ")
    };
    let server = number();

    pair.vpc.end(Signal::SIGKILL);
    assert_eq!(session.ask("UPDATE t SET n = 42 RETURNING n;"), "42", "no process runs");
    pair.vpc.start(false);
    assert_eq!(status(&pair.vpc), "available");
    assert_eq!(session.ask("SELECT n FROM t;"), "42", "the session goes on");
    assert_eq!(number(), server, "the same server");
    pair.vpc.end(Signal::SIGTERM);
    assert!(!runs(&server), "an ordinary end ends the server that was taken up");
    assert_eq!(session.ask("SELECT n FROM t;"), "", "and its sessions");

    pair.vpc.start(false);
    available(&pair.vpc);
    let server = number();
    assert!(runs(&server));
    pair.vpc.end(Signal::SIGKILL);
    assert!(runs(&server));
    pair.vpc.sweep();
    assert!(!runs(&server), "a sweep ends servers, too");
}
