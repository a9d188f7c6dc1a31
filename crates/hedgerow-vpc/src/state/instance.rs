//! Instances: the record, describing and terminating them; [`super::launch`] makes them.

use std::collections::BTreeMap;

use hedgerow_core::limits::{InstanceType, instance_type};
use serde::{Deserialize, Serialize};

use super::catalog::Zone;
use super::interface::{self, Interface};
use super::interface_describe::{AddressItem, AttachmentItem, GroupIdentifier, attachment_item};
use super::mint::format_mac;
use super::region::{Resource, find};
use super::select::{Field, describe_request, select};
use super::tags::TagItem;
use super::time::Timestamp;
use super::{ACCOUNT, Context, Region, attachment, trunk};
use crate::api::error::Ec2Error;
use crate::effect::Effect;

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub(crate) id: String,
    pub(crate) reservation: String,
    /// Position in the launch.
    pub(crate) launch_index: u32,
    pub(crate) image: String,
    pub(crate) type_name: String,
    pub(crate) key_name: Option<String>,
    pub(crate) user_data: Option<String>,
    pub(crate) zone: Zone,
    pub(crate) vpc: String,
    pub(crate) subnet: String,
    pub(crate) metadata: MetadataOptions,
    pub(crate) client_token: Option<String>,
    pub(crate) launched: Timestamp,
    /// When it was terminated; running if absent.
    pub(crate) terminated: Option<Timestamp>,
    /// Device index to interface id.
    pub(crate) interfaces: BTreeMap<u8, String>,
}

/// How the instance may use its metadata service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetadataOptions {
    /// Whether requests must carry a session token.
    pub token_required: bool,
    /// IP TTL of the answer to a token request, 1 to 64.
    pub hop_limit: u8,
    /// Whether there is a metadata service at all.
    pub enabled: bool,
}

impl Resource for Instance {
    const NOT_FOUND: &'static str = "InvalidInstanceID.NotFound";
    const NOUN: &'static str = "instance ID";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Instance {
    /// What its type can carry.
    pub(crate) fn limits(&self) -> &'static InstanceType {
        instance_type(&self.type_name).expect("the type was checked at launch")
    }

    /// The state as it is now.
    fn state(&self) -> StateItem {
        if self.terminated.is_some() { StateItem::TERMINATED } else { StateItem::RUNNING }
    }
}

/// The running instance with this id.
///
/// # Errors
/// `InvalidInstanceID.NotFound`; `IncorrectInstanceState` if it was terminated.
pub(crate) fn running<'r>(region: &'r Region, id: &str) -> Result<&'r Instance, Ec2Error> {
    let instance = find(&region.instances, id)?;
    if instance.terminated.is_some() {
        let message = format!("Instance '{id}' is not 'running' or 'stopped'.");
        return Err(Ec2Error::new("IncorrectInstanceState", message));
    }
    Ok(instance)
}

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
    tag_set: Vec<TagItem>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct StateItem {
    code: u16,
    name: &'static str,
}

impl StateItem {
    const RUNNING: StateItem = StateItem { code: 16, name: "running" };
    const TERMINATED: StateItem = StateItem { code: 48, name: "terminated" };
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
        tag_set: region.tag_items(&instance.id),
    }
}

fn metadata_item(options: &MetadataOptions) -> MetadataOptionsItem {
    MetadataOptionsItem {
        state: "applied",
        http_tokens: if options.token_required { "required" } else { "optional" },
        http_put_response_hop_limit: options.hop_limit,
        http_endpoint: if options.enabled { "enabled" } else { "disabled" },
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

/// The interface at device index 0; none once terminated.
pub(crate) fn primary<'r>(region: &'r Region, instance: &Instance) -> Option<&'r Interface> {
    region.interfaces.get(instance.interfaces.get(&0)?)
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
        None => Checks {
            status: "ok",
            details: vec![Check { name: "reachability", status: "passed" }],
        },
    }
}

/// TerminateInstances.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct TerminateInstances {
    #[serde(default, rename = "InstanceId")]
    ids: Vec<String>,
}

/// Answer of TerminateInstances.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StateChangeSet {
    instances_set: Vec<StateChange>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StateChange {
    instance_id: String,
    current_state: StateItem,
    previous_state: StateItem,
}

pub(crate) fn terminate(
    cx: &mut Context<'_>,
    request: TerminateInstances,
) -> Result<StateChangeSet, Ec2Error> {
    if request.ids.is_empty() {
        return Err(Ec2Error::missing("instancesSet"));
    }
    for id in &request.ids {
        find(&cx.region.instances, id)?;
    }
    let mut changes = Vec::new();
    for id in request.ids {
        let previous_state = cx.region.instances[&id].state();
        end(cx, &id);
        changes.push(StateChange {
            instance_id: id,
            current_state: StateItem::TERMINATED,
            previous_state,
        });
    }
    Ok(StateChangeSet { instances_set: changes })
}

/// Ends an instance: interfaces go or come free, branches of its trunk come free.
fn end(cx: &mut Context<'_>, id: &str) {
    let now = cx.now;
    let record = cx.region.instances.get_mut(id).expect("checked");
    if record.terminated.is_some() {
        return;
    }
    record.terminated = Some(now);
    let interfaces: Vec<String> = record.interfaces.values().cloned().collect();
    for eni in &interfaces {
        trunk::release_branches(cx, eni);
        let attached = cx.region.interfaces[eni].attachment.as_ref();
        if attached.is_some_and(|attached| attached.delete_on_termination) {
            interface::remove(cx, eni);
        } else {
            attachment::take_off(cx, eni);
        }
    }
    let record = cx.region.instances.get_mut(id).expect("checked");
    record.interfaces.clear();
    cx.effects.push(Effect::RemoveInstance { instance: id.to_owned() });
}
