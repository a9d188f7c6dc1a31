//! The binary with its wire, over HTTP only: instances are namespaces, groups are packets, metadata
//! answers inside. Needs root.

mod running;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use running::{TIMEOUT, Vpc, body, metadata};

#[test]
fn what_the_api_says_is_what_happens() {
    let mut vpc = Vpc::start(&["--flow-log", "{dir}/flow"]);
    let id = vpc.ask("CreateVpc&CidrBlock=10.0.0.0/16", "vpcId");
    let subnet = vpc.ask(&format!("CreateSubnet&VpcId={id}&CidrBlock=10.0.1.0/24"), "subnetId");
    let group = |name: &str| {
        let request = format!("CreateSecurityGroup&VpcId={id}&GroupName={name}&GroupDescription=x");
        vpc.ask(&request, "groupId")
    };
    let (app, db) = (group("app"), group("db"));
    let rule = format!(
        "GroupId={db}&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=5432\
         &IpPermissions.1.ToPort=5432&IpPermissions.1.Groups.1.GroupId={app}"
    );
    let run = |group: &str, address: &str| {
        let request = format!(
            "RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1\
             &SubnetId={subnet}&SecurityGroupId.1={group}&PrivateIpAddress={address}\
             &MetadataOptions.HttpTokens=required"
        );
        vpc.ask(&request, "instanceId")
    };
    let (client, server) = (run(&app, "10.0.1.10"), run(&db, "10.0.1.20"));
    let target = SocketAddr::from(([10, 0, 1, 20], 5432));
    let listener = vpc.inside(&server, || TcpListener::bind(target).expect("listen"));
    let connects = || vpc.inside(&client, || TcpStream::connect_timeout(&target, TIMEOUT).is_ok());

    assert!(!connects(), "no rule yet");
    vpc.ask(&format!("AuthorizeSecurityGroupIngress&{rule}"), "return");
    assert!(connects(), "the rule lets the group in");
    vpc.ask(&format!("RevokeSecurityGroupIngress&{rule}"), "return");
    assert!(!connects(), "the rule is gone");
    check_prefix_list(&vpc, &db, &connects);
    drop(listener);

    check_metadata(&vpc, &client, &server);
    check_flow_log(&vpc, &db);
    vpc.ask(&format!("TerminateInstances&InstanceId.1={client}"), "instanceId");
    assert!(!vpc.namespace(&client).exists(), "the namespace went with the instance");
    assert!(vpc.stop(), "a clean exit on SIGTERM");
    assert_eq!(vpc.left(), Vec::<String>::new());
}

/// A rule with a prefix list lets in who is on the list now.
fn check_prefix_list(vpc: &Vpc, db: &str, connects: &dyn Fn() -> bool) {
    let list = vpc.ask(
        "CreateManagedPrefixList&PrefixListName=clients&AddressFamily=IPv4&MaxEntries=2\
         &Entry.1.Cidr=10.0.1.64/26",
        "prefixListId",
    );
    let rule = format!(
        "GroupId={db}&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=5432\
         &IpPermissions.1.ToPort=5432&IpPermissions.1.PrefixListIds.1.PrefixListId={list}"
    );
    vpc.ask(&format!("AuthorizeSecurityGroupIngress&{rule}"), "return");
    assert!(!connects(), "the client is not on the list");
    let modify = format!("ModifyManagedPrefixList&PrefixListId={list}");
    vpc.ask(&format!("{modify}&CurrentVersion=1&AddEntry.1.Cidr=10.0.1.10/32"), "version");
    assert!(connects(), "version 2 has the client");
    vpc.ask(
        &format!(
            "RestoreManagedPrefixListVersion&PrefixListId={list}&CurrentVersion=2\
             &PreviousVersion=1"
        ),
        "version",
    );
    assert!(!connects(), "version 3 is version 1");
    vpc.ask(&format!("RevokeSecurityGroupIngress&{rule}"), "return");
}

fn check_metadata(vpc: &Vpc, client: &str, server: &str) {
    let no_token = vpc.inside(client, || metadata("GET", "meta-data/instance-id", ""));
    assert!(no_token.starts_with("HTTP/1.1 401"), "{no_token}");
    let life = "x-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    let answer = vpc.inside(client, || metadata("PUT", "api/token", life));
    let header = format!("x-aws-ec2-metadata-token: {}\r\n", body(&answer));
    for (path, want) in [
        ("meta-data/instance-id", client),
        ("meta-data/instance-type", "m5.large"),
        ("meta-data/local-ipv4", "10.0.1.10"),
        ("meta-data/placement/region", "us-west-2"),
    ] {
        let answer = vpc.inside(client, || metadata("GET", path, &header));
        assert_eq!(body(&answer), want, "{path}");
    }
    let stolen = vpc.inside(server, || metadata("GET", "meta-data/instance-id", &header));
    assert!(stolen.starts_with("HTTP/1.1 401"), "a token is one instance's: {stolen}");
    let macs = "meta-data/network/interfaces/macs/";
    let answer = vpc.inside(client, || metadata("GET", macs, &header));
    let path = format!("{macs}{}device-number", body(&answer));
    assert_eq!(body(&vpc.inside(client, || metadata("GET", &path, &header))), "0");
}

/// Drops are written within a second or so.
fn check_flow_log(vpc: &Vpc, group: &str) {
    let file = vpc.directory.0.join("flow");
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let text = std::fs::read_to_string(&file).expect("the flow log");
        let words = ["10.0.1.10 10.0.1.20", " 5432 6 ", "REJECT", "reason=ingress_groups", group];
        if text.lines().any(|line| words.iter().all(|word| line.contains(word))) {
            return;
        }
        assert!(Instant::now() < deadline, "no such drop in:\n{text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
