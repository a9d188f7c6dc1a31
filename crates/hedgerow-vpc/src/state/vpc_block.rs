//! A VPC's secondary IPv4 blocks.

use hedgerow_core::sg::{IpPrefix, Ipv4Prefix};
use serde::{Deserialize, Serialize};

use super::Context;
use super::region::{Region, find};
use super::route_table_routes::Route;
use super::vpc::{BlockAssociation, parse_block};
use crate::api::error::Ec2Error;
use crate::effect::Effect;

/// A block that was added to a VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SecondaryBlock {
    pub association: String,
    pub block: Ipv4Prefix,
}

/// AssociateVpcCidrBlock, for IPv4.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AssociateVpcCidrBlock {
    vpc_id: String,
    cidr_block: Option<String>,
}

/// Answer of AssociateVpcCidrBlock and DisassociateVpcCidrBlock.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangedBlock {
    vpc_id: String,
    cidr_block_association: BlockAssociation,
}

pub(crate) fn associate(
    cx: &mut Context<'_>,
    request: AssociateVpcCidrBlock,
) -> Result<ChangedBlock, Ec2Error> {
    let vpc = find(&cx.region.vpcs, &request.vpc_id)?;
    let text = request.cidr_block.ok_or_else(|| Ec2Error::missing("cidrBlock"))?;
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
    change_tables(cx, &id, |routes| routes.insert(0, Route::local(block)));
    let cidr_block_association = BlockAssociation::new(&association, block, "associating");
    Ok(ChangedBlock { vpc_id: id, cidr_block_association })
}

/// `CidrConflict` where a table of the VPC has a route for the block or for a part of it: such a block
/// "must not be the same or larger than the CIDR range of a route" (VPC User Guide).
fn check_routes(region: &Region, vpc: &str, block: Ipv4Prefix) -> Result<(), Ec2Error> {
    let mut tables = region.route_tables.values().filter(|table| table.vpc == vpc);
    let taken = tables.find(|table| {
        table.routes.iter().any(|route| match route.destination {
            IpPrefix::V4(to) => block.covers(&to),
            IpPrefix::V6(_) => false,
        })
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
    for table in cx.region.route_tables.values_mut().filter(|table| table.vpc == vpc) {
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
    let region = &*cx.region;
    let wanted = &request.association_id;
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
        routes.retain(|route| !(route.original && route.destination == IpPrefix::V4(block)));
    });
    let cidr_block_association = BlockAssociation::new(wanted, block, "disassociating");
    Ok(ChangedBlock { vpc_id: id, cidr_block_association })
}
