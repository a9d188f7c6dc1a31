//! What a state change asks of the machine: the seam between the EC2 state machine and the packets.
//!
//! `state` decides and returns effects; `wire` carries them out, in order, before the API answers.
//! In `--records-only` mode nobody listens.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use hedgerow_core::sg::{Group, GroupId, Ipv4Prefix};

/// Number of an interface in the fabric; never reused within a VPC process, so that a flow tracked
/// for a deleted interface can never match a new one with the same address. Keys start at 1.
pub type InterfaceKey = u32;

/// A VPC as the fabric needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VpcView {
    /// Small number of the VPC in the fabric; never reused.
    pub key: u32,
    /// `vpc-…`.
    pub id: String,
    /// IPv4 blocks.
    pub blocks: Vec<Ipv4Prefix>,
}

/// A subnet as the fabric needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetView {
    /// `subnet-…`.
    pub id: String,
    /// The VPC's [`VpcView::key`].
    pub vpc: u32,
    /// Block; base + 1 is the router, which answers ARP there.
    pub block: Ipv4Prefix,
}

/// Where an interface's frames enter and leave.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Everything the fabric knows of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Private addresses, the primary one first.
    pub addresses: Vec<Ipv4Addr>,
    /// Groups on the interface.
    pub groups: BTreeSet<GroupId>,
    /// Whether frames must carry one of `addresses` as source, and packets are delivered only by them.
    pub source_dest_check: bool,
    /// Where it is plugged in; `None` while available.
    pub attachment: Option<Attachment>,
}

/// One thing to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A VPC exists: its service namespace (IMDS, EC2 endpoint) is made.
    PutVpc(VpcView),
    /// The VPC is gone.
    RemoveVpc(u32),
    /// A subnet exists.
    PutSubnet(SubnetView),
    /// The subnet is gone.
    RemoveSubnet(SubnetView),
    /// An instance runs: its network namespace is made, with `lo` up.
    StartInstance {
        /// `i-…`.
        instance: String,
    },
    /// The instance is gone: its namespace goes with everything in it.
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
}
