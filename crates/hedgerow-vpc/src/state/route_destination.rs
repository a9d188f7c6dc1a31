//! What a route is for: a block, or every block of a prefix list at its current version.

use std::fmt;

use hedgerow_core::sg::IpPrefix;
use serde::{Deserialize, Serialize};

use super::prefix_list::{self, PrefixList};
use super::region::Region;
use super::rule_peer::Family;
use crate::api::error::Ec2Error;

/// What a route is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Destination {
    Block(IpPrefix),
    /// A prefix list, by id.
    List(String),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Block(block) => block.fmt(f),
            Destination::List(id) => f.write_str(id),
        }
    }
}

impl Destination {
    /// The blocks of the destination.
    pub fn blocks(&self, region: &Region) -> Vec<IpPrefix> {
        match self {
            Destination::Block(block) => vec![*block],
            Destination::List(id) => {
                region.prefix_lists.get(id).into_iter().flat_map(PrefixList::prefixes).collect()
            }
        }
    }

    /// How many routes it counts as among those of IPv4 and among those of IPv6: a list counts by its
    /// size ("Prefix lists", Amazon VPC User Guide).
    pub fn weights(&self, region: &Region) -> (usize, usize) {
        match self {
            Destination::Block(IpPrefix::V4(_)) => (1, 0),
            Destination::Block(IpPrefix::V6(_)) => (0, 1),
            Destination::List(id) => match region.prefix_lists.get(id) {
                Some(list) if list.family == Family::V4 => (list.weight(), 0),
                Some(list) => (0, list.weight()),
                None => (0, 0),
            },
        }
    }
}

/// The one destination that a request names: an IPv4 block, an IPv6 block or a prefix list.
///
/// # Errors
/// Those of [`prefix_list::named`]; `MissingParameter`, `InvalidParameterCombination`,
/// `InvalidParameterValue`.
pub(crate) fn named(
    region: &Region,
    v4: Option<&str>,
    v6: Option<&str>,
    list: Option<&str>,
) -> Result<Destination, Ec2Error> {
    let why = "This is not a valid CIDR block.";
    let choices = "The request must contain exactly one of destinationCidrBlock, \
                   destinationIpv6CidrBlock, destinationPrefixListId";
    match (v4, v6, list) {
        (Some(text), None, None) => match text.parse() {
            Ok(block) => Ok(Destination::Block(IpPrefix::V4(block))),
            Err(_) => Err(Ec2Error::value("destinationCidrBlock", text, why)),
        },
        (None, Some(text), None) => match text.parse() {
            Ok(block) => Ok(Destination::Block(IpPrefix::V6(block))),
            Err(_) => Err(Ec2Error::value("destinationIpv6CidrBlock", text, why)),
        },
        (None, None, Some(id)) => Ok(Destination::List(prefix_list::named(region, id)?.id.clone())),
        (None, None, None) => Err(Ec2Error::new("MissingParameter", choices)),
        _ => Err(Ec2Error::new("InvalidParameterCombination", choices)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_keep_destinations_as_they_were_before_lists() {
        let block: IpPrefix = IpPrefix::V4("10.0.0.0/8".parse().expect("a block"));
        let kept = serde_json::to_string(&block).expect("written");
        for (text, destination) in [
            (kept.as_str(), Destination::Block(block)),
            (r#""pl-1""#, Destination::List("pl-1".into())),
        ] {
            assert_eq!(serde_json::to_string(&destination).expect("written"), text);
            let read: Destination = serde_json::from_str(text).expect(text);
            assert_eq!(read, destination);
        }
    }
}
