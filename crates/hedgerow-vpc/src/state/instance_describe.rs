//! Instances in answers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::address_describe::PublicItem;
use super::instance::{Instance, MetadataOptions, PROFILE_ID, StateItem, primary};
use super::instance_types::architecture;
use super::interface::{Attached, Interface};
use super::interface_address::{PrefixItem, prefix_items};
use super::interface_describe::{
    AddressItem, AttachmentItem, GroupIdentifier, Operator, attachment_item,
};
use super::interface_ipv6::{Ipv6Item, Ipv6PrefixItem, ipv6_items, ipv6_prefix_items};
use super::mint::format_mac;
use super::select::{Field, describe_request, select};
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
const BOOT_MODE: &str = "legacy-bios";
const PLATFORM: &str = "Linux/UNIX";
const USAGE_OPERATION: &str = "RunInstances";
const ROOT_DEVICE: &str = "ebs";

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
struct StateReason {
    code: &'static str,
    message: &'static str,
}

/// Why an instance is stopped or terminated; nobody but its owner does that here.
const STATE_REASON: StateReason = StateReason {
    code: "Client.UserInitiatedShutdown",
    message: "Client.UserInitiatedShutdown: User initiated shutdown",
};

/// Metadata options in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetadataOptionsItem {
    state: &'static str,
    http_tokens: &'static str,
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
fn reason(when: Timestamp) -> String {
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
        association: region.public_item(eni),
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

fn of_interfaces(region: &Region, i: &Instance, read: fn(&Interface) -> String) -> Vec<String> {
    i.interfaces.values().filter_map(|id| region.interfaces.get(id)).map(read).collect()
}

/// As [`of_interfaces`] for what an interface has several of.
fn all_of(region: &Region, i: &Instance, read: fn(&Interface) -> Vec<String>) -> Vec<String> {
    i.interfaces.values().filter_map(|id| region.interfaces.get(id)).flat_map(read).collect()
}

/// As [`of_interfaces`] for the attachment.
fn attached(region: &Region, i: &Instance, read: fn(&Attached) -> String) -> Vec<String> {
    let interfaces = i.interfaces.values().filter_map(|id| region.interfaces.get(id));
    interfaces.filter_map(|eni| eni.attachment.as_ref()).map(read).collect()
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

/// What `read` finds in the tags of the instance's interfaces.
fn of_tags(
    region: &Region,
    instance: &Instance,
    read: fn((&String, &String)) -> String,
) -> Vec<String> {
    let tags = instance.interfaces.values().filter_map(|id| region.tags.get(id));
    tags.flatten().map(read).collect()
}

fn primary_address(region: &Region, instance: &Instance) -> Vec<String> {
    primary(region, instance).map(|eni| eni.primary().to_string()).into_iter().collect()
}

/// What `read` finds in the public addresses of the instance's interfaces.
fn of_public(
    region: &Region,
    instance: &Instance,
    read: fn(PublicItem) -> Option<String>,
) -> Vec<String> {
    let interfaces = instance.interfaces.values().filter_map(|id| region.interfaces.get(id));
    interfaces.filter_map(|eni| region.public_item(eni)).filter_map(read).collect()
}

fn primary_name(region: &Region, instance: &Instance) -> Vec<String> {
    primary(region, instance).map(|e| region.hostname(instance, e.primary())).into_iter().collect()
}

fn enabled(yes: bool) -> Vec<String> {
    vec![if yes { "enabled" } else { "disabled" }.into()]
}

/// What EC2 filters by; the last part is about things that no instance here has, and never matches.
const FILTERS: &[Field<Instance>] = &[
    ("instance-id", |_, i| vec![i.id.clone()]),
    ("instance-state-name", |_, i| vec![i.state().name.into()]),
    ("instance-state-code", |_, i| vec![i.state().code.to_string()]),
    ("instance-type", |_, i| vec![i.type_name.clone()]),
    ("architecture", |_, i| vec![architecture(&i.type_name).into()]),
    ("image-id", |_, i| vec![i.image.clone()]),
    ("key-name", |_, i| i.key_name.clone().into_iter().collect()),
    ("reservation-id", |_, i| vec![i.reservation.clone()]),
    ("client-token", |_, i| i.client_token.clone().into_iter().collect()),
    ("launch-index", |_, i| vec![i.launch_index.to_string()]),
    ("launch-time", |_, i| vec![i.launched.to_string()]),
    ("reason", |_, i| i.ended().map(reason).into_iter().collect()),
    ("state-reason-code", |_, i| i.ended().map(|_| STATE_REASON.code.into()).into_iter().collect()),
    ("state-reason-message", |_, i| {
        i.ended().map(|_| STATE_REASON.message.into()).into_iter().collect()
    }),
    ("owner-id", |_, _| vec![ACCOUNT.into()]),
    ("vpc-id", |_, i| kept(i, &i.vpc)),
    ("subnet-id", |_, i| kept(i, &i.subnet)),
    ("availability-zone", |_, i| vec![i.zone.name.clone()]),
    ("availability-zone-id", |_, i| vec![i.zone.id.clone()]),
    ("tenancy", |r, i| vec![r.vpcs.get(&i.vpc).map_or("default", Vpc::tenancy).into()]),
    ("ip-address", |r, i| of_public(r, i, |p| Some(p.public_ip))),
    ("dns-name", |r, i| of_public(r, i, |p| Some(p.public_dns_name))),
    ("network-interface.association.public-ip", |r, i| of_public(r, i, |p| Some(p.public_ip))),
    ("network-interface.association.ip-owner-id", |r, i| {
        of_public(r, i, |p| Some(p.ip_owner_id.into()))
    }),
    ("network-interface.association.allocation-id", |r, i| of_public(r, i, |p| p.allocation_id)),
    ("network-interface.association.association-id", |r, i| of_public(r, i, |p| p.association_id)),
    ("network-interface.addresses.association.public-ip", |r, i| {
        of_public(r, i, |p| Some(p.public_ip))
    }),
    ("network-interface.addresses.association.ip-owner-id", |r, i| {
        of_public(r, i, |p| Some(p.ip_owner_id.into()))
    }),
    ("private-ip-address", primary_address),
    ("private-dns-name", primary_name),
    ("private-dns-name-options.hostname-type", |_, i| vec![i.names.hostname_type().into()]),
    ("private-dns-name-options.enable-resource-name-dns-a-record", |_, i| {
        vec![i.names.a_record.to_string()]
    }),
    ("private-dns-name-options.enable-resource-name-dns-aaaa-record", |_, i| {
        vec![i.names.aaaa_record.to_string()]
    }),
    ("ipv6-address", |r, i| {
        primary(r, i).and_then(|e| e.ipv6.first()).map(ToString::to_string).into_iter().collect()
    }),
    ("source-dest-check", |r, i| {
        primary(r, i).map(|e| e.source_dest_check.to_string()).into_iter().collect()
    }),
    ("instance.group-id", group_ids),
    ("instance.group-name", group_names),
    ("ebs-optimized", |_, i| vec![i.settings.ebs_optimized.to_string()]),
    ("ena-support", |_, _| vec!["true".into()]),
    ("enclave-options.enabled", |_, _| vec!["false".into()]),
    ("hibernation-options.configured", |_, _| vec!["false".into()]),
    ("hypervisor", |_, _| vec!["xen".into()]),
    ("virtualization-type", |_, _| vec!["hvm".into()]),
    ("iam-instance-profile.arn", |_, i| i.profile_arn().into_iter().collect()),
    ("iam-instance-profile.name", |_, i| i.profile.clone().into_iter().collect()),
    ("iam-instance-profile.id", |_, i| {
        i.profile.as_ref().map(|_| PROFILE_ID.into()).into_iter().collect()
    }),
    ("maintenance-options.auto-recovery", |_, _| vec!["default".into()]),
    ("monitoring-state", |_, i| enabled(i.settings.monitoring)),
    ("metadata-options.state", |_, _| vec!["applied".into()]),
    ("metadata-options.http-tokens", |_, i| vec![metadata_item(&i.metadata).http_tokens.into()]),
    ("metadata-options.http-put-response-hop-limit", |_, i| vec![i.metadata.hop_limit.to_string()]),
    ("metadata-options.http-endpoint", |_, i| enabled(i.metadata.enabled)),
    ("metadata-options.http-protocol-ipv4", |_, _| enabled(true)),
    ("metadata-options.http-protocol-ipv6", |_, i| enabled(i.metadata.ipv6)),
    ("metadata-options.instance-metadata-tags", |_, i| enabled(i.metadata.tags)),
    ("operator.managed", |_, _| vec!["false".into()]),
    ("network-interface.network-interface-id", |r, i| of_interfaces(r, i, |e| e.id.clone())),
    ("network-interface.subnet-id", |r, i| of_interfaces(r, i, |e| e.subnet.clone())),
    ("network-interface.vpc-id", |r, i| of_interfaces(r, i, |e| e.vpc.clone())),
    ("network-interface.availability-zone", |_, i| vec![i.zone.name.clone()]),
    ("network-interface.availability-zone-id", |_, i| vec![i.zone.id.clone()]),
    ("network-interface.mac-address", |r, i| of_interfaces(r, i, |e| format_mac(e.mac))),
    ("network-interface.description", |r, i| of_interfaces(r, i, |e| e.description.clone())),
    ("network-interface.group-id", group_ids),
    ("network-interface.group-name", group_names),
    ("network-interface.owner-id", |r, i| of_interfaces(r, i, |_| ACCOUNT.into())),
    ("network-interface.requester-id", |r, i| {
        all_of(r, i, |e| e.requester.clone().into_iter().collect())
    }),
    ("network-interface.requester-managed", |r, i| {
        of_interfaces(r, i, |e| e.requester.is_some().to_string())
    }),
    ("network-interface.source-dest-check", |r, i| {
        of_interfaces(r, i, |e| e.source_dest_check.to_string())
    }),
    ("network-interface.status", |r, i| of_interfaces(r, i, |e| e.status().into())),
    ("network-interface.private-dns-name", |r, i| {
        let interfaces = i.interfaces.values().filter_map(|id| r.interfaces.get(id));
        interfaces.map(|e| r.private_dns_name(e.primary())).collect()
    }),
    ("network-interface.private-ip-address", |r, i| {
        of_interfaces(r, i, |e| e.primary().to_string())
    }),
    ("network-interface.addresses.private-ip-address", addresses),
    ("network-interface.addresses.primary", |r, i| {
        all_of(r, i, |e| (0..e.addresses.len()).map(|n| (n == 0).to_string()).collect())
    }),
    ("network-interface.ipv6-address", |r, i| {
        all_of(r, i, |e| e.ipv6.first().map(ToString::to_string).into_iter().collect())
    }),
    ("network-interface.ipv6-addresses.ipv6-address", |r, i| {
        all_of(r, i, |e| e.ipv6.iter().map(ToString::to_string).collect())
    }),
    ("network-interface.ipv6-addresses.is-primary-ipv6", |r, i| {
        all_of(r, i, |e| {
            let primary = e.primary_ipv6();
            e.ipv6.iter().map(|address| (primary == Some(*address)).to_string()).collect()
        })
    }),
    ("network-interface.ipv6-native", |r, i| of_interfaces(r, i, |_| "false".into())),
    ("network-interface.ipv6-prefixes.ipv6-prefix", |r, i| {
        all_of(r, i, |e| e.ipv6_prefixes.iter().map(ToString::to_string).collect())
    }),
    ("network-interface.ipv4-prefixes.ipv4-prefix", |r, i| {
        all_of(r, i, |e| e.prefixes.iter().map(ToString::to_string).collect())
    }),
    ("network-interface.attachment.attachment-id", |r, i| attached(r, i, |a| a.id.clone())),
    ("network-interface.attachment.instance-id", |r, i| attached(r, i, |a| a.instance.clone())),
    ("network-interface.attachment.instance-owner-id", |r, i| attached(r, i, |_| ACCOUNT.into())),
    ("network-interface.attachment.device-index", |r, i| {
        attached(r, i, |a| a.device_index.to_string())
    }),
    ("network-interface.attachment.delete-on-termination", |r, i| {
        attached(r, i, |a| a.delete_on_termination.to_string())
    }),
    ("network-interface.attachment.attach-time", |r, i| attached(r, i, |a| a.since.to_string())),
    ("network-interface.attachment.status", |r, i| attached(r, i, |_| "attached".into())),
    ("network-interface.operator.managed", |r, i| of_interfaces(r, i, |_| "false".into())),
    ("boot-mode", |_, _| vec![BOOT_MODE.into()]),
    ("current-instance-boot-mode", |_, _| vec![BOOT_MODE.into()]),
    ("platform-details", |_, _| vec![PLATFORM.into()]),
    ("usage-operation", |_, _| vec![USAGE_OPERATION.into()]),
    ("usage-operation-update-time", |_, i| vec![i.launched.to_string()]),
    ("root-device-type", |_, _| vec![ROOT_DEVICE.into()]),
    ("network-performance-options.bandwidth-weighting", |_, _| vec!["default".into()]),
    ("capacity-reservation-specification.capacity-reservation-preference", |_, _| {
        vec!["open".into()]
    }),
    ("network-interface.addresses.association.allocation-id", |r, i| {
        of_public(r, i, |p| p.allocation_id)
    }),
    ("network-interface.addresses.association.association-id", |r, i| {
        of_public(r, i, |p| p.association_id)
    }),
    ("network-interface.addresses.association.public-dns-name", |r, i| {
        of_public(r, i, |p| Some(p.public_dns_name))
    }),
    ("network-interface.association.public-dns-name", |r, i| {
        of_public(r, i, |p| Some(p.public_dns_name))
    }),
    ("network-interface.public-dns-name", |r, i| of_public(r, i, |p| Some(p.public_dns_name))),
    ("network-interface.addresses.private-dns-name", |r, i| {
        let interfaces = i.interfaces.values().filter_map(|id| r.interfaces.get(id));
        interfaces.flat_map(|e| &e.addresses).map(|a| r.private_dns_name(*a)).collect()
    }),
    ("network-interface.attachment.network-card-index", |r, i| attached(r, i, |_| "0".into())),
    ("network-interface.deny-all-igw-traffic", |r, i| of_interfaces(r, i, |_| "false".into())),
    ("network-interface.tag-key", |r, i| of_tags(r, i, |(key, _)| key.clone())),
    ("network-interface.tag-value", |r, i| of_tags(r, i, |(_, value)| value.clone())),
    ("affinity", |_, _| Vec::new()),
    (
        "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id",
        |_, _| Vec::new(),
    ),
    (
        "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-resource-group-arn",
        |_, _| Vec::new(),
    ),
    ("network-interface.addresses.association.carrier-ip", |_, _| Vec::new()),
    ("network-interface.addresses.association.customer-owned-ip", |_, _| Vec::new()),
    ("network-interface.association.carrier-ip", |_, _| Vec::new()),
    ("network-interface.association.customer-owned-ip", |_, _| Vec::new()),
    ("network-interface.operator.principal", |_, _| Vec::new()),
    ("network-interface.outpost-arn", |_, _| Vec::new()),
    ("tpm-support", |_, _| Vec::new()),
    ("block-device-mapping.attach-time", |_, _| Vec::new()),
    ("block-device-mapping.delete-on-termination", |_, _| Vec::new()),
    ("block-device-mapping.device-name", |_, _| Vec::new()),
    ("block-device-mapping.status", |_, _| Vec::new()),
    ("block-device-mapping.volume-id", |_, _| Vec::new()),
    ("capacity-reservation-id", |_, _| Vec::new()),
    ("host-id", |_, _| Vec::new()),
    ("instance-lifecycle", |_, _| Vec::new()),
    ("kernel-id", |_, _| Vec::new()),
    ("operator.principal", |_, _| Vec::new()),
    ("outpost-arn", |_, _| Vec::new()),
    ("placement-group-name", |_, _| Vec::new()),
    ("placement-partition-number", |_, _| Vec::new()),
    ("platform", |_, _| Vec::new()),
    ("product-code", |_, _| Vec::new()),
    ("product-code.type", |_, _| Vec::new()),
    ("ramdisk-id", |_, _| Vec::new()),
    ("requester-id", |_, _| Vec::new()),
    ("root-device-name", |_, _| Vec::new()),
    ("spot-instance-request-id", |_, _| Vec::new()),
];

/// A place in the network, which a terminated instance no longer has.
fn kept(instance: &Instance, place: &str) -> Vec<String> {
    instance.terminated.is_none().then(|| place.to_owned()).into_iter().collect()
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
