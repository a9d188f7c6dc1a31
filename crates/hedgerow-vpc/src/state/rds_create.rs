//! CreateDBInstance: everything that can be refused, then the record.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::interface::{self, NewInterface};
use super::rds::{Database, Status, make};
use super::rds_describe::DatabaseAnswer;
use super::rds_subnet_group::{self, SubnetGroup, Tags};
use super::subnet::Subnet;
use super::{Context, Quotas, Region, group, rds_public};
use crate::api::error::Ec2Error;

/// The version that runs here, in RDS's words: Debian 12's.
pub(super) const ENGINE_VERSION: &str = "15";
/// PostgreSQL's port.
const PORT: u16 = 5432;

/// The list `VpcSecurityGroupIds.VpcSecurityGroupId.1` of requests.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupIds {
    #[serde(default, rename = "VpcSecurityGroupId", alias = "member")]
    pub(super) list: Vec<String>,
}

/// CreateDBInstance. What only matters to disks, backups and monitoring is accepted as it comes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateDatabase {
    #[serde(rename = "DBInstanceIdentifier")]
    id: String,
    #[serde(rename = "DBInstanceClass")]
    class: String,
    engine: String,
    engine_version: Option<String>,
    #[serde(rename = "DBName")]
    database: Option<String>,
    master_username: Option<String>,
    master_user_password: Option<String>,
    allocated_storage: Option<u32>,
    port: Option<u16>,
    #[serde(rename = "DBSubnetGroupName")]
    subnet_group: Option<String>,
    #[serde(default)]
    vpc_security_group_ids: GroupIds,
    availability_zone: Option<String>,
    publicly_accessible: Option<bool>,
    #[serde(rename = "MultiAZ")]
    multi_zone: Option<bool>,
    #[serde(default)]
    tags: Tags,
    #[serde(rename = "StorageType")]
    _storage_type: Option<String>,
    #[serde(rename = "StorageEncrypted")]
    _encrypted: Option<bool>,
    #[serde(rename = "BackupRetentionPeriod")]
    _backups: Option<u32>,
    #[serde(rename = "AutoMinorVersionUpgrade")]
    _upgrade: Option<bool>,
    #[serde(default)]
    deletion_protection: bool,
    #[serde(rename = "MaxAllocatedStorage")]
    _most_storage: Option<u32>,
    #[serde(rename = "Iops")]
    _iops: Option<u32>,
    #[serde(rename = "LicenseModel")]
    _licence: Option<String>,
    #[serde(rename = "MonitoringInterval")]
    _monitoring: Option<u32>,
    #[serde(rename = "EnablePerformanceInsights")]
    _insights: Option<bool>,
    #[serde(rename = "PreferredBackupWindow")]
    _backup_window: Option<String>,
    #[serde(rename = "PreferredMaintenanceWindow")]
    _maintenance_window: Option<String>,
    #[serde(rename = "CopyTagsToSnapshot")]
    _copy_tags: Option<IgnoredAny>,
}

fn invalid(message: impl Into<String>) -> Ec2Error {
    Ec2Error::new("InvalidParameterValue", message)
}

/// Whether `text` is `first` followed by up to `most - 1` of `later`.
fn word(text: &str, most: usize, first: fn(char) -> bool, later: fn(char) -> bool) -> bool {
    (1..=most).contains(&text.len()) && text.starts_with(first) && text.chars().all(later)
}

/// RDS's constraint: 1 to 63 letters, digits and hyphens, a letter first, no hyphen last or twice.
fn check_id(id: &str) -> Result<String, Ec2Error> {
    let fits = word(id, 63, |c| c.is_ascii_alphabetic(), |c| c.is_ascii_alphanumeric() || c == '-');
    if !fits || id.ends_with('-') || id.contains("--") {
        return Err(invalid(format!(
            "The parameter DBInstanceIdentifier is not a valid identifier: '{id}'. Identifiers \
             must begin with a letter; must contain only ASCII letters, digits, and hyphens; and \
             must not end with a hyphen or contain two consecutive hyphens."
        )));
    }
    Ok(id.to_ascii_lowercase())
}

/// What the engine is told.
struct Login {
    user: String,
    password: String,
    database: Option<String>,
}

impl Login {
    fn of(request: &CreateDatabase) -> Result<Login, Ec2Error> {
        let missing = |name: &str| {
            let message = format!("The parameter {name} must be provided and must not be blank.");
            Ec2Error::new("InvalidParameterValue", message)
        };
        let user = request.master_username.clone().ok_or_else(|| missing("MasterUsername"))?;
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !word(&user, 63, |c| c.is_ascii_alphabetic(), letters) || user.starts_with("pg_") {
            return Err(invalid(format!("MasterUsername {user} is not a valid user name")));
        }
        let password =
            request.master_user_password.clone().ok_or_else(|| missing("MasterUserPassword"))?;
        let forbidden = |c: char| !c.is_ascii_graphic() || matches!(c, '/' | '@' | '"');
        if !(8..=128).contains(&password.len()) || password.contains(forbidden) {
            return Err(invalid(
                "The parameter MasterUserPassword is not a valid password: 8 to 128 printable \
                 ASCII characters besides '/', '@', '\"', ' ' may be used.",
            ));
        }
        let database = request.database.clone();
        let starts = |c: char| c.is_ascii_alphabetic() || c == '_';
        if let Some(name) = database.iter().find(|name| !word(name, 63, starts, letters)) {
            return Err(invalid(format!("DBName {name} is not a valid name of a database")));
        }
        Ok(Login { user, password, database })
    }
}

/// What is not built, said before anything is made.
fn check_built(request: &CreateDatabase) -> Result<(), Ec2Error> {
    if request.engine != "postgres" {
        return Err(invalid(format!("Invalid DB engine: {}; postgres runs here", request.engine)));
    }
    let version = request.engine_version.as_deref().unwrap_or(ENGINE_VERSION);
    if version != ENGINE_VERSION && !version.starts_with("15.") {
        let message = format!("Cannot find version {version} for postgres; {ENGINE_VERSION} runs");
        return Err(Ec2Error::new("InvalidParameterCombination", message));
    }
    if request.multi_zone == Some(true) {
        let message = "Databases here are not MultiAZ";
        return Err(Ec2Error::new("InvalidParameterCombination", message));
    }
    if !request.class.starts_with("db.") {
        return Err(invalid(format!("Invalid DB Instance class: {}", request.class)));
    }
    if matches!(request.port, Some(0..=1149)) {
        return Err(invalid("Port must be from 1150 to 65535"));
    }
    Ok(())
}

/// The subnet: in the zone asked for, else the one of the group with most room.
fn subnet<'r>(
    region: &'r Region,
    request: &CreateDatabase,
    group: &SubnetGroup,
) -> Result<&'r Subnet, Ec2Error> {
    let wanted = request.availability_zone.as_deref();
    let subnets = group.subnets.iter().filter_map(|id| region.subnets.get(id));
    let subnet = subnets
        .filter(|subnet| wanted.is_none_or(|zone| subnet.zone.name == zone))
        .max_by_key(|subnet| subnet.free())
        .ok_or_else(|| {
            let message = format!("DB subnet group '{}' has no subnet there", group.name);
            Ec2Error::new("InvalidVPCNetworkStateFault", message)
        })?;
    subnet
        .check_room(1)
        .map_err(|error| Ec2Error::new("InsufficientDBInstanceCapacity", error.message))?;
    Ok(subnet)
}

/// The groups of a database, which are those of its VPC.
pub(super) fn groups(
    region: &Region,
    quotas: &Quotas,
    vpc: &str,
    ids: &[String],
) -> Result<Vec<String>, Ec2Error> {
    let unknown =
        |id: &str| invalid(format!("Invalid security group , groupId= {id}, groupName=."));
    group::check_on_interface(region, vpc, ids, quotas.groups_per_interface, unknown)
        .map_err(|error| invalid(error.message))
}

pub(crate) fn create(
    cx: &mut Context<'_>,
    request: CreateDatabase,
) -> Result<DatabaseAnswer, Ec2Error> {
    let id = check_id(&request.id)?;
    check_built(&request)?;
    let login = Login::of(&request)?;
    if cx.region.databases.contains_key(&id) {
        return Err(Ec2Error::new("DBInstanceAlreadyExists", "DB instance already exists"));
    }
    let group = match &request.subnet_group {
        Some(name) => rds_subnet_group::find(cx.region, name)?.clone(),
        None => rds_subnet_group::of_default_vpc(cx.region)?,
    };
    let subnet = subnet(cx.region, &request, &group)?;
    let groups = groups(cx.region, cx.quotas, &group.vpc, &request.vpc_security_group_ids.list)?;
    // In the default VPC databases are public unless the request says otherwise.
    let public = request.publicly_accessible.unwrap_or(group.is_default());
    if public {
        rds_public::check(cx.region, &group.vpc)?;
    }
    let (subnet, subnet_group) = (subnet.id.clone(), group.name.clone());
    // The default one is made on first use.
    if !cx.region.subnet_groups.contains_key(&subnet_group) {
        cx.region.subnet_groups.insert(subnet_group.clone(), group);
    }
    let new = NewInterface {
        description: "RDSNetworkInterface".to_owned(),
        requester: Some("amazon-rds".to_owned()),
        ..NewInterface::in_subnet(subnet, groups.clone())
    };
    let database = Database {
        id,
        resource: cx.mint.id("db"),
        class: request.class,
        storage: request.allocated_storage.unwrap_or(20),
        user: login.user,
        password: login.password,
        database: login.database,
        port: request.port.unwrap_or(PORT),
        subnet_group,
        interface: interface::make(cx, new),
        groups,
        tags: request.tags.map(),
        created: cx.now.0,
        status: Status::Creating,
        protected: request.deletion_protection,
        public,
    };
    let id = database.id.clone();
    make(cx, database);
    let database = &cx.region.databases[&id];
    Ok(cx.region.database_answer(database, database.status.name()))
}
