//! Network interfaces: the record, making and deleting them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use hedgerow_core::sg::{Ipv4Prefix, Ipv6Prefix};
use serde::{Deserialize, Serialize};

use super::interface_describe::{InterfaceItem, interface_item};
use super::interface_ipv6::{Ipv6PrefixSpec, Ipv6Spec, NewIpv6, WantedIpv6};
use super::prefix::{self, PrefixSpec};
use super::region::{Resource, find, not_found};
use super::tags::{TagMap, TagSpecification, requested};
use super::time::Timestamp;
use super::timeouts::{TimeoutSpec, Timeouts};
use super::unsupported::{Given, refuse};
use super::{Context, Region, address, group, trunk};
use crate::api::Done;
use crate::api::error::Ec2Error;
use crate::effect::{Effect, InterfaceKey};

/// Addresses that an interface can have while no instance type says otherwise.
pub(crate) const UNATTACHED_ADDRESSES: usize = 50;

/// What an interface is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// An ordinary one.
    Interface,
    /// Carries branches, by VLAN.
    Trunk,
    /// Made for a trunk; has one address and no attachment of its own.
    Branch,
    /// A NAT gateway's, made and managed with it.
    NatGateway,
}

impl Kind {
    /// EC2's name of the interface type.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Interface => "interface",
            Kind::Trunk => "trunk",
            Kind::Branch => "branch",
            Kind::NatGateway => "nat_gateway",
        }
    }
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    pub(crate) id: String,
    /// Number in the fabric.
    pub(crate) key: InterfaceKey,
    pub(crate) vpc: String,
    pub(crate) subnet: String,
    pub(crate) mac: [u8; 6],
    /// Private addresses, the primary one first.
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// /28 prefixes whose addresses are all the interface's.
    pub(crate) prefixes: Vec<Ipv4Prefix>,
    /// IPv6 addresses.
    #[serde(default)]
    pub(crate) ipv6: Vec<Ipv6Addr>,
    /// /80 prefixes whose addresses are all the interface's.
    #[serde(default)]
    pub(crate) ipv6_prefixes: Vec<Ipv6Prefix>,
    /// Whether the first IPv6 address is the primary one, which stays.
    #[serde(default)]
    pub(crate) has_primary_ipv6: bool,
    /// Idle timeouts of tracked flows, where they differ from EC2's.
    pub(crate) timeouts: Timeouts,
    /// The AWS service that made it and manages it; only that service may change it.
    pub(crate) requester: Option<String>,
    /// Group ids in the order given.
    pub(crate) groups: Vec<String>,
    pub(crate) description: String,
    pub(crate) source_dest_check: bool,
    pub(crate) kind: Kind,
    pub(crate) attachment: Option<Attached>,
    /// Set while this is a branch on a trunk.
    pub(crate) association: Option<Association>,
    /// On a trunk: VLAN id to the branch's interface id.
    pub(crate) branches: BTreeMap<u16, String>,
}

/// An interface's attachment to an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attached {
    pub id: String,
    pub instance: String,
    pub device_index: u8,
    pub delete_on_termination: bool,
    pub since: Timestamp,
    /// Still `attaching`: see [`super::attaching`].
    #[serde(default)]
    pub attaching: bool,
}

/// A branch's association with its trunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Association {
    pub id: String,
    pub trunk: String,
    pub vlan: u16,
}

/// Leave for an account or service to attach an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    pub(crate) id: String,
    pub(crate) interface: String,
    pub(crate) account: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) permission: String,
}

impl Resource for Interface {
    const NOT_FOUND: &'static str = "InvalidNetworkInterfaceID.NotFound";
    const NOUN: &'static str = "networkInterface ID";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Interface {
    /// `available`, or `in-use` while attached or associated.
    pub(crate) fn status(&self) -> &'static str {
        let used = self.attachment.is_some() || self.association.is_some();
        if used || self.kind == Kind::NatGateway { "in-use" } else { "available" }
    }

    /// The primary private address.
    pub(crate) fn primary(&self) -> Ipv4Addr {
        self.addresses[0]
    }

    /// How many of the places that an instance type has on an interface are taken: an address or a
    /// prefix takes one.
    pub(crate) fn places(&self) -> usize {
        self.addresses.len() + self.prefixes.len()
    }

    /// `AuthFailure` where an AWS service manages the interface: its owner may look and tag.
    pub(crate) fn check_own(&self) -> Result<(), Ec2Error> {
        match self.requester {
            None => Ok(()),
            Some(_) => {
                let message = "You do not have permission to access the specified resource.";
                Err(Ec2Error::new("AuthFailure", message))
            }
        }
    }
}

/// A private address in requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AddressSpec {
    pub primary: Option<bool>,
    pub private_ip_address: Ipv4Addr,
}

/// What a request says of the addresses of a new interface.
#[derive(Debug, Clone, Default)]
pub(crate) struct WantedAddresses {
    pub primary: Option<Ipv4Addr>,
    pub listed: Vec<AddressSpec>,
    pub secondary_count: Option<u32>,
    pub prefixes: Vec<PrefixSpec>,
    pub prefix_count: Option<u32>,
    pub ipv6: WantedIpv6,
}

/// A new interface, checked: making it cannot fail. What [`NewInterface::in_subnet`] leaves out can
/// be set by structure update.
#[derive(Debug, Clone)]
pub(crate) struct NewInterface {
    pub subnet: String,
    pub groups: Vec<String>,
    /// Chosen by EC2 if absent.
    pub primary: Option<Ipv4Addr>,
    /// Secondary addresses that the request names.
    pub secondary: Vec<Ipv4Addr>,
    /// Secondary addresses that EC2 chooses.
    pub secondary_count: usize,
    /// Prefixes that the request names.
    pub prefixes: Vec<Ipv4Prefix>,
    /// Prefixes that EC2 chooses.
    pub prefix_count: usize,
    pub ipv6: NewIpv6,
    pub description: String,
    pub kind: Kind,
    pub timeouts: Timeouts,
    pub requester: Option<String>,
    pub tags: TagMap,
}

impl NewInterface {
    /// An ordinary interface with one address that EC2 chooses; subnet and groups were checked.
    pub fn in_subnet(subnet: String, groups: Vec<String>) -> Self {
        Self {
            subnet,
            groups,
            primary: None,
            secondary: Vec::new(),
            secondary_count: 0,
            prefixes: Vec::new(),
            prefix_count: 0,
            ipv6: NewIpv6::default(),
            description: String::new(),
            kind: Kind::Interface,
            timeouts: Timeouts::default(),
            requester: None,
            tags: TagMap::new(),
        }
    }

    /// How many single addresses the interface takes.
    pub fn address_count(&self) -> usize {
        1 + self.secondary.len() + self.secondary_count
    }

    /// As [`Interface::places`].
    pub fn places(&self) -> usize {
        self.address_count() + self.prefixes.len() + self.prefix_count
    }

    /// Checks what a request says of addresses, except that enough of them are free.
    pub fn addresses(
        mut self,
        region: &Region,
        wanted: &WantedAddresses,
    ) -> Result<Self, Ec2Error> {
        let subnet = find(&region.subnets, &self.subnet)?;
        self.primary = wanted.primary;
        for AddressSpec { primary, private_ip_address } in &wanted.listed {
            match (primary.unwrap_or(false), self.primary) {
                (true, None) => self.primary = Some(*private_ip_address),
                (true, Some(first)) if first != *private_ip_address => {
                    let message = "Only one primary private IP address can be specified.";
                    return Err(Ec2Error::new("InvalidParameterCombination", message));
                }
                (true, Some(_)) => {}
                (false, _) => self.secondary.push(*private_ip_address),
            }
        }
        let mut named = BTreeSet::new();
        for address in self.primary.iter().chain(&self.secondary) {
            subnet.check_free(*address)?;
            if !named.insert(*address) {
                let message = format!("The address {address} is given twice");
                return Err(Ec2Error::new("InvalidParameterValue", message));
            }
        }
        self.secondary_count = wanted.secondary_count.unwrap_or(0) as usize;
        if self.secondary_count > 0 && !self.secondary.is_empty() {
            let message = "Secondary private IP addresses are either named or counted, not both";
            return Err(Ec2Error::new("InvalidParameterCombination", message));
        }
        (self.prefixes, self.prefix_count) =
            prefix::wanted(subnet, &wanted.prefixes, wanted.prefix_count, &named)?;
        self.ipv6 = wanted.ipv6.checked(subnet)?;
        if self.places().max(self.ipv6.places()) > UNATTACHED_ADDRESSES {
            return Err(too_many_addresses());
        }
        Ok(self)
    }
}

/// `PrivateIpAddressLimitExceeded`.
pub(crate) fn too_many_addresses() -> Ec2Error {
    Ec2Error::new("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")
}

/// CreateNetworkInterface.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateNetworkInterface {
    subnet_id: String,
    description: Option<String>,
    #[serde(default, rename = "SecurityGroupId")]
    groups: Vec<String>,
    interface_type: Option<String>,
    private_ip_address: Option<Ipv4Addr>,
    #[serde(default, rename = "PrivateIpAddresses")]
    addresses: Vec<AddressSpec>,
    secondary_private_ip_address_count: Option<u32>,
    #[serde(default, rename = "Ipv4Prefix")]
    prefixes: Vec<PrefixSpec>,
    ipv4_prefix_count: Option<u32>,
    #[serde(default)]
    ipv6_addresses: Vec<Ipv6Spec>,
    ipv6_address_count: Option<u32>,
    connection_tracking_specification: Option<TimeoutSpec>,
    #[serde(default, rename = "TagSpecification")]
    tag_specifications: Vec<TagSpecification>,
    client_token: Option<String>,
    #[serde(default, rename = "Ipv6Prefix")]
    ipv6_prefixes: Vec<Ipv6PrefixSpec>,
    ipv6_prefix_count: Option<u32>,
    enable_primary_ipv6: Option<bool>,
    operator: Given,
}

/// Answer of CreateNetworkInterface.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedInterface {
    network_interface: InterfaceItem,
    client_token: Option<String>,
}

pub(crate) fn create(
    cx: &mut Context<'_>,
    request: CreateNetworkInterface,
) -> Result<CreatedInterface, Ec2Error> {
    let region = &*cx.region;
    refuse(&[("Operator", request.operator.is_some())])?;
    let subnet = find(&region.subnets, &request.subnet_id)?;
    // This action alone calls a missing group so; everywhere else it is InvalidGroup.NotFound.
    let unknown = |id: &str| {
        let message = format!("The securityGroup ID '{id}' does not exist");
        Ec2Error::new("InvalidSecurityGroupID.NotFound", message)
    };
    let limit = cx.quotas.groups_per_interface;
    let groups = group::check_on_interface(region, &subnet.vpc, &request.groups, limit, unknown)?;
    let kind = "network-interface";
    let new = NewInterface {
        description: described(request.description.unwrap_or_default())?,
        kind: kind_of(request.interface_type.as_deref())?,
        timeouts: Timeouts::new(request.connection_tracking_specification.as_ref())?,
        tags: requested(&request.tag_specifications, &[kind], kind)?,
        ..NewInterface::in_subnet(subnet.id.clone(), groups)
    };
    let wanted = WantedAddresses {
        primary: request.private_ip_address,
        listed: request.addresses,
        secondary_count: request.secondary_private_ip_address_count,
        prefixes: request.prefixes,
        prefix_count: request.ipv4_prefix_count,
        ipv6: WantedIpv6 {
            named: request.ipv6_addresses,
            count: request.ipv6_address_count,
            prefixes: request.ipv6_prefixes,
            prefix_count: request.ipv6_prefix_count,
            primary: request.enable_primary_ipv6,
        },
    };
    let new = new.addresses(region, &wanted)?;
    check_branch(new.kind, new.places().max(new.ipv6.places()))?;
    prefix::check_room(subnet, &[&new], 1)?;
    let id = make(cx, new);
    cx.effects.push(cx.region.put_interface(&id));
    let network_interface = interface_item(cx.region, &cx.region.interfaces[&id]);
    Ok(CreatedInterface { network_interface, client_token: request.client_token })
}

/// `PrivateIpAddressLimitExceeded` for a branch with more than its one address (REFERENCE §5).
fn check_branch(kind: Kind, places: usize) -> Result<(), Ec2Error> {
    if kind == Kind::Branch && places > 1 { Err(too_many_addresses()) } else { Ok(()) }
}

/// A description of at most 255 characters.
pub(crate) fn described(text: String) -> Result<String, Ec2Error> {
    if text.chars().count() > 255 {
        let message = "The description is longer than 255 characters";
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    Ok(text)
}

/// The kind that `InterfaceType` names.
pub(crate) fn kind_of(name: Option<&str>) -> Result<Kind, Ec2Error> {
    match name {
        None | Some("interface") => Ok(Kind::Interface),
        Some("trunk") => Ok(Kind::Trunk),
        Some("branch") => Ok(Kind::Branch),
        Some("efa" | "efa-only") => {
            refuse(&[("InterfaceType=efa", true)]).map(|()| Kind::Interface)
        }
        Some(other) => {
            let why = "Interfaces here are of type interface, trunk or branch.";
            Err(Ec2Error::value("interfaceType", other, why))
        }
    }
}

/// Makes a checked interface. The effect is the caller's: it may attach the interface first.
pub(crate) fn make(cx: &mut Context<'_>, new: NewInterface) -> String {
    let id = cx.mint.id("eni");
    let subnet = cx.region.subnets.get_mut(&new.subnet).expect("the subnet was checked");
    let reserved =
        prefix::reserve(subnet, &id, &new).expect("the caller checked that there is room");
    let interface = Interface {
        id: id.clone(),
        key: cx.mint.key(),
        vpc: subnet.vpc.clone(),
        subnet: new.subnet,
        mac: cx.mint.mac(),
        addresses: reserved.addresses,
        prefixes: reserved.prefixes,
        ipv6: reserved.ipv6,
        ipv6_prefixes: reserved.ipv6_prefixes,
        has_primary_ipv6: new.ipv6.primary,
        timeouts: new.timeouts,
        requester: new.requester,
        groups: new.groups,
        description: new.description,
        source_dest_check: true,
        kind: new.kind,
        attachment: None,
        association: None,
        branches: BTreeMap::new(),
    };
    cx.region.interfaces.insert(id.clone(), interface);
    cx.region.set_tags(&id, new.tags);
    id
}

/// DeleteNetworkInterface.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteNetworkInterface {
    network_interface_id: String,
}

pub(crate) fn delete(
    cx: &mut Context<'_>,
    request: DeleteNetworkInterface,
) -> Result<Done, Ec2Error> {
    let id = request.network_interface_id;
    let interface = find(&cx.region.interfaces, &id)?;
    interface.check_own()?;
    if interface.attachment.is_some() {
        let message = format!("Network interface '{id}' is currently in use.");
        return Err(Ec2Error::new("InvalidNetworkInterface.InUse", message));
    }
    remove(cx, &id);
    Ok(Done::new())
}

/// Removes an interface and all that hangs on it: its association, its branches' associations, its
/// attachment, addresses, permissions, tags.
pub(crate) fn remove(cx: &mut Context<'_>, id: &str) {
    trunk::release(cx, id);
    trunk::release_branches(cx, id);
    let Some(interface) = cx.region.interfaces.remove(id) else { return };
    address::forget_interface(cx.region, id);
    if let Some(attachment) = &interface.attachment {
        cx.region.attachments.remove(&attachment.id);
    }
    if let Some(subnet) = cx.region.subnets.get_mut(&interface.subnet) {
        let delegated = interface.prefixes.iter().flat_map(prefix::addresses);
        for address in interface.addresses.iter().copied().chain(delegated) {
            subnet.taken.remove(&address);
        }
        if let Some(ipv6) = &mut subnet.ipv6 {
            ipv6.free(&interface.ipv6, &interface.ipv6_prefixes);
        }
    }
    cx.region.permissions.retain(|_, permission| permission.interface != id);
    cx.region.tags.remove(id);
    cx.effects.push(Effect::RemoveInterface(interface.key));
}

/// `InvalidNetworkInterfaceID.NotFound` for this id.
pub(crate) fn unknown(id: &str) -> Ec2Error {
    not_found::<Interface>(id)
}
