//! IPv6 by internet gateways and egress-only ones, by the API alone. Needs root.

#[path = "harness/bulk.rs"]
mod bulk;
#[path = "outside_ipv6/lab.rs"]
mod lab;
mod restarting;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

use lab::{Lab, SILENCE, SOON};
use nix::sys::signal::Signal;
use restarting::TIMEOUT;

/// Some of the Internet's own.
const SERVER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x203, 0x113, 0, 0, 0, 7);
const ELSEWHERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x203, 0x113, 0, 0, 0, 8);
/// What those have that name none of their own.
const ITSELF: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x203, 0x113, 0, 0, 0, 1);

fn says(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).expect("send");
    let mut got = vec![0; bytes.len()];
    to.set_read_timeout(Some(SOON)).expect("timeout");
    to.read_exact(&mut got).expect("receive");
    assert_eq!(got, bytes);
}

/// Whether an echo request is answered.
fn ping(lab: &Lab, from: &str, to: Ipv6Addr, id: u8) -> bool {
    lab.vpc.inside(from, || {
        // SAFETY: a plain socket call; the descriptor is new and ours.
        let socket = unsafe {
            let fd = libc::socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6);
            assert!(fd >= 0, "raw socket: {}", std::io::Error::last_os_error());
            UdpSocket::from(OwnedFd::from_raw_fd(fd))
        };
        socket.set_read_timeout(Some(SILENCE)).expect("timeout");
        // The kernel writes the checksum.
        socket.send_to(&[128, 0, 0, 0, 0, id, 0, 1], (to, 0)).expect("send");
        let mut bytes = [0; 100];
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline
            && let Ok((length, from)) = socket.recv_from(&mut bytes)
        {
            if bytes[..length] == [129, 0, bytes[2], bytes[3], 0, id, 0, 1] {
                assert_eq!(from.ip(), to);
                return true;
            }
        }
        false
    })
}

#[test]
fn an_internet_gateway_takes_ipv6_as_it_is_both_ways_and_over_kill_9() {
    let mut lab = Lab::new("six");
    let network = lab.network("10.0.0.0/16");
    let subnet = lab.subnet(&network, "10.0.1.0/24", 1);
    let client = lab.instance(&network, &subnet);
    let listener = lab.listen("internet", (SERVER, 443));
    let mut near = lab.connect(&client.id, (SERVER, 443)).expect("out");
    let (mut far, peer) = listener.accept().expect("accept");
    assert_eq!(peer.ip(), client.address, "nothing is exchanged");
    says(&mut near, &mut far, b"question");
    says(&mut far, &mut near, b"answer");
    assert!(ping(&lab, &client.id, SERVER, 1), "an echo and its reply");

    let inside = lab.listen(&client.id, (client.address, 80));
    let comes_in = |lab: &Lab| lab.connect("internet", (client.address, 80)).is_ok();
    assert!(!comes_in(&lab), "no rule lets it in");
    lab.dropped("ingress_groups", Some(&client), client.address);
    lab.ingress(
        "Authorize",
        &network,
        "tcp&IpPermissions.1.FromPort=80&IpPermissions.1.ToPort=80",
        &format!("{ITSELF}/128"),
    );
    assert!(comes_in(&lab), "by the rule");
    assert_eq!(inside.accept().expect("accept").1.ip(), ITSELF);
    assert!(!ping(&lab, "internet", client.address, 2));
    lab.ingress(
        "Authorize",
        &network,
        "icmpv6&IpPermissions.1.FromPort=-1&IpPermissions.1.ToPort=-1",
        "::/0",
    );
    assert!(ping(&lab, "internet", client.address, 3), "by the rule");

    // An address of the block that nobody has.
    let [.., last] = client.address.segments();
    let mut nobody = client.address.segments();
    nobody[7] = last + 1;
    let nobody = Ipv6Addr::from(nobody);
    assert!(lab.connect("internet", (nobody, 80)).is_err());
    lab.dropped("unknown_public_address", None, nobody);

    // Lists guard both ways.
    let find = format!("DescribeNetworkAcls&Filter.1.Name=vpc-id&Filter.1.Value.1={}", network.id);
    let acl = lab.vpc.ask(&find, "networkAclId");
    for (egress, reason, blocked) in
        [(false, "network_acl_ingress", client.address), (true, "network_acl_egress", ELSEWHERE)]
    {
        let entry = format!("NetworkAclId={acl}&RuleNumber=50&Egress={egress}");
        let create = format!(
            "CreateNetworkAclEntry&{entry}&RuleAction=deny&Protocol=6&PortRange.From=0\
             &PortRange.To=1000&Ipv6CidrBlock=2001:db8::/32"
        );
        lab.vpc.ask(&create, "return");
        let blocks = match egress {
            false => !comes_in(&lab),
            true => lab.connect(&client.id, (ELSEWHERE, 444)).is_err(),
        };
        assert!(blocks, "{reason}");
        lab.dropped(reason, Some(&client), blocked);
        lab.vpc.ask(&format!("DeleteNetworkAclEntry&{entry}"), "return");
    }

    says(&mut near, &mut far, b"still there");
    lab.vpc.end(Signal::SIGKILL);
    says(&mut near, &mut far, b"while no process runs");
    assert!(comes_in(&lab), "and new ones");
    lab.vpc.start(false);
    says(&mut near, &mut far, b"after the start");
    says(&mut far, &mut near, b"both ways");
    assert!(comes_in(&lab) && ping(&lab, &client.id, SERVER, 4));

    // Routes count for the next packet, in and out.
    lab.route("DeleteRoute", &network, "");
    near.write_all(b"lost").expect("into the buffer");
    lab.dropped("no_route", Some(&client), SERVER);
    assert!(!comes_in(&lab), "nothing leads back");
    lab.dropped("no_route", Some(&client), client.address);
    lab.route("CreateRoute", &network, &format!("GatewayId={}", network.gateway));
    far.read_exact(&mut [0; 4]).expect("sent again");
    assert!(comes_in(&lab));
    let detach =
        format!("DetachInternetGateway&InternetGatewayId={}&VpcId={}", network.gateway, network.id);
    lab.vpc.ask(&detach, "return");
    assert!(!comes_in(&lab) && !ping(&lab, &client.id, SERVER, 5));
    lab.dropped("blackhole", Some(&client), client.address);
    lab.dropped("blackhole", Some(&client), SERVER);
}

#[test]
fn an_egress_only_gateway_lets_in_what_began_inside_and_nothing_else() {
    let mut lab = Lab::new("eigw");
    let network = lab.network("10.0.0.0/16");
    let subnet = lab.subnet(&network, "10.0.1.0/24", 1);
    let client = lab.instance(&network, &subnet);
    // Everything may come in and go out: groups track none of it.
    lab.ingress("Authorize", &network, "-1", "::/0");
    let inside = lab.listen(&client.id, (client.address, 80));
    let comes_in = |lab: &Lab| lab.connect("internet", (client.address, 80)).is_ok();
    assert!(comes_in(&lab), "by the internet gateway");
    inside.accept().expect("accept");
    let egress = lab.egress_gateway(&network);
    lab.route("ReplaceRoute", &network, &format!("EgressOnlyInternetGatewayId={egress}"));

    assert!(!comes_in(&lab), "whatever groups say");
    lab.dropped("egress_only", Some(&client), client.address);
    assert!(!ping(&lab, "internet", client.address, 1));
    let listener = lab.listen("internet", (SERVER, 443));
    let mut near = lab.connect(&client.id, (SERVER, 443)).expect("out");
    let (mut far, peer) = listener.accept().expect("accept");
    assert_eq!(peer.ip(), client.address);
    says(&mut near, &mut far, b"question");
    says(&mut far, &mut near, b"answer");
    assert!(ping(&lab, &client.id, SERVER, 2), "an echo and its reply");
    lab.vpc.end(Signal::SIGKILL);
    says(&mut near, &mut far, b"while no process runs");
    assert!(!comes_in(&lab));
    lab.vpc.start(false);
    says(&mut far, &mut near, b"after the start");
    assert!(!comes_in(&lab));

    let near = lab.udp(&client.id, (client.address, 4000));
    let far = lab.udp("internet", (SERVER, 53));
    far.send_to(b"unasked", (client.address, 4000)).expect("send");
    assert!(near.recv(&mut [0; 8]).is_err(), "nobody asked");
    near.send_to(b"ask", (SERVER, 53)).expect("send");
    let (_, from) = far.recv_from(&mut [0; 8]).expect("received");
    far.send_to(b"tell", from).expect("send");
    assert_eq!(near.recv(&mut [0; 8]).expect("the answer"), 4);
    let other = lab.udp("internet", (SERVER, 54));
    other.send_to(b"unasked", from).expect("send");
    assert!(near.recv(&mut [0; 8]).is_err(), "another port of who was asked");
    let socket = lab.udp(&client.id, (client.address, 4001));
    socket.connect((SERVER, 9)).expect("connect");
    socket.send(b"anyone").expect("send");
    let kind = socket.recv(&mut [0; 4]).expect_err("refused").kind();
    assert_eq!(kind, ErrorKind::ConnectionRefused, "the error of what began inside comes in");

    let delete = format!("DeleteEgressOnlyInternetGateway&EgressOnlyInternetGatewayId={egress}");
    lab.vpc.ask(&delete, "returnCode");
    assert!(lab.connect(&client.id, (SERVER, 443)).is_err());
    lab.dropped("blackhole", Some(&client), SERVER);
    assert!(!comes_in(&lab));
    lab.dropped("blackhole", Some(&client), client.address);
}

#[test]
fn from_one_vpc_to_another_the_way_is_out_and_in_again() {
    let lab = Lab::new("twovpcs");
    let [one, two] = ["10.0.0.0/16", "10.1.0.0/16"].map(|v4| lab.network(v4));
    for network in [&one, &two] {
        lab.write_flow_log(network);
    }
    let first = lab.instance(&one, &lab.subnet(&one, "10.0.1.0/24", 1));
    let second = lab.instance(&two, &lab.subnet(&two, "10.1.1.0/24", 1));
    let listener = lab.listen(&second.id, (second.address, 80));
    assert!(lab.connect(&first.id, (second.address, 80)).is_err(), "no rule");
    lab.dropped("ingress_groups", Some(&second), second.address);
    lab.ingress(
        "Authorize",
        &two,
        "tcp&IpPermissions.1.FromPort=80&IpPermissions.1.ToPort=80",
        &format!("{}/128", first.address),
    );
    let mut near = lab.connect(&first.id, (second.address, 80)).expect("by the rule");
    let (mut far, peer) = listener.accept().expect("accept");
    assert_eq!(peer.ip(), first.address);
    says(&mut near, &mut far, b"there");
    says(&mut far, &mut near, b"and back");

    // The one that asks may be behind an egress-only gateway, the other not.
    let egress = [&one, &two].map(|network| lab.egress_gateway(network));
    let target = |n: usize| format!("EgressOnlyInternetGatewayId={}", egress[n]);
    lab.route("ReplaceRoute", &one, &target(0));
    lab.connect(&first.id, (second.address, 80)).expect("out by the one, in by the other");
    lab.route("ReplaceRoute", &two, &target(1));
    assert!(lab.connect(&first.id, (second.address, 80)).is_err());
    lab.dropped("egress_only", Some(&second), second.address);

    let (near, far) = (first.address, second.address);
    for (instance, from, to, rest) in [
        (&first, near, far, "egress 8 IPv6 -"),
        (&first, far, near, "ingress - IPv6 -"),
        (&second, near, far, "ingress - IPv6 -"),
        (&second, near, far, "ingress - IPv6 ingress_groups"),
        (&second, near, far, "ingress - IPv6 egress_only"),
    ] {
        lab.logged(instance, &format!("{from} {to} {from} {to} {rest}"));
    }
}

fn set(socket: &impl AsRawFd, name: i32, value: i32) {
    // SAFETY: the pointer is to a value of the size given.
    let set = unsafe {
        let (level, size) = (libc::IPPROTO_IPV6, size_of_val(&value) as u32);
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size)
    };
    assert_eq!(set, 0, "option {name}: {}", std::io::Error::last_os_error());
}

/// What the kernel believes of the way that a connected socket's packets go.
fn believed(socket: &UdpSocket) -> i32 {
    let (mut value, mut size) = (0, size_of::<i32>() as u32);
    // SAFETY: the pointers are to a value and its size.
    let got = unsafe {
        let at = (&raw mut value).cast();
        let name = libc::IPV6_MTU;
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_IPV6, name, at, &raw mut size)
    };
    assert_eq!(got, 0, "IPV6_MTU");
    value
}

#[test]
fn what_is_too_large_for_a_gateway_is_answered_with_its_size() {
    let lab = Lab::new("big");
    let network = lab.network("10.0.0.0/16");
    let subnet = lab.subnet(&network, "10.0.1.0/24", 1);
    let client = lab.instance(&network, &subnet);
    let far = lab.udp("internet", (SERVER, 9));
    let near = lab.udp(&client.id, (client.address, 4000));
    set(&near, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO);
    near.connect((SERVER, 9)).expect("connect");
    assert_eq!(believed(&near), 9001);
    near.send(&[7; 1453]).expect("send");
    lab.dropped("packet_too_big", Some(&client), SERVER);
    assert_eq!(believed(&near), 1500, "the kernel took it for its own flow");
    let told = near.take_error().expect("ask").and_then(|error| error.raw_os_error());
    assert_eq!(told, Some(libc::EMSGSIZE));
    near.send(&[7; 1453]).expect_err("known by now");
    near.send(&[7; 1452]).expect("what fits");
    assert_eq!(far.recv(&mut [0; 2000]).expect("received"), 1452);
    // In fragments, which only a sender makes in IPv6.
    set(&near, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_WANT);
    let long: Vec<u8> = (0..8_000).map(|n: u32| (n / 7) as u8).collect();
    near.send(&long).expect("send");
    let mut got = vec![0; 9_000];
    let (length, from) = far.recv_from(&mut got).expect("reassembled outside");
    assert!(got[..length] == long);
    far.send_to(&long, from).expect("send back");
    assert_eq!(near.recv(&mut got).expect("reassembled inside"), 8_000);

    // A narrower link beyond, of which its router tells.
    lab.outside("link add far0 mtu 1400 type veth peer name far1 mtu 1400");
    lab.outside("link set far0 up");
    lab.outside("link set far1 up");
    lab.outside("-6 route add 2001:db8:1::/64 dev far0");
    let near = lab.udp(&client.id, (client.address, 4001));
    set(&near, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO);
    near.connect((Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 9), 9)).expect("connect");
    near.send(&[7; 1452]).expect("what fits the gateway");
    let error = near.recv(&mut [0; 8]).expect_err("too big").raw_os_error();
    assert_eq!((error, believed(&near)), (Some(libc::EMSGSIZE), 1400));

    // TCP whose segments are above it until it is told.
    let listener = lab.listen("internet", (ELSEWHERE, 443));
    lab.outside("-6 route change 3fff::/20 dev edge0 advmss 8900");
    let near = lab.connect(&client.id, (ELSEWHERE, 443)).expect("out");
    let (far, _) = listener.accept().expect("accept");
    bulk::carries(near, far, 4);
    lab.dropped("packet_too_big", Some(&client), ELSEWHERE);
}
