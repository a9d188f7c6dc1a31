//! What a launch will be: everything about RunInstances that can be refused, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hedgerow_core::limits::{InstanceType, instance_type};

use super::group::{self, SecurityGroup};
use super::instance_attribute::check_user_data;
use super::interface::{
    Kind, NewInterface, WantedAddresses, described, kind_of, too_many_addresses,
};
use super::launch::{InterfaceSpec, Launch, PlannedInterface, RunInstances, Source};
use super::launch_settings::{metadata, names, profile, refuse_what_cannot_be, settings};
use super::prefix;
use super::region::{find, not_found};
use super::subnet::Subnet;
use super::tags::{TagMap, check_readable, requested};
use super::timeouts::Timeouts;
use super::unsupported::refuse;
use super::{Quotas, Region, attachment};
use crate::api::error::Ec2Error;

/// Most instances in one launch.
const MAX_LAUNCH: u32 = 1_000;

/// Checks everything about a launch.
pub(super) fn plan(
    region: &Region,
    quotas: &Quotas,
    request: &RunInstances,
) -> Result<Launch, Ec2Error> {
    if !request.image_id.starts_with("ami-") {
        let message = format!("Invalid id: \"{}\" (expecting \"ami-...\")", request.image_id);
        return Err(Ec2Error::new("InvalidAMIID.Malformed", message));
    }
    let type_name = request.instance_type.as_deref().unwrap_or("m1.small");
    let limits =
        instance_type(type_name).filter(|limits| limits.max_enis > 0).ok_or_else(|| {
            let message = format!("Invalid value '{type_name}' for InstanceType.");
            Ec2Error::new("InvalidParameterValue", message)
        })?;
    check_counts(request)?;
    refuse_what_cannot_be(request)?;
    request.user_data.as_deref().map_or(Ok(()), check_user_data)?;
    let kinds = ["instance", "volume", "network-interface", "spot-instances-request"];
    let instance_tags = requested(&request.tag_specifications, &kinds, "instance")?;
    let interface_tags = requested(&request.tag_specifications, &kinds, "network-interface")?;

    let metadata = metadata(region, request.metadata_options.as_ref())?;
    if metadata.tags {
        check_readable(instance_tags.keys())?;
    }

    let default_spec = [default_interface(region, request)?];
    let specs = if request.interfaces.is_empty() { &default_spec[..] } else { &request.interfaces };
    let mut planned = Vec::new();
    for spec in specs {
        planned.push(plan_interface(region, quotas, request, spec, limits, &interface_tags)?);
    }
    planned.sort_by_key(|p| p.device_index);
    check_together(region, &planned, limits)?;
    let primary = subnet_of(region, &planned[0]);
    check_zone(request, primary)?;
    let count = how_many(region, request, &planned)?;
    // Named addresses first, so that no other interface of the launch is given one of them.
    planned.sort_by_key(|p| {
        matches!(&p.source, Source::New(n)
            if n.primary.is_none() && n.secondary.is_empty() && n.prefixes.is_empty()
                && !n.ipv6.names_any())
    });
    Ok(Launch {
        limits,
        count,
        subnet: primary.id.clone(),
        vpc: primary.vpc.clone(),
        zone: primary.zone.clone(),
        interfaces: planned,
        metadata,
        names: names(primary, request.private_dns_name_options.as_ref())?,
        profile: request.profile.as_ref().map(profile).transpose()?,
        settings: settings(request, limits)?,
        instance_tags,
    })
}

fn check_counts(request: &RunInstances) -> Result<(), Ec2Error> {
    let (min, max) = (request.min_count, request.max_count);
    if min == 0 {
        return Err(Ec2Error::value("minCount", min, "Expecting a value greater than 0."));
    }
    if max < min || max > MAX_LAUNCH {
        let why = "It must be at least minCount and at most 1000.";
        return Err(Ec2Error::value("maxCount", max, why));
    }
    Ok(())
}

/// The one interface of a request that lists none.
fn default_interface(region: &Region, request: &RunInstances) -> Result<InterfaceSpec, Ec2Error> {
    if !request.interfaces.is_empty() {
        let instance_level = request.subnet_id.is_some()
            || !request.groups.is_empty()
            || !request.group_names.is_empty()
            || request.private_ip_address.is_some()
            || !request.ipv6_addresses.is_empty()
            || request.ipv6_address_count.is_some()
            || request.enable_primary_ipv6.is_some();
        if instance_level {
            let message = "Network interfaces and an instance-level subnet ID, private IP address \
                           or security groups may not be specified on the same request";
            return Err(Ec2Error::new("InvalidParameterCombination", message));
        }
        return Ok(InterfaceSpec::default());
    }
    let mut groups = request.groups.clone();
    for name in &request.group_names {
        groups.push(group::named(region, None, Some(name))?.id.clone());
    }
    let elsewhere = request.subnet_id.as_ref().and_then(|id| region.subnets.get(id));
    let elsewhere = elsewhere.is_some_and(|s| region.default_vpc().is_none_or(|v| v.id != s.vpc));
    if elsewhere && !request.group_names.is_empty() {
        let message = "The parameter groupName cannot be used with the parameter subnet";
        return Err(Ec2Error::new("InvalidParameterCombination", message));
    }
    Ok(InterfaceSpec {
        device_index: Some(0),
        subnet_id: request.subnet_id.clone(),
        groups,
        private_ip_address: request.private_ip_address,
        ipv6_addresses: request.ipv6_addresses.clone(),
        ipv6_address_count: request.ipv6_address_count,
        primary_ipv6: request.enable_primary_ipv6,
        ..InterfaceSpec::default()
    })
}

fn plan_interface(
    region: &Region,
    quotas: &Quotas,
    request: &RunInstances,
    spec: &InterfaceSpec,
    limits: &'static InstanceType,
    tags: &TagMap,
) -> Result<PlannedInterface, Ec2Error> {
    let device_index = spec.device_index.ok_or_else(|| {
        let message = "Each network interface requires a device index.";
        Ec2Error::new("MissingParameter", message)
    })?;
    check_public(request, spec, device_index)?;
    refuse(&[
        (
            "NetworkInterface.AssociateCarrierIpAddress",
            spec.associate_carrier_ip_address == Some(true),
        ),
        ("NetworkInterface.EnaSrdSpecification", spec.ena_srd_specification.is_some()),
        ("NetworkInterface.EnaQueueCount", spec.ena_queue_count.is_some()),
    ])?;
    if let Some(card @ 1..) = spec.network_card_index {
        let message = format!("Network card {card} does not exist; instances here have card 0");
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    if let Some(id) = &spec.network_interface_id {
        check_existing(spec)?;
        let eni = find(&region.interfaces, id)?;
        eni.check_own()?;
        attachment::check_free(eni)?;
        if request.max_count > 1 {
            let message = "An existing network interface can be given to one instance only";
            return Err(Ec2Error::new("InvalidParameterCombination", message));
        }
        attachment::check_addresses(limits, eni)?;
        let delete_on_termination = spec.delete_on_termination.unwrap_or(false);
        return Ok(PlannedInterface {
            device_index,
            delete_on_termination,
            public: false,
            source: Source::Existing(id.clone()),
        });
    }
    let subnet = wanted_subnet(region, request, spec)?;
    let unknown = |id: &str| not_found::<SecurityGroup>(id);
    let limit = quotas.groups_per_interface;
    let kind = kind_of(spec.interface_type.as_deref())?;
    if kind == Kind::Branch {
        let why = "An instance is not launched with branch interfaces.";
        return Err(Ec2Error::value("interfaceType", "branch", why));
    }
    let groups = group::check_on_interface(region, &subnet.vpc, &spec.groups, limit, unknown)?;
    let new = NewInterface {
        description: described(spec.description.clone().unwrap_or_default())?,
        kind,
        timeouts: Timeouts::new(spec.connection_tracking_specification.as_ref())?,
        tags: tags.clone(),
        ..NewInterface::in_subnet(subnet.id.clone(), groups)
    };
    let wanted = WantedAddresses {
        primary: spec.private_ip_address,
        listed: spec.addresses.clone(),
        secondary_count: spec.secondary_private_ip_address_count,
        prefixes: spec.prefixes.clone(),
        prefix_count: spec.ipv4_prefix_count,
        ipv6: spec.ipv6(),
    };
    let new = new.addresses(region, &wanted)?;
    let ipv6_limit = limits.ipv6_per_eni() as usize;
    if new.places() > limits.ipv4_per_eni as usize || new.ipv6.places() > ipv6_limit {
        return Err(too_many_addresses());
    }
    let named = new.primary.is_some()
        || !new.secondary.is_empty()
        || !new.prefixes.is_empty()
        || new.ipv6.names_any();
    if request.max_count > 1 && named {
        let message = "A private IP address can be given to one instance only";
        return Err(Ec2Error::new("InvalidParameterCombination", message));
    }
    let delete_on_termination = spec.delete_on_termination.unwrap_or(true);
    // Without a wish the subnet decides, and only for an instance's only interface.
    let only = request.interfaces.len() <= 1 && device_index == 0;
    let public = spec.associate_public_ip_address.unwrap_or(only && subnet.public_on_launch);
    Ok(PlannedInterface {
        device_index,
        delete_on_termination,
        public,
        source: Source::New(Box::new(new)),
    })
}

/// `InvalidParameterCombination` where an interface asks for a public address and is not the only
/// and new one of its instance.
fn check_public(
    request: &RunInstances,
    spec: &InterfaceSpec,
    device_index: u8,
) -> Result<(), Ec2Error> {
    if spec.associate_public_ip_address != Some(true) {
        return Ok(());
    }
    let why = if request.interfaces.len() > 1 {
        "when launching with multiple network interfaces"
    } else if spec.network_interface_id.is_some() {
        "when a network interface ID is specified"
    } else if device_index != 0 {
        "for the network interface at a device index other than 0"
    } else {
        return Ok(());
    };
    let message = format!("The associatePublicIPAddress parameter cannot be specified {why}.");
    Err(Ec2Error::new("InvalidParameterCombination", message))
}

/// `InvalidParameterCombination` where an existing interface is to get what only a new one can.
fn check_existing(spec: &InterfaceSpec) -> Result<(), Ec2Error> {
    let more = spec.subnet_id.is_some()
        || !spec.groups.is_empty()
        || spec.private_ip_address.is_some()
        || !spec.addresses.is_empty()
        || spec.secondary_private_ip_address_count.is_some()
        || !spec.prefixes.is_empty()
        || spec.ipv4_prefix_count.is_some()
        || spec.ipv6().is_given()
        || spec.interface_type.is_some()
        || spec.connection_tracking_specification.is_some();
    if more {
        let message = "A network interface that exists keeps its subnet, addresses and groups; \
                       they may not be specified with its ID";
        return Err(Ec2Error::new("InvalidParameterCombination", message));
    }
    Ok(())
}

/// The subnet that the interface names, or the default one of the wished or first zone.
fn wanted_subnet<'r>(
    region: &'r Region,
    request: &RunInstances,
    spec: &InterfaceSpec,
) -> Result<&'r Subnet, Ec2Error> {
    if let Some(id) = &spec.subnet_id {
        return find(&region.subnets, id);
    }
    let mut candidates: Vec<&Subnet> =
        region.subnets.values().filter(|s| s.default_for_zone && in_zone(request, s)).collect();
    candidates.sort_by(|a, b| a.zone.name.cmp(&b.zone.name));
    candidates.first().copied().ok_or_else(|| {
        let message = "No default subnet for the zone or the region; name one with SubnetId";
        Ec2Error::new("MissingInput", message)
    })
}

fn subnet_of<'r>(region: &'r Region, planned: &PlannedInterface) -> &'r Subnet {
    let id = match &planned.source {
        Source::Existing(eni) => &region.interfaces[eni].subnet,
        Source::New(new) => &new.subnet,
    };
    &region.subnets[id]
}

/// What the interfaces of an instance must have in common, and must not.
fn check_together(
    region: &Region,
    planned: &[PlannedInterface],
    limits: &InstanceType,
) -> Result<(), Ec2Error> {
    if planned.first().is_none_or(|p| p.device_index != 0) {
        let message = "One network interface must have the device index 0";
        return Err(Ec2Error::new("InvalidParameterCombination", message));
    }
    let indices: BTreeSet<u8> = planned.iter().map(|p| p.device_index).collect();
    if indices.len() != planned.len() {
        let message = "Each network interface requires a unique device index.";
        return Err(Ec2Error::new("InvalidParameterCombination", message));
    }
    if planned.len() > limits.max_enis as usize {
        let message =
            format!("Interface count {} exceeds the limit for {}", planned.len(), limits.name);
        return Err(Ec2Error::new("AttachmentLimitExceeded", message));
    }
    let first = subnet_of(region, &planned[0]);
    let mut existing = BTreeSet::new();
    let mut trunks = 0;
    for one in planned {
        let subnet = subnet_of(region, one);
        if subnet.vpc != first.vpc || subnet.zone != first.zone {
            let message = "All network interfaces of an instance must be in the same VPC and \
                           availability zone";
            return Err(Ec2Error::new("InvalidParameterCombination", message));
        }
        let kind = match &one.source {
            Source::New(new) => new.kind,
            Source::Existing(id) if !existing.insert(id) => {
                let message = format!("Interface {id} is given twice");
                return Err(Ec2Error::new("InvalidParameterCombination", message));
            }
            Source::Existing(id) => region.interfaces[id].kind,
        };
        trunks += usize::from(kind == Kind::Trunk);
    }
    if trunks > 0 {
        attachment::check_trunk(limits, std::iter::empty())?;
    }
    if trunks > 1 {
        let message = "An instance has one trunk interface at most";
        return Err(Ec2Error::new("UnsupportedOperation", message));
    }
    Ok(())
}

/// Whether the subnet is in the zone that the launch wishes, if it wishes one.
fn in_zone(request: &RunInstances, subnet: &Subnet) -> bool {
    request.placement.as_ref().is_none_or(|placement| {
        let name = placement.availability_zone.as_ref();
        let id = placement.availability_zone_id.as_ref();
        name.is_none_or(|name| *name == subnet.zone.name)
            && id.is_none_or(|id| *id == subnet.zone.id)
    })
}

fn check_zone(request: &RunInstances, subnet: &Subnet) -> Result<(), Ec2Error> {
    if in_zone(request, subnet) {
        return Ok(());
    }
    let message = format!(
        "The availability zone of the placement and the zone '{}' of subnet {} differ",
        subnet.zone.name, subnet.id
    );
    Err(Ec2Error::new("InvalidParameterCombination", message))
}

/// How many instances the free addresses allow, between the wished bounds.
fn how_many(
    region: &Region,
    request: &RunInstances,
    planned: &[PlannedInterface],
) -> Result<u32, Ec2Error> {
    let mut needs: BTreeMap<&str, Vec<&NewInterface>> = BTreeMap::new();
    for one in planned {
        let Source::New(new) = &one.source else { continue };
        needs.entry(&new.subnet).or_default().push(new);
    }
    needs.values().try_for_each(|need| check_named(need))?;
    let mut count = request.max_count;
    for (subnet, need) in needs {
        let subnet = &region.subnets[subnet];
        prefix::check_room(subnet, &need, request.min_count)?;
        count = prefix::fits(subnet, &need, count);
    }
    Ok(count)
}

/// `InvalidIPAddress.InUse` where two interfaces of one subnet ask for the same address.
fn check_named(new: &[&NewInterface]) -> Result<(), Ec2Error> {
    let mut named = BTreeSet::new();
    let mut prefixes = BTreeSet::new();
    for new in new {
        let delegated = new.prefixes.iter().flat_map(prefix::addresses);
        let v4 = new.primary.iter().chain(&new.secondary).copied().chain(delegated);
        let v6 = new.ipv6.named.iter().copied().map(IpAddr::V6);
        let twice = v4.map(IpAddr::V4).chain(v6).find(|address| !named.insert(*address));
        let twice = twice.map(|address| address.to_string());
        let overlap = new.ipv6.prefixes.iter().find(|prefix| !prefixes.insert(**prefix));
        if let Some(what) = twice.or_else(|| overlap.map(ToString::to_string)) {
            let message = format!("Address {what} is in use.");
            return Err(Ec2Error::new("InvalidIPAddress.InUse", message));
        }
    }
    let inside = |address: &&IpAddr| match address {
        IpAddr::V6(address) => prefixes.iter().any(|prefix| prefix.contains(*address)),
        IpAddr::V4(_) => false,
    };
    match named.iter().find(inside) {
        None => Ok(()),
        Some(address) => {
            let message = format!("Address {address} is in use.");
            Err(Ec2Error::new("InvalidIPAddress.InUse", message))
        }
    }
}
