//! Network interfaces in answers.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::address_describe::PublicItem;
use super::interface::{Attached, Interface};
use super::interface_address::{PrefixItem, prefix_items};
use super::interface_ipv6::{Ipv6Item, Ipv6PrefixItem, ipv6_items, ipv6_prefix_items};
use super::mint::format_mac;
use super::region::find;
use super::select::{Field, describe_request, select};
use super::tags::TagItem;
use super::time::Timestamp;
use super::timeouts::TimeoutsItem;
use super::vpc::FlagItem;
use super::{ACCOUNT, Context, Region};
use crate::api::error::Ec2Error;

/// A network interface in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InterfaceItem {
    network_interface_id: String,
    interface_type: &'static str,
    status: &'static str,
    subnet_id: String,
    vpc_id: String,
    availability_zone: String,
    availability_zone_id: String,
    description: String,
    owner_id: &'static str,
    requester_id: Option<String>,
    requester_managed: bool,
    operator: Operator,
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
    /// The first one.
    ipv6_address: Option<String>,
    ipv6_native: bool,
    deny_all_igw_traffic: bool,
    connection_tracking_configuration: Option<TimeoutsItem>,
    tag_set: Vec<TagItem>,
}

/// Whether a service operates the resource for its owner: never here.
#[derive(Debug, Serialize)]
pub(crate) struct Operator {
    pub managed: bool,
}

/// A group's id and name in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupIdentifier {
    group_id: String,
    group_name: String,
}

/// An attachment in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttachmentItem {
    attachment_id: String,
    attach_time: Timestamp,
    delete_on_termination: bool,
    device_index: u8,
    network_card_index: u8,
    /// Absent where the attachment is listed under its instance.
    instance_id: Option<String>,
    instance_owner_id: Option<&'static str>,
    status: &'static str,
}

/// A private address in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AddressItem {
    private_ip_address: String,
    pub private_dns_name: Option<String>,
    primary: bool,
    pub association: Option<PublicItem>,
}

/// An attachment for an answer; `under_instance` leaves out the instance.
pub(crate) fn attachment_item(attached: &Attached, under_instance: bool) -> AttachmentItem {
    AttachmentItem {
        attachment_id: attached.id.clone(),
        attach_time: attached.since,
        delete_on_termination: attached.delete_on_termination,
        device_index: attached.device_index,
        network_card_index: 0,
        instance_id: (!under_instance).then(|| attached.instance.clone()),
        instance_owner_id: (!under_instance).then_some(ACCOUNT),
        status: attached.status(),
    }
}

impl Region {
    /// Groups with their names.
    pub(crate) fn group_identifiers(&self, ids: &[String]) -> Vec<GroupIdentifier> {
        let name = |id: &String| self.groups.get(id).map_or(String::new(), |g| g.name.clone());
        ids.iter()
            .map(|id| GroupIdentifier { group_id: id.clone(), group_name: name(id) })
            .collect()
    }

    /// The name that the VPC's DNS gives a private address.
    pub(crate) fn private_dns_name(&self, address: Ipv4Addr) -> String {
        let [a, b, c, d] = address.octets();
        // us-east-1 is older than regional names.
        match self.name.as_str() {
            "us-east-1" => format!("ip-{a}-{b}-{c}-{d}.ec2.internal"),
            region => format!("ip-{a}-{b}-{c}-{d}.{region}.compute.internal"),
        }
    }

    /// An interface's addresses for an answer, with names if the VPC has them on.
    pub(crate) fn address_items(&self, interface: &Interface) -> Vec<AddressItem> {
        let named = self.vpcs.get(&interface.vpc).is_some_and(|vpc| vpc.dns_hostnames);
        let mut publics = self.public_items(interface);
        let item = |(position, address): (usize, &Ipv4Addr)| AddressItem {
            private_ip_address: address.to_string(),
            private_dns_name: named.then(|| self.private_dns_name(*address)),
            primary: position == 0,
            association: publics.remove(address),
        };
        interface.addresses.iter().enumerate().map(item).collect()
    }
}

/// An interface for an answer.
pub(crate) fn interface_item(region: &Region, interface: &Interface) -> InterfaceItem {
    let zone = &region.subnets[&interface.subnet].zone;
    let addresses = region.address_items(interface);
    InterfaceItem {
        network_interface_id: interface.id.clone(),
        interface_type: interface.kind.name(),
        status: interface.status(),
        subnet_id: interface.subnet.clone(),
        vpc_id: interface.vpc.clone(),
        availability_zone: zone.name.clone(),
        availability_zone_id: zone.id.clone(),
        description: interface.description.clone(),
        owner_id: ACCOUNT,
        requester_id: interface.requester.clone(),
        requester_managed: interface.requester.is_some(),
        operator: Operator { managed: false },
        mac_address: format_mac(interface.mac),
        private_ip_address: interface.primary().to_string(),
        private_dns_name: addresses[0].private_dns_name.clone(),
        association: addresses[0].association.clone(),
        source_dest_check: interface.source_dest_check,
        group_set: region.group_identifiers(&interface.groups),
        attachment: interface.attachment.as_ref().map(|a| attachment_item(a, false)),
        private_ip_addresses_set: addresses,
        ipv4_prefix_set: prefix_items(&interface.prefixes),
        ipv6_addresses_set: ipv6_items(interface),
        ipv6_prefix_set: ipv6_prefix_items(interface),
        ipv6_address: interface.ipv6.first().map(ToString::to_string),
        ipv6_native: false,
        deny_all_igw_traffic: false,
        connection_tracking_configuration: interface.timeouts.item(),
        tag_set: region.tag_items(&interface.id),
    }
}

describe_request!(
    DescribeNetworkInterfaces,
    "NetworkInterfaceId",
    /// No service operates interfaces here, so there are no more to list.
    #[serde(rename = "IncludeManagedResources")] _managed: Option<bool>,
);

/// Answer of DescribeNetworkInterfaces.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InterfaceSet {
    network_interface_set: Vec<InterfaceItem>,
    next_token: Option<String>,
}

fn attached(interface: &Interface, read: fn(&Attached) -> String) -> Vec<String> {
    interface.attachment.iter().map(read).collect()
}

/// What `read` finds in the public address of the interface's primary address.
fn of_public(
    region: &Region,
    interface: &Interface,
    read: fn(PublicItem) -> Option<String>,
) -> Vec<String> {
    region.public_item(interface).and_then(read).into_iter().collect()
}

/// What `read` finds in the interface's public addresses.
fn of_publics(
    region: &Region,
    interface: &Interface,
    read: fn(PublicItem) -> Option<String>,
) -> Vec<String> {
    region.public_items(interface).into_values().filter_map(read).collect()
}

fn group_names(region: &Region, interface: &Interface) -> Vec<String> {
    let groups = interface.groups.iter().filter_map(|id| region.groups.get(id));
    groups.map(|group| group.name.clone()).collect()
}

fn zone_name(region: &Region, interface: &Interface) -> Vec<String> {
    region.subnets.get(&interface.subnet).map(|s| s.zone.name.clone()).into_iter().collect()
}

fn address_texts(interface: &Interface) -> Vec<String> {
    interface.addresses.iter().map(Ipv4Addr::to_string).collect()
}

const FILTERS: &[Field<Interface>] = &[
    ("network-interface-id", |_, i| vec![i.id.clone()]),
    ("vpc-id", |_, i| vec![i.vpc.clone()]),
    ("subnet-id", |_, i| vec![i.subnet.clone()]),
    ("availability-zone", zone_name),
    ("availability-zone-id", |r, i| {
        r.subnets.get(&i.subnet).map(|s| s.zone.id.clone()).into_iter().collect()
    }),
    ("group-id", |_, i| i.groups.clone()),
    ("group-name", group_names),
    ("status", |_, i| vec![i.status().into()]),
    ("description", |_, i| vec![i.description.clone()]),
    ("interface-type", |_, i| vec![i.kind.name().into()]),
    ("mac-address", |_, i| vec![format_mac(i.mac)]),
    ("private-ip-address", |_, i| vec![i.primary().to_string()]),
    ("addresses.private-ip-address", |_, i| address_texts(i)),
    ("addresses.primary", |_, i| {
        (0..i.addresses.len()).map(|position| (position == 0).to_string()).collect()
    }),
    ("private-dns-name", |r, i| vec![r.private_dns_name(i.primary())]),
    ("source-dest-check", |_, i| vec![i.source_dest_check.to_string()]),
    ("owner-id", |_, _| vec![ACCOUNT.into()]),
    ("association.public-ip", |r, i| of_public(r, i, |p| Some(p.public_ip))),
    ("association.public-dns-name", |r, i| of_public(r, i, |p| Some(p.public_dns_name))),
    ("association.ip-owner-id", |r, i| of_public(r, i, |p| Some(p.ip_owner_id.into()))),
    ("association.allocation-id", |r, i| of_public(r, i, |p| p.allocation_id)),
    ("association.association-id", |r, i| of_public(r, i, |p| p.association_id)),
    ("addresses.association.public-ip", |r, i| of_publics(r, i, |p| Some(p.public_ip))),
    ("addresses.association.owner-id", |r, i| of_publics(r, i, |p| Some(p.ip_owner_id.into()))),
    ("requester-id", |_, i| i.requester.clone().into_iter().collect()),
    ("requester-managed", |_, i| vec![i.requester.is_some().to_string()]),
    ("operator.managed", |_, _| vec!["false".into()]),
    ("operator.principal", |_, _| Vec::new()),
    ("ipv6-addresses.ipv6-address", |_, i| i.ipv6.iter().map(ToString::to_string).collect()),
    ("attachment.network-card-index", |_, i| attached(i, |_| "0".into())),
    ("attachment.attachment-id", |_, i| attached(i, |a| a.id.clone())),
    ("attachment.instance-id", |_, i| attached(i, |a| a.instance.clone())),
    ("attachment.instance-owner-id", |_, i| attached(i, |_| ACCOUNT.into())),
    ("attachment.device-index", |_, i| attached(i, |a| a.device_index.to_string())),
    ("attachment.delete-on-termination", |_, i| {
        attached(i, |a| a.delete_on_termination.to_string())
    }),
    ("attachment.attach-time", |_, i| attached(i, |a| a.since.to_string())),
    ("attachment.status", |_, i| attached(i, |a| a.status().into())),
];

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeNetworkInterfaces,
) -> Result<InterfaceSet, Ec2Error> {
    let region = &*cx.region;
    let (page, next_token) = select(region, &region.interfaces, FILTERS, &request.selection())?;
    let network_interface_set = page.into_iter().map(|i| interface_item(region, i)).collect();
    Ok(InterfaceSet { network_interface_set, next_token })
}

/// DescribeNetworkInterfaceAttribute.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeNetworkInterfaceAttribute {
    network_interface_id: String,
    attribute: String,
}

/// Answer of DescribeNetworkInterfaceAttribute.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InterfaceAttribute {
    network_interface_id: String,
    description: Option<TextItem>,
    group_set: Option<Vec<GroupIdentifier>>,
    source_dest_check: Option<FlagItem>,
    attachment: Option<AttachmentItem>,
    associate_public_ip_address: Option<bool>,
}

/// A text attribute in answers.
#[derive(Debug, Serialize)]
pub(crate) struct TextItem {
    pub value: String,
}

pub(crate) fn describe_attribute(
    cx: &mut Context<'_>,
    request: DescribeNetworkInterfaceAttribute,
) -> Result<InterfaceAttribute, Ec2Error> {
    let region = &*cx.region;
    let interface = find(&region.interfaces, &request.network_interface_id)?;
    let mut answer =
        InterfaceAttribute { network_interface_id: interface.id.clone(), ..Default::default() };
    match request.attribute.as_str() {
        "description" => {
            answer.description = Some(TextItem { value: interface.description.clone() });
        }
        "groupSet" => answer.group_set = Some(region.group_identifiers(&interface.groups)),
        "sourceDestCheck" => {
            answer.source_dest_check = Some(FlagItem { value: interface.source_dest_check });
        }
        "attachment" => {
            answer.attachment = interface.attachment.as_ref().map(|a| attachment_item(a, false));
        }
        "associatePublicIpAddress" => {
            let given = region.launch_addresses.contains_key(&interface.id);
            answer.associate_public_ip_address = Some(given);
        }
        other => {
            return Err(Ec2Error::value("attribute", other, "No such interface attribute."));
        }
    }
    Ok(answer)
}
