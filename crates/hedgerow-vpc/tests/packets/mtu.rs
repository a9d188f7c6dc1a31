//! Packets that are larger than what their way takes: 9001 bytes inside, 8500 at a NAT gateway, 1500
//! at an internet gateway.

use std::os::fd::AsRawFd;
use std::process::Command;

use super::gateways::{SERVER, listen_outside, nat_and_client, public_client, udp_outside};
use super::subnets::{acl, all, entry};
use super::*;

/// Whether the socket's datagrams may be fragmented.
fn set_fragments(socket: &UdpSocket, may: bool) {
    let value = if may { libc::IP_PMTUDISC_DONT } else { libc::IP_PMTUDISC_DO };
    // SAFETY: the pointer is to a value of the size given.
    let set = unsafe {
        let (level, size) = (libc::IPPROTO_IP, size_of_val(&value) as u32);
        let value = (&raw const value).cast();
        libc::setsockopt(socket.as_raw_fd(), level, libc::IP_MTU_DISCOVER, value, size)
    };
    assert_eq!(set, 0, "IP_MTU_DISCOVER");
}

/// What the kernel believes of the way that a connected socket's packets go.
fn believed(socket: &UdpSocket) -> i32 {
    let (mut value, mut size) = (0, size_of::<i32>() as u32);
    // SAFETY: the pointers are to a value and its size.
    let got = unsafe {
        let at = (&raw mut value).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_MTU, at, &raw mut size)
    };
    assert_eq!(got, 0, "IP_MTU");
    value
}

fn ip(command: &str) {
    let run = Command::new("ip").args(command.split(' ')).status().expect("run ip");
    assert!(run.success(), "ip {command}");
}

/// A datagram that must not be fragmented and is too large; the MTU that the client then knows.
fn discovers(client: &Host, tap: &Tap, size: usize, to: SocketAddr) -> (i32, Ipv4Addr) {
    let socket = bind_udp(client, 4000);
    set_fragments(&socket, false);
    socket.connect(to).expect("connect");
    socket.send(&vec![7; size - 28]).expect("send");
    let error = tap.wait(SOON, |f| f.bytes.get(34..36) == Some(&[3, 4])).expect("ICMP 3/4");
    let quoted = &error.bytes[42..70];
    assert_eq!(quoted[12..16], client.address().octets(), "quotes what was sent");
    assert_eq!(quoted[20..22], 4000u16.to_be_bytes());
    let source: [u8; 4] = error.bytes[26..30].try_into().expect("four bytes");
    let told = u16::from_be_bytes([error.bytes[40], error.bytes[41]]);
    let known = believed(&socket);
    assert_eq!(i32::from(told), known, "the kernel took it for its own flow");
    (known, source.into())
}

#[test]
fn what_must_not_be_fragmented_is_answered_with_the_next_hops_mtu() {
    let mut lab = Lab::new();
    let private = nat_and_client(&lab);
    let client = public_client(&lab);
    let at = |host: &Host| host.run(|| Tap::open("eth0")).expect("packet socket");
    let out: SocketAddr = (SERVER, 9).into();
    let tap = at(&client);
    assert_eq!(discovers(&client, &tap, 1501, out), (1500, Ipv4Addr::new(10, 0, 1, 1)));
    let drop = lab.dropped("eni-1", Reason::PacketTooBig);
    assert_eq!((drop.destination_port, drop.bytes), (9, 1515));

    // By the NAT gateway: first its own limit, then that of the internet gateway behind it, of
    // which the router of the gateway's subnet tells, and the gateway its client.
    let tap = at(&private);
    assert_eq!(discovers(&private, &tap, 9001, out), (8500, Ipv4Addr::new(10, 0, 2, 1)));
    assert_eq!(discovers(&private, &tap, 8500, out), (1500, Ipv4Addr::new(10, 0, 1, 1)));
    lab.dropped("eni-5", Reason::PacketTooBig);

    // Inside: 9001, whatever the links of the instances take.
    lab.group("sg-web", &[ingress("sgr-in", udp(9), ANY)]);
    private.run(|| ip("link set eth0 mtu 20000"));
    let inside = (client.address(), 9).into();
    assert_eq!(discovers(&private, &tap, 9002, inside), (9001, Ipv4Addr::new(10, 0, 2, 1)));

    // The answer must pass the list of the sender's subnet.
    let icmp = entry(100, false, Some(1), None);
    acl(&lab, 1, &[icmp, entry(200, true, None, None)], &all());
    let tap = at(&client);
    let socket = bind_udp(&client, 4001);
    set_fragments(&socket, false);
    socket.send_to(&[7; 2000], (SERVER, 10)).expect_err("known by now");
    socket
        .send_to(&[7; 2000], (Ipv4Addr::new(203, 0, 113, 8), 10))
        .expect("another way, not known yet");
    assert_eq!(tap.wait(SILENCE, |f| f.bytes.get(34..36) == Some(&[3, 4])), None);
}

#[test]
fn what_may_be_fragmented_arrives_whole() {
    let lab = Lab::new();
    let private = nat_and_client(&lab);
    let client = public_client(&lab);
    let far = udp_outside(&lab, 9);
    far.set_read_timeout(Some(SOON)).expect("timeout");
    let fragments = lab.outside(|| Tap::open("edge0")).expect("packet socket");
    for (host, size) in [(&client, 8972), (&private, 8972), (&client, 1473), (&client, 20_000)] {
        let near = bind_udp(host, 4000);
        set_fragments(&near, true);
        let sent: Vec<u8> = (0..size).map(|n: usize| (n * 7 / 3) as u8).collect();
        near.send_to(&sent, (SERVER, 9)).expect("send");
        let mut got = vec![0; 65_536];
        let received = far.recv_from(&mut got);
        let (len, from) = received.unwrap_or_else(|error| panic!("{size} bytes out: {error}"));
        assert!(got[..len] == sent, "{size} bytes, with a right checksum");
        far.send_to(&sent, from).expect("send back");
        near.set_read_timeout(Some(SOON)).expect("timeout");
        let len = near.recv(&mut got).expect("reassembled inside");
        assert!(got[..len] == sent, "{size} bytes back");
        let first = fragments.wait(SOON, |f| f.bytes.get(20) == Some(&0x20)).expect("a first part");
        assert_eq!(first.bytes.len(), 14 + 1500, "as large as fits");
    }
}

/// Sends 4 MiB by a connection whose server takes segments larger than its way does.
fn transfers(client: &Host, listener: &TcpListener) {
    let near = connect_to(client, (SERVER, 443).into()).expect("out");
    let (far, _) = listener.accept().expect("accept");
    bulk::carries(near, far, 4);
}

#[test]
fn tcp_finds_the_size_that_its_way_takes() {
    let mut lab = Lab::new();
    let private = nat_and_client(&lab);
    let client = public_client(&lab);
    lab.outside(|| ip("route change 198.18.0.0/15 dev edge0 src 203.0.113.1 advmss 8940"));
    let listener = listen_outside(&lab, 443);
    transfers(&client, &listener);
    assert_eq!(lab.dropped("eni-1", Reason::PacketTooBig).destination_port, 443);
    transfers(&private, &listener);
    assert_eq!(lab.dropped("eni-5", Reason::PacketTooBig).destination_port, 443);
}
