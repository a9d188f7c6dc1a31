//! Network interfaces: the record, making and deleting them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::interface_describe::{InterfaceItem, interface_item};
use super::region::{Resource, find, not_found};
use super::tags::{TagMap, TagSpecification, requested};
use super::time::Timestamp;
use super::{Context, Region, group, trunk};
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
}

impl Kind {
    /// EC2's name of the interface type.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Interface => "interface",
            Kind::Trunk => "trunk",
            Kind::Branch => "branch",
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
        if self.attachment.is_some() || self.association.is_some() { "in-use" } else { "available" }
    }

    /// The primary private address.
    pub(crate) fn primary(&self) -> Ipv4Addr {
        self.addresses[0]
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
}

/// A new interface, checked: making it cannot fail.
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
    pub description: String,
    pub kind: Kind,
    pub tags: TagMap,
}

impl NewInterface {
    /// How many addresses the interface takes.
    pub fn address_count(&self) -> usize {
        1 + self.secondary.len() + self.secondary_count
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
        if self.address_count() > UNATTACHED_ADDRESSES {
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
    #[serde(default, rename = "TagSpecification")]
    tag_specifications: Vec<TagSpecification>,
    client_token: Option<String>,
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
        subnet: subnet.id.clone(),
        groups,
        primary: None,
        secondary: Vec::new(),
        secondary_count: 0,
        description: request.description.unwrap_or_default(),
        kind: kind_of(request.interface_type.as_deref())?,
        tags: requested(&request.tag_specifications, &[kind], kind)?,
    };
    let wanted = WantedAddresses {
        primary: request.private_ip_address,
        listed: request.addresses,
        secondary_count: request.secondary_private_ip_address_count,
    };
    let new = new.addresses(region, &wanted)?;
    subnet.check_room(new.address_count() as u64)?;
    let id = make(cx, new);
    cx.effects.push(cx.region.put_interface(&id));
    let network_interface = interface_item(cx.region, &cx.region.interfaces[&id]);
    Ok(CreatedInterface { network_interface, client_token: request.client_token })
}

/// The kind that `InterfaceType` names.
pub(crate) fn kind_of(name: Option<&str>) -> Result<Kind, Ec2Error> {
    match name {
        None | Some("interface") => Ok(Kind::Interface),
        Some("trunk") => Ok(Kind::Trunk),
        Some("branch") => Ok(Kind::Branch),
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
    for address in new.primary.iter().chain(&new.secondary) {
        subnet.taken.insert(*address, id.clone());
    }
    let mut addresses = vec![new.primary.unwrap_or_else(|| subnet.allocate(&id))];
    addresses.extend(new.secondary);
    addresses.extend((0..new.secondary_count).map(|_| subnet.allocate(&id)));
    let interface = Interface {
        id: id.clone(),
        key: cx.mint.key(),
        vpc: subnet.vpc.clone(),
        subnet: new.subnet,
        mac: cx.mint.mac(),
        addresses,
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
    if find(&cx.region.interfaces, &id)?.attachment.is_some() {
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
    if let Some(attachment) = &interface.attachment {
        cx.region.attachments.remove(&attachment.id);
    }
    if let Some(subnet) = cx.region.subnets.get_mut(&interface.subnet) {
        for address in &interface.addresses {
            subnet.taken.remove(address);
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
