//! Real packets between namespaces on the fabric, driven by effects alone.

#[path = "packets/gateways.rs"]
mod gateways;
#[allow(dead_code, reason = "made for tests of every kind")]
mod harness;
#[path = "packets/mtu.rs"]
mod mtu;
#[path = "packets/subnets.rs"]
mod subnets;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use harness::bulk;
use harness::raw::{self, Tap};
use harness::*;
use hedgerow_core::reason::Reason;
use hedgerow_core::sg::{Direction, Traffic};
use hedgerow_datapath::fabric::ROUTER_MAC;
use hedgerow_vpc::effect::{Attachment, Effect};
use hedgerow_vpc::wire::{Action, FlowRecord, sweep};

const ANY: &str = "0.0.0.0/0";

/// A client in subnet 1 that may send anything, a server in subnet 2 that lets TCP 5432 in from
/// the client's group.
fn client_and_server(lab: &Lab) -> (Host, Host) {
    lab.group("sg-client", &[egress("sgr-out", Traffic::All, ANY)]);
    lab.group("sg-server", &[ingress("sgr-db", tcp(5432), "sg-client")]);
    let client = lab.host("client", &interface(1, [1, 10], &["sg-client"]));
    let server = lab.host("server", &interface(2, [2, 20], &["sg-server"]));
    (client, server)
}

fn listen(host: &Host, port: u16) -> TcpListener {
    host.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("listen"))
}

fn connect(host: &Host, to: &Host, port: u16) -> std::io::Result<TcpStream> {
    connect_to(host, (to.address(), port).into())
}

fn connect_to(host: &Host, to: SocketAddr) -> std::io::Result<TcpStream> {
    host.run(|| {
        let stream = TcpStream::connect_timeout(&to, SILENCE)?;
        stream.set_read_timeout(Some(SOON))?;
        Ok(stream)
    })
}

fn bind_udp(host: &Host, port: u16) -> UdpSocket {
    let socket = host.run(|| UdpSocket::bind((host.address(), port)).expect("bind"));
    socket.set_read_timeout(Some(SILENCE)).expect("timeout");
    socket
}

/// Sends bytes and expects them at the other end.
fn passes(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).expect("send");
    let mut got = vec![0; bytes.len()];
    to.set_read_timeout(Some(SOON)).expect("timeout");
    to.read_exact(&mut got).expect("receive");
    assert_eq!(got, bytes);
}

#[test]
fn tcp_passes_by_rule_and_is_refused_without() {
    let mut lab = Lab::new();
    let (client, server) = client_and_server(&lab);
    let (allowed, _denied) = (listen(&server, 5432), listen(&server, 5433));
    let mut near = connect(&client, &server, 5432).expect("allowed by sgr-db");
    let (mut far, peer) = allowed.accept().expect("accept");
    assert_eq!(peer.ip(), client.address());
    passes(&mut near, &mut far, b"question");
    passes(&mut far, &mut near, b"answer");

    let out =
        lab.record("accepted at the client", |r| r.gate.interface.as_deref() == Some("eni-1"));
    assert_eq!((out.action(), out.gate.direction), (Action::Accept, Direction::Egress));
    assert_eq!(out.rule, Some("sgr-out".into()));
    let into =
        lab.record("accepted at the server", |r| r.gate.interface.as_deref() == Some("eni-2"));
    assert_eq!((into.gate.direction, into.rule), (Direction::Ingress, Some("sgr-db".into())));
    assert_eq!((into.destination_port, into.protocol), (5432, 6));
    assert_eq!(into.other.as_deref(), Some("eni-1"));

    assert!(connect(&client, &server, 5433).is_err(), "no rule for 5433");
    let drop = lab.dropped("eni-2", Reason::IngressGroups);
    assert_eq!((drop.destination_port, drop.rule.clone()), (5433, None));
    assert_eq!(drop.gate.groups, vec!["sg-server".into()]);
    let line = drop.line("123456789012");
    let expected = format!("2 123456789012 eni-2 10.0.1.10 10.0.2.20 {} 5433 6 ", drop.source_port);
    assert!(line.starts_with(&expected), "{line}");
    assert!(line.ends_with(" REJECT OK groups=sg-server reason=ingress_groups rule=-"), "{line}");

    assert!(connect(&server, &client, 22).is_err(), "the server's group has no egress rule");
    assert_eq!(lab.dropped("eni-2", Reason::EgressGroups).gate.direction, Direction::Egress);
}

#[test]
fn bulk_tcp_passes_with_segmentation_offload() {
    let lab = Lab::new();
    let (client, server) = client_and_server(&lab);
    let listener = listen(&server, 5432);
    let near = connect(&client, &server, 5432).expect("allowed");
    let (far, _) = listener.accept().expect("accept");
    let start = Instant::now();
    bulk::carries(near, far, 16);
    println!("16 MiB in {:?}", start.elapsed());
}

#[test]
fn udp_replies_pass_and_nothing_unasked() {
    let mut lab = Lab::new();
    let (client, server) = client_and_server(&lab);
    lab.group("sg-server", &[ingress("sgr-dns", udp(53), "10.0.1.0/24")]);
    let (near, far) = (bind_udp(&client, 4000), bind_udp(&server, 53));
    let mut bytes = [0; 16];
    near.send_to(b"ask", (server.address(), 53)).expect("send");
    let (_, from) = far.recv_from(&mut bytes).expect("allowed by sgr-dns");
    assert_eq!(from, (client.address(), 4000).into());
    far.send_to(b"tell", from).expect("send");
    assert_eq!(near.recv(&mut bytes).expect("a reply needs no rule"), 4);

    let other = bind_udp(&client, 4001);
    far.send_to(b"unasked", (client.address(), 4001)).expect("send");
    assert!(other.recv(&mut bytes).is_err(), "not a reply");
    assert_eq!(lab.dropped("eni-2", Reason::EgressGroups).destination_port, 4001);
    near.send_to(b"ask", (server.address(), 54)).expect("send");
    assert_eq!(lab.dropped("eni-2", Reason::IngressGroups).destination_port, 54);
}

#[test]
fn icmp_echo_and_errors() {
    let mut lab = Lab::new();
    let (client, server) = client_and_server(&lab);
    let tap = client.run(|| Tap::open("eth0")).expect("packet socket");
    let (mac, from, to) = (client.view.mac, client.address(), server.address());
    let ping = |id| {
        let packet = raw::ipv4(from, to, 1, (id, 0, false), &raw::echo(id));
        tap.send(&raw::frame(ROUTER_MAC, mac, None, raw::IPV4, &packet));
        tap.wait(SILENCE, |f| f.bytes.get(34) == Some(&0) && f.bytes[38..40] == id.to_be_bytes())
    };
    assert_eq!(ping(1), None, "no rule");
    assert_eq!(lab.dropped("eni-2", Reason::IngressGroups).destination_port, 0x0800);
    let echo = Traffic::Icmp { kind: Some(8), code: None };
    lab.group("sg-server", &[ingress("sgr-ping", echo, ANY), ingress("sgr-udp", udp(99), ANY)]);
    let reply = ping(2).expect("echo reply needs no rule");
    assert_eq!(reply.bytes[..12], [mac, ROUTER_MAC].concat());

    // Nobody listens on 99: the port-unreachable about a tracked flow passes as related.
    let socket = bind_udp(&client, 4000);
    socket.connect((to, 99)).expect("connect");
    socket.send(b"anyone").expect("send");
    let refused = socket.recv(&mut [0; 4]).expect_err("refused");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_rule_change_acts_on_new_connections_only() {
    let mut lab = Lab::new();
    let (client, server) = client_and_server(&lab);
    let listener = listen(&server, 5432);
    let mut near = connect(&client, &server, 5432).expect("allowed");
    let (mut far, _) = listener.accept().expect("accept");

    let start = Instant::now();
    lab.group("sg-server", &[]);
    println!("rule change in {:?}", start.elapsed());
    passes(&mut near, &mut far, b"still tracked");
    passes(&mut far, &mut near, b"both ways");
    assert!(connect(&client, &server, 5432).is_err(), "the rule is gone");
    assert_eq!(lab.dropped("eni-2", Reason::IngressGroups).destination_port, 5432);

    lab.group("sg-server", &[ingress("sgr-again", tcp(5432), "sg-client")]);
    connect(&client, &server, 5432).expect("authorized again");
    lab.record("accepted by the new rule", |r| r.rule == Some("sgr-again".into()));
}

#[test]
fn a_change_of_groups_acts_on_new_connections_only() {
    let mut lab = Lab::new();
    let (client, server) = client_and_server(&lab);
    lab.group("sg-other", &[egress("sgr-all", Traffic::All, ANY)]);
    let listener = listen(&server, 5432);
    let mut near = connect(&client, &server, 5432).expect("allowed");
    let (mut far, _) = listener.accept().expect("accept");

    let mut view = client.view.clone();
    view.groups = ["sg-other".into()].into();
    lab.apply(&[Effect::PutInterface(view)]);
    passes(&mut near, &mut far, b"still tracked");
    assert!(connect(&client, &server, 5432).is_err(), "no longer in sg-client");
    let drop = lab.dropped("eni-2", Reason::IngressGroups);
    assert_eq!(drop.other.as_deref(), Some("eni-1"));
    lab.apply(&[Effect::PutInterface(client.view.clone())]);
    connect(&client, &server, 5432).expect("in sg-client again");
}

#[test]
fn a_peer_group_means_its_members_only() {
    let mut lab = Lab::new();
    let (client, server) = client_and_server(&lab);
    let _listener = listen(&server, 5432);
    lab.group("sg-open", &[egress("sgr-all", Traffic::All, ANY)]);
    let stranger = lab.host("stranger", &interface(3, [1, 11], &["sg-open"]));
    connect(&client, &server, 5432).expect("member");
    assert!(connect(&stranger, &server, 5432).is_err(), "not a member");
    let drop = lab.dropped("eni-2", Reason::IngressGroups);
    assert_eq!(drop.source, stranger.address());

    let mut view = stranger.view.clone();
    view.groups.insert("sg-client".into());
    lab.apply(&[Effect::PutInterface(view)]);
    connect(&stranger, &server, 5432).expect("one of two groups suffices");
}

#[test]
fn a_new_interface_with_an_old_address_inherits_no_flow() {
    let mut lab = Lab::new();
    let (client, server) = client_and_server(&lab);
    lab.group("sg-server", &[ingress("sgr-udp", udp(53), "sg-client")]);
    let (near, far) = (bind_udp(&client, 4000), bind_udp(&server, 53));
    let mut bytes = [0; 16];
    near.send_to(b"ask", (server.address(), 53)).expect("send");
    far.recv_from(&mut bytes).expect("allowed");
    lab.apply(&[
        Effect::RemoveInterface(1),
        Effect::RemoveInstance { instance: "i-client".into() },
    ]);

    lab.group("sg-open", &[egress("sgr-all", Traffic::All, ANY)]);
    let heir = lab.host("heir", &interface(7, [1, 10], &["sg-open"]));
    let near = bind_udp(&heir, 4000);
    near.send_to(b"ask", (server.address(), 53)).expect("send");
    assert!(far.recv_from(&mut bytes).is_err(), "the same addresses and ports, another interface");
    assert_eq!(lab.dropped("eni-2", Reason::IngressGroups).other.as_deref(), Some("eni-7"));
}

#[test]
fn forged_and_broken_frames_are_dropped() {
    let mut lab = Lab::new();
    let (client, server) = client_and_server(&lab);
    lab.group("sg-server", &[ingress("sgr-all", Traffic::All, ANY)]);
    let tap = client.run(|| Tap::open("eth0")).expect("packet socket");
    let arrivals = server.run(|| Tap::open("eth0")).expect("packet socket");
    let (mac, from, to) = (client.view.mac, client.address(), server.address());
    let packet = |from, to| raw::ipv4(from, to, 17, (1, 0, false), &raw::udp(1, 9, b"forged"));
    let good = packet(from, to);
    let send = |mac, vlan, packet: &[u8]| {
        tap.send(&raw::frame(ROUTER_MAC, mac, vlan, raw::IPV4, packet));
    };

    send(mac, None, &packet(Ipv4Addr::new(10, 0, 1, 99), to));
    assert_eq!(lab.dropped("eni-1", Reason::SourceAddress).source, Ipv4Addr::new(10, 0, 1, 99));
    send([0x0a, 0, 0, 0, 0, 0x77], None, &good);
    lab.dropped("eni-1", Reason::SourceMac);
    send(mac, Some(5), &good);
    lab.dropped("eni-1", Reason::UnknownVlan);
    send(mac, None, &good[..27]);
    lab.dropped("eni-1", Reason::Malformed);
    send(mac, None, &good[..15]);
    let mut long = good.clone();
    long[3] += 40; // total length past the end of the frame
    send(mac, None, &long);
    let mut short = good.clone();
    short[0] = 0x4f; // header longer than the packet
    send(mac, None, &short);
    send(mac, None, &raw::ipv4(from, to, 6, (1, 0, false), &[0; 12])); // half a TCP header
    send(mac, None, &packet(from, Ipv4Addr::new(224, 0, 0, 251)));
    lab.dropped("eni-1", Reason::Multicast);
    send(mac, None, &packet(from, Ipv4Addr::new(10, 0, 9, 9)));
    lab.dropped("eni-1", Reason::NoRoute);
    assert_eq!(lab.counters().of(Reason::Malformed), 5);
    assert_eq!(arrivals.wait(SILENCE, |f| f.bytes.ends_with(b"forged")), None);

    send(mac, None, &good);
    assert!(arrivals.wait(SOON, |f| f.bytes.ends_with(b"forged")).is_some(), "the control passes");
    let mut unchecked = client.view.clone();
    unchecked.source_dest_check = false;
    lab.apply(&[Effect::PutInterface(unchecked)]);
    send(mac, None, &packet(Ipv4Addr::new(10, 0, 1, 99), to));
    let fits = |f: &raw::Arrived| f.bytes.get(26..30) == Some(&[10, 0, 1, 99]);
    assert!(arrivals.wait(SOON, fits).is_some(), "without source/destination check");
}

#[test]
fn fragments_follow_their_first() {
    let mut lab = Lab::new();
    let (client, server) = client_and_server(&lab);
    lab.group("sg-server", &[ingress("sgr-udp", udp(9), ANY)]);
    let socket = bind_udp(&server, 9);
    let tap = client.run(|| Tap::open("eth0")).expect("packet socket");
    let (mac, from, to) = (client.view.mac, client.address(), server.address());
    let send = |id, offset, more, part: &[u8]| {
        let packet = raw::ipv4(from, to, 17, (id, offset, more), part);
        tap.send(&raw::frame(ROUTER_MAC, mac, None, raw::IPV4, &packet));
    };
    let datagram = raw::udp(1000, 9, &[7; 56]);
    send(21, 32, false, &datagram[32..]);
    lab.dropped("eni-1", Reason::Fragment);
    send(22, 0, true, &datagram[..32]);
    send(22, 32, false, &datagram[32..]);
    let mut bytes = [0; 100];
    assert_eq!(socket.recv(&mut bytes).expect("both parts pass"), 56);
    let denied = raw::udp(1000, 10, &[7; 56]);
    send(23, 0, true, &denied[..32]);
    assert_eq!(lab.dropped("eni-2", Reason::IngressGroups).destination_port, 10);
    send(23, 32, false, &denied[32..]);
    lab.dropped("eni-1", Reason::Fragment);
    assert_eq!(lab.counters().of(Reason::Fragment), 2);
}

#[test]
fn arp_is_answered_by_the_vpc_alone() {
    let lab = Lab::new();
    let (client, _server) = client_and_server(&lab);
    let neighbour = lab.host("neighbour", &interface(3, [1, 11], &["sg-client"]));
    let tap = client.run(|| Tap::open("eth0")).expect("packet socket");
    let beside = neighbour.run(|| Tap::open("eth0")).expect("packet socket");
    let (mac, address) = (client.view.mac, client.address());
    let ask = |last: u8, subnet: u8| {
        let target = Ipv4Addr::new(10, 0, subnet, last);
        tap.send(&raw::frame(raw::BROADCAST, mac, None, raw::ARP, &raw::arp(mac, address, target)));
        let is_reply = |f: &raw::Arrived| {
            f.bytes[12..14] == [8, 6]
                && f.bytes[20..22] == [0, 2]
                && f.bytes[28..32] == target.octets()
        };
        let reply = tap.wait(SILENCE, is_reply)?;
        assert_eq!((&reply.bytes[..6], reply.vlan), (&mac[..], None));
        assert_eq!(reply.bytes[6..12], reply.bytes[22..28]);
        Some(<[u8; 6]>::try_from(&reply.bytes[22..28]).expect("six bytes"))
    };
    assert_eq!(ask(1, 1), Some(ROUTER_MAC));
    assert_eq!(ask(11, 1), Some(neighbour.view.mac));
    assert_eq!(ask(12, 1), None, "nobody has it");
    assert_eq!(ask(10, 1), None, "one's own");
    assert_eq!(ask(20, 2), None, "another subnet");
    assert_eq!(beside.wait(SILENCE, |f| f.bytes[12..14] == [8, 6]), None, "never forwarded");
}

#[test]
fn branches_are_tagged_on_the_trunk() {
    let mut lab = Lab::new();
    let (_client, server) = client_and_server(&lab);
    lab.group("sg-server", &[ingress("sgr-udp", udp(53), "sg-client")]);
    let node = lab.host("node", &interface(4, [1, 40], &["sg-node"]));
    let mut trunk = interface(5, [1, 41], &["sg-node"]);
    trunk.attachment = Some(Attachment::Instance { instance: "i-node".into(), device_index: 3 });
    let mut branch = interface(6, [1, 50], &["sg-client"]);
    branch.attachment = Some(Attachment::Trunk { trunk: 5, vlan: 7 });
    let start = Instant::now();
    lab.apply(&[Effect::PutInterface(trunk.clone())]);
    println!("attached in {:?}", start.elapsed());
    lab.apply(&[Effect::PutInterface(branch.clone())]);
    assert!(!up(&node, "eth3"), "later interfaces appear down");
    set_up(&node, "eth3");

    let tap = node.run(|| Tap::open("eth3")).expect("packet socket");
    let (mac, from, to) = (branch.mac, branch.addresses[0], server.address());
    let ask = raw::arp(mac, from, Ipv4Addr::new(10, 0, 1, 1));
    tap.send(&raw::frame(raw::BROADCAST, mac, Some(7), raw::ARP, &ask));
    let reply = tap.wait(SOON, |f| f.bytes[12..14] == [8, 6]).expect("ARP reply");
    assert_eq!((reply.vlan, &reply.bytes[6..12]), (Some(7), &ROUTER_MAC[..]));

    let socket = bind_udp(&server, 53);
    let packet = raw::ipv4(from, to, 17, (1, 0, false), &raw::udp(4000, 53, b"branch"));
    let send = |mac, vlan| tap.send(&raw::frame(ROUTER_MAC, mac, vlan, raw::IPV4, &packet));
    send(mac, Some(7));
    let mut bytes = [0; 16];
    let (_, peer) = socket.recv_from(&mut bytes).expect("allowed by the branch's group");
    assert_eq!(peer, (from, 4000).into());
    socket.send_to(b"welcome", peer).expect("send");
    let reply = tap.wait(SOON, |f| f.bytes.ends_with(b"welcome")).expect("reply");
    assert_eq!((reply.vlan, &reply.bytes[..6]), (Some(7), &mac[..]));

    send(mac, Some(8));
    lab.dropped("eni-5", Reason::UnknownVlan);
    send(mac, None);
    lab.dropped("eni-5", Reason::SourceMac);
    trunk.attachment = None;
    lab.apply(&[Effect::PutInterface(trunk)]);
    socket.send_to(b"anyone", peer).expect("send");
    assert_eq!(lab.dropped("eni-2", Reason::PeerDown).destination, from);
}

fn flags(host: &Host, link: &str) -> u32 {
    host.run(|| {
        // /sys shows the namespace it was mounted in; ask by ioctl instead.
        // SAFETY: the request is filled by us and by the kernel; the descriptor is closed.
        unsafe {
            let mut request: libc::ifreq = std::mem::zeroed();
            for (to, from) in request.ifr_name.iter_mut().zip(link.bytes()) {
                *to = from as libc::c_char;
            }
            let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
            let asked = libc::ioctl(fd, libc::SIOCGIFFLAGS, &raw mut request);
            libc::close(fd);
            assert_eq!(asked, 0, "link {link} is there");
            request.ifr_ifru.ifru_flags as u32
        }
    })
}

fn up(host: &Host, link: &str) -> bool {
    flags(host, link) & libc::IFF_UP as u32 != 0
}

fn set_up(host: &Host, link: &str) {
    host.run(|| {
        // SAFETY: as in flags.
        unsafe {
            let mut request: libc::ifreq = std::mem::zeroed();
            for (to, from) in request.ifr_name.iter_mut().zip(link.bytes()) {
                *to = from as libc::c_char;
            }
            request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
            let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
            let set = libc::ioctl(fd, libc::SIOCSIFFLAGS, &raw const request);
            libc::close(fd);
            assert_eq!(set, 0, "set {link} up");
        }
    });
}

#[test]
fn services_are_reached_whatever_the_groups() {
    let lab = Lab::new();
    lab.group("sg-closed", &[]);
    let closed = lab.host("closed", &interface(1, [1, 10], &["sg-closed"]));
    let at = SocketAddr::from(([169, 254, 169, 254], 80));
    let listener = lab.run(async |wire| wire.listen_tcp(VPC, at).await).expect("listen");
    listener.set_nonblocking(false).expect("blocking");
    let mut near = connect_to(&closed, at).expect("no group is asked");
    let (mut far, peer) = listener.accept().expect("accept");
    assert_eq!(peer.ip(), closed.address(), "the asking interface's own address");
    passes(&mut near, &mut far, b"GET");
    passes(&mut far, &mut near, b"200");
}

#[test]
fn nothing_is_left_behind() {
    let namespaces = |name: &str| {
        let prefix = format!("hr.{name}.");
        let entries = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|file| file.starts_with(&prefix)).collect::<Vec<_>>()
    };
    let lab = Lab::new();
    let (client, _server) = client_and_server(&lab);
    let name = lab.name.clone();
    assert_eq!(namespaces(&name).len(), 4, "fabric, services, two instances");
    assert!(up(&client, "eth0") && up(&client, "lo"));
    lab.apply(&[
        Effect::RemoveInstance { instance: "i-client".into() },
        Effect::RemoveInterface(1),
    ]);
    assert_eq!(namespaces(&name).len(), 3);
    drop(lab);
    assert_eq!(namespaces(&name), Vec::<String>::new());
    assert_eq!(sweep(&name).expect("sweep"), Vec::<String>::new());
}

#[test]
fn effects_are_idempotent_and_fast() {
    let lab = Lab::new();
    let (client, _server) = client_and_server(&lab);
    lab.apply(&[
        Effect::StartInstance { instance: "i-client".into() },
        Effect::PutInterface(client.view.clone()),
        Effect::RemoveInterface(99),
        Effect::RemoveInstance { instance: "i-none".into() },
        Effect::RemoveGroup { vpc: VPC, group: "sg-none".into() },
    ]);
    assert!(up(&client, "eth0"), "still plugged in");
    let rules: Vec<_> =
        (0..60).map(|n| ingress(&format!("sgr-{n}"), tcp(n * 100), "10.0.0.0/8")).collect();
    let start = Instant::now();
    lab.group("sg-server", &rules);
    let took = start.elapsed();
    println!("60 rules in {took:?}");
    assert!(took < Duration::from_millis(200), "{took:?}");
}
