//! Making NAT gateways. It succeeds or fails at once; EC2 takes a minute or two.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::interface::{self, Kind, NewInterface};
use super::nat_gateway::{
    Elastic, Failure, GatewayAddress, NatGateway, NatGatewayItem, gateway_item,
};
use super::nat_gateway_address::{MOST_ADDRESSES, check_count, distinct, too_many_elastic};
use super::region::{Region, find};
use super::subnet::Subnet;
use super::tags::{TagSpecification, requested};
use super::unsupported::{Given, refuse};
use super::{Context, address, quota};
use crate::api::error::Ec2Error;

/// Who manages a gateway's interface.
const REQUESTER: &str = "amazon-aws";

/// CreateNatGateway.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateNatGateway {
    subnet_id: String,
    allocation_id: Option<String>,
    connectivity_type: Option<String>,
    private_ip_address: Option<Ipv4Addr>,
    #[serde(default, rename = "SecondaryAllocationId")]
    secondary_allocations: Vec<String>,
    #[serde(default, rename = "SecondaryPrivateIpAddress")]
    secondary_addresses: Vec<Ipv4Addr>,
    secondary_private_ip_address_count: Option<usize>,
    availability_mode: Option<String>,
    availability_zone_address: Given,
    vpc_id: Given,
    client_token: Option<String>,
    #[serde(default, rename = "TagSpecification")]
    tag_specifications: Vec<TagSpecification>,
}

/// Answer of CreateNatGateway.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedNatGateway {
    nat_gateway: NatGatewayItem,
    client_token: Option<String>,
}

pub(crate) fn create(
    cx: &mut Context<'_>,
    request: CreateNatGateway,
) -> Result<CreatedNatGateway, Ec2Error> {
    let region = &*cx.region;
    request.check_mode()?;
    let subnet = find(&region.subnets, &request.subnet_id)?;
    let elastics = wanted_elastics(region, &request)?;
    if elastics.len() > cx.quotas.elastic_addresses_per_nat_gateway {
        return Err(too_many_elastic());
    }
    let new = request.new_interface(subnet, elastics.len())?;
    let public = !elastics.is_empty();
    let present = region.nat_gateways.values().filter(|gateway| gateway.is_available());
    let present = present.filter(|g| region.subnets[&g.subnet].zone == subnet.zone).count();
    let most = cx.quotas.nat_gateways_per_zone;
    quota::room(present, most, "NatGatewayLimitExceeded", "NAT gateways in the Availability Zone")?;
    let tags = requested(&request.tag_specifications, &["natgateway"], "natgateway")?;
    let failure = elastics.iter().find_map(|e| why_not(region, &subnet.vpc, &e.allocation));
    let address = |elastic| GatewayAddress { private: None, elastic, drains: None };
    let addresses: Vec<GatewayAddress> = match public {
        true => elastics.into_iter().map(|elastic| address(Some(elastic))).collect(),
        false => (0..new.address_count()).map(|_| address(None)).collect(),
    };
    let gateway = NatGateway {
        id: cx.mint.id("nat"),
        key: cx.mint.key(),
        vpc: subnet.vpc.clone(),
        subnet: subnet.id.clone(),
        interface: None,
        public,
        addresses,
        created: cx.now,
        failure,
        deleted: None,
    };
    let id = gateway.id.clone();
    let works = gateway.failure.is_none();
    cx.region.nat_gateways.insert(id.clone(), gateway);
    cx.region.set_tags(&id, tags);
    if works {
        set_up(cx, &id, new);
    }
    let nat_gateway = gateway_item(cx.region, &cx.region.nat_gateways[&id]);
    Ok(CreatedNatGateway { nat_gateway, client_token: request.client_token })
}

impl CreateNatGateway {
    /// `UnsupportedOperation` for what regional gateways have.
    fn check_mode(&self) -> Result<(), Ec2Error> {
        match self.availability_mode.as_deref() {
            None | Some("zonal" | "regional") => {}
            Some(other) => {
                let why = "It is zonal or regional.";
                return Err(Ec2Error::value("availabilityMode", other, why));
            }
        }
        refuse(&[
            ("AvailabilityMode=regional", self.availability_mode.as_deref() == Some("regional")),
            ("AvailabilityZoneAddress", self.availability_zone_address.is_some()),
            ("VpcId", self.vpc_id.is_some()),
        ])
    }

    /// The gateway's interface, checked: a public gateway has a private address for each elastic one.
    fn new_interface(&self, subnet: &Subnet, elastics: usize) -> Result<NewInterface, Ec2Error> {
        let named = &self.secondary_addresses;
        let combination = |message| Err(Ec2Error::new("InvalidParameterCombination", message));
        let count = match (elastics, self.secondary_private_ip_address_count) {
            (0, None) => named.len(),
            (0, Some(_)) if !named.is_empty() => {
                return combination(
                    "Secondary private IP addresses are either named or counted, not both",
                );
            }
            (0, Some(count)) => check_count("secondaryPrivateIpAddressCount", count)?,
            (_, Some(_)) => {
                return combination(
                    "The parameter SecondaryPrivateIpAddressCount is for private NAT gateways",
                );
            }
            (elastics, None) if named.is_empty() || named.len() == elastics - 1 => elastics - 1,
            _ => {
                return combination(
                    "Give as many SecondaryPrivateIpAddresses as SecondaryAllocationIds, or none",
                );
            }
        };
        if 1 + count > MOST_ADDRESSES {
            return Err(interface::too_many_addresses());
        }
        let all: Vec<Ipv4Addr> = self.private_ip_address.iter().chain(named).copied().collect();
        distinct("private IP address", &all)?;
        all.iter().try_for_each(|address| subnet.check_free(*address))?;
        let chosen = 1 + count - all.len();
        subnet.check_room_for(&all, chosen)?;
        Ok(NewInterface {
            primary: self.private_ip_address,
            secondary: named.clone(),
            secondary_count: count - named.len(),
            kind: Kind::NatGateway,
            requester: Some(REQUESTER.into()),
            ..NewInterface::in_subnet(subnet.id.clone(), Vec::new())
        })
    }
}

/// The elastic addresses of a public gateway, the primary one first; none for a private one.
fn wanted_elastics(region: &Region, request: &CreateNatGateway) -> Result<Vec<Elastic>, Ec2Error> {
    let more = &request.secondary_allocations;
    match (request.connectivity_type.as_deref(), &request.allocation_id) {
        (None | Some("public"), Some(id)) => {
            let ids: Vec<String> = std::iter::once(id).chain(more).cloned().collect();
            distinct("allocation ID", &ids)?;
            ids.iter().map(|id| elastic(region, id)).collect()
        }
        (None | Some("public"), None) => {
            let message = "The request must include the AllocationId parameter. Add the required \
                           parameter and retry the request.";
            Err(Ec2Error::new("MissingParameter", message))
        }
        (Some("private"), None) if more.is_empty() => Ok(Vec::new()),
        (Some("private"), _) => {
            let message = "The parameter AllocationId cannot be used with a private NAT gateway";
            Err(Ec2Error::new("InvalidParameterCombination", message))
        }
        (Some(other), _) => {
            Err(Ec2Error::value("connectivityType", other, "It is public or private."))
        }
    }
}

/// The elastic address with this allocation id, which no gateway has yet.
pub(crate) fn elastic(region: &Region, allocation: &str) -> Result<Elastic, Ec2Error> {
    let public = find(&region.addresses, allocation)?.public;
    Ok(Elastic { allocation: allocation.to_owned(), public, association: None })
}

/// Why a public gateway with this address would not work. Such a gateway is made and then fails
/// ("Troubleshoot NAT gateways", VPC User Guide).
fn why_not(region: &Region, vpc: &str, allocation: &str) -> Option<Failure> {
    if region.internet_gateway_of(vpc).is_none() {
        return Some(Failure {
            code: "Gateway.NotAttached".into(),
            message: format!("Network {vpc} has no Internet gateway attached"),
        });
    }
    region.addresses[allocation].association.as_ref().map(|_| Failure {
        code: "Resource.AlreadyAssociated".into(),
        message: format!("Elastic IP address [{allocation}] is already associated"),
    })
}

/// Makes the gateway's interface, gives its addresses the elastic ones, and tells the fabric.
fn set_up(cx: &mut Context<'_>, id: &str, new: NewInterface) {
    let description = format!("Interface for NAT Gateway {id}");
    let eni = interface::make(cx, NewInterface { description, ..new });
    let record = cx.region.interfaces.get_mut(&eni).expect("just made");
    record.source_dest_check = false;
    let privates = record.addresses.clone();
    cx.region.nat_gateways.get_mut(id).expect("the caller made it").interface = Some(eni.clone());
    for (place, private) in privates.into_iter().enumerate() {
        settle_in(cx, id, place, private);
    }
    cx.effects.push(cx.region.put_interface(&eni));
    cx.effects.push(cx.region.nat_gateways[id].put(cx.region));
}

/// Joins the private address, which the gateway's interface has, with the elastic one of its place.
pub(crate) fn settle_in(cx: &mut Context<'_>, id: &str, place: usize, private: Ipv4Addr) {
    let gateway = &cx.region.nat_gateways[id];
    let eni = gateway.interface.clone().expect("the caller gave it one");
    let elastic = gateway.addresses[place].elastic.as_ref();
    let allocation = elastic.map(|elastic| elastic.allocation.clone());
    let association = allocation.map(|allocation| address::join(cx, &allocation, &eni, private));
    let gateway = cx.region.nat_gateways.get_mut(id).expect("read above");
    let address = &mut gateway.addresses[place];
    address.private = Some(private);
    if let Some(elastic) = &mut address.elastic {
        elastic.association = association;
    }
}
