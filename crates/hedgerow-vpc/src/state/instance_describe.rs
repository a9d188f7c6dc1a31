//! Instances in answers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::address_describe::PublicItem;
use super::instance::{Instance, MetadataOptions, PROFILE_ID, StateItem, primary};
use super::instance_filters::FILTERS;
use super::instance_types::architecture;
use super::interface::Interface;
use super::interface_address::{PrefixItem, prefix_items};
use super::interface_describe::{
    AddressItem, AttachmentItem, GroupIdentifier, Operator, attachment_item,
};
use super::interface_ipv6::{Ipv6Item, Ipv6PrefixItem, ipv6_items, ipv6_prefix_items};
use super::mint::format_mac;
use super::select::{describe_request, select};
use super::subnet_attribute::LaunchNamesItem;
use super::tags::TagItem;
use super::time::Timestamp;
use super::timeouts::TimeoutsItem;
use super::vpc::Vpc;
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
    reason: Option<String>,
    key_name: Option<String>,
    ami_launch_index: u32,
    instance_type: String,
    launch_time: Timestamp,
    placement: PlacementItem,
    monitoring: MonitoringItem,
    subnet_id: Option<String>,
    vpc_id: Option<String>,
    private_ip_address: Option<String>,
    ip_address: Option<String>,
    ipv6_address: Option<String>,
    state_reason: Option<StateReason>,
    architecture: &'static str,
    hypervisor: &'static str,
    virtualization_type: &'static str,
    source_dest_check: Option<bool>,
    group_set: Vec<GroupIdentifier>,
    client_token: Option<String>,
    instance_lifecycle: Option<String>,
    hibernation_options: Hibernation,
    enclave_options: Enclave,
    maintenance_options: Maintenance,
    private_dns_name_options: LaunchNamesItem,
    boot_mode: &'static str,
    current_instance_boot_mode: &'static str,
    platform_details: &'static str,
    usage_operation: &'static str,
    usage_operation_update_time: Timestamp,
    root_device_type: &'static str,
    operator: Operator,
    network_performance_options: NetworkPerformance,
    capacity_reservation_specification: CapacityReservation,
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

/// What EC2 says of Linux instances that boot by BIOS from a volume. No such thing is here, and
/// clients read it.
pub(super) const BOOT_MODE: &str = "legacy-bios";
pub(super) const PLATFORM: &str = "Linux/UNIX";
pub(super) const USAGE_OPERATION: &str = "RunInstances";
pub(super) const ROOT_DEVICE: &str = "ebs";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NetworkPerformance {
    bandwidth_weighting: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CapacityReservation {
    capacity_reservation_preference: &'static str,
}

#[derive(Debug, Serialize)]
struct Hibernation {
    configured: bool,
}

#[derive(Debug, Serialize)]
struct Enclave {
    enabled: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Maintenance {
    auto_recovery: &'static str,
}

#[derive(Debug, Serialize)]
struct MonitoringItem {
    state: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct StateReason {
    pub code: &'static str,
    pub message: &'static str,
}

/// Why an instance is stopped or terminated; nobody but its owner does that here.
pub(super) const STATE_REASON: StateReason = StateReason {
    code: "Client.UserInitiatedShutdown",
    message: "Client.UserInitiatedShutdown: User initiated shutdown",
};

/// Metadata options in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetadataOptionsItem {
    state: &'static str,
    pub http_tokens: &'static str,
    http_put_response_hop_limit: u8,
    http_endpoint: &'static str,
    http_protocol_ipv6: &'static str,
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
    association: Option<PublicItem>,
    source_dest_check: bool,
    group_set: Vec<GroupIdentifier>,
    attachment: Option<AttachmentItem>,
    private_ip_addresses_set: Vec<AddressItem>,
    ipv4_prefix_set: Vec<PrefixItem>,
    ipv6_addresses_set: Vec<Ipv6Item>,
    ipv6_prefix_set: Vec<Ipv6PrefixItem>,
    connection_tracking_configuration: Option<TimeoutsItem>,
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
    let public = primary.and_then(|eni| region.public_item(eni));
    let gone = instance.terminated.is_some();
    let kept = |text: &String| (!gone).then(|| text.clone());
    let interfaces = instance.interfaces.values().map(|id| &region.interfaces[id]);
    InstanceItem {
        instance_id: instance.id.clone(),
        image_id: instance.image.clone(),
        instance_state: instance.state(),
        private_dns_name: primary
            .map_or(String::new(), |eni| region.hostname(instance, eni.primary())),
        dns_name: public.as_ref().map_or(String::new(), |item| item.public_dns_name.clone()),
        reason: instance.ended().map(reason),
        key_name: instance.key_name.clone(),
        ami_launch_index: instance.launch_index,
        instance_type: instance.type_name.clone(),
        launch_time: instance.launched,
        placement: PlacementItem {
            availability_zone: instance.zone.name.clone(),
            availability_zone_id: instance.zone.id.clone(),
            group_name: "",
            tenancy: region.vpcs.get(&instance.vpc).map_or("default", Vpc::tenancy),
        },
        monitoring: MonitoringItem {
            state: if instance.settings.monitoring { "enabled" } else { "disabled" },
        },
        subnet_id: kept(&instance.subnet),
        vpc_id: kept(&instance.vpc),
        private_ip_address: primary.map(|eni| eni.primary().to_string()),
        ip_address: public.map(|item| item.public_ip),
        ipv6_address: primary.and_then(|eni| eni.ipv6.first()).map(ToString::to_string),
        state_reason: instance.ended().map(|_| STATE_REASON),
        architecture: architecture(&instance.type_name),
        hypervisor: "xen",
        virtualization_type: "hvm",
        source_dest_check: primary.map(|eni| eni.source_dest_check),
        group_set: primary.map_or(Vec::new(), |eni| region.group_identifiers(&eni.groups)),
        client_token: instance.client_token.clone(),
        instance_lifecycle: None,
        hibernation_options: Hibernation { configured: false },
        enclave_options: Enclave { enabled: false },
        maintenance_options: Maintenance { auto_recovery: "default" },
        private_dns_name_options: instance.names.item(),
        boot_mode: BOOT_MODE,
        current_instance_boot_mode: BOOT_MODE,
        platform_details: PLATFORM,
        usage_operation: USAGE_OPERATION,
        usage_operation_update_time: instance.launched,
        root_device_type: ROOT_DEVICE,
        operator: Operator { managed: false },
        network_performance_options: NetworkPerformance { bandwidth_weighting: "default" },
        capacity_reservation_specification: CapacityReservation {
            capacity_reservation_preference: "open",
        },
        ena_support: true,
        ebs_optimized: instance.settings.ebs_optimized,
        network_interface_set: interfaces.map(|eni| instance_interface(region, eni)).collect(),
        metadata_options: metadata_item(&instance.metadata),
        iam_instance_profile: instance.profile_arn().map(|arn| ProfileItem { arn, id: PROFILE_ID }),
        tag_set: region.tag_items(&instance.id),
    }
}

/// EC2's words for what the owner did and when.
pub(super) fn reason(when: Timestamp) -> String {
    let (date, time) = (&when.to_string()[..10], &when.to_string()[11..19]);
    format!("User initiated ({date} {time} GMT)")
}

/// Metadata options for an answer.
pub(crate) fn metadata_item(options: &MetadataOptions) -> MetadataOptionsItem {
    MetadataOptionsItem {
        state: "applied",
        http_tokens: if options.token_required { "required" } else { "optional" },
        http_put_response_hop_limit: options.hop_limit,
        http_endpoint: if options.enabled { "enabled" } else { "disabled" },
        http_protocol_ipv6: if options.ipv6 { "enabled" } else { "disabled" },
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
        association: addresses[0].association.clone(),
        source_dest_check: eni.source_dest_check,
        group_set: region.group_identifiers(&eni.groups),
        attachment: eni.attachment.as_ref().map(|a| attachment_item(a, true)),
        private_ip_addresses_set: addresses,
        ipv4_prefix_set: prefix_items(&eni.prefixes),
        ipv6_addresses_set: ipv6_items(eni),
        ipv6_prefix_set: ipv6_prefix_items(eni),
        connection_tracking_configuration: eni.timeouts.item(),
    }
}

describe_request!(
    DescribeInstances,
    "InstanceId",
    /// No service operates instances here, so there are no more to list.
    #[serde(rename = "IncludeManagedResources")] _managed: Option<bool>,
);

/// Answer of DescribeInstances.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReservationSet {
    reservation_set: Vec<ReservationItem>,
    next_token: Option<String>,
}

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
