//! RunInstances: everything is checked for all instances of the launch, then all are made.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use hedgerow_core::limits::InstanceType;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::catalog::Zone;
use super::instance::{Instance, MetadataOptions, Settings};
use super::instance_attribute::MetadataSpec;
use super::instance_describe::{ReservationItem, reservation_item};
use super::interface::{self, AddressSpec, NewInterface};
use super::interface_ipv6::{Ipv6PrefixSpec, Ipv6Spec, WantedIpv6};
use super::launch_plan::plan;
use super::prefix::PrefixSpec;
use super::subnet_attribute::LaunchNames;
use super::tags::{TagMap, TagSpecification};
use super::timeouts::TimeoutSpec;
use super::unsupported::Given;
use super::{Context, Region, address, attachment};
use crate::api::error::Ec2Error;
use crate::effect::Effect;

/// RunInstances; [`super::unsupported`] says which parameters are honoured.
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
    pub(super) monitoring: Option<Monitoring>,
    pub(super) ebs_optimized: Option<bool>,
    pub(super) instance_initiated_shutdown_behavior: Option<String>,
    pub(super) disable_api_termination: Option<bool>,
    pub(super) disable_api_stop: Option<bool>,
    pub(super) credit_specification: Option<CreditSpec>,
    #[serde(default, rename = "Ipv6Address")]
    pub(super) ipv6_addresses: Vec<Ipv6Spec>,
    pub(super) ipv6_address_count: Option<u32>,
    pub(super) enable_primary_ipv6: Option<bool>,
    pub(super) hibernation_options: Option<Configured>,
    pub(super) enclave_options: Option<Monitoring>,
    pub(super) maintenance_options: Option<Maintenance>,
    pub(super) private_dns_name_options: Option<DnsNames>,
    pub(super) capacity_reservation_specification: Option<Capacity>,
    pub(super) network_performance_options: Option<Performance>,
    pub(super) cpu_options: Given,
    pub(super) launch_template: Given,
    pub(super) instance_market_options: Given,
    #[serde(rename = "LicenseSpecification")]
    pub(super) licenses: Given,
    #[serde(rename = "SecondaryInterface")]
    pub(super) secondary_interfaces: Given,
    pub(super) elastic_gpu_specification: Given,
    pub(super) elastic_inference_accelerator: Given,
    pub(super) kernel_id: Given,
    pub(super) ramdisk_id: Given,
    pub(super) operator: Given,
    pub(super) additional_info: Given,
}

/// A switch: `Monitoring.Enabled`, `EnclaveOptions.Enabled`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Monitoring {
    pub(super) enabled: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Configured {
    pub(super) configured: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct CreditSpec {
    pub(super) cpu_credits: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Maintenance {
    pub(super) auto_recovery: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Performance {
    pub(super) bandwidth_weighting: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DnsNames {
    pub(super) hostname_type: Option<String>,
    #[serde(rename = "EnableResourceNameDnsARecord")]
    pub(super) a_record: Option<bool>,
    #[serde(rename = "EnableResourceNameDnsAAAARecord")]
    pub(super) aaaa_record: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Capacity {
    pub(super) capacity_reservation_preference: Option<String>,
    pub(super) capacity_reservation_target: Given,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Placement {
    pub(super) availability_zone: Option<String>,
    pub(super) availability_zone_id: Option<String>,
    pub(super) tenancy: Option<String>,
    pub(super) group_name: Option<String>,
    pub(super) group_id: Given,
    pub(super) affinity: Given,
    pub(super) partition_number: Given,
    pub(super) host_id: Given,
    pub(super) host_resource_group_arn: Given,
    pub(super) spread_domain: Given,
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
    #[serde(default, rename = "Ipv4Prefix")]
    pub(super) prefixes: Vec<PrefixSpec>,
    pub(super) ipv4_prefix_count: Option<u32>,
    #[serde(default)]
    pub(super) ipv6_addresses: Vec<Ipv6Spec>,
    pub(super) ipv6_address_count: Option<u32>,
    pub(super) connection_tracking_specification: Option<TimeoutSpec>,
    pub(super) network_card_index: Option<u8>,
    #[serde(default, rename = "Ipv6Prefix")]
    pub(super) ipv6_prefixes: Vec<Ipv6PrefixSpec>,
    pub(super) ipv6_prefix_count: Option<u32>,
    pub(super) primary_ipv6: Option<bool>,
    pub(super) associate_carrier_ip_address: Option<bool>,
    pub(super) ena_srd_specification: Given,
    pub(super) ena_queue_count: Given,
}

impl InterfaceSpec {
    /// What it says of IPv6 addresses.
    pub(super) fn ipv6(&self) -> WantedIpv6 {
        WantedIpv6 {
            named: self.ipv6_addresses.clone(),
            count: self.ipv6_address_count,
            prefixes: self.ipv6_prefixes.clone(),
            prefix_count: self.ipv6_prefix_count,
            primary: self.primary_ipv6,
        }
    }
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
    pub(super) settings: Settings,
    pub(super) names: LaunchNames,
    pub(super) instance_tags: TagMap,
}

/// One interface of each instance of the launch.
pub(super) struct PlannedInterface {
    pub(super) device_index: u8,
    pub(super) delete_on_termination: bool,
    /// Whether it gets a public address.
    pub(super) public: bool,
    pub(super) source: Source,
}

pub(super) enum Source {
    /// An interface that exists; only in launches of one instance.
    Existing(String),
    /// A new one per instance.
    New(Box<NewInterface>),
}

pub(crate) fn run(
    cx: &mut Context<'_>,
    request: RunInstances,
) -> Result<ReservationItem, Ec2Error> {
    let launch = plan(cx.region, cx.quotas, &request)?;
    let count = cx.terms.room.map_or(launch.count, |room| launch.count.min(room));
    let reservation = cx.mint.id("r");
    let mut ids = Vec::new();
    for launch_index in 0..count {
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
            stopped: None,
            settings: launch.settings.clone(),
            names: launch.names,
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

/// `IdempotentInstanceTerminated` where nothing of what a launch with this token made is left.
pub(crate) fn check_repeated(region: &Region, token: &str) -> Result<(), Ec2Error> {
    let mut made = region.instances.values().filter(|i| i.client_token.as_deref() == Some(token));
    if !made.all(|instance| instance.terminated.is_some()) {
        return Ok(());
    }
    let message = "The client token you have provided is associated with a terminated instance. \
                   Please use a different client token.";
    Err(Ec2Error::new("IdempotentInstanceTerminated", message))
}

fn plug_in(cx: &mut Context<'_>, instance: &str, planned: &PlannedInterface) {
    let eni = match &planned.source {
        Source::Existing(id) => id.clone(),
        Source::New(new) => interface::make(cx, NewInterface::clone(new)),
    };
    attachment::make(cx, &eni, instance, planned.device_index, planned.delete_on_termination);
    let marked = cx.region.launch_addresses.contains_key(&eni);
    if planned.public || (marked && planned.device_index == 0) {
        address::give_at_launch(cx, &eni);
    }
    cx.effects.push(cx.region.put_interface(&eni));
}
