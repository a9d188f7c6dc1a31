//! Blocks that a VPC gets after its first: IPv4 and IPv6.

use hedgerow_core::sg::{IpPrefix, Ipv4Prefix};
use serde::{Deserialize, Serialize};

use super::region::{Region, find};
use super::route_destination::Destination;
use super::route_table_routes::Route;
use super::unsupported::{Given, refuse};
use super::vpc::{BlockAssociation, parse_block};
use super::vpc_ipv6::{self, Ipv6Block, Ipv6Wish, VpcIpv6Item};
use super::{Context, group, network_acl};
use crate::api::error::Ec2Error;
use crate::effect::Effect;

/// A block that was added to a VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SecondaryBlock {
    pub association: String,
    pub block: Ipv4Prefix,
}

/// AssociateVpcCidrBlock.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AssociateVpcCidrBlock {
    vpc_id: String,
    cidr_block: Option<String>,
    amazon_provided_ipv6_cidr_block: Option<bool>,
    ipv6_cidr_block_network_border_group: Option<String>,
    ipv6_cidr_block: Given,
    ipv6_pool: Given,
    ipv6_ipam_pool_id: Given,
    ipv6_netmask_length: Given,
    ipv4_ipam_pool_id: Given,
    ipv4_netmask_length: Given,
}

/// Answer of AssociateVpcCidrBlock and DisassociateVpcCidrBlock.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangedBlock {
    vpc_id: String,
    cidr_block_association: Option<BlockAssociation>,
    ipv6_cidr_block_association: Option<VpcIpv6Item>,
}

impl ChangedBlock {
    fn v4(vpc_id: String, association: BlockAssociation) -> Self {
        let cidr_block_association = Some(association);
        ChangedBlock { vpc_id, cidr_block_association, ipv6_cidr_block_association: None }
    }

    fn v6(vpc_id: String, item: VpcIpv6Item) -> Self {
        let ipv6_cidr_block_association = Some(item);
        ChangedBlock { vpc_id, cidr_block_association: None, ipv6_cidr_block_association }
    }
}

pub(crate) fn associate(
    cx: &mut Context<'_>,
    request: AssociateVpcCidrBlock,
) -> Result<ChangedBlock, Ec2Error> {
    refuse(&[
        ("Ipv4IpamPoolId", request.ipv4_ipam_pool_id.is_some()),
        ("Ipv4NetmaskLength", request.ipv4_netmask_length.is_some()),
    ])?;
    let vpc = find(&cx.region.vpcs, &request.vpc_id)?;
    let wish = Ipv6Wish::new(
        request.amazon_provided_ipv6_cidr_block,
        request.ipv6_cidr_block_network_border_group,
        [
            &request.ipv6_cidr_block,
            &request.ipv6_pool,
            &request.ipv6_ipam_pool_id,
            &request.ipv6_netmask_length,
        ],
    );
    let with_ipv6 = wish.checked(cx.region)?;
    let text = match request.cidr_block {
        Some(_) if with_ipv6 => {
            let message = "An IPv4 and an IPv6 CIDR block are associated in two requests";
            return Err(Ec2Error::new("InvalidParameterCombination", message));
        }
        None if with_ipv6 => {
            vpc_ipv6::check_room(vpc)?;
            let id = vpc.id.clone();
            let own = add_ipv6(cx, &id);
            return Ok(ChangedBlock::v6(id, cx.region.vpc_ipv6_item(&own, "associating")));
        }
        None => return Err(Ec2Error::missing("cidrBlock")),
        Some(text) => text,
    };
    let block = parse_block(&text, "InvalidVpc.Range")?;
    if let Some(present) = vpc.blocks().find(|present| present.overlaps(&block)) {
        let message =
            format!("The CIDR '{block}' conflicts with another CIDR of the VPC, {present}");
        return Err(Ec2Error::new("CidrConflict", message));
    }
    let quota = cx.quotas.blocks_per_vpc;
    if vpc.blocks().count() >= quota {
        let message = format!(
            "This network '{}' has met its maximum number of allowed CIDRs: {quota}",
            vpc.id
        );
        return Err(Ec2Error::new("CidrLimitExceeded", message));
    }
    check_routes(cx.region, &vpc.id, block)?;
    let id = vpc.id.clone();
    let association = cx.mint.id("vpc-cidr-assoc");
    let vpc = cx.region.vpcs.get_mut(&id).expect("found above");
    vpc.secondary.push(SecondaryBlock { association: association.clone(), block });
    cx.effects.push(Effect::PutVpc(vpc.view()));
    change_tables(cx, &id, |routes| routes.insert(0, Route::local(IpPrefix::V4(block))));
    Ok(ChangedBlock::v4(id, BlockAssociation::new(&association, block, "associating")))
}

/// Gives a VPC an IPv6 block and its tables the route for it.
pub(crate) fn add_ipv6(cx: &mut Context<'_>, vpc: &str) -> Ipv6Block {
    let block = cx.region.next_ipv6_block();
    let own = Ipv6Block { association: cx.mint.id("vpc-cidr-assoc"), block };
    let record = cx.region.vpcs.get_mut(vpc).expect("the VPC was checked");
    let first = record.ipv6.is_empty();
    record.ipv6.push(own.clone());
    cx.effects.push(Effect::PutVpc(record.view()));
    change_tables(cx, vpc, |routes| routes.push(Route::local(IpPrefix::V6(block))));
    if first {
        group::open_ipv6(cx, vpc);
        network_acl::open_ipv6(cx, vpc);
    }
    own
}

/// `CidrConflict` where a table of the VPC has a route for the block or for a part of it: such a block
/// "must not be the same or larger than the CIDR range of a route" (VPC User Guide).
fn check_routes(region: &Region, vpc: &str, block: Ipv4Prefix) -> Result<(), Ec2Error> {
    let mut tables = region.route_tables.values().filter(|table| table.vpc == vpc);
    let taken = tables.find(|table| {
        let mut blocks = table.routes.iter().flat_map(|route| route.destination.blocks(region));
        blocks.any(|to| matches!(to, IpPrefix::V4(to) if block.covers(&to)))
    });
    match taken {
        None => Ok(()),
        Some(table) => {
            let message = format!("The CIDR '{block}' conflicts with a route in {}", table.id);
            Err(Ec2Error::new("CidrConflict", message))
        }
    }
}

/// Changes the routes of all of the VPC's tables and tells the fabric.
fn change_tables(cx: &mut Context<'_>, vpc: &str, change: impl Fn(&mut Vec<Route>)) {
    let mut touched = Vec::new();
    for table in cx.region.route_tables.select_mut(|table| table.vpc == vpc) {
        change(&mut table.routes);
        touched.push(table.id.clone());
    }
    for id in touched {
        cx.effects.push(cx.region.put_route_table(&id));
    }
}

/// DisassociateVpcCidrBlock.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DisassociateVpcCidrBlock {
    association_id: String,
}

pub(crate) fn disassociate(
    cx: &mut Context<'_>,
    request: DisassociateVpcCidrBlock,
) -> Result<ChangedBlock, Ec2Error> {
    let wanted = &request.association_id;
    if let Some(answer) = disassociate_ipv6(cx, wanted) {
        return answer;
    }
    let region = &*cx.region;
    if region.vpcs.values().any(|vpc| vpc.block_association == *wanted) {
        let message = format!(
            "The vpc CIDR block with association ID {wanted} may not be disassociated. It is the \
             primary IPv4 CIDR block of the VPC"
        );
        return Err(Ec2Error::new("OperationNotPermitted", message));
    }
    let found = region.vpcs.values().find_map(|vpc| {
        Some((vpc, vpc.secondary.iter().find(|secondary| secondary.association == *wanted)?))
    });
    let (vpc, secondary) = found.ok_or_else(|| {
        let message = format!("The vpc CIDR block association ID '{wanted}' does not exist");
        Ec2Error::new("InvalidVpcCidrBlockAssociationID.NotFound", message)
    })?;
    let block = secondary.block;
    let mut subnets = region.subnets.values().filter(|subnet| subnet.vpc == vpc.id);
    if subnets.any(|subnet| block.covers(&subnet.block)) {
        let message = format!("The vpc currently has a subnet within CIDR block {block}");
        return Err(Ec2Error::new("InvalidCidrBlock.InUse", message));
    }
    let id = vpc.id.clone();
    let vpc = cx.region.vpcs.get_mut(&id).expect("found above");
    vpc.secondary.retain(|secondary| secondary.association != *wanted);
    cx.effects.push(Effect::PutVpc(vpc.view()));
    change_tables(cx, &id, |routes| {
        routes.retain(|route| {
            !(route.original && route.destination == Destination::Block(IpPrefix::V4(block)))
        });
    });
    Ok(ChangedBlock::v4(id, BlockAssociation::new(wanted, block, "disassociating")))
}

/// The same for an IPv6 block; `None` where the association is of none.
fn disassociate_ipv6(
    cx: &mut Context<'_>,
    association: &str,
) -> Option<Result<ChangedBlock, Ec2Error>> {
    let (id, own) = cx.region.vpcs.values().find_map(|vpc| {
        let own = vpc.ipv6.iter().find(|own| own.association == association)?;
        Some((vpc.id.clone(), own.clone()))
    })?;
    let block = own.block;
    let mut subnets = cx.region.subnets.values().filter(|subnet| subnet.vpc == id);
    if subnets.any(|subnet| subnet.ipv6.as_ref().is_some_and(|ipv6| block.covers(&ipv6.block))) {
        let message = format!("The vpc currently has a subnet within CIDR block {block}");
        return Some(Err(Ec2Error::new("InvalidCidrBlock.InUse", message)));
    }
    let vpc = cx.region.vpcs.get_mut(&id).expect("found above");
    vpc.ipv6.retain(|other| other.association != association);
    cx.effects.push(Effect::PutVpc(vpc.view()));
    change_tables(cx, &id, |routes| {
        routes.retain(|route| {
            !(route.original && route.destination == Destination::Block(IpPrefix::V6(block)))
        });
    });
    Some(Ok(ChangedBlock::v6(id, cx.region.vpc_ipv6_item(&own, "disassociating"))))
}
