//! One region's records.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::address::Address;
use super::eks::Cluster;
use super::flow_logs::FlowLog;
use super::gateway::{EgressGateway, InternetGateway};
use super::group::SecurityGroup;
use super::instance::Instance;
use super::interface::{Interface, Permission};
use super::metadata_defaults::MetadataDefaults;
use super::nat_gateway::NatGateway;
use super::network_acl::NetworkAcl;
use super::prefix_list::PrefixList;
use super::prefix_list_owned;
use super::rds::Database;
use super::rds_subnet_group::SubnetGroup;
use super::role_keys::RoleKeys;
use super::route_table::RouteTable;
use super::subnet::Subnet;
use super::time::Timestamp;
use super::tokens::Tokens;
use super::vpc::Vpc;
use super::zone::Zone;
use crate::api::error::Ec2Error;

/// How long a terminated instance stays visible ("usually … within an hour", EC2 User Guide).
const TERMINATED_VISIBLE_SECONDS: u64 = 3_600;

/// One region's records; every map is by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    pub(crate) name: String,
    pub(crate) vpcs: BTreeMap<String, Vpc>,
    pub(crate) subnets: BTreeMap<String, Subnet>,
    pub(crate) route_tables: BTreeMap<String, RouteTable>,
    pub(crate) network_acls: BTreeMap<String, NetworkAcl>,
    pub(crate) internet_gateways: BTreeMap<String, InternetGateway>,
    pub(crate) egress_gateways: BTreeMap<String, EgressGateway>,
    pub(crate) nat_gateways: BTreeMap<String, NatGateway>,
    /// Elastic addresses, by allocation id.
    pub(crate) addresses: BTreeMap<String, Address>,
    /// Interface id to the public address of its launch; `None` while the instance is stopped.
    pub(crate) launch_addresses: BTreeMap<String, Option<Ipv4Addr>>,
    /// Where the search for a free public address goes on.
    pub(crate) public_cursor: u32,
    /// Where the search for a free IPv6 block goes on.
    #[serde(default)]
    pub(crate) ipv6_cursor: u32,
    pub(crate) groups: BTreeMap<String, SecurityGroup>,
    /// Prefix lists, those of AWS too.
    pub(crate) prefix_lists: BTreeMap<String, PrefixList>,
    pub(crate) interfaces: BTreeMap<String, Interface>,
    pub(crate) instances: BTreeMap<String, Instance>,
    /// What launches say of metadata where they say nothing.
    #[serde(default)]
    pub(crate) metadata_defaults: MetadataDefaults,
    pub(crate) permissions: BTreeMap<String, Permission>,
    /// Attachment id to interface id.
    pub(crate) attachments: BTreeMap<String, String>,
    /// Attachment id to the instant at which it is no longer `attaching`.
    #[serde(default)]
    pub(crate) attaching: BTreeMap<String, Timestamp>,
    /// Trunk association id to the branch's interface id.
    pub(crate) associations: BTreeMap<String, String>,
    /// RDS databases by name.
    pub(crate) databases: BTreeMap<String, Database>,
    /// RDS subnet groups by name.
    pub(crate) subnet_groups: BTreeMap<String, SubnetGroup>,
    /// EKS clusters by name.
    pub(crate) clusters: BTreeMap<String, Cluster>,
    /// Keys that instances got for their roles.
    #[serde(default)]
    pub(crate) role_keys: RoleKeys,
    pub(crate) flow_logs: BTreeMap<String, FlowLog>,
    /// Private DNS zones by name.
    pub(crate) zones: BTreeMap<String, Zone>,
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
            route_tables: BTreeMap::new(),
            network_acls: BTreeMap::new(),
            internet_gateways: BTreeMap::new(),
            egress_gateways: BTreeMap::new(),
            nat_gateways: BTreeMap::new(),
            addresses: BTreeMap::new(),
            launch_addresses: BTreeMap::new(),
            public_cursor: 0,
            ipv6_cursor: 0,
            groups: BTreeMap::new(),
            prefix_lists: prefix_list_owned::lists(name),
            interfaces: BTreeMap::new(),
            instances: BTreeMap::new(),
            metadata_defaults: MetadataDefaults::default(),
            permissions: BTreeMap::new(),
            attachments: BTreeMap::new(),
            attaching: BTreeMap::new(),
            associations: BTreeMap::new(),
            databases: BTreeMap::new(),
            subnet_groups: BTreeMap::new(),
            clusters: BTreeMap::new(),
            role_keys: RoleKeys::default(),
            flow_logs: BTreeMap::new(),
            zones: BTreeMap::new(),
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
        self.forget_nat_gateways(now);
    }
}
