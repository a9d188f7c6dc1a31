//! A miniature node: a namespace with an ENI and a trunk, two regular and two strict pods, an outside
//! host, and a VPC between them. Everything hangs on descriptors, so nothing is left behind.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hedgerow_core::reason::Reason;
use hedgerow_datapath::node::{
    Endpoint, MARK_MASK, MARK_TO_POD, MARK_TO_WIRE, NodeConfig, NodeDatapath, TABLE_TO_POD,
    TABLE_TO_WIRE, Uplink,
};
use hedgerow_datapath::sys::Netns;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage};
use netlink_packet_route::route::RouteScope;
use netlink_packet_route::rule::{RuleAction, RuleAttribute};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::vpc::{Place, Port, ROUTER_MAC, Vpc};

pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 10);
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 50);
pub const SERVICES: &str = "172.20.0.0/16";
pub const ENI: &str = "eth0";
pub const TRUNK: &str = "eth1";
/// A second ENI, bare as an attached one is: no address, no route.
pub const SECOND_ENI: &str = "eth2";
/// Every uplink; their far ends are w0, w1, w2 in the VPC, whose w3 is the outside host's.
pub const UPLINKS: [&str; 3] = [ENI, TRUNK, SECOND_ENI];
pub const ENI_MAC: [u8; 6] = [2, 0, 0, 0, 0x10, 0];
const SECOND_ENI_MAC: [u8; 6] = [2, 0, 0, 0, 0x10, 2];
const TRUNK_MAC: [u8; 6] = [2, 0, 0, 0, 0x10, 1];
const OUTSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 0x50, 1];
/// The pods' gateway, and the trunk's: never on a wire.
const LINK_LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

const TIMEOUT: Duration = Duration::from_millis(1500);

/// A pod and where it is on the node.
pub struct Pod {
    pub netns: Netns,
    pub host_veth: &'static str,
    pub address: Ipv4Addr,
    pub mac: [u8; 6],
    pub vlan: Option<u16>,
    /// Position in [`UPLINKS`], which is its port in the VPC.
    pub uplink: usize,
    pub uplink_mac: [u8; 6],
    pub host_ifindex: u32,
}

impl Pod {
    pub fn strict(&self) -> bool {
        self.vlan.is_some()
    }
}

/// The lab. The thread that made it stands in the node's namespaces.
pub struct Lab {
    pub datapath: NodeDatapath,
    pub outside: Netns,
    pub node: Netns,
    /// The far ends of the uplinks, to send frames the VPC would not.
    pub far: [Port; 3],
    pub vpc: Vpc,
    pub pods: [Pod; 4],
    pub pins: PathBuf,
}

/// Runs netlink requests in the calling thread's namespace.
pub fn netlink<T>(work: impl AsyncFnOnce(Handle) -> Result<T, rtnetlink::Error>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().expect("netlink socket");
        tokio::spawn(connection);
        work(handle).await.expect("netlink request")
    })
}

pub fn ifindex(name: &str) -> u32 {
    let c = CString::new(name).expect("interface name");
    // SAFETY: a live nul-terminated name.
    let index = unsafe { libc::if_nametoindex(c.as_ptr()) };
    assert_ne!(index, 0, "interface {name}: {}", io::Error::last_os_error());
    index
}

fn new_netns() -> Netns {
    let make = || {
        // SAFETY: changes only this thread's namespace.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "unshare: run as root");
        netlink(async |handle| {
            let lo = LinkUnspec::new_with_index(1).up().build();
            handle.link().set(lo).execute().await
        });
        Netns::current().expect("own namespace")
    };
    std::thread::spawn(make).join().expect("namespace thread")
}

/// A mount namespace for this thread with a bpffs of its own on /sys/fs/bpf.
fn private_bpffs() -> PathBuf {
    let mount = |source: &str, target: &str, kind: &str, flags| {
        let [source, target, kind] =
            [source, target, kind].map(|text| CString::new(text).expect("no nul"));
        // SAFETY: live nul-terminated strings, no data.
        let result = unsafe {
            libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, std::ptr::null())
        };
        assert_eq!(result, 0, "mount {target:?}: {}", io::Error::last_os_error());
    };
    // SAFETY: changes only this thread's namespace and working directory.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0, "unshare: run as root");
    mount("none", "/", "none", libc::MS_REC | libc::MS_PRIVATE);
    mount("bpf", "/sys/fs/bpf", "bpf", 0);
    PathBuf::from("/sys/fs/bpf/hedgerow")
}

/// Sets an interface up, from a thread of its own (netlink may be under way in this one).
fn up(name: &str) {
    netlink(async |handle| {
        let link = LinkUnspec::new_with_index(ifindex(name)).up().build();
        handle.link().set(link).execute().await
    });
}

/// A veth pair, `name` here and `peer` in `netns`, both up.
async fn veth(
    handle: &Handle,
    (name, mac): (&str, Option<[u8; 6]>),
    (netns, peer, peer_mac): (&Netns, &str, [u8; 6]),
) -> Result<(), rtnetlink::Error> {
    let mut far = LinkMessage::default();
    far.attributes = vec![
        LinkAttribute::IfName(peer.to_owned()),
        LinkAttribute::Address(peer_mac.to_vec()),
        LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()),
    ];
    let mut near = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(name)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(far)))
        .up();
    if let Some(mac) = mac {
        near = near.address(mac.to_vec());
    }
    handle.link().add(near.build()).execute().await?;
    // A peer cannot come up while it is being made (ENOTCONN).
    netns.run(|| up(peer)).expect("enter namespace");
    Ok(())
}

/// `destination` by `device` in `table`, through `gateway` if there is one.
pub async fn route(
    handle: &Handle,
    (destination, len): (Ipv4Addr, u8),
    gateway: Option<Ipv4Addr>,
    device: &str,
    table: u32,
) -> Result<(), rtnetlink::Error> {
    let mut route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(destination, len)
        .output_interface(ifindex(device))
        .table_id(table);
    route = match gateway {
        Some(gateway) => route.gateway(gateway).onlink(),
        None => route.scope(RouteScope::Link),
    };
    handle.route().add(route.build()).execute().await
}

async fn neighbour(
    handle: &Handle,
    device: &str,
    address: Ipv4Addr,
    mac: [u8; 6],
) -> Result<(), rtnetlink::Error> {
    let request = handle.neighbours().add(ifindex(device), IpAddr::V4(address));
    request.link_layer_address(&mac).execute().await
}

async fn rule(
    handle: &Handle,
    priority: u32,
    mark: u32,
    table: u32,
) -> Result<(), rtnetlink::Error> {
    let mut rule = handle.rule().add().v4().priority(priority).fw_mark(mark).table_id(table);
    rule.message_mut().header.action = RuleAction::ToTable;
    rule.message_mut().attributes.push(RuleAttribute::FwMask(MARK_MASK));
    rule.execute().await
}

/// Moves the rule of the local table behind those of the marks: first the new, then away the old.
async fn local_table_after_marks(handle: &Handle) -> Result<(), rtnetlink::Error> {
    let local = |priority| {
        let mut request = handle.rule().add().v4().priority(priority).table_id(255);
        request.message_mut().header.action = RuleAction::ToTable;
        request
    };
    local(200).execute().await?;
    let old = local(0).message_mut().clone();
    handle.rule().del(old).execute().await
}

fn sysctl(name: &str, value: &str) {
    let path = format!("/proc/sys/net/ipv4/{name}");
    std::fs::write(&path, value).unwrap_or_else(|error| panic!("write {path}: {error}"));
}

/// What the agent does, as `hedgerow_datapath::node` says.
fn configure_node(pods: &[Pod]) {
    sysctl("ip_forward", "1");
    sysctl("conf/all/rp_filter", "0");
    for device in UPLINKS.into_iter().chain(pods.iter().map(|pod| pod.host_veth)) {
        sysctl(&format!("conf/{device}/rp_filter"), "0");
    }
    sysctl(&format!("conf/{TRUNK}/accept_local"), "1");
    netlink(async |handle| {
        handle.address().add(ifindex(ENI), IpAddr::V4(NODE), 24).execute().await?;
        let router = Ipv4Addr::new(10, 0, 1, 1);
        route(&handle, (Ipv4Addr::UNSPECIFIED, 0), Some(router), ENI, 254).await?;
        rule(&handle, 100, MARK_TO_WIRE, TABLE_TO_WIRE).await?;
        rule(&handle, 101, MARK_TO_POD, TABLE_TO_POD).await?;
        local_table_after_marks(&handle).await?;
        route(&handle, (Ipv4Addr::UNSPECIFIED, 0), Some(router), ENI, TABLE_TO_WIRE).await?;
        for pod in pods {
            let table = if pod.strict() { TABLE_TO_POD } else { 254 };
            route(&handle, (pod.address, 32), None, pod.host_veth, table).await?;
            neighbour(&handle, pod.host_veth, pod.address, pod.mac).await?;
        }
        Ok(())
    });
}

/// Address, default route and gateway neighbour inside a pod, or of the outside host.
fn configure_host(netns: &Netns, address: Ipv4Addr, gateway_mac: [u8; 6]) {
    let work = || {
        netlink(async |handle| {
            handle.address().add(ifindex("eth0"), IpAddr::V4(address), 32).execute().await?;
            neighbour(&handle, "eth0", LINK_LOCAL, gateway_mac).await?;
            route(&handle, (Ipv4Addr::UNSPECIFIED, 0), Some(LINK_LOCAL), "eth0", 254).await
        })
    };
    netns.run(work).expect("enter namespace");
}

fn make_pods() -> [Pod; 4] {
    let specs = [
        ("eni0a", 21, None, 0, ENI_MAC),
        ("eni0b", 22, None, 2, SECOND_ENI_MAC),
        ("vlan0c", 31, Some(11), 1, [2, 0, 0, 3, 0, 31]),
        ("vlan0d", 32, Some(12), 1, [2, 0, 0, 3, 0, 32]),
    ];
    specs.map(|(host_veth, number, vlan, uplink, uplink_mac)| {
        let netns = new_netns();
        let mac = [2, 0, 0, 1, 0, number];
        let host_mac = [2, 0, 0, 2, 0, number];
        netlink(async |h| veth(&h, (host_veth, Some(host_mac)), (&netns, "eth0", mac)).await);
        let address = Ipv4Addr::new(10, 0, 1, number);
        configure_host(&netns, address, host_mac);
        let host_ifindex = ifindex(host_veth);
        Pod { netns, host_veth, address, mac, vlan, uplink, uplink_mac, host_ifindex }
    })
}

fn start_vpc(wire: &Netns, pods: &[Pod]) -> Vpc {
    let mut places = BTreeMap::from([
        (NODE, Place { port: 0, vlan: None, mac: ENI_MAC }),
        (OUTSIDE, Place { port: 3, vlan: None, mac: OUTSIDE_MAC }),
    ]);
    for pod in pods {
        places.insert(pod.address, Place { port: pod.uplink, vlan: pod.vlan, mac: pod.uplink_mac });
    }
    let open =
        || ["w0", "w1", "w2", "w3"].map(|name| Port::open(ifindex(name)).expect("packet socket"));
    Vpc::start(wire.run(open).expect("enter namespace").into(), places)
}

impl Lab {
    /// Builds everything and puts the calling thread into the node.
    pub fn new() -> Lab {
        let pins = private_bpffs();
        let [node, wire, outside] = [new_netns(), new_netns(), new_netns()];
        node.enter().expect("enter the node");
        netlink(async |handle| {
            veth(&handle, (ENI, Some(ENI_MAC)), (&wire, "w0", [2, 0, 0, 0, 0xee, 0])).await?;
            veth(&handle, (TRUNK, Some(TRUNK_MAC)), (&wire, "w1", [2, 0, 0, 0, 0xee, 1])).await?;
            let far = (&wire, "w2", [2, 0, 0, 0, 0xee, 2]);
            veth(&handle, (SECOND_ENI, Some(SECOND_ENI_MAC)), far).await
        });
        let plug = || {
            netlink(async |h| veth(&h, ("w3", None), (&outside, "eth0", OUTSIDE_MAC)).await);
        };
        wire.run(plug).expect("enter namespace");
        configure_host(&outside, OUTSIDE, ROUTER_MAC);
        let pods = make_pods();
        configure_node(&pods);
        let vpc = start_vpc(&wire, &pods);
        let open =
            || ["w0", "w1", "w2"].map(|name| Port::open(ifindex(name)).expect("packet socket"));
        let far = wire.run(open).expect("enter namespace");
        let datapath = NodeDatapath::open(&pins).expect("open the datapath");
        let mut lab = Lab { datapath, outside, node, far, vpc, pods, pins };
        lab.attach();
        for pod in &lab.pods {
            lab.datapath.put_endpoint(&endpoint(pod)).expect("put endpoint");
        }
        lab
    }

    /// What every agent does at its start.
    pub fn attach(&mut self) {
        let service_prefixes = vec![SERVICES.parse().expect("prefix")];
        let config = NodeConfig { service_prefixes, node_addresses: vec![NODE] };
        self.datapath.configure(&config).expect("configure");
        for uplink in UPLINKS {
            self.datapath.attach_uplink(uplink).expect("attach uplink");
        }
        for pod in &self.pods {
            self.datapath.attach_pod(pod.host_veth).expect("attach pod");
        }
    }

    /// The agent ends, and another starts.
    pub fn restart_agent(self) -> Lab {
        let Lab { datapath, outside, node, far, vpc, pods, pins } = self;
        drop(datapath);
        let datapath = NodeDatapath::open(&pins).expect("open the datapath again");
        let mut lab = Lab { datapath, outside, node, far, vpc, pods, pins };
        lab.attach();
        lab
    }

    pub fn count(&self, reason: Reason) -> u64 {
        let counters = self.datapath.counters().expect("counters");
        counters.iter().find(|(r, _)| *r == reason).map_or(0, |(_, count)| *count)
    }

    /// Stands in for kube-proxy: DNAT of Service addresses, masquerade of a pod behind its own
    /// Service, and the rule against what conntrack cannot place.
    pub fn dnat(&self, rules: &str, hairpins: &[Ipv4Addr]) {
        let masquerade: String = hairpins
            .iter()
            .map(|pod| format!("ip saddr {pod} ip daddr {pod} masquerade;\n"))
            .collect();
        let script = format!(
            "table ip lab {{
               chain services {{ type nat hook prerouting priority -100; {rules} }}
               chain hairpin {{ type nat hook postrouting priority 100; {masquerade} }}
               chain forwarded {{ type filter hook forward priority 0; ct state invalid drop; }}
             }}"
        );
        let mut nft = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("start nft (Debian package nftables)");
        nft.stdin.take().expect("stdin").write_all(script.as_bytes()).expect("write to nft");
        assert!(nft.wait().expect("nft").success(), "nft refused {script}");
    }
}

pub fn endpoint(pod: &Pod) -> Endpoint {
    Endpoint {
        host_ifindex: pod.host_ifindex,
        address: pod.address,
        pod_mac: pod.mac,
        uplink: Uplink {
            ifindex: ifindex(UPLINKS[pod.uplink]),
            vlan: pod.vlan,
            source_mac: pod.uplink_mac,
            gateway_mac: ROUTER_MAC,
        },
        strict: pod.strict(),
    }
}

/// A datagram whose answer is a thousand times as long, and so comes in fragments.
pub const GROW: &[u8] = b"grow";

/// A TCP server that reads to the end of what it is sent and answers with its client's address, and
/// all of it. A UDP one on the same port does so for each datagram.
pub struct Server {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

impl Server {
    pub fn start(netns: &Netns, address: Ipv4Addr, port: u16) -> Server {
        let address = SocketAddrV4::new(address, port);
        let sockets = netns.run(|| {
            (TcpListener::bind(address).expect("listen"), UdpSocket::bind(address).expect("bind"))
        });
        let (tcp, udp) = sockets.expect("enter namespace");
        tcp.set_nonblocking(true).expect("non-blocking");
        udp.set_read_timeout(Some(Duration::from_millis(20))).expect("timeout");
        let stop = Arc::new(AtomicBool::new(false));
        let [tcp_stop, udp_stop] = [stop.clone(), stop.clone()];
        let workers = vec![
            std::thread::spawn(move || serve_tcp(&tcp, &tcp_stop)),
            std::thread::spawn(move || serve_udp(&udp, &udp_stop)),
        ];
        Server { stop, workers }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

fn serve_tcp(listener: &TcpListener, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, peer)) => drop(answer(stream, peer)),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn answer(mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut body = Vec::new();
    stream.read_to_end(&mut body)?;
    stream.write_all(format!("{}\n", peer.ip()).as_bytes())?;
    stream.write_all(&body)
}

fn serve_udp(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let body = &buffer[..length];
            let mut reply = format!("{}\n", peer.ip()).into_bytes();
            reply.extend(if body == GROW { body.repeat(1000) } else { body.to_vec() });
            let _ = socket.send_to(&reply, peer);
        }
    }
}

/// Connects from `netns`, sends 200 kB both ways; whom the server saw.
pub fn ask(netns: &Netns, to: Ipv4Addr, port: u16) -> io::Result<Ipv4Addr> {
    let body = vec![b'x'; 200_000];
    netns.run(|| {
        let address = SocketAddrV4::new(to, port).into();
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(800))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.write_all(&body)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply)?;
        peer_of(&reply, &body)
    })?
}

fn peer_of(reply: &[u8], body: &[u8]) -> io::Result<Ipv4Addr> {
    let wrong = || io::Error::other(format!("a reply of {} bytes", reply.len()));
    let line = reply.iter().position(|byte| *byte == b'\n').ok_or_else(wrong)?;
    if reply[line + 1..] != *body {
        return Err(wrong());
    }
    let text = std::str::from_utf8(&reply[..line]).map_err(io::Error::other)?;
    text.parse().map_err(io::Error::other)
}

/// The same with one datagram from `source_port` (0: any).
pub fn ask_udp(
    netns: &Netns,
    source_port: u16,
    to: (Ipv4Addr, u16),
    body: &[u8],
) -> io::Result<Ipv4Addr> {
    let expected = if body == GROW { body.repeat(1000) } else { body.to_vec() };
    netns.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, source_port))?;
        socket.set_read_timeout(Some(Duration::from_millis(800)))?;
        socket.connect(to)?;
        socket.send(body)?;
        let mut reply = vec![0; expected.len() + 64];
        let received = socket.recv(&mut reply)?;
        peer_of(&reply[..received], &expected)
    })?
}
