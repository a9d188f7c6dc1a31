//! Security groups; their rules are in [`super::rule`].

use std::collections::BTreeSet;

use hedgerow_core::sg::{self, Direction, Ipv4Prefix, Peer, Rule, Traffic};
use serde::{Deserialize, Serialize};

use super::region::{Resource, find};
use super::rule::{PermissionItem, permission_items};
use super::select::{Field, describe_request, select};
use super::tags::{TagItem, TagMap, TagSpecification, requested};
use super::{ACCOUNT, Context, Region, vpc};
use crate::api::error::Ec2Error;
use crate::effect::Effect;

/// Name of the group that every VPC has.
const DEFAULT: &str = "default";

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    pub(crate) id: String,
    pub(crate) vpc: String,
    pub(crate) name: String,
    pub(crate) description: String,
    /// Rules in the order they were made.
    pub(crate) rules: Vec<RuleRecord>,
}

/// A rule and what only people read of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RuleRecord {
    pub rule: Rule,
    pub description: Option<String>,
}

impl Resource for SecurityGroup {
    const NOT_FOUND: &'static str = "InvalidGroup.NotFound";
    const NOUN: &'static str = "security group";

    fn id(&self) -> &str {
        &self.id
    }
}

impl SecurityGroup {
    /// Whether this is the group that comes and goes with its VPC.
    pub(crate) fn is_default(&self) -> bool {
        self.name == DEFAULT
    }

    /// Rules of one direction.
    pub(crate) fn rules(&self, direction: Direction) -> impl Iterator<Item = &RuleRecord> {
        self.rules.iter().filter(move |record| record.rule.direction == direction)
    }

    /// The group as the fabric needs it.
    pub(crate) fn view(&self) -> sg::Group {
        let rules = self.rules.iter().map(|record| record.rule.clone()).collect();
        sg::Group { id: self.id.as_str().into(), rules }
    }
}

impl Region {
    /// The effect that tells the fabric of the group as it is now.
    pub(crate) fn put_group(&self, id: &str) -> Effect {
        let group = &self.groups[id];
        Effect::PutGroup { vpc: self.vpcs[&group.vpc].key, group: group.view() }
    }
}

/// CreateSecurityGroup.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateSecurityGroup {
    group_name: String,
    group_description: String,
    vpc_id: Option<String>,
    #[serde(default, rename = "TagSpecification")]
    tag_specifications: Vec<TagSpecification>,
}

/// Answer of CreateSecurityGroup.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedGroup {
    r#return: bool,
    group_id: String,
    security_group_arn: String,
    tag_set: Vec<TagItem>,
}

pub(crate) fn create(
    cx: &mut Context<'_>,
    request: CreateSecurityGroup,
) -> Result<CreatedGroup, Ec2Error> {
    let CreateSecurityGroup { group_name: name, group_description: description, .. } = request;
    check_text("groupName", &name)?;
    check_text("groupDescription", &description)?;
    if name.starts_with("sg-") {
        let why = "A group's name may not start with sg-.";
        return Err(Ec2Error::value("groupName", &name, why));
    }
    let vpc = vpc::named_or_default(cx.region, request.vpc_id.as_deref())?.id.clone();
    if cx.region.group_in(&vpc, &name).is_some() {
        let message = format!("The security group '{name}' already exists for VPC '{vpc}'");
        return Err(Ec2Error::new("InvalidGroup.Duplicate", message));
    }
    let tags = requested(&request.tag_specifications, &["security-group"], "security-group")?;
    let id = make(cx, &vpc, name, description, tags);
    cx.effects.push(cx.region.put_group(&id));
    Ok(CreatedGroup {
        r#return: true,
        security_group_arn: arn(cx.region, &id),
        tag_set: cx.region.tag_items(&id),
        group_id: id,
    })
}

/// Names and descriptions: 1 to 255 printable ASCII characters.
fn check_text(parameter: &str, text: &str) -> Result<(), Ec2Error> {
    let printable = text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    if text.is_empty() || text.len() > 255 || !printable {
        let why = "It must be 1 to 255 printable ASCII characters.";
        return Err(Ec2Error::value(parameter, text, why));
    }
    Ok(())
}

fn arn(region: &Region, id: &str) -> String {
    format!("arn:aws:ec2:{}:{ACCOUNT}:security-group/{id}", region.name)
}

/// Makes a group that lets everything out and nothing in; cannot fail.
fn make(
    cx: &mut Context<'_>,
    vpc: &str,
    name: String,
    description: String,
    tags: TagMap,
) -> String {
    let id = cx.mint.id("sg");
    let all_egress = any(cx, Direction::Egress, Peer::V4(Ipv4Prefix::ANY));
    let group = SecurityGroup {
        id: id.clone(),
        vpc: vpc.to_owned(),
        name,
        description,
        rules: vec![all_egress],
    };
    cx.region.set_tags(&id, tags);
    cx.region.groups.insert(id.clone(), group);
    id
}

fn any(cx: &mut Context<'_>, direction: Direction, peer: Peer) -> RuleRecord {
    let id = sg::RuleId(cx.mint.id("sgr"));
    RuleRecord { rule: Rule { id, direction, traffic: Traffic::All, peer }, description: None }
}

/// Makes a VPC's default group, whose members reach each other; cannot fail.
pub(crate) fn make_default(cx: &mut Context<'_>, vpc: &str) {
    let description = "default VPC security group".to_owned();
    let id = make(cx, vpc, DEFAULT.to_owned(), description, TagMap::new());
    let members = any(cx, Direction::Ingress, Peer::Group(id.as_str().into()));
    cx.region.groups.get_mut(&id).expect("just made").rules.push(members);
    cx.effects.push(cx.region.put_group(&id));
}

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

macro_rules! rule_fields {
    ($direction:expr, $read:expr) => {
        |_, group| {
            let read: fn(&PermissionItem) -> Vec<String> = $read;
            permission_items(group, $direction).iter().flat_map(read).collect()
        }
    };
}

const FILTERS: &[Field<SecurityGroup>] = &[
    ("group-id", |_, g| vec![g.id.clone()]),
    ("group-name", |_, g| vec![g.name.clone()]),
    ("description", |_, g| vec![g.description.clone()]),
    ("vpc-id", |_, g| vec![g.vpc.clone()]),
    ("owner-id", |_, _| vec![ACCOUNT.into()]),
    ("ip-permission.cidr", rule_fields!(Direction::Ingress, PermissionItem::cidrs)),
    ("ip-permission.from-port", rule_fields!(Direction::Ingress, PermissionItem::first_port)),
    ("ip-permission.to-port", rule_fields!(Direction::Ingress, PermissionItem::last_port)),
    ("ip-permission.protocol", rule_fields!(Direction::Ingress, PermissionItem::protocol)),
    ("ip-permission.group-id", rule_fields!(Direction::Ingress, PermissionItem::group_ids)),
    ("egress.ip-permission.cidr", rule_fields!(Direction::Egress, PermissionItem::cidrs)),
    ("egress.ip-permission.from-port", rule_fields!(Direction::Egress, PermissionItem::first_port)),
    ("egress.ip-permission.to-port", rule_fields!(Direction::Egress, PermissionItem::last_port)),
    ("egress.ip-permission.protocol", rule_fields!(Direction::Egress, PermissionItem::protocol)),
    ("egress.ip-permission.group-id", rule_fields!(Direction::Egress, PermissionItem::group_ids)),
];

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeSecurityGroups,
) -> Result<GroupSet, Ec2Error> {
    let region = &*cx.region;
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

fn unknown_name(name: &str, vpc: &str) -> Ec2Error {
    let message = format!("The security group '{name}' does not exist in VPC '{vpc}'");
    Ec2Error::new("InvalidGroup.NotFound", message)
}

fn group_item(region: &Region, group: &SecurityGroup) -> GroupItem {
    GroupItem {
        group_id: group.id.clone(),
        group_name: group.name.clone(),
        group_description: group.description.clone(),
        owner_id: ACCOUNT,
        vpc_id: group.vpc.clone(),
        security_group_arn: arn(region, &group.id),
        ip_permissions: permission_items(group, Direction::Ingress),
        ip_permissions_egress: permission_items(group, Direction::Egress),
        tag_set: region.tag_items(&group.id),
    }
}

/// The group that a request names by id, or by name in the default VPC.
///
/// # Errors
/// `InvalidGroup.NotFound`; `MissingParameter` where neither is given.
pub(crate) fn named<'r>(
    region: &'r Region,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<&'r SecurityGroup, Ec2Error> {
    match (id, name) {
        (Some(id), _) => find(&region.groups, id),
        (None, Some(name)) => {
            let vpc = vpc::named_or_default(region, None)?;
            region.group_in(&vpc.id, name).ok_or_else(|| unknown_name(name, &vpc.id))
        }
        (None, None) => {
            let message = "The request must contain the parameter groupName or groupId";
            Err(Ec2Error::new("MissingParameter", message))
        }
    }
}

/// DeleteSecurityGroup.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteSecurityGroup {
    group_id: Option<String>,
    group_name: Option<String>,
}

/// Answer of DeleteSecurityGroup.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeletedGroup {
    r#return: bool,
    group_id: String,
}

pub(crate) fn delete(
    cx: &mut Context<'_>,
    request: DeleteSecurityGroup,
) -> Result<DeletedGroup, Ec2Error> {
    let region = &*cx.region;
    let group = named(region, request.group_id.as_deref(), request.group_name.as_deref())?;
    let id = group.id.clone();
    if group.is_default() {
        let message = format!(
            "the specified group: \"{id}\" name: \"{DEFAULT}\" cannot be deleted by a user"
        );
        return Err(Ec2Error::new("CannotDelete", message));
    }
    let peer = Peer::Group(id.as_str().into());
    let in_use = region.interfaces.values().any(|interface| interface.groups.contains(&id))
        || region
            .groups
            .values()
            .filter(|other| other.id != id)
            .any(|other| other.rules.iter().any(|record| record.rule.peer == peer));
    if in_use {
        let message = format!("resource {id} has a dependent object");
        return Err(Ec2Error::new("DependencyViolation", message));
    }
    remove(cx, &id);
    Ok(DeletedGroup { r#return: true, group_id: id })
}

/// Removes a group that nothing refers to.
pub(crate) fn remove(cx: &mut Context<'_>, id: &str) {
    let Some(group) = cx.region.groups.remove(id) else { return };
    for record in &group.rules {
        cx.region.tags.remove(&record.rule.id.0);
    }
    cx.region.tags.remove(id);
    let vpc = cx.region.vpcs[&group.vpc].key;
    cx.effects.push(Effect::RemoveGroup { vpc, group: id.into() });
}

/// Checks that `ids` are groups of `vpc`, without repetitions and not too many.
///
/// # Errors
/// `not_found(id)` for an unknown one, `InvalidParameter` for one of another VPC,
/// `SecurityGroupsPerInterfaceLimitExceeded`.
pub(crate) fn check_on_interface(
    region: &Region,
    vpc: &str,
    ids: &[String],
    limit: usize,
    not_found: impl Fn(&str) -> Ec2Error,
) -> Result<Vec<String>, Ec2Error> {
    let mut seen = BTreeSet::new();
    let mut groups = Vec::new();
    for id in ids {
        let group = region.groups.get(id).ok_or_else(|| not_found(id))?;
        if group.vpc != vpc {
            let message =
                format!("Security group {id} and VPC {vpc} belong to different networks.");
            return Err(Ec2Error::new("InvalidParameter", message));
        }
        if seen.insert(id) {
            groups.push(id.clone());
        }
    }
    if groups.len() > limit {
        let message = "You have exceeded the maximum number of security groups allowed per \
                       network interface.";
        return Err(Ec2Error::new("SecurityGroupsPerInterfaceLimitExceeded", message));
    }
    if groups.is_empty() {
        groups.push(region.default_group(vpc).id.clone());
    }
    Ok(groups)
}
