//! Security groups; their rules are in [`super::rule`].

use std::collections::BTreeSet;

use hedgerow_core::sg::{self, Direction, Ipv4Prefix, Ipv6Prefix, Traffic};
use serde::{Deserialize, Serialize};

use super::region::{Resource, find};
use super::rule::{RuleRecord, plain_text};
use super::rule_peer::RulePeer;
use super::tags::{TagItem, TagMap, TagSpecification, requested};
use super::{ACCOUNT, Context, Region, quota, vpc};
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
    /// Other VPCs that it is associated with.
    #[serde(default)]
    pub(crate) shared: BTreeSet<String>,
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
        self.rules.iter().filter(move |rule| rule.direction == direction)
    }

    /// The group as the fabric needs it: prefix lists are their entries.
    pub(crate) fn view(&self, region: &Region) -> sg::Group {
        let rules = self.rules.iter().flat_map(|rule| rule.compile(region)).collect();
        sg::Group { id: self.id.as_str().into(), rules }
    }

    /// Whether a rule names `peer`.
    pub(crate) fn refers_to(&self, peer: &RulePeer) -> bool {
        self.rules.iter().any(|rule| rule.peer == *peer)
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
    check_text("GroupDescription", &description)?;
    check_text("GroupName", &name)?;
    check_name(&name)?;
    let vpc = vpc::named_or_default(cx.region, request.vpc_id.as_deref())?.id.clone();
    let same = |group: &&SecurityGroup| group.vpc == vpc && group.name.eq_ignore_ascii_case(&name);
    if cx.region.groups.values().any(|group| same(&group)) {
        let message = format!("The security group '{name}' already exists for VPC '{vpc}'");
        return Err(Ec2Error::new("InvalidGroup.Duplicate", message));
    }
    let tags = requested(&request.tag_specifications, &["security-group"], "security-group")?;
    let present = cx.region.groups.len();
    quota::room(present, cx.quotas.groups, "SecurityGroupLimitExceeded", "security groups")?;
    let id = make(cx, &vpc, name, description, tags);
    cx.effects.extend(cx.region.put_group(&id));
    Ok(CreatedGroup {
        r#return: true,
        security_group_arn: arn(cx.region, &id),
        tag_set: cx.region.tag_items(&id),
        group_id: id,
    })
}

/// Names and descriptions: 1 to 255 of the characters that EC2 lists (CreateSecurityGroup, EC2 API
/// Reference).
fn check_text(parameter: &str, text: &str) -> Result<(), Ec2Error> {
    let why = match text {
        "" => {
            let message = format!("The request must contain the parameter {parameter}");
            return Err(Ec2Error::new("MissingParameter", message));
        }
        text if plain_text(text) => return Ok(()),
        text if !text.is_ascii() => "Character sets beyond ASCII are not supported.",
        _ => {
            "Valid values are strings less than 256 characters from the following set:  \
             a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"
        }
    };
    Err(Ec2Error::value(parameter, text, why))
}

/// Names that groups are not given.
fn check_name(name: &str) -> Result<(), Ec2Error> {
    if name.starts_with("sg-") {
        let why = "Group names may not be in the format sg-*.";
        return Err(Ec2Error::value("GroupName", name, why));
    }
    if name.eq_ignore_ascii_case(DEFAULT) {
        let message = format!("Cannot use reserved security group name: {DEFAULT}");
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    Ok(())
}

pub(super) fn arn(region: &Region, id: &str) -> String {
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
    let all_egress = any(cx, Direction::Egress, RulePeer::V4(Ipv4Prefix::ANY));
    let mut rules = vec![all_egress];
    if !cx.region.vpcs[vpc].ipv6.is_empty() {
        rules.push(any(cx, Direction::Egress, RulePeer::V6(Ipv6Prefix::ANY)));
    }
    let group = SecurityGroup {
        id: id.clone(),
        vpc: vpc.to_owned(),
        name,
        description,
        rules,
        shared: BTreeSet::new(),
    };
    cx.region.set_tags(&id, tags);
    cx.region.groups.insert(id.clone(), group);
    id
}

fn any(cx: &mut Context<'_>, direction: Direction, peer: RulePeer) -> RuleRecord {
    let id = cx.mint.id("sgr");
    RuleRecord { id, direction, traffic: Traffic::All, peer, description: None }
}

/// Lets everything out in IPv6 too, from the groups of a VPC that let everything out in IPv4 and have
/// no other egress rule: what EC2 does where a VPC gets its first IPv6 block ("Security group rules",
/// VPC User Guide).
pub(crate) fn open_ipv6(cx: &mut Context<'_>, vpc: &str) {
    let is_untouched = |group: &SecurityGroup| {
        let mut egress = group.rules.iter().filter(|rule| rule.direction == Direction::Egress);
        let all = |rule: &RuleRecord| {
            rule.traffic == Traffic::All && rule.peer == RulePeer::V4(Ipv4Prefix::ANY)
        };
        egress.next().is_some_and(all) && egress.next().is_none()
    };
    let groups = cx.region.groups.values().filter(|group| group.vpc == vpc);
    let untouched = groups.filter(|group| is_untouched(group)).map(|group| group.id.clone());
    for id in untouched.collect::<Vec<_>>() {
        let rule = any(cx, Direction::Egress, RulePeer::V6(Ipv6Prefix::ANY));
        cx.region.groups.get_mut(&id).expect("found above").rules.push(rule);
        cx.effects.extend(cx.region.put_group(&id));
    }
}

/// Makes a VPC's default group, whose members reach each other; cannot fail.
pub(crate) fn make_default(cx: &mut Context<'_>, vpc: &str) {
    let description = "default VPC security group".to_owned();
    let id = make(cx, vpc, DEFAULT.to_owned(), description, TagMap::new());
    let members = any(cx, Direction::Ingress, RulePeer::Group(id.clone()));
    cx.region.groups.get_mut(&id).expect("just made").rules.push(members);
    cx.effects.extend(cx.region.put_group(&id));
}

pub(super) fn unknown_name(name: &str, vpc: &str) -> Ec2Error {
    let message = format!("The security group '{name}' does not exist in default VPC '{vpc}'");
    Ec2Error::new("InvalidGroup.NotFound", message)
}

/// Refuses what cannot be a group's id.
///
/// # Errors
/// `InvalidGroupId.Malformed`
pub(super) fn check_id(id: &str) -> Result<(), Ec2Error> {
    if !id.starts_with("sg-") {
        let message = format!("Invalid id: \"{id}\" (expecting \"sg-...\")");
        return Err(Ec2Error::new("InvalidGroupId.Malformed", message));
    }
    Ok(())
}

/// The group that a request names by id, or by name in the default VPC.
///
/// # Errors
/// `InvalidGroup.NotFound`, `InvalidGroupId.Malformed`; `MissingParameter` where neither is given.
pub(crate) fn named<'r>(
    region: &'r Region,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<&'r SecurityGroup, Ec2Error> {
    match (id, name) {
        (Some(id), _) => check_id(id).and_then(|()| find(&region.groups, id)),
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
    let peer = RulePeer::Group(id.clone());
    let in_use = region.interfaces.values().any(|interface| interface.groups.contains(&id))
        || region.groups.values().any(|other| other.id != id && other.refers_to(&peer))
        || !group.shared.is_empty();
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
    for rule in &group.rules {
        cx.region.tags.remove(&rule.id);
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
        if !group.is_in(vpc) {
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
