//! Records and machine agree, with a wire: after `kill -9`, and when the machine refuses. Needs root.

mod restarting;

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};

use nix::sys::signal::Signal;
use restarting::{TIMEOUT, Vpc, exchange};

const RUN: &str =
    "RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1&ClientToken=a";

#[test]
fn after_kill_9_the_machine_is_what_the_records_say() {
    let mut vpc = Vpc::new("again");
    vpc.start(false);
    let (network, subnet) = vpc.network();
    let (app, db) = (vpc.group(&network, "app"), vpc.group(&network, "db"));
    let client = vpc.run(&subnet, &app, "10.0.1.10");
    let server = vpc.run(&subnet, &db, "10.0.1.20");
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
        let answer = vpc.inside(&client, || exchange(metadata, request)).expect("metadata answers");
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
