//! Who may be at the other end of a rule, and the address blocks that rules and prefix lists name.

use std::fmt;

use hedgerow_core::sg::{self, BadPrefix, GroupId, Ipv4Prefix, Ipv6Prefix};
use serde::{Deserialize, Serialize};

use super::Region;

/// Address families, by EC2's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Family {
    #[serde(rename = "IPv4")]
    V4,
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    /// EC2's name.
    pub fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    /// The block as EC2 writes it back: host bits cleared.
    pub fn canonical(self, text: &str) -> Result<String, BadPrefix> {
        match self {
            Family::V4 => text.parse::<Ipv4Prefix>().map(|prefix| prefix.to_string()),
            Family::V6 => text.parse::<Ipv6Prefix>().map(|prefix| prefix.to_string()),
        }
    }
}

/// Who may be at the other end of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RulePeer {
    /// IPv4 addresses.
    V4(Ipv4Prefix),
    /// IPv6 addresses.
    V6(Ipv6Prefix),
    /// The private addresses of interfaces that carry the group of this id.
    Group(String),
    /// The entries of the prefix list of this id, at its current version.
    PrefixList(String),
}

impl RulePeer {
    /// What the peer is in the fabric: one core peer per entry of a list.
    pub fn expand(&self, region: &Region) -> Vec<sg::Peer> {
        match self {
            RulePeer::V4(prefix) => vec![sg::Peer::V4(*prefix)],
            RulePeer::V6(prefix) => vec![sg::Peer::V6(*prefix)],
            RulePeer::Group(id) => vec![sg::Peer::Group(GroupId(id.clone()))],
            RulePeer::PrefixList(id) => {
                let list = region.prefix_lists.get(id);
                list.into_iter().flat_map(|list| list.prefixes()).map(sg::Peer::from).collect()
            }
        }
    }

    /// How many rules the peer counts as among IPv4 rules and among IPv6 rules, which have a quota
    /// each: a list counts by its size, not by its entries; a group counts in both ("Amazon VPC
    /// quotas", Amazon VPC User Guide).
    pub fn weights(&self, region: &Region) -> (usize, usize) {
        match self {
            RulePeer::V4(_) => (1, 0),
            RulePeer::V6(_) => (0, 1),
            RulePeer::Group(_) => (1, 1),
            RulePeer::PrefixList(id) => match region.prefix_lists.get(id) {
                Some(list) if list.family == Family::V4 => (list.weight(), 0),
                Some(list) => (0, list.weight()),
                None => (0, 0),
            },
        }
    }
}

impl fmt::Display for RulePeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RulePeer::V4(prefix) => prefix.fmt(f),
            RulePeer::V6(prefix) => prefix.fmt(f),
            RulePeer::Group(id) | RulePeer::PrefixList(id) => f.write_str(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_canonical() {
        for (family, text, want) in [
            (Family::V4, "10.1.2.3/8", Some("10.0.0.0/8")),
            (Family::V4, "2001:db8::/32", None),
            (Family::V6, "2001:DB8::1/32", Some("2001:db8::/32")),
            (Family::V6, "::/0", Some("::/0")),
            (Family::V6, "::1/128", Some("::1/128")),
            (Family::V6, "::/129", None),
            (Family::V6, "10.0.0.0/8", None),
            (Family::V6, "::", None),
        ] {
            assert_eq!(family.canonical(text).ok().as_deref(), want, "{text}");
        }
    }
}
