//! Authorize, revoke and describe security-group rules.

use std::collections::BTreeMap;

use hedgerow_core::sg::{Direction, Peer, Rule, RuleId};
use serde::{Deserialize, Serialize};

use super::group::{RuleRecord, SecurityGroup, named};
use super::region::{Resource, not_found};
use super::rule::{GroupPeer, Permission, RangePeer, RuleItem, WantedRule, rule_item, wanted};
use super::select::{Field, describe_request, select};
use super::tags::{TagSpecification, requested};
use super::{Context, Region};
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
        let mut rules = Vec::new();
        for permission in self.permissions() {
            rules.extend(wanted(region, vpc, &permission)?);
        }
        Ok(rules)
    }
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
    for (position, rule) in new.iter().enumerate() {
        let same =
            |other: &WantedRule| (&other.traffic, &other.peer) == (&rule.traffic, &rule.peer);
        if position_of(group, direction, rule).is_some() || new[..position].iter().any(same) {
            let message = format!("the specified rule \"{}\" already exists", rule.describe());
            return Err(Ec2Error::new("InvalidPermission.Duplicate", message));
        }
    }
    if group.rules(direction).count() + new.len() > cx.quotas.rules_per_group {
        let message = "The maximum number of rules per security group has been reached.";
        return Err(Ec2Error::new("RulesPerSecurityGroupLimitExceeded", message));
    }
    let kind = "security-group-rule";
    let tags = requested(&request.tag_specifications, &[kind], kind)?;

    let id = group.id.clone();
    let first = group.rules.len();
    for WantedRule { traffic, peer, description } in new {
        let rule_id = RuleId(cx.mint.id("sgr"));
        cx.region.set_tags(&rule_id.0, tags.clone());
        let rule = Rule { id: rule_id, direction, traffic, peer };
        let group = cx.region.groups.get_mut(&id).expect("found above");
        group.rules.push(RuleRecord { rule, description });
    }
    cx.effects.push(cx.region.put_group(&id));
    let group = &cx.region.groups[&id];
    let items = group.rules[first..].iter().map(|record| rule_item(cx.region, group, record));
    Ok(Authorized { r#return: true, security_group_rule_set: items.collect() })
}

/// Where in the group's rules one of this traffic and peer is.
fn position_of(group: &SecurityGroup, direction: Direction, wanted: &WantedRule) -> Option<usize> {
    group.rules.iter().position(|RuleRecord { rule, .. }| {
        (rule.direction, &rule.traffic, &rule.peer) == (direction, &wanted.traffic, &wanted.peer)
    })
}

/// Answer of the Revoke actions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Revoked {
    r#return: bool,
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

fn revoke(
    cx: &mut Context<'_>,
    request: ChangeRules,
    direction: Direction,
) -> Result<Revoked, Ec2Error> {
    let group = request.group(cx.region)?;
    let mut positions = Vec::new();
    for id in &request.rule_ids {
        let position = group
            .rules(direction)
            .position(|record| record.rule.id.0 == *id)
            .and_then(|_| group.rules.iter().position(|record| record.rule.id.0 == *id))
            .ok_or_else(|| not_found::<RuleEntry>(id))?;
        positions.push(position);
    }
    for rule in request.wanted(cx.region, &group.vpc)? {
        let position = position_of(group, direction, &rule).ok_or_else(|| {
            let message = "The specified rule does not exist in this security group.";
            Ec2Error::new("InvalidPermission.NotFound", message)
        })?;
        positions.push(position);
    }
    if positions.is_empty() {
        let message = "Either 'ipPermissions' or 'securityGroupRuleIds' should be provided.";
        return Err(Ec2Error::new("MissingParameter", message));
    }
    positions.sort_unstable();
    positions.dedup();

    let id = group.id.clone();
    let revoked = positions.iter().map(|at| revoked_rule(cx.region, group, *at)).collect();
    for position in positions.into_iter().rev() {
        let group = cx.region.groups.get_mut(&id).expect("found above");
        let record = group.rules.remove(position);
        cx.region.tags.remove(&record.rule.id.0);
    }
    cx.effects.push(cx.region.put_group(&id));
    Ok(Revoked { r#return: true, revoked_security_group_rule_set: revoked })
}

fn revoked_rule(region: &Region, group: &SecurityGroup, position: usize) -> RevokedRule {
    let record = &group.rules[position];
    let item = rule_item(region, group, record);
    RevokedRule {
        referenced_group_id: match &record.rule.peer {
            Peer::Group(peer) => Some(peer.0.clone()),
            Peer::V4(_) => None,
        },
        security_group_rule_id: item.security_group_rule_id,
        group_id: item.group_id,
        is_egress: item.is_egress,
        ip_protocol: item.ip_protocol,
        from_port: item.from_port,
        to_port: item.to_port,
        cidr_ipv4: item.cidr_ipv4,
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
            .flat_map(|group| group.rules.iter().map(move |record| (group, record)))
            .find(|(_, record)| record.rule.id.0 == id)
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
    let mut entries = BTreeMap::new();
    for group in region.groups.values() {
        for record in &group.rules {
            let id = record.rule.id.0.clone();
            entries.insert(id.clone(), RuleEntry { id, group: group.id.clone() });
        }
    }
    let (rules, next_token) = select(region, &entries, FILTERS, &request.selection())?;
    let items = rules.into_iter().map(|entry| {
        let group = &region.groups[&entry.group];
        let record = group.rules.iter().find(|record| record.rule.id.0 == entry.id);
        rule_item(region, group, record.expect("listed from this group"))
    });
    Ok(RuleSet { security_group_rule_set: items.collect(), next_token })
}
