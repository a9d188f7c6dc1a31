//! RDS: databases that are reached from outside of their VPC, and ModifyDBInstance.
//!
//! A public database has a public address as a launched instance has. Groups and routes decide who
//! gets there; the endpoint's name is the private address inside of its VPC ([`crate::dns`]).

use serde::Deserialize;

use super::rds::{Database, Status, find};
use super::rds_create::{GroupIds, groups};
use super::rds_describe::DatabaseAnswer;
use super::{Context, Region, address};
use crate::api::error::Ec2Error;

/// `InvalidVPCNetworkStateFault`, in RDS's words, where a database cannot be public.
pub(super) fn check(region: &Region, vpc: &str) -> Result<(), Ec2Error> {
    let refused = |why: &str| {
        let message = format!("Cannot create a publicly accessible DBInstance. {why}");
        Err(Ec2Error::new("InvalidVPCNetworkStateFault", message))
    };
    if region.internet_gateway_of(vpc).is_none() {
        return refused(
            "The specified VPC has no internet gateway attached.Update the VPC and then try again",
        );
    }
    if !region.vpcs.get(vpc).is_some_and(|vpc| vpc.dns_support && vpc.dns_hostnames) {
        return refused(
            " The specified VPC does not support DNS resolution, DNS hostnames, or both. Update \
             the VPC and then try again",
        );
    }
    Ok(())
}

/// ModifyDBInstance. What is built is in force when it is answered, also without
/// `ApplyImmediately`, as it is at RDS.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ModifyDatabase {
    #[serde(rename = "DBInstanceIdentifier")]
    id: String,
    vpc_security_group_ids: Option<GroupIds>,
    publicly_accessible: Option<bool>,
    deletion_protection: Option<bool>,
    #[serde(rename = "ApplyImmediately")]
    _at_once: Option<bool>,
}

pub(crate) fn modify(
    cx: &mut Context<'_>,
    request: ModifyDatabase,
) -> Result<DatabaseAnswer, Ec2Error> {
    let database = find(cx.region, &request.id)?;
    if matches!(database.status, Status::Creating | Status::Failed) {
        let message = "Database instance is not in available state.";
        return Err(Ec2Error::new("InvalidDBInstanceState", message));
    }
    let changed = changed(cx, database, &request)?;
    let (id, interface) = (changed.id.clone(), changed.interface.clone());
    let record = cx.region.interfaces.get_mut(&interface).expect("a database has an interface");
    record.groups.clone_from(&changed.groups);
    if changed.public {
        address::give_at_launch(cx, &interface);
    } else {
        cx.region.launch_addresses.remove(&interface);
    }
    cx.effects.push(cx.region.put_interface(&interface));
    cx.region.databases.insert(id.clone(), changed);
    let database = &cx.region.databases[&id];
    Ok(cx.region.database_answer(database, database.status.name()))
}

/// The database as the request wants it.
fn changed(
    cx: &Context<'_>,
    database: &Database,
    request: &ModifyDatabase,
) -> Result<Database, Ec2Error> {
    let mut changed = database.clone();
    let vpc = &cx.region.interfaces[&database.interface].vpc;
    if let Some(ids) = request.vpc_security_group_ids.as_ref().filter(|ids| !ids.list.is_empty()) {
        changed.groups = groups(cx.region, cx.quotas, vpc, &ids.list)?;
    }
    changed.public = request.publicly_accessible.unwrap_or(database.public);
    if changed.public && !database.public {
        check(cx.region, vpc)?;
    }
    changed.protected = request.deletion_protection.unwrap_or(database.protected);
    Ok(changed)
}
