//! What a launch will be: everything about RunInstances that can be refused, and why.

use std::collections::{BTreeMap, BTreeSet};

use hedgerow_core::limits::{InstanceType, instance_type};

use super::group::{self, SecurityGroup};
use super::instance::MetadataOptions;
use super::interface::{Kind, NewInterface, WantedAddresses, kind_of, too_many_addresses};
use super::launch::{
    InterfaceSpec, Launch, MetadataSpec, PlannedInterface, ProfileSpec, RunInstances, Source,
};
use super::region::{find, not_found};
use super::subnet::Subnet;
use super::tags::{TagMap, requested};
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
    let limits = instance_type(type_name).ok_or_else(|| {
        let message = format!("Invalid value '{type_name}' for InstanceType.");
        Ec2Error::new("InvalidParameterValue", message)
    })?;
    check_counts(request)?;
    let kinds = ["instance", "volume", "network-interface", "spot-instances-request"];
    let instance_tags = requested(&request.tag_specifications, &kinds, "instance")?;
    let interface_tags = requested(&request.tag_specifications, &kinds, "network-interface")?;

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
    planned.sort_by_key(
        |p| matches!(&p.source, Source::New(n) if n.primary.is_none() && n.secondary.is_empty()),
    );
    Ok(Launch {
        limits,
        count,
        subnet: primary.id.clone(),
        vpc: primary.vpc.clone(),
        zone: primary.zone.clone(),
        interfaces: planned,
        metadata: metadata(request.metadata_options.as_ref())?,
        profile: request.profile.as_ref().map(profile).transpose()?,
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
            || request.private_ip_address.is_some();
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
    Ok(InterfaceSpec {
        device_index: Some(0),
        subnet_id: request.subnet_id.clone(),
        groups,
        private_ip_address: request.private_ip_address,
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
    if spec.associate_public_ip_address == Some(true) {
        let message = "Instances here have no public IP addresses yet";
        return Err(Ec2Error::new("UnsupportedOperation", message));
    }
    if let Some(id) = &spec.network_interface_id {
        let eni = find(&region.interfaces, id)?;
        attachment::check_free(eni)?;
        if request.max_count > 1 {
            let message = "An existing network interface can be given to one instance only";
            return Err(Ec2Error::new("InvalidParameterCombination", message));
        }
        if eni.addresses.len() > limits.ipv4_per_eni as usize {
            return Err(too_many_addresses());
        }
        let delete_on_termination = spec.delete_on_termination.unwrap_or(false);
        return Ok(PlannedInterface {
            device_index,
            delete_on_termination,
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
    let new = NewInterface {
        subnet: subnet.id.clone(),
        groups: group::check_on_interface(region, &subnet.vpc, &spec.groups, limit, unknown)?,
        primary: None,
        secondary: Vec::new(),
        secondary_count: 0,
        description: spec.description.clone().unwrap_or_default(),
        kind,
        tags: tags.clone(),
    };
    let wanted = WantedAddresses {
        primary: spec.private_ip_address,
        listed: spec.addresses.clone(),
        secondary_count: spec.secondary_private_ip_address_count,
    };
    let new = new.addresses(region, &wanted)?;
    if new.address_count() > limits.ipv4_per_eni as usize {
        return Err(too_many_addresses());
    }
    if request.max_count > 1 && (new.primary.is_some() || !new.secondary.is_empty()) {
        let message = "A private IP address can be given to one instance only";
        return Err(Ec2Error::new("InvalidParameterCombination", message));
    }
    let delete_on_termination = spec.delete_on_termination.unwrap_or(true);
    Ok(PlannedInterface { device_index, delete_on_termination, source: Source::New(new) })
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
    let zone = request.placement.as_ref().and_then(|p| p.availability_zone.as_deref());
    let mut candidates: Vec<&Subnet> = region
        .subnets
        .values()
        .filter(|s| s.default_for_zone && zone.is_none_or(|zone| s.zone.name == zone))
        .collect();
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

fn check_zone(request: &RunInstances, subnet: &Subnet) -> Result<(), Ec2Error> {
    let zone = request.placement.as_ref().and_then(|p| p.availability_zone.as_deref());
    match zone {
        Some(zone) if zone != subnet.zone.name => {
            let message = format!(
                "The availability zone '{zone}' and the zone '{}' of subnet {} differ",
                subnet.zone.name, subnet.id
            );
            Err(Ec2Error::new("InvalidParameterCombination", message))
        }
        _ => Ok(()),
    }
}

/// How many instances the free addresses allow, between the wished bounds.
fn how_many(
    region: &Region,
    request: &RunInstances,
    planned: &[PlannedInterface],
) -> Result<u32, Ec2Error> {
    let mut needs: BTreeMap<&str, u64> = BTreeMap::new();
    let mut named = BTreeSet::new();
    for one in planned {
        let Source::New(new) = &one.source else { continue };
        *needs.entry(&new.subnet).or_default() += new.address_count() as u64;
        for address in new.primary.iter().chain(&new.secondary) {
            if !named.insert((&new.subnet, *address)) {
                let message = format!("Address {address} is in use.");
                return Err(Ec2Error::new("InvalidIPAddress.InUse", message));
            }
        }
    }
    let mut count = request.max_count;
    for (subnet, need) in needs {
        let subnet = &region.subnets[subnet];
        subnet.check_room(need * u64::from(request.min_count))?;
        count = count.min(u32::try_from(subnet.free() / need).unwrap_or(u32::MAX));
    }
    Ok(count)
}

fn metadata(spec: Option<&MetadataSpec>) -> Result<MetadataOptions, Ec2Error> {
    let mut options =
        MetadataOptions { token_required: false, hop_limit: 1, enabled: true, tags: false };
    let Some(spec) = spec else { return Ok(options) };
    match spec.http_tokens.as_deref() {
        None | Some("optional") => {}
        Some("required") => options.token_required = true,
        Some(other) => {
            return Err(Ec2Error::value("httpTokens", other, "It is optional or required."));
        }
    }
    match spec.http_endpoint.as_deref() {
        None | Some("enabled") => {}
        Some("disabled") => options.enabled = false,
        Some(other) => {
            return Err(Ec2Error::value("httpEndpoint", other, "It is enabled or disabled."));
        }
    }
    match spec.instance_metadata_tags.as_deref() {
        None | Some("disabled") => {}
        Some("enabled") => options.tags = true,
        Some(other) => {
            return Err(Ec2Error::value(
                "instanceMetadataTags",
                other,
                "It is enabled or disabled.",
            ));
        }
    }
    match spec.http_put_response_hop_limit {
        None => {}
        Some(hops @ 1..=64) => options.hop_limit = hops,
        Some(hops) => {
            let why = "It is from 1 to 64.";
            return Err(Ec2Error::value("httpPutResponseHopLimit", hops, why));
        }
    }
    Ok(options)
}

/// The name of a profile. There are no profiles to look it up among: every name is one.
fn profile(spec: &ProfileSpec) -> Result<String, Ec2Error> {
    let (parameter, given, name) = match (&spec.name, &spec.arn) {
        (Some(name), None) => ("iamInstanceProfile.name", name, Some(name.as_str())),
        (None, Some(arn)) => {
            let name = arn.split_once(":instance-profile/").map(|(_, path)| path);
            let name = name.map(|path| path.rsplit('/').next().unwrap_or(path));
            ("iamInstanceProfile.arn", arn, name)
        }
        _ => {
            let message = "An instance profile is named by its name or by its ARN";
            return Err(Ec2Error::new("InvalidParameterCombination", message));
        }
    };
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"+=,.@_-".contains(&c);
    let good = |name: &&str| (1..=128).contains(&name.len()) && name.bytes().all(plain);
    let name = name.filter(good).map(str::to_owned);
    name.ok_or_else(|| Ec2Error::value(parameter, given, "Invalid IAM Instance Profile name"))
}
