//! One region's records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::eks::Cluster;
use super::group::SecurityGroup;
use super::instance::Instance;
use super::interface::{Interface, Permission};
use super::prefix_list::PrefixList;
use super::prefix_list_owned;
use super::subnet::Subnet;
use super::time::Timestamp;
use super::tokens::Tokens;
use super::vpc::Vpc;
use crate::api::error::Ec2Error;

/// How long a terminated instance stays visible ("usually … within an hour", EC2 User Guide).
const TERMINATED_VISIBLE_SECONDS: u64 = 3_600;

/// One region's records; every map is by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    pub(crate) name: String,
    pub(crate) vpcs: BTreeMap<String, Vpc>,
    pub(crate) subnets: BTreeMap<String, Subnet>,
    pub(crate) groups: BTreeMap<String, SecurityGroup>,
    /// Prefix lists, those of AWS too.
    pub(crate) prefix_lists: BTreeMap<String, PrefixList>,
    pub(crate) interfaces: BTreeMap<String, Interface>,
    pub(crate) instances: BTreeMap<String, Instance>,
    pub(crate) permissions: BTreeMap<String, Permission>,
    /// Attachment id to interface id.
    pub(crate) attachments: BTreeMap<String, String>,
    /// Trunk association id to the branch's interface id.
    pub(crate) associations: BTreeMap<String, String>,
    /// EKS clusters by name.
    pub(crate) clusters: BTreeMap<String, Cluster>,
    /// Resource id to its tags.
    pub(crate) tags: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) tokens: Tokens,
}

/// A kind of record that has an id.
pub(crate) trait Resource: Sized + 'static {
    /// EC2's code for "no such id".
    const NOT_FOUND: &'static str;
    /// What EC2 calls the kind in that message: `The NOUN 'ID' does not exist`.
    const NOUN: &'static str;
    /// The record's id.
    fn id(&self) -> &str;
}

/// EC2's error for an id that no record of kind `R` has.
pub(crate) fn not_found<R: Resource>(id: &str) -> Ec2Error {
    Ec2Error::new(R::NOT_FOUND, format!("The {} '{id}' does not exist", R::NOUN))
}

/// The record with this id.
pub(crate) fn find<'r, R: Resource>(
    records: &'r BTreeMap<String, R>,
    id: &str,
) -> Result<&'r R, Ec2Error> {
    records.get(id).ok_or_else(|| not_found::<R>(id))
}

/// The record with this id, to change.
pub(crate) fn find_mut<'r, R: Resource>(
    records: &'r mut BTreeMap<String, R>,
    id: &str,
) -> Result<&'r mut R, Ec2Error> {
    records.get_mut(id).ok_or_else(|| not_found::<R>(id))
}

impl Region {
    /// A region without records.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            vpcs: BTreeMap::new(),
            subnets: BTreeMap::new(),
            groups: BTreeMap::new(),
            prefix_lists: prefix_list_owned::lists(name),
            interfaces: BTreeMap::new(),
            instances: BTreeMap::new(),
            permissions: BTreeMap::new(),
            attachments: BTreeMap::new(),
            associations: BTreeMap::new(),
            clusters: BTreeMap::new(),
            tags: BTreeMap::new(),
            tokens: Tokens::default(),
        }
    }

    /// The region's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The default VPC, unless it was deleted.
    pub(crate) fn default_vpc(&self) -> Option<&Vpc> {
        self.vpcs.values().find(|vpc| vpc.is_default)
    }

    /// The VPC's group named `default`.
    pub(crate) fn default_group(&self, vpc: &str) -> &SecurityGroup {
        self.groups
            .values()
            .find(|group| group.vpc == vpc && group.is_default())
            .expect("a VPC has a default group as long as it lives")
    }

    /// Drops instances that were terminated long ago.
    pub(crate) fn forget_terminated(&mut self, now: Timestamp) {
        let gone: Vec<String> = self
            .instances
            .values()
            .filter(|i| i.terminated.is_some_and(|t| now.since(t) > TERMINATED_VISIBLE_SECONDS))
            .map(|i| i.id.clone())
            .collect();
        for id in gone {
            self.instances.remove(&id);
            self.tags.remove(&id);
        }
    }
}
