//! Public addresses in answers.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::address::{Address, with_public};
use super::interface::Interface;
use super::select::{Field, Filter, Selection, select};
use super::tags::TagItem;
use super::{ACCOUNT, Context, Region};
use crate::api::error::Ec2Error;

/// An interface's public address in answers about the interface.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PublicItem {
    pub public_ip: String,
    pub public_dns_name: String,
    pub ip_owner_id: &'static str,
    pub allocation_id: Option<String>,
    pub association_id: Option<String>,
}

impl Region {
    /// The public address of an interface's primary address for an answer.
    pub(crate) fn public_item(&self, interface: &Interface) -> Option<PublicItem> {
        self.public_items(interface).remove(&interface.primary())
    }

    /// By private address of an interface, the public one for an answer.
    pub(crate) fn public_items(&self, interface: &Interface) -> BTreeMap<Ipv4Addr, PublicItem> {
        let item = |(private, public)| (private, self.item_of(interface, private, public));
        self.publics_of(interface).into_iter().map(item).collect()
    }

    fn item_of(&self, interface: &Interface, private: Ipv4Addr, public: Ipv4Addr) -> PublicItem {
        let elastic = self.elastic_of(&interface.id, private);
        let named = self.vpcs.get(&interface.vpc).is_some_and(|vpc| vpc.dns_hostnames);
        PublicItem {
            public_ip: public.to_string(),
            public_dns_name: if named { self.public_dns_name(public) } else { String::new() },
            ip_owner_id: if elastic.is_some() { ACCOUNT } else { "amazon" },
            allocation_id: elastic.map(|(address, _)| address.id.clone()),
            association_id: elastic.map(|(_, association)| association.id.clone()),
        }
    }

    /// The name that DNS gives a public address.
    pub(crate) fn public_dns_name(&self, address: Ipv4Addr) -> String {
        let [a, b, c, d] = address.octets();
        format!("ec2-{a}-{b}-{c}-{d}.{}", self.public_domain())
    }

    /// What names of public addresses in the region end with.
    pub(crate) fn public_domain(&self) -> String {
        // us-east-1 is older than regional names.
        match self.name.as_str() {
            "us-east-1" => "compute-1.amazonaws.com".to_owned(),
            region => format!("{region}.compute.amazonaws.com"),
        }
    }
}

/// DescribeAddresses; EC2 does not cut its answer into pages.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeAddresses {
    #[serde(default, rename = "AllocationId")]
    ids: Vec<String>,
    #[serde(default, rename = "PublicIp")]
    publics: Vec<Ipv4Addr>,
    #[serde(default, rename = "Filter")]
    filters: Vec<Filter>,
}

/// Answer of DescribeAddresses.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AddressSet {
    addresses_set: Vec<AddressItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AddressItem {
    public_ip: String,
    allocation_id: String,
    domain: &'static str,
    association_id: Option<String>,
    instance_id: Option<String>,
    network_interface_id: Option<String>,
    network_interface_owner_id: Option<&'static str>,
    private_ip_address: Option<String>,
    public_ipv4_pool: &'static str,
    network_border_group: String,
    tag_set: Vec<TagItem>,
}

fn interface<'r>(region: &'r Region, address: &Address) -> Option<&'r Interface> {
    region.interfaces.get(&address.association.as_ref()?.interface)
}

fn instance(region: &Region, address: &Address) -> Option<String> {
    let attached = interface(region, address)?.attachment.as_ref()?;
    Some(attached.instance.clone())
}

fn private(address: &Address) -> Option<String> {
    address.association.as_ref().map(|association| association.private.to_string())
}

fn address_item(region: &Region, address: &Address) -> AddressItem {
    let association = address.association.as_ref();
    AddressItem {
        public_ip: address.public.to_string(),
        allocation_id: address.id.clone(),
        domain: "vpc",
        association_id: association.map(|a| a.id.clone()),
        instance_id: instance(region, address),
        network_interface_id: association.map(|a| a.interface.clone()),
        network_interface_owner_id: association.map(|_| ACCOUNT),
        private_ip_address: private(address),
        public_ipv4_pool: "amazon",
        network_border_group: region.name.clone(),
        tag_set: region.tag_items(&address.id),
    }
}

fn one(text: Option<String>) -> Vec<String> {
    text.into_iter().collect()
}

const FILTERS: &[Field<Address>] = &[
    ("allocation-id", |_, a| vec![a.id.clone()]),
    ("public-ip", |_, a| vec![a.public.to_string()]),
    ("domain", |_, _| vec!["vpc".into()]),
    ("association-id", |_, a| one(a.association.as_ref().map(|a| a.id.clone()))),
    ("instance-id", |region, a| one(instance(region, a))),
    ("network-interface-id", |_, a| one(a.association.as_ref().map(|a| a.interface.clone()))),
    ("network-interface-owner-id", |_, a| one(a.association.as_ref().map(|_| ACCOUNT.into()))),
    ("private-ip-address", |_, a| one(private(a))),
    ("network-border-group", |region, _| vec![region.name.clone()]),
];

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeAddresses,
) -> Result<AddressSet, Ec2Error> {
    let region = &*cx.region;
    let mut ids = request.ids;
    for public in request.publics {
        ids.push(with_public(region, public)?.id.clone());
    }
    let wanted =
        Selection { ids: &ids, filters: &request.filters, max_results: None, next_token: None };
    let (addresses, _) = select(region, &region.addresses, FILTERS, &wanted)?;
    let addresses_set = addresses.into_iter().map(|a| address_item(region, a)).collect();
    Ok(AddressSet { addresses_set })
}
