//! Databases in answers, and DescribeDBInstances.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rds::{Database, Status, arn, endpoint, find};
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
    deletion_protection: bool,
    dbi_resource_id: String,
    #[serde(rename = "DBInstanceArn")]
    arn: String,
    tag_list: Members<TagItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct EndpointItem {
    /// A name that the VPCs' DNS knows.
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
            EndpointItem { address: endpoint(&self.name, &database.id), port: database.port };
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
            publicly_accessible: database.public,
            deletion_protection: database.protected,
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
    #[serde(default)]
    filters: Filters,
    max_records: Option<usize>,
    marker: Option<String>,
}

/// The list `Filters.Filter.1` of requests.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filters {
    #[serde(default, rename = "Filter", alias = "member")]
    list: Vec<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Filter {
    name: String,
    #[serde(default)]
    values: Values,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Values {
    #[serde(default, rename = "Value", alias = "member")]
    list: Vec<String>,
}

impl Filter {
    /// Whether the database is wanted. There are no clusters and no domains here.
    ///
    /// # Errors
    /// `InvalidParameterValue` for a name that DescribeDBInstances does not have.
    fn wants(&self, region: &str, database: &Database) -> Result<bool, Ec2Error> {
        let wanted = |text: &str| self.values.list.iter().any(|value| value == text);
        match self.name.as_str() {
            "db-instance-id" => Ok(self.values.list.iter().any(|id| {
                id.eq_ignore_ascii_case(&database.id) || *id == arn(region, &database.id)
            })),
            "dbi-resource-id" => Ok(wanted(&database.resource)),
            "engine" => Ok(wanted("postgres")),
            "db-cluster-id" | "domain" => Ok(false),
            other => {
                let message = format!("Unrecognized filter name: {other}");
                Err(Ec2Error::new("InvalidParameterValue", message))
            }
        }
    }
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
    if let Some(id) = &request.id {
        find(region, id)?;
    }
    let mut wanted = BTreeMap::new();
    for (id, database) in region.databases.iter() {
        let named = request.id.as_ref().is_none_or(|name| name.eq_ignore_ascii_case(id));
        let mut all = named;
        for filter in &request.filters.list {
            all &= filter.wants(&region.name, database)?;
        }
        if all {
            wanted.insert(id.clone(), database);
        }
    }
    let (databases, marker) = page(&wanted, request.max_records, request.marker.as_deref())?;
    let item = |database: &&Database| region.database_item(database, database.status.name());
    let items = databases.into_iter().map(item).collect();
    Ok(DatabaseSet { databases: Members("DBInstance", items), marker })
}
