//! VPCs with IPv6, what is in them, and what logs say of it.

use std::fmt::Debug;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::restarting::{TIMEOUT, Vpc};

/// Addresses twice, direction, path, type, reason.
const FORMAT: &str = "$%7Bsrcaddr%7D%20$%7Bdstaddr%7D%20$%7Bpkt-srcaddr%7D%20$%7Bpkt-dstaddr%7D%20\
     $%7Bflow-direction%7D%20$%7Btraffic-path%7D%20$%7Btype%7D%20$%7Breject-reason%7D";
/// How long a drop may take to the log.
pub const SOON: Duration = Duration::from_secs(5);
/// How long to wait for what must not come.
pub const SILENCE: Duration = Duration::from_millis(300);

/// What a test does with the process.
pub struct Lab {
    pub vpc: Vpc,
    log: PathBuf,
    logs: PathBuf,
}

/// A dual-stack VPC with an internet gateway, and a route to it in its main table.
pub struct Network {
    pub id: String,
    /// `3fff:…` up to its last byte and a half.
    block: String,
    pub gateway: String,
    table: String,
    group: String,
}

pub struct Instance {
    pub id: String,
    pub address: Ipv6Addr,
    interface: String,
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Its last lines are written at its end.
        self.vpc.end(Signal::SIGTERM);
        let _absent = std::fs::remove_file(&self.log);
        let _absent = std::fs::remove_dir_all(&self.logs);
    }
}

impl Lab {
    pub fn new(what: &str) -> Lab {
        let mut vpc = Vpc::new(what);
        let log = vpc.directory.with_extension("json");
        let logs = vpc.directory.with_extension("logs");
        let leaked = |path: &Path| -> &'static str { path.display().to_string().leak() };
        vpc.options = vec!["--flow-log-json", leaked(&log), "--flow-log-dir", leaked(&logs)];
        vpc.options.extend(["--flow-log-interval", "1"]);
        vpc.start(false);
        Lab { vpc, log, logs }
    }

    pub fn network(&self, v4: &str) -> Network {
        let create = format!("CreateVpc&CidrBlock={v4}&AmazonProvidedIpv6CidrBlock=true");
        let id = self.vpc.ask(&create, "vpcId");
        let block = self.vpc.ask(&format!("DescribeVpcs&VpcId.1={id}"), "ipv6CidrBlock");
        let block = block.strip_suffix("00::/56").expect("a /56").to_owned();
        let gateway = self.vpc.ask("CreateInternetGateway", "internetGatewayId");
        let attach = format!("AttachInternetGateway&InternetGatewayId={gateway}&VpcId={id}");
        self.vpc.ask(&attach, "return");
        let find = format!("DescribeRouteTables&Filter.1.Name=vpc-id&Filter.1.Value.1={id}");
        let table = self.vpc.ask(&find, "routeTableId");
        let group = self.vpc.group(&id, "web");
        let network = Network { id, block, gateway, table, group };
        self.route("CreateRoute", &network, &format!("GatewayId={}", network.gateway));
        network
    }

    /// Sets where everything goes.
    pub fn route(&self, action: &str, network: &Network, target: &str) {
        let table = &network.table;
        let request =
            format!("{action}&RouteTableId={table}&DestinationIpv6CidrBlock=::/0&{target}");
        self.vpc.ask(request.trim_end_matches('&'), "return");
    }

    pub fn egress_gateway(&self, network: &Network) -> String {
        let create = format!("CreateEgressOnlyInternetGateway&VpcId={}", network.id);
        self.vpc.ask(&create, "egressOnlyInternetGatewayId")
    }

    pub fn subnet(&self, network: &Network, v4: &str, number: u8) -> String {
        let Network { id, block, .. } = network;
        let request = format!(
            "CreateSubnet&VpcId={id}&CidrBlock={v4}&Ipv6CidrBlock={block}{number:02x}::/64"
        );
        self.vpc.ask(&request, "subnetId")
    }

    pub fn instance(&self, network: &Network, subnet: &str) -> Instance {
        let request = format!(
            "RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1\
             &SubnetId={subnet}&SecurityGroupId.1={}&Ipv6AddressCount=1",
            network.group
        );
        let id = self.vpc.ask(&request, "instanceId");
        let of = |element| self.vpc.ask(&format!("DescribeInstances&InstanceId.1={id}"), element);
        let address = of("ipv6Address").parse().expect("an IPv6 address");
        let interface = of("networkInterfaceId");
        Instance { id, address, interface }
    }

    /// Lets traffic in, or takes it back.
    pub fn ingress(&self, action: &str, network: &Network, traffic: &str, peer: &str) {
        let group = &network.group;
        let request = format!(
            "{action}SecurityGroupIngress&GroupId={group}&IpPermissions.1.IpProtocol={traffic}\
             &IpPermissions.1.Ipv6Ranges.1.CidrIpv6={peer}"
        );
        self.vpc.ask(&request, "return");
    }

    pub fn listen(&self, place: &str, at: (Ipv6Addr, u16)) -> TcpListener {
        self.vpc.inside(place, || TcpListener::bind(at).expect("listen"))
    }

    pub fn udp(&self, place: &str, at: (Ipv6Addr, u16)) -> UdpSocket {
        let socket = self.vpc.inside(place, || UdpSocket::bind(at).expect("bind"));
        socket.set_read_timeout(Some(SILENCE)).expect("timeout");
        socket
    }

    pub fn connect(&self, from: &str, to: (Ipv6Addr, u16)) -> std::io::Result<TcpStream> {
        let to = SocketAddr::from(to);
        let stream = self.vpc.inside(from, || TcpStream::connect_timeout(&to, TIMEOUT))?;
        stream.set_read_timeout(Some(SOON)).expect("timeout");
        Ok(stream)
    }

    /// Runs `ip` in the Internet's namespace.
    pub fn outside(&self, command: &str) {
        let run = || Command::new("ip").args(command.split(' ')).status().expect("run ip");
        assert!(self.vpc.inside("internet", run).success(), "ip {command}");
    }

    /// Waits for a drop in the log: its reason, and its gate's interface or the absence of one.
    pub fn dropped(&self, reason: &str, interface: Option<&Instance>, destination: Ipv6Addr) {
        let interface = interface.map_or("null".to_owned(), |i| format!("\"{}\"", i.interface));
        let wanted = [
            format!("\"reason\":\"{reason}\""),
            format!("\"interface\":{interface}"),
            format!("\"destination\":\"{destination}\""),
        ];
        has_line(&self.log, |line| wanted.iter().all(|part| line.contains(part)), &wanted);
    }

    /// Makes a flow log of all interfaces in the VPC.
    pub fn write_flow_log(&self, network: &Network) {
        let create = format!(
            "CreateFlowLogs&ResourceType=VPC&ResourceId.1={}&TrafficType=ALL&LogGroupName=six\
             &DeliverLogsPermissionArn=arn:aws:iam::1:role/r&LogFormat={FORMAT}",
            network.id
        );
        self.vpc.ask(&create, "item");
    }

    /// Waits for a line of it.
    pub fn logged(&self, instance: &Instance, wanted: &str) {
        let file = self.logs.join(format!("cloud-watch-logs/six/{}-all", instance.interface));
        has_line(&file, |line| line == wanted, &wanted);
    }
}

fn has_line(file: &Path, fits: impl Fn(&str) -> bool, wanted: &dyn Debug) {
    let deadline = Instant::now() + SOON;
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if text.lines().any(&fits) {
            return;
        }
        assert!(Instant::now() < deadline, "{}: no line {wanted:?}:\n{text}", file.display());
        std::thread::sleep(Duration::from_millis(50));
    }
}
