//! What the subnets' route tables and network ACLs do to packets, and security groups at their edges.

use hedgerow_vpc::effect::{AclEntry, AclView, RouteTableView, RouteTarget, SubnetView};

use super::*;

const TABLE: u32 = 1;
const ACL: u32 = 1;

/// Subnet 10.0.`number`.0/24 with this table and list.
pub fn subnet(lab: &Lab, number: u8, route_table: u32, acl: u32) {
    let block = format!("10.0.{number}.0/24").parse().expect("prefix");
    let id = format!("subnet-{number}");
    let view = SubnetView { id, vpc: VPC, block, block_v6: None, route_table, acl };
    lab.apply(&[Effect::PutSubnet(view)]);
}

pub fn routes(lab: &Lab, key: u32, routes: &[(&str, RouteTarget)]) {
    let parse =
        |(prefix, target): &(&str, RouteTarget)| (prefix.parse().expect("prefix"), target.clone());
    let routes = routes.iter().map(parse).collect();
    let table = RouteTableView { key, id: format!("rtb-{key}"), routes };
    lab.apply(&[Effect::PutRouteTable { vpc: VPC, table }]);
}

pub fn acl(lab: &Lab, key: u32, ingress: &[AclEntry], egress: &[AclEntry]) {
    let (ingress, egress) = (ingress.to_vec(), egress.to_vec());
    let acl = AclView { key, id: format!("acl-{key}"), ingress, egress };
    lab.apply(&[Effect::PutNetworkAcl { vpc: VPC, acl }]);
}

pub fn entry(
    number: u16,
    allow: bool,
    protocol: Option<u8>,
    ports: Option<(u16, u16)>,
) -> AclEntry {
    let cidr = ANY.parse().expect("prefix");
    AclEntry { number, allow, protocol, ports, icmp: None, cidr }
}

pub const TCP: Option<u8> = Some(6);

pub fn all() -> [AclEntry; 1] {
    [entry(100, true, None, None)]
}

pub const LOCAL: (&str, RouteTarget) = ("10.0.0.0/16", RouteTarget::Local);

/// Two subnets with a list and a table each that let everything pass.
fn subnets(lab: &Lab) {
    for key in [1, 2] {
        routes(lab, key, &[LOCAL]);
        acl(lab, key, &all(), &all());
        subnet(lab, key as u8, key, key);
    }
}

#[test]
fn the_route_table_of_the_senders_subnet_decides_at_once() {
    let mut lab = Lab::new();
    subnets(&lab);
    let (client, server) = client_and_server(&lab);
    let listener = listen(&server, 5432);
    let mut near = connect(&client, &server, 5432).expect("local route");
    let (mut far, _) = listener.accept().expect("accept");
    passes(&mut near, &mut far, b"local");

    routes(&lab, TABLE, &[LOCAL, ("10.0.2.0/24", RouteTarget::Blackhole)]);
    near.write_all(b"lost").expect("into the buffer");
    assert_eq!(lab.dropped("eni-1", Reason::Blackhole).destination, server.address());
    passes(&mut far, &mut near, b"the other subnet has its own table");

    routes(&lab, TABLE, &[LOCAL]);
    far.read_exact(&mut [0; 4]).expect("sent again, and the flow is still tracked");
    routes(&lab, TABLE, &[("10.0.1.0/24", RouteTarget::Local)]);
    assert!(connect(&client, &server, 5432).is_err());
    lab.dropped("eni-1", Reason::NoRoute);

    routes(&lab, 3, &[LOCAL]);
    subnet(&lab, 1, 3, ACL);
    connect(&client, &server, 5432).expect("another table for the subnet");
    let gateway = RouteTarget::InternetGateway("igw-1".into());
    routes(&lab, 3, &[LOCAL, (ANY, gateway)]);
    assert!(connect_to(&client, ([198, 51, 100, 1], 80).into()).is_err(), "none is attached");
}

#[test]
fn a_route_to_an_interface_leads_there_whatever_the_destination() {
    let mut lab = Lab::new();
    subnets(&lab);
    let (client, server) = client_and_server(&lab);
    lab.group(
        "sg-box",
        &[ingress("sgr-in", Traffic::All, ANY), egress("sgr-out", Traffic::All, ANY)],
    );
    lab.group("sg-server", &[ingress("sgr-net", udp(9), "10.0.1.0/24")]);
    let middle = lab.host("box", &interface(3, [3, 30], &["sg-box"]));
    let tap = middle.run(|| Tap::open("eth0")).expect("packet socket");
    let (near, far) = (bind_udp(&client, 4000), bind_udp(&server, 9));
    routes(&lab, TABLE, &[LOCAL, ("10.0.2.0/24", RouteTarget::Interface(3))]);
    let send = || near.send_to(b"by the box", (server.address(), 9)).expect("send");
    send();
    assert_eq!(lab.dropped("eni-3", Reason::DestinationAddress).source, client.address());

    let mut view = middle.view.clone();
    view.source_dest_check = false;
    lab.apply(&[Effect::PutInterface(view)]);
    send();
    let at_box = tap.wait(SOON, |f| f.bytes.ends_with(b"by the box")).expect("at the box");
    assert_eq!(at_box.bytes[30..34], server.address().octets());
    assert_eq!(at_box.bytes[..12], [middle.view.mac, ROUTER_MAC].concat());

    let mut bytes = [0; 16];
    assert!(far.recv_from(&mut bytes).is_err(), "the box has not sent it on");
    // Built anew: the kernel left the checksum of the captured one to the device.
    let send_on = |from: u16| {
        let datagram = raw::udp(from, 9, b"by the box");
        let packet = raw::ipv4(client.address(), server.address(), 17, (1, 0, false), &datagram);
        tap.send(&raw::frame(ROUTER_MAC, middle.view.mac, None, raw::IPV4, &packet));
    };
    send_on(4000);
    let (_, from) = far.recv_from(&mut bytes).expect("forwarded, a flow of its own");
    assert_eq!(from, (client.address(), 4000).into());

    lab.group("sg-server", &[ingress("sgr-group", udp(9), "sg-client")]);
    send_on(5);
    assert_eq!(lab.dropped("eni-2", Reason::IngressGroups).source, client.address());
}

#[test]
fn network_acls_judge_every_packet_at_the_edge_of_a_subnet() {
    let mut lab = Lab::new();
    subnets(&lab);
    let (client, server) = client_and_server(&lab);
    lab.group("sg-server", &[ingress("sgr-db", tcp(5432), ANY), egress("sgr-db", tcp(5432), ANY)]);
    let listener = listen(&server, 5432);
    let mut near = connect(&client, &server, 5432).expect("both lists allow all");
    let (mut far, _) = listener.accept().expect("accept");
    passes(&mut near, &mut far, b"open");

    // Into the client's subnet only the well-known ports: answers go to ephemeral ones.
    acl(&lab, ACL, &[entry(100, true, TCP, Some((0, 1023)))], &all());
    far.write_all(b"answer").expect("into the buffer");
    let drop = lab.dropped("eni-1", Reason::NetworkAclIngress);
    assert_eq!((drop.source_port, drop.gate.direction), (5432, Direction::Ingress));
    acl(&lab, ACL, &[entry(100, true, TCP, Some((1024, 65535)))], &all());
    near.read_exact(&mut [0; 6]).expect("sent again");

    // The lower number decides.
    acl(
        &lab,
        ACL,
        &all(),
        &[entry(90, false, TCP, Some((5432, 5432))), entry(100, true, None, None)],
    );
    near.write_all(b"more").expect("into the buffer");
    assert_eq!(lab.dropped("eni-1", Reason::NetworkAclEgress).destination_port, 5432);
    let beside = lab.host("beside", &interface(3, [2, 21], &["sg-server"]));
    connect(&beside, &server, 5432).expect("inside a subnet no list is asked");
    acl(&lab, ACL, &all(), &[]);
    assert!(connect(&client, &server, 5432).is_err(), "what no entry allows is denied");
    subnet(&lab, 1, TABLE, 2);
    far.read_exact(&mut [0; 4]).expect("another list for the subnet");
    let at = SocketAddr::from(([169, 254, 169, 254], 80));
    subnet(&lab, 1, TABLE, ACL);
    let _services = lab.run(async |wire| wire.listen_tcp(VPC, at).await).expect("listen");
    connect_to(&client, at).expect("lists do not concern the VPC's services");
}

#[test]
fn a_flow_that_is_not_tracked_ends_with_its_rule() {
    let mut lab = Lab::new();
    let (client, server) = client_and_server(&lab);
    let out = egress("sgr-out", Traffic::All, ANY);
    lab.group("sg-server", &[ingress("sgr-open", tcp(5432), ANY), out.clone()]);
    let listener = listen(&server, 5432);
    let mut near = connect(&client, &server, 5432).expect("allowed");
    let (mut far, _) = listener.accept().expect("accept");
    passes(&mut near, &mut far, b"untracked");
    passes(&mut far, &mut near, b"both ways");
    lab.group("sg-server", std::slice::from_ref(&out));
    near.write_all(b"cut").expect("into the buffer");
    assert_eq!(lab.dropped("eni-2", Reason::IngressGroups).destination_port, 5432);
    lab.group("sg-server", &[ingress("sgr-open", tcp(5432), ANY)]);
    far.read_exact(&mut [0; 3]).expect("sent again");
    far.write_all(b"cut").expect("into the buffer");
    assert_eq!(lab.dropped("eni-2", Reason::EgressGroups).source_port, 5432);

    // For a prefix, not for everybody: tracked.
    lab.group("sg-server", &[ingress("sgr-net", tcp(5433), "10.0.0.0/8"), out.clone()]);
    let listener = listen(&server, 5433);
    let mut near = connect(&client, &server, 5433).expect("allowed");
    let (mut far, _) = listener.accept().expect("accept");
    passes(&mut near, &mut far, b"tracked");
    lab.group("sg-server", &[]);
    passes(&mut near, &mut far, b"lives on");
}

#[test]
fn the_router_is_no_hop() {
    let lab = Lab::new();
    subnets(&lab);
    let (client, server) = client_and_server(&lab);
    lab.group("sg-server", &[ingress("sgr-udp", udp(9), ANY)]);
    let far = bind_udp(&server, 9);
    let near = bind_udp(&client, 4000);
    near.set_ttl(1).expect("TTL");
    near.send_to(b"one", (server.address(), 9)).expect("send");
    assert_eq!(far.recv(&mut [0; 8]).expect("TTL 1 crosses subnets"), 3);
}
