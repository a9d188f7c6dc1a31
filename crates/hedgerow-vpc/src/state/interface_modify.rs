//! Changing an interface: groups, attributes, secondary addresses.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::interface::{Interface, Kind, UNATTACHED_ADDRESSES, too_many_addresses};
use super::region::{find, not_found};
use super::vpc::Flag;
use super::{Context, Region, group};
use crate::api::Done;
use crate::api::error::Ec2Error;

/// A text attribute in requests: `Description.Value=…`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Text {
    value: String,
}

/// Change of an attachment in requests.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AttachmentChange {
    attachment_id: String,
    delete_on_termination: bool,
}

/// ModifyNetworkInterfaceAttribute.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ModifyNetworkInterfaceAttribute {
    network_interface_id: String,
    #[serde(default, rename = "SecurityGroupId")]
    groups: Vec<String>,
    description: Option<Text>,
    source_dest_check: Option<Flag>,
    attachment: Option<AttachmentChange>,
}

pub(crate) fn modify(
    cx: &mut Context<'_>,
    request: ModifyNetworkInterfaceAttribute,
) -> Result<Done, Ec2Error> {
    let region = &mut *cx.region;
    let interface = find(&region.interfaces, &request.network_interface_id)?;
    let id = interface.id.clone();
    let groups = match request.groups.as_slice() {
        [] => None,
        given => {
            let limit = cx.quotas.groups_per_interface;
            let unknown = |id: &str| not_found::<group::SecurityGroup>(id);
            Some(group::check_on_interface(region, &interface.vpc, given, limit, unknown)?)
        }
    };
    if let Some(change) = &request.attachment {
        let attached = interface.attachment.as_ref();
        if attached.is_none_or(|attached| attached.id != change.attachment_id) {
            return Err(super::attachment::unknown(&change.attachment_id));
        }
    }
    let nothing = groups.is_none()
        && request.description.is_none()
        && request.source_dest_check.is_none()
        && request.attachment.is_none();
    if nothing {
        let message = "The request must name an attribute to change";
        return Err(Ec2Error::new("InvalidParameterCombination", message));
    }

    let interface = region.interfaces.get_mut(&id).expect("found above");
    let seen_by_fabric = groups.is_some() || request.source_dest_check.is_some();
    if let Some(groups) = groups {
        interface.groups = groups;
    }
    if let Some(text) = request.description {
        interface.description = text.value;
    }
    if let Some(flag) = request.source_dest_check {
        interface.source_dest_check = flag.value;
    }
    if let (Some(change), Some(attached)) = (request.attachment, &mut interface.attachment) {
        attached.delete_on_termination = change.delete_on_termination;
    }
    if seen_by_fabric {
        cx.effects.push(cx.region.put_interface(&id));
    }
    Ok(Done::new())
}

/// How many addresses the interface can have: by its instance's type while attached.
fn address_limit(region: &Region, interface: &Interface) -> usize {
    match (&interface.attachment, interface.kind) {
        (_, Kind::Branch) => 1,
        (Some(attached), _) => {
            let instance = &region.instances[&attached.instance];
            instance.limits().ipv4_per_eni as usize
        }
        (None, _) => UNATTACHED_ADDRESSES,
    }
}

/// AssignPrivateIpAddresses.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AssignPrivateIpAddresses {
    network_interface_id: String,
    #[serde(default, rename = "PrivateIpAddress")]
    addresses: Vec<Ipv4Addr>,
    secondary_private_ip_address_count: Option<u32>,
    allow_reassignment: Option<bool>,
}

/// Answer of AssignPrivateIpAddresses.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AssignedAddresses {
    network_interface_id: String,
    assigned_private_ip_addresses_set: Vec<AssignedAddress>,
    r#return: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AssignedAddress {
    private_ip_address: String,
}

pub(crate) fn assign(
    cx: &mut Context<'_>,
    request: AssignPrivateIpAddresses,
) -> Result<AssignedAddresses, Ec2Error> {
    let region = &*cx.region;
    let interface = find(&region.interfaces, &request.network_interface_id)?;
    let subnet = &region.subnets[&interface.subnet];
    let count = request.secondary_private_ip_address_count.unwrap_or(0) as usize;
    let mut named = request.addresses;
    named.sort_unstable();
    named.dedup();
    let mut from: Vec<(Ipv4Addr, String)> = Vec::new();
    for address in &named {
        match subnet.taken.get(address) {
            Some(owner) if *owner == interface.id => {}
            Some(owner) if request.allow_reassignment == Some(true) => {
                if region.interfaces[owner].primary() == *address {
                    let message = format!("{address} is the primary address of {owner}");
                    return Err(Ec2Error::new("InvalidParameterValue", message));
                }
                from.push((*address, owner.clone()));
            }
            _ => subnet.check_free(*address)?,
        }
    }
    named.retain(|address| subnet.taken.get(address) != Some(&interface.id));
    if named.is_empty() && count == 0 && interface.addresses.len() == 1 {
        return Err(Ec2Error::missing("secondaryPrivateIpAddressCount or privateIpAddress"));
    }
    if interface.addresses.len() + named.len() + count > address_limit(region, interface) {
        return Err(too_many_addresses());
    }
    subnet.check_room((named.len() - from.len() + count) as u64)?;

    let (id, subnet) = (interface.id.clone(), interface.subnet.clone());
    for (address, owner) in from {
        let loser = cx.region.interfaces.get_mut(&owner).expect("it has the address");
        loser.addresses.retain(|a| *a != address);
        cx.effects.push(cx.region.put_interface(&owner));
    }
    let subnet = cx.region.subnets.get_mut(&subnet).expect("found above");
    let mut assigned = named;
    for address in &assigned {
        subnet.taken.insert(*address, id.clone());
    }
    assigned.extend((0..count).map(|_| subnet.allocate(&id)));
    let interface = cx.region.interfaces.get_mut(&id).expect("found above");
    interface.addresses.extend(&assigned);
    cx.effects.push(cx.region.put_interface(&id));
    let item = |address: Ipv4Addr| AssignedAddress { private_ip_address: address.to_string() };
    Ok(AssignedAddresses {
        network_interface_id: id,
        assigned_private_ip_addresses_set: assigned.into_iter().map(item).collect(),
        r#return: true,
    })
}

/// UnassignPrivateIpAddresses.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UnassignPrivateIpAddresses {
    network_interface_id: String,
    #[serde(default, rename = "PrivateIpAddress")]
    addresses: Vec<Ipv4Addr>,
}

pub(crate) fn unassign(
    cx: &mut Context<'_>,
    request: UnassignPrivateIpAddresses,
) -> Result<Done, Ec2Error> {
    let interface = find(&cx.region.interfaces, &request.network_interface_id)?;
    if request.addresses.is_empty() {
        return Err(Ec2Error::missing("privateIpAddress"));
    }
    for address in &request.addresses {
        let refuse = |message: String| Err(Ec2Error::new("InvalidParameterValue", message));
        if *address == interface.primary() {
            return refuse(format!(
                "The primary private IP address {address} cannot be unassigned"
            ));
        }
        if !interface.addresses.contains(address) {
            let id = &interface.id;
            return refuse(format!("The address {address} is not assigned to interface '{id}'"));
        }
    }
    let (id, subnet) = (interface.id.clone(), interface.subnet.clone());
    let subnet = cx.region.subnets.get_mut(&subnet).expect("it has the interface");
    let interface = cx.region.interfaces.get_mut(&id).expect("found above");
    for address in &request.addresses {
        subnet.taken.remove(address);
        interface.addresses.retain(|a| a != address);
    }
    cx.effects.push(cx.region.put_interface(&id));
    Ok(Done::new())
}
