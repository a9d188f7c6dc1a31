//! Packets by internet gateways and NAT gateways, to servers and clients in the Internet's namespace.

use std::io::ErrorKind;
use std::net::IpAddr;

use hedgerow_vpc::effect::{InterfaceView, RouteTarget};

use super::subnets::{LOCAL, acl, all, entry, routes, subnet};
use super::*;

/// Somebody outside.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
/// The public address of the client.
pub const ELASTIC: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

fn internet() -> RouteTarget {
    RouteTarget::InternetGateway("igw-1".into())
}

/// Subnet 1 with a route to an internet gateway, subnet 2 without; groups that let all out, and
/// one that lets TCP 80 in from outside.
pub fn public_subnet(lab: &Lab) {
    lab.apply(&[Effect::PutInternetGateway { id: "igw-1".into(), vpc: VPC }]);
    routes(lab, 1, &[LOCAL, (ANY, internet())]);
    routes(lab, 2, &[LOCAL]);
    for key in [1, 2] {
        acl(lab, u32::from(key), &all(), &all());
        subnet(lab, key, key.into(), key.into());
    }
    lab.group("sg-out", &[egress("sgr-out", Traffic::All, ANY)]);
    lab.group("sg-web", &[ingress("sgr-web", tcp(80), "203.0.113.0/24")]);
}

fn with_public(mut view: InterfaceView, public: Ipv4Addr) -> InterfaceView {
    view.publics.insert(view.addresses[0], public);
    view
}

/// The client at 10.0.1.10 with the elastic address.
pub fn public_client(lab: &Lab) -> Host {
    lab.host("client", &with_public(interface(1, [1, 10], &["sg-out", "sg-web"]), ELASTIC))
}

pub fn listen_outside(lab: &Lab, port: u16) -> TcpListener {
    lab.outside(|| TcpListener::bind((SERVER, port)).expect("listen outside"))
}

pub fn udp_outside(lab: &Lab, port: u16) -> UdpSocket {
    let socket = lab.outside(|| UdpSocket::bind((SERVER, port)).expect("bind outside"));
    socket.set_read_timeout(Some(SILENCE)).expect("timeout");
    socket
}

fn connect_outside(lab: &Lab, to: SocketAddr) -> std::io::Result<TcpStream> {
    lab.outside(|| TcpStream::connect_timeout(&to, SILENCE))
}

#[test]
fn an_internet_gateway_exchanges_addresses_both_ways() {
    let mut lab = Lab::new();
    public_subnet(&lab);
    let client = public_client(&lab);
    let listener = listen_outside(&lab, 443);
    let mut near = connect_to(&client, (SERVER, 443).into()).expect("out by the gateway");
    let (mut far, peer) = listener.accept().expect("accept");
    assert_eq!(peer.ip(), ELASTIC, "outside only the public address is seen");
    passes(&mut near, &mut far, b"question");
    passes(&mut far, &mut near, b"answer");
    let record = lab.record("accepted", |r| r.destination_port == 443);
    assert_eq!(
        (record.gate.interface.as_deref(), record.source),
        (Some("eni-1"), client.address().into())
    );
    assert_eq!((record.rule, record.other), (Some("sgr-out".into()), None));

    let inside = listen(&client, 80);
    let mut near = connect_outside(&lab, (ELASTIC, 80).into()).expect("in by sgr-web");
    let (mut far, peer) = inside.accept().expect("accept");
    assert_eq!(peer.ip(), Ipv4Addr::new(203, 0, 113, 1), "inside the outside's own address");
    assert_eq!(far.local_addr().expect("address").ip(), client.address());
    passes(&mut near, &mut far, b"GET");
    passes(&mut far, &mut near, b"200");
    let record = lab.record("accepted", |r| r.destination_port == 80);
    assert_eq!((record.gate.direction, record.rule), (Direction::Ingress, Some("sgr-web".into())));
    assert_eq!(record.destination, client.address());

    assert!(connect_outside(&lab, (ELASTIC, 22).into()).is_err(), "no rule");
    let drop = lab.dropped("eni-1", Reason::IngressGroups);
    assert_eq!((drop.destination_port, drop.destination), (22, client.address().into()));
    assert!(connect_outside(&lab, (OTHER, 80).into()).is_err(), "nobody has it");
    let what = "a public address that nobody has";
    let drop = lab.record(what, |r| r.reason == Reason::UnknownPublicAddress);
    assert_eq!((drop.destination, drop.gate.interface), (OTHER.into(), None));
}

#[test]
fn without_a_public_address_or_a_route_nothing_gets_out() {
    let mut lab = Lab::new();
    public_subnet(&lab);
    let listener = listen_outside(&lab, 443);
    let client = lab.host("client", &interface(1, [1, 10], &["sg-out"]));
    let private = lab.host("private", &interface(2, [2, 10], &["sg-out"]));
    let to = (SERVER, 443).into();
    assert!(connect_to(&client, to).is_err());
    assert_eq!(lab.dropped("eni-1", Reason::NoPublicAddress).destination, SERVER);
    assert!(connect_to(&private, to).is_err());
    assert_eq!(lab.dropped("eni-2", Reason::NoRoute).destination, SERVER);

    lab.apply(&[Effect::PutInterface(with_public(client.view.clone(), ELASTIC))]);
    connect_to(&client, to).expect("with a public address");
    assert_eq!(listener.accept().expect("accept").1.ip(), ELASTIC);
    routes(&lab, 1, &[LOCAL, (ANY, RouteTarget::Blackhole)]);
    assert!(connect_to(&client, to).is_err());
    lab.dropped("eni-1", Reason::Blackhole);
    routes(&lab, 1, &[LOCAL, (ANY, internet())]);
    connect_to(&client, to).expect("the route is back");
    lab.apply(&[Effect::RemoveInternetGateway { id: "igw-1".into(), vpc: VPC }]);
    assert!(connect_to(&client, to).is_err());
    assert_eq!(lab.dropped("eni-1", Reason::NoRoute).destination, SERVER);
}

#[test]
fn an_elastic_address_moves_and_is_reached_from_inside_by_the_gateway() {
    let mut lab = Lab::new();
    public_subnet(&lab);
    lab.group("sg-self", &[ingress("sgr-self", tcp(80), "198.18.0.2/32")]);
    let first =
        lab.host("one", &with_public(interface(1, [1, 10], &["sg-web", "sg-self"]), ELASTIC));
    let second = lab.host("two", &with_public(interface(2, [1, 20], &["sg-web", "sg-out"]), OTHER));
    let (at_first, at_second) = (listen(&first, 80), listen(&second, 80));
    let to = (ELASTIC, 80).into();
    connect_outside(&lab, to).expect("the first has it");
    at_first.accept().expect("accept");

    // From one public address to another: out and in again, as somebody from outside.
    let mut near = connect_to(&second, to).expect("hairpin, by the rule for the public address");
    let (mut far, peer) = at_first.accept().expect("accept");
    assert_eq!(peer.ip(), OTHER);
    passes(&mut near, &mut far, b"around");
    passes(&mut far, &mut near, b"and back");
    lab.group("sg-self", &[ingress("sgr-self", tcp(80), "sg-out")]);
    assert!(connect_to(&second, to).is_err(), "outside it is no member of its group");
    assert_eq!(lab.dropped("eni-1", Reason::IngressGroups).source, OTHER);

    // The new owner is told of first, as AssociateAddress may do it.
    let (mut one, mut two) = (first.view.clone(), second.view.clone());
    one.publics.clear();
    two.publics.insert(two.addresses[0], ELASTIC);
    lab.apply(&[Effect::PutInterface(two), Effect::PutInterface(one)]);
    connect_outside(&lab, to).expect("the second has it");
    at_second.accept().expect("accept");
    assert!(connect_outside(&lab, (OTHER, 80).into()).is_err(), "and no longer the other");
}

#[test]
fn icmp_passes_the_internet_gateway_and_its_errors_name_the_right_packet() {
    let lab = Lab::new();
    public_subnet(&lab);
    let client = public_client(&lab);
    let tap = client.run(|| Tap::open("eth0")).expect("packet socket");
    let packet = raw::ipv4(client.address(), SERVER, 1, (1, 0, false), &raw::echo(7));
    tap.send(&raw::frame(ROUTER_MAC, client.view.mac, None, raw::IPV4, &packet));
    let reply = |f: &raw::Arrived| f.bytes.get(34) == Some(&0) && f.bytes[38..40] == [0, 7];
    assert!(tap.wait(SOON, reply).is_some(), "an echo reply");

    // Nobody listens: the error from outside quotes the public address, and must reach the socket.
    let refused = |socket: UdpSocket| {
        socket.send(b"anyone").expect("send");
        socket.recv(&mut [0; 4]).expect_err("refused").kind()
    };
    let socket = bind_udp(&client, 4000);
    socket.connect((SERVER, 9)).expect("connect");
    assert_eq!(refused(socket), ErrorKind::ConnectionRefused);
    lab.group("sg-web", &[ingress("sgr-udp", udp(9), ANY)]);
    let socket = udp_outside(&lab, 4000);
    socket.connect((ELASTIC, 9)).expect("connect");
    assert_eq!(refused(socket), ErrorKind::ConnectionRefused, "and the other way");
}

#[test]
fn fragments_pass_the_internet_gateway() {
    let lab = Lab::new();
    public_subnet(&lab);
    let client = public_client(&lab);
    let (near, far) = (bind_udp(&client, 4000), udp_outside(&lab, 9));
    near.send_to(b"hello", (SERVER, 9)).expect("send");
    let (_, from) = far.recv_from(&mut [0; 8]).expect("received");
    assert_eq!(from, (ELASTIC, 4000).into());
    let long: Vec<u8> = (0..6_000).map(|n: u32| n as u8).collect();
    far.send_to(&long, from).expect("in pieces, the link takes 1,500 bytes");
    let mut got = vec![0; 8_000];
    let (len, from) = near.recv_from(&mut got).expect("reassembled");
    assert_eq!((&got[..len], from), (&long[..], (SERVER, 9).into()));
}

#[test]
fn network_acls_guard_the_way_to_the_gateway() {
    let mut lab = Lab::new();
    public_subnet(&lab);
    let client = public_client(&lab);
    let _listener = listen_outside(&lab, 443);
    acl(&lab, 1, &[entry(100, true, Some(6), Some((0, 1023)))], &all());
    assert!(connect_to(&client, (SERVER, 443).into()).is_err(), "no ephemeral ports");
    let drop = lab.dropped("eni-1", Reason::NetworkAclIngress);
    assert_eq!((drop.source, drop.source_port), (SERVER.into(), 443));
    acl(&lab, 1, &[entry(100, true, Some(6), Some((1024, 65535)))], &all());
    connect_to(&client, (SERVER, 443).into()).expect("with them");
}

const NAT: u32 = 5;
/// Its address.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 5);

fn nat_gateway() -> Effect {
    let (addresses, draining) = (vec![GATEWAY], Vec::new());
    Effect::PutNatGateway { key: 77, vpc: VPC, interface: NAT, addresses, draining }
}

/// The NAT gateway at 10.0.1.5 with `OTHER`, a private client at 10.0.2.10 with a route to it.
pub fn nat_and_client(lab: &Lab) -> Host {
    public_subnet(lab);
    let mut nat = with_public(interface(NAT, [1, 5], &[]), OTHER);
    nat.source_dest_check = false;
    lab.apply(&[Effect::PutInterface(nat), nat_gateway()]);
    routes(lab, 2, &[LOCAL, (ANY, RouteTarget::NatGateway(77))]);
    lab.host("private", &interface(2, [2, 10], &["sg-out"]))
}

#[test]
fn a_nat_gateway_takes_a_private_subnet_out_and_lets_nothing_unasked_in() {
    let mut lab = Lab::new();
    let client = nat_and_client(&lab);
    let listener = listen_outside(&lab, 443);
    let mut near = connect_to(&client, (SERVER, 443).into()).expect("out by the NAT gateway");
    let (mut far, peer) = listener.accept().expect("accept");
    assert_eq!(peer.ip(), OTHER, "the gateway's elastic address");
    passes(&mut near, &mut far, b"question");
    passes(&mut far, &mut near, b"answer");
    let leg = |r: &FlowRecord, at: &str| r.gate.interface.as_deref() == Some(at);
    let first = lab.record("into the gateway", |r| leg(r, "eni-5") && r.source == client.address());
    assert_eq!((first.gate.direction, first.destination), (Direction::Ingress, IpAddr::V4(SERVER)));
    let second =
        lab.record("out of it", |r| leg(r, "eni-5") && r.source == Ipv4Addr::new(10, 0, 1, 5));
    assert_eq!((second.gate.direction, second.source_port), (Direction::Egress, peer.port()));

    // To its address and a port that it gave, but not from who was asked.
    let stranger = lab.outside(|| UdpSocket::bind((SERVER, 444)).expect("bind"));
    stranger.send_to(b"unasked", peer).expect("send");
    assert_eq!(lab.dropped("eni-5", Reason::NatUnsolicited).source_port, 444);
    assert!(connect_outside(&lab, (OTHER, 22).into()).is_err());

    let far = udp_outside(&lab, 53);
    let near = bind_udp(&client, 4000);
    near.send_to(b"ask", (SERVER, 53)).expect("send");
    let (_, from) = far.recv_from(&mut [0; 8]).expect("received");
    assert_eq!(from.ip(), OTHER);
    far.send_to(b"tell", from).expect("send");
    assert_eq!(near.recv(&mut [0; 8]).expect("the answer"), 4);
    let other = udp_outside(&lab, 54);
    other.send_to(b"unasked", from).expect("send");
    assert!(near.recv(&mut [0; 8]).is_err(), "ports are for one destination");
}

#[test]
fn a_nat_gateway_translates_icmp_and_its_errors() {
    let lab = Lab::new();
    let client = nat_and_client(&lab);
    let tap = client.run(|| Tap::open("eth0")).expect("packet socket");
    let packet = raw::ipv4(client.address(), SERVER, 1, (1, 0, false), &raw::echo(7));
    tap.send(&raw::frame(ROUTER_MAC, client.view.mac, None, raw::IPV4, &packet));
    let reply = |f: &raw::Arrived| f.bytes.get(34) == Some(&0) && f.bytes[38..40] == [0, 7];
    assert!(tap.wait(SOON, reply).is_some(), "an echo reply, with the client's own id");
    let socket = bind_udp(&client, 4000);
    socket.connect((SERVER, 9)).expect("connect");
    socket.send(b"anyone").expect("send");
    let kind = socket.recv(&mut [0; 4]).expect_err("refused").kind();
    assert_eq!(kind, ErrorKind::ConnectionRefused, "the error found its socket");

    // The gateway is a hop, and the Internet's namespace the next where it forwards.
    let expired = |ttl| {
        let socket = bind_udp(&client, 4001);
        socket.set_ttl(ttl).expect("TTL");
        socket.send_to(b"trace", (Ipv4Addr::new(198, 18, 0, 99), 33434)).expect("send");
        let from = |f: &raw::Arrived| f.bytes[26..30].try_into().map(u32::from_be_bytes);
        let expired = |f: &raw::Arrived| f.bytes.get(34) == Some(&11);
        let error = tap.wait(SOON, expired).expect("time exceeded");
        assert_eq!(error.bytes[54..58], client.address().octets(), "quotes what was sent");
        assert_eq!(error.bytes[62..66], [[0x0f, 0xa1], [0x82, 0x9a]].concat());
        Ipv4Addr::from_bits(from(&error).expect("address"))
    };
    assert_eq!(expired(1), Ipv4Addr::new(10, 0, 1, 5));
    assert_eq!(expired(2), Ipv4Addr::new(203, 0, 113, 1));
}

#[test]
fn what_no_nat_gateway_serves_stays_inside() {
    let mut lab = Lab::new();
    let client = nat_and_client(&lab);
    let listener = listen_outside(&lab, 443);
    let to = (SERVER, 443).into();
    let mut near = connect_to(&client, to).expect("out");
    let (mut far, _) = listener.accept().expect("accept");
    passes(&mut near, &mut far, b"begun");
    // The list of the gateway's subnet sees both legs: answers come to the gateway's ephemeral ports.
    acl(&lab, 1, &[entry(100, true, Some(6), Some((0, 1023)))], &all());
    far.write_all(b"lost").expect("into the buffer");
    assert_eq!(lab.dropped("eni-5", Reason::NetworkAclIngress).source, SERVER);
    acl(&lab, 1, &all(), &all());
    near.read_exact(&mut [0; 4]).expect("sent again");

    routes(&lab, 2, &[LOCAL, (ANY, RouteTarget::Blackhole)]);
    assert!(connect_to(&client, to).is_err());
    lab.dropped("eni-2", Reason::Blackhole);
    routes(&lab, 2, &[LOCAL, (ANY, RouteTarget::NatGateway(77))]);
    passes(&mut near, &mut far, b"again");
    // A gateway whose own subnet leads to it goes round until the time to live is over.
    routes(&lab, 1, &[LOCAL, (ANY, RouteTarget::NatGateway(77))]);
    assert!(connect_to(&client, to).is_err());
    lab.dropped("eni-5", Reason::TtlExceeded);
    routes(&lab, 1, &[LOCAL, (ANY, internet())]);

    lab.apply(&[Effect::RemoveNatGateway { key: 77 }, Effect::RemoveInterface(NAT)]);
    near.write_all(b"lost").expect("into the buffer");
    assert_eq!(lab.dropped("eni-2", Reason::NoRoute).destination, SERVER);
}

#[test]
fn a_private_nat_gateway_translates_to_its_private_address() {
    let mut lab = Lab::new();
    let client = nat_and_client(&lab);
    let mut nat = interface(NAT, [1, 5], &[]);
    nat.source_dest_check = false;
    lab.apply(&[Effect::PutInterface(nat), nat_gateway()]);
    lab.group("sg-server", &[ingress("sgr-nat", tcp(80), "10.0.1.5/32")]);
    let server = lab.host("server", &interface(8, [3, 20], &["sg-server"]));
    routes(&lab, 2, &[LOCAL, ("10.0.3.0/24", RouteTarget::NatGateway(77))]);
    let listener = listen(&server, 80);
    connect(&client, &server, 80).expect("by the rule for the gateway's address");
    assert_eq!(listener.accept().expect("accept").1.ip(), Ipv4Addr::new(10, 0, 1, 5));
    routes(&lab, 2, &[LOCAL, (ANY, RouteTarget::NatGateway(77))]);
    assert!(connect_to(&client, (SERVER, 443).into()).is_err());
    lab.dropped("eni-5", Reason::NoPublicAddress);
}
