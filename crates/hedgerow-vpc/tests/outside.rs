//! Gateways by the API alone: what calls make of packets, also over a restart. Needs root.

mod restarting;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use nix::sys::signal::Signal;
use restarting::{TIMEOUT, Vpc};

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)), 443);

/// A public subnet 10.0.1.0/24, a private one 10.0.2.0/24 with a route table of its own.
struct Network {
    vpc: Vpc,
    gateway: String,
    public: String,
    private: String,
    table: String,
    group: String,
}

impl Network {
    fn new(name: &str) -> Network {
        let mut vpc = Vpc::new(name);
        vpc.start(false);
        let (network, public) = vpc.network();
        let private = format!("CreateSubnet&VpcId={network}&CidrBlock=10.0.2.0/24");
        let private = vpc.ask(&private, "subnetId");
        let group = vpc.group(&network, "web");
        let gateway = vpc.ask("CreateInternetGateway", "internetGatewayId");
        let attach = format!("AttachInternetGateway&InternetGatewayId={gateway}&VpcId={network}");
        vpc.ask(&attach, "return");
        let find = format!("DescribeRouteTables&Filter.1.Name=vpc-id&Filter.1.Value.1={network}");
        let main = vpc.ask(&find, "routeTableId");
        let table = vpc.ask(&format!("CreateRouteTable&VpcId={network}"), "routeTableId");
        let join = format!("AssociateRouteTable&RouteTableId={table}&SubnetId={private}");
        vpc.ask(&join, "associationId");
        let network = Network { vpc, gateway, public, private, table, group };
        network.route("CreateRoute", &main, "GatewayId", &network.gateway);
        network
    }

    fn route(&self, action: &str, table: &str, kind: &str, target: &str) {
        let request =
            format!("{action}&RouteTableId={table}&DestinationCidrBlock=0.0.0.0/0&{kind}={target}");
        self.vpc.ask(&request, "return");
    }

    /// An instance with a public address, and that address.
    fn public_instance(&self, address: &str) -> (String, Ipv4Addr) {
        let (subnet, group) = (&self.public, &self.group);
        let request = format!(
            "RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1\
             &NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.AssociatePublicIpAddress=true\
             &NetworkInterface.1.SubnetId={subnet}&NetworkInterface.1.SecurityGroupId.1={group}\
             &NetworkInterface.1.PrivateIpAddress={address}"
        );
        let id = self.vpc.ask(&request, "instanceId");
        let public = self.vpc.ask(&format!("DescribeInstances&InstanceId.1={id}"), "ipAddress");
        (id, public.parse().expect("a public address"))
    }

    /// A new elastic address: its allocation, and it.
    fn allocate(&self) -> (String, Ipv4Addr) {
        let allocation = self.vpc.ask("AllocateAddress", "allocationId");
        let find = format!("DescribeAddresses&AllocationId.1={allocation}");
        let public = self.vpc.ask(&find, "publicIp").parse().expect("an address");
        (allocation, public)
    }

    /// Lets TCP to port 80 in from the servers outside.
    fn open_web(&self) {
        let group = &self.group;
        self.vpc.ask(
            &format!(
                "AuthorizeSecurityGroupIngress&GroupId={group}&IpProtocol=tcp&FromPort=80\
                 &ToPort=80&CidrIp=203.0.113.0/24"
            ),
            "return",
        );
    }

    fn connect(&self, from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
        let stream = self.vpc.inside(from, || TcpStream::connect_timeout(&to, TIMEOUT))?;
        stream.set_read_timeout(Some(TIMEOUT)).expect("timeout");
        Ok(stream)
    }
}

fn says(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).expect("send");
    let mut got = vec![0; bytes.len()];
    to.read_exact(&mut got).expect("receive");
    assert_eq!(got, bytes);
}

#[test]
fn public_and_private_instances_reach_the_internet_as_their_routes_and_addresses_say() {
    let mut network = Network::new("out");
    let listener =
        network.vpc.inside("internet", || TcpListener::bind(SERVER).expect("listen outside"));
    let (client, public) = network.public_instance("10.0.1.10");
    network.connect(&client, SERVER).expect("out");
    assert_eq!(listener.accept().expect("accept").1.ip(), public);
    let inside = network.vpc.inside(&client, || TcpListener::bind("0.0.0.0:80").expect("listen"));
    let comes_in = |network: &Network, public: Ipv4Addr| {
        network.connect("internet", (public, 80).into()).is_ok()
    };
    assert!(!comes_in(&network, public), "no rule lets it in");
    network.open_web();
    assert!(comes_in(&network, public), "by the rule, to the public address");
    inside.accept().expect("accept");

    // An elastic address takes the place of the one from the launch.
    let (allocation, elastic) = network.allocate();
    let associate = format!("AssociateAddress&AllocationId={allocation}&InstanceId={client}");
    let association = network.vpc.ask(&associate, "associationId");
    assert!(!comes_in(&network, public) && comes_in(&network, elastic));
    network.vpc.ask(&format!("DisassociateAddress&AssociationId={association}"), "return");
    assert!(!comes_in(&network, elastic), "nobody's");

    let private = network.vpc.run(&network.private, &network.group, "10.0.2.10");
    assert!(network.connect(&private, SERVER).is_err(), "no route");
    let nat = format!("CreateNatGateway&SubnetId={}&AllocationId={allocation}", network.public);
    let nat = network.vpc.ask(&nat, "natGatewayId");
    network.route("CreateRoute", &network.table, "NatGatewayId", &nat);
    let mut near = network.connect(&private, SERVER).expect("out by the NAT gateway");
    let (mut far, peer) = listener.accept().expect("accept");
    assert_eq!(peer.ip(), elastic);
    says(&mut near, &mut far, b"before");

    // Addresses, ports and what runs through them outlive the process.
    network.vpc.end(Signal::SIGKILL);
    says(&mut near, &mut far, b"meanwhile");
    network.vpc.start(false);
    says(&mut near, &mut far, b"the same connection");
    says(&mut far, &mut near, b"both ways");
    network.connect(&private, SERVER).expect("a new one");
    assert_eq!(listener.accept().expect("accept").1.ip(), elastic);

    network.route("ReplaceRoute", &network.table, "GatewayId", &network.gateway);
    assert!(network.connect(&private, SERVER).is_err(), "no public address of its own");
    network.route("ReplaceRoute", &network.table, "NatGatewayId", &nat);
    says(&mut near, &mut far, b"the route is back");
    network.vpc.ask(&format!("DeleteNatGateway&NatGatewayId={nat}"), "natGatewayId");
    assert!(network.connect(&private, SERVER).is_err(), "a blackhole");
}

/// UDP of a port of the instance to the server outside, which answers: whom it saw.
fn seen(client: &UdpSocket, server: &UdpSocket) -> Option<SocketAddr> {
    client.set_read_timeout(Some(TIMEOUT)).expect("timeout");
    client.send_to(b"who am I?", SERVER).expect("send");
    let mut buffer = [0; 16];
    let (_, peer) = server.recv_from(&mut buffer).ok()?;
    server.send_to(b"you", peer).expect("answer");
    client.recv_from(&mut buffer).expect("the answer");
    Some(peer)
}

#[test]
fn each_private_address_has_a_public_one_of_its_own() {
    let network = Network::new("each");
    network.open_web();
    let (client, first) = network.public_instance("10.0.1.10");
    let find = format!(
        "DescribeNetworkInterfaces&Filter.1.Name=attachment.instance-id&Filter.1.Value.1={client}"
    );
    let eni = network.vpc.ask(&find, "networkInterfaceId");
    let assign = format!("AssignPrivateIpAddresses&NetworkInterfaceId={eni}");
    network.vpc.ask(&format!("{assign}&PrivateIpAddress.1=10.0.1.50"), "return");
    let (allocation, second) = network.allocate();
    let associate = format!(
        "AssociateAddress&AllocationId={allocation}&NetworkInterfaceId={eni}\
         &PrivateIpAddress=10.0.1.50"
    );
    network.vpc.ask(&associate, "associationId");
    let add = ["address", "add", "10.0.1.50/32", "dev", "eth0"];
    let added = network.vpc.inside(&client, || Command::new("ip").args(add).status());
    assert!(added.expect("run ip").success());

    let server = network.vpc.inside("internet", || UdpSocket::bind(SERVER).expect("bind"));
    server.set_read_timeout(Some(TIMEOUT)).expect("timeout");
    let seen_from = |private: &str| {
        let bind = || UdpSocket::bind((private, 0)).expect("bind inside");
        seen(&network.vpc.inside(&client, bind), &server).map(|peer| peer.ip())
    };
    assert_eq!(seen_from("10.0.1.10"), Some(first.into()));
    assert_eq!(seen_from("10.0.1.50"), Some(second.into()));
    let inside = network.vpc.inside(&client, || TcpListener::bind("0.0.0.0:80").expect("listen"));
    for (public, private) in [(first, [10, 0, 1, 10]), (second, [10, 0, 1, 50])] {
        network.connect("internet", (public, 80).into()).expect("in");
        let (reached, _) = inside.accept().expect("accept");
        assert_eq!(reached.local_addr().expect("address").ip(), IpAddr::from(private));
    }

    let unassign = format!("UnassignPrivateIpAddresses&NetworkInterfaceId={eni}");
    network.vpc.ask(&format!("{unassign}&PrivateIpAddress.1=10.0.1.50"), "return");
    assert!(network.connect("internet", (second, 80).into()).is_err(), "nobody's");
    network.connect("internet", (first, 80).into()).expect("as before");
}

/// Public: elastic addresses are associated and disassociated while flows run.
#[test]
fn a_nat_gateway_goes_out_by_all_its_addresses() {
    let mut network = Network::new("nat");
    let server = network.vpc.inside("internet", || UdpSocket::bind(SERVER).expect("bind"));
    server.set_read_timeout(Some(TIMEOUT)).expect("timeout");
    let client = network.vpc.run(&network.private, &network.group, "10.0.2.10");
    let (first, one) = network.allocate();
    let create = format!("CreateNatGateway&SubnetId={}&AllocationId={first}", network.public);
    let nat = network.vpc.ask(&create, "natGatewayId");
    network.route("CreateRoute", &network.table, "NatGatewayId", &nat);
    let (second, two) = network.allocate();
    let associate = format!("AssociateNatGatewayAddress&NatGatewayId={nat}");
    let association =
        network.vpc.ask(&format!("{associate}&AllocationId.1={second}"), "associationId");

    let socket = |network: &Network| {
        network.vpc.inside(&client, || UdpSocket::bind("10.0.2.10:0").expect("bind"))
    };
    let sockets: Vec<UdpSocket> = (0..32).map(|_| socket(&network)).collect();
    let by: Vec<SocketAddr> =
        sockets.iter().map(|socket| seen(socket, &server).expect("out and back")).collect();
    for address in [one, two] {
        assert!(by.iter().any(|peer| peer.ip() == address), "{address} in {by:?}");
    }
    for (socket, peer) in sockets.iter().zip(&by) {
        assert_eq!(seen(socket, &server), Some(*peer), "a flow keeps its address and port");
    }

    // What drains serves its flows, also after a restart, and gets no new ones.
    let drain = format!(
        "DisassociateNatGatewayAddress&NatGatewayId={nat}&AssociationId.1={association}\
         &MaxDrainDurationSeconds=20"
    );
    assert_eq!(network.vpc.ask(&drain, "status"), "disassociating");
    network.vpc.end(Signal::SIGKILL);
    network.vpc.start(false);
    for (socket, peer) in sockets.iter().zip(&by) {
        assert_eq!(seen(socket, &server), Some(*peer), "the same flow");
    }
    for _ in 0..16 {
        let peer = seen(&socket(&network), &server).expect("a new flow");
        assert_eq!(peer.ip(), one);
    }
    let released = format!("DescribeAddresses&AllocationId.1={second}");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while network.vpc.send(&released).contains("associationId") {
        assert!(std::time::Instant::now() < deadline, "it is not released");
        std::thread::sleep(TIMEOUT / 10);
    }
    for socket in &sockets {
        assert_eq!(
            seen(socket, &server).map(|peer| peer.ip()),
            Some(one.into()),
            "all that is left"
        );
    }
}

/// Private: from two addresses to a server of another subnet.
#[test]
fn a_private_nat_gateway_has_several_addresses() {
    let network = Network::new("natp");
    let host = network.vpc.run(&network.public, &network.group, "10.0.1.20");
    let create = format!(
        "CreateNatGateway&SubnetId={}&ConnectivityType=private&PrivateIpAddress=10.0.1.5\
         &SecondaryPrivateIpAddress.1=10.0.1.6",
        network.public
    );
    let nat = network.vpc.ask(&create, "natGatewayId");
    let route = format!(
        "CreateRoute&RouteTableId={}&DestinationCidrBlock=10.0.1.0/24&NatGatewayId={nat}",
        network.table
    );
    network.vpc.ask(&route, "return");
    for address in ["10.0.1.5", "10.0.1.6"] {
        let rule = format!(
            "AuthorizeSecurityGroupIngress&GroupId={}&IpProtocol=udp&FromPort=53&ToPort=53\
             &CidrIp={address}/32",
            network.group
        );
        network.vpc.ask(&rule, "return");
    }
    let client = network.vpc.run(&network.private, &network.group, "10.0.2.10");
    let server = network.vpc.inside(&host, || UdpSocket::bind("10.0.1.20:53").expect("bind"));
    server.set_read_timeout(Some(TIMEOUT)).expect("timeout");
    let peers: Vec<IpAddr> = (0..32)
        .map(|_| {
            let bind = || UdpSocket::bind("10.0.2.10:0").expect("bind");
            let socket = network.vpc.inside(&client, bind);
            socket.send_to(b"x", "10.0.1.20:53").expect("send");
            let (_, peer) = server.recv_from(&mut [0; 4]).expect("by a rule for an address");
            peer.ip()
        })
        .collect();
    for address in [[10, 0, 1, 5], [10, 0, 1, 6]] {
        assert!(peers.contains(&IpAddr::from(address)), "{peers:?}");
    }
}

#[test]
fn a_subnet_gives_public_addresses_at_launch() {
    let network = Network::new("map");
    network.open_web();
    let (subnet, group) = (&network.public, &network.group);
    let reached = |instance: &str| {
        let find = format!("DescribeInstances&InstanceId.1={instance}");
        let public: Ipv4Addr = network.vpc.ask(&find, "ipAddress").parse().ok()?;
        let listen = || TcpListener::bind("0.0.0.0:80").expect("listen");
        let _listener = network.vpc.inside(instance, listen);
        network.connect("internet", (public, 80).into()).ok()?;
        Some(public)
    };
    let before = network.vpc.run(subnet, group, "10.0.1.10");
    let attribute = format!("ModifySubnetAttribute&SubnetId={subnet}&MapPublicIpOnLaunch.Value");
    network.vpc.ask(&format!("{attribute}=true"), "return");
    let after = network.vpc.run(subnet, group, "10.0.1.20");
    network.vpc.ask(&format!("{attribute}=false"), "return");
    let last = network.vpc.run(subnet, group, "10.0.1.30");
    let public = reached(&after).expect("in, by its public address");

    let listener = network.vpc.inside("internet", || TcpListener::bind(SERVER).expect("listen"));
    network.connect(&after, SERVER).expect("out");
    assert_eq!(listener.accept().expect("accept").1.ip(), public);
    for instance in [&before, &last] {
        assert_eq!(reached(instance), None, "it has none");
        assert!(network.connect(instance, SERVER).is_err(), "nor does it get out");
    }
}

#[test]
fn public_addresses_over_a_stop_and_a_start() {
    let network = Network::new("power");
    network.open_web();
    let (given, first) = network.public_instance("10.0.1.10");
    let (fixed, _) = network.public_instance("10.0.1.20");
    let (allocation, elastic) = network.allocate();
    let associate = format!("AssociateAddress&AllocationId={allocation}&InstanceId={fixed}");
    network.vpc.ask(&associate, "associationId");
    let serve = |instance: &str| {
        network.vpc.inside(instance, || TcpListener::bind("0.0.0.0:80").expect("listen"))
    };
    let reached = |public: Ipv4Addr| network.connect("internet", (public, 80).into()).is_ok();
    let public = || {
        let find = format!("DescribeInstances&InstanceId.1={given}");
        network.vpc.ask(&find, "ipAddress").parse::<Ipv4Addr>().ok()
    };
    let listeners = [serve(&given), serve(&fixed)];
    assert!(reached(first) && reached(elastic), "before");

    drop(listeners);
    let both = format!("InstanceId.1={given}&InstanceId.2={fixed}");
    network.vpc.ask(&format!("StopInstances&{both}"), "instanceId");
    assert_eq!(public(), None, "the address of the launch is given back");
    assert!(!reached(first) && !reached(elastic), "nobody is there");
    network.vpc.ask(&format!("StartInstances&{both}"), "instanceId");
    let second = public().expect("another address");
    assert_ne!(first, second);
    let _listeners = [serve(&given), serve(&fixed)];
    assert!(reached(second) && reached(elastic), "the new one, and the elastic one");
    assert!(!reached(first), "the old one is nobody's");
}
