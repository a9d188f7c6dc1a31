//! Authorize, revoke and describe security-group rules.

use std::collections::BTreeMap;

use hedgerow_core::sg::Direction;
use serde::{Deserialize, Serialize};

use super::group::{SecurityGroup, named};
use super::region::{Resource, not_found};
use super::rule::{
    GroupPeer, Permission, PermissionItem, RangePeer, RuleItem, RuleRecord, WantedRule,
    permission_items, rule_item, wanted,
};
use super::rule_peer::RulePeer;
use super::select::{Field, describe_request, select};
use super::tags::{TagSpecification, requested};
use super::{Context, Quotas, Region};
use crate::api::error::Ec2Error;

/// The four Authorize and Revoke actions: a group and permissions, in the list form or (one rule)
/// in the flat form.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ChangeRules {
    group_id: Option<String>,
    group_name: Option<String>,
    #[serde(default)]
    ip_permissions: Vec<Permission>,
    #[serde(default, rename = "SecurityGroupRuleId")]
    rule_ids: Vec<String>,
    ip_protocol: Option<String>,
    from_port: Option<i32>,
    to_port: Option<i32>,
    cidr_ip: Option<String>,
    source_security_group_name: Option<String>,
    source_security_group_owner_id: Option<String>,
    #[serde(default, rename = "TagSpecification")]
    tag_specifications: Vec<TagSpecification>,
}

impl ChangeRules {
    fn group<'r>(&self, region: &'r Region) -> Result<&'r SecurityGroup, Ec2Error> {
        named(region, self.group_id.as_deref(), self.group_name.as_deref())
    }

    fn permissions(&self) -> Vec<Permission> {
        let mut all = self.ip_permissions.clone();
        if self.ip_protocol.is_some()
            || self.cidr_ip.is_some()
            || self.source_security_group_name.is_some()
        {
            let range = |cidr: &String| RangePeer { cidr_ip: cidr.clone(), description: None };
            let group = |name: &String| GroupPeer {
                group_name: Some(name.clone()),
                user_id: self.source_security_group_owner_id.clone(),
                ..GroupPeer::default()
            };
            // A source group alone means all of its traffic.
            let all_traffic = self.source_security_group_name.is_some().then(|| "-1".to_owned());
            all.push(Permission {
                ip_protocol: self.ip_protocol.clone().or(all_traffic),
                from_port: self.from_port,
                to_port: self.to_port,
                ip_ranges: self.cidr_ip.iter().map(range).collect(),
                groups: self.source_security_group_name.iter().map(group).collect(),
                ..Permission::default()
            });
        }
        all
    }

    fn wanted(&self, region: &Region, vpc: &str) -> Result<Vec<WantedRule>, Ec2Error> {
        wanted_all(region, vpc, &self.permissions())
    }
}

/// The rules that permissions ask for.
///
/// # Errors
/// Those of [`wanted`]; `InvalidParameterValue` where two of the rules say the same.
pub(crate) fn wanted_all(
    region: &Region,
    vpc: &str,
    permissions: &[Permission],
) -> Result<Vec<WantedRule>, Ec2Error> {
    let mut rules: Vec<WantedRule> = Vec::new();
    for permission in permissions {
        for rule in wanted(region, vpc, permission)? {
            if rules.iter().any(|r| r.traffic == rule.traffic && r.peer == rule.peer) {
                let message = "The same permission must not appear multiple times";
                return Err(Ec2Error::new("InvalidParameterValue", message));
            }
            rules.push(rule);
        }
    }
    Ok(rules)
}

/// Whether rules of one direction are too many for one group, by their [`RulePeer::weights`].
pub(crate) fn over_quota(quotas: &Quotas, weights: impl Iterator<Item = (usize, usize)>) -> bool {
    let (v4, v6) = weights.fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1));
    v4.max(v6) > quotas.rules_per_group
}

/// The error of a group with too many rules in one direction.
pub(crate) fn too_many_rules() -> Ec2Error {
    let message = "The maximum number of rules per security group has been reached.";
    Ec2Error::new("RulesPerSecurityGroupLimitExceeded", message)
}

/// Answer of the Authorize actions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Authorized {
    r#return: bool,
    security_group_rule_set: Vec<RuleItem>,
}

pub(crate) fn authorize_ingress(
    cx: &mut Context<'_>,
    request: ChangeRules,
) -> Result<Authorized, Ec2Error> {
    authorize(cx, request, Direction::Ingress)
}

pub(crate) fn authorize_egress(
    cx: &mut Context<'_>,
    request: ChangeRules,
) -> Result<Authorized, Ec2Error> {
    authorize(cx, request, Direction::Egress)
}

fn authorize(
    cx: &mut Context<'_>,
    request: ChangeRules,
    direction: Direction,
) -> Result<Authorized, Ec2Error> {
    if let Some(id) = request.rule_ids.first() {
        let why = "Rules are authorized by what they say, not by id.";
        return Err(Ec2Error::value("securityGroupRuleId", id, why));
    }
    let group = request.group(cx.region)?;
    let new = request.wanted(cx.region, &group.vpc)?;
    if new.is_empty() {
        return Err(Ec2Error::missing("ipPermissions"));
    }
    if let Some(rule) = new.iter().find(|r| position_of(group, direction, r).is_some()) {
        return Err(rule.duplicate());
    }
    let present = group.rules(direction).map(|rule| &rule.peer);
    let peers = present.chain(new.iter().map(|rule| &rule.peer));
    if over_quota(cx.quotas, peers.map(|peer| peer.weights(cx.region))) {
        return Err(too_many_rules());
    }
    let kind = "security-group-rule";
    let tags = requested(&request.tag_specifications, &[kind], kind)?;

    let id = group.id.clone();
    let first = group.rules.len();
    for WantedRule { traffic, peer, description } in new {
        let rule_id = cx.mint.id("sgr");
        cx.region.set_tags(&rule_id, tags.clone());
        let group = cx.region.groups.get_mut(&id).expect("found above");
        group.rules.push(RuleRecord { id: rule_id, direction, traffic, peer, description });
    }
    cx.effects.extend(cx.region.put_group(&id));
    let group = &cx.region.groups[&id];
    let items = group.rules[first..].iter().map(|rule| rule_item(cx.region, group, rule));
    Ok(Authorized { r#return: true, security_group_rule_set: items.collect() })
}

/// Where in the group's rules one of this traffic and peer is.
pub(crate) fn position_of(
    group: &SecurityGroup,
    direction: Direction,
    wanted: &WantedRule,
) -> Option<usize> {
    group.rules.iter().position(|rule| rule.says(direction, wanted))
}

/// Where in the group's rules the one with this id is.
///
/// # Errors
/// `InvalidSecurityGroupRuleId.NotFound`, also where the rule is of the other direction;
/// `InvalidSecurityGroupRuleId.Malformed`
pub(crate) fn position_of_id(
    group: &SecurityGroup,
    direction: Option<Direction>,
    id: &str,
) -> Result<usize, Ec2Error> {
    check_id(id)?;
    let fits = |rule: &RuleRecord| rule.id == id && direction.is_none_or(|d| d == rule.direction);
    group.rules.iter().position(fits).ok_or_else(|| not_found::<RuleEntry>(id))
}

fn check_id(id: &str) -> Result<(), Ec2Error> {
    if !id.starts_with("sgr-") {
        let message = format!("Invalid id: \"{id}\" (expecting \"sgr-...\")");
        return Err(Ec2Error::new("InvalidSecurityGroupRuleId.Malformed", message));
    }
    Ok(())
}

/// The error of a rule that its group does not have.
pub(crate) fn no_such_permission() -> Ec2Error {
    let message = "The specified rule does not exist in this security group.";
    Ec2Error::new("InvalidPermission.NotFound", message)
}

/// Answer of the Revoke actions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Revoked {
    r#return: bool,
    unknown_ip_permission_set: Vec<PermissionItem>,
    revoked_security_group_rule_set: Vec<RevokedRule>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RevokedRule {
    security_group_rule_id: String,
    group_id: String,
    is_egress: bool,
    ip_protocol: String,
    from_port: i32,
    to_port: i32,
    cidr_ipv4: Option<String>,
    cidr_ipv6: Option<String>,
    prefix_list_id: Option<String>,
    referenced_group_id: Option<String>,
    description: Option<String>,
}

pub(crate) fn revoke_ingress(
    cx: &mut Context<'_>,
    request: ChangeRules,
) -> Result<Revoked, Ec2Error> {
    revoke(cx, request, Direction::Ingress)
}

pub(crate) fn revoke_egress(
    cx: &mut Context<'_>,
    request: ChangeRules,
) -> Result<Revoked, Ec2Error> {
    revoke(cx, request, Direction::Egress)
}

/// In the default VPC a rule that is not there is listed in the answer, elsewhere it is an error
/// (RevokeSecurityGroupIngress, EC2 API Reference).
fn revoke(
    cx: &mut Context<'_>,
    request: ChangeRules,
    direction: Direction,
) -> Result<Revoked, Ec2Error> {
    let group = request.group(cx.region)?;
    let forgiving = cx.region.vpcs.get(&group.vpc).is_some_and(|vpc| vpc.is_default);
    let mut positions = Vec::new();
    let mut unknown = Vec::new();
    for id in &request.rule_ids {
        positions.push(position_of_id(group, Some(direction), id)?);
    }
    for rule in request.wanted(cx.region, &group.vpc)? {
        match position_of(group, direction, &rule) {
            Some(position) => positions.push(position),
            None if forgiving => unknown.push(rule),
            None => return Err(no_such_permission()),
        }
    }
    if positions.is_empty() && unknown.is_empty() {
        let message = "Either 'ipPermissions' or 'securityGroupRuleIds' should be provided.";
        return Err(Ec2Error::new("MissingParameter", message));
    }
    positions.sort_unstable();
    positions.dedup();

    let id = group.id.clone();
    let item = |at: &usize| revoked_rule(cx.region, group, &group.rules[*at]);
    let revoked: Vec<RevokedRule> = positions.iter().map(item).collect();
    for position in positions.into_iter().rev() {
        let group = cx.region.groups.get_mut(&id).expect("found above");
        let rule = group.rules.remove(position);
        cx.region.tags.remove(&rule.id);
    }
    if !revoked.is_empty() {
        cx.effects.extend(cx.region.put_group(&id));
    }
    let unknown = unknown.iter().map(|rule| (rule.traffic, &rule.peer, &rule.description));
    Ok(Revoked {
        r#return: true,
        unknown_ip_permission_set: permission_items(unknown),
        revoked_security_group_rule_set: revoked,
    })
}

fn revoked_rule(region: &Region, group: &SecurityGroup, rule: &RuleRecord) -> RevokedRule {
    let item = rule_item(region, group, rule);
    RevokedRule {
        referenced_group_id: match &rule.peer {
            RulePeer::Group(peer) => Some(peer.clone()),
            _ => None,
        },
        security_group_rule_id: item.security_group_rule_id,
        group_id: item.group_id,
        is_egress: item.is_egress,
        ip_protocol: item.ip_protocol,
        from_port: item.from_port,
        to_port: item.to_port,
        cidr_ipv4: item.cidr_ipv4,
        cidr_ipv6: item.cidr_ipv6,
        prefix_list_id: item.prefix_list_id,
        description: item.description,
    }
}

/// A rule with the group it is in; made for one answer.
pub(crate) struct RuleEntry {
    id: String,
    group: String,
}

impl Resource for RuleEntry {
    const NOT_FOUND: &'static str = "InvalidSecurityGroupRuleId.NotFound";
    const NOUN: &'static str = "security group rule ID";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Region {
    /// The group that has the rule, and the rule.
    ///
    /// # Errors
    /// `InvalidSecurityGroupRuleId.NotFound`
    pub(crate) fn rule(&self, id: &str) -> Result<(&SecurityGroup, &RuleRecord), Ec2Error> {
        self.groups
            .values()
            .flat_map(|group| group.rules.iter().map(move |rule| (group, rule)))
            .find(|(_, rule)| rule.id == id)
            .ok_or_else(|| not_found::<RuleEntry>(id))
    }
}

describe_request!(DescribeSecurityGroupRules, "SecurityGroupRuleId");

/// Answer of DescribeSecurityGroupRules.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RuleSet {
    security_group_rule_set: Vec<RuleItem>,
    next_token: Option<String>,
}

const FILTERS: &[Field<RuleEntry>] = &[
    ("security-group-rule-id", |_, r| vec![r.id.clone()]),
    ("group-id", |_, r| vec![r.group.clone()]),
];

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeSecurityGroupRules,
) -> Result<RuleSet, Ec2Error> {
    let region = &*cx.region;
    request.ids.iter().try_for_each(|id| check_id(id))?;
    let mut entries = BTreeMap::new();
    for group in region.groups.values() {
        for rule in &group.rules {
            let id = rule.id.clone();
            entries.insert(id.clone(), RuleEntry { id, group: group.id.clone() });
        }
    }
    let (rules, next_token) = select(region, &entries, FILTERS, &request.selection())?;
    let items = rules.into_iter().map(|entry| {
        let group = &region.groups[&entry.group];
        let rule = group.rules.iter().find(|rule| rule.id == entry.id);
        rule_item(region, group, rule.expect("listed from this group"))
    });
    Ok(RuleSet { security_group_rule_set: items.collect(), next_token })
}
