//! Flow logs count every packet, at both of its ends: live packets, and the lines of the API's flow
//! logs after SIGTERM. Needs root.

#[allow(dead_code, reason = "made for tests of every kind")]
mod harness;
mod running;

use std::io::{BufRead, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use harness::{Lab, SOON, egress, ingress, interface};
use hedgerow_core::sg::Traffic;
use running::Vpc;

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 10);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 20);
/// Of IPv4 and UDP.
const UDP_HEADERS: u64 = 28;
/// Of IPv4 and TCP with timestamps.
const TCP_HEADERS: u64 = 52;
/// What a SYN has more: window scale, segment size, selective acknowledgement.
const SYN_MORE: u64 = 8;

/// A line of a flow log.
#[derive(Debug, PartialEq)]
struct Line {
    interface: String,
    source: (String, u16),
    destination: (String, u16),
    protocol: u8,
    packets: u64,
    bytes: u64,
    flags: u8,
    direction: String,
    action: String,
}

const FORMAT: &str = "%24%7Binterface-id%7D%20%24%7Bsrcaddr%7D%20%24%7Bsrcport%7D%20\
    %24%7Bdstaddr%7D%20%24%7Bdstport%7D%20%24%7Bprotocol%7D%20%24%7Bpackets%7D%20%24%7Bbytes%7D%20\
    %24%7Btcp-flags%7D%20%24%7Bflow-direction%7D%20%24%7Baction%7D";

impl Line {
    fn read(text: &str) -> Line {
        let words: Vec<&str> = text.split(' ').collect();
        let number = |at: usize| words[at].parse().unwrap_or_else(|_| panic!("{text}"));
        Line {
            interface: words[0].into(),
            source: (words[1].into(), number(2) as u16),
            destination: (words[3].into(), number(4) as u16),
            protocol: number(5) as u8,
            packets: number(6),
            bytes: number(7),
            flags: number(8) as u8,
            direction: words[9].into(),
            action: words[10].into(),
        }
    }
}

/// Packets and bytes and flags of the lines at an interface in a direction, from and to these ports.
fn sum(lines: &[Line], interface: &str, direction: &str, ports: [u16; 2]) -> (u64, u64, u8) {
    let fits = |line: &&Line| {
        line.interface == interface
            && line.direction == direction
            && [line.source.1, line.destination.1] == ports
    };
    lines.iter().filter(fits).fold((0, 0, 0), |(packets, bytes, flags), line| {
        (packets + line.packets, bytes + line.bytes, flags | line.flags)
    })
}

/// A client, and a server that lets TCP and UDP 7000 in; a flow log of their VPC.
struct Pair {
    vpc: Vpc,
    client: String,
    server: String,
    /// Their interfaces.
    ends: [String; 2],
}

fn pair() -> Pair {
    // Of 600 s: most lines, if not all, come when the process is asked to end.
    pair_with(&["--flow-log-dir", "{dir}/logs"])
}

fn pair_with(options: &[&str]) -> Pair {
    let vpc = Vpc::start(options);
    let id = vpc.ask("CreateVpc&CidrBlock=10.0.0.0/16", "vpcId");
    let subnet = vpc.ask(&format!("CreateSubnet&VpcId={id}&CidrBlock=10.0.1.0/24"), "subnetId");
    let group = |name: &str| {
        let request = format!("CreateSecurityGroup&VpcId={id}&GroupName={name}&GroupDescription=x");
        vpc.ask(&request, "groupId")
    };
    let (client, server) = (group("client"), group("server"));
    for protocol in ["tcp", "udp"] {
        let rule = format!(
            "AuthorizeSecurityGroupIngress&GroupId={server}&IpPermissions.1.IpProtocol={protocol}\
             &IpPermissions.1.FromPort=7000&IpPermissions.1.ToPort=7000\
             &IpPermissions.1.Groups.1.GroupId={client}"
        );
        vpc.ask(&rule, "return");
    }
    let run = |group: &str, address: Ipv4Addr| {
        let request = format!(
            "RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1\
             &SubnetId={subnet}&SecurityGroupId.1={group}&PrivateIpAddress={address}"
        );
        vpc.ask(&request, "instanceId")
    };
    let (client, server) = (run(&client, CLIENT), run(&server, SERVER));
    let end = |instance: &str| {
        let request = format!(
            "DescribeNetworkInterfaces&Filter.1.Name=attachment.instance-id\
             &Filter.1.Value.1={instance}"
        );
        vpc.ask(&request, "networkInterfaceId")
    };
    let ends = [end(&client), end(&server)];
    vpc.ask(
        &format!(
            "CreateFlowLogs&ResourceType=VPC&ResourceId.1={id}&TrafficType=ALL\
             &LogGroupName=/aws/vpc&DeliverLogsPermissionArn=arn:aws:iam::1:role/r\
             &LogFormat={FORMAT}"
        ),
        "item",
    );
    Pair { vpc, client, server, ends }
}

impl Pair {
    fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for interface in &self.ends {
            let file = format!("logs/cloud-watch-logs/aws/vpc/{interface}-all");
            let text = std::fs::read_to_string(self.vpc.directory.0.join(file));
            let text = text.expect("the flow log");
            // An interval may have been over before, without a packet.
            lines.extend(text.lines().filter(|line| !line.contains(" - ")).map(Line::read));
        }
        lines
    }

    fn udp(&self, instance: &str, address: Ipv4Addr, port: u16) -> UdpSocket {
        let bind = || UdpSocket::bind((address, port)).expect("bind");
        let socket = self.vpc.inside(instance, bind);
        socket.set_read_timeout(Some(SOON)).expect("timeout");
        socket
    }
}

/// Segments that a connection sent and received, and how many it sent again: of `struct tcp_info`.
fn segments(stream: &TcpStream) -> [u64; 3] {
    let mut info = [0u8; 256];
    let mut size = info.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to the array, which outlives the call.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    assert!(result == 0 && size >= 144, "tcp_info has tcpi_segs_in");
    let word = |at: usize| u32::from_ne_bytes(info[at..at + 4].try_into().expect("four")).into();
    [word(136), word(140), word(100)]
}

#[test]
fn every_packet_of_a_flow_is_counted_at_both_ends() {
    let mut pair = pair();
    let client = pair.udp(&pair.client, CLIENT, 6000);
    let server = pair.udp(&pair.server, SERVER, 7000);
    let mut buffer = [0; 200];
    for _ in 0..100 {
        client.send_to(&[1; 100], (SERVER, 7000)).expect("send");
        server.recv(&mut buffer).expect("the rule lets it in");
    }
    for _ in 0..40 {
        server.send_to(&[2; 60], (CLIENT, 6000)).expect("send");
        client.recv(&mut buffer).expect("it is an answer");
    }
    for _ in 0..3 {
        client.send_to(&[3; 10], (SERVER, 7001)).expect("send");
    }
    assert!(pair.vpc.stop(), "a clean exit on SIGTERM");
    let lines = pair.lines();
    let [near, far] = pair.ends.each_ref().map(String::as_str);
    let (there, back) = ((100, 100 * (100 + UDP_HEADERS), 0), (40, 40 * (60 + UDP_HEADERS), 0));
    for (interface, out, into) in [(near, there, back), (far, back, there)] {
        let (asked, answered) = ([6000, 7000], [7000, 6000]);
        let of = |direction: &str, ports| sum(&lines, interface, direction, ports);
        let ports = if interface == near { [asked, answered] } else { [answered, asked] };
        assert_eq!(of("egress", ports[0]), out, "{lines:#?}");
        assert_eq!(of("ingress", ports[1]), into, "{lines:#?}");
    }
    let refused = sum(&lines, far, "ingress", [6000, 7001]);
    assert_eq!(refused, (3, 3 * (10 + UDP_HEADERS), 0), "{lines:#?}");
    let of_port = |line: &&Line| line.destination.1 == 7001;
    let mut gates: Vec<(&str, &str)> =
        lines.iter().filter(of_port).map(|l| (l.interface.as_str(), l.action.as_str())).collect();
    gates.dedup();
    assert_eq!(gates, [(far, "REJECT")], "at the gate that refused, and nowhere else");
}

#[test]
fn segments_are_counted_as_on_a_wire() {
    const BYTES: usize = 4 << 20;
    let mut pair = pair();
    let listen = || TcpListener::bind((SERVER, 7000)).expect("listen");
    let listener = pair.vpc.inside(&pair.server, listen);
    let target = SocketAddr::from((SERVER, 7000));
    let mut near =
        pair.vpc.inside(&pair.client, || TcpStream::connect(target).expect("the rule lets it in"));
    let (mut far, peer) = listener.accept().expect("accept");
    let read = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).map(|_| (bytes.len(), far))
    });
    near.write_all(&vec![7; BYTES]).expect("send");
    near.shutdown(std::net::Shutdown::Write).expect("end");
    let (received, far) = read.join().expect("the reader").expect("receive");
    assert_eq!(received, BYTES);
    drop(far);
    assert_eq!(near.read(&mut [0]).expect("the other end"), 0);
    let [sent, got, again] = segments(&near);
    assert!(pair.vpc.stop(), "a clean exit on SIGTERM");
    let lines = pair.lines();
    let [near, far] = pair.ends.each_ref().map(String::as_str);
    let (there, back) = ([peer.port(), 7000], [7000, peer.port()]);
    let (packets, bytes, flags) = sum(&lines, near, "egress", there);
    assert_eq!((packets, flags), (sent, 3), "SYN and FIN: {lines:#?}");
    if again == 0 {
        assert_eq!(bytes, BYTES as u64 + packets * TCP_HEADERS + SYN_MORE, "{lines:#?}");
    }
    assert_eq!(sum(&lines, far, "ingress", there), (packets, bytes, flags));
    let (packets, bytes, flags) = sum(&lines, near, "ingress", back);
    assert_eq!((packets, flags), (got, 19), "SYN with ACK, and FIN: {lines:#?}");
    assert!(bytes >= packets * TCP_HEADERS + SYN_MORE, "{lines:#?}");
    assert_eq!(sum(&lines, far, "egress", back), (packets, bytes, flags));
}

#[test]
fn flow_logs_come_by_standard_output() {
    let mut pair = pair_with(&["--flow-log-dir", "-", "--flow-log-interval", "1"]);
    let client = pair.udp(&pair.client, CLIENT, 5000);
    let server = pair.udp(&pair.server, SERVER, 7000);
    client.send_to(b"x", (SERVER, 7000)).expect("send");
    server.recv(&mut [0; 8]).expect("it passes");
    let (mut lines, mut text) = (Vec::new(), String::new());
    // The client's line and the server's, between those of intervals without a packet.
    while lines.len() < 2 {
        text.clear();
        assert!(pair.vpc.output.read_line(&mut text).expect("read") > 0, "it ended: {lines:?}");
        if !text.contains(" - ") {
            lines.push(Line::read(text.trim_end()));
        }
    }
    for (end, direction) in pair.ends.iter().zip(["egress", "ingress"]) {
        let said = sum(&lines, end, direction, [5000, 7000]);
        assert_eq!(said, (1, UDP_HEADERS + 1, 0), "{lines:#?}");
    }
}

#[test]
fn only_interfaces_with_a_flow_log_are_counted() {
    let lab = Lab::new();
    lab.group(
        "sg-all",
        &[
            egress("sgr-out", Traffic::All, "0.0.0.0/0"),
            ingress("sgr-in", Traffic::All, "0.0.0.0/0"),
        ],
    );
    let plain = [1, 2]
        .map(|key| lab.host(&format!("h{key}"), &interface(key, [1, 10 + key as u8], &["sg-all"])));
    let mut view = interface(3, [1, 30], &["sg-all"]);
    view.logged = true;
    let logged = lab.host("h3", &view);
    let socket =
        |host: &harness::Host| host.run(|| UdpSocket::bind((host.address(), 7000)).expect("bind"));
    let sockets = [socket(&plain[0]), socket(&plain[1]), socket(&logged)];
    let exchange = |from: usize, to: usize| {
        let target = sockets[to].local_addr().expect("bound");
        sockets[to].set_read_timeout(Some(SOON)).expect("timeout");
        for _ in 0..5 {
            sockets[from].send_to(b"x", target).expect("send");
            sockets[to].recv(&mut [0; 8]).expect("it passes");
        }
    };
    exchange(0, 1);
    exchange(0, 2);
    exchange(2, 1);
    let counts = lab.run(async |wire| {
        let mut counts = Vec::new();
        // What was counted up to a call comes with the next one.
        for _ in 0..2 {
            let more = wire.flow_counts().await.expect("counts");
            assert_eq!(more.missed, 0);
            counts.extend(more.counts);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        counts
    });
    let mut told: Vec<(Option<&str>, Option<&str>, IpAddr, u64)> =
        counts.iter().map(|c| (c.from.as_deref(), c.to.as_deref(), c.source, c.packets)).collect();
    told.sort();
    assert_eq!(
        told,
        [
            (Some("eni-1"), Some("eni-3"), plain[0].address().into(), 5),
            (Some("eni-3"), Some("eni-2"), logged.address().into(), 5),
        ]
    );
    let mut view = logged.view.clone();
    view.logged = false;
    lab.apply(&[hedgerow_vpc::effect::Effect::PutInterface(view)]);
    exchange(0, 2);
    let counts = lab.run(async |wire| {
        let mut counts = wire.flow_counts().await.expect("counts").counts;
        counts.extend(wire.flow_counts().await.expect("counts").counts);
        counts
    });
    assert_eq!(counts, [], "its flow log is gone");
}

#[test]
fn packets_of_ipv6_are_counted_too() {
    let mut pair = pair();
    let network =
        pair.vpc.ask("DescribeVpcs&Filter.1.Name=cidr&Filter.1.Value.1=10.0.0.0/16", "vpcId");
    let associate =
        format!("AssociateVpcCidrBlock&VpcId={network}&AmazonProvidedIpv6CidrBlock=true");
    pair.vpc.ask(&associate, "associationId");
    let block = pair.vpc.ask(&format!("DescribeVpcs&VpcId.1={network}"), "ipv6CidrBlock");
    let block = block.strip_suffix("00::/56").expect("a /56");
    let subnet = format!("DescribeSubnets&Filter.1.Name=vpc-id&Filter.1.Value.1={network}");
    let subnet = pair.vpc.ask(&subnet, "subnetId");
    let associate =
        format!("AssociateSubnetCidrBlock&SubnetId={subnet}&Ipv6CidrBlock={block}01::/64");
    pair.vpc.ask(&associate, "associationId");
    let addresses = pair.ends.each_ref().map(|interface| {
        let assign =
            format!("AssignIpv6Addresses&NetworkInterfaceId={interface}&Ipv6AddressCount=1");
        pair.vpc.ask(&assign, "networkInterfaceId");
        let find = format!("DescribeNetworkInterfaces&NetworkInterfaceId.1={interface}");
        pair.vpc.ask(&find, "ipv6Address").parse::<Ipv6Addr>().expect("an address")
    });
    let [client, server] = [(&pair.client, 6000), (&pair.server, 7000)];
    let socket = |(instance, port): (&String, u16), address: Ipv6Addr| {
        let bind = || UdpSocket::bind((address, port)).expect("bind");
        let socket = pair.vpc.inside(instance, bind);
        socket.set_read_timeout(Some(SOON)).expect("timeout");
        socket
    };
    let (near, far) = (socket(client, addresses[0]), socket(server, addresses[1]));
    let mut buffer = [0; 200];
    for _ in 0..50 {
        near.send_to(&[1; 100], (addresses[1], 7000)).expect("send");
        far.recv(&mut buffer).expect("the rule lets it in");
    }
    for _ in 0..20 {
        far.send_to(&[2; 60], (addresses[0], 6000)).expect("send");
        near.recv(&mut buffer).expect("it is an answer");
    }
    for _ in 0..3 {
        near.send_to(&[3; 10], (addresses[1], 7001)).expect("send");
    }
    assert!(pair.vpc.stop(), "a clean exit on SIGTERM");
    let lines = pair.lines();
    let [near, far] = pair.ends.each_ref().map(String::as_str);
    // A header of IPv6 is 20 bytes longer.
    let headers = UDP_HEADERS + 20;
    let (there, back) = ((50, 50 * (100 + headers), 0), (20, 20 * (60 + headers), 0));
    let refused = (3, 3 * (10 + headers), 0);
    for (interface, direction, ports, counted) in [
        (near, "egress", [6000, 7000], there),
        (far, "ingress", [6000, 7000], there),
        (far, "egress", [7000, 6000], back),
        (near, "ingress", [7000, 6000], back),
        (far, "ingress", [6000, 7001], refused),
    ] {
        assert_eq!(sum(&lines, interface, direction, ports), counted, "{lines:#?}");
    }
    let [from, to] = addresses.map(|address| address.to_string());
    let of_both = |line: &&Line| {
        let ends = [line.source.0.as_str(), line.destination.0.as_str()];
        ends == [&from, &to] || ends == [&to, &from]
    };
    let ours = lines.iter().filter(|line| line.protocol == 17);
    assert_eq!(ours.clone().filter(of_both).count(), ours.count(), "{lines:#?}");
}
