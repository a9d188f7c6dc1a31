//! Security-group rules between EC2's words and [`hedgerow_core::sg`]'s types.

use hedgerow_core::sg::{Direction, GroupId, Ipv4Prefix, Peer, Traffic};
use serde::{Deserialize, Serialize};

use super::group::{RuleRecord, SecurityGroup, named};
use super::tags::TagItem;
use super::{ACCOUNT, Region};
use crate::api::error::Ec2Error;

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
    pub ipv6_ranges: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    pub prefix_list_ids: Vec<serde::de::IgnoredAny>,
}

/// Another group as peer, in requests.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct GroupPeer {
    pub group_id: Option<String>,
    pub group_name: Option<String>,
    pub user_id: Option<String>,
    pub vpc_id: Option<String>,
    pub description: Option<String>,
}

/// A prefix as peer, in requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct RangePeer {
    pub cidr_ip: String,
    pub description: Option<String>,
}

/// A rule that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WantedRule {
    pub traffic: Traffic,
    pub peer: Peer,
    pub description: Option<String>,
}

impl WantedRule {
    /// EC2's words for the rule in messages.
    pub fn describe(&self) -> String {
        let peer = match &self.peer {
            Peer::V4(prefix) => prefix.to_string(),
            Peer::Group(group) => group.to_string(),
        };
        let words = Words::of(self.traffic);
        if self.traffic == Traffic::All {
            return format!("peer: {peer}, ALL, ALLOW");
        }
        let protocol = words.protocol.to_ascii_uppercase();
        match (words.from, words.to) {
            (Some(from), Some(to)) => {
                format!("peer: {peer}, {protocol}, from port: {from}, to port: {to}, ALLOW")
            }
            _ => format!("peer: {peer}, {protocol}, ALLOW"),
        }
    }
}

/// The rules that a permission asks for, one per peer.
///
/// # Errors
/// `InvalidParameterValue` for a protocol, port or prefix that cannot be, `InvalidGroup.NotFound`,
/// `MissingParameter`, `UnsupportedOperation` for IPv6 ranges and prefix lists.
pub(crate) fn wanted(
    region: &Region,
    vpc: &str,
    permission: &Permission,
) -> Result<Vec<WantedRule>, Ec2Error> {
    if !permission.ipv6_ranges.is_empty() || !permission.prefix_list_ids.is_empty() {
        let message = "Rules here have IPv4 prefixes and security groups as peers, not IPv6 \
                       prefixes or prefix lists.";
        return Err(Ec2Error::new("UnsupportedOperation", message));
    }
    let traffic = traffic(permission)?;
    let mut rules = Vec::new();
    for RangePeer { cidr_ip, description } in &permission.ip_ranges {
        let prefix: Ipv4Prefix = cidr_ip.parse().map_err(|_| {
            let message = format!("CIDR block {cidr_ip} is malformed");
            Ec2Error::new("InvalidParameterValue", message)
        })?;
        let description = check_description(description)?;
        rules.push(WantedRule { traffic, peer: Peer::V4(prefix), description });
    }
    for peer in &permission.groups {
        let group = named(region, peer.group_id.as_deref(), peer.group_name.as_deref())?;
        let foreign = peer.user_id.as_deref().is_some_and(|user| user != ACCOUNT)
            || peer.vpc_id.as_deref().is_some_and(|id| id != group.vpc);
        if foreign || group.vpc != vpc {
            let message = "You have specified two resources that belong to different networks.";
            return Err(Ec2Error::new("InvalidGroup.NotFound", message));
        }
        let description = check_description(&peer.description)?;
        let peer = Peer::Group(group.id.as_str().into());
        rules.push(WantedRule { traffic, peer, description });
    }
    if rules.is_empty() {
        return Err(Ec2Error::missing("ipPermissions.1.ipRanges or ipPermissions.1.groups"));
    }
    Ok(rules)
}

fn check_description(text: &Option<String>) -> Result<Option<String>, Ec2Error> {
    if let Some(text) = text.as_ref().filter(|text| text.chars().count() > 255) {
        let why = "A rule's description has at most 255 characters.";
        return Err(Ec2Error::value("description", text, why));
    }
    Ok(text.clone().filter(|text| !text.is_empty()))
}

fn traffic(permission: &Permission) -> Result<Traffic, Ec2Error> {
    let protocol = permission.ip_protocol.as_deref();
    let protocol = protocol.ok_or_else(|| Ec2Error::missing("ipProtocol"))?.to_ascii_lowercase();
    let (from, to) = (permission.from_port, permission.to_port);
    match protocol.as_str() {
        "-1" | "all" => Ok(Traffic::All),
        "tcp" | "6" => ports(from, to).map(|(from, to)| Traffic::Tcp { from, to }),
        "udp" | "17" => ports(from, to).map(|(from, to)| Traffic::Udp { from, to }),
        "icmp" | "1" => icmp(from.unwrap_or(-1), to.unwrap_or(-1)),
        "icmpv6" => Ok(Traffic::Other(58)),
        other => other.parse().map(Traffic::Other).map_err(|_| {
            let message = format!("Invalid value '{other}' for IP protocol. Unknown protocol.");
            Ec2Error::new("InvalidParameterValue", message)
        }),
    }
}

fn ports(from: Option<i32>, to: Option<i32>) -> Result<(u16, u16), Ec2Error> {
    let refuse = |message: String| Err(Ec2Error::new("InvalidParameterValue", message));
    let (Some(from), Some(to)) = (from, to) else {
        return refuse(
            "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange."
                .into(),
        );
    };
    match (u16::try_from(from), u16::try_from(to)) {
        (Ok(from), Ok(to)) if from <= to => Ok((from, to)),
        (Ok(_), Ok(_)) => refuse(format!(
            "Invalid TCP/UDP port range ({from}:{to}): the first port is above the last"
        )),
        (Err(_), _) => refuse(format!("TCP/UDP port ({from}) out of range")),
        (_, Err(_)) => refuse(format!("TCP/UDP port ({to}) out of range")),
    }
}

fn icmp(kind: i32, code: i32) -> Result<Traffic, Ec2Error> {
    let part = |name: &str, value: i32| match value {
        -1 => Ok(None),
        value => u8::try_from(value).map(Some).map_err(|_| {
            let message = format!("ICMP {name} ({value}) out of range");
            Ec2Error::new("InvalidParameterValue", message)
        }),
    };
    match (part("type", kind)?, part("code", code)?) {
        (None, Some(code)) => {
            let message = format!("ICMP code ({code}) must not be specified without type");
            Err(Ec2Error::new("InvalidParameterValue", message))
        }
        (kind, code) => Ok(Traffic::Icmp { kind, code }),
    }
}

/// EC2's words for a [`Traffic`].
struct Words {
    protocol: String,
    /// First port or ICMP type.
    from: Option<i32>,
    /// Last port or ICMP code.
    to: Option<i32>,
}

impl Words {
    fn of(traffic: Traffic) -> Words {
        let words = |protocol: &str, from: Option<i32>, to: Option<i32>| Words {
            protocol: protocol.to_owned(),
            from,
            to,
        };
        let part = |value: Option<u8>| Some(value.map_or(-1, i32::from));
        match traffic {
            Traffic::All => words("-1", None, None),
            Traffic::Tcp { from, to } => words("tcp", Some(from.into()), Some(to.into())),
            Traffic::Udp { from, to } => words("udp", Some(from.into()), Some(to.into())),
            Traffic::Icmp { kind, code } => words("icmp", part(kind), part(code)),
            Traffic::Other(58) => words("icmpv6", None, None),
            Traffic::Other(number) => words(&number.to_string(), None, None),
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
    ipv6_ranges: Vec<RangePeerItem>,
    prefix_list_ids: Vec<RangePeerItem>,
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

impl PermissionItem {
    pub fn cidrs(&self) -> Vec<String> {
        self.ip_ranges.iter().map(|range| range.cidr_ip.clone()).collect()
    }

    pub fn group_ids(&self) -> Vec<String> {
        self.groups.iter().map(|group| group.group_id.clone()).collect()
    }

    pub fn first_port(&self) -> Vec<String> {
        self.from_port.iter().map(i32::to_string).collect()
    }

    pub fn last_port(&self) -> Vec<String> {
        self.to_port.iter().map(i32::to_string).collect()
    }

    pub fn protocol(&self) -> Vec<String> {
        vec![self.ip_protocol.clone()]
    }
}

/// A group's rules of one direction as EC2 lists them: peers of equal traffic together.
pub(crate) fn permission_items(group: &SecurityGroup, direction: Direction) -> Vec<PermissionItem> {
    let mut items: Vec<(Traffic, PermissionItem)> = Vec::new();
    for RuleRecord { rule, description } in group.rules(direction) {
        let position = match items.iter().position(|(traffic, _)| *traffic == rule.traffic) {
            Some(position) => position,
            None => {
                let Words { protocol, from, to } = Words::of(rule.traffic);
                let item = PermissionItem {
                    ip_protocol: protocol,
                    from_port: from,
                    to_port: to,
                    groups: Vec::new(),
                    ip_ranges: Vec::new(),
                    ipv6_ranges: Vec::new(),
                    prefix_list_ids: Vec::new(),
                };
                items.push((rule.traffic, item));
                items.len() - 1
            }
        };
        let item = &mut items[position].1;
        let description = description.clone();
        match &rule.peer {
            Peer::V4(prefix) => {
                let cidr_ip = prefix.to_string();
                item.ip_ranges.push(RangePeerItem { cidr_ip, description });
            }
            Peer::Group(GroupId(id)) => {
                let group_id = id.clone();
                item.groups.push(GroupPeerItem { user_id: ACCOUNT, group_id, description });
            }
        }
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
pub(crate) fn rule_item(region: &Region, group: &SecurityGroup, record: &RuleRecord) -> RuleItem {
    let rule = &record.rule;
    let Words { protocol, from, to } = Words::of(rule.traffic);
    let (cidr_ipv4, referenced_group_info) = match &rule.peer {
        Peer::V4(prefix) => (Some(prefix.to_string()), None),
        Peer::Group(GroupId(id)) => {
            let vpc_id = group.vpc.clone();
            (None, Some(ReferencedGroup { group_id: id.clone(), user_id: ACCOUNT, vpc_id }))
        }
    };
    RuleItem {
        security_group_rule_id: rule.id.0.clone(),
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
        cidr_ipv4,
        referenced_group_info,
        description: record.description.clone(),
        tag_set: region.tag_items(&rule.id.0),
    }
}
