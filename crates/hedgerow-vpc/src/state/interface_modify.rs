//! Changing an interface: groups and attributes, one at a time; resetting them.

use serde::Deserialize;

use super::interface::{Interface, described};
use super::region::{find, not_found};
use super::timeouts::{TimeoutSpec, Timeouts};
use super::unsupported::{Given, refuse};
use super::vpc::Flag;
use super::{Context, Region, address, group};
use crate::api::Done;
use crate::api::error::Ec2Error;

/// A text attribute in requests: `Description.Value=…`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Text {
    pub value: String,
}

/// Change of an attachment in requests.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AttachmentChange {
    attachment_id: String,
    delete_on_termination: bool,
    ena_queue_count: Given,
    default_ena_queue_count: Given,
}

/// ModifyNetworkInterfaceAttribute.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ModifyNetworkInterfaceAttribute {
    network_interface_id: String,
    #[serde(default, rename = "SecurityGroupId")]
    groups: Vec<String>,
    description: Option<Text>,
    source_dest_check: Option<Flag>,
    attachment: Option<AttachmentChange>,
    connection_tracking_specification: Option<TimeoutSpec>,
    ena_srd_specification: Given,
    enable_primary_ipv6: Option<bool>,
    associate_public_ip_address: Option<bool>,
    #[serde(rename = "AssociatedSubnetId")]
    associated_subnets: Given,
}

/// What a request changes, checked.
enum Change {
    Groups(Vec<String>),
    Description(String),
    SourceDestCheck(bool),
    Timeouts(Timeouts),
    DeleteOnTermination(bool),
    PrimaryIpv6(bool),
    PublicAddress(bool),
}

/// `InvalidParameterCombination` unless the request names exactly one attribute.
pub(super) fn check_one(given: &[(&str, bool)]) -> Result<(), Ec2Error> {
    let names: Vec<&str> =
        given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    let message = match names.len() {
        1 => return Ok(()),
        0 => "No attributes specified.".to_owned(),
        _ => format!("Fields for multiple attribute types specified: {}", names.join(", ")),
    };
    Err(Ec2Error::new("InvalidParameterCombination", message))
}

impl ModifyNetworkInterfaceAttribute {
    /// What is to change, if it can be.
    fn change(
        self,
        region: &Region,
        interface: &Interface,
        group_limit: usize,
    ) -> Result<Change, Ec2Error> {
        refuse(&[
            ("EnaSrdSpecification", self.ena_srd_specification.is_some()),
            ("AssociatedSubnetId", self.associated_subnets.is_some()),
        ])?;
        check_one(&[
            ("groups", !self.groups.is_empty()),
            ("description", self.description.is_some()),
            ("sourceDestCheck", self.source_dest_check.is_some()),
            ("attachment", self.attachment.is_some()),
            ("connectionTracking", self.connection_tracking_specification.is_some()),
            ("enablePrimaryIpv6", self.enable_primary_ipv6.is_some()),
            ("associatePublicIpAddress", self.associate_public_ip_address.is_some()),
        ])?;
        match self.enable_primary_ipv6 {
            Some(true) if interface.ipv6.is_empty() => {
                let message = format!("Interface {} has no IPv6 address", interface.id);
                return Err(Ec2Error::new("InvalidParameterValue", message));
            }
            Some(false) if interface.has_primary_ipv6 => {
                let message = "A primary IPv6 address cannot be disabled once it was enabled.";
                return Err(Ec2Error::new("OperationNotPermitted", message));
            }
            Some(_) => return Ok(Change::PrimaryIpv6(self.enable_primary_ipv6 == Some(true))),
            None => {}
        }
        if let Some(flag) = self.associate_public_ip_address {
            return Ok(Change::PublicAddress(flag));
        }
        if let Some(text) = self.description {
            return described(text.value).map(Change::Description);
        }
        if let Some(flag) = self.source_dest_check {
            return Ok(Change::SourceDestCheck(flag.value));
        }
        if let Some(spec) = &self.connection_tracking_specification {
            return interface.timeouts.changed(spec).map(Change::Timeouts);
        }
        if let Some(change) = self.attachment {
            refuse(&[
                ("Attachment.EnaQueueCount", change.ena_queue_count.is_some()),
                ("Attachment.DefaultEnaQueueCount", change.default_ena_queue_count.is_some()),
            ])?;
            let attached = interface.attachment.as_ref();
            return match attached.filter(|attached| attached.id == change.attachment_id) {
                Some(_) => Ok(Change::DeleteOnTermination(change.delete_on_termination)),
                None => Err(super::attachment::unknown(&change.attachment_id)),
            };
        }
        let unknown = |id: &str| not_found::<group::SecurityGroup>(id);
        let groups = &self.groups;
        group::check_on_interface(region, &interface.vpc, groups, group_limit, unknown)
            .map(Change::Groups)
    }
}

pub(crate) fn modify(
    cx: &mut Context<'_>,
    request: ModifyNetworkInterfaceAttribute,
) -> Result<Done, Ec2Error> {
    let interface = find(&cx.region.interfaces, &request.network_interface_id)?;
    interface.check_own()?;
    let id = interface.id.clone();
    let change = request.change(cx.region, interface, cx.quotas.groups_per_interface)?;
    let interface = cx.region.interfaces.get_mut(&id).expect("found above");
    match change {
        Change::Description(text) => {
            interface.description = text;
            return Ok(Done::new());
        }
        Change::PrimaryIpv6(flag) => {
            interface.has_primary_ipv6 = flag;
            return Ok(Done::new());
        }
        Change::DeleteOnTermination(flag) => {
            if let Some(attached) = &mut interface.attachment {
                attached.delete_on_termination = flag;
            }
            return Ok(Done::new());
        }
        Change::PublicAddress(true) => address::want_public(cx, &id),
        Change::PublicAddress(false) => {
            cx.region.launch_addresses.remove(&id);
        }
        Change::Groups(groups) => interface.groups = groups,
        Change::SourceDestCheck(flag) => interface.source_dest_check = flag,
        Change::Timeouts(timeouts) => interface.timeouts = timeouts,
    }
    cx.effects.push(cx.region.put_interface(&id));
    Ok(Done::new())
}

/// ResetNetworkInterfaceAttribute: the source/destination check is the one attribute that it knows.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ResetNetworkInterfaceAttribute {
    network_interface_id: String,
    /// Any text; EC2 does not look at it.
    source_dest_check: Option<String>,
}

pub(crate) fn reset(
    cx: &mut Context<'_>,
    request: ResetNetworkInterfaceAttribute,
) -> Result<Done, Ec2Error> {
    let interface = find(&cx.region.interfaces, &request.network_interface_id)?;
    interface.check_own()?;
    check_one(&[("sourceDestCheck", request.source_dest_check.is_some())])?;
    let id = interface.id.clone();
    let interface = cx.region.interfaces.get_mut(&id).expect("found above");
    interface.source_dest_check = true;
    cx.effects.push(cx.region.put_interface(&id));
    Ok(Done::new())
}
