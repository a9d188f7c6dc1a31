//! EC2's things as the controller and the agent need them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use hedgerow_core::mac::Mac;
use hedgerow_core::sg::{GroupId, Ipv4Prefix};

/// Tags, key to value.
pub type Tags = BTreeMap<String, String>;

/// EC2's `InterfaceType`, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InterfaceKind {
    /// `interface`: an ordinary one.
    Plain,
    /// `trunk`: carries tagged frames of branches.
    Trunk,
    /// `branch`: reached through a trunk by a VLAN id.
    Branch,
    /// Anything else (load balancers, NAT gateways, …): never ours.
    Other,
}

/// How an interface hangs on an instance. A branch has none: it hangs on a trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// `eni-attach-…`.
    pub id: String,
    /// `i-…`.
    pub instance: String,
    /// Device index, 0 for the primary interface.
    pub device_index: u8,
    /// Whether EC2 deletes the interface with the instance.
    pub delete_on_termination: bool,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// `eni-…`.
    pub id: String,
    /// MAC address.
    pub mac: Mac,
    /// Plain, trunk or branch.
    pub kind: InterfaceKind,
    /// `subnet-…`.
    pub subnet: String,
    /// `vpc-…`.
    pub vpc: String,
    /// Free text.
    pub description: String,
    /// Private IPv4 addresses, the primary one first.
    pub addresses: Vec<Ipv4Addr>,
    /// Groups on the interface.
    pub groups: Vec<GroupId>,
    /// Tags. **Empty in [`Instance::interfaces`]**: DescribeInstances does not tell them.
    pub tags: Tags,
    /// EC2's `Status`: `available`, `in-use`, … (an associated branch is `in-use`).
    pub status: String,
    /// Where it is plugged in.
    pub attachment: Option<Attachment>,
}

/// A running (or not) instance with the interfaces attached to it, by device index. Branches are
/// not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// `i-…`.
    pub id: String,
    /// `m5.xlarge`.
    pub instance_type: String,
    /// EC2's state name: `running`, `terminated`, ….
    pub state: String,
    /// Subnet of the primary interface.
    pub subnet: String,
    /// `vpc-…`.
    pub vpc: String,
    /// Account number of the owner.
    pub owner: String,
    /// Attached interfaces by device index.
    pub interfaces: Vec<Interface>,
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// `subnet-…`.
    pub id: String,
    /// `vpc-…`.
    pub vpc: String,
    /// Availability zone's name.
    pub zone: String,
    /// IPv4 block.
    pub block: Ipv4Prefix,
}

/// Which interfaces to describe. Conditions are joined by and; no condition means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceQuery {
    /// Exactly these; one that does not exist is EC2's error.
    pub ids: Vec<String>,
    /// Tags that must be there with this value.
    pub tags: Tags,
    /// Further EC2 filters: name and accepted values (`description`, `status`, `vpc-id`,
    /// `attachment.instance-id`, `interface-type`, …).
    pub filters: Vec<(String, Vec<String>)>,
}

/// What to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateInterface {
    /// `subnet-…`.
    pub subnet: String,
    /// Groups; empty gives the VPC's default group.
    pub groups: Vec<GroupId>,
    /// Free text.
    pub description: String,
    /// Plain, trunk or branch ([`InterfaceKind::Other`] is refused).
    pub kind: InterfaceKind,
    /// Tags from birth, so that a crash leaks nothing anonymous.
    pub tags: Tags,
    /// How many addresses besides the primary one.
    pub secondary_addresses: u32,
    /// Makes a repeated request return the first answer; at most 64 ASCII characters.
    pub client_token: String,
}
