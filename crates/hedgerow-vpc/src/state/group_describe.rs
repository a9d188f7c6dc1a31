//! DescribeSecurityGroups and the actions that ask about groups otherwise.

use hedgerow_core::sg::Direction;
use serde::{Deserialize, Serialize};

use super::group::{SecurityGroup, arn, check_id, unknown_name};
use super::region::find;
use super::rule::{PermissionItem, RuleRecord, permission_items};
use super::rule_peer::RulePeer;
use super::rule_traffic::Words;
use super::select::{Field, Filter, Selection, describe_request, select};
use super::tags::TagItem;
use super::{ACCOUNT, Context, Region, vpc};
use crate::api::error::Ec2Error;

describe_request!(
    DescribeSecurityGroups,
    "GroupId",
    #[serde(default, rename = "GroupName")]
    names: Vec<String>,
);

/// Answer of DescribeSecurityGroups.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupSet {
    security_group_info: Vec<GroupItem>,
    next_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupItem {
    group_id: String,
    group_name: String,
    group_description: String,
    owner_id: &'static str,
    vpc_id: String,
    security_group_arn: String,
    ip_permissions: Vec<PermissionItem>,
    ip_permissions_egress: Vec<PermissionItem>,
    tag_set: Vec<TagItem>,
}

/// What a filter reads of one rule.
type ReadRule = fn(&Region, &RuleRecord) -> Option<String>;

fn read_rules(
    region: &Region,
    group: &SecurityGroup,
    direction: Direction,
    read: ReadRule,
) -> Vec<String> {
    group.rules(direction).filter_map(|rule| read(region, rule)).collect()
}

const CIDR: ReadRule = |_, rule| match &rule.peer {
    RulePeer::V4(prefix) => Some(prefix.to_string()),
    _ => None,
};
const CIDR6: ReadRule = |_, rule| match &rule.peer {
    RulePeer::V6(prefix) => Some(prefix.to_string()),
    _ => None,
};
const LIST: ReadRule = |_, rule| match &rule.peer {
    RulePeer::PrefixList(id) => Some(id.clone()),
    _ => None,
};
const GROUP: ReadRule = |_, rule| match &rule.peer {
    RulePeer::Group(id) => Some(id.clone()),
    _ => None,
};
const GROUP_NAME: ReadRule = |region, rule| match &rule.peer {
    RulePeer::Group(id) => region.groups.get(id).map(|group| group.name.clone()),
    _ => None,
};
const USER: ReadRule = |_, rule| match &rule.peer {
    RulePeer::Group(_) => Some(ACCOUNT.to_owned()),
    _ => None,
};
const FROM: ReadRule = |_, rule| Words::of(rule.traffic).from.map(|port| port.to_string());
const TO: ReadRule = |_, rule| Words::of(rule.traffic).to.map(|port| port.to_string());
const PROTOCOL: ReadRule = |_, rule| Some(Words::of(rule.traffic).protocol);

macro_rules! ingress {
    ($read:ident) => {
        |region, group| read_rules(region, group, Direction::Ingress, $read)
    };
}

macro_rules! egress {
    ($read:ident) => {
        |region, group| read_rules(region, group, Direction::Egress, $read)
    };
}

const FILTERS: &[Field<SecurityGroup>] = &[
    ("group-id", |_, g| vec![g.id.clone()]),
    ("group-name", |_, g| vec![g.name.clone()]),
    ("description", |_, g| vec![g.description.clone()]),
    ("vpc-id", |_, g| vec![g.vpc.clone()]),
    ("owner-id", |_, _| vec![ACCOUNT.into()]),
    ("ip-permission.cidr", ingress!(CIDR)),
    ("ip-permission.ipv6-cidr", ingress!(CIDR6)),
    ("ip-permission.prefix-list-id", ingress!(LIST)),
    ("ip-permission.from-port", ingress!(FROM)),
    ("ip-permission.to-port", ingress!(TO)),
    ("ip-permission.protocol", ingress!(PROTOCOL)),
    ("ip-permission.group-id", ingress!(GROUP)),
    ("ip-permission.group-name", ingress!(GROUP_NAME)),
    ("ip-permission.user-id", ingress!(USER)),
    ("egress.ip-permission.cidr", egress!(CIDR)),
    ("egress.ip-permission.ipv6-cidr", egress!(CIDR6)),
    ("egress.ip-permission.prefix-list-id", egress!(LIST)),
    ("egress.ip-permission.from-port", egress!(FROM)),
    ("egress.ip-permission.to-port", egress!(TO)),
    ("egress.ip-permission.protocol", egress!(PROTOCOL)),
    ("egress.ip-permission.group-id", egress!(GROUP)),
    ("egress.ip-permission.group-name", egress!(GROUP_NAME)),
    ("egress.ip-permission.user-id", egress!(USER)),
];

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeSecurityGroups,
) -> Result<GroupSet, Ec2Error> {
    let region = &*cx.region;
    request.ids.iter().try_for_each(|id| check_id(id))?;
    let mut wanted = request.selection();
    // Names mean groups of the default VPC only.
    let by_name = request
        .names
        .iter()
        .map(|name| {
            let vpc = vpc::named_or_default(region, None)?;
            let group = region.group_in(&vpc.id, name).ok_or_else(|| unknown_name(name, &vpc.id));
            group.map(|group| group.id.clone())
        })
        .collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<String> = by_name.into_iter().chain(request.ids.iter().cloned()).collect();
    wanted.ids = &ids;
    let (groups, next_token) = select(region, &region.groups, FILTERS, &wanted)?;
    let security_group_info = groups.into_iter().map(|group| group_item(region, group)).collect();
    Ok(GroupSet { security_group_info, next_token })
}

fn group_item(region: &Region, group: &SecurityGroup) -> GroupItem {
    let permissions = |direction| {
        let rules = group.rules(direction);
        permission_items(rules.map(|rule| (rule.traffic, &rule.peer, &rule.description)))
    };
    GroupItem {
        group_id: group.id.clone(),
        group_name: group.name.clone(),
        group_description: group.description.clone(),
        owner_id: ACCOUNT,
        vpc_id: group.vpc.clone(),
        security_group_arn: arn(region, &group.id),
        ip_permissions: permissions(Direction::Ingress),
        ip_permissions_egress: permissions(Direction::Egress),
        tag_set: region.tag_items(&group.id),
    }
}

/// GetSecurityGroupsForVpc.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct GetSecurityGroupsForVpc {
    vpc_id: String,
    #[serde(default, rename = "Filter")]
    filters: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// Answer of GetSecurityGroupsForVpc.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupsForVpc {
    security_group_for_vpc_set: Vec<GroupForVpc>,
    next_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupForVpc {
    group_id: String,
    group_name: String,
    description: String,
    owner_id: &'static str,
    primary_vpc_id: String,
    tag_set: Vec<TagItem>,
}

const FOR_VPC_FILTERS: &[Field<SecurityGroup>] = &[
    ("group-id", |_, g| vec![g.id.clone()]),
    ("group-name", |_, g| vec![g.name.clone()]),
    ("description", |_, g| vec![g.description.clone()]),
    ("owner-id", |_, _| vec![ACCOUNT.into()]),
    ("primary-vpc-id", |_, g| vec![g.vpc.clone()]),
];

pub(crate) fn for_vpc(
    cx: &mut Context<'_>,
    request: GetSecurityGroupsForVpc,
) -> Result<GroupsForVpc, Ec2Error> {
    use super::select::{check_filters, matches_all, page};
    let region = &*cx.region;
    let vpc = &find(&region.vpcs, &request.vpc_id)?.id;
    check_filters(&request.filters, FOR_VPC_FILTERS)?;
    let wanted = Selection {
        ids: &[],
        filters: &[],
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
    };
    let matching = region.groups.values().filter(|group| {
        group.is_in(vpc)
            && matches_all(region, *group, &group.id, FOR_VPC_FILTERS, &request.filters)
    });
    let (groups, next_token) = page(matching, |group| &group.id, &wanted)?;
    let item = |group: &SecurityGroup| GroupForVpc {
        group_id: group.id.clone(),
        group_name: group.name.clone(),
        description: group.description.clone(),
        owner_id: ACCOUNT,
        primary_vpc_id: group.vpc.clone(),
        tag_set: region.tag_items(&group.id),
    };
    let security_group_for_vpc_set = groups.into_iter().map(item).collect();
    Ok(GroupsForVpc { security_group_for_vpc_set, next_token })
}

/// DescribeSecurityGroupReferences.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeReferences {
    #[serde(default, rename = "GroupId")]
    ids: Vec<String>,
}

/// Answer of DescribeSecurityGroupReferences: references from peered VPCs, of which there are none.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReferenceSet {
    security_group_reference_set: Vec<()>,
}

pub(crate) fn references(
    cx: &mut Context<'_>,
    request: DescribeReferences,
) -> Result<ReferenceSet, Ec2Error> {
    if request.ids.is_empty() {
        return Err(Ec2Error::missing("GroupId"));
    }
    for id in &request.ids {
        check_id(id)?;
        find(&cx.region.groups, id)?;
    }
    Ok(ReferenceSet { security_group_reference_set: Vec::new() })
}

/// DescribeStaleSecurityGroups.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeStaleGroups {
    vpc_id: String,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// Answer of DescribeStaleSecurityGroups: groups whose rules refer to groups of peered VPCs that
/// are gone. There are no peered VPCs here.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StaleSet {
    stale_security_group_set: Vec<()>,
    next_token: Option<String>,
}

pub(crate) fn stale(
    cx: &mut Context<'_>,
    request: DescribeStaleGroups,
) -> Result<StaleSet, Ec2Error> {
    find(&cx.region.vpcs, &request.vpc_id)?;
    if let Some(n) = request.max_results.filter(|n| !(5..=255).contains(n)) {
        return Err(Ec2Error::value("maxResults", n, "Expecting a value from 5 to 255."));
    }
    if let Some(token) = request.next_token {
        let why = "It is not a token that this API gave out.";
        return Err(Ec2Error::value("nextToken", token, why));
    }
    Ok(StaleSet { stale_security_group_set: Vec::new(), next_token: None })
}
