//! Databases in answers, and DescribeDBInstances.

use serde::{Deserialize, Serialize};

use super::rds::{Database, Status, arn, find};
use super::rds_create::ENGINE_VERSION;
use super::rds_subnet_group::{Members, SubnetGroupItem, TagItem, page, tag_items};
use super::time::Timestamp;
use super::{Context, Region};
use crate::api::error::Ec2Error;

/// Answer of CreateDBInstance and DeleteDBInstance.
#[derive(Debug, Serialize)]
pub(crate) struct DatabaseAnswer {
    #[serde(rename = "DBInstance")]
    database: DatabaseItem,
}

/// A database in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DatabaseItem {
    #[serde(rename = "DBInstanceIdentifier")]
    id: String,
    #[serde(rename = "DBInstanceClass")]
    class: String,
    engine: &'static str,
    engine_version: &'static str,
    #[serde(rename = "DBInstanceStatus")]
    status: &'static str,
    master_username: String,
    #[serde(rename = "DBName")]
    database: Option<String>,
    /// Once the server listens.
    endpoint: Option<EndpointItem>,
    allocated_storage: u32,
    instance_create_time: Timestamp,
    vpc_security_groups: Members<GroupItem>,
    availability_zone: String,
    #[serde(rename = "DBSubnetGroup")]
    subnet_group: Option<SubnetGroupItem>,
    #[serde(rename = "MultiAZ")]
    multi_zone: bool,
    publicly_accessible: bool,
    dbi_resource_id: String,
    #[serde(rename = "DBInstanceArn")]
    arn: String,
    tag_list: Members<TagItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct EndpointItem {
    /// The private address itself: no resolver outside of the VPC would know a name.
    address: String,
    port: u16,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct GroupItem {
    vpc_security_group_id: String,
    status: &'static str,
}

impl Region {
    pub(crate) fn database_answer(
        &self,
        database: &Database,
        status: &'static str,
    ) -> DatabaseAnswer {
        DatabaseAnswer { database: self.database_item(database, status) }
    }

    fn database_item(&self, database: &Database, status: &'static str) -> DatabaseItem {
        let interface = &self.interfaces[&database.interface];
        let endpoint =
            EndpointItem { address: interface.primary().to_string(), port: database.port };
        let group = |id: &String| GroupItem { vpc_security_group_id: id.clone(), status: "active" };
        let subnet_group = self.subnet_groups.get(&database.subnet_group);
        DatabaseItem {
            id: database.id.clone(),
            class: database.class.clone(),
            engine: "postgres",
            engine_version: ENGINE_VERSION,
            status,
            master_username: database.user.clone(),
            database: database.database.clone(),
            endpoint: (database.status == Status::Available).then_some(endpoint),
            allocated_storage: database.storage,
            instance_create_time: Timestamp(database.created),
            vpc_security_groups: Members(
                "VpcSecurityGroupMembership",
                database.groups.iter().map(group).collect(),
            ),
            availability_zone: self.subnets[&interface.subnet].zone.name.clone(),
            subnet_group: subnet_group.map(|group| self.subnet_group_item(group)),
            multi_zone: false,
            publicly_accessible: false,
            dbi_resource_id: database.resource.clone(),
            arn: arn(&self.name, &database.id),
            tag_list: tag_items(&database.tags),
        }
    }
}

/// DescribeDBInstances.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeDatabases {
    #[serde(rename = "DBInstanceIdentifier")]
    id: Option<String>,
    max_records: Option<usize>,
    marker: Option<String>,
}

/// Answer of DescribeDBInstances.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DatabaseSet {
    #[serde(rename = "DBInstances")]
    databases: Members<DatabaseItem>,
    marker: Option<String>,
}

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeDatabases,
) -> Result<DatabaseSet, Ec2Error> {
    let region = &*cx.region;
    let (databases, marker) = match &request.id {
        Some(id) => (vec![find(region, id)?], None),
        None => page(&region.databases, request.max_records, request.marker.as_deref())?,
    };
    let item = |database: &Database| region.database_item(database, database.status.name());
    let items = databases.into_iter().map(item).collect();
    Ok(DatabaseSet { databases: Members("DBInstance", items), marker })
}
