//! Entries of network ACLs.

use hedgerow_core::sg::{IpPrefix, Ipv4Prefix, Ipv6Prefix};
use serde::{Deserialize, Serialize};

use super::network_acl::NetworkAcl;
use super::region::find;
use super::{Context, Region, quota};
use crate::api::Done;
use crate::api::error::Ec2Error;
use crate::effect::AclEntry;

/// Highest number that an entry can have; the next one is the last word, "deny".
const MAX_NUMBER: u16 = 32_766;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// An entry; its number and direction are where it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub allow: bool,
    /// IP protocol; every one if absent.
    pub protocol: Option<u8>,
    /// First and last destination port; TCP and UDP have them.
    pub ports: Option<(u16, u16)>,
    /// Type and code, -1 for every one; ICMP has them.
    pub icmp: Option<(i16, i16)>,
    pub block: IpPrefix,
}

impl Entry {
    /// The entry of default lists.
    pub fn allow_all() -> Self {
        let block = IpPrefix::V4(Ipv4Prefix::ANY);
        Entry { allow: true, protocol: None, ports: None, icmp: None, block }
    }

    /// The entry of default lists in VPCs with IPv6.
    pub fn allow_all_ipv6() -> Self {
        Entry { block: IpPrefix::V6(Ipv6Prefix::ANY), ..Entry::allow_all() }
    }

    /// The entry as the fabric needs it.
    pub fn view(&self, number: u16) -> AclEntry {
        // -1 is out of u8's range, and so becomes "every one".
        let any = |value: i16| u8::try_from(value).ok();
        AclEntry {
            number,
            allow: self.allow,
            protocol: self.protocol,
            ports: self.ports,
            icmp: self.icmp.map(|(kind, code)| (any(kind), any(code))),
            cidr: self.block,
        }
    }
}

/// An entry in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EntryItem {
    pub rule_number: u16,
    pub protocol: String,
    pub rule_action: &'static str,
    pub egress: bool,
    pub cidr_block: Option<String>,
    pub ipv6_cidr_block: Option<String>,
    pub icmp_type_code: Option<IcmpItem>,
    pub port_range: Option<PortsItem>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct IcmpItem {
    pub code: i16,
    pub r#type: i16,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct PortsItem {
    pub from: u16,
    pub to: u16,
}

/// All entries of a list for an answer, with the last word of each direction, and of each family
/// that the VPC has.
pub(crate) fn entry_items(region: &Region, acl: &NetworkAcl) -> Vec<EntryItem> {
    let has_ipv6 = region.vpcs.get(&acl.vpc).is_some_and(|vpc| !vpc.ipv6.is_empty());
    let mut items = Vec::new();
    for egress in [true, false] {
        let entries = acl.entries(egress).iter();
        items.extend(entries.map(|(number, entry)| entry_item(*number, egress, entry)));
        let last = Entry { allow: false, ..Entry::allow_all() };
        items.push(entry_item(MAX_NUMBER + 1, egress, &last));
        if has_ipv6 {
            let last = Entry { allow: false, ..Entry::allow_all_ipv6() };
            items.push(entry_item(MAX_NUMBER + 2, egress, &last));
        }
    }
    items
}

fn entry_item(rule_number: u16, egress: bool, entry: &Entry) -> EntryItem {
    let (v4, v6) = match entry.block {
        IpPrefix::V4(block) => (Some(block.to_string()), None),
        IpPrefix::V6(block) => (None, Some(block.to_string())),
    };
    EntryItem {
        rule_number,
        protocol: entry.protocol.map_or("-1".into(), |protocol| protocol.to_string()),
        rule_action: if entry.allow { "allow" } else { "deny" },
        egress,
        cidr_block: v4,
        ipv6_cidr_block: v6,
        icmp_type_code: entry.icmp.map(|(r#type, code)| IcmpItem { code, r#type }),
        port_range: entry.ports.map(|(from, to)| PortsItem { from, to }),
    }
}

/// Type and code in requests.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct IcmpSpec {
    code: Option<i16>,
    r#type: Option<i16>,
}

/// Ports in requests.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct PortsSpec {
    from: Option<u16>,
    to: Option<u16>,
}

/// CreateNetworkAclEntry and ReplaceNetworkAclEntry.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct SetEntry {
    network_acl_id: String,
    rule_number: u16,
    egress: bool,
    protocol: String,
    rule_action: String,
    cidr_block: Option<String>,
    ipv6_cidr_block: Option<String>,
    icmp: Option<IcmpSpec>,
    port_range: Option<PortsSpec>,
}

/// An entry as requests write it, checked.
fn entry(request: &SetEntry) -> Result<Entry, Ec2Error> {
    let allow = match request.rule_action.as_str() {
        "allow" => true,
        "deny" => false,
        other => return Err(Ec2Error::value("ruleAction", other, "It is allow or deny.")),
    };
    let protocol = protocol(&request.protocol)?;
    let block = block(request)?;
    let ports = match protocol {
        Some(TCP | UDP) => Some(ports(request.port_range)?),
        _ => None,
    };
    let icmp = match protocol {
        Some(ICMP | ICMPV6) => Some(icmp(request.icmp)?),
        _ => None,
    };
    Ok(Entry { allow, protocol, ports, icmp, block })
}

/// A protocol by number or name; `None` is every one.
fn protocol(text: &str) -> Result<Option<u8>, Ec2Error> {
    match text.to_ascii_lowercase().as_str() {
        "-1" | "all" => Ok(None),
        "tcp" => Ok(Some(TCP)),
        "udp" => Ok(Some(UDP)),
        "icmp" => Ok(Some(ICMP)),
        "icmpv6" => Ok(Some(ICMPV6)),
        number => number.parse().map(Some).map_err(|_| {
            Ec2Error::value("protocol", text, "It is a protocol number or -1 for all.")
        }),
    }
}

fn block(request: &SetEntry) -> Result<IpPrefix, Ec2Error> {
    match (&request.cidr_block, &request.ipv6_cidr_block) {
        (Some(text), None) => text
            .parse()
            .map(IpPrefix::V4)
            .map_err(|_| Ec2Error::value("cidrBlock", text, "This is not a valid CIDR block.")),
        (None, Some(text)) => text
            .parse()
            .map(IpPrefix::V6)
            .map_err(|_| Ec2Error::value("ipv6CidrBlock", text, "This is not a valid CIDR block.")),
        (None, None) => Err(Ec2Error::missing("cidrBlock")),
        (Some(_), Some(_)) => {
            let message = "An entry has an IPv4 or an IPv6 block, not both";
            Err(Ec2Error::new("InvalidParameterCombination", message))
        }
    }
}

fn ports(spec: Option<PortsSpec>) -> Result<(u16, u16), Ec2Error> {
    match spec {
        Some(PortsSpec { from: Some(from), to: Some(to) }) if from <= to => Ok((from, to)),
        Some(PortsSpec { from: Some(from), to: Some(to) }) => {
            let why = "The first port is higher than the last.";
            Err(Ec2Error::value("portRange", format!("{from}-{to}"), why))
        }
        _ => Err(Ec2Error::missing("portRange")),
    }
}

fn icmp(spec: Option<IcmpSpec>) -> Result<(i16, i16), Ec2Error> {
    let Some(IcmpSpec { code, r#type: Some(kind) }) = spec else {
        return Err(Ec2Error::missing("icmpTypeCode.type"));
    };
    let code = code.unwrap_or(-1);
    if !(-1..=255).contains(&kind) || !(-1..=255).contains(&code) || (kind == -1 && code != -1) {
        let why = "Type and code are from 0 to 255, or -1 for every one.";
        return Err(Ec2Error::value("icmpTypeCode", format!("{kind}, {code}"), why));
    }
    Ok((kind, code))
}

fn check_number(number: u16) -> Result<(), Ec2Error> {
    if (1..=MAX_NUMBER).contains(&number) {
        return Ok(());
    }
    Err(Ec2Error::value("ruleNumber", number, "It is from 1 to 32766."))
}

fn unknown(number: u16, egress: bool, acl: &str) -> Ec2Error {
    let direction = if egress { "egress" } else { "ingress" };
    let message = format!("The {direction} entry {number} does not exist in network acl {acl}");
    Ec2Error::new("InvalidNetworkAclEntry.NotFound", message)
}

pub(crate) fn create(cx: &mut Context<'_>, request: SetEntry) -> Result<Done, Ec2Error> {
    let acl = find(&cx.region.network_acls, &request.network_acl_id)?;
    check_number(request.rule_number)?;
    let entry = entry(&request)?;
    let entries = acl.entries(request.egress);
    if entries.contains_key(&request.rule_number) {
        let message =
            format!("The network acl entry identified by {} already exists.", request.rule_number);
        return Err(Ec2Error::new("NetworkAclEntryAlreadyExists", message));
    }
    let quota = cx.quotas.entries_per_acl;
    quota::room(entries.len(), quota, "NetworkAclEntryLimitExceeded", "network ACL entries")?;
    set(cx, &request, entry);
    Ok(Done::new())
}

pub(crate) fn replace(cx: &mut Context<'_>, request: SetEntry) -> Result<Done, Ec2Error> {
    let acl = find(&cx.region.network_acls, &request.network_acl_id)?;
    check_number(request.rule_number)?;
    let entry = entry(&request)?;
    if !acl.entries(request.egress).contains_key(&request.rule_number) {
        return Err(unknown(request.rule_number, request.egress, &acl.id));
    }
    set(cx, &request, entry);
    Ok(Done::new())
}

fn set(cx: &mut Context<'_>, request: &SetEntry, entry: Entry) {
    let id = &request.network_acl_id;
    let acl = cx.region.network_acls.get_mut(id).expect("the list was found");
    acl.entries_mut(request.egress).insert(request.rule_number, entry);
    cx.effects.push(cx.region.put_network_acl(id));
}

/// DeleteNetworkAclEntry.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteNetworkAclEntry {
    network_acl_id: String,
    rule_number: u16,
    egress: bool,
}

pub(crate) fn delete(
    cx: &mut Context<'_>,
    request: DeleteNetworkAclEntry,
) -> Result<Done, Ec2Error> {
    let DeleteNetworkAclEntry { network_acl_id: id, rule_number, egress } = request;
    let acl = find(&cx.region.network_acls, &id)?;
    if !acl.entries(egress).contains_key(&rule_number) {
        return Err(unknown(rule_number, egress, &id));
    }
    let acl = cx.region.network_acls.get_mut(&id).expect("found above");
    acl.entries_mut(egress).remove(&rule_number);
    cx.effects.push(cx.region.put_network_acl(&id));
    Ok(Done::new())
}
