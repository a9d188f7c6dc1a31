//! Attaching interfaces to instances and detaching them.

use hedgerow_core::limits::InstanceType;
use serde::{Deserialize, Serialize};

use super::interface::{
    Attached, Interface, Kind, too_many_addresses, unknown as unknown_interface,
};
use super::region::find;
use super::unsupported::{Given, refuse};
use super::{Context, instance};
use crate::api::Done;
use crate::api::error::Ec2Error;

/// `InvalidAttachmentID.NotFound` for this id.
pub(crate) fn unknown(id: &str) -> Ec2Error {
    let message = format!("The networkInterface attachment ID '{id}' does not exist");
    Ec2Error::new("InvalidAttachmentID.NotFound", message)
}

/// AttachNetworkInterface.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AttachNetworkInterface {
    network_interface_id: String,
    instance_id: String,
    device_index: u8,
    network_card_index: Option<u8>,
    ena_srd_specification: Given,
    ena_queue_count: Given,
}

/// Answer of AttachNetworkInterface.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttachedAnswer {
    attachment_id: String,
    network_card_index: u8,
}

pub(crate) fn attach(
    cx: &mut Context<'_>,
    request: AttachNetworkInterface,
) -> Result<AttachedAnswer, Ec2Error> {
    let region = &*cx.region;
    refuse(&[
        ("EnaSrdSpecification", request.ena_srd_specification.is_some()),
        ("EnaQueueCount", request.ena_queue_count.is_some()),
    ])?;
    let interface = find(&region.interfaces, &request.network_interface_id)?;
    interface.check_own()?;
    let instance = instance::alive(region, &request.instance_id)?;
    check_free(interface)?;
    if let Some(card @ 1..) = request.network_card_index {
        let message = format!("Network card {card} does not exist; instances here have card 0");
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    if instance.interfaces.contains_key(&request.device_index) {
        let message = format!(
            "Instance '{}' already has an interface attached at device index '{}'.",
            instance.id, request.device_index
        );
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    let limits = instance.limits();
    if instance.interfaces.len() >= limits.max_enis as usize {
        let message = format!(
            "Interface count {} exceeds the limit for {}",
            instance.interfaces.len() + 1,
            limits.name
        );
        return Err(Ec2Error::new("AttachmentLimitExceeded", message));
    }
    check_addresses(limits, interface)?;
    if interface.vpc != instance.vpc || region.subnets[&interface.subnet].zone != instance.zone {
        let message = "You may not attach a network interface to an instance if they are not in \
                       the same VPC and availability zone";
        return Err(Ec2Error::new("InvalidParameterCombination", message));
    }
    if interface.kind == Kind::Trunk {
        check_trunk(limits, instance.interfaces.values().map(|id| &region.interfaces[id]))?;
    }
    let (eni, instance) = (interface.id.clone(), instance.id.clone());
    let attachment_id = make(cx, &eni, &instance, request.device_index, false);
    cx.effects.push(cx.region.put_interface(&eni));
    Ok(AttachedAnswer { attachment_id, network_card_index: 0 })
}

/// `InvalidNetworkInterface.InUse` unless the interface can be attached to an instance.
pub(crate) fn check_free(interface: &Interface) -> Result<(), Ec2Error> {
    if interface.status() != "available" {
        let message = format!("Interface: [{}] in use.", interface.id);
        return Err(Ec2Error::new("InvalidNetworkInterface.InUse", message));
    }
    if interface.kind == Kind::Branch {
        let message = format!("Branch interface {} cannot be attached to instances", interface.id);
        return Err(Ec2Error::new("InvalidParameterCombination", message));
    }
    Ok(())
}

/// `PrivateIpAddressLimitExceeded` where the interface has more addresses than one of an instance
/// with these limits can have.
pub(crate) fn check_addresses(
    limits: &InstanceType,
    interface: &Interface,
) -> Result<(), Ec2Error> {
    let v4 = interface.places() > limits.ipv4_per_eni as usize;
    let v6 = interface.ipv6_places() > limits.ipv6_per_eni() as usize;
    if v4 || v6 { Err(too_many_addresses()) } else { Ok(()) }
}

/// `UnsupportedOperation` unless an instance with these limits and interfaces can have a trunk.
pub(crate) fn check_trunk<'r>(
    limits: &InstanceType,
    mut present: impl Iterator<Item = &'r Interface>,
) -> Result<(), Ec2Error> {
    if !limits.supports_trunk() {
        let message =
            format!("Trunk interfaces are not supported on instance type {}", limits.name);
        return Err(Ec2Error::new("UnsupportedOperation", message));
    }
    if present.any(|other| other.kind == Kind::Trunk) {
        let message = "The instance has a trunk interface already";
        return Err(Ec2Error::new("UnsupportedOperation", message));
    }
    Ok(())
}

/// Attaches; everything was checked. The effect is the caller's.
pub(crate) fn make(
    cx: &mut Context<'_>,
    interface: &str,
    instance: &str,
    device_index: u8,
    delete_on_termination: bool,
) -> String {
    let id = cx.mint.id("eni-attach");
    let attached = Attached {
        id: id.clone(),
        instance: instance.to_owned(),
        device_index,
        delete_on_termination,
        since: cx.now,
        attaching: false,
    };
    cx.region.attachments.insert(id.clone(), interface.to_owned());
    let record = cx.region.interfaces.get_mut(interface).expect("the interface was checked");
    record.attachment = Some(attached);
    let record = cx.region.instances.get_mut(instance).expect("the instance was checked");
    record.interfaces.insert(device_index, interface.to_owned());
    id
}

/// DetachNetworkInterface.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DetachNetworkInterface {
    attachment_id: String,
    /// Detaching is immediate here, so force changes nothing.
    #[serde(rename = "Force")]
    _force: Option<bool>,
}

pub(crate) fn detach(
    cx: &mut Context<'_>,
    request: DetachNetworkInterface,
) -> Result<Done, Ec2Error> {
    let region = &*cx.region;
    let id = &request.attachment_id;
    let eni = region.attachments.get(id).ok_or_else(|| unknown(id))?.clone();
    let interface = region.interfaces.get(&eni).ok_or_else(|| unknown_interface(&eni))?;
    interface.check_own()?;
    let primary = interface.attachment.as_ref().is_some_and(|attached| attached.device_index == 0);
    if primary {
        let message = "The network interface at device index 0 cannot be detached.";
        return Err(Ec2Error::new("OperationNotPermitted", message));
    }
    if !interface.branches.is_empty() {
        let message = format!("Trunk interface {eni} has associated branch interfaces.");
        return Err(Ec2Error::new("OperationNotPermitted", message));
    }
    take_off(cx, &eni);
    Ok(Done::new())
}

/// Ends an interface's attachment and tells the fabric.
pub(crate) fn take_off(cx: &mut Context<'_>, interface: &str) {
    let record = cx.region.interfaces.get_mut(interface).expect("the interface exists");
    let Some(attached) = record.attachment.take() else { return };
    cx.region.attachments.remove(&attached.id);
    if let Some(instance) = cx.region.instances.get_mut(&attached.instance) {
        instance.interfaces.remove(&attached.device_index);
    }
    cx.effects.push(cx.region.put_interface(interface));
}
