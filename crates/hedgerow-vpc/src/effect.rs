//! What a state change asks of the machine: the seam between the EC2 state machine and the packets.
//!
//! `state` decides and returns effects; `wire` carries them out, in order, before the API answers.
//! In `--records-only` mode nobody listens.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use hedgerow_core::sg::{Group, GroupId, IpPrefix, Ipv4Prefix, Ipv6Prefix};
use serde::{Deserialize, Serialize};

/// Number of an interface in the fabric; never reused within a VPC process, so that a flow tracked
/// for a deleted interface can never match a new one with the same address. Keys start at 1.
pub type InterfaceKey = u32;

/// Addresses that are public here: RFC 2544's range for network tests, so that nothing can be meant
/// for the real Internet.
pub const PUBLIC_ADDRESSES: Ipv4Prefix =
    Ipv4Prefix { address: Ipv4Addr::new(198, 18, 0, 0), len: 15 };

/// Where VPCs get their IPv6 blocks from: RFC 9637's range for documentation, for the same reason.
pub const PUBLIC_ADDRESSES_V6: Ipv6Prefix =
    Ipv6Prefix { address: Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), len: 20 };

/// A VPC as the fabric needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcView {
    /// Small number of the VPC in the fabric; never reused.
    pub key: u32,
    /// `vpc-…`.
    pub id: String,
    /// IPv4 blocks.
    pub blocks: Vec<Ipv4Prefix>,
    /// IPv6 blocks, which are nobody else's.
    #[serde(default)]
    pub blocks_v6: Vec<Ipv6Prefix>,
}

impl VpcView {
    /// Where the VPC's DNS is besides the link-local address: base + 2 of its first block.
    pub(crate) fn dns(&self) -> Option<Ipv4Addr> {
        self.blocks.first().map(|block| block.nth(2))
    }
}

/// A subnet as the fabric needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetView {
    /// `subnet-…`.
    pub id: String,
    /// The VPC's [`VpcView::key`].
    pub vpc: u32,
    /// Block; base + 1 is the router, which answers ARP there.
    pub block: Ipv4Prefix,
    /// IPv6 block, if it has one.
    pub block_v6: Option<Ipv6Prefix>,
    /// [`RouteTableView::key`] of the table that decides where its packets go.
    pub route_table: u32,
    /// [`AclView::key`] of the list that guards its edge.
    pub acl: u32,
}

/// A route table as the fabric needs it: the longest matching prefix decides, and what no route
/// matches is dropped. A prefix occurs once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTableView {
    /// Number of the table in the fabric; never reused, from 1.
    pub key: u32,
    /// `rtb-…`.
    pub id: String,
    /// Destination and target.
    pub routes: Vec<(IpPrefix, RouteTarget)>,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteTarget {
    /// The interface in the VPC that has the destination address.
    Local,
    /// This interface, whatever the destination address; it must not check destinations.
    Interface(InterfaceKey),
    /// `igw-…`: the outside, for interfaces that have a public address; those of IPv6 are.
    InternetGateway(String),
    /// The NAT gateway of this key ([`Effect::PutNatGateway`]).
    NatGateway(u32),
    /// `eigw-…`: the outside over IPv6, for flows that start inside.
    EgressOnlyInternetGateway(String),
    /// The target is gone: packets are dropped.
    Blackhole,
}

/// A network ACL as the fabric needs it: stateless, the first entry that matches decides, and what
/// no entry matches is denied. It judges packets that enter or leave the subnet, not those that stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclView {
    /// Number of the list in the fabric; never reused, from 1.
    pub key: u32,
    /// `acl-…`.
    pub id: String,
    /// Entries for packets into the subnet, in the order of their numbers.
    pub ingress: Vec<AclEntry>,
    /// Entries for packets out of the subnet, in the order of their numbers.
    pub egress: Vec<AclEntry>,
}

/// One entry of a network ACL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclEntry {
    /// 1 to 32766; unique in its direction.
    pub number: u16,
    /// Whether a matching packet passes.
    pub allow: bool,
    /// IP protocol; every one if absent.
    pub protocol: Option<u8>,
    /// First and last destination port, for TCP and UDP; every one if absent.
    pub ports: Option<(u16, u16)>,
    /// Type and code, for ICMP and ICMPv6; `None` inside is every type or every code.
    pub icmp: Option<(Option<u8>, Option<u8>)>,
    /// The other side: source of ingress, destination of egress.
    pub cidr: IpPrefix,
}

/// Where an interface's frames enter and leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attachment {
    /// Hot-plugged into an instance as `eth<device_index>`; frames are untagged.
    Instance {
        /// `i-…`.
        instance: String,
        /// Device index, 0 for the primary interface.
        device_index: u8,
    },
    /// A branch: tagged frames on the trunk's port.
    Trunk {
        /// The trunk's key.
        trunk: InterfaceKey,
        /// VLAN id.
        vlan: u16,
    },
}

/// How long a tracked flow of an interface may be idle, seconds ("Idle connection tracking timeout",
/// Amazon EC2 User Guide).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionTimeouts {
    /// TCP connections after the handshake, 60 to 432,000.
    pub tcp_established: u32,
    /// UDP flows with packets in both directions, more than one request, 60 to 180.
    pub udp_stream: u32,
    /// Other UDP flows, 30 to 60.
    pub udp: u32,
}

impl Default for ConnectionTimeouts {
    fn default() -> Self {
        Self { tcp_established: 432_000, udp_stream: 180, udp: 30 }
    }
}

/// Everything the fabric knows of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceView {
    /// See [`InterfaceKey`].
    pub key: InterfaceKey,
    /// `eni-…`.
    pub id: String,
    /// The VPC's [`VpcView::key`].
    pub vpc: u32,
    /// Subnet block, and with it the router's address (base + 1).
    pub subnet: Ipv4Prefix,
    /// MAC address.
    pub mac: [u8; 6],
    /// `subnet-…`; route table and ACL come with its [`SubnetView`].
    pub subnet_id: String,
    /// Private IPv4 addresses, the primary one first; those of delegated /28 prefixes one by one at
    /// the end.
    pub addresses: Vec<Ipv4Addr>,
    /// IPv6 addresses.
    pub ipv6: Vec<Ipv6Addr>,
    /// Delegated IPv6 prefixes, /80.
    pub ipv6_prefixes: Vec<Ipv6Prefix>,
    /// Private addresses that an internet gateway exchanges with public ones, and those.
    pub publics: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// Groups on the interface.
    pub groups: BTreeSet<GroupId>,
    /// Whether frames must carry an address of its own as source, and packets are delivered only by them.
    pub source_dest_check: bool,
    /// Idle timeouts of its flows; EC2's defaults if absent.
    pub timeouts: Option<ConnectionTimeouts>,
    /// Where it is plugged in; `None` while available, and while its instance is stopped.
    pub attachment: Option<Attachment>,
    /// Whether a flow log covers it: its packets are counted.
    #[serde(default)]
    pub logged: bool,
}

/// A database server as the process that runs it needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseView {
    /// The region whose record it is.
    pub region: String,
    /// The name its user gave it.
    pub id: String,
    /// `db-…`: names its network namespace, as an instance's id does.
    pub instance: String,
    /// Where it listens.
    pub address: Ipv4Addr,
    /// TCP port it listens on.
    pub port: u16,
    /// The user that may do everything.
    pub user: String,
    /// That user's password.
    pub password: String,
    /// A database to make, beside those that every server has.
    pub database: Option<String>,
}

/// One thing to carry out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// A VPC exists: its service namespace (IMDS, EC2 endpoint) is made.
    PutVpc(VpcView),
    /// The VPC is gone.
    RemoveVpc(u32),
    /// A subnet exists, or has another route table or ACL than before. Both were put earlier.
    PutSubnet(SubnetView),
    /// The subnet is gone.
    RemoveSubnet(SubnetView),
    /// An instance runs: its network namespace is made, with `lo` up.
    StartInstance {
        /// `i-…`.
        instance: String,
    },
    /// The instance stopped or is gone: its namespace goes with everything in it. Interfaces that
    /// stay with a stopped instance were put without an attachment before, and are put with one
    /// again after the next [`Effect::StartInstance`].
    RemoveInstance {
        /// `i-…`.
        instance: String,
    },
    /// The interface is new or changed: addresses, groups, attachment. The whole truth, every time.
    /// When it takes effect, the next new connection is judged by it.
    PutInterface(InterfaceView),
    /// The interface is gone.
    RemoveInterface(InterfaceKey),
    /// The group is new or its rules changed.
    PutGroup {
        /// The VPC's [`VpcView::key`].
        vpc: u32,
        /// Id and rules.
        group: Group,
    },
    /// The group is gone; nothing refers to it.
    RemoveGroup {
        /// The VPC's [`VpcView::key`].
        vpc: u32,
        /// `sg-…`.
        group: GroupId,
    },
    /// The route table is new or its routes changed: the next packet goes by it.
    PutRouteTable {
        /// The VPC's [`VpcView::key`].
        vpc: u32,
        /// Key and routes.
        table: RouteTableView,
    },
    /// The route table is gone; no subnet has it.
    RemoveRouteTable {
        /// The VPC's [`VpcView::key`].
        vpc: u32,
        /// [`RouteTableView::key`].
        key: u32,
    },
    /// The network ACL is new or its entries changed: the next packet is judged by it.
    PutNetworkAcl {
        /// The VPC's [`VpcView::key`].
        vpc: u32,
        /// Key and entries.
        acl: AclView,
    },
    /// The network ACL is gone; no subnet has it.
    RemoveNetworkAcl {
        /// The VPC's [`VpcView::key`].
        vpc: u32,
        /// [`AclView::key`].
        key: u32,
    },
    /// A NAT gateway works behind this interface, which was put before.
    PutNatGateway {
        /// Number of the gateway in the fabric; never reused, from 1.
        key: u32,
        /// The VPC's [`VpcView::key`].
        vpc: u32,
        /// Its interface.
        interface: InterfaceKey,
        /// Addresses of the interface from which new flows go on, the primary one first.
        addresses: Vec<Ipv4Addr>,
        /// Addresses of the interface that serve the flows that they have.
        draining: Vec<Ipv4Addr>,
    },
    /// The NAT gateway is gone.
    RemoveNatGateway {
        /// Its number in the fabric.
        key: u32,
    },
    /// The internet gateway is attached to the VPC.
    PutInternetGateway {
        /// `igw-…`.
        id: String,
        /// The VPC's [`VpcView::key`].
        vpc: u32,
    },
    /// The internet gateway is no longer attached.
    RemoveInternetGateway {
        /// `igw-…`.
        id: String,
        /// The VPC's [`VpcView::key`].
        vpc: u32,
    },
    /// The VPC has this egress-only internet gateway.
    PutEgressGateway {
        /// `eigw-…`.
        id: String,
        /// The VPC's [`VpcView::key`].
        vpc: u32,
    },
    /// The egress-only internet gateway is gone.
    RemoveEgressGateway {
        /// `eigw-…`.
        id: String,
        /// The VPC's [`VpcView::key`].
        vpc: u32,
    },
    /// A PostgreSQL server starts in the namespace of this name, which was made before. It is up
    /// some seconds after the answer.
    StartDatabase(DatabaseView),
    /// The server of this namespace ends, and its data go.
    StopDatabase {
        /// [`DatabaseView::instance`].
        instance: String,
    },
}
