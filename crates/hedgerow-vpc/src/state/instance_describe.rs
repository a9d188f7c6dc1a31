//! Instances in answers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::instance::{Instance, MetadataOptions, PROFILE_ID, StateItem, primary};
use super::interface::Interface;
use super::interface_describe::{AddressItem, AttachmentItem, GroupIdentifier, attachment_item};
use super::mint::format_mac;
use super::select::{Field, describe_request, select};
use super::tags::TagItem;
use super::time::Timestamp;
use super::{ACCOUNT, Context, Region};
use crate::api::error::Ec2Error;

/// Instances of one launch in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReservationItem {
    reservation_id: String,
    owner_id: &'static str,
    group_set: Vec<GroupIdentifier>,
    instances_set: Vec<InstanceItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InstanceItem {
    instance_id: String,
    image_id: String,
    instance_state: StateItem,
    private_dns_name: String,
    dns_name: String,
    reason: Option<&'static str>,
    key_name: Option<String>,
    ami_launch_index: u32,
    instance_type: String,
    launch_time: Timestamp,
    placement: PlacementItem,
    monitoring: MonitoringItem,
    subnet_id: Option<String>,
    vpc_id: Option<String>,
    private_ip_address: Option<String>,
    state_reason: Option<StateReason>,
    architecture: &'static str,
    hypervisor: &'static str,
    virtualization_type: &'static str,
    source_dest_check: Option<bool>,
    group_set: Vec<GroupIdentifier>,
    client_token: Option<String>,
    ena_support: bool,
    ebs_optimized: bool,
    network_interface_set: Vec<InstanceInterfaceItem>,
    metadata_options: MetadataOptionsItem,
    iam_instance_profile: Option<ProfileItem>,
    tag_set: Vec<TagItem>,
}

#[derive(Debug, Serialize)]
struct ProfileItem {
    arn: String,
    id: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlacementItem {
    availability_zone: String,
    availability_zone_id: String,
    group_name: &'static str,
    tenancy: &'static str,
}

#[derive(Debug, Serialize)]
struct MonitoringItem {
    state: &'static str,
}

#[derive(Debug, Serialize)]
struct StateReason {
    code: &'static str,
    message: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MetadataOptionsItem {
    state: &'static str,
    http_tokens: &'static str,
    http_put_response_hop_limit: u8,
    http_endpoint: &'static str,
    instance_metadata_tags: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InstanceInterfaceItem {
    network_interface_id: String,
    interface_type: &'static str,
    status: &'static str,
    subnet_id: String,
    vpc_id: String,
    description: String,
    owner_id: &'static str,
    mac_address: String,
    private_ip_address: String,
    private_dns_name: Option<String>,
    source_dest_check: bool,
    group_set: Vec<GroupIdentifier>,
    attachment: Option<AttachmentItem>,
    private_ip_addresses_set: Vec<AddressItem>,
    ipv6_addresses_set: Vec<String>,
}

/// One launch's instances for an answer.
pub(crate) fn reservation_item(region: &Region, instances: &[&Instance]) -> ReservationItem {
    ReservationItem {
        reservation_id: instances.first().map_or(String::new(), |i| i.reservation.clone()),
        owner_id: ACCOUNT,
        group_set: Vec::new(),
        instances_set: instances.iter().map(|i| instance_item(region, i)).collect(),
    }
}

fn instance_item(region: &Region, instance: &Instance) -> InstanceItem {
    let primary = primary(region, instance);
    let gone = instance.terminated.is_some();
    let kept = |text: &String| (!gone).then(|| text.clone());
    let interfaces = instance.interfaces.values().map(|id| &region.interfaces[id]);
    InstanceItem {
        instance_id: instance.id.clone(),
        image_id: instance.image.clone(),
        instance_state: instance.state(),
        private_dns_name: primary
            .map_or(String::new(), |eni| region.private_dns_name(eni.primary())),
        dns_name: String::new(),
        reason: gone.then_some("User initiated"),
        key_name: instance.key_name.clone(),
        ami_launch_index: instance.launch_index,
        instance_type: instance.type_name.clone(),
        launch_time: instance.launched,
        placement: PlacementItem {
            availability_zone: instance.zone.name.clone(),
            availability_zone_id: instance.zone.id.clone(),
            group_name: "",
            tenancy: "default",
        },
        monitoring: MonitoringItem { state: "disabled" },
        subnet_id: kept(&instance.subnet),
        vpc_id: kept(&instance.vpc),
        private_ip_address: primary.map(|eni| eni.primary().to_string()),
        state_reason: gone.then_some(StateReason {
            code: "Client.UserInitiatedShutdown",
            message: "Client.UserInitiatedShutdown: User initiated shutdown",
        }),
        architecture: "x86_64",
        hypervisor: "xen",
        virtualization_type: "hvm",
        source_dest_check: primary.map(|eni| eni.source_dest_check),
        group_set: primary.map_or(Vec::new(), |eni| region.group_identifiers(&eni.groups)),
        client_token: instance.client_token.clone(),
        ena_support: true,
        ebs_optimized: false,
        network_interface_set: interfaces.map(|eni| instance_interface(region, eni)).collect(),
        metadata_options: metadata_item(&instance.metadata),
        iam_instance_profile: instance.profile_arn().map(|arn| ProfileItem { arn, id: PROFILE_ID }),
        tag_set: region.tag_items(&instance.id),
    }
}

fn metadata_item(options: &MetadataOptions) -> MetadataOptionsItem {
    MetadataOptionsItem {
        state: "applied",
        http_tokens: if options.token_required { "required" } else { "optional" },
        http_put_response_hop_limit: options.hop_limit,
        http_endpoint: if options.enabled { "enabled" } else { "disabled" },
        instance_metadata_tags: if options.tags { "enabled" } else { "disabled" },
    }
}

fn instance_interface(region: &Region, eni: &Interface) -> InstanceInterfaceItem {
    let addresses = region.address_items(eni);
    InstanceInterfaceItem {
        network_interface_id: eni.id.clone(),
        interface_type: eni.kind.name(),
        status: eni.status(),
        subnet_id: eni.subnet.clone(),
        vpc_id: eni.vpc.clone(),
        description: eni.description.clone(),
        owner_id: ACCOUNT,
        mac_address: format_mac(eni.mac),
        private_ip_address: eni.primary().to_string(),
        private_dns_name: addresses[0].private_dns_name.clone(),
        source_dest_check: eni.source_dest_check,
        group_set: region.group_identifiers(&eni.groups),
        attachment: eni.attachment.as_ref().map(|a| attachment_item(a, true)),
        private_ip_addresses_set: addresses,
        ipv6_addresses_set: Vec::new(),
    }
}

describe_request!(DescribeInstances, "InstanceId");

/// Answer of DescribeInstances.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReservationSet {
    reservation_set: Vec<ReservationItem>,
    next_token: Option<String>,
}

fn of_interfaces(region: &Region, i: &Instance, read: fn(&Interface) -> String) -> Vec<String> {
    i.interfaces.values().filter_map(|id| region.interfaces.get(id)).map(read).collect()
}

fn addresses(region: &Region, instance: &Instance) -> Vec<String> {
    let interfaces = instance.interfaces.values().filter_map(|id| region.interfaces.get(id));
    interfaces.flat_map(|eni| &eni.addresses).map(ToString::to_string).collect()
}

fn group_ids(region: &Region, instance: &Instance) -> Vec<String> {
    let interfaces = instance.interfaces.values().filter_map(|id| region.interfaces.get(id));
    interfaces.flat_map(|eni| eni.groups.clone()).collect()
}

fn group_names(region: &Region, instance: &Instance) -> Vec<String> {
    let ids = group_ids(region, instance);
    ids.iter().filter_map(|id| region.groups.get(id)).map(|group| group.name.clone()).collect()
}

fn primary_address(region: &Region, instance: &Instance) -> Vec<String> {
    primary(region, instance).map(|eni| eni.primary().to_string()).into_iter().collect()
}

fn primary_name(region: &Region, instance: &Instance) -> Vec<String> {
    primary(region, instance).map(|e| region.private_dns_name(e.primary())).into_iter().collect()
}

const FILTERS: &[Field<Instance>] = &[
    ("instance-id", |_, i| vec![i.id.clone()]),
    ("instance-state-name", |_, i| vec![i.state().name.into()]),
    ("instance-state-code", |_, i| vec![i.state().code.to_string()]),
    ("instance-type", |_, i| vec![i.type_name.clone()]),
    ("image-id", |_, i| vec![i.image.clone()]),
    ("key-name", |_, i| i.key_name.clone().into_iter().collect()),
    ("reservation-id", |_, i| vec![i.reservation.clone()]),
    ("client-token", |_, i| i.client_token.clone().into_iter().collect()),
    ("launch-time", |_, i| vec![i.launched.to_string()]),
    ("owner-id", |_, _| vec![ACCOUNT.into()]),
    ("vpc-id", |_, i| vec![i.vpc.clone()]),
    ("subnet-id", |_, i| vec![i.subnet.clone()]),
    ("availability-zone", |_, i| vec![i.zone.name.clone()]),
    ("private-ip-address", primary_address),
    ("private-dns-name", primary_name),
    ("instance.group-id", group_ids),
    ("instance.group-name", group_names),
    ("network-interface.network-interface-id", |r, i| of_interfaces(r, i, |e| e.id.clone())),
    ("network-interface.subnet-id", |r, i| of_interfaces(r, i, |e| e.subnet.clone())),
    ("network-interface.vpc-id", |r, i| of_interfaces(r, i, |e| e.vpc.clone())),
    ("network-interface.mac-address", |r, i| of_interfaces(r, i, |e| format_mac(e.mac))),
    ("network-interface.description", |r, i| of_interfaces(r, i, |e| e.description.clone())),
    ("network-interface.group-id", group_ids),
    ("network-interface.group-name", group_names),
    ("network-interface.addresses.private-ip-address", addresses),
];

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeInstances,
) -> Result<ReservationSet, Ec2Error> {
    let region = &*cx.region;
    let (page, next_token) = select(region, &region.instances, FILTERS, &request.selection())?;
    let mut launches: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
    for instance in page {
        launches.entry(&instance.reservation).or_default().push(instance);
    }
    let reservation_set =
        launches.values().map(|instances| reservation_item(region, instances)).collect();
    Ok(ReservationSet { reservation_set, next_token })
}

describe_request!(DescribeInstanceStatus, "InstanceId", include_all_instances: Option<bool>);

/// Answer of DescribeInstanceStatus.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusSet {
    instance_status_set: Vec<StatusItem>,
    next_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusItem {
    instance_id: String,
    availability_zone: String,
    availability_zone_id: String,
    instance_state: StateItem,
    system_status: Checks,
    instance_status: Checks,
}

#[derive(Debug, Serialize)]
struct Checks {
    status: &'static str,
    details: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: &'static str,
}

pub(crate) fn describe_status(
    cx: &mut Context<'_>,
    request: DescribeInstanceStatus,
) -> Result<StatusSet, Ec2Error> {
    let region = &*cx.region;
    let (page, next_token) = select(region, &region.instances, FILTERS, &request.selection())?;
    let all = request.include_all_instances == Some(true);
    let shown = page.into_iter().filter(|instance| all || instance.terminated.is_none());
    let item = |instance: &Instance| StatusItem {
        instance_id: instance.id.clone(),
        availability_zone: instance.zone.name.clone(),
        availability_zone_id: instance.zone.id.clone(),
        instance_state: instance.state(),
        system_status: checks(instance),
        instance_status: checks(instance),
    };
    Ok(StatusSet { instance_status_set: shown.map(item).collect(), next_token })
}

fn checks(instance: &Instance) -> Checks {
    match instance.terminated {
        Some(_) => Checks { status: "not-applicable", details: Vec::new() },
        None => {
            Checks { status: "ok", details: vec![Check { name: "reachability", status: "passed" }] }
        }
    }
}
