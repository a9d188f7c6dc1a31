//! AssignIpv6Addresses and UnassignIpv6Addresses.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

use super::interface::{Interface, Kind, UNATTACHED_ADDRESSES, too_many_addresses};
use super::interface_ipv6::{checked, parse_prefix, reserve};
use super::region::find;
use super::{Context, Region};
use crate::api::error::Ec2Error;

/// How many IPv6 addresses and prefixes the interface can have: by its instance's type while
/// attached.
fn places_limit(region: &Region, interface: &Interface) -> usize {
    match (&interface.attachment, interface.kind) {
        (_, Kind::Branch) => 1,
        (Some(attached), _) => match region.instances.get(&attached.instance) {
            Some(instance) => instance.limits().ipv6_per_eni() as usize,
            None => UNATTACHED_ADDRESSES,
        },
        (None, _) => UNATTACHED_ADDRESSES,
    }
}

/// AssignIpv6Addresses.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AssignIpv6Addresses {
    network_interface_id: String,
    #[serde(default)]
    ipv6_addresses: Vec<Ipv6Addr>,
    ipv6_address_count: Option<u32>,
    #[serde(default, rename = "Ipv6Prefix")]
    prefixes: Vec<String>,
    ipv6_prefix_count: Option<u32>,
}

/// Answer of AssignIpv6Addresses.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AssignedIpv6 {
    network_interface_id: String,
    assigned_ipv6_addresses: Vec<String>,
    assigned_ipv6_prefix_set: Vec<String>,
}

pub(crate) fn assign(
    cx: &mut Context<'_>,
    request: AssignIpv6Addresses,
) -> Result<AssignedIpv6, Ec2Error> {
    let region = &*cx.region;
    let interface = find(&region.interfaces, &request.network_interface_id)?;
    interface.check_own()?;
    let subnet = &region.subnets[&interface.subnet];
    let mut named = request.ipv6_addresses;
    let asked = !named.is_empty();
    // What the interface has already is assigned once more without effect.
    named.retain(|address| !interface.ipv6.contains(address));
    let texts: Vec<&str> = request.prefixes.iter().map(String::as_str).collect();
    let new =
        checked(subnet, named, request.ipv6_address_count, &texts, request.ipv6_prefix_count)?;
    if !asked && new.places() == 0 {
        return Err(Ec2Error::missing("ipv6AddressCount or ipv6Addresses"));
    }
    if interface.ipv6_places() + new.places() > places_limit(region, interface) {
        return Err(too_many_addresses());
    }

    // On a copy first: it can fail half-way.
    let (id, subnet_id) = (interface.id.clone(), subnet.id.clone());
    reserve(subnet.ipv6.clone().as_mut(), &id, &new)?;
    let subnet = cx.region.subnets.get_mut(&subnet_id).expect("it has the interface");
    let (addresses, prefixes) = reserve(subnet.ipv6.as_mut(), &id, &new)?;
    let interface = cx.region.interfaces.get_mut(&id).expect("found above");
    interface.ipv6.extend(&addresses);
    interface.ipv6_prefixes.extend(&prefixes);
    cx.effects.push(cx.region.put_interface(&id));
    Ok(AssignedIpv6 {
        network_interface_id: id,
        assigned_ipv6_addresses: addresses.iter().map(Ipv6Addr::to_string).collect(),
        assigned_ipv6_prefix_set: prefixes.iter().map(ToString::to_string).collect(),
    })
}

/// UnassignIpv6Addresses.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UnassignIpv6Addresses {
    network_interface_id: String,
    #[serde(default)]
    ipv6_addresses: Vec<Ipv6Addr>,
    #[serde(default, rename = "Ipv6Prefix")]
    prefixes: Vec<String>,
}

/// Answer of UnassignIpv6Addresses.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UnassignedIpv6 {
    network_interface_id: String,
    unassigned_ipv6_addresses: Vec<String>,
    unassigned_ipv6_prefix_set: Vec<String>,
}

pub(crate) fn unassign(
    cx: &mut Context<'_>,
    request: UnassignIpv6Addresses,
) -> Result<UnassignedIpv6, Ec2Error> {
    let interface = find(&cx.region.interfaces, &request.network_interface_id)?;
    interface.check_own()?;
    let id = interface.id.clone();
    let (addresses, texts) = (request.ipv6_addresses, request.prefixes);
    if addresses.is_empty() && texts.is_empty() {
        return Err(Ec2Error::missing("ipv6Addresses"));
    }
    let refuse = |message: String| Err(Ec2Error::new("InvalidParameterValue", message));
    for address in &addresses {
        if interface.primary_ipv6() == Some(*address) {
            return refuse(format!("The primary IPv6 address {address} cannot be unassigned"));
        }
        if !interface.ipv6.contains(address) {
            return refuse(format!("The address {address} is not assigned to interface '{id}'"));
        }
    }
    let prefixes = texts.iter().map(|text| parse_prefix(text)).collect::<Result<Vec<_>, _>>()?;
    if let Some(other) = prefixes.iter().find(|prefix| !interface.ipv6_prefixes.contains(prefix)) {
        return refuse(format!("The prefix {other} is not assigned to interface '{id}'"));
    }

    let subnet = interface.subnet.clone();
    let subnet = cx.region.subnets.get_mut(&subnet).expect("it has the interface");
    if let Some(ipv6) = &mut subnet.ipv6 {
        ipv6.free(&addresses, &prefixes);
    }
    let interface = cx.region.interfaces.get_mut(&id).expect("found above");
    interface.ipv6.retain(|address| !addresses.contains(address));
    interface.ipv6_prefixes.retain(|prefix| !prefixes.contains(prefix));
    cx.effects.push(cx.region.put_interface(&id));
    Ok(UnassignedIpv6 {
        network_interface_id: id,
        unassigned_ipv6_addresses: addresses.iter().map(Ipv6Addr::to_string).collect(),
        unassigned_ipv6_prefix_set: prefixes.iter().map(ToString::to_string).collect(),
    })
}
