//! Public addresses: elastic ones, which an account keeps, and those that come with a launch.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::interface::Interface;
use super::region::{Resource, find};
use super::route_table_routes::only_interface;
use super::tags::{TagSpecification, requested};
use super::unsupported::{Given, refuse};
use super::{Context, Region, catalog};
use crate::api::Done;
use crate::api::error::Ec2Error;
use crate::effect::PUBLIC_ADDRESSES;

/// Each region has a /21 of the public addresses: so many.
const PER_REGION: u32 = 2_048;

/// An elastic address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Allocation id.
    pub(crate) id: String,
    pub(crate) public: Ipv4Addr,
    pub(crate) association: Option<AddressAssociation>,
    /// The domain name that reverse DNS has for it.
    #[serde(default)]
    pub(crate) reverse: Option<String>,
}

/// What an elastic address stands for: a private address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AddressAssociation {
    pub id: String,
    pub interface: String,
    pub private: Ipv4Addr,
}

impl Resource for Address {
    const NOT_FOUND: &'static str = "InvalidAllocationID.NotFound";
    const NOUN: &'static str = "allocation ID";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Address {
    /// Whether it stands for this address of the interface, or for any if none is named.
    fn stands_for(&self, interface: &str, private: Option<Ipv4Addr>) -> bool {
        let named = |of: &AddressAssociation| private.is_none_or(|private| of.private == private);
        self.association.as_ref().is_some_and(|of| of.interface == interface && named(of))
    }
}

impl Region {
    /// The elastic addresses of an interface.
    fn elastics_of(
        &self,
        interface: &str,
    ) -> impl Iterator<Item = (&Address, &AddressAssociation)> {
        self.addresses
            .values()
            .filter_map(|address| Some((address, address.association.as_ref()?)))
            .filter(move |(_, association)| association.interface == interface)
    }

    /// The elastic address of a private one of an interface.
    pub(crate) fn elastic_of(
        &self,
        interface: &str,
        private: Ipv4Addr,
    ) -> Option<(&Address, &AddressAssociation)> {
        self.elastics_of(interface).find(|(_, association)| association.private == private)
    }

    /// The private addresses of an interface that have a public one, and it: the elastic one, else,
    /// of the primary address, the one from the interface's launch.
    pub(crate) fn publics_of(&self, interface: &Interface) -> BTreeMap<Ipv4Addr, Ipv4Addr> {
        let launched = self.launch_addresses.get(&interface.id).copied().flatten();
        let launched = launched.map(|public| (interface.primary(), public));
        let elastic = self.elastics_of(&interface.id).map(|(a, of)| (of.private, a.public));
        launched.into_iter().chain(elastic).collect()
    }

    /// The public address of an interface's primary address.
    pub(crate) fn public_of(&self, interface: &Interface) -> Option<Ipv4Addr> {
        self.publics_of(interface).get(&interface.primary()).copied()
    }

    /// The place in the pool at which the region's part starts.
    fn first_public(&self) -> u32 {
        catalog::region_number(&self.name) * PER_REGION
    }

    /// Checks that an address of the region's part can be had once more.
    fn check_recoverable(&self, address: Ipv4Addr) -> Result<(), Ec2Error> {
        let offset =
            address.to_bits().wrapping_sub(PUBLIC_ADDRESSES.nth(self.first_public()).to_bits());
        let taken = self.addresses.values().any(|known| known.public == address)
            || self.launch_addresses.values().any(|known| *known == Some(address));
        if (1..PER_REGION - 1).contains(&offset) && !taken {
            return Ok(());
        }
        let message = format!("Address '{address}' is not available.");
        Err(Ec2Error::new("InvalidAddress.NotFound", message))
    }

    /// The next public address that nobody has, so that an address rests before it comes back.
    fn next_public(&mut self) -> Option<Ipv4Addr> {
        let elastic = self.addresses.values().map(|address| address.public);
        let taken: BTreeSet<Ipv4Addr> =
            elastic.chain(self.launch_addresses.values().copied().flatten()).collect();
        let first = self.first_public();
        // The first and the last of the part look like a network and a broadcast address.
        let usable = PER_REGION - 2;
        let cursor = self.public_cursor;
        let (offset, address) = (0..usable)
            .map(|step| (cursor + step) % usable)
            .map(|offset| (offset, PUBLIC_ADDRESSES.nth(first + 1 + offset)))
            .find(|(_, address)| !taken.contains(address))?;
        self.public_cursor = (offset + 1) % usable;
        Some(address)
    }
}

/// Whether a public address leads into the VPC.
pub(crate) fn any_mapped(region: &Region, vpc: &str) -> bool {
    let elastic = region.addresses.values().filter_map(|address| address.association.as_ref());
    elastic
        .map(|association| &association.interface)
        .chain(
            region
                .launch_addresses
                .iter()
                .filter(|(_, address)| address.is_some())
                .map(|(id, _)| id),
        )
        .any(|id| region.interfaces.get(id).is_some_and(|eni| eni.vpc == vpc))
}

/// Gives an interface a public address for as long as its instance runs. It stays without where the
/// region's part of the pool is used up. The effect is the caller's.
pub(crate) fn give_at_launch(cx: &mut Context<'_>, interface: &str) {
    if cx.region.public_of(&cx.region.interfaces[interface]).is_none()
        && let Some(address) = cx.region.next_public()
    {
        cx.region.launch_addresses.insert(interface.to_owned(), Some(address));
    }
}

/// Marks an interface as one that has a public address while it is the primary one of a running
/// instance, and gives it one if it is. The effect is the caller's.
pub(crate) fn want_public(cx: &mut Context<'_>, interface: &str) {
    if !cx.region.launch_addresses.contains_key(interface) {
        cx.region.launch_addresses.insert(interface.to_owned(), None);
    }
    let attached = cx.region.interfaces[interface].attachment.as_ref();
    if attached.is_some_and(|a| a.device_index == 0 && cx.region.runs(&a.instance)) {
        give_at_launch(cx, interface);
    }
}

/// Takes the addresses from its launch away from an instance that stops; elastic ones stay.
pub(crate) fn take_at_stop(region: &mut Region, instance: &str) {
    let Region { instances, launch_addresses, .. } = region;
    for eni in instances[instance].interfaces.values() {
        if let Some(address) = launch_addresses.get_mut(eni) {
            *address = None;
        }
    }
}

/// Gives an instance that starts new addresses for those that it lost when it stopped.
pub(crate) fn give_at_start(cx: &mut Context<'_>, instance: &str) {
    let primary = cx.region.instances[instance].interfaces.get(&0).cloned();
    if let Some(eni) = primary.filter(|eni| cx.region.launch_addresses.contains_key(eni)) {
        give_at_launch(cx, &eni);
    }
}

/// Frees the addresses of an interface that goes.
pub(crate) fn forget_interface(region: &mut Region, interface: &str) {
    region.launch_addresses.remove(interface);
    for address in region.addresses.select_mut(|address| address.stands_for(interface, None)) {
        address.association = None;
    }
}

/// Frees the elastic address of a private address that its interface loses.
pub(crate) fn forget_private(region: &mut Region, interface: &str, private: Ipv4Addr) {
    let lost = |address: &Address| address.stands_for(interface, Some(private));
    for address in region.addresses.select_mut(lost) {
        address.association = None;
    }
}

/// Takes the elastic address of a private address along to the interface that gets it ("When you
/// move a secondary private IP address to another network interface, any Elastic IP address that is
/// associated with the IP address is also moved", AssignPrivateIpAddresses).
pub(crate) fn follow_private(region: &mut Region, private: Ipv4Addr, from: &str, to: &str) {
    let moves = |address: &Address| address.stands_for(from, Some(private));
    let moving = region.addresses.select_mut(moves).filter_map(|a| a.association.as_mut());
    moving.for_each(|of| to.clone_into(&mut of.interface));
}

/// AllocateAddress.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AllocateAddress {
    domain: Option<String>,
    public_ipv4_pool: Option<String>,
    network_border_group: Option<String>,
    address: Option<Ipv4Addr>,
    customer_owned_ipv4_pool: Given,
    ipam_pool_id: Given,
    #[serde(default, rename = "TagSpecification")]
    tag_specifications: Vec<TagSpecification>,
}

/// Answer of AllocateAddress.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AllocatedAddress {
    public_ip: String,
    allocation_id: String,
    domain: &'static str,
    public_ipv4_pool: &'static str,
    network_border_group: String,
}

pub(crate) fn allocate(
    cx: &mut Context<'_>,
    request: AllocateAddress,
) -> Result<AllocatedAddress, Ec2Error> {
    refuse(&[
        ("CustomerOwnedIpv4Pool", request.customer_owned_ipv4_pool.is_some()),
        ("IpamPoolId", request.ipam_pool_id.is_some()),
    ])?;
    let region = &*cx.region;
    let check = |name: &str, given: Option<String>, only: &str| match given {
        Some(text) if text != only => {
            Err(Ec2Error::value(name, text, &format!("It can only be {only}.")))
        }
        _ => Ok(()),
    };
    check("domain", request.domain, "vpc")?;
    check("publicIpv4Pool", request.public_ipv4_pool, "amazon")?;
    check("networkBorderGroup", request.network_border_group, &region.name)?;
    let tags = requested(&request.tag_specifications, &["elastic-ip"], "elastic-ip")?;
    if region.addresses.len() >= cx.quotas.elastic_addresses {
        let message = "The maximum number of addresses has been reached.";
        return Err(Ec2Error::new("AddressLimitExceeded", message));
    }
    if let Some(address) = request.address {
        region.check_recoverable(address)?;
    }
    let public = request.address.or_else(|| cx.region.next_public()).ok_or_else(|| {
        let message = "The public addresses of the region are used up";
        Ec2Error::new("InsufficientAddressCapacity", message)
    })?;
    let id = cx.mint.id("eipalloc");
    let address = Address { id: id.clone(), public, association: None, reverse: None };
    cx.region.addresses.insert(id.clone(), address);
    cx.region.set_tags(&id, tags);
    Ok(AllocatedAddress {
        public_ip: public.to_string(),
        allocation_id: id,
        domain: "vpc",
        public_ipv4_pool: "amazon",
        network_border_group: cx.region.name.clone(),
    })
}

/// The elastic address that a request names.
fn named<'r>(
    region: &'r Region,
    id: Option<&str>,
    public: Option<Ipv4Addr>,
) -> Result<&'r Address, Ec2Error> {
    match (id, public) {
        (Some(id), None) => find(&region.addresses, id),
        (None, Some(public)) => with_public(region, public),
        (Some(_), Some(_)) => {
            let message =
                "You may specify public IP or allocation id, but not both in the same call";
            Err(Ec2Error::new("InvalidParameterCombination", message))
        }
        (None, None) => Err(Ec2Error::missing("allocationId")),
    }
}

/// The elastic address that is this one.
pub(crate) fn with_public(region: &Region, public: Ipv4Addr) -> Result<&Address, Ec2Error> {
    region.addresses.values().find(|address| address.public == public).ok_or_else(|| {
        Ec2Error::new("InvalidAddress.NotFound", format!("Address '{public}' not found."))
    })
}

/// ReleaseAddress.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ReleaseAddress {
    allocation_id: Option<String>,
    public_ip: Option<Ipv4Addr>,
    #[serde(rename = "NetworkBorderGroup")]
    _border: Option<String>,
}

pub(crate) fn release(cx: &mut Context<'_>, request: ReleaseAddress) -> Result<Done, Ec2Error> {
    let address = named(cx.region, request.allocation_id.as_deref(), request.public_ip)?;
    if let Some(association) = &address.association {
        check_not_managed(cx.region, association)?;
        let message = format!("Address {} is in use.", address.public);
        return Err(Ec2Error::new("InvalidIPAddress.InUse", message));
    }
    let id = address.id.clone();
    cx.region.addresses.remove(&id);
    cx.region.tags.remove(&id);
    Ok(Done::new())
}

/// AssociateAddress.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AssociateAddress {
    allocation_id: Option<String>,
    public_ip: Option<Ipv4Addr>,
    instance_id: Option<String>,
    network_interface_id: Option<String>,
    private_ip_address: Option<Ipv4Addr>,
    allow_reassociation: Option<bool>,
}

/// Answer of AssociateAddress.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AssociatedAddress {
    r#return: bool,
    association_id: String,
}

pub(crate) fn associate(
    cx: &mut Context<'_>,
    request: AssociateAddress,
) -> Result<AssociatedAddress, Ec2Error> {
    let region = &*cx.region;
    let address = named(region, request.allocation_id.as_deref(), request.public_ip)?;
    let eni = wanted_interface(region, &request)?;
    eni.check_own()?;
    let private = wanted_private(eni, request.private_ip_address)?;
    check_gateway(region, &eni.vpc)?;
    if let Some(present) = &address.association {
        if present.interface == eni.id && present.private == private {
            return Ok(AssociatedAddress { r#return: true, association_id: present.id.clone() });
        }
        check_not_managed(region, present)?;
        if request.allow_reassociation == Some(false) {
            return Err(already(&address.id, &present.id));
        }
    }
    if let Some((_, present)) = region.elastic_of(&eni.id, private)
        && request.allow_reassociation != Some(true)
    {
        return Err(already(&eni.id, &present.id));
    }
    let primary = eni.primary() == private;
    let (id, eni) = (address.id.clone(), eni.id.clone());
    let before = address.association.as_ref().map(|association| association.interface.clone());
    let before = before.filter(|before| *before != eni);
    if primary {
        cx.region.launch_addresses.remove(&eni);
    }
    forget_private(cx.region, &eni, private);
    let association_id = join(cx, &id, &eni, private);
    for touched in before.iter().chain([&eni]) {
        cx.effects.push(cx.region.put_interface(touched));
    }
    Ok(AssociatedAddress { r#return: true, association_id })
}

/// Makes an elastic address stand for a private one of the interface; everything was checked. The
/// effect is the caller's.
pub(crate) fn join(
    cx: &mut Context<'_>,
    address: &str,
    interface: &str,
    private: Ipv4Addr,
) -> String {
    let id = cx.mint.id("eipassoc");
    let interface = interface.to_owned();
    let record = cx.region.addresses.get_mut(address).expect("the address was checked");
    record.association = Some(AddressAssociation { id: id.clone(), interface, private });
    id
}

pub(crate) fn already(resource: &str, association: &str) -> Ec2Error {
    let message =
        format!("resource {resource} is already associated with associate-id {association}");
    Ec2Error::new("Resource.AlreadyAssociated", message)
}

fn wanted_interface<'r>(
    region: &'r Region,
    request: &AssociateAddress,
) -> Result<&'r Interface, Ec2Error> {
    match (&request.network_interface_id, &request.instance_id) {
        (Some(id), None) => find(&region.interfaces, id),
        (None, Some(id)) => only_interface(region, id),
        (None, None) => {
            let message = "Either instance ID or network interface id must be specified";
            Err(Ec2Error::new("MissingParameter", message))
        }
        (Some(_), Some(_)) => {
            let message = "You may specify an instance ID or a network interface ID, but not both";
            Err(Ec2Error::new("InvalidParameterCombination", message))
        }
    }
}

/// The private address that the elastic one is to stand for: the primary one if none is named.
fn wanted_private(eni: &Interface, private: Option<Ipv4Addr>) -> Result<Ipv4Addr, Ec2Error> {
    match private {
        None => Ok(eni.primary()),
        Some(private) if eni.addresses.contains(&private) => Ok(private),
        Some(private) => {
            let why = format!("It is not assigned to interface {}.", eni.id);
            Err(Ec2Error::value("privateIpAddress", private, &why))
        }
    }
}

/// `Gateway.NotAttached` unless the VPC has an internet gateway.
pub(crate) fn check_gateway(region: &Region, vpc: &str) -> Result<(), Ec2Error> {
    if region.internet_gateway_of(vpc).is_some() {
        return Ok(());
    }
    let message = format!("Network {vpc} is not attached to any internet gateway");
    Err(Ec2Error::new("Gateway.NotAttached", message))
}

/// `AuthFailure` where a service, such as a NAT gateway, holds the address.
fn check_not_managed(region: &Region, association: &AddressAssociation) -> Result<(), Ec2Error> {
    match region.interfaces.get(&association.interface) {
        Some(eni) => eni.check_own(),
        None => Ok(()),
    }
}

/// DisassociateAddress.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DisassociateAddress {
    association_id: Option<String>,
    public_ip: Option<Ipv4Addr>,
}

pub(crate) fn disassociate(
    cx: &mut Context<'_>,
    request: DisassociateAddress,
) -> Result<Done, Ec2Error> {
    let region = &*cx.region;
    let address = match (&request.association_id, request.public_ip) {
        (Some(id), _) => region
            .addresses
            .values()
            .find(|address| address.association.as_ref().is_some_and(|a| a.id == *id))
            .ok_or_else(|| {
                let message = format!("The association ID '{id}' does not exist");
                Ec2Error::new("InvalidAssociationID.NotFound", message)
            })?,
        (None, public) => named(region, None, public)?,
    };
    let Some(association) = &address.association else {
        let message = format!("The address {} has no association", address.public);
        return Err(Ec2Error::new("InvalidAssociationID.NotFound", message));
    };
    check_not_managed(region, association)?;
    let (id, interface) = (address.id.clone(), association.interface.clone());
    cx.region.addresses.get_mut(&id).expect("found above").association = None;
    cx.effects.push(cx.region.put_interface(&interface));
    Ok(Done::new())
}
