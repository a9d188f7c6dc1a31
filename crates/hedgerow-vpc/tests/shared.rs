//! What lists and groups that several share decide about packets: prefix lists in routes, and a group
//! in another VPC than its own. Needs root.

mod running;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use running::Vpc;

/// A connection takes microseconds.
const PATIENCE: Duration = Duration::from_millis(700);

fn vpc(vpc: &Vpc, block: &str, subnets: [&str; 2]) -> (String, [String; 2]) {
    let id = vpc.ask(&format!("CreateVpc&CidrBlock={block}"), "vpcId");
    let subnets = subnets
        .map(|block| vpc.ask(&format!("CreateSubnet&VpcId={id}&CidrBlock={block}"), "subnetId"));
    (id, subnets)
}

fn group(vpc: &Vpc, of: &str, name: &str) -> String {
    let request = format!("CreateSecurityGroup&VpcId={of}&GroupName={name}&GroupDescription=x");
    vpc.ask(&request, "groupId")
}

fn run(vpc: &Vpc, subnet: &str, group: &str, address: &str) -> String {
    let request = format!(
        "RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1&SubnetId={subnet}\
         &SecurityGroupId.1={group}&PrivateIpAddress={address}"
    );
    vpc.ask(&request, "instanceId")
}

fn ingress(vpc: &Vpc, action: &str, group: &str, port: u16, peer: &str) {
    let request = format!(
        "{action}SecurityGroupIngress&GroupId={group}&IpPermissions.1.IpProtocol=tcp\
         &IpPermissions.1.FromPort={port}&IpPermissions.1.ToPort={port}&IpPermissions.1.{peer}"
    );
    vpc.ask(&request, "return");
}

fn listen(vpc: &Vpc, instance: &str, at: (Ipv4Addr, u16)) -> TcpListener {
    vpc.inside(instance, || TcpListener::bind(at)).expect("listen")
}

fn connects(vpc: &Vpc, from: &str, to: (Ipv4Addr, u16)) -> bool {
    let to = SocketAddr::from(to);
    vpc.inside(from, || TcpStream::connect_timeout(&to, PATIENCE).is_ok())
}

#[test]
fn a_group_decides_in_another_vpc_too() {
    let lab = Vpc::start(&[]);
    let (home, _) = vpc(&lab, "10.0.0.0/16", ["10.0.1.0/24", "10.0.2.0/24"]);
    let (other, subnets) = vpc(&lab, "10.1.0.0/16", ["10.1.1.0/24", "10.1.2.0/24"]);
    let shared = group(&lab, &home, "shared");
    let plain = group(&lab, &other, "plain");
    let associate = format!("SecurityGroupVpc&GroupId={shared}&VpcId={other}");
    lab.ask(&format!("Associate{associate}"), "state");
    let server = run(&lab, &subnets[0], &shared, "10.1.1.10");
    let member = run(&lab, &subnets[1], &shared, "10.1.2.20");
    let stranger = run(&lab, &subnets[1], &plain, "10.1.2.30");
    let address = Ipv4Addr::new(10, 1, 1, 10);
    let _listeners = [80, 81].map(|port| listen(&lab, &server, (address, port)));
    assert!(!connects(&lab, &member, (address, 80)), "no rule yet");

    ingress(&lab, "Authorize", &shared, 80, &format!("Groups.1.GroupId={shared}"));
    assert!(connects(&lab, &member, (address, 80)), "a member in that VPC");
    assert!(!connects(&lab, &stranger, (address, 80)), "nobody else");
    assert!(!connects(&lab, &member, (address, 81)), "nor another port");
    ingress(&lab, "Authorize", &shared, 81, "IpRanges.1.CidrIp=10.1.2.30/32");
    assert!(connects(&lab, &stranger, (address, 81)), "a change of its rules counts there");
    ingress(&lab, "Revoke", &shared, 80, &format!("Groups.1.GroupId={shared}"));
    assert!(!connects(&lab, &member, (address, 80)), "and so does the rule's end");
}

#[test]
fn a_route_for_a_prefix_list_follows_the_list() {
    let lab = Vpc::start(&[]);
    let (id, [near, far]) = vpc(&lab, "10.0.0.0/16", ["10.0.1.0/24", "10.0.2.0/24"]);
    let (clients, servers) = (group(&lab, &id, "clients"), group(&lab, &id, "servers"));
    ingress(&lab, "Authorize", &servers, 80, &format!("Groups.1.GroupId={clients}"));
    let client = run(&lab, &near, &clients, "10.0.1.10");
    let server = run(&lab, &far, &servers, "10.0.2.20");
    // Addresses of neither, behind the server, which takes what is for others.
    let behind = [Ipv4Addr::new(192, 0, 2, 7), Ipv4Addr::new(198, 51, 100, 7)];
    let eni = lab.ask(&format!("DescribeInstances&InstanceId.1={server}"), "networkInterfaceId");
    let check = format!("ModifyNetworkInterfaceAttribute&NetworkInterfaceId={eni}");
    lab.ask(&format!("{check}&SourceDestCheck.Value=false"), "return");
    let listeners = behind.map(|address| {
        let add = ["address", "add", &format!("{address}/32"), "dev", "lo"].map(str::to_owned);
        let added = lab.inside(&server, || Command::new("ip").args(add).status());
        assert!(added.expect("run ip").success());
        listen(&lab, &server, (address, 80))
    });
    let list = lab.ask(
        "CreateManagedPrefixList&PrefixListName=behind&AddressFamily=IPv4&MaxEntries=4\
         &Entry.1.Cidr=192.0.2.0/24",
        "prefixListId",
    );
    let table = lab.ask(&format!("CreateRouteTable&VpcId={id}"), "routeTableId");
    let join = format!("AssociateRouteTable&RouteTableId={table}&SubnetId={near}");
    lab.ask(&join, "associationId");
    let reached = || behind.map(|address| connects(&lab, &client, (address, 80)));
    assert_eq!(reached(), [false, false], "no route");
    let route = format!("Route&RouteTableId={table}&DestinationPrefixListId={list}");
    lab.ask(&format!("Create{route}&NetworkInterfaceId={eni}"), "return");
    assert_eq!(reached(), [true, false], "what is on the list");
    let modify = format!("ModifyManagedPrefixList&PrefixListId={list}&CurrentVersion");
    lab.ask(&format!("{modify}=1&AddEntry.1.Cidr=198.51.100.0/24"), "prefixListId");
    assert_eq!(reached(), [true, true], "what came to it");
    lab.ask(&format!("{modify}=2&RemoveEntry.1.Cidr=192.0.2.0/24"), "prefixListId");
    assert_eq!(reached(), [false, true], "and no longer what went");
    lab.ask(&format!("Delete{route}"), "return");
    assert_eq!(reached(), [false, false], "the route is gone");
    drop(listeners);
}
