//! Real packets through the node's programs: a miniature node between pods in namespaces and a VPC
//! played in user space. Needs root.

#[path = "node/lab.rs"]
mod lab;
#[path = "node/vpc.rs"]
mod vpc;

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TcAttachType, TestRunOptions};
use aya::{EbpfLoader, TestRun};
use hedgerow_core::reason::Reason;
use hedgerow_datapath::node::{MARK_TO_POD, NodeDatapath, NodeError};
use hedgerow_datapath::pins::PinsError;

use lab::{ENI_MAC, Lab, NODE, OUTSIDE, Server, ask, ask_udp, endpoint, ifindex, netlink, route};
use vpc::ROUTER_MAC;

const TO_OUTSIDE: Ipv4Addr = Ipv4Addr::new(172, 20, 0, 10);
const TO_REGULAR: Ipv4Addr = Ipv4Addr::new(172, 20, 0, 11);
const TO_STRICT: Ipv4Addr = Ipv4Addr::new(172, 20, 0, 12);
const TO_NODE: Ipv4Addr = Ipv4Addr::new(172, 20, 0, 13);

/// DNAT of the Services above to backends on port 8080.
fn services(lab: &Lab) {
    let [_, regular, _, strict] = &lab.pods;
    let rule = |service: Ipv4Addr, backend: Ipv4Addr| {
        ["tcp", "udp"].map(|protocol| {
            format!("ip daddr {service} {protocol} dport 80 dnat to {backend}:8080;\n")
        })
    };
    let rules = [
        rule(TO_OUTSIDE, OUTSIDE),
        rule(TO_REGULAR, regular.address),
        rule(TO_STRICT, strict.address),
        rule(TO_NODE, NODE),
    ];
    lab.dnat(&rules.concat().concat(), &[regular.address, strict.address]);
}

/// A UDP/IPv4 frame with empty payload, its header checksum right.
fn udp_frame(
    (source_mac, destination_mac): ([u8; 6], [u8; 6]),
    (source, destination): (Ipv4Addr, Ipv4Addr),
) -> Vec<u8> {
    let mut frame = [destination_mac, source_mac].concat();
    frame.extend([0x08, 0x00, 0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    frame.extend([0x30, 0x39, 0x1f, 0x90, 0, 8, 0, 0]);
    let sum: u32 =
        frame[14..34].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

fn with_tag(frame: &[u8], vlan: u8) -> Vec<u8> {
    [&frame[..12], &[0x81, 0x00, 0, vlan], &frame[12..]].concat()
}

/// Waits for the counter to pass `before`.
fn counted(lab: &Lab, reason: Reason, before: u64) -> bool {
    let deadline = Instant::now() + Duration::from_secs(1);
    while lab.count(reason) == before && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    lab.count(reason) > before
}

#[test]
fn pods_reach_the_vpc_as_their_own_interfaces_and_are_reached_there() {
    let lab = Lab::new();
    let _server = Server::start(&lab.outside, OUTSIDE, 8080);
    for pod in &lab.pods {
        let name = pod.host_veth;
        assert_eq!(ask(&pod.netns, OUTSIDE, 8080).expect(name), pod.address, "{name}");
        ask_udp(&pod.netns, 0, (OUTSIDE, 8080), &[0; 4000]).expect("fragments pass");
        let frames = lab.vpc.frames(pod.address, OUTSIDE);
        assert!(!frames.is_empty());
        for frame in frames {
            assert_eq!(frame.from.port, pod.uplink, "{name} {frame:?}");
            assert_eq!(frame.from.vlan, pod.vlan, "{name} {frame:?}");
            assert_eq!(frame.from.mac, pod.uplink_mac, "{name} {frame:?}");
            assert_eq!(frame.destination_mac, ROUTER_MAC, "{name} {frame:?}");
            assert_eq!(frame.ttl, 63, "the node is a hop");
        }
        let _pod_server = Server::start(&pod.netns, pod.address, 9000);
        assert_eq!(ask(&lab.outside, pod.address, 9000).expect(name), OUTSIDE, "{name}");
    }
    assert_eq!(lab.vpc.refused().len(), 0, "{:?}", lab.vpc.refused());
    assert!(lab.count(Reason::Allowed) > 0);
}

#[test]
fn only_regular_pods_take_local_shortcuts() {
    let lab = Lab::new();
    let [a, b, c, d] = &lab.pods;
    let _servers: Vec<Server> =
        lab.pods.iter().map(|pod| Server::start(&pod.netns, pod.address, 8080)).collect();
    let _node_server = Server::start(&lab.node, NODE, 8080);

    assert_eq!(ask(&a.netns, b.address, 8080).expect("regular to regular"), a.address);
    assert!(lab.vpc.frames(a.address, b.address).is_empty(), "stays on the node");
    for (from, to) in [(c, d), (c, a), (a, c)] {
        let what = format!("{} to {}", from.host_veth, to.host_veth);
        assert_eq!(ask(&from.netns, to.address, 8080).expect(&what), from.address, "{what}");
        assert!(!lab.vpc.frames(from.address, to.address).is_empty(), "{what} crosses the VPC");
        assert!(!lab.vpc.frames(to.address, from.address).is_empty(), "{what}: so do replies");
    }

    assert_eq!(ask(&a.netns, NODE, 8080).expect("regular to node"), a.address);
    assert_eq!(ask(&lab.node, a.address, 8080).expect("node to regular"), NODE);
    assert!(lab.vpc.frames(NODE, a.address).is_empty(), "by the veth");
    assert_eq!(ask(&c.netns, NODE, 8080).expect("strict to node"), c.address);
    assert_eq!(ask(&lab.node, c.address, 8080).expect("node to strict: probes hairpin"), NODE);
    assert!(!lab.vpc.frames(NODE, c.address).is_empty(), "by the VPC");

    let before = lab.count(Reason::StrictLocal);
    netlink(async |handle| route(&handle, (c.address, 32), None, c.host_veth, 254).await);
    ask(&lab.node, c.address, 8080).expect_err("not by the veth");
    assert!(lab.count(Reason::StrictLocal) > before);
    assert_eq!(lab.vpc.refused().len(), 0, "{:?}", lab.vpc.refused());
}

#[test]
fn what_a_pod_may_not_send_is_dropped_and_counted() {
    let lab = Lab::new();
    for pod in &lab.pods {
        let other = Ipv4Addr::new(10, 0, 1, 99);
        let outside = (pod.mac, [2; 6]);
        let mut ipv6 = udp_frame(outside, (pod.address, OUTSIDE));
        ipv6[12..14].copy_from_slice(&[0x86, 0xdd]);
        let mut truncated = udp_frame(outside, (pod.address, OUTSIDE));
        truncated.truncate(30);
        let cases = [
            (Reason::SourceAddress, udp_frame(outside, (other, OUTSIDE))),
            (Reason::SourceMac, udp_frame(([2, 9, 9, 9, 9, 9], [2; 6]), (pod.address, OUTSIDE))),
            (
                Reason::InstanceMetadata,
                udp_frame(outside, (pod.address, Ipv4Addr::new(169, 254, 169, 254))),
            ),
            (Reason::Multicast, udp_frame(outside, (pod.address, Ipv4Addr::new(224, 0, 0, 251)))),
            (Reason::UnsupportedProtocol, ipv6),
            (
                Reason::UnsupportedProtocol,
                with_tag(&udp_frame(outside, (pod.address, OUTSIDE)), 11),
            ),
            (Reason::Malformed, truncated),
        ];
        let port = pod
            .netns
            .run(|| vpc::Port::open(ifindex("eth0")).expect("packet socket"))
            .expect("pod");
        for (reason, frame) in cases {
            let before = lab.count(reason);
            port.send(&frame);
            assert!(counted(&lab, reason, before), "{}: {reason}", pod.host_veth);
        }
        assert!(lab.vpc.frames(other, OUTSIDE).is_empty());
        assert!(lab.vpc.frames(pod.address, OUTSIDE).is_empty());
    }
}

#[test]
fn a_pod_without_endpoint_has_no_network() {
    fn shared_by_tasks<T: Send + Sync>(_: &T) {}
    let mut lab = Lab::new();
    shared_by_tasks(&lab.datapath);
    let known = lab.datapath.endpoints().expect("endpoints");
    assert_eq!(known, lab.pods.iter().map(endpoint).collect::<Vec<_>>());
    let host = lab.pods[0].host_ifindex;
    lab.datapath.remove_endpoint(host).expect("remove");
    lab.datapath.remove_endpoint(host).expect("remove again");
    let before = lab.count(Reason::PodNotReady);
    ask_udp(&lab.pods[0].netns, 0, (OUTSIDE, 8080), b"small").expect_err("no endpoint");
    assert!(lab.count(Reason::PodNotReady) > before);
    assert!(lab.vpc.frames(lab.pods[0].address, OUTSIDE).is_empty());

    let mut moved = endpoint(&lab.pods[2]);
    moved.host_ifindex = host;
    let error = lab.datapath.put_endpoint(&moved).expect_err("address is taken");
    assert!(matches!(error, NodeError::AddressTaken { .. }), "{error}");
    moved.address = lab.pods[0].address;
    let error = lab.datapath.put_endpoint(&moved).expect_err("VLAN is taken");
    assert!(matches!(error, NodeError::VlanTaken { .. }), "{error}");

    let _server = Server::start(&lab.outside, OUTSIDE, 8080);
    lab.datapath.put_endpoint(&endpoint(&lab.pods[0])).expect("put");
    ask(&lab.pods[0].netns, OUTSIDE, 8080).expect("endpoint again");
}

#[test]
fn frames_from_the_wire_must_be_for_the_endpoint_they_come_to() {
    let lab = Lab::new();
    let [a, _, c, d] = &lab.pods;
    let to = |pod: &lab::Pod| udp_frame((ROUTER_MAC, pod.uplink_mac), (OUTSIDE, pod.address));
    let mut stale = to(a);
    stale[22] = 1; // time to live; the checksum is not what is judged first
    let cases = [
        ("unassociated VLAN", 1, with_tag(&to(c), 13), Reason::UnknownVlan),
        ("another branch's address", 1, with_tag(&to(d), 11), Reason::NoRoute),
        (
            "a strict address untagged on the ENI",
            0,
            { udp_frame((ROUTER_MAC, ENI_MAC), (OUTSIDE, c.address)) },
            Reason::UnknownVlan,
        ),
        ("hop limit 1", 0, stale, Reason::TtlExceeded),
        ("cut short", 1, with_tag(&to(c), 11)[..40].to_vec(), Reason::Malformed),
    ];
    for (what, port, frame, reason) in cases {
        let before = lab.count(reason);
        lab.far[port].send(&frame);
        assert!(counted(&lab, reason, before), "{what}");
    }
}

#[test]
fn services_work_for_every_kind_of_pod_and_backend() {
    let lab = Lab::new();
    let [a, b, c, d] = &lab.pods;
    services(&lab);
    let _servers = [
        Server::start(&lab.outside, OUTSIDE, 8080),
        Server::start(&b.netns, b.address, 8080),
        Server::start(&d.netns, d.address, 8080),
        Server::start(&lab.node, NODE, 8080),
    ];
    for client in [a, b, c] {
        for (service, backend) in
            [(TO_OUTSIDE, OUTSIDE), (TO_REGULAR, b.address), (TO_STRICT, d.address)]
        {
            if backend == client.address {
                continue;
            }
            let what = format!("{} to {service} ({backend})", client.host_veth);
            assert_eq!(ask(&client.netns, service, 80).expect(&what), client.address, "{what}");
            ask_udp(&client.netns, 0, (service, 80), b"small").expect(&what);
            ask_udp(&client.netns, 0, (service, 80), lab::GROW).expect("fragments, back only");
            ask_udp(&client.netns, 0, (service, 80), &[0; 4000]).expect("fragments, both ways");
            let frames = lab.vpc.frames(client.address, backend);
            assert_eq!(frames.is_empty(), !client.strict() && backend == b.address, "{what}");
            for frame in frames {
                assert_eq!(frame.from.vlan, client.vlan, "{what}");
                assert_eq!(frame.from.mac, client.uplink_mac, "{what}");
            }
        }
    }
    assert_eq!(ask(&a.netns, TO_NODE, 80).expect("regular to the node's own"), a.address);
    // A pod behind its own Service: kube-proxy masquerades.
    assert_eq!(ask(&b.netns, TO_REGULAR, 80).expect("hairpin"), NODE);
    assert_eq!(ask(&d.netns, TO_STRICT, 80).expect("strict hairpin"), NODE);
    ask_udp(&d.netns, 0, (TO_STRICT, 80), b"small").expect("strict hairpin");
    assert!(!lab.vpc.frames(NODE, d.address).is_empty(), "the strict one crosses the VPC");
    assert_eq!(lab.vpc.refused().len(), 0, "{:?}", lab.vpc.refused());
}

#[test]
fn a_port_used_for_a_service_can_go_straight_to_its_backend_next() {
    let lab = Lab::new();
    services(&lab);
    let _server = Server::start(&lab.outside, OUTSIDE, 8080);
    for client in [&lab.pods[0], &lab.pods[2]] {
        for to in [(TO_OUTSIDE, 80), (OUTSIDE, 8080), (TO_OUTSIDE, 80)] {
            let what = format!("{} to {to:?}", client.host_veth);
            ask_udp(&client.netns, 5555, to, b"small").expect(&what);
        }
    }
}

#[test]
fn errors_about_a_service_flow_reach_the_pod() {
    let lab = Lab::new();
    services(&lab);
    for client in [&lab.pods[0], &lab.pods[2]] {
        let error =
            ask_udp(&client.netns, 0, (TO_OUTSIDE, 80), b"small").expect_err("nobody listens");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{}", client.host_veth);
    }
}

#[test]
fn node_ports_keep_the_client_address_for_regular_pods() {
    let lab = Lab::new();
    let a = &lab.pods[0];
    lab.dnat(&format!("ip daddr {NODE} tcp dport 30080 dnat to {}:8080;", a.address), &[]);
    let _server = Server::start(&a.netns, a.address, 8080);
    assert_eq!(ask(&lab.outside, NODE, 30080).expect("NodePort"), OUTSIDE);
    assert_eq!(ask(&lab.outside, a.address, 8080).expect("straight to the pod"), OUTSIDE);
    assert_eq!(ask(&lab.outside, NODE, 30080).expect("NodePort again"), OUTSIDE);
    assert_eq!(lab.vpc.refused().len(), 0, "{:?}", lab.vpc.refused());
}

/// A stream of datagrams that are each answered, a few at a time under way so that no queue on a
/// busy machine overflows.
struct Stream {
    stop: Arc<AtomicBool>,
    workers: [std::thread::JoinHandle<u64>; 2],
}

impl Stream {
    const UNDER_WAY: u64 = 16;

    fn start(netns: &hedgerow_datapath::sys::Netns, to: (Ipv4Addr, u16)) -> Stream {
        let socket = netns.run(|| UdpSocket::bind("0.0.0.0:0").expect("bind")).expect("enter");
        socket.connect(to).expect("connect");
        socket.set_read_timeout(Some(Duration::from_secs(2))).expect("timeout");
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let (tx, rx) = (socket.try_clone().expect("clone"), socket);
        let (stopped, answers) = (stop.clone(), answered.clone());
        let sender = move || {
            let mut sent = 0;
            while !stopped.load(Ordering::Relaxed) {
                if sent < answers.load(Ordering::Relaxed) + Self::UNDER_WAY {
                    tx.send(&[0; 64]).expect("send");
                    sent += 1;
                }
                std::thread::sleep(Duration::from_micros(100));
            }
            tx.send(b"last").expect("send");
            sent
        };
        let receiver = move || {
            let mut buffer = [0; 256];
            while let Ok(length) = rx.recv(&mut buffer) {
                if buffer[..length].ends_with(b"last") {
                    break;
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
            answered.load(Ordering::Relaxed)
        };
        Stream { stop, workers: [std::thread::spawn(sender), std::thread::spawn(receiver)] }
    }

    /// How many were sent, and how many of them answered.
    fn finish(self) -> [u64; 2] {
        self.stop.store(true, Ordering::Relaxed);
        self.workers.map(|worker| worker.join().expect("stream"))
    }
}

/// How many programs are on the interface's tcx hooks.
fn attached(interface: &str) -> [usize; 2] {
    [TcAttachType::Ingress, TcAttachType::Egress]
        .map(|hook| SchedClassifier::query_tcx(interface, hook).expect("query tcx").1.len())
}

#[test]
fn uplinks_come_and_go() {
    let mut lab = Lab::new();
    let links = lab.pins.join("v1/links");
    let pinned = || std::fs::read_dir(&links).expect("links").count();
    assert_eq!(pinned(), 6);
    lab.datapath.detach_uplink(lab::SECOND_ENI).expect("detach");
    lab.datapath.detach_uplink(lab::SECOND_ENI).expect("detach again");
    assert_eq!((attached(lab::SECOND_ENI), pinned()), ([0, 0], 4));
    lab.datapath.attach_uplink(lab::SECOND_ENI).expect("attach");
    assert_eq!((attached(lab::SECOND_ENI), pinned()), ([1, 1], 6));
    let index = ifindex(lab::SECOND_ENI);

    // As an agent of another layout would have left it.
    let older = lab.pins.join("v0/links");
    std::fs::create_dir_all(&older).expect("pin directory");
    let pin = format!("{index}-ingress");
    std::fs::rename(links.join(&pin), older.join(&pin)).expect("move the pin");
    let mut lab = lab.restart_agent();
    assert_eq!((attached(lab::SECOND_ENI), pinned()), ([1, 1], 6), "the older link went");
    assert!(!older.join(&pin).exists());

    netlink(async |handle| handle.link().del(index).execute().await);
    lab.datapath.detach_uplink(lab::SECOND_ENI).expect("the device is gone");
    assert_eq!(pinned(), 4);
    let error = lab.datapath.attach_uplink(lab::SECOND_ENI).expect_err("no such device");
    assert!(matches!(error, NodeError::Interface { .. }), "{error}");
}

#[test]
fn an_agent_restart_loses_no_packet() {
    let mut lab = Lab::new();
    services(&lab);
    let _server = Server::start(&lab.outside, OUTSIDE, 8080);
    let streams =
        [(0, (OUTSIDE, 8080)), (2, (OUTSIDE, 8080)), (0, (TO_OUTSIDE, 80)), (2, (TO_OUTSIDE, 80))]
            .map(|(pod, to): (usize, _)| (pod, to, Stream::start(&lab.pods[pod].netns, to)));
    for _ in 0..8 {
        lab = lab.restart_agent();
    }
    let known = lab.datapath.endpoints().expect("endpoints");
    assert_eq!(known, lab.pods.iter().map(endpoint).collect::<Vec<_>>(), "kept over restarts");
    for uplink in lab::UPLINKS {
        assert_eq!(attached(uplink), [1, 1], "{uplink}: replaced, not added");
    }
    for (pod, to, stream) in streams {
        let [sent, answered] = stream.finish();
        assert!(sent > 100, "the stream ran");
        assert_eq!(sent, answered, "{} to {to:?}", lab.pods[pod].host_veth);
    }
}

#[test]
fn a_pinned_map_of_another_layout_is_refused() {
    let lab = Lab::new();
    let pins = lab.pins.with_file_name("other");
    std::fs::create_dir_all(pins.join("v1")).expect("pin directory");
    let map = aya::maps::HashMap::<_, u32, u64>::create(16, 0).expect("map");
    map.pin(pins.join("v1/node_by_host")).expect("pin");
    match NodeDatapath::open(&pins) {
        Err(NodeError::Pins(error)) => assert!(
            matches!(*error, PinsError::Layout { field: "value size", found: 8, expected: 4, .. }),
            "{error}"
        ),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a foreign map was taken up"),
    }
    match NodeDatapath::open(std::path::Path::new("/proc")) {
        Err(NodeError::Pins(error)) => {
            assert!(matches!(*error, PinsError::NotBpffs { .. }), "{error}");
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("no bpffs there"),
    }
}

/// The context of BPF_PROG_TEST_RUN: mark at 8, ifindex at 40, of `struct __sk_buff`.
fn context(mark: u32, ifindex: u32) -> [u8; 192] {
    let mut context = [0; 192];
    context[8..12].copy_from_slice(&mark.to_ne_bytes());
    context[40..44].copy_from_slice(&ifindex.to_ne_bytes());
    context
}

#[test]
fn a_frame_cut_anywhere_is_never_delivered() {
    const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/node.bpf.o"));
    const SHOT: u32 = 2;
    const REDIRECT: u32 = 7;
    let lab = Lab::new();
    let mut ebpf = EbpfLoader::new()
        .default_map_pin_directory(lab.pins.join("v1"))
        .load(OBJECT)
        .expect("load the object on the same maps");
    let [a, _, c, _] = &lab.pods;
    let up = |pod: &lab::Pod| udp_frame((pod.mac, [2; 6]), (pod.address, OUTSIDE));
    let down = udp_frame((ROUTER_MAC, c.uplink_mac), (OUTSIDE, c.address));
    let to_a = udp_frame((ROUTER_MAC, a.mac), (OUTSIDE, a.address));
    let cases = [
        ("from_pod", context(0, a.host_ifindex), up(a), REDIRECT),
        ("from_pod", context(0, c.host_ifindex), up(c), REDIRECT),
        ("from_wire", context(0, ifindex(lab::TRUNK)), with_tag(&down, 11), REDIRECT),
        ("to_pod", context(0, a.host_ifindex), to_a.clone(), 0),
        ("to_pod", context(MARK_TO_POD, c.host_ifindex), down.clone(), 0),
        ("to_pod", context(0, c.host_ifindex), down, SHOT),
    ];
    for (name, context, frame, whole) in cases {
        let program: &mut SchedClassifier =
            ebpf.program_mut(name).expect(name).try_into().expect(name);
        let _ = program.load(); // fails the second time: it is loaded
        let run = |frame: &[u8]| {
            let options = TestRunOptions {
                data_in: Some(frame),
                ctx_in: Some(&context),
                ..TestRunOptions::default()
            };
            program.test_run(options).map(|result| result.return_value)
        };
        assert_eq!(run(&frame).expect(name), whole, "{name}: the whole frame");
        for length in 14..frame.len() {
            match run(&frame[..length]) {
                Ok(verdict) => assert_eq!(verdict, SHOT, "{name}: cut to {length}"),
                Err(error) => assert!(length < 34, "{name}: cut to {length}: {error}"),
            }
        }
    }
}

/// A Service whose backend is a process on this very node: the mark's rule comes before the local
/// table, and the trunk takes packets with the node's address.
#[test]
fn a_strict_pod_reaches_its_own_node_behind_a_service_across_the_vpc() {
    let lab = Lab::new();
    services(&lab);
    let c = &lab.pods[2];
    let _server = Server::start(&lab.node, NODE, 8080);
    assert_eq!(ask(&c.netns, TO_NODE, 80).expect("Service"), c.address);
    assert!(!lab.vpc.frames(c.address, NODE).is_empty(), "crosses the VPC");
    assert_eq!(ask(&lab.node, NODE, 8080).expect("the node still reaches itself"), NODE);
}
