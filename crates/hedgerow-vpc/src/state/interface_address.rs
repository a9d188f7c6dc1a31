//! Secondary addresses and prefixes of an interface: assigning, reassigning, unassigning.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::interface::{Interface, Kind, UNATTACHED_ADDRESSES, too_many_addresses};
use super::prefix::{self, PrefixSpec};
use super::region::find;
use super::{Context, Region, address};
use crate::api::Done;
use crate::api::error::Ec2Error;

/// How many addresses and prefixes the interface can have: by its instance's type while attached.
fn places_limit(region: &Region, interface: &Interface) -> usize {
    match (&interface.attachment, interface.kind) {
        (_, Kind::Branch) => 1,
        (Some(attached), _) => match region.instances.get(&attached.instance) {
            Some(instance) => instance.limits().ipv4_per_eni as usize,
            None => UNATTACHED_ADDRESSES,
        },
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
    #[serde(default, rename = "Ipv4Prefix")]
    prefixes: Vec<String>,
    ipv4_prefix_count: Option<u32>,
    allow_reassignment: Option<bool>,
}

/// Answer of AssignPrivateIpAddresses.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AssignedAddresses {
    network_interface_id: String,
    assigned_private_ip_addresses_set: Vec<AssignedAddress>,
    assigned_ipv4_prefix_set: Vec<PrefixItem>,
    r#return: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AssignedAddress {
    private_ip_address: String,
}

/// A prefix in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PrefixItem {
    pub ipv4_prefix: String,
}

/// An address that changes hands, and the interface that loses it.
type Moved = (Ipv4Addr, String);

/// The addresses of the request that the interface does not have yet, and those of them that
/// another interface loses.
fn named_addresses(
    region: &Region,
    interface: &Interface,
    request: &AssignPrivateIpAddresses,
) -> Result<(BTreeSet<Ipv4Addr>, Vec<Moved>), Ec2Error> {
    let subnet = &region.subnets[&interface.subnet];
    let mut named: BTreeSet<Ipv4Addr> = request.addresses.iter().copied().collect();
    named.retain(|address| subnet.taken.get(address) != Some(&interface.id));
    let mut moved = Vec::new();
    for address in &named {
        match subnet.taken.get(address) {
            Some(owner) if request.allow_reassignment == Some(true) => {
                check_movable(&region.interfaces[owner], *address)?;
                moved.push((*address, owner.clone()));
            }
            _ => subnet.check_free(*address)?,
        }
    }
    Ok((named, moved))
}

/// Whether an interface can lose the address to another one.
fn check_movable(owner: &Interface, address: Ipv4Addr) -> Result<(), Ec2Error> {
    owner.check_own()?;
    let refuse = |message| Err(Ec2Error::new("InvalidParameterValue", message));
    if owner.primary() == address {
        return refuse(format!("{address} is the primary address of {}", owner.id));
    }
    if !owner.addresses.contains(&address) {
        return refuse(format!("{address} belongs to a prefix of {}", owner.id));
    }
    Ok(())
}

pub(crate) fn assign(
    cx: &mut Context<'_>,
    request: AssignPrivateIpAddresses,
) -> Result<AssignedAddresses, Ec2Error> {
    let region = &*cx.region;
    let interface = find(&region.interfaces, &request.network_interface_id)?;
    interface.check_own()?;
    let subnet = &region.subnets[&interface.subnet];
    let count = request.secondary_private_ip_address_count.unwrap_or(0) as usize;
    if count > 0 && !request.addresses.is_empty() {
        let message = "Secondary private IP addresses are either named or counted, not both";
        return Err(Ec2Error::new("InvalidParameterCombination", message));
    }
    let (named, moved) = named_addresses(region, interface, &request)?;
    let specs: Vec<PrefixSpec> =
        request.prefixes.iter().map(|p| PrefixSpec { ipv4_prefix: p.clone() }).collect();
    let (prefixes, prefix_count) =
        prefix::wanted(subnet, &specs, request.ipv4_prefix_count, &named)?;
    if request.addresses.is_empty() && count + prefixes.len() + prefix_count == 0 {
        return Err(Ec2Error::missing("secondaryPrivateIpAddressCount or privateIpAddress"));
    }
    let places = interface.places() + named.len() + count + prefixes.len() + prefix_count;
    if places > places_limit(region, interface) {
        return Err(too_many_addresses());
    }

    // All is taken on a copy of the subnet, which replaces it once nothing can fail any more.
    let mut subnet = subnet.clone();
    let id = interface.id.clone();
    for address in &named {
        subnet.taken.insert(*address, id.clone());
    }
    prefixes.iter().for_each(|prefix| prefix::take(&mut subnet, *prefix, &id));
    let mut new_prefixes = prefixes;
    new_prefixes.extend(prefix::choose(&mut subnet, &id, prefix_count)?);
    subnet.check_room(count as u64)?;
    let mut new: Vec<Ipv4Addr> = named.into_iter().collect();
    new.extend((0..count).map(|_| subnet.allocate(&id)));
    cx.region.subnets.insert(subnet.id.clone(), subnet);

    for (address, owner) in moved {
        let loser = cx.region.interfaces.get_mut(&owner).expect("it has the address");
        loser.addresses.retain(|a| *a != address);
        address::follow_private(cx.region, address, &owner, &id);
        cx.effects.push(cx.region.put_interface(&owner));
    }
    let interface = cx.region.interfaces.get_mut(&id).expect("found above");
    interface.addresses.extend(&new);
    interface.prefixes.extend(&new_prefixes);
    cx.effects.push(cx.region.put_interface(&id));
    let item = |address: Ipv4Addr| AssignedAddress { private_ip_address: address.to_string() };
    Ok(AssignedAddresses {
        network_interface_id: id,
        assigned_private_ip_addresses_set: new.into_iter().map(item).collect(),
        assigned_ipv4_prefix_set: prefix_items(&new_prefixes),
        r#return: true,
    })
}

/// Gives an interface these free addresses and so many more as secondary ones; there is room for
/// them. The effect is the caller's.
pub(crate) fn take(
    region: &mut Region,
    interface: &str,
    named: &[Ipv4Addr],
    more: usize,
) -> Vec<Ipv4Addr> {
    let record = region.interfaces.get_mut(interface).expect("the caller found it");
    let subnet = region.subnets.get_mut(&record.subnet).expect("it has the interface");
    for address in named {
        subnet.taken.insert(*address, interface.to_owned());
    }
    let mut new = named.to_vec();
    new.extend((0..more).map(|_| subnet.allocate(interface)));
    record.addresses.extend(&new);
    new
}

/// Takes a secondary address away from an interface; its elastic address is free then. The effect
/// is the caller's.
pub(crate) fn lose(region: &mut Region, interface: &str, private: Ipv4Addr) {
    let record = region.interfaces.get_mut(interface).expect("the caller found it");
    record.addresses.retain(|address| *address != private);
    let subnet = region.subnets.get_mut(&record.subnet).expect("it has the interface");
    subnet.taken.remove(&private);
    address::forget_private(region, interface, private);
}

/// Prefixes for an answer.
pub(crate) fn prefix_items(prefixes: &[hedgerow_core::sg::Ipv4Prefix]) -> Vec<PrefixItem> {
    prefixes.iter().map(|prefix| PrefixItem { ipv4_prefix: prefix.to_string() }).collect()
}

/// UnassignPrivateIpAddresses.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UnassignPrivateIpAddresses {
    network_interface_id: String,
    #[serde(default, rename = "PrivateIpAddress")]
    addresses: Vec<Ipv4Addr>,
    #[serde(default, rename = "Ipv4Prefix")]
    prefixes: Vec<String>,
}

pub(crate) fn unassign(
    cx: &mut Context<'_>,
    request: UnassignPrivateIpAddresses,
) -> Result<Done, Ec2Error> {
    let interface = find(&cx.region.interfaces, &request.network_interface_id)?;
    interface.check_own()?;
    if request.addresses.is_empty() && request.prefixes.is_empty() {
        return Err(Ec2Error::missing("privateIpAddress"));
    }
    let refuse = |message: String| Err(Ec2Error::new("InvalidParameterValue", message));
    let id = &interface.id;
    for address in &request.addresses {
        if *address == interface.primary() {
            return refuse(format!(
                "The primary private IP address {address} cannot be unassigned"
            ));
        }
        if !interface.addresses.contains(address) {
            return refuse(format!("The address {address} is not assigned to interface '{id}'"));
        }
    }
    let prefixes =
        request.prefixes.iter().map(|text| prefix::parse(text)).collect::<Result<Vec<_>, _>>()?;
    if let Some(other) = prefixes.iter().find(|prefix| !interface.prefixes.contains(prefix)) {
        return refuse(format!("The prefix {other} is not assigned to interface '{id}'"));
    }

    let (id, subnet) = (interface.id.clone(), interface.subnet.clone());
    let subnet = cx.region.subnets.get_mut(&subnet).expect("it has the interface");
    let interface = cx.region.interfaces.get_mut(&id).expect("found above");
    for address in prefixes.iter().flat_map(prefix::addresses) {
        subnet.taken.remove(&address);
    }
    interface.prefixes.retain(|prefix| !prefixes.contains(prefix));
    request.addresses.iter().for_each(|address| lose(cx.region, &id, *address));
    cx.effects.push(cx.region.put_interface(&id));
    Ok(Done::new())
}
