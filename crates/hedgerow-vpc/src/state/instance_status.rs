//! DescribeInstanceStatus: running instances pass their checks, others have none.

use serde::Serialize;

use super::instance::{Instance, StateItem};
use super::region::find;
use super::select::{Field, check_filters, describe_request, matches_all, page};
use super::{Context, Region};
use crate::api::error::Ec2Error;

describe_request!(
    DescribeInstanceStatus,
    "InstanceId",
    include_all_instances: Option<bool>,
    /// No service operates instances here, so there are no more to list.
    #[serde(rename = "IncludeManagedResources")] _managed: Option<bool>,
);

/// Answer of DescribeInstanceStatus.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusSet {
    instance_status_set: Vec<StatusItem>,
    next_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusItem {
    instance_id: String,
    availability_zone: String,
    availability_zone_id: String,
    instance_state: StateItem,
    system_status: Checks,
    instance_status: Checks,
    events_set: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Checks {
    status: &'static str,
    details: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: &'static str,
}

fn status(_: &Region, instance: &Instance) -> Vec<String> {
    vec![checks(instance).status.into()]
}

fn reachability(_: &Region, instance: &Instance) -> Vec<String> {
    checks(instance).details.iter().map(|check| check.status.into()).collect()
}

const FILTERS: &[Field<Instance>] = &[
    ("availability-zone", |_, i| vec![i.zone.name.clone()]),
    ("availability-zone-id", |_, i| vec![i.zone.id.clone()]),
    ("instance-state-code", |_, i| vec![i.state().code.to_string()]),
    ("instance-state-name", |_, i| vec![i.state().name.into()]),
    ("instance-status.status", status),
    ("instance-status.reachability", reachability),
    ("system-status.status", status),
    ("system-status.reachability", reachability),
    ("operator.managed", |_, _| vec!["false".into()]),
    ("operator.principal", |_, _| Vec::new()),
    // No disks and no scheduled events: these never match.
    ("attached-ebs-status.status", |_, _| Vec::new()),
    ("event.code", |_, _| Vec::new()),
    ("event.description", |_, _| Vec::new()),
    ("event.instance-event-id", |_, _| Vec::new()),
    ("event.not-after", |_, _| Vec::new()),
    ("event.not-before", |_, _| Vec::new()),
    ("event.not-before-deadline", |_, _| Vec::new()),
];

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeInstanceStatus,
) -> Result<StatusSet, Ec2Error> {
    let region = &*cx.region;
    for id in &request.ids {
        find(&region.instances, id)?;
    }
    check_filters(&request.filters, FILTERS)?;
    let all = request.include_all_instances == Some(true);
    let shown = region
        .instances
        .values()
        .filter(|i| all || i.is_running())
        .filter(|i| request.ids.is_empty() || request.ids.contains(&i.id))
        .filter(|i| matches_all(region, *i, &i.id, FILTERS, &request.filters));
    let (shown, next_token) = page(shown, |i| &i.id, &request.selection())?;
    let instance_status_set = shown.into_iter().map(status_item).collect();
    Ok(StatusSet { instance_status_set, next_token })
}

fn status_item(instance: &Instance) -> StatusItem {
    StatusItem {
        instance_id: instance.id.clone(),
        availability_zone: instance.zone.name.clone(),
        availability_zone_id: instance.zone.id.clone(),
        instance_state: instance.state(),
        system_status: checks(instance),
        instance_status: checks(instance),
        events_set: Vec::new(),
    }
}

fn checks(instance: &Instance) -> Checks {
    if instance.is_running() {
        Checks { status: "ok", details: vec![Check { name: "reachability", status: "passed" }] }
    } else {
        Checks { status: "not-applicable", details: Vec::new() }
    }
}
