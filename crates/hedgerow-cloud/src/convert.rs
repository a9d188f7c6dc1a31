//! SDK shapes to the crate's own. Missing fields are errors only where nothing works without them.

use std::net::Ipv4Addr;

use aws_sdk_ec2::types as sdk;
use hedgerow_core::sg::GroupId;

use crate::{Attachment, CloudError, Instance, Interface, InterfaceKind, Result, Subnet};

/// The value, or an error that names the operation and the field.
pub(crate) fn need<T>(value: Option<T>, operation: &'static str, field: &'static str) -> Result<T> {
    value.ok_or(CloudError::Incomplete { operation, field })
}

fn kind(text: Option<&str>) -> InterfaceKind {
    match text {
        None | Some("interface") => InterfaceKind::Plain,
        Some("trunk") => InterfaceKind::Trunk,
        Some("branch") => InterfaceKind::Branch,
        Some(_) => InterfaceKind::Other,
    }
}

fn groups(groups: Option<Vec<sdk::GroupIdentifier>>) -> Vec<GroupId> {
    groups.unwrap_or_default().into_iter().filter_map(|g| g.group_id.map(GroupId)).collect()
}

/// The primary address first, then the others in EC2's order.
fn addresses(primary: Option<String>, all: impl Iterator<Item = Option<String>>) -> Vec<Ipv4Addr> {
    let mut addresses: Vec<Ipv4Addr> = primary.and_then(|a| a.parse().ok()).into_iter().collect();
    for address in all.flatten().filter_map(|a| a.parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

fn attachment(
    id: Option<String>,
    instance: Option<String>,
    index: Option<i32>,
    delete: Option<bool>,
) -> Option<Attachment> {
    Some(Attachment {
        id: id?,
        instance: instance?,
        device_index: u8::try_from(index?).ok()?,
        delete_on_termination: delete.unwrap_or(false),
    })
}

/// One interface of DescribeNetworkInterfaces or CreateNetworkInterface.
pub(crate) fn interface(from: sdk::NetworkInterface, operation: &'static str) -> Result<Interface> {
    let others = from.private_ip_addresses.unwrap_or_default();
    Ok(Interface {
        id: need(from.network_interface_id, operation, "networkInterfaceId")?,
        mac: need(from.mac_address.and_then(|m| m.parse().ok()), operation, "macAddress")?,
        kind: kind(from.interface_type.as_ref().map(|t| t.as_str())),
        subnet: from.subnet_id.unwrap_or_default(),
        vpc: from.vpc_id.unwrap_or_default(),
        description: from.description.unwrap_or_default(),
        addresses: addresses(
            from.private_ip_address,
            others.into_iter().map(|a| a.private_ip_address),
        ),
        groups: groups(from.groups),
        tags: from
            .tag_set
            .unwrap_or_default()
            .into_iter()
            .filter_map(|t| Some((t.key?, t.value.unwrap_or_default())))
            .collect(),
        status: from.status.map(|s| s.as_str().to_owned()).unwrap_or_default(),
        attachment: from.attachment.and_then(|a| {
            attachment(a.attachment_id, a.instance_id, a.device_index, a.delete_on_termination)
        }),
    })
}

/// One interface of DescribeInstances.
fn instance_interface(
    from: sdk::InstanceNetworkInterface,
    instance: &str,
    operation: &'static str,
) -> Result<Interface> {
    let others = from.private_ip_addresses.unwrap_or_default();
    Ok(Interface {
        id: need(from.network_interface_id, operation, "networkInterfaceId")?,
        mac: need(from.mac_address.and_then(|m| m.parse().ok()), operation, "macAddress")?,
        kind: kind(from.interface_type.as_deref()),
        subnet: from.subnet_id.unwrap_or_default(),
        vpc: from.vpc_id.unwrap_or_default(),
        description: from.description.unwrap_or_default(),
        addresses: addresses(
            from.private_ip_address,
            others.into_iter().map(|a| a.private_ip_address),
        ),
        groups: groups(from.groups),
        tags: Default::default(),
        status: from.status.map(|s| s.as_str().to_owned()).unwrap_or_default(),
        attachment: from.attachment.and_then(|a| {
            let instance = Some(instance.to_owned());
            attachment(a.attachment_id, instance, a.device_index, a.delete_on_termination)
        }),
    })
}

/// One instance of DescribeInstances.
pub(crate) fn instance(
    from: sdk::Instance,
    owner: Option<String>,
    operation: &'static str,
) -> Result<Instance> {
    let id = need(from.instance_id, operation, "instanceId")?;
    let mut interfaces = from
        .network_interfaces
        .unwrap_or_default()
        .into_iter()
        .map(|i| instance_interface(i, &id, operation))
        .collect::<Result<Vec<_>>>()?;
    interfaces.sort_by_key(|i| i.attachment.as_ref().map(|a| a.device_index));
    let state = from.state.and_then(|s| s.name);
    Ok(Instance {
        instance_type: need(from.instance_type, operation, "instanceType")?.as_str().to_owned(),
        state: need(state, operation, "instanceState")?.as_str().to_owned(),
        subnet: from.subnet_id.unwrap_or_default(),
        vpc: from.vpc_id.unwrap_or_default(),
        owner: owner.unwrap_or_default(),
        interfaces,
        id,
    })
}

/// One subnet of DescribeSubnets.
pub(crate) fn subnet(from: sdk::Subnet, operation: &'static str) -> Result<Subnet> {
    let block = from.cidr_block.and_then(|b| b.parse().ok());
    Ok(Subnet {
        id: need(from.subnet_id, operation, "subnetId")?,
        vpc: from.vpc_id.unwrap_or_default(),
        zone: from.availability_zone.unwrap_or_default(),
        block: need(block, operation, "cidrBlock")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_address_is_first_and_listed_once() {
        let all = ["10.0.0.9", "10.0.0.5", "10.0.0.7"].map(|a| Some(a.to_owned()));
        let got = addresses(Some("10.0.0.5".into()), all.into_iter());
        assert_eq!(got.iter().map(|a| a.octets()[3]).collect::<Vec<_>>(), [5, 9, 7]);
    }

    #[test]
    fn a_branch_has_no_attachment_to_an_instance() {
        let from = sdk::NetworkInterface::builder()
            .network_interface_id("eni-1")
            .mac_address("02:00:00:00:00:01")
            .interface_type(sdk::NetworkInterfaceType::Branch)
            .attachment(sdk::NetworkInterfaceAttachment::builder().build())
            .build();
        let got = interface(from, "DescribeNetworkInterfaces").unwrap();
        assert_eq!((got.kind, got.attachment), (InterfaceKind::Branch, None));
        let broken = sdk::NetworkInterface::builder().network_interface_id("eni-1").build();
        let error = interface(broken, "DescribeNetworkInterfaces").unwrap_err();
        assert_eq!(
            error.to_string(),
            "DescribeNetworkInterfaces: EC2's answer has no usable macAddress"
        );
    }
}
