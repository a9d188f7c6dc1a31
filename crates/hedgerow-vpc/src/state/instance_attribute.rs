//! Attributes of instances: one at a time is described, changed or reset. Metadata options.

use base64::Engine;
use serde::{Deserialize, Serialize};

use hedgerow_core::limits::instance_type;

use super::instance::{self, Instance, MetadataOptions};
use super::instance_describe::{MetadataOptionsItem, metadata_item};
use super::interface::{Interface, Kind};
use super::interface_describe::{GroupIdentifier, TextItem};
use super::interface_modify::{Text, check_one};
use super::region::{find, not_found};
use super::tags::{TagMap, check_readable};
use super::unsupported::{Given, refuse};
use super::vpc::{Flag, FlagItem};
use super::{Context, Region, group};
use crate::api::Done;
use crate::api::error::Ec2Error;

/// Most bytes of user data, before base64 ("Run commands when you launch an EC2 instance").
const MAX_USER_DATA: usize = 16_384;

/// DescribeInstanceAttribute.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeInstanceAttribute {
    instance_id: String,
    attribute: String,
}

/// An attribute that has a value or none; its element is there in both cases.
#[derive(Debug, Default, Serialize)]
pub(crate) struct MaybeText {
    value: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Enclaves {
    enabled: bool,
}

/// Answer of DescribeInstanceAttribute.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InstanceAttribute {
    instance_id: String,
    instance_type: Option<TextItem>,
    user_data: Option<MaybeText>,
    disable_api_termination: Option<FlagItem>,
    disable_api_stop: Option<FlagItem>,
    instance_initiated_shutdown_behavior: Option<TextItem>,
    source_dest_check: Option<FlagItem>,
    group_set: Option<Vec<GroupIdentifier>>,
    ebs_optimized: Option<FlagItem>,
    ena_support: Option<FlagItem>,
    enclave_options: Option<Enclaves>,
    kernel: Option<MaybeText>,
    ramdisk: Option<MaybeText>,
    root_device_name: Option<MaybeText>,
    sriov_net_support: Option<MaybeText>,
    block_device_mapping: Option<Vec<String>>,
    product_codes: Option<Vec<String>>,
}

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeInstanceAttribute,
) -> Result<InstanceAttribute, Ec2Error> {
    let region = &*cx.region;
    let instance = find(&region.instances, &request.instance_id)?;
    let settings = &instance.settings;
    let text = |value: &str| Some(TextItem { value: value.to_owned() });
    let flag = |value: bool| Some(FlagItem { value });
    let mut answer =
        InstanceAttribute { instance_id: instance.id.clone(), ..InstanceAttribute::default() };
    match request.attribute.as_str() {
        "instanceType" => answer.instance_type = text(&instance.type_name),
        "userData" => answer.user_data = Some(MaybeText { value: instance.user_data.clone() }),
        "disableApiTermination" => {
            answer.disable_api_termination = flag(settings.termination_protection);
        }
        "disableApiStop" => answer.disable_api_stop = flag(settings.stop_protection),
        "instanceInitiatedShutdownBehavior" => {
            answer.instance_initiated_shutdown_behavior = text(settings.shutdown_behavior());
        }
        "sourceDestCheck" => {
            answer.source_dest_check = flag(only_interface(region, instance)?.source_dest_check);
        }
        "groupSet" => {
            let groups = &only_interface(region, instance)?.groups;
            answer.group_set = Some(region.group_identifiers(groups));
        }
        "ebsOptimized" => answer.ebs_optimized = flag(settings.ebs_optimized),
        "enaSupport" => answer.ena_support = flag(true),
        "enclaveOptions" => answer.enclave_options = Some(Enclaves { enabled: false }),
        "kernel" => answer.kernel = Some(MaybeText::default()),
        "ramdisk" => answer.ramdisk = Some(MaybeText::default()),
        "rootDeviceName" => answer.root_device_name = Some(MaybeText::default()),
        "sriovNetSupport" => answer.sriov_net_support = Some(MaybeText::default()),
        "blockDeviceMapping" => answer.block_device_mapping = Some(Vec::new()),
        "productCodes" => answer.product_codes = Some(Vec::new()),
        other => return Err(unknown_attribute(other)),
    }
    Ok(answer)
}

fn unknown_attribute(name: &str) -> Ec2Error {
    Ec2Error::value("attribute", name, "No such instance attribute.")
}

/// The interface that an attribute of the instance means.
///
/// # Errors
/// `InvalidInstanceID` where it has several, `IncorrectInstanceState` where it has none left.
fn only_interface<'r>(region: &'r Region, instance: &Instance) -> Result<&'r Interface, Ec2Error> {
    instance::alive(region, &instance.id)?;
    if instance.interfaces.len() > 1 {
        let message = format!(
            "There are multiple interfaces attached to instance '{}'. Please specify an interface \
             ID for the operation instead.",
            instance.id
        );
        return Err(Ec2Error::new("InvalidInstanceID", message));
    }
    Ok(instance::primary(region, instance).expect("a living instance has a primary interface"))
}

/// ModifyInstanceAttribute; an attribute is named by its own parameter or, as text, by `Attribute`
/// and `Value`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ModifyInstanceAttribute {
    instance_id: String,
    attribute: Option<String>,
    value: Option<String>,
    source_dest_check: Option<Flag>,
    disable_api_stop: Option<Flag>,
    disable_api_termination: Option<Flag>,
    instance_type: Option<Text>,
    user_data: Option<Text>,
    instance_initiated_shutdown_behavior: Option<Text>,
    ebs_optimized: Option<Flag>,
    ena_support: Option<Flag>,
    #[serde(default, rename = "GroupId")]
    groups: Vec<String>,
    #[serde(rename = "BlockDeviceMapping")]
    disks: Given,
    kernel: Given,
    ramdisk: Given,
    sriov_net_support: Given,
}

/// What a request changes, checked.
enum Change {
    SourceDestCheck(bool),
    Groups(Vec<String>),
    StopProtection(bool),
    TerminationProtection(bool),
    Type(String),
    UserData(String),
    ShutdownBehavior(String),
    EbsOptimized(bool),
    Nothing,
}

impl ModifyInstanceAttribute {
    /// Moves `Attribute` and `Value` to the attribute's own parameter.
    fn normal(mut self) -> Result<Self, Ec2Error> {
        let Some(name) = self.attribute.take() else {
            return match self.value {
                Some(_) => Err(Ec2Error::missing("attribute")),
                None => Ok(self),
            };
        };
        let value = self.value.take().ok_or_else(|| Ec2Error::missing("value"))?;
        let flag = |text: &str| match text.to_ascii_lowercase().as_str() {
            "true" => Ok(Some(Flag { value: true })),
            "false" => Ok(Some(Flag { value: false })),
            _ => Err(Ec2Error::value("value", text, "Expected true or false.")),
        };
        match name.as_str() {
            "instanceType" => self.instance_type = Some(Text { value }),
            "userData" => self.user_data = Some(Text { value }),
            "instanceInitiatedShutdownBehavior" => {
                self.instance_initiated_shutdown_behavior = Some(Text { value });
            }
            "disableApiTermination" => self.disable_api_termination = flag(&value)?,
            "disableApiStop" => self.disable_api_stop = flag(&value)?,
            "sourceDestCheck" => self.source_dest_check = flag(&value)?,
            "ebsOptimized" => self.ebs_optimized = flag(&value)?,
            "enaSupport" => self.ena_support = flag(&value)?,
            "groupSet" => self.groups = vec![value],
            "kernel" | "ramdisk" | "sriovNetSupport" | "blockDeviceMapping" | "rootDeviceName"
            | "productCodes" | "enclaveOptions" => refuse(&[(name.as_str(), true)])?,
            other => return Err(unknown_attribute(other)),
        }
        Ok(self)
    }

    /// `UnsupportedOperation` or `InvalidParameterCombination` unless one attribute is named that
    /// an instance here has.
    fn check_names(&self) -> Result<(), Ec2Error> {
        refuse(&[
            ("BlockDeviceMapping", self.disks.is_some()),
            ("Kernel", self.kernel.is_some()),
            ("Ramdisk", self.ramdisk.is_some()),
            ("SriovNetSupport", self.sriov_net_support.is_some()),
            ("EnaSupport=false", self.ena_support.as_ref().is_some_and(|flag| !flag.value)),
        ])?;
        check_one(&[
            ("sourceDestCheck", self.source_dest_check.is_some()),
            ("disableApiStop", self.disable_api_stop.is_some()),
            ("disableApiTermination", self.disable_api_termination.is_some()),
            ("instanceType", self.instance_type.is_some()),
            ("userData", self.user_data.is_some()),
            (
                "instanceInitiatedShutdownBehavior",
                self.instance_initiated_shutdown_behavior.is_some(),
            ),
            ("ebsOptimized", self.ebs_optimized.is_some()),
            ("enaSupport", self.ena_support.is_some()),
            ("groups", !self.groups.is_empty()),
        ])
    }

    /// What is to change, if it can be.
    fn change(
        self,
        region: &Region,
        instance: &Instance,
        group_limit: usize,
    ) -> Result<Change, Ec2Error> {
        let this = self.normal()?;
        this.check_names()?;
        if let Some(flag) = this.disable_api_stop {
            return Ok(Change::StopProtection(flag.value));
        }
        if let Some(flag) = this.disable_api_termination {
            return Ok(Change::TerminationProtection(flag.value));
        }
        if let Some(flag) = this.source_dest_check {
            only_interface(region, instance)?.check_own()?;
            return Ok(Change::SourceDestCheck(flag.value));
        }
        if let Some(text) = this.instance_initiated_shutdown_behavior {
            instance.settings.clone().set_shutdown_behavior(&text.value)?;
            return Ok(Change::ShutdownBehavior(text.value));
        }
        if let Some(text) = this.instance_type {
            check_stopped(instance)?;
            check_type(region, instance, &text.value)?;
            return Ok(Change::Type(text.value));
        }
        if let Some(text) = this.user_data {
            check_stopped(instance)?;
            check_user_data(&text.value)?;
            return Ok(Change::UserData(text.value));
        }
        if let Some(flag) = this.ebs_optimized {
            check_stopped(instance)?;
            return Ok(Change::EbsOptimized(flag.value));
        }
        if this.groups.is_empty() {
            // ENA support is on, and stays so.
            return Ok(Change::Nothing);
        }
        let interface = only_interface(region, instance)?;
        interface.check_own()?;
        let unknown = |id: &str| not_found::<group::SecurityGroup>(id);
        group::check_on_interface(region, &interface.vpc, &this.groups, group_limit, unknown)
            .map(Change::Groups)
    }
}

pub(crate) fn modify(
    cx: &mut Context<'_>,
    request: ModifyInstanceAttribute,
) -> Result<Done, Ec2Error> {
    let instance = instance::alive(cx.region, &request.instance_id)?;
    let id = instance.id.clone();
    let change = request.change(cx.region, instance, cx.quotas.groups_per_interface)?;
    let record = cx.region.instances.get_mut(&id).expect("found above");
    match change {
        Change::Nothing => {}
        Change::StopProtection(flag) => record.settings.stop_protection = flag,
        Change::TerminationProtection(flag) => record.settings.termination_protection = flag,
        Change::EbsOptimized(flag) => record.settings.ebs_optimized = flag,
        Change::ShutdownBehavior(name) => record.settings.set_shutdown_behavior(&name)?,
        Change::Type(name) => record.type_name = name,
        Change::UserData(text) => record.user_data = Some(text).filter(|text| !text.is_empty()),
        Change::SourceDestCheck(flag) => {
            change_interface(cx, &id, |interface| interface.source_dest_check = flag);
        }
        Change::Groups(groups) => change_interface(cx, &id, |i| i.groups = groups),
    }
    Ok(Done::new())
}

/// Changes the primary interface and tells the fabric.
fn change_interface(cx: &mut Context<'_>, instance: &str, change: impl FnOnce(&mut Interface)) {
    let id = cx.region.instances[instance].interfaces[&0].clone();
    change(cx.region.interfaces.get_mut(&id).expect("it is attached"));
    cx.effects.push(cx.region.put_interface(&id));
}

fn check_stopped(instance: &Instance) -> Result<(), Ec2Error> {
    if instance.stopped.is_some() {
        return Ok(());
    }
    let message = format!("The instance '{}' is not in the 'stopped' state.", instance.id);
    Err(Ec2Error::new("IncorrectInstanceState", message))
}

/// Whether an instance of that type could carry the interfaces that this one has.
fn check_type(region: &Region, instance: &Instance, name: &str) -> Result<(), Ec2Error> {
    let limits = instance_type(name).filter(|limits| limits.max_enis > 0).ok_or_else(|| {
        let message = format!("Invalid value '{name}' for InstanceType.");
        Ec2Error::new("InvalidParameterValue", message)
    })?;
    let exceeds = |what: &str, count: usize| {
        let message = format!("{what} count {count} exceeds the limit for {name}");
        Err(Ec2Error::new("AttachmentLimitExceeded", message))
    };
    if instance.interfaces.len() > limits.max_enis as usize {
        return exceeds("Interface", instance.interfaces.len());
    }
    for interface in instance.interfaces.values().filter_map(|id| region.interfaces.get(id)) {
        super::attachment::check_addresses(limits, interface)?;
        if interface.kind == Kind::Trunk {
            super::attachment::check_trunk(limits, std::iter::empty())?;
            if interface.branches.len() > limits.branch_enis.unwrap_or(0) as usize {
                return exceeds("Branch interface", interface.branches.len());
            }
        }
    }
    Ok(())
}

/// Whether the text is base64 of at most 16 KiB.
///
/// # Errors
/// `InvalidUserData.Malformed`; `InvalidParameterValue` if it is too long.
pub(super) fn check_user_data(text: &str) -> Result<(), Ec2Error> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| {
        Ec2Error::new("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")
    })?;
    if bytes.len() > MAX_USER_DATA {
        let message = format!("User data is limited to {MAX_USER_DATA} bytes");
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    Ok(())
}

/// ResetInstanceAttribute.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ResetInstanceAttribute {
    instance_id: String,
    attribute: String,
}

pub(crate) fn reset(
    cx: &mut Context<'_>,
    request: ResetInstanceAttribute,
) -> Result<Done, Ec2Error> {
    let instance = instance::alive(cx.region, &request.instance_id)?;
    match request.attribute.as_str() {
        "sourceDestCheck" => only_interface(cx.region, instance)?.check_own()?,
        "kernel" | "ramdisk" => refuse(&[(request.attribute.as_str(), true)])?,
        other => {
            let why = "It is sourceDestCheck, kernel or ramdisk.";
            return Err(Ec2Error::value("attribute", other, why));
        }
    }
    let id = instance.id.clone();
    change_interface(cx, &id, |interface| interface.source_dest_check = true);
    Ok(Done::new())
}

/// Metadata options in requests.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct MetadataSpec {
    pub http_tokens: Option<String>,
    pub http_put_response_hop_limit: Option<u8>,
    pub http_endpoint: Option<String>,
    pub instance_metadata_tags: Option<String>,
    pub http_protocol_ipv6: Option<String>,
}

impl MetadataOptions {
    /// These with what a request changes.
    ///
    /// # Errors
    /// `InvalidParameterValue` for a value that an option cannot have.
    pub(super) fn changed(mut self, spec: &MetadataSpec) -> Result<Self, Ec2Error> {
        let choose = |name: &str, given: &Option<String>, no: &str, yes: &str, field: &mut bool| {
            match given.as_deref() {
                None => {}
                Some(text) if text == yes => *field = true,
                Some(text) if text == no => *field = false,
                Some(text) => {
                    return Err(Ec2Error::value(name, text, &format!("It is {no} or {yes}.")));
                }
            }
            Ok(())
        };
        let (off, on) = ("disabled", "enabled");
        let required = &mut self.token_required;
        choose("httpTokens", &spec.http_tokens, "optional", "required", required)?;
        choose("httpEndpoint", &spec.http_endpoint, off, on, &mut self.enabled)?;
        choose("httpProtocolIpv6", &spec.http_protocol_ipv6, off, on, &mut self.ipv6)?;
        choose("instanceMetadataTags", &spec.instance_metadata_tags, off, on, &mut self.tags)?;
        match spec.http_put_response_hop_limit {
            None => {}
            Some(hops @ 1..=64) => self.hop_limit = hops,
            Some(hops) => {
                let why = "It is from 1 to 64.";
                return Err(Ec2Error::value("httpPutResponseHopLimit", hops, why));
            }
        }
        Ok(self)
    }
}

/// ModifyInstanceMetadataOptions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ModifyInstanceMetadataOptions {
    instance_id: String,
    http_tokens: Option<String>,
    http_put_response_hop_limit: Option<u8>,
    http_endpoint: Option<String>,
    instance_metadata_tags: Option<String>,
    http_protocol_ipv6: Option<String>,
}

/// Answer of ModifyInstanceMetadataOptions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ModifiedMetadataOptions {
    instance_id: String,
    instance_metadata_options: MetadataOptionsItem,
}

pub(crate) fn modify_metadata(
    cx: &mut Context<'_>,
    request: ModifyInstanceMetadataOptions,
) -> Result<ModifiedMetadataOptions, Ec2Error> {
    let instance = instance::alive(cx.region, &request.instance_id)?;
    let spec = MetadataSpec {
        http_tokens: request.http_tokens,
        http_put_response_hop_limit: request.http_put_response_hop_limit,
        http_endpoint: request.http_endpoint,
        instance_metadata_tags: request.instance_metadata_tags,
        http_protocol_ipv6: request.http_protocol_ipv6,
    };
    let options = instance.metadata.clone().changed(&spec)?;
    if options.tags {
        check_readable(cx.region.tags.get(&instance.id).into_iter().flat_map(TagMap::keys))?;
    }
    let id = instance.id.clone();
    let record = cx.region.instances.get_mut(&id).expect("found above");
    record.metadata = options;
    let instance_metadata_options = metadata_item(&record.metadata);
    Ok(ModifiedMetadataOptions { instance_id: id, instance_metadata_options })
}
