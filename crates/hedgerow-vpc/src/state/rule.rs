//! Security-group rules: the record, what requests say of them, what answers say of them.

use hedgerow_core::sg::{Direction, Rule, RuleId, Traffic};
use serde::{Deserialize, Serialize};

use super::group::{SecurityGroup, named};
use super::region::find;
use super::rule_peer::RulePeer;
use super::rule_traffic::{self, Words};
use super::tags::TagItem;
use super::{ACCOUNT, Region};
use crate::api::error::Ec2Error;

/// A rule of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RuleRecord {
    /// `sgr-…`.
    pub id: String,
    pub direction: Direction,
    pub traffic: Traffic,
    pub peer: RulePeer,
    /// For people.
    pub description: Option<String>,
}

impl RuleRecord {
    /// The rule as the fabric knows it: one core rule per peer, all of the record's id.
    pub fn compile(&self, region: &Region) -> Vec<Rule> {
        let traffic = self.traffic;
        let peers = self.peer.expand(region).into_iter();
        let rule =
            |peer| Rule { id: RuleId(self.id.clone()), direction: self.direction, traffic, peer };
        peers.map(rule).collect()
    }

    /// Whether the rule says what `wanted` says, descriptions aside.
    pub fn says(&self, direction: Direction, wanted: &WantedRule) -> bool {
        self.direction == direction && self.traffic == wanted.traffic && self.peer == wanted.peer
    }
}

/// A permission in requests: traffic and any number of peers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Permission {
    pub ip_protocol: Option<String>,
    pub from_port: Option<i32>,
    pub to_port: Option<i32>,
    #[serde(default)]
    pub groups: Vec<GroupPeer>,
    #[serde(default)]
    pub ip_ranges: Vec<RangePeer>,
    #[serde(default)]
    pub ipv6_ranges: Vec<Range6Peer>,
    #[serde(default)]
    pub prefix_list_ids: Vec<ListPeer>,
}

/// Another group as peer, in requests.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct GroupPeer {
    pub group_id: Option<String>,
    pub group_name: Option<String>,
    pub user_id: Option<String>,
    pub vpc_id: Option<String>,
    pub vpc_peering_connection_id: Option<String>,
    /// An answer's field that clients send back; says nothing in a request.
    #[serde(rename = "PeeringStatus")]
    pub _peering_status: Option<String>,
    pub description: Option<String>,
}

/// An IPv4 prefix as peer, in requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct RangePeer {
    pub cidr_ip: String,
    pub description: Option<String>,
}

/// An IPv6 prefix as peer, in requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Range6Peer {
    pub cidr_ipv6: String,
    pub description: Option<String>,
}

/// A prefix list as peer, in requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListPeer {
    pub prefix_list_id: String,
    pub description: Option<String>,
}

/// A rule that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WantedRule {
    pub traffic: Traffic,
    pub peer: RulePeer,
    pub description: Option<String>,
}

impl WantedRule {
    /// EC2's words for the rule in messages.
    pub fn describe(&self) -> String {
        let peer = &self.peer;
        let Words { protocol, from, to } = Words::of(self.traffic);
        if self.traffic == Traffic::All {
            return format!("peer: {peer}, ALL, ALLOW");
        }
        let protocol = protocol.to_ascii_uppercase();
        match (from, to) {
            (Some(from), Some(to)) => {
                format!("peer: {peer}, {protocol}, from port: {from}, to port: {to}, ALLOW")
            }
            _ => format!("peer: {peer}, {protocol}, ALLOW"),
        }
    }

    /// The error of a rule that its group has already.
    pub fn duplicate(&self) -> Ec2Error {
        let message = format!("the specified rule \"{}\" already exists", self.describe());
        Ec2Error::new("InvalidPermission.Duplicate", message)
    }
}

/// The rules that a permission asks for, one per peer.
///
/// # Errors
/// `InvalidParameterValue` for a protocol, port, prefix or description that cannot be,
/// `InvalidGroup.NotFound`, `InvalidPrefixListID.NotFound`, `MissingParameter`.
pub(crate) fn wanted(
    region: &Region,
    vpc: &str,
    permission: &Permission,
) -> Result<Vec<WantedRule>, Ec2Error> {
    let protocol = permission.ip_protocol.as_deref();
    let traffic = rule_traffic::parse(protocol, permission.from_port, permission.to_port)?;
    let mut rules = Vec::new();
    let mut add = |peer: RulePeer, description: &Option<String>| {
        let description = check_description(description)?;
        rules.push(WantedRule { traffic, peer, description });
        Ok::<_, Ec2Error>(())
    };
    for RangePeer { cidr_ip, description } in &permission.ip_ranges {
        add(ipv4_peer(cidr_ip)?, description)?;
    }
    for Range6Peer { cidr_ipv6, description } in &permission.ipv6_ranges {
        add(ipv6_peer(cidr_ipv6)?, description)?;
    }
    for ListPeer { prefix_list_id, description } in &permission.prefix_list_ids {
        add(list_peer(region, prefix_list_id)?, description)?;
    }
    for peer in &permission.groups {
        add(group_peer(region, vpc, peer)?, &peer.description)?;
    }
    if rules.is_empty() {
        return Err(Ec2Error::missing("ipPermissions.1.ipRanges or ipPermissions.1.groups"));
    }
    Ok(rules)
}

fn malformed(cidr: &str) -> Ec2Error {
    Ec2Error::new("InvalidParameterValue", format!("CIDR block {cidr} is malformed"))
}

/// The IPv4 prefix that a request writes.
pub(crate) fn ipv4_peer(cidr: &str) -> Result<RulePeer, Ec2Error> {
    cidr.parse().map(RulePeer::V4).map_err(|_| malformed(cidr))
}

/// The IPv6 prefix that a request writes.
pub(crate) fn ipv6_peer(cidr: &str) -> Result<RulePeer, Ec2Error> {
    cidr.parse().map(RulePeer::V6).map_err(|_| malformed(cidr))
}

/// The prefix list that a request names.
pub(crate) fn list_peer(region: &Region, id: &str) -> Result<RulePeer, Ec2Error> {
    super::prefix_list::named(region, id).map(|list| RulePeer::PrefixList(list.id.clone()))
}

/// The group that a rule of a group in `vpc` names as peer.
pub(crate) fn group_peer(
    region: &Region,
    vpc: &str,
    peer: &GroupPeer,
) -> Result<RulePeer, Ec2Error> {
    if let Some(id) = &peer.vpc_peering_connection_id {
        let message = format!("The vpcPeeringConnection ID '{id}' does not exist");
        return Err(Ec2Error::new("InvalidVpcPeeringConnectionID.NotFound", message));
    }
    let in_default = find(&region.vpcs, vpc).is_ok_and(|vpc| vpc.is_default);
    if let (None, Some(name), false) = (&peer.group_id, &peer.group_name, in_default) {
        let message = format!(
            "Invalid value '{name}' for groupName. You may not reference Amazon VPC security \
             groups by name. Please use the corresponding id for this operation."
        );
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    let group = named(region, peer.group_id.as_deref(), peer.group_name.as_deref())?;
    let foreign = peer.user_id.as_deref().is_some_and(|user| user != ACCOUNT)
        || peer.vpc_id.as_deref().is_some_and(|id| id != group.vpc);
    if foreign || group.vpc != vpc {
        let message = "You have specified two resources that belong to different networks.";
        return Err(Ec2Error::new("InvalidGroup.NotFound", message));
    }
    Ok(RulePeer::Group(group.id.clone()))
}

/// Whether EC2 takes the text in a group's name or description, or a rule's description.
pub(crate) fn plain_text(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    text.len() <= 255 && text.chars().all(fits)
}

/// A rule's description; an empty one is none.
pub(crate) fn check_description(text: &Option<String>) -> Result<Option<String>, Ec2Error> {
    match text.as_deref() {
        None | Some("") => Ok(None),
        Some(text) if plain_text(text) => Ok(Some(text.to_owned())),
        Some(_) => {
            let message = "Invalid rule description. Valid descriptions are strings less than 256 \
                           characters from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*";
            Err(Ec2Error::new("InvalidParameterValue", message))
        }
    }
}

/// A permission in answers: traffic and its peers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PermissionItem {
    ip_protocol: String,
    from_port: Option<i32>,
    to_port: Option<i32>,
    groups: Vec<GroupPeerItem>,
    ip_ranges: Vec<RangePeerItem>,
    ipv6_ranges: Vec<Range6PeerItem>,
    prefix_list_ids: Vec<ListPeerItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupPeerItem {
    user_id: &'static str,
    group_id: String,
    description: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RangePeerItem {
    cidr_ip: String,
    description: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Range6PeerItem {
    cidr_ipv6: String,
    description: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ListPeerItem {
    prefix_list_id: String,
    description: Option<String>,
}

impl PermissionItem {
    fn new(traffic: Traffic) -> Self {
        let Words { protocol, from, to } = Words::of(traffic);
        PermissionItem {
            ip_protocol: protocol,
            from_port: from,
            to_port: to,
            groups: Vec::new(),
            ip_ranges: Vec::new(),
            ipv6_ranges: Vec::new(),
            prefix_list_ids: Vec::new(),
        }
    }

    fn add(&mut self, peer: &RulePeer, description: Option<String>) {
        match peer {
            RulePeer::V4(prefix) => {
                self.ip_ranges.push(RangePeerItem { cidr_ip: prefix.to_string(), description });
            }
            RulePeer::V6(prefix) => {
                let cidr_ipv6 = prefix.to_string();
                self.ipv6_ranges.push(Range6PeerItem { cidr_ipv6, description });
            }
            RulePeer::Group(id) => {
                let group_id = id.clone();
                self.groups.push(GroupPeerItem { user_id: ACCOUNT, group_id, description });
            }
            RulePeer::PrefixList(id) => {
                let prefix_list_id = id.clone();
                self.prefix_list_ids.push(ListPeerItem { prefix_list_id, description });
            }
        }
    }
}

/// Rules as EC2 lists them: peers of equal traffic together.
pub(crate) fn permission_items<'r>(
    rules: impl IntoIterator<Item = (Traffic, &'r RulePeer, &'r Option<String>)>,
) -> Vec<PermissionItem> {
    let mut items: Vec<(Traffic, PermissionItem)> = Vec::new();
    for (traffic, peer, description) in rules {
        let position = items.iter().position(|(other, _)| *other == traffic);
        let position = position.unwrap_or_else(|| {
            items.push((traffic, PermissionItem::new(traffic)));
            items.len() - 1
        });
        items[position].1.add(peer, description.clone());
    }
    items.into_iter().map(|(_, item)| item).collect()
}

/// A rule in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RuleItem {
    pub security_group_rule_id: String,
    security_group_rule_arn: String,
    pub group_id: String,
    group_owner_id: &'static str,
    pub is_egress: bool,
    pub ip_protocol: String,
    pub from_port: i32,
    pub to_port: i32,
    pub cidr_ipv4: Option<String>,
    pub cidr_ipv6: Option<String>,
    pub prefix_list_id: Option<String>,
    referenced_group_info: Option<ReferencedGroup>,
    pub description: Option<String>,
    tag_set: Vec<TagItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReferencedGroup {
    group_id: String,
    user_id: &'static str,
    vpc_id: String,
}

/// A group's rule for an answer.
pub(crate) fn rule_item(region: &Region, group: &SecurityGroup, rule: &RuleRecord) -> RuleItem {
    let Words { protocol, from, to } = Words::of(rule.traffic);
    let mut item = RuleItem {
        security_group_rule_id: rule.id.clone(),
        security_group_rule_arn: format!(
            "arn:aws:ec2:{}:{ACCOUNT}:security-group-rule/{}",
            region.name, rule.id
        ),
        group_id: group.id.clone(),
        group_owner_id: ACCOUNT,
        is_egress: rule.direction == Direction::Egress,
        ip_protocol: protocol,
        from_port: from.unwrap_or(-1),
        to_port: to.unwrap_or(-1),
        cidr_ipv4: None,
        cidr_ipv6: None,
        prefix_list_id: None,
        referenced_group_info: None,
        description: rule.description.clone(),
        tag_set: region.tag_items(&rule.id),
    };
    match &rule.peer {
        RulePeer::V4(prefix) => item.cidr_ipv4 = Some(prefix.to_string()),
        RulePeer::V6(prefix) => item.cidr_ipv6 = Some(prefix.to_string()),
        RulePeer::PrefixList(id) => item.prefix_list_id = Some(id.clone()),
        RulePeer::Group(id) => {
            let (group_id, vpc_id) = (id.clone(), group.vpc.clone());
            item.referenced_group_info =
                Some(ReferencedGroup { group_id, user_id: ACCOUNT, vpc_id });
        }
    }
    item
}
