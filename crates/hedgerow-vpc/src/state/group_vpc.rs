//! Groups in other VPCs than their own: AssociateSecurityGroupVpc and its kind.
//!
//! The group's rules are the same there; a rule that names a group means those of its members that
//! are in the VPC where it is judged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::group::{SecurityGroup, named};
use super::region::find;
use super::select::{Field, Filter, Selection, check_filters, matches_all, page};
use super::{ACCOUNT, Context, Region};
use crate::api::error::Ec2Error;
use crate::effect::Effect;

impl SecurityGroup {
    /// Whether interfaces of the VPC may carry the group.
    pub(crate) fn is_in(&self, vpc: &str) -> bool {
        self.vpc == vpc || self.shared.contains(vpc)
    }
}

impl Region {
    /// The effects that tell the fabric of the group as it is now, in each of its VPCs.
    pub(crate) fn put_group(&self, id: &str) -> Vec<Effect> {
        let group = &self.groups[id];
        let vpcs = std::iter::once(&group.vpc).chain(&group.shared);
        let put =
            |vpc: &String| Effect::PutGroup { vpc: self.vpcs[vpc].key, group: group.view(self) };
        vpcs.map(put).collect()
    }
}

/// AssociateSecurityGroupVpc and DisassociateSecurityGroupVpc.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct GroupInVpc {
    group_id: String,
    vpc_id: String,
}

/// Answer of AssociateSecurityGroupVpc and DisassociateSecurityGroupVpc.
#[derive(Debug, Serialize)]
pub(crate) struct AssociationState {
    state: &'static str,
}

pub(crate) fn associate(
    cx: &mut Context<'_>,
    request: GroupInVpc,
) -> Result<AssociationState, Ec2Error> {
    let group = named(cx.region, Some(&request.group_id), None)?;
    let vpc = find(&cx.region.vpcs, &request.vpc_id)?;
    let refuse = |message: String| Err(Ec2Error::new("InvalidParameterValue", message));
    if group.is_default() {
        return refuse(format!("The default security group {} stays in its VPC", group.id));
    }
    if vpc.is_default {
        return refuse(format!("The default VPC {} takes no groups of other VPCs", vpc.id));
    }
    if group.is_in(&vpc.id) {
        let message = format!("{} is already associated with {}", group.id, vpc.id);
        return Err(Ec2Error::new("Resource.AlreadyAssociated", message));
    }
    let (id, vpc) = (group.id.clone(), vpc.id.clone());
    let group = cx.region.groups.get_mut(&id).expect("found above");
    group.shared.insert(vpc);
    cx.effects.extend(cx.region.put_group(&id));
    Ok(AssociationState { state: "associating" })
}

pub(crate) fn disassociate(
    cx: &mut Context<'_>,
    request: GroupInVpc,
) -> Result<AssociationState, Ec2Error> {
    let region = &*cx.region;
    let group = named(region, Some(&request.group_id), None)?;
    let vpc = find(&region.vpcs, &request.vpc_id)?;
    if !group.shared.contains(&vpc.id) {
        let message = format!("{} is not associated with {}", group.id, vpc.id);
        return Err(Ec2Error::new("InvalidAssociationID.NotFound", message));
    }
    let carries =
        |eni: &&super::interface::Interface| eni.vpc == vpc.id && eni.groups.contains(&group.id);
    if let Some(eni) = region.interfaces.values().find(carries) {
        let message = format!("{} is in use by {} in {}", group.id, eni.id, vpc.id);
        return Err(Ec2Error::new("DependencyViolation", message));
    }
    let (id, vpc, key) = (group.id.clone(), vpc.id.clone(), vpc.key);
    cx.region.groups.get_mut(&id).expect("found above").shared.remove(&vpc);
    cx.effects.push(Effect::RemoveGroup { vpc: key, group: id.as_str().into() });
    Ok(AssociationState { state: "disassociating" })
}

/// Ends the associations with a VPC that goes.
pub(crate) fn forget_vpc(cx: &mut Context<'_>, vpc: &str) {
    let key = cx.region.vpcs[vpc].key;
    for group in cx.region.groups.select_mut(|group| group.shared.contains(vpc)) {
        group.shared.remove(vpc);
        let group = group.id.as_str().into();
        cx.effects.push(Effect::RemoveGroup { vpc: key, group });
    }
}

/// DescribeSecurityGroupVpcAssociations.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeAssociations {
    #[serde(default, rename = "Filter")]
    filters: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// Answer of DescribeSecurityGroupVpcAssociations.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AssociationSet {
    security_group_vpc_association_set: Vec<AssociationItem>,
    next_token: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct AssociationItem {
    group_id: String,
    group_owner_id: &'static str,
    vpc_id: String,
    vpc_owner_id: &'static str,
    state: &'static str,
}

const FILTERS: &[Field<AssociationItem>] = &[
    ("group-id", |_, a| vec![a.group_id.clone()]),
    ("group-owner-id", |_, a| vec![a.group_owner_id.into()]),
    ("state", |_, a| vec![a.state.into()]),
    ("vpc-id", |_, a| vec![a.vpc_id.clone()]),
    ("vpc-owner-id", |_, a| vec![a.vpc_owner_id.into()]),
];

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeAssociations,
) -> Result<AssociationSet, Ec2Error> {
    let region = &*cx.region;
    check_filters(&request.filters, FILTERS)?;
    let of_group = |group: &SecurityGroup| {
        let id = group.id.clone();
        let item = move |vpc: &String| AssociationItem {
            group_id: id.clone(),
            group_owner_id: ACCOUNT,
            vpc_id: vpc.clone(),
            vpc_owner_id: ACCOUNT,
            state: "associated",
        };
        group.shared.iter().map(item).collect::<Vec<_>>()
    };
    let all: BTreeMap<String, AssociationItem> = region
        .groups
        .values()
        .flat_map(of_group)
        .filter(|item| matches_all(region, item, "", FILTERS, &request.filters))
        .map(|item| (format!("{} {}", item.group_id, item.vpc_id), item))
        .collect();
    let wanted = Selection {
        ids: &[],
        filters: &[],
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
    };
    let keys: Vec<&String> = all.keys().collect();
    let (page, next_token) = page(keys.iter().copied(), |key| key, &wanted)?;
    let security_group_vpc_association_set = page.iter().map(|key| all[*key].clone()).collect();
    Ok(AssociationSet { security_group_vpc_association_set, next_token })
}
