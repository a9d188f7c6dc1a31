//! What is set on instances with actions of their own: monitoring, names, CPU credits, maintenance;
//! their console.

use serde::{Deserialize, Serialize};

use super::Context;
use super::instance::{self, Instance};
use super::instance_types::burstable;
use super::region::{Region, find};
use super::select::{Field, describe_request, select};
use super::time::Timestamp;
use super::unsupported::refuse;
use crate::api::Done;
use crate::api::error::Ec2Error;

/// MonitorInstances and UnmonitorInstances.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct SetMonitoring {
    #[serde(default, rename = "InstanceId")]
    ids: Vec<String>,
}

/// Answer of MonitorInstances and UnmonitorInstances.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MonitoringSet {
    instances_set: Vec<InstanceMonitoring>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InstanceMonitoring {
    instance_id: String,
    monitoring: MonitoringState,
}

#[derive(Debug, Serialize)]
struct MonitoringState {
    state: &'static str,
}

fn set_monitoring(
    cx: &mut Context<'_>,
    ids: Vec<String>,
    on: bool,
) -> Result<MonitoringSet, Ec2Error> {
    if ids.is_empty() {
        return Err(Ec2Error::missing("InstanceId"));
    }
    for id in &ids {
        instance::alive(cx.region, id)?;
    }
    let mut instances_set = Vec::new();
    for id in ids {
        cx.region.instances.get_mut(&id).expect("found above").settings.monitoring = on;
        // EC2's answer says how it will be; the next description says that it is.
        let state = if on { "pending" } else { "disabling" };
        instances_set
            .push(InstanceMonitoring { instance_id: id, monitoring: MonitoringState { state } });
    }
    Ok(MonitoringSet { instances_set })
}

pub(crate) fn monitor(
    cx: &mut Context<'_>,
    request: SetMonitoring,
) -> Result<MonitoringSet, Ec2Error> {
    set_monitoring(cx, request.ids, true)
}

pub(crate) fn unmonitor(
    cx: &mut Context<'_>,
    request: SetMonitoring,
) -> Result<MonitoringSet, Ec2Error> {
    set_monitoring(cx, request.ids, false)
}

/// GetConsoleOutput. An instance here has no console: there is never anything on it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct GetConsoleOutput {
    instance_id: String,
    #[serde(rename = "Latest")]
    _latest: Option<bool>,
}

/// Answer of GetConsoleOutput.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConsoleOutput {
    instance_id: String,
    timestamp: Timestamp,
    output: &'static str,
}

pub(crate) fn console(
    cx: &mut Context<'_>,
    request: GetConsoleOutput,
) -> Result<ConsoleOutput, Ec2Error> {
    let instance = find(&cx.region.instances, &request.instance_id)?;
    Ok(ConsoleOutput { instance_id: instance.id.clone(), timestamp: cx.now, output: "" })
}

/// ModifyPrivateDnsNameOptions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ModifyPrivateDnsNameOptions {
    instance_id: String,
    private_dns_hostname_type: Option<String>,
    #[serde(rename = "EnableResourceNameDnsARecord")]
    a_record: Option<bool>,
    #[serde(rename = "EnableResourceNameDnsAAAARecord")]
    aaaa_record: Option<bool>,
}

pub(crate) fn modify_names(
    cx: &mut Context<'_>,
    request: ModifyPrivateDnsNameOptions,
) -> Result<Done, Ec2Error> {
    let instance = instance::alive(cx.region, &request.instance_id)?;
    let mut names = instance.names;
    if let Some(name) = &request.private_dns_hostname_type {
        names.set_hostname_type("privateDnsHostnameType", name)?;
    }
    if names.resource_name != instance.names.resource_name && instance.stopped.is_none() {
        let message = format!("The instance '{}' is not in the 'stopped' state.", instance.id);
        return Err(Ec2Error::new("IncorrectInstanceState", message));
    }
    names.a_record = request.a_record.unwrap_or(names.a_record);
    names.aaaa_record = request.aaaa_record.unwrap_or(names.aaaa_record);
    let record = cx.region.instances.get_mut(&request.instance_id).expect("found above");
    record.names = names;
    Ok(Done::new())
}

/// ModifyInstanceMaintenanceOptions: nothing here fails by itself, so nothing recovers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ModifyInstanceMaintenanceOptions {
    instance_id: String,
    auto_recovery: Option<String>,
    reboot_migration: Option<String>,
}

/// Answer of ModifyInstanceMaintenanceOptions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MaintenanceOptions {
    instance_id: String,
    auto_recovery: &'static str,
    reboot_migration: &'static str,
}

pub(crate) fn modify_maintenance(
    cx: &mut Context<'_>,
    request: ModifyInstanceMaintenanceOptions,
) -> Result<MaintenanceOptions, Ec2Error> {
    let instance = instance::alive(cx.region, &request.instance_id)?;
    for (name, given) in
        [("autoRecovery", &request.auto_recovery), ("rebootMigration", &request.reboot_migration)]
    {
        match given.as_deref() {
            None | Some("default") => {}
            Some("disabled") => refuse(&[(name, true)])?,
            Some(other) => return Err(Ec2Error::value(name, other, "It is default or disabled.")),
        }
    }
    Ok(MaintenanceOptions {
        instance_id: instance.id.clone(),
        auto_recovery: "default",
        reboot_migration: "default",
    })
}

describe_request!(DescribeInstanceCreditSpecifications, "InstanceId");

/// Answer of DescribeInstanceCreditSpecifications.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreditSet {
    instance_credit_specification_set: Vec<CreditItem>,
    next_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CreditItem {
    instance_id: String,
    cpu_credits: String,
}

/// What the instance's CPU credits are, if its type has any: since t3, unlimited by default.
fn credits(instance: &Instance) -> Option<String> {
    let usual = if instance.type_name.starts_with("t2.") { "standard" } else { "unlimited" };
    let given = instance.settings.cpu_credits.clone();
    burstable(&instance.type_name).then(|| given.unwrap_or_else(|| usual.to_owned()))
}

const CREDIT_FILTERS: &[Field<Instance>] = &[("instance-id", |_: &Region, i| vec![i.id.clone()])];

pub(crate) fn describe_credits(
    cx: &mut Context<'_>,
    request: DescribeInstanceCreditSpecifications,
) -> Result<CreditSet, Ec2Error> {
    let region = &*cx.region;
    let (page, next_token) =
        select(region, &region.instances, CREDIT_FILTERS, &request.selection())?;
    let named = !request.ids.is_empty();
    if let Some(other) = page.iter().find(|i| named && credits(i).is_none()) {
        let message = format!("The instance '{}' has no CPU credits", other.id);
        return Err(Ec2Error::new("InvalidParameterCombination", message));
    }
    // Without ids EC2 lists those only that are not as they would be by default.
    let shown = page.into_iter().filter(|i| named || credits(i).as_deref() == Some("unlimited"));
    let item = |i: &Instance| {
        credits(i).map(|cpu_credits| CreditItem { instance_id: i.id.clone(), cpu_credits })
    };
    Ok(CreditSet {
        instance_credit_specification_set: shown.filter_map(item).collect(),
        next_token,
    })
}
