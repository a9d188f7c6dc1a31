//! RunInstances: everything is checked for all instances of the launch, then all are made.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use hedgerow_core::limits::InstanceType;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::catalog::Zone;
use super::instance::{Instance, MetadataOptions};
use super::instance_describe::{ReservationItem, reservation_item};
use super::interface::{self, AddressSpec, NewInterface};
use super::launch_plan::plan;
use super::tags::{TagMap, TagSpecification};
use super::{Context, attachment};
use crate::api::error::Ec2Error;
use crate::effect::Effect;

/// RunInstances. Disks and monitoring are accepted as they come: they change nothing
/// that an instance here has.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct RunInstances {
    pub(super) image_id: String,
    pub(super) instance_type: Option<String>,
    pub(super) min_count: u32,
    pub(super) max_count: u32,
    pub(super) key_name: Option<String>,
    pub(super) user_data: Option<String>,
    pub(super) placement: Option<Placement>,
    pub(super) subnet_id: Option<String>,
    pub(super) private_ip_address: Option<Ipv4Addr>,
    #[serde(default, rename = "SecurityGroupId")]
    pub(super) groups: Vec<String>,
    #[serde(default, rename = "SecurityGroup")]
    pub(super) group_names: Vec<String>,
    #[serde(default, rename = "NetworkInterface")]
    pub(super) interfaces: Vec<InterfaceSpec>,
    pub(super) metadata_options: Option<MetadataSpec>,
    #[serde(default, rename = "TagSpecification")]
    pub(super) tag_specifications: Vec<TagSpecification>,
    pub(super) client_token: Option<String>,
    #[serde(default, rename = "BlockDeviceMapping")]
    _disks: Vec<IgnoredAny>,
    #[serde(rename = "IamInstanceProfile")]
    pub(super) profile: Option<ProfileSpec>,
    #[serde(rename = "Monitoring")]
    _monitoring: Option<IgnoredAny>,
    #[serde(rename = "EbsOptimized")]
    _ebs_optimized: Option<bool>,
    #[serde(rename = "InstanceInitiatedShutdownBehavior")]
    _shutdown: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Placement {
    pub(super) availability_zone: Option<String>,
    #[serde(rename = "Tenancy")]
    _tenancy: Option<String>,
    #[serde(rename = "GroupName")]
    _group: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct MetadataSpec {
    pub(super) http_tokens: Option<String>,
    pub(super) http_put_response_hop_limit: Option<u8>,
    pub(super) http_endpoint: Option<String>,
    pub(super) instance_metadata_tags: Option<String>,
    #[serde(rename = "HttpProtocolIpv6")]
    _ipv6: Option<String>,
}

/// An instance profile, by one of the two.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ProfileSpec {
    pub(super) arn: Option<String>,
    pub(super) name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct InterfaceSpec {
    pub(super) device_index: Option<u8>,
    pub(super) network_interface_id: Option<String>,
    pub(super) subnet_id: Option<String>,
    #[serde(default, rename = "SecurityGroupId")]
    pub(super) groups: Vec<String>,
    pub(super) description: Option<String>,
    pub(super) delete_on_termination: Option<bool>,
    pub(super) interface_type: Option<String>,
    pub(super) private_ip_address: Option<Ipv4Addr>,
    #[serde(default, rename = "PrivateIpAddresses")]
    pub(super) addresses: Vec<AddressSpec>,
    pub(super) secondary_private_ip_address_count: Option<u32>,
    pub(super) associate_public_ip_address: Option<bool>,
    #[serde(rename = "NetworkCardIndex")]
    pub(super) _card: Option<u8>,
}

/// A launch, checked: carrying it out cannot fail.
pub(super) struct Launch {
    pub(super) limits: &'static InstanceType,
    pub(super) count: u32,
    pub(super) subnet: String,
    pub(super) vpc: String,
    pub(super) zone: Zone,
    pub(super) interfaces: Vec<PlannedInterface>,
    pub(super) metadata: MetadataOptions,
    pub(super) profile: Option<String>,
    pub(super) instance_tags: TagMap,
}

/// One interface of each instance of the launch.
pub(super) struct PlannedInterface {
    pub(super) device_index: u8,
    pub(super) delete_on_termination: bool,
    pub(super) source: Source,
}

pub(super) enum Source {
    /// An interface that exists; only in launches of one instance.
    Existing(String),
    /// A new one per instance.
    New(NewInterface),
}

pub(crate) fn run(
    cx: &mut Context<'_>,
    request: RunInstances,
) -> Result<ReservationItem, Ec2Error> {
    let launch = plan(cx.region, cx.quotas, &request)?;
    let reservation = cx.mint.id("r");
    let mut ids = Vec::new();
    for launch_index in 0..launch.count {
        let id = cx.mint.id("i");
        let instance = Instance {
            id: id.clone(),
            reservation: reservation.clone(),
            launch_index,
            image: request.image_id.clone(),
            type_name: launch.limits.name.clone(),
            key_name: request.key_name.clone(),
            user_data: request.user_data.clone(),
            zone: launch.zone.clone(),
            vpc: launch.vpc.clone(),
            subnet: launch.subnet.clone(),
            metadata: launch.metadata.clone(),
            profile: launch.profile.clone(),
            client_token: request.client_token.clone(),
            launched: cx.now,
            terminated: None,
            interfaces: BTreeMap::new(),
        };
        cx.region.instances.insert(id.clone(), instance);
        cx.region.set_tags(&id, launch.instance_tags.clone());
        cx.effects.push(Effect::StartInstance { instance: id.clone() });
        for planned in &launch.interfaces {
            plug_in(cx, &id, planned);
        }
        ids.push(id);
    }
    let instances: Vec<&Instance> = ids.iter().map(|id| &cx.region.instances[id]).collect();
    Ok(reservation_item(cx.region, &instances))
}

fn plug_in(cx: &mut Context<'_>, instance: &str, planned: &PlannedInterface) {
    let eni = match &planned.source {
        Source::Existing(id) => id.clone(),
        Source::New(new) => interface::make(cx, new.clone()),
    };
    attachment::make(cx, &eni, instance, planned.device_index, planned.delete_on_termination);
    cx.effects.push(cx.region.put_interface(&eni));
}
