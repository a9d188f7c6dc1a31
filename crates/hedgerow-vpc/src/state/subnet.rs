//! Subnets, and the addresses in them.

use std::collections::BTreeMap;
use std::mem;
use std::net::Ipv4Addr;

use hedgerow_core::sg::Ipv4Prefix;
use serde::{Deserialize, Serialize};

use super::catalog::{self, Zone};
use super::region::{Resource, find};
use super::select::{Field, describe_request, select};
use super::subnet_attribute::{LaunchNames, LaunchNamesItem};
use super::subnet_ipv6::{self, SubnetIpv6, SubnetIpv6Item};
use super::subnet_reservation::Reservation;
use super::table::{Record, Revertible, Table};
use super::tags::{TagItem, TagMap, TagSpecification, requested};
use super::unsupported::{Given, refuse};
use super::vpc::parse_block;
use super::{ACCOUNT, Context, Region, network_acl, quota, route_table};
use crate::api::Done;
use crate::api::error::Ec2Error;
use crate::effect::{Effect, SubnetView};

/// Addresses at the start of a block that nobody gets: network, router, DNS, future use.
const RESERVED_FIRST: u32 = 4;
/// All addresses that nobody gets: those and the broadcast address.
const RESERVED: u64 = 5;

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub(crate) id: String,
    pub(crate) vpc: String,
    pub(crate) block: Ipv4Prefix,
    pub(crate) zone: Zone,
    pub(crate) default_for_zone: bool,
    pub(crate) public_on_launch: bool,
    /// Address to the interface that has it.
    pub(crate) taken: Table<Ipv4Addr, String>,
    /// Where the search for a free address goes on, so that an address rests before it comes back.
    cursor: u32,
    /// Set while it has an IPv6 block.
    #[serde(default)]
    pub(crate) ipv6: Option<SubnetIpv6>,
    /// Whether an interface made here gets an IPv6 address unasked.
    #[serde(default)]
    pub(crate) ipv6_on_creation: bool,
    /// How instances launched here are called.
    #[serde(default)]
    pub(crate) names: LaunchNames,
    /// Ranges that are set aside, by id.
    #[serde(default)]
    pub(crate) reservations: BTreeMap<String, Reservation>,
}

impl Resource for Subnet {
    const NOT_FOUND: &'static str = "InvalidSubnetID.NotFound";
    const NOUN: &'static str = "subnet ID";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Record for Subnet {
    fn keep(&mut self) -> Self {
        let (taken, mut ipv6) = (mem::take(&mut self.taken), self.ipv6.take());
        let kept = Self { ipv6: ipv6.as_mut().map(Record::keep), ..self.clone() };
        (self.taken, self.ipv6) = (taken, ipv6);
        self.taken.mark();
        kept
    }

    fn go_back(&mut self, mut kept: Self) {
        self.taken.go_back();
        kept.taken = mem::take(&mut self.taken);
        kept.ipv6 = match (self.ipv6.take(), kept.ipv6) {
            (Some(mut ipv6), Some(before)) => {
                ipv6.go_back(before);
                Some(ipv6)
            }
            // A block that went since was nobody's: the copy is the whole of it.
            (_, before) => before,
        };
        *self = kept;
    }

    fn commit(&mut self) {
        self.taken.commit();
        self.ipv6.iter_mut().for_each(Record::commit);
    }
}

impl Subnet {
    /// How many addresses nobody has.
    pub(crate) fn free(&self) -> u64 {
        self.block.size() - RESERVED - self.taken.len() as u64
    }

    /// Checks that an interface may ask for this very address.
    ///
    /// # Errors
    /// `InvalidParameterValue` outside the block or reserved, `InvalidIPAddress.InUse` if taken.
    pub(crate) fn check_free(&self, address: Ipv4Addr) -> Result<(), Ec2Error> {
        self.check_assignable(address)?;
        if self.taken.contains_key(&address) {
            let message = format!("Address {address} is in use.");
            return Err(Ec2Error::new("InvalidIPAddress.InUse", message));
        }
        Ok(())
    }

    /// Checks that the address is one that interfaces here can have.
    pub(crate) fn check_assignable(&self, address: Ipv4Addr) -> Result<(), Ec2Error> {
        let refuse = |why: &str| Err(Ec2Error::new("InvalidParameterValue", why));
        if !self.block.contains(address) {
            return refuse("Address does not fall within the subnet's address range");
        }
        let offset = address.to_bits() - self.block.address.to_bits();
        if offset < RESERVED_FIRST || u64::from(offset) + 1 == self.block.size() {
            return refuse("Address is in subnet's reserved address range");
        }
        Ok(())
    }

    /// Addresses that nobody gets.
    pub(super) fn unusable(&self) -> [Ipv4Addr; RESERVED as usize] {
        let last = (self.block.size() - 1) as u32;
        [0, 1, 2, 3, last].map(|place| self.block.nth(place))
    }

    /// As [`Self::check_room`] for these free addresses and so many more.
    pub(crate) fn check_room_for(&self, named: &[Ipv4Addr], more: usize) -> Result<(), Ec2Error> {
        let open = named.iter().filter(|address| !self.sets_aside(**address)).count();
        self.check_room((open + more) as u64)
    }

    /// `InsufficientFreeAddressesInSubnet` unless `count` addresses are free that EC2 can choose.
    pub(crate) fn check_room(&self, count: u64) -> Result<(), Ec2Error> {
        if count <= self.choosable() {
            return Ok(());
        }
        Err(Ec2Error::new(
            "InsufficientFreeAddressesInSubnet",
            format!(
                "There are not enough free addresses in subnet '{}' to satisfy the requested \
                 number of {count}: {} are free.",
                self.id,
                self.choosable()
            ),
        ))
    }

    /// Gives the next free address to `owner`; room was checked.
    pub(crate) fn allocate(&mut self, owner: &str) -> Ipv4Addr {
        let usable = (self.block.size() - RESERVED) as u32;
        let address = (0..usable)
            .map(|step| (self.cursor + step) % usable)
            .map(|offset| self.block.nth(RESERVED_FIRST + offset))
            .find(|address| !self.taken.contains_key(address) && !self.sets_aside(*address))
            .expect("the caller checked that an address is free");
        let offset = address.to_bits() - self.block.address.to_bits() - RESERVED_FIRST;
        self.cursor = (offset + 1) % usable;
        self.taken.insert(address, owner.to_owned());
        address
    }
}

impl Region {
    fn subnet_view(&self, id: &str) -> SubnetView {
        let subnet = &self.subnets[id];
        SubnetView {
            id: subnet.id.clone(),
            vpc: self.vpcs[&subnet.vpc].key,
            block: subnet.block,
            block_v6: subnet.ipv6.as_ref().map(|ipv6| ipv6.block),
            route_table: self.route_table_of(&subnet.vpc, id).key,
            acl: self.network_acl_of(id).key,
        }
    }

    /// The effect that tells the fabric of the subnet as it is now.
    pub(crate) fn put_subnet(&self, id: &str) -> Effect {
        Effect::PutSubnet(self.subnet_view(id))
    }
}

/// CreateSubnet.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateSubnet {
    vpc_id: String,
    cidr_block: String,
    availability_zone: Option<String>,
    availability_zone_id: Option<String>,
    ipv6_cidr_block: Option<String>,
    ipv6_native: Option<bool>,
    ipv4_ipam_pool_id: Given,
    ipv4_netmask_length: Given,
    ipv6_ipam_pool_id: Given,
    ipv6_netmask_length: Given,
    outpost_arn: Given,
    #[serde(default, rename = "TagSpecification")]
    tag_specifications: Vec<TagSpecification>,
}

/// Answer of CreateSubnet.
#[derive(Debug, Serialize)]
pub(crate) struct SubnetAnswer {
    subnet: SubnetItem,
}

impl SubnetAnswer {
    /// The subnet with this id.
    pub fn new(region: &Region, id: &str) -> Self {
        SubnetAnswer { subnet: region.subnet_item(&region.subnets[id]) }
    }
}

/// A subnet in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubnetItem {
    subnet_id: String,
    subnet_arn: String,
    state: &'static str,
    owner_id: &'static str,
    vpc_id: String,
    cidr_block: String,
    available_ip_address_count: u64,
    availability_zone: String,
    availability_zone_id: String,
    default_for_az: bool,
    map_public_ip_on_launch: bool,
    assign_ipv6_address_on_creation: bool,
    ipv6_cidr_block_association_set: Vec<SubnetIpv6Item>,
    ipv6_native: bool,
    enable_dns64: bool,
    map_customer_owned_ip_on_launch: bool,
    private_dns_name_options_on_launch: LaunchNamesItem,
    tag_set: Vec<TagItem>,
}

impl Region {
    fn subnet_arn(&self, subnet: &Subnet) -> String {
        format!("arn:aws:ec2:{}:{ACCOUNT}:subnet/{}", self.name, subnet.id)
    }

    fn subnet_item(&self, subnet: &Subnet) -> SubnetItem {
        SubnetItem {
            subnet_id: subnet.id.clone(),
            subnet_arn: self.subnet_arn(subnet),
            state: "available",
            owner_id: ACCOUNT,
            vpc_id: subnet.vpc.clone(),
            cidr_block: subnet.block.to_string(),
            available_ip_address_count: subnet.free(),
            availability_zone: subnet.zone.name.clone(),
            availability_zone_id: subnet.zone.id.clone(),
            default_for_az: subnet.default_for_zone,
            map_public_ip_on_launch: subnet.public_on_launch,
            assign_ipv6_address_on_creation: subnet.ipv6_on_creation,
            ipv6_cidr_block_association_set: subnet
                .ipv6
                .iter()
                .map(|ipv6| SubnetIpv6Item::new(ipv6, "associated"))
                .collect(),
            ipv6_native: false,
            enable_dns64: false,
            map_customer_owned_ip_on_launch: false,
            private_dns_name_options_on_launch: subnet.names.item(),
            tag_set: self.tag_items(&subnet.id),
        }
    }
}

pub(crate) fn create(
    cx: &mut Context<'_>,
    request: CreateSubnet,
) -> Result<SubnetAnswer, Ec2Error> {
    refuse(&[
        ("Ipv6Native", request.ipv6_native == Some(true)),
        ("Ipv4IpamPoolId", request.ipv4_ipam_pool_id.is_some()),
        ("Ipv4NetmaskLength", request.ipv4_netmask_length.is_some()),
        ("Ipv6IpamPoolId", request.ipv6_ipam_pool_id.is_some()),
        ("Ipv6NetmaskLength", request.ipv6_netmask_length.is_some()),
        ("OutpostArn", request.outpost_arn.is_some()),
    ])?;
    let vpc = find(&cx.region.vpcs, &request.vpc_id)?;
    let block = parse_block(&request.cidr_block, "InvalidSubnet.Range")?;
    if !vpc.blocks().any(|own| own.covers(&block)) {
        let message = format!("The CIDR '{block}' is invalid.");
        return Err(Ec2Error::new("InvalidSubnet.Range", message));
    }
    let mut siblings = cx.region.subnets.values().filter(|s| s.vpc == vpc.id);
    if siblings.any(|subnet| subnet.block.overlaps(&block)) {
        let message = format!("The CIDR '{block}' conflicts with another subnet");
        return Err(Ec2Error::new("InvalidSubnet.Conflict", message));
    }
    let ipv6 = match &request.ipv6_cidr_block {
        Some(text) => Some(subnet_ipv6::parse_block(cx.region, vpc, text)?),
        None => None,
    };
    let zone = zone(&cx.region.name, &request)?;
    let tags = requested(&request.tag_specifications, &["subnet"], "subnet")?;
    let vpc = vpc.id.clone();
    let present = cx.region.subnets.values().filter(|subnet| subnet.vpc == vpc).count();
    quota::room(present, cx.quotas.subnets_per_vpc, "SubnetLimitExceeded", "subnets")?;
    let id = make(cx, &vpc, block, zone, false, tags);
    if let Some(block) = ipv6 {
        subnet_ipv6::give(cx, &id, block);
        cx.effects.push(cx.region.put_subnet(&id));
    }
    Ok(SubnetAnswer::new(cx.region, &id))
}

fn zone(region: &str, request: &CreateSubnet) -> Result<Zone, Ec2Error> {
    let mut zones = catalog::zones(region);
    let names: Vec<String> = zones.iter().map(|zone| zone.name.clone()).collect();
    let (parameter, wanted) = match (&request.availability_zone, &request.availability_zone_id) {
        (Some(name), _) => ("availabilityZone", name),
        (None, Some(id)) => ("availabilityZoneId", id),
        (None, None) => return Ok(zones.swap_remove(0)),
    };
    zones.into_iter().find(|zone| zone.name == *wanted || zone.id == *wanted).ok_or_else(|| {
        let why = format!(
            "Subnets can currently only be created in the following availability zones: {}.",
            names.join(", ")
        );
        Ec2Error::value(parameter, wanted, &why)
    })
}

/// Makes a subnet; cannot fail.
pub(crate) fn make(
    cx: &mut Context<'_>,
    vpc: &str,
    block: Ipv4Prefix,
    zone: Zone,
    default_for_zone: bool,
    tags: TagMap,
) -> String {
    let subnet = Subnet {
        id: cx.mint.id("subnet"),
        vpc: vpc.to_owned(),
        block,
        zone,
        default_for_zone,
        public_on_launch: default_for_zone,
        taken: Table::default(),
        cursor: 0,
        ipv6: None,
        ipv6_on_creation: false,
        names: LaunchNames::default(),
        reservations: BTreeMap::new(),
    };
    let id = subnet.id.clone();
    cx.region.set_tags(&id, tags);
    cx.region.subnets.insert(id.clone(), subnet);
    network_acl::adopt_subnet(cx, vpc, &id);
    cx.effects.push(cx.region.put_subnet(&id));
    id
}

describe_request!(DescribeSubnets, "SubnetId");

/// Answer of DescribeSubnets.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubnetSet {
    subnet_set: Vec<SubnetItem>,
    next_token: Option<String>,
}

fn of_ipv6(subnet: &Subnet, read: fn(&SubnetIpv6) -> String) -> Vec<String> {
    subnet.ipv6.iter().map(read).collect()
}

const FILTERS: &[Field<Subnet>] = &[
    ("subnet-id", |_, s| vec![s.id.clone()]),
    ("vpc-id", |_, s| vec![s.vpc.clone()]),
    ("availability-zone", |_, s| vec![s.zone.name.clone()]),
    ("availabilityZone", |_, s| vec![s.zone.name.clone()]),
    ("availability-zone-id", |_, s| vec![s.zone.id.clone()]),
    ("available-ip-address-count", |_, s| vec![s.free().to_string()]),
    ("cidr-block", |_, s| vec![s.block.to_string()]),
    ("cidr", |_, s| vec![s.block.to_string()]),
    ("default-for-az", |_, s| vec![s.default_for_zone.to_string()]),
    ("map-public-ip-on-launch", |_, s| vec![s.public_on_launch.to_string()]),
    ("owner-id", |_, _| vec![ACCOUNT.into()]),
    ("state", |_, _| vec!["available".into()]),
    ("subnet-arn", |region, s| vec![region.subnet_arn(s)]),
    ("ipv6-native", |_, _| vec!["false".into()]),
    ("enable-dns64", |_, _| vec!["false".into()]),
    ("map-customer-owned-ip-on-launch", |_, _| vec!["false".into()]),
    ("private-dns-name-options-on-launch.hostname-type", |_, s| {
        vec![s.names.hostname_type().into()]
    }),
    ("private-dns-name-options-on-launch.enable-resource-name-dns-a-record", |_, s| {
        vec![s.names.a_record.to_string()]
    }),
    ("private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record", |_, s| {
        vec![s.names.aaaa_record.to_string()]
    }),
    ("ipv6-cidr-block-association.ipv6-cidr-block", |_, s| of_ipv6(s, |i| i.block.to_string())),
    ("ipv6-cidr-block-association.association-id", |_, s| of_ipv6(s, |i| i.association.clone())),
    ("ipv6-cidr-block-association.state", |_, s| of_ipv6(s, |_| "associated".into())),
    // Subnets here have none of these.
    ("customer-owned-ipv4-pool", |_, _| Vec::new()),
    ("enable-lni-at-device-index", |_, _| Vec::new()),
    ("outpost-arn", |_, _| Vec::new()),
];

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeSubnets,
) -> Result<SubnetSet, Ec2Error> {
    let region = &*cx.region;
    let (subnets, next_token) = select(region, &region.subnets, FILTERS, &request.selection())?;
    let subnet_set = subnets.into_iter().map(|s| region.subnet_item(s)).collect();
    Ok(SubnetSet { subnet_set, next_token })
}

/// DeleteSubnet.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteSubnet {
    subnet_id: String,
}

pub(crate) fn delete(cx: &mut Context<'_>, request: DeleteSubnet) -> Result<Done, Ec2Error> {
    let subnet = find(&cx.region.subnets, &request.subnet_id)?;
    if !subnet.taken.is_empty() {
        let message = format!("The subnet '{}' has dependencies and cannot be deleted.", subnet.id);
        return Err(Ec2Error::new("DependencyViolation", message));
    }
    let view = cx.region.subnet_view(&subnet.id);
    cx.effects.push(Effect::RemoveSubnet(view));
    route_table::forget_subnet(cx.region, &request.subnet_id);
    network_acl::forget_subnet(cx.region, &request.subnet_id);
    if let Some(subnet) = cx.region.subnets.remove(&request.subnet_id) {
        for id in subnet.reservations.keys() {
            cx.region.tags.remove(id);
        }
    }
    cx.region.tags.remove(&request.subnet_id);
    Ok(Done::new())
}
