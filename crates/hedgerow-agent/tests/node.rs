//! The node's network with the real datapath (root): a miniature VPC, pods that talk, an ADD that
//! fails late, an agent that starts again.

mod support;

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hedgerow_agent::ipam::Sandbox;
use hedgerow_agent::netlink::{Netlink, VethPair};
use hedgerow_agent::node::{Node, NodeNetError, Request, Wanted, now};
use hedgerow_agent::pod_net::SandboxKey;
use hedgerow_core::mac::Mac;
use hedgerow_datapath::node::NodeDatapath;
use hedgerow_k8s::PodEni;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use support::{Namespace, inside};

const ENI: Mac = Mac([2, 0, 0, 0, 0, 5]);
const TRUNK: Mac = Mac([2, 0, 0, 0, 0, 6]);
const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 1]);
const POD: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 10);

/// A bpffs of the test's own; gone when dropped, and the pins with it.
struct Pins(tempfile::TempDir);

impl Pins {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        mount(Some("bpf"), dir.path(), Some("bpf"), MsFlags::empty(), None::<&str>).expect("root");
        Self(dir)
    }

    fn open(&self) -> NodeDatapath {
        NodeDatapath::open(&self.0.path().join("hedgerow")).expect("load the datapath")
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

/// Plugs an interface of `vpc` into the node; the router is the VPC's kernel.
fn plug(netlink: &mut Netlink, vpc: &Namespace, name: &str, mac: Mac, router: Ipv4Addr) {
    let file = vpc.open();
    let pair = VethPair {
        host_name: name,
        host_mac: mac,
        pod_name: name,
        pod_mac: ROUTER,
        mtu: 9001,
        netns: file.as_fd(),
    };
    netlink.create_veth(&pair).unwrap();
    let mut there = vpc.netlink();
    let index = there.link(name).unwrap().unwrap().index;
    there.set_up(index, None).unwrap();
    there.put_address(index, router, 24).unwrap();
    if name == "eth0" {
        // The VPC gives the primary interface its address, and knows the pod's to be there.
        let here = netlink.link(name).unwrap().unwrap().index;
        netlink.put_address(here, Ipv4Addr::new(10, 9, 0, 5), 24).unwrap();
        there.put_neighbour(index, POD, mac).unwrap();
    }
}

fn wanted(id: &str, mac: Mac, trunk: bool, third: u8) -> Wanted {
    let subnet = format!("10.9.{third}.0/24").parse().unwrap();
    let (first, primary) = (third == 0, Ipv4Addr::new(10, 9, third, 5));
    Wanted { id: id.to_owned(), mac, trunk, first, subnet, primary }
}

fn request(container_id: &str, netns: &Path) -> Request {
    let sandbox = Sandbox {
        container_id: container_id.to_owned(),
        ifname: "eth0".to_owned(),
        netns: netns.display().to_string(),
        pod: None,
        address: Ipv4Addr::UNSPECIFIED,
        vlan: None,
        host_ifindex: 0,
        wire: None,
    };
    Request { key: SandboxKey::new(container_id, "eth0"), sandbox }
}

/// Whether a datagram from the pod is answered by the VPC's side.
fn talks(pod: &Namespace, vpc: &Namespace) -> bool {
    let server = inside(vpc, |_| UdpSocket::bind("10.9.0.1:7777").unwrap());
    server.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let client = inside(pod, |_| UdpSocket::bind((POD, 0)).unwrap());
    client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    client.send_to(b"hello", "10.9.0.1:7777").unwrap();
    let mut buffer = [0; 16];
    let Ok((len, from)) = server.recv_from(&mut buffer) else { return false };
    server.send_to(&buffer[..len], from).unwrap();
    client.recv(&mut buffer).is_ok()
}

fn start(pins: &Pins, checkpoint: &Path, wanted: &[Wanted]) -> Node {
    let node = Node::new(pins.open(), checkpoint.to_owned(), 9001);
    assert!(node.put_interfaces(wanted).unwrap(), "every router answers");
    node.restore().unwrap();
    node.pool().put_eni("eni-0", 0, &[POD], now());
    node
}

fn checkpoint(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("ipam.json")
}

#[test]
fn a_pod_talks_across_a_restart_and_del_leaves_nothing() {
    let (pins, dir) = (Pins::new(), tempfile::tempdir().unwrap());
    let (host, vpc, pod) = (Namespace::new("node"), Namespace::new("vpc"), Namespace::new("pod"));
    inside(&host, |netlink| {
        plug(netlink, &vpc, "eth0", ENI, Ipv4Addr::new(10, 9, 0, 1));
        let interfaces = [wanted("eni-0", ENI, false, 0)];
        let node = start(&pins, &checkpoint(&dir), &interfaces);
        let (request, other) = (request("one", &pod.path), request("two", &pod.path));
        let attachment = node.connect_regular(request.clone()).unwrap();
        assert_eq!(attachment.address, POD);
        assert_eq!(node.missing(&request.key).unwrap(), None);
        assert!(talks(&pod, &vpc));
        assert!(matches!(node.connect_regular(other), Err(NodeNetError::NoAddress)));

        drop(node);
        assert!(talks(&pod, &vpc), "with no agent");
        let node = start(&pins, &checkpoint(&dir), &interfaces);
        assert!(talks(&pod, &vpc), "with another agent");
        assert_eq!(node.missing(&request.key).unwrap(), None);

        node.disconnect(&request.key).unwrap();
        node.disconnect(&request.key).unwrap();
        assert_eq!(node.datapath().endpoints().unwrap(), []);
        assert_eq!(netlink.link(&attachment.host_name).unwrap(), None);
        assert_eq!(node.pool().enis(now())[0].cooling, 1, "the address rests");
        assert!(!has_interface(&pod), "the pod's interface is gone");
    });
}

fn has_interface(pod: &Namespace) -> bool {
    pod.netlink().link("eth0").unwrap().is_some()
}

#[test]
fn a_branch_that_the_vpc_does_not_know_gets_no_network() {
    let (pins, dir) = (Pins::new(), tempfile::tempdir().unwrap());
    let (host, vpc, pod) = (Namespace::new("node"), Namespace::new("vpc"), Namespace::new("pod"));
    let text = r#"[{"eniId":"eni-0a","ifAddress":"02:11:22:33:44:55","privateIp":"10.9.1.20","vlanId":3,"subnetCidr":"10.9.1.0/24"}]"#;
    let branch = PodEni::decode_first(text).unwrap();
    inside(&host, |netlink| {
        plug(netlink, &vpc, "eth0", ENI, Ipv4Addr::new(10, 9, 0, 1));
        let node = start(&pins, &checkpoint(&dir), &[wanted("eni-0", ENI, false, 0)]);
        let request = request("one", &pod.path);
        let error = node.connect_branch(request.clone(), &branch).unwrap_err();
        assert!(matches!(error, NodeNetError::NoTrunk), "{error}");

        plug(netlink, &vpc, "eth1", TRUNK, Ipv4Addr::new(10, 9, 1, 1));
        let both = [wanted("eni-0", ENI, false, 0), wanted("eni-1", TRUNK, true, 1)];
        assert!(node.put_interfaces(&both).unwrap());
        let links = netlink.links().unwrap();
        // Nothing on the VPC's side hears VLAN 3, as when the branch hangs on another trunk.
        let error = node.connect_branch(request.clone(), &branch).unwrap_err();
        assert!(matches!(error, NodeNetError::Arp(_)), "{error}");
        assert_eq!(netlink.links().unwrap(), links);
        assert_eq!(node.datapath().endpoints().unwrap(), []);
        assert!(node.pool().sandbox(&request.key).is_none());
        assert!(!has_interface(&pod));
    });
}

#[test]
fn a_sandbox_whose_namespace_vanished_is_found_and_released() {
    let (pins, dir) = (Pins::new(), tempfile::tempdir().unwrap());
    let (host, vpc, pod) = (Namespace::new("node"), Namespace::new("vpc"), Namespace::new("pod"));
    inside(&host, |netlink| {
        plug(netlink, &vpc, "eth0", ENI, Ipv4Addr::new(10, 9, 0, 1));
        let interfaces = [wanted("eni-0", ENI, false, 0)];
        let node = start(&pins, &checkpoint(&dir), &interfaces);
        let request = request("one", &pod.path);
        node.connect_regular(request.clone()).unwrap();
        assert_eq!(node.vanished().unwrap(), []);
        drop(pod);
        let gone = || {
            (0..200).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                !node.vanished().unwrap().is_empty()
            })
        };
        assert!(gone());
        drop(node);
        let node = start(&pins, &checkpoint(&dir), &interfaces);
        assert!(node.pool().sandbox(&request.key).is_none(), "released at the start");
        assert_eq!(node.datapath().endpoints().unwrap(), []);
    });
}
