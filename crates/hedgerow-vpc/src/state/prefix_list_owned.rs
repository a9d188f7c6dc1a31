//! The prefix lists that AWS owns: every region has them, nobody changes them.

use std::collections::BTreeMap;

use super::prefix_list::{AWS, Entries, PrefixList};
use super::rule_peer::Family;

/// Service, id, how many rules it counts as, and its blocks.
///
/// Ids are the same for every account; weights are those of "AWS-managed prefix lists" (Amazon VPC
/// User Guide). The blocks of S3 and DynamoDB are the lab's: parts of 198.18.0.0/15, which RFC 2544
/// keeps for laboratories, so that nothing in the real Internet is meant. CloudFront's is another
/// part of it; VPC Lattice's is the link-local one that it has at AWS.
const LISTS: &[(&str, &str, usize, &[&str])] = &[
    ("REGION.s3", "pl-63a5400a", 1, &["198.18.240.0/24"]),
    ("REGION.dynamodb", "pl-02cd2c6b", 1, &["198.18.241.0/24"]),
    ("REGION.vpc-lattice", "pl-0721453c7ac4ec009", 10, &["169.254.171.0/24"]),
    ("global.cloudfront.origin-facing", "pl-3b927c52", 55, &["198.18.242.0/24"]),
];

/// The lists of a region, by id.
pub(super) fn lists(region: &str) -> BTreeMap<String, PrefixList> {
    let list = |(service, id, weight, blocks): &(&str, &str, usize, &[&str])| {
        let entries: Entries = blocks.iter().map(|block| ((*block).to_owned(), None)).collect();
        let list = PrefixList {
            id: (*id).to_owned(),
            owner: AWS.to_owned(),
            name: format!("com.amazonaws.{}", service.replace("REGION", region)),
            family: Family::V4,
            size: *weight,
            state: "create-complete".to_owned(),
            state_message: None,
            versions: BTreeMap::from([(1, entries)]),
        };
        (list.id.clone(), list)
    };
    LISTS.iter().map(list).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_fit_their_weight_and_parse() {
        for list in lists("eu-west-1").values() {
            assert!(list.prefixes().count() <= list.weight(), "{}", list.name);
            assert_eq!(list.prefixes().count(), list.entries().len(), "{}", list.name);
        }
    }
}
