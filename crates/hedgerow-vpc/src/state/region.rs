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
use super::table::{Record, Revertible, Table, copied};
use super::time::Timestamp;
use super::tokens::Tokens;
use super::vpc::Vpc;
use super::zone::Zone;
use crate::api::error::Ec2Error;

/// How long a terminated instance stays visible ("usually … within an hour", EC2 User Guide).
const TERMINATED_VISIBLE_SECONDS: u64 = 3_600;

/// One region's records; every table is by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    pub(crate) name: String,
    pub(crate) vpcs: Table<String, Vpc>,
    pub(crate) subnets: Table<String, Subnet>,
    pub(crate) route_tables: Table<String, RouteTable>,
    pub(crate) network_acls: Table<String, NetworkAcl>,
    pub(crate) internet_gateways: Table<String, InternetGateway>,
    pub(crate) egress_gateways: Table<String, EgressGateway>,
    pub(crate) nat_gateways: Table<String, NatGateway>,
    /// Elastic addresses, by allocation id.
    pub(crate) addresses: Table<String, Address>,
    /// Interface id to the public address of its launch; `None` while the instance is stopped.
    pub(crate) launch_addresses: Table<String, Option<Ipv4Addr>>,
    /// Where the search for a free public address goes on.
    pub(crate) public_cursor: u32,
    /// Where the search for a free IPv6 block goes on.
    #[serde(default)]
    pub(crate) ipv6_cursor: u32,
    pub(crate) groups: Table<String, SecurityGroup>,
    /// Prefix lists, those of AWS too.
    pub(crate) prefix_lists: Table<String, PrefixList>,
    pub(crate) interfaces: Table<String, Interface>,
    pub(crate) instances: Table<String, Instance>,
    /// When instances were terminated that are not forgotten yet.
    #[serde(default)]
    pub(crate) terminated: Table<String, Timestamp>,
    /// What launches say of metadata where they say nothing.
    #[serde(default)]
    pub(crate) metadata_defaults: MetadataDefaults,
    pub(crate) permissions: Table<String, Permission>,
    /// Attachment id to interface id.
    pub(crate) attachments: Table<String, String>,
    /// Attachment id to the instant at which it is no longer `attaching`.
    #[serde(default)]
    pub(crate) attaching: Table<String, Timestamp>,
    /// Trunk association id to the branch's interface id.
    pub(crate) associations: Table<String, String>,
    /// RDS databases by name.
    pub(crate) databases: Table<String, Database>,
    /// RDS subnet groups by name.
    pub(crate) subnet_groups: Table<String, SubnetGroup>,
    /// EKS clusters by name.
    pub(crate) clusters: Table<String, Cluster>,
    /// Keys that instances got for their roles.
    #[serde(default)]
    pub(crate) role_keys: RoleKeys,
    pub(crate) flow_logs: Table<String, FlowLog>,
    /// Private DNS zones by name.
    pub(crate) zones: Table<String, Zone>,
    /// Resource id to its tags.
    pub(crate) tags: Table<String, BTreeMap<String, String>>,
    pub(crate) tokens: Tokens,
}

copied!(
    Vpc,
    RouteTable,
    NetworkAcl,
    InternetGateway,
    EgressGateway,
    NatGateway,
    Address,
    SecurityGroup,
    PrefixList,
    Interface,
    Instance,
    Permission,
    Timestamp,
    Database,
    SubnetGroup,
    Cluster,
    FlowLog,
    Zone,
);

/// What a region has beside records, and answers to client tokens, at an earlier moment.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    public_cursor: u32,
    ipv6_cursor: u32,
    metadata_defaults: MetadataDefaults,
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
pub(crate) fn find_mut<'r, R: Resource + Record>(
    records: &'r mut Table<String, R>,
    id: &str,
) -> Result<&'r mut R, Ec2Error> {
    records.get_mut(id).ok_or_else(|| not_found::<R>(id))
}

impl Region {
    /// A region without records.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            vpcs: Table::default(),
            subnets: Table::default(),
            route_tables: Table::default(),
            network_acls: Table::default(),
            internet_gateways: Table::default(),
            egress_gateways: Table::default(),
            nat_gateways: Table::default(),
            addresses: Table::default(),
            launch_addresses: Table::default(),
            public_cursor: 0,
            ipv6_cursor: 0,
            groups: Table::default(),
            prefix_lists: prefix_list_owned::lists(name).into(),
            interfaces: Table::default(),
            instances: Table::default(),
            terminated: Table::default(),
            metadata_defaults: MetadataDefaults::default(),
            permissions: Table::default(),
            attachments: Table::default(),
            attaching: Table::default(),
            associations: Table::default(),
            databases: Table::default(),
            subnet_groups: Table::default(),
            clusters: Table::default(),
            role_keys: RoleKeys::default(),
            flow_logs: Table::default(),
            zones: Table::default(),
            tags: Table::default(),
            tokens: Tokens::default(),
        }
    }

    /// The region's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All records.
    fn tables(&mut self) -> [&mut dyn Revertible; 25] {
        let Self {
            name: _,
            vpcs,
            subnets,
            route_tables,
            network_acls,
            internet_gateways,
            egress_gateways,
            nat_gateways,
            addresses,
            launch_addresses,
            public_cursor: _,
            ipv6_cursor: _,
            groups,
            prefix_lists,
            interfaces,
            instances,
            terminated,
            metadata_defaults: _,
            permissions,
            attachments,
            attaching,
            associations,
            databases,
            subnet_groups,
            clusters,
            role_keys,
            flow_logs,
            zones,
            tags,
            tokens: _,
        } = self;
        [
            vpcs,
            subnets,
            route_tables,
            network_acls,
            internet_gateways,
            egress_gateways,
            nat_gateways,
            addresses,
            launch_addresses,
            groups,
            prefix_lists,
            interfaces,
            instances,
            terminated,
            permissions,
            attachments,
            attaching,
            associations,
            databases,
            subnet_groups,
            clusters,
            &mut role_keys.0,
            flow_logs,
            zones,
            tags,
        ]
    }

    /// From here on, what is done can be taken back.
    pub(super) fn checkpoint(&mut self) -> Mark {
        self.tables().into_iter().for_each(Revertible::mark);
        Mark {
            public_cursor: self.public_cursor,
            ipv6_cursor: self.ipv6_cursor,
            metadata_defaults: self.metadata_defaults.clone(),
        }
    }

    /// Goes back to the mark.
    pub(super) fn restore(&mut self, mark: Mark) {
        self.tables().into_iter().for_each(Revertible::go_back);
        Mark {
            public_cursor: self.public_cursor,
            ipv6_cursor: self.ipv6_cursor,
            metadata_defaults: self.metadata_defaults,
        } = mark;
    }

    /// What was done since the mark holds.
    pub(super) fn commit(&mut self) {
        self.tables().into_iter().for_each(Revertible::commit);
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
        let past = |at: Timestamp| now.since(at) > TERMINATED_VISIBLE_SECONDS;
        let gone = self.terminated.iter().filter(|(_, at)| past(**at));
        let gone: Vec<String> = gone.map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.terminated.remove(&id);
            self.instances.remove(&id);
            self.tags.remove(&id);
        }
        self.forget_nat_gateways(now);
    }
}
