//! What an account has without asking: the default VPC and its subnets, and account attributes.

use hedgerow_core::sg::{IpPrefix, Ipv4Prefix};
use serde::{Deserialize, Serialize};

use super::region::Region;
use super::route_destination::Destination;
use super::route_table_routes::{Route, Target};
use super::subnet::{self, SubnetAnswer};
use super::tags::TagMap;
use super::vpc::{self, VpcAnswer};
use super::{Context, catalog, gateway};
use crate::api::error::Ec2Error;

/// Length of a default subnet's block.
const SUBNET_LEN: u8 = 20;

/// Makes the region's default VPC: 172.31.0.0/16 with a /20 subnet in each zone, an internet
/// gateway and the route to it.
pub(crate) fn make(cx: &mut Context<'_>) -> String {
    let block = Ipv4Prefix::new([172, 31, 0, 0].into(), 16);
    let vpc = vpc::make(cx, block, true, TagMap::new());
    for (zone, offset) in catalog::zones(&cx.region.name).into_iter().zip((0..).step_by(1 << 12)) {
        let block = Ipv4Prefix::new(block.nth(offset), SUBNET_LEN);
        subnet::make(cx, &vpc, block, zone, true, TagMap::new());
    }
    let internet = gateway::make(cx, TagMap::new());
    gateway::join(cx, &internet, &vpc);
    let table = cx.region.route_table_of(&vpc, "").id.clone();
    let table = cx.region.route_tables.get_mut(&table).expect("found above");
    table.routes.push(Route {
        destination: Destination::Block(IpPrefix::V4(Ipv4Prefix::ANY)),
        target: Target::InternetGateway(internet),
        original: false,
    });
    let table = table.id.clone();
    cx.effects.push(cx.region.put_route_table(&table));
    vpc
}

/// CreateDefaultVpc.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateDefaultVpc {}

pub(crate) fn create_vpc(
    cx: &mut Context<'_>,
    _request: CreateDefaultVpc,
) -> Result<VpcAnswer, Ec2Error> {
    if cx.region.default_vpc().is_some() {
        let message = "A Default VPC already exists for this account in this region.";
        return Err(Ec2Error::new("DefaultVpcAlreadyExists", message));
    }
    vpc::check_room(cx)?;
    let id = make(cx);
    Ok(VpcAnswer::new(cx.region, &id))
}

/// CreateDefaultSubnet.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateDefaultSubnet {
    availability_zone: Option<String>,
    availability_zone_id: Option<String>,
}

pub(crate) fn create_subnet(
    cx: &mut Context<'_>,
    request: CreateDefaultSubnet,
) -> Result<SubnetAnswer, Ec2Error> {
    let region = &*cx.region;
    let (parameter, wanted) = match (&request.availability_zone, &request.availability_zone_id) {
        (Some(name), None) => ("availabilityZone", name),
        (None, Some(id)) => ("availabilityZoneId", id),
        (None, None) => return Err(Ec2Error::missing("availabilityZone")),
        (Some(_), Some(_)) => {
            let message =
                "The zone is named by availabilityZone or by availabilityZoneId, not both";
            return Err(Ec2Error::new("InvalidParameterCombination", message));
        }
    };
    let mut zones = catalog::zones(&region.name).into_iter();
    let zone = zones.find(|zone| zone.name == *wanted || zone.id == *wanted);
    let zone = zone.ok_or_else(|| {
        Ec2Error::value(parameter, wanted, "The region has no zone of this name.")
    })?;
    let vpc = region.default_vpc().ok_or_else(|| {
        let message = "There is no default VPC in this region; CreateDefaultVpc makes one";
        Ec2Error::new("DefaultVpcDoesNotExist", message)
    })?;
    if let Some(present) = region.subnets.values().find(|s| s.default_for_zone && s.zone == zone) {
        let message = format!("'{}' is already the default subnet in {}.", present.id, zone.name);
        return Err(Ec2Error::new("DefaultSubnetAlreadyExistsInAvailabilityZone", message));
    }
    let block = free_block(region, &vpc.id).ok_or_else(|| {
        let message = format!("VPC '{}' has no room for a /{SUBNET_LEN} subnet", vpc.id);
        Ec2Error::new("InsufficientFreeAddressesInSubnet", message)
    })?;
    let vpc = vpc.id.clone();
    let id = subnet::make(cx, &vpc, block, zone, true, TagMap::new());
    Ok(SubnetAnswer::new(cx.region, &id))
}

/// The first block of a default subnet's size that overlaps no subnet.
fn free_block(region: &Region, vpc: &str) -> Option<Ipv4Prefix> {
    let whole = region.vpcs[vpc].block;
    (0..16)
        .map(|n| Ipv4Prefix::new(whole.nth(n << 12), SUBNET_LEN))
        .find(|block| !region.subnets.values().any(|s| s.vpc == vpc && s.block.overlaps(block)))
}

/// DescribeAccountAttributes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeAccountAttributes {
    #[serde(default, rename = "AttributeName")]
    names: Vec<String>,
}

/// Answer of DescribeAccountAttributes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttributeSet {
    account_attribute_set: Vec<AttributeItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AttributeItem {
    attribute_name: &'static str,
    attribute_value_set: Vec<ValueItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ValueItem {
    attribute_value: String,
}

pub(crate) fn describe_account(
    cx: &mut Context<'_>,
    request: DescribeAccountAttributes,
) -> Result<AttributeSet, Ec2Error> {
    let default_vpc = cx.region.default_vpc().map_or("none".into(), |vpc| vpc.id.clone());
    let elastic = cx.quotas.elastic_addresses.to_string();
    let known = [
        ("supported-platforms", "VPC".to_owned()),
        ("default-vpc", default_vpc),
        // EC2 has shown 20 since it counted instances by number; today's limits are by vCPU.
        ("max-instances", "20".to_owned()),
        ("max-elastic-ips", elastic.clone()),
        ("vpc-max-elastic-ips", elastic),
        ("vpc-max-security-groups-per-interface", cx.quotas.groups_per_interface.to_string()),
    ];
    for name in &request.names {
        if !known.iter().any(|(attribute, _)| attribute == name) {
            let why = "No account attribute has this name.";
            return Err(Ec2Error::value("attributeName", name, why));
        }
    }
    let wanted = |name: &str| request.names.is_empty() || request.names.iter().any(|n| n == name);
    let account_attribute_set = known
        .into_iter()
        .filter(|(name, _)| wanted(name))
        .map(|(attribute_name, attribute_value)| AttributeItem {
            attribute_name,
            attribute_value_set: vec![ValueItem { attribute_value }],
        })
        .collect();
    Ok(AttributeSet { account_attribute_set })
}
