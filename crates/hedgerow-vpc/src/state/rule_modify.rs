//! ModifySecurityGroupRules, and the actions that change descriptions only.

use hedgerow_core::sg::Direction;
use serde::Deserialize;

use super::group::{SecurityGroup, named};
use super::rule::{
    GroupPeer, Permission, WantedRule, check_description, group_peer, ipv4_peer, ipv6_peer,
    list_peer,
};
use super::rule_actions::{
    no_such_permission, over_quota, position_of, position_of_id, too_many_rules, wanted_all,
};
use super::rule_peer::RulePeer;
use super::rule_traffic;
use super::{Context, Region};
use crate::api::Done;
use crate::api::error::Ec2Error;

/// ModifySecurityGroupRules.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ModifySecurityGroupRules {
    group_id: String,
    #[serde(default, rename = "SecurityGroupRule")]
    updates: Vec<RuleUpdate>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RuleUpdate {
    security_group_rule_id: String,
    security_group_rule: Option<RuleRequest>,
}

/// What a rule shall say; all of it, not only what changes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RuleRequest {
    ip_protocol: Option<String>,
    from_port: Option<i32>,
    to_port: Option<i32>,
    cidr_ipv4: Option<String>,
    cidr_ipv6: Option<String>,
    prefix_list_id: Option<String>,
    referenced_group_id: Option<String>,
    description: Option<String>,
}

impl RuleRequest {
    fn wanted(&self, region: &Region, vpc: &str) -> Result<WantedRule, Ec2Error> {
        let traffic =
            rule_traffic::parse(self.ip_protocol.as_deref(), self.from_port, self.to_port)?;
        let peer = match (
            &self.cidr_ipv4,
            &self.cidr_ipv6,
            &self.prefix_list_id,
            &self.referenced_group_id,
        ) {
            (Some(cidr), None, None, None) => ipv4_peer(cidr)?,
            (None, Some(cidr), None, None) => ipv6_peer(cidr)?,
            (None, None, Some(id), None) => list_peer(region, id)?,
            (None, None, None, Some(id)) => {
                let peer = GroupPeer { group_id: Some(id.clone()), ..GroupPeer::default() };
                group_peer(region, vpc, &peer)?
            }
            (None, None, None, None) => {
                return Err(Ec2Error::missing(
                    "CidrIpv4, CidrIpv6, PrefixListId or ReferencedGroupId",
                ));
            }
            _ => {
                let message = "Only one of CidrIpv4, CidrIpv6, PrefixListId and \
                               ReferencedGroupId can be specified for a security group rule.";
                return Err(Ec2Error::new("InvalidParameterCombination", message));
            }
        };
        Ok(WantedRule { traffic, peer, description: check_description(&self.description)? })
    }
}

pub(crate) fn modify(
    cx: &mut Context<'_>,
    request: ModifySecurityGroupRules,
) -> Result<Done, Ec2Error> {
    let group = named(cx.region, Some(&request.group_id), None)?;
    if request.updates.is_empty() {
        return Err(Ec2Error::missing("SecurityGroupRule"));
    }
    let mut changed = group.clone();
    let mut seen = Vec::new();
    for update in &request.updates {
        let position = position_of_id(group, None, &update.security_group_rule_id)?;
        if seen.contains(&position) {
            let id = &update.security_group_rule_id;
            return Err(Ec2Error::value("securityGroupRuleId", id, "It is given twice."));
        }
        seen.push(position);
        let rule = update.security_group_rule.as_ref();
        let rule = rule.ok_or_else(|| Ec2Error::missing("SecurityGroupRule"))?;
        let wanted = rule.wanted(cx.region, &group.vpc)?;
        check_same_kind(&group.rules[position].peer, &wanted.peer)?;
        let record = &mut changed.rules[position];
        (record.traffic, record.peer, record.description) =
            (wanted.traffic, wanted.peer, wanted.description);
    }
    check_changed(cx, &changed)?;

    let id = group.id.clone();
    cx.region.groups.insert(id.clone(), changed);
    cx.effects.extend(cx.region.put_group(&id));
    Ok(Done::new())
}

/// A rule keeps its kind of source or destination: another kind is another rule.
fn check_same_kind(old: &RulePeer, new: &RulePeer) -> Result<(), Ec2Error> {
    if std::mem::discriminant(old) != std::mem::discriminant(new) {
        let message = format!(
            "The type of a rule's source or destination cannot be changed (from {old} to {new}): \
             revoke the rule and authorize another"
        );
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    Ok(())
}

/// Whether the group as it would be has no rule twice and not too many.
fn check_changed(cx: &Context<'_>, group: &SecurityGroup) -> Result<(), Ec2Error> {
    for (position, rule) in group.rules.iter().enumerate() {
        let wanted =
            WantedRule { traffic: rule.traffic, peer: rule.peer.clone(), description: None };
        if group.rules[..position].iter().any(|other| other.says(rule.direction, &wanted)) {
            return Err(wanted.duplicate());
        }
    }
    for direction in [Direction::Ingress, Direction::Egress] {
        let weights = group.rules(direction).map(|rule| rule.peer.weights(cx.region));
        if over_quota(cx.quotas, weights) {
            return Err(too_many_rules());
        }
    }
    Ok(())
}

/// UpdateSecurityGroupRuleDescriptionsIngress and …Egress.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UpdateDescriptions {
    group_id: Option<String>,
    group_name: Option<String>,
    #[serde(default)]
    ip_permissions: Vec<Permission>,
    #[serde(default, rename = "SecurityGroupRuleDescription")]
    descriptions: Vec<RuleDescription>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RuleDescription {
    security_group_rule_id: String,
    description: Option<String>,
}

pub(crate) fn update_ingress(
    cx: &mut Context<'_>,
    request: UpdateDescriptions,
) -> Result<Done, Ec2Error> {
    update(cx, request, Direction::Ingress)
}

pub(crate) fn update_egress(
    cx: &mut Context<'_>,
    request: UpdateDescriptions,
) -> Result<Done, Ec2Error> {
    update(cx, request, Direction::Egress)
}

fn update(
    cx: &mut Context<'_>,
    request: UpdateDescriptions,
    direction: Direction,
) -> Result<Done, Ec2Error> {
    let group = named(cx.region, request.group_id.as_deref(), request.group_name.as_deref())?;
    let mut updates = Vec::new();
    match (request.ip_permissions.is_empty(), request.descriptions.is_empty()) {
        (true, true) => {
            let message = "Either 'ipPermissions' or 'securityGroupRuleDescriptions' should be \
                           provided.";
            return Err(Ec2Error::new("MissingParameter", message));
        }
        (false, false) => {
            let message = "The parameters ipPermissions and securityGroupRuleDescriptions cannot \
                           be used together.";
            return Err(Ec2Error::new("InvalidParameterCombination", message));
        }
        _ => {}
    }
    for update in &request.descriptions {
        let position = position_of_id(group, Some(direction), &update.security_group_rule_id)?;
        updates.push((position, check_description(&update.description)?));
    }
    for rule in wanted_all(cx.region, &group.vpc, &request.ip_permissions)? {
        let position = position_of(group, direction, &rule).ok_or_else(no_such_permission)?;
        updates.push((position, rule.description));
    }
    let id = group.id.clone();
    let group = cx.region.groups.get_mut(&id).expect("found above");
    for (position, description) in updates {
        group.rules[position].description = description;
    }
    Ok(Done::new())
}
