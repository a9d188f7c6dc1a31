//! Secondary addresses of NAT gateways: "Edit secondary IP address associations", Amazon VPC User
//! Guide.
//!
//! ```text
//!   public:   Associate ─► succeeded ─ Disassociate ─► disassociating ─ time goes by ─► released
//!   private:  Assign ────► succeeded ─ Unassign ─────► unassigning ──── time goes by ─► released
//! ```
//!
//! What drains serves the flows that it has, and gets no new ones.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::interface::too_many_addresses;
use super::interface_address::{lose, take};
use super::nat_gateway::{Elastic, GatewayAddress, GatewayAddressItem, NatGateway, named};
use super::nat_gateway_create::{elastic, settle_in};
use super::region::Region;
use super::time::Timestamp;
use super::unsupported::{Given, refuse};
use super::{Context, address};
use crate::api::error::Ec2Error;
use crate::effect::Effect;

/// Most addresses of a gateway, the primary one too ("This limit is not adjustable").
pub(crate) const MOST_ADDRESSES: usize = 8;
/// `PrivateIpAddressCount` of botocore's model of EC2.
const COUNTS: std::ops::RangeInclusive<usize> = 1..=31;
/// `DrainSeconds` of the same, and its default.
const DRAINS: std::ops::RangeInclusive<u64> = 1..=4_000;
const DRAIN: u64 = 350;

/// A number of addresses to choose.
pub(crate) fn check_count(name: &str, count: usize) -> Result<usize, Ec2Error> {
    match COUNTS.contains(&count) {
        true => Ok(count),
        false => Err(Ec2Error::value(name, count, "It is 1 to 31.")),
    }
}

/// `InvalidParameterValue` where something is given twice.
pub(crate) fn distinct<T: Ord + Display>(what: &str, given: &[T]) -> Result<(), Ec2Error> {
    let mut seen = BTreeSet::new();
    match given.iter().find(|one| !seen.insert(*one)) {
        None => Ok(()),
        Some(twice) => {
            let message = format!("The {what} {twice} is given twice");
            Err(Ec2Error::new("InvalidParameterValue", message))
        }
    }
}

/// `AddressLimitExceeded` for a gateway's elastic addresses.
pub(crate) fn too_many_elastic() -> Ec2Error {
    let message = "The maximum number of Elastic IP addresses of a NAT gateway has been reached.";
    Ec2Error::new("AddressLimitExceeded", message)
}

fn invalid(message: String) -> Ec2Error {
    Ec2Error::new("InvalidParameter", message)
}

/// Answer of the four actions: the addresses that they are about.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GatewayAddresses {
    nat_gateway_id: String,
    nat_gateway_address_set: Vec<GatewayAddressItem>,
}

/// The gateway, which works, is of the kind that the action is for, and drains nothing.
fn changeable<'r>(region: &'r Region, id: &str, public: bool) -> Result<&'r NatGateway, Ec2Error> {
    let gateway = named(region, id)?;
    if !gateway.is_available() {
        return Err(invalid(format!("NatGateway {id} is not available")));
    }
    if gateway.public != public {
        let kind = if gateway.public { "public" } else { "private" };
        return Err(invalid(format!("NatGateway {id} is a {kind} one")));
    }
    let drains = || gateway.addresses.iter().filter(|address| address.drains.is_some());
    if drains().next().is_none() {
        return Ok(gateway);
    }
    let elastics = drains().filter_map(|a| Some(a.elastic.as_ref()?.allocation.clone()));
    let privates = drains().filter_map(|address| Some(address.private?.to_string()));
    let list = |texts: Vec<String>| texts.join(", ");
    let message = match public {
        true => format!("DISASSOCIATING the following EIPs: [{}]", list(elastics.collect())),
        false => format!("UNASSIGNING the following private IPs: [{}]", list(privates.collect())),
    };
    Err(Ec2Error::new("OperationInProgress", format!("Service is currently {message}.")))
}

/// AssociateNatGatewayAddress.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AssociateNatGatewayAddress {
    nat_gateway_id: String,
    #[serde(default, rename = "AllocationId")]
    allocations: Vec<String>,
    #[serde(default, rename = "PrivateIpAddress")]
    addresses: Vec<Ipv4Addr>,
    availability_zone: Given,
    availability_zone_id: Given,
}

pub(crate) fn associate(
    cx: &mut Context<'_>,
    request: AssociateNatGatewayAddress,
) -> Result<GatewayAddresses, Ec2Error> {
    refuse(&[
        ("AvailabilityZone", request.availability_zone.is_some()),
        ("AvailabilityZoneId", request.availability_zone_id.is_some()),
    ])?;
    let region = &*cx.region;
    let gateway = changeable(region, &request.nat_gateway_id, true)?;
    let allocations = &request.allocations;
    if allocations.is_empty() {
        return Err(Ec2Error::missing("AllocationId"));
    }
    if !request.addresses.is_empty() && request.addresses.len() != allocations.len() {
        let message = "Give as many PrivateIpAddresses as AllocationIds, or none";
        return Err(Ec2Error::new("InvalidParameterCombination", message));
    }
    distinct("allocation ID", allocations)?;
    let mut elastics = Vec::new();
    for id in allocations {
        elastics.push(Some(elastic(region, id)?));
        if let Some(present) = &region.addresses[id].association {
            return Err(address::already(id, &present.id));
        }
    }
    let count = gateway.addresses.len() + allocations.len();
    if count > cx.quotas.elastic_addresses_per_nat_gateway {
        return Err(too_many_elastic());
    }
    add(cx, &request.nat_gateway_id, &request.addresses, elastics)
}

/// AssignPrivateNatGatewayAddress.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AssignPrivateNatGatewayAddress {
    nat_gateway_id: String,
    #[serde(default, rename = "PrivateIpAddress")]
    addresses: Vec<Ipv4Addr>,
    private_ip_address_count: Option<usize>,
}

pub(crate) fn assign(
    cx: &mut Context<'_>,
    request: AssignPrivateNatGatewayAddress,
) -> Result<GatewayAddresses, Ec2Error> {
    changeable(cx.region, &request.nat_gateway_id, false)?;
    let count = match (request.private_ip_address_count, request.addresses.len()) {
        (None, 0) => return Err(Ec2Error::missing("PrivateIpAddress or PrivateIpAddressCount")),
        (None, named) => named,
        (Some(count), 0) => check_count("privateIpAddressCount", count)?,
        (Some(_), _) => {
            let message = "Private IP addresses are either named or counted, not both";
            return Err(Ec2Error::new("InvalidParameterCombination", message));
        }
    };
    add(cx, &request.nat_gateway_id, &request.addresses, vec![None; count])
}

/// Gives the gateway as many addresses more, the named ones or others, if it can have them.
fn add(
    cx: &mut Context<'_>,
    id: &str,
    named: &[Ipv4Addr],
    elastics: Vec<Option<Elastic>>,
) -> Result<GatewayAddresses, Ec2Error> {
    let gateway = &cx.region.nat_gateways[id];
    let subnet = &cx.region.subnets[&gateway.subnet];
    let (first, count) = (gateway.addresses.len(), elastics.len());
    if first + count > MOST_ADDRESSES {
        return Err(too_many_addresses());
    }
    distinct("private IP address", named)?;
    named.iter().try_for_each(|address| subnet.check_free(*address))?;
    subnet.check_room_for(named, count - named.len())?;
    let eni = gateway.interface.clone().expect("it was found to work");
    let privates = take(cx.region, &eni, named, count - named.len());
    let gateway = cx.region.nat_gateways.get_mut(id).expect("read above");
    let new = |elastic| GatewayAddress { private: None, elastic, drains: None };
    gateway.addresses.extend(elastics.into_iter().map(new));
    for (at, private) in privates.into_iter().enumerate() {
        settle_in(cx, id, first + at, private);
    }
    let gateway = &cx.region.nat_gateways[id];
    cx.effects.push(cx.region.put_interface(&eni));
    cx.effects.push(gateway.put(cx.region));
    Ok(GatewayAddresses {
        nat_gateway_id: id.to_owned(),
        nat_gateway_address_set: gateway.address_items(|place| place >= first),
    })
}

/// DisassociateNatGatewayAddress.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DisassociateNatGatewayAddress {
    nat_gateway_id: String,
    #[serde(default, rename = "AssociationId")]
    associations: Vec<String>,
    max_drain_duration_seconds: Option<u64>,
}

pub(crate) fn disassociate(
    cx: &mut Context<'_>,
    request: DisassociateNatGatewayAddress,
) -> Result<GatewayAddresses, Ec2Error> {
    changeable(cx.region, &request.nat_gateway_id, true)?;
    if request.associations.is_empty() {
        return Err(Ec2Error::missing("AssociationId"));
    }
    let of = |address: &GatewayAddress| address.elastic.as_ref()?.association.clone();
    let seconds = request.max_drain_duration_seconds;
    drain(cx, &request.nat_gateway_id, &request.associations, of, seconds)
}

/// UnassignPrivateNatGatewayAddress.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UnassignPrivateNatGatewayAddress {
    nat_gateway_id: String,
    #[serde(default, rename = "PrivateIpAddress")]
    addresses: Vec<Ipv4Addr>,
    max_drain_duration_seconds: Option<u64>,
}

pub(crate) fn unassign(
    cx: &mut Context<'_>,
    request: UnassignPrivateNatGatewayAddress,
) -> Result<GatewayAddresses, Ec2Error> {
    changeable(cx.region, &request.nat_gateway_id, false)?;
    if request.addresses.is_empty() {
        return Err(Ec2Error::missing("PrivateIpAddress"));
    }
    let seconds = request.max_drain_duration_seconds;
    drain(cx, &request.nat_gateway_id, &request.addresses, |address| address.private, seconds)
}

/// Begins to drain the gateway's secondary addresses that `of` finds these names for.
fn drain<T: PartialEq + Display>(
    cx: &mut Context<'_>,
    id: &str,
    names: &[T],
    of: impl Fn(&GatewayAddress) -> Option<T>,
    seconds: Option<u64>,
) -> Result<GatewayAddresses, Ec2Error> {
    let seconds = seconds.unwrap_or(DRAIN);
    if !DRAINS.contains(&seconds) {
        let why = "It is 1 to 4000.";
        return Err(Ec2Error::value("maxDrainDurationSeconds", seconds, why));
    }
    let mut places = BTreeSet::new();
    for name in names {
        let addresses = &cx.region.nat_gateways[id].addresses;
        match addresses.iter().position(|address| of(address).as_ref() == Some(name)) {
            Some(0) => return Err(invalid(format!("{name} is the primary one of {id}"))),
            Some(place) => places.insert(place),
            None => return Err(invalid(format!("{name} does not belong to NatGateway {id}"))),
        };
    }
    let until = Timestamp(cx.now.0 + seconds);
    let gateway = cx.region.nat_gateways.get_mut(id).expect("read above");
    places.iter().for_each(|place| gateway.addresses[*place].drains = Some(until));
    let gateway = &cx.region.nat_gateways[id];
    cx.effects.push(gateway.put(cx.region));
    Ok(GatewayAddresses {
        nat_gateway_id: id.to_owned(),
        nat_gateway_address_set: gateway.address_items(|place| places.contains(&place)),
    })
}

impl Region {
    /// When addresses that drain will be released.
    pub(crate) fn draining_until(&self) -> impl Iterator<Item = Timestamp> {
        let addresses = self.nat_gateways.values().flat_map(|gateway| &gateway.addresses);
        addresses.filter_map(|address| address.drains)
    }

    /// Releases the addresses that have drained long enough.
    pub(super) fn end_drains(&mut self, now: Timestamp) -> Vec<Effect> {
        let due = |address: &GatewayAddress| address.drains.is_some_and(|until| until <= now);
        let gateways = self.nat_gateways.values();
        let gateways = gateways.filter(|gateway| gateway.addresses.iter().any(due));
        let ids: Vec<String> = gateways.map(|gateway| gateway.id.clone()).collect();
        let mut effects = Vec::new();
        for id in ids {
            let gateway = self.nat_gateways.get_mut(&id).expect("found above");
            let (gone, kept) = std::mem::take(&mut gateway.addresses).into_iter().partition(due);
            let gone: Vec<GatewayAddress> = gone;
            gateway.addresses = kept;
            let eni = gateway.interface.clone().expect("only what works drains");
            effects.push(self.nat_gateways[&id].put(self));
            for private in gone.into_iter().filter_map(|address| address.private) {
                lose(self, &eni, private);
            }
            effects.push(self.put_interface(&eni));
        }
        effects
    }
}
