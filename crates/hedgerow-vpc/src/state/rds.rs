//! RDS: PostgreSQL databases. Here is the record; a real server follows it ([`crate::rds`]).
//!
//! A database has an interface of its own in one subnet of its group, in a network namespace like
//! an instance's that is no instance of anybody: EC2 shows the interface and nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::interface::{self, Attached};
use super::rds_subnet_group::Nothing;
use super::{ACCOUNT, Context, Region, address};
use crate::api::error::Ec2Error;
use crate::effect::{DatabaseView, Effect};

/// A database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// The name that its user chose.
    pub(crate) id: String,
    /// `db-…`; also names its network namespace.
    pub(crate) resource: String,
    pub(crate) class: String,
    /// GiB, as asked for; the machine's disk is the limit.
    pub(crate) storage: u32,
    pub(crate) user: String,
    pub(crate) password: String,
    /// The database made at creation, if one was named.
    pub(crate) database: Option<String>,
    pub(crate) port: u16,
    pub(crate) subnet_group: String,
    pub(crate) interface: String,
    pub(crate) groups: Vec<String>,
    pub(crate) tags: BTreeMap<String, String>,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) status: Status,
    /// Whether DeleteDBInstance is refused.
    #[serde(default)]
    pub(crate) protected: bool,
    /// Whether it has a public address.
    #[serde(default)]
    pub(crate) public: bool,
}

/// What its server does, as far as the API was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is being made.
    Creating,
    /// It listens.
    Available,
    /// It could not be made, or ended.
    Failed,
    /// There is none: this VPC keeps records only.
    Stopped,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Available => "available",
            Status::Failed => "failed",
            Status::Stopped => "stopped",
        }
    }
}

/// The database of this name.
///
/// # Errors
/// `DBInstanceNotFound`.
pub(crate) fn find<'r>(region: &'r Region, id: &str) -> Result<&'r Database, Ec2Error> {
    region.databases.get(&id.to_ascii_lowercase()).ok_or_else(|| {
        let message = format!("DBInstance {id} not found.");
        Ec2Error::new("DBInstanceNotFound", message)
    })
}

impl Region {
    /// What the server of a database needs to know.
    fn database_view(&self, database: &Database) -> DatabaseView {
        DatabaseView {
            region: self.name.clone(),
            id: database.id.clone(),
            instance: database.resource.clone(),
            address: self.interfaces[&database.interface].primary(),
            port: database.port,
            user: database.user.clone(),
            password: database.password.clone(),
            database: database.database.clone(),
        }
    }

    /// Whether a network namespace of this name is a database's.
    pub(crate) fn is_database(&self, namespace: &str) -> bool {
        self.databases.values().any(|database| database.resource == namespace)
    }
}

/// The name of a database's endpoint, `ID.HASH.us-west-2.rds.amazonaws.com`; the VPCs' DNS knows it.
pub(crate) fn endpoint(region: &str, id: &str) -> String {
    format!("{id}.{}.{}", customer(region), zone(region))
}

/// What the endpoints in a region end with.
pub(crate) fn zone(region: &str) -> String {
    format!("{region}.rds.amazonaws.com")
}

/// The part of an endpoint's name that an account has in a region: `c` and eleven letters and
/// digits, the same for all its databases.
fn customer(region: &str) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    // FNV-1a, 64 bits: eleven digits of base 36 hold 56 of them.
    let hash =
        ACCOUNT.bytes().chain(region.bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let digits = (0..11).scan(hash, |rest, _| {
        let digit = DIGITS[(*rest % 36) as usize];
        *rest /= 36;
        Some(char::from(digit))
    });
    std::iter::once('c').chain(digits).collect()
}

/// Makes a checked database: its interface, plugged into a namespace of its own, and its server.
pub(super) fn make(cx: &mut Context<'_>, database: Database) {
    let namespace = database.resource.clone();
    let attachment = Attached {
        id: cx.mint.id("eni-attach"),
        instance: namespace.clone(),
        device_index: 0,
        delete_on_termination: true,
        attaching: false,
        since: cx.now,
    };
    cx.region.attachments.insert(attachment.id.clone(), database.interface.clone());
    let record = cx.region.interfaces.get_mut(&database.interface).expect("just made");
    record.attachment = Some(attachment);
    cx.effects.push(Effect::StartInstance { instance: namespace });
    let (id, interface, public) =
        (database.id.clone(), database.interface.clone(), database.public);
    cx.region.databases.insert(id.clone(), database);
    if public {
        address::give_at_launch(cx, &interface);
    }
    cx.effects.push(cx.region.put_interface(&interface));
    cx.effects.push(Effect::StartDatabase(cx.region.database_view(&cx.region.databases[&id])));
}

/// DeleteDBInstance. There are no snapshots: `SkipFinalSnapshot` must be said.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteDatabase {
    #[serde(rename = "DBInstanceIdentifier")]
    id: String,
    #[serde(default)]
    skip_final_snapshot: bool,
    #[serde(rename = "FinalDBSnapshotIdentifier")]
    final_snapshot: Option<String>,
    #[serde(rename = "DeleteAutomatedBackups")]
    _backups: Option<bool>,
}

pub(crate) fn delete(
    cx: &mut Context<'_>,
    request: DeleteDatabase,
) -> Result<super::rds_describe::DatabaseAnswer, Ec2Error> {
    let database = find(cx.region, &request.id)?.clone();
    if request.final_snapshot.is_some() || !request.skip_final_snapshot {
        let message = "Snapshots are not built here: delete with SkipFinalSnapshot and without \
                       FinalDBSnapshotIdentifier.";
        return Err(Ec2Error::new("InvalidParameterCombination", message));
    }
    if database.protected {
        let message = "Cannot delete protected DB Instance, please disable deletion protection and \
                       try again.";
        return Err(Ec2Error::new("InvalidParameterCombination", message));
    }
    let answer = cx.region.database_answer(&database, "deleting");
    cx.effects.push(Effect::StopDatabase { instance: database.resource.clone() });
    interface::remove(cx, &database.interface);
    cx.effects.push(Effect::RemoveInstance { instance: database.resource });
    cx.region.databases.remove(&database.id);
    Ok(answer)
}

/// PutLabDatabaseStatus: what has become of a database's server; said by the process that runs it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct PutStatus {
    instance: String,
    status: Status,
}

pub(crate) fn put_status(cx: &mut Context<'_>, request: PutStatus) -> Result<Nothing, Ec2Error> {
    let named = |database: &Database| database.resource == request.instance;
    for database in cx.region.databases.select_mut(named) {
        database.status = request.status;
    }
    Ok(Nothing {})
}

/// The database's ARN.
pub(crate) fn arn(region: &str, id: &str) -> String {
    format!("arn:aws:rds:{region}:{ACCOUNT}:db:{id}")
}
