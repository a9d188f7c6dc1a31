//! IPv6 from the API to packets: the binary with its wire; needs root.

#[path = "harness/raw.rs"]
mod raw;
mod running;

use std::io::Read;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use hedgerow_datapath::fabric::ROUTER_MAC;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use running::{TIMEOUT, Vpc, body, exchange};

const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
const DNS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253);
/// How long an address or a rule may take to reach an instance after the answer.
const SOON: Duration = Duration::from_secs(3);

/// A VPC with an IPv6 block, two dual-stack subnets, a group for clients and one for servers.
struct Network {
    vpc: String,
    subnets: [String; 2],
    clients: String,
    servers: String,
}

fn network(vpc: &Vpc) -> Network {
    let id = vpc.ask("CreateVpc&CidrBlock=10.0.0.0/16&AmazonProvidedIpv6CidrBlock=true", "vpcId");
    let block = vpc.ask(&format!("DescribeVpcs&VpcId.1={id}"), "ipv6CidrBlock");
    let of_vpc = block.strip_suffix("00::/56").expect("a /56");
    let subnets = [1, 2].map(|n| {
        let request = format!(
            "CreateSubnet&VpcId={id}&CidrBlock=10.0.{n}.0/24&Ipv6CidrBlock={of_vpc}0{n}::/64"
        );
        vpc.ask(&request, "subnetId")
    });
    let [clients, servers] = ["clients", "servers"].map(|name| {
        let request = format!("CreateSecurityGroup&VpcId={id}&GroupName={name}&GroupDescription=x");
        vpc.ask(&request, "groupId")
    });
    Network { vpc: id, subnets, clients, servers }
}

/// An instance and its IPv6 address.
fn instance(vpc: &Vpc, subnet: &str, group: &str, more: &str) -> (String, Ipv6Addr) {
    let request = format!(
        "RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1&SubnetId={subnet}\
         &SecurityGroupId.1={group}&Ipv6AddressCount=1{more}"
    );
    let id = vpc.ask(&request, "instanceId");
    let address = vpc.ask(&format!("DescribeInstances&InstanceId.1={id}"), "ipv6Address");
    (id, address.parse().expect("an IPv6 address"))
}

/// Answers connections to every address of an instance with the address that it sees.
fn serve(vpc: &Vpc, instance: &str, port: u16) {
    let listener = vpc.inside(instance, || TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)));
    let listener = listener.expect("listen");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let peer = stream.peer_addr().expect("a peer").ip();
            let _gone = std::io::Write::write_all(&mut &stream, peer.to_string().as_bytes());
        }
    });
}

/// What the server sees of a connection from inside `instance`; `None` where none comes about.
fn reach(vpc: &Vpc, instance: &str, to: Ipv6Addr, port: u16) -> Option<String> {
    vpc.inside(instance, || {
        let mut stream = TcpStream::connect_timeout(&(to, port).into(), TIMEOUT).ok()?;
        stream.set_read_timeout(Some(TIMEOUT)).ok()?;
        let mut seen = String::new();
        stream.read_to_string(&mut seen).ok().map(|_| seen)
    })
}

fn authorize(group: &str, port: u16, peer: &str) -> String {
    format!(
        "AuthorizeSecurityGroupIngress&GroupId={group}&IpPermissions.1.IpProtocol=tcp\
         &IpPermissions.1.FromPort={port}&IpPermissions.1.ToPort={port}&IpPermissions.1.{peer}"
    )
}

#[test]
fn groups_and_lists_judge_ipv6_too() {
    let vpc = Vpc::start(&[]);
    let network = network(&vpc);
    let (client, from) = instance(&vpc, &network.subnets[0], &network.clients, "");
    let (server, to) = instance(&vpc, &network.subnets[1], &network.servers, "");
    let (near, near_to) = instance(&vpc, &network.subnets[0], &network.servers, "");
    for (id, port) in [(&server, 8_080), (&server, 8_081), (&near, 8_080)] {
        serve(&vpc, id, port);
    }
    let seen = Some(from.to_string());
    assert_eq!(reach(&vpc, &client, to, 8_080), None, "no rule lets it in");

    vpc.ask(
        &authorize(&network.servers, 8_080, &format!("Ipv6Ranges.1.CidrIpv6={from}/128")),
        "return",
    );
    assert_eq!(reach(&vpc, &client, to, 8_080), seen, "a rule for the address");
    assert_eq!(reach(&vpc, &client, to, 8_081), None, "for one port");
    assert_eq!(reach(&vpc, &client, near_to, 8_080), seen, "within a subnet");
    let peer = format!("Groups.1.GroupId={}", network.clients);
    vpc.ask(&authorize(&network.servers, 8_081, &peer), "return");
    assert_eq!(reach(&vpc, &client, to, 8_081), seen, "a rule for the client's group");
    assert_eq!(reach(&vpc, &near, to, 8_081), None, "which the other one is not in");

    let acl = vpc.ask(
        &format!("DescribeNetworkAcls&Filter.1.Name=vpc-id&Filter.1.Value.1={}", network.vpc),
        "networkAclId",
    );
    vpc.ask(
        &format!(
            "CreateNetworkAclEntry&NetworkAclId={acl}&RuleNumber=50&Egress=false&RuleAction=deny\
             &Protocol=6&PortRange.From=8081&PortRange.To=8081&Ipv6CidrBlock={from}/128"
        ),
        "return",
    );
    assert_eq!(reach(&vpc, &client, to, 8_081), None, "an entry of the list denies it");
    assert_eq!(reach(&vpc, &client, to, 8_080), seen, "and not the other port");
}

#[test]
fn an_address_follows_its_interface_while_the_instance_runs() {
    let vpc = Vpc::start(&[]);
    let network = network(&vpc);
    let (client, _) = instance(&vpc, &network.subnets[0], &network.clients, "");
    let (server, first) = instance(&vpc, &network.subnets[0], &network.servers, "");
    let eth0 = vpc.ask(&format!("DescribeInstances&InstanceId.1={server}"), "networkInterfaceId");
    serve(&vpc, &server, 8_080);
    let peer = format!("Groups.1.GroupId={}", network.clients);
    vpc.ask(&authorize(&network.servers, 8_080, &peer), "return");
    assert!(reach(&vpc, &client, first, 8_080).is_some(), "the address of its launch");

    let change = |action: &str, address: &str| {
        vpc.ask(&format!("{action}&NetworkInterfaceId={eth0}&{address}"), "networkInterfaceId")
    };
    change("UnassignIpv6Addresses", &format!("Ipv6Addresses.1={first}"));
    assert_eq!(reach(&vpc, &client, first, 8_080), None, "it was taken away");
    change("AssignIpv6Addresses", "Ipv6AddressCount=1");
    let second = vpc.ask(&format!("DescribeInstances&InstanceId.1={server}"), "ipv6Address");
    let second: Ipv6Addr = second.parse().expect("an address");
    assert_ne!(first, second, "an address rests before it comes back");
    assert!(reach(&vpc, &client, second, 8_080).is_some(), "the new one");

    vpc.ask(&format!("StopInstances&InstanceId.1={server}"), "instanceId");
    vpc.ask(&format!("StartInstances&InstanceId.1={server}"), "instanceId");
    serve(&vpc, &server, 8_080);
    assert!(reach(&vpc, &client, second, 8_080).is_some(), "after a stop and a start");
}

fn metadata(method: &str, path: &str, header: &str) -> String {
    let request =
        format!("{method} /latest/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n");
    exchange(SocketAddr::from((METADATA, 80)), &request).expect("metadata answers")
}

#[test]
fn metadata_in_ipv6() {
    let vpc = Vpc::start(&[]);
    let network = network(&vpc);
    let (id, address) = instance(&vpc, &network.subnets[0], &network.clients, "");
    let status = vpc.inside(&id, || metadata("GET", "meta-data/instance-id", ""));
    assert!(status.starts_with("HTTP/1.1 403"), "not before it is asked for: {status}");

    vpc.ask(
        &format!("ModifyInstanceMetadataOptions&InstanceId={id}&HttpProtocolIpv6=enabled"),
        "state",
    );
    let mac = vpc.ask(&format!("DescribeInstances&InstanceId.1={id}"), "macAddress");
    let below = format!("meta-data/network/interfaces/macs/{mac}");
    let found = vpc.inside(&id, || {
        ["meta-data/instance-id".to_owned(), "meta-data/ipv6".to_owned(), format!("{below}/ipv6s")]
            .map(|path| body(&metadata("GET", &path, "")).to_owned())
    });
    assert_eq!(found, [id.clone(), address.to_string(), address.to_string()]);
    let blocks = vpc.inside(&id, || {
        ["subnet-ipv6-cidr-blocks", "vpc-ipv6-cidr-blocks"]
            .map(|name| body(&metadata("GET", &format!("{below}/{name}"), "")).to_owned())
    });
    assert!(blocks[0].ends_with("::/64") && blocks[1].ends_with("::/56"), "{blocks:?}");

    let (of_put, of_get) = vpc.inside(&id, || {
        let tap = raw::Tap::open("eth0").expect("a tap");
        metadata("PUT", "api/token", "x-aws-ec2-metadata-token-ttl-seconds: 60\r\n");
        let of_put = hop_limit(&tap);
        metadata("GET", "meta-data/instance-id", "");
        (of_put, hop_limit(&tap))
    });
    assert_eq!((of_put, of_get), (1, 64), "the answer with a token crosses no further hop");
}

/// Hop limit of the next packet with an HTTP answer.
fn hop_limit(tap: &raw::Tap) -> u8 {
    let answers = |frame: &raw::Arrived| frame.bytes.windows(8).any(|w| w == b"HTTP/1.1");
    tap.wait(Duration::from_secs(5), answers).expect("an answer on the wire").bytes[21]
}

#[test]
fn dns_in_ipv6() {
    let vpc = Vpc::start(&[]);
    let network = network(&vpc);
    vpc.ask(
        &format!("ModifyVpcAttribute&VpcId={}&EnableDnsHostnames.Value=true", network.vpc),
        "return",
    );
    let (id, _) = instance(&vpc, &network.subnets[0], &network.clients, "");
    let name = vpc.ask(&format!("DescribeInstances&InstanceId.1={id}"), "privateDnsName");
    let mut question = Message::new(77, MessageType::Query, OpCode::Query);
    question.add_query(Query::query(Name::from_ascii(&name).expect("a name"), RecordType::A));
    let question = question.to_vec().expect("bytes");
    let answer = vpc.inside(&id, || {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a socket");
        socket.connect((DNS, 53)).expect("connect");
        socket.set_read_timeout(Some(SOON)).expect("a timeout");
        socket.send(&question).expect("ask");
        let mut answer = [0; 4_096];
        let length = socket.recv(&mut answer).expect("an answer");
        Message::from_vec(&answer[..length]).expect("a message")
    });
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert_eq!(answer.answers.len(), 1, "the instance's own name");
}

#[test]
fn flow_logs_have_ipv6_addresses() {
    let vpc = Vpc::start(&["--flow-log", "{dir}/flows"]);
    let network = network(&vpc);
    let (client, from) = instance(&vpc, &network.subnets[0], &network.clients, "");
    let (_server, to) = instance(&vpc, &network.subnets[1], &network.servers, "");
    assert_eq!(reach(&vpc, &client, to, 8_080), None, "no rule lets it in");
    let path = vpc.directory.0.join("flows");
    let deadline = Instant::now() + SOON;
    let wanted = format!(" {from} {to} ");
    loop {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let line = text.lines().find(|line| line.contains(&wanted) && line.contains("REJECT"));
        if let Some(line) = line {
            assert!(line.contains("reason=ingress_groups"), "{line}");
            return;
        }
        assert!(Instant::now() < deadline, "no line of the refused connection:\n{text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs `ip` in an instance.
fn ip(vpc: &Vpc, instance: &str, arguments: &str) {
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let status = vpc.inside(instance, || Command::new("ip").args(&arguments).status());
    assert!(status.expect("run ip").success(), "ip {arguments:?} in {instance}");
}

/// A UDP datagram of IPv6 from port 4000.
fn datagram(from: Ipv6Addr, to: Ipv6Addr, port: u16) -> Vec<u8> {
    let mut bytes = raw::udp(4_000, port, b"tagged");
    let sum = raw::transport_sum(from.into(), to.into(), 17, &bytes);
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    raw::ipv6(from, to, 17, 64, &bytes)
}

#[test]
fn a_branch_has_an_ipv6_address_behind_its_tag() {
    let vpc = Vpc::start(&[]);
    let network = network(&vpc);
    let (server, to) = instance(&vpc, &network.subnets[1], &network.servers, "");
    let socket = vpc.inside(&server, || UdpSocket::bind((to, 8_080))).expect("bind");
    socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    // A group of its own: the trunk's must not count.
    let request =
        format!("CreateSecurityGroup&VpcId={}&GroupName=branch&GroupDescription=x", network.vpc);
    let group = vpc.ask(&request, "groupId");
    let node = format!(
        "RunInstances&ImageId=ami-1&InstanceType=m5.xlarge&MinCount=1&MaxCount=1&SubnetId={}\
         &SecurityGroupId.1={}",
        network.subnets[0], network.clients
    );
    let node = vpc.ask(&node, "instanceId");
    let create = format!("CreateNetworkInterface&SubnetId={}", network.subnets[0]);
    let trunk = vpc.ask(&format!("{create}&InterfaceType=trunk"), "networkInterfaceId");
    let attach = format!("InstanceId={node}&NetworkInterfaceId={trunk}&DeviceIndex=1");
    vpc.ask(&format!("AttachNetworkInterface&{attach}"), "attachmentId");
    let branch = format!("{create}&Ipv6AddressCount=1&SecurityGroupId.1={group}");
    let branch = vpc.ask(&branch, "networkInterfaceId");
    let find = |element: &str| {
        let find = format!("DescribeNetworkInterfaces&NetworkInterfaceId.1={branch}");
        vpc.ask(&find, element)
    };
    let from: Ipv6Addr = find("ipv6Address").parse().expect("an address");
    let bytes: Vec<u8> = find("macAddress")
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).expect("hex digits"))
        .collect();
    let mac: [u8; 6] = bytes.try_into().expect("a MAC");
    let associate = format!("TrunkInterfaceId={trunk}&BranchInterfaceId={branch}&VlanId=7");
    vpc.ask(&format!("AssociateTrunkInterface&{associate}"), "associationId");
    ip(&vpc, &node, "link set eth1 up");
    let tap = vpc.inside(&node, || raw::Tap::open("eth1")).expect("a tap");
    let arrives = |vlan: u16| {
        let packet = datagram(from, to, 8_080);
        tap.send(&raw::frame(ROUTER_MAC, mac, Some(vlan), raw::IPV6, &packet));
        let mut bytes = [0; 16];
        socket.recv_from(&mut bytes).ok().map(|(length, peer)| {
            assert_eq!((&bytes[..length], peer), (&b"tagged"[..], (from, 4_000).into()));
        })
    };
    let rule = |group: &str| {
        let peer = format!("Groups.1.GroupId={group}");
        authorize(&network.servers, 8_080, &peer).replace("=tcp", "=udp")
    };
    assert_eq!(arrives(7), None, "no rule lets it in");
    vpc.ask(&rule(&network.clients), "return");
    assert_eq!(arrives(7), None, "the trunk's group is not the branch's");
    vpc.ask(&rule(&group), "return");
    assert_eq!(arrives(7), Some(()), "its own is");
    assert_eq!(arrives(8), None, "nobody has that tag");

    socket.send_to(b"answer", (from, 4_000)).expect("send");
    let fits = |frame: &raw::Arrived| frame.bytes.ends_with(b"answer");
    let answer = tap.wait(SOON, fits).expect("an answer at the trunk");
    assert_eq!((answer.vlan, &answer.bytes[..6]), (Some(7), &mac[..]));
    let unassign = format!("UnassignIpv6Addresses&NetworkInterfaceId={branch}");
    vpc.ask(&format!("{unassign}&Ipv6Addresses.1={from}"), "networkInterfaceId");
    assert_eq!(arrives(7), None, "the address is not its own any more");
}

#[test]
fn every_address_of_a_delegated_prefix_is_the_interfaces() {
    let vpc = Vpc::start(&[]);
    let network = network(&vpc);
    let (client, _) = instance(&vpc, &network.subnets[0], &network.clients, "");
    let (server, to) = instance(&vpc, &network.subnets[1], &network.servers, "");
    serve(&vpc, &server, 8_080);
    let eni =
        |of: &str| vpc.ask(&format!("DescribeInstances&InstanceId.1={of}"), "networkInterfaceId");
    let assign = |of: &str| {
        let request =
            format!("AssignIpv6Addresses&NetworkInterfaceId={}&Ipv6PrefixCount=1", eni(of));
        vpc.ask(&request, "networkInterfaceId");
        let find = format!("DescribeNetworkInterfaces&NetworkInterfaceId.1={}", eni(of));
        vpc.ask(&find, "ipv6Prefix")
    };
    let prefixes = [&client, &server].map(|instance| assign(instance));
    let [from, behind] = prefixes.clone().map(|prefix| {
        let (base, _) = prefix.split_once('/').expect("a prefix");
        let base: Ipv6Addr = base.parse().expect("an address");
        Ipv6Addr::from_bits(base.to_bits() | 0xabcd_0000_0007)
    });
    ip(&vpc, &server, &format!("address add {behind}/128 dev eth0 nodad"));
    ip(&vpc, &client, &format!("address add {from}/128 dev eth0 nodad"));
    ip(
        &vpc,
        &client,
        &format!("-6 route replace default via fe80::68:72ff:fe00:1 dev eth0 src {from}"),
    );
    let peer = format!("Ipv6Ranges.1.CidrIpv6={}", prefixes[0]);
    vpc.ask(&authorize(&network.servers, 8_080, &peer), "return");
    let seen = Some(from.to_string());
    assert_eq!(reach(&vpc, &client, to, 8_080), seen, "from an address of the prefix");
    assert_eq!(reach(&vpc, &client, behind, 8_080), seen, "to an address of the other's");
    vpc.ask(&format!("RevokeSecurityGroupIngress&GroupId={}&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=8080&IpPermissions.1.ToPort=8080&IpPermissions.1.{peer}", network.servers), "return");
    let peer = format!("Groups.1.GroupId={}", network.clients);
    vpc.ask(&authorize(&network.servers, 8_080, &peer), "return");
    assert_eq!(reach(&vpc, &client, behind, 8_080), seen, "its group counts for them");
    let unassign = format!("UnassignIpv6Addresses&NetworkInterfaceId={}", eni(&server));
    vpc.ask(&format!("{unassign}&Ipv6Prefix.1={}", prefixes[1]), "networkInterfaceId");
    assert_eq!(reach(&vpc, &client, behind, 8_080), None, "the prefix is gone");
    assert_eq!(reach(&vpc, &client, to, 8_080), seen, "its other address is not");
}
