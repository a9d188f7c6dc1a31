//! Flow logs: the record, making, describing and deleting them. The server writes the lines.

use hedgerow_core::sg::Direction;
use serde::{Deserialize, Serialize};

use super::flow_logs_format::{DEFAULT, Format};
use super::interface::Interface;
use super::region::{Resource, find};
use super::select::{Field, Filter, Selection, select};
use super::tags::{TagItem, TagSpecification, requested};
use super::time::Timestamp;
use super::{Context, Region};
use crate::api::error::Ec2Error;

/// Most resources in one request.
const MAX_RESOURCES: usize = 1_000;

/// A flow log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowLog {
    pub(crate) id: String,
    /// `vpc-…`, `subnet-…` or `eni-…`.
    pub(crate) resource: String,
    pub(crate) traffic: Traffic,
    pub(crate) destination: Destination,
    /// As given, or EC2's default; always a [`Format`].
    pub(crate) format: String,
    /// Seconds that one line covers: 60 or 600.
    pub(crate) interval: u32,
    pub(crate) created: Timestamp,
    role: Option<String>,
}

/// Which flows a flow log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Traffic {
    Accept,
    Reject,
    All,
}

impl Traffic {
    /// As in requests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Traffic::Accept => "ACCEPT",
            Traffic::Reject => "REJECT",
            Traffic::All => "ALL",
        }
    }

    /// Whether a flow that was let through, or was not, belongs in it.
    pub fn covers(self, accepted: bool) -> bool {
        match self {
            Traffic::Accept => accepted,
            Traffic::Reject => !accepted,
            Traffic::All => true,
        }
    }
}

/// Where lines go. Both are directories on the machine here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Destination {
    /// A CloudWatch Logs log group.
    LogGroup(String),
    /// A bucket, and a prefix for names in it; neither has `.` or `..` as a part.
    Bucket { bucket: String, prefix: String },
}

impl Destination {
    fn kind(&self) -> &'static str {
        match self {
            Destination::LogGroup(_) => "cloud-watch-logs",
            Destination::Bucket { .. } => "s3",
        }
    }

    fn log_group(&self) -> Option<String> {
        match self {
            Destination::LogGroup(name) => Some(name.clone()),
            Destination::Bucket { .. } => None,
        }
    }

    fn arn(&self) -> Option<String> {
        match self {
            Destination::LogGroup(_) => None,
            Destination::Bucket { bucket, prefix } if prefix.is_empty() => {
                Some(format!("arn:aws:s3:::{bucket}"))
            }
            Destination::Bucket { bucket, prefix } => {
                Some(format!("arn:aws:s3:::{bucket}/{prefix}"))
            }
        }
    }
}

impl Resource for FlowLog {
    const NOT_FOUND: &'static str = "InvalidFlowLogId.NotFound";
    const NOUN: &'static str = "flow log ID";

    fn id(&self) -> &str {
        &self.id
    }
}

impl FlowLog {
    /// The fields of its lines.
    pub(crate) fn format(&self) -> Format {
        Format::parse(&self.format).expect("checked when it was made")
    }

    /// Whether it covers the interface.
    pub(crate) fn covers(&self, interface: &Interface) -> bool {
        [&interface.id, &interface.subnet, &interface.vpc].contains(&&self.resource)
    }
}

/// How EC2 writes a gate's direction.
pub(crate) fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

/// CreateFlowLogs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateFlowLogs {
    client_token: Option<String>,
    deliver_logs_permission_arn: Option<String>,
    log_group_name: Option<String>,
    #[serde(default, rename = "ResourceId")]
    resources: Vec<String>,
    resource_type: String,
    traffic_type: Option<String>,
    log_destination_type: Option<String>,
    log_destination: Option<String>,
    log_format: Option<String>,
    max_aggregation_interval: Option<u32>,
    destination_options: Option<DestinationOptions>,
    #[serde(default, rename = "TagSpecification")]
    tag_specifications: Vec<TagSpecification>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DestinationOptions {
    file_format: Option<String>,
    hive_compatible_partitions: Option<bool>,
    per_hour_partition: Option<bool>,
}

/// Answer of CreateFlowLogs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedFlowLogs {
    client_token: Option<String>,
    flow_log_id_set: Vec<String>,
    unsuccessful: Vec<String>,
}

pub(crate) fn create(
    cx: &mut Context<'_>,
    request: CreateFlowLogs,
) -> Result<CreatedFlowLogs, Ec2Error> {
    if request.resources.is_empty() {
        return Err(Ec2Error::missing("ResourceId"));
    }
    if request.resources.len() > MAX_RESOURCES {
        let message = format!("More than {MAX_RESOURCES} resources in one request");
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    for id in &request.resources {
        check_resource(cx.region, &request.resource_type, id)?;
    }
    let traffic = match request.traffic_type.as_deref() {
        Some("ACCEPT") => Traffic::Accept,
        Some("REJECT") => Traffic::Reject,
        Some("ALL") => Traffic::All,
        Some(other) => {
            return Err(Ec2Error::value("TrafficType", other, "It is ACCEPT, REJECT or ALL."));
        }
        None => return Err(Ec2Error::missing("TrafficType")),
    };
    let destination = destination(&request)?;
    check_options(request.destination_options.as_ref())?;
    let interval = request.max_aggregation_interval.unwrap_or(600);
    if !matches!(interval, 60 | 600) {
        return Err(Ec2Error::value("MaxAggregationInterval", interval, "It is 60 or 600."));
    }
    let format = request.log_format.unwrap_or_else(|| DEFAULT.to_owned());
    Format::parse(&format).map_err(|part| {
        let why = "Fields are ${name}, with a name that flow logs here have.";
        Ec2Error::value("LogFormat", part, why)
    })?;
    let tags = requested(&request.tag_specifications, &["vpc-flow-log"], "vpc-flow-log")?;
    let same = |log: &FlowLog| {
        request.resources.contains(&log.resource)
            && log.traffic == traffic
            && log.destination == destination
    };
    if cx.region.flow_logs.values().any(same) {
        let message = "Error. There is an existing Flow Log with the same configuration and log \
                       destination.";
        return Err(Ec2Error::new("FlowLogAlreadyExists", message));
    }
    let mut flow_log_id_set = Vec::new();
    for resource in request.resources {
        let log = FlowLog {
            id: cx.mint.id("fl"),
            resource,
            traffic,
            destination: destination.clone(),
            format: format.clone(),
            interval,
            created: cx.now,
            role: request.deliver_logs_permission_arn.clone(),
        };
        cx.region.set_tags(&log.id, tags.clone());
        flow_log_id_set.push(log.id.clone());
        cx.region.flow_logs.insert(log.id.clone(), log.clone());
        follow(cx, &log);
    }
    let client_token = request.client_token;
    Ok(CreatedFlowLogs { client_token, flow_log_id_set, unsuccessful: Vec::new() })
}

/// The log came or went: the fabric counts the packets of the interfaces that it covers, or no more.
fn follow(cx: &mut Context<'_>, log: &FlowLog) {
    let region = &*cx.region;
    let covered = region.interfaces.values().filter(|interface| log.covers(interface));
    let effects: Vec<_> = covered.map(|interface| region.put_interface(&interface.id)).collect();
    cx.effects.extend(effects);
}

fn check_resource(region: &Region, kind: &str, id: &str) -> Result<(), Ec2Error> {
    match kind {
        "VPC" => find(&region.vpcs, id).map(drop),
        "Subnet" => find(&region.subnets, id).map(drop),
        "NetworkInterface" => find(&region.interfaces, id).map(drop),
        other => {
            let why = "Flow logs here are of a VPC, Subnet or NetworkInterface.";
            Err(Ec2Error::value("ResourceType", other, why))
        }
    }
}

fn destination(request: &CreateFlowLogs) -> Result<Destination, Ec2Error> {
    let refuse = |message: &str| Err(Ec2Error::new("InvalidParameter", message));
    let (group, arn) = (request.log_group_name.as_deref(), request.log_destination.as_deref());
    match request.log_destination_type.as_deref().unwrap_or("cloud-watch-logs") {
        "cloud-watch-logs" => {
            let from_arn = arn.map(|arn| log_group_of(arn).ok_or(arn)).transpose();
            let from_arn = from_arn.map_err(|arn| {
                Ec2Error::value("LogDestination", arn, "It is no ARN of a log group.")
            })?;
            let Some(name) = group.or(from_arn) else {
                return Err(Ec2Error::missing("LogGroupName"));
            };
            if group.is_some() && from_arn.is_some() {
                return refuse("Please only provide LogGroupName or only provide LogDestination.");
            }
            if request.deliver_logs_permission_arn.is_none() {
                return refuse(
                    "DeliverLogsPermissionArn can't be empty if LogDestinationType is \
                     cloud-watch-logs.",
                );
            }
            check_path("LogGroupName", name)?;
            Ok(Destination::LogGroup(name.to_owned()))
        }
        "s3" if group.is_some() => {
            refuse("LogDestinationType must be cloud-watch-logs if LogGroupName is provided.")
        }
        "s3" => {
            let arn = arn.ok_or_else(|| Ec2Error::missing("LogDestination"))?;
            let path = arn.strip_prefix("arn:aws:s3:::").ok_or_else(|| {
                Ec2Error::value("LogDestination", arn, "It is no ARN of an S3 bucket.")
            })?;
            check_path("LogDestination", path)?;
            let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
            let prefix = prefix.trim_matches('/').to_owned();
            Ok(Destination::Bucket { bucket: bucket.to_owned(), prefix })
        }
        other => {
            let why = "Flow logs here go to cloud-watch-logs or s3.";
            Err(Ec2Error::value("LogDestinationType", other, why))
        }
    }
}

/// `NAME` of `arn:aws:logs:REGION:ACCOUNT:log-group:NAME[:*]`.
fn log_group_of(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(7, ':');
    let fits = parts.next()? == "arn" && parts.next()? == "aws" && parts.next()? == "logs";
    let name = parts.nth(3).filter(|_| fits)?;
    arn.contains(":log-group:").then(|| name.strip_suffix(":*").unwrap_or(name))
}

/// Log groups and buckets become paths of files here: no `.` or `..`, none of what shells and
/// terminals take for something else.
fn check_path(parameter: &str, path: &str) -> Result<(), Ec2Error> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-/#".contains(&c);
    let parts = || path.trim_matches('/').split('/');
    let good = path.len() <= 512
        && path.bytes().all(plain)
        && parts().all(|part| !matches!(part, "" | "." | ".."));
    if good {
        return Ok(());
    }
    let why = "It has letters, digits and ._-/# only, and no part that is empty, . or ..";
    Err(Ec2Error::value(parameter, path, why))
}

fn check_options(options: Option<&DestinationOptions>) -> Result<(), Ec2Error> {
    let Some(options) = options else { return Ok(()) };
    if let Some(other) = options.file_format.as_deref().filter(|format| *format != "plain-text") {
        let why = "Flow logs here are plain-text.";
        return Err(Ec2Error::value("DestinationOptions.FileFormat", other, why));
    }
    if [options.hive_compatible_partitions, options.per_hour_partition].contains(&Some(true)) {
        let message = "Flow logs here have neither Hive-compatible nor hourly partitions";
        return Err(Ec2Error::new("UnsupportedOperation", message));
    }
    Ok(())
}

/// DescribeFlowLogs. Its ids are `FlowLogId`, its filters `Filter`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeFlowLogs {
    #[serde(default, rename = "FlowLogId")]
    ids: Vec<String>,
    #[serde(default, rename = "Filter")]
    filters: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// Answer of DescribeFlowLogs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FlowLogSet {
    flow_log_set: Vec<FlowLogItem>,
    next_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FlowLogItem {
    creation_time: Timestamp,
    deliver_logs_permission_arn: Option<String>,
    deliver_logs_status: &'static str,
    flow_log_id: String,
    flow_log_status: &'static str,
    log_group_name: Option<String>,
    resource_id: String,
    traffic_type: &'static str,
    log_destination_type: &'static str,
    log_destination: Option<String>,
    log_format: String,
    max_aggregation_interval: u32,
    tag_set: Vec<TagItem>,
}

const FILTERS: &[Field<FlowLog>] = &[
    ("deliver-log-status", |_, _| vec!["SUCCESS".into()]),
    ("flow-log-id", |_, log| vec![log.id.clone()]),
    ("log-destination-type", |_, log| vec![log.destination.kind().into()]),
    ("log-group-name", |_, log| log.destination.log_group().into_iter().collect()),
    ("resource-id", |_, log| vec![log.resource.clone()]),
    ("traffic-type", |_, log| vec![log.traffic.name().into()]),
];

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeFlowLogs,
) -> Result<FlowLogSet, Ec2Error> {
    let region = &*cx.region;
    let wanted = Selection {
        ids: &request.ids,
        filters: &request.filters,
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
    };
    let (logs, next_token) = select(region, &region.flow_logs, FILTERS, &wanted)?;
    let item = |log: &FlowLog| FlowLogItem {
        creation_time: log.created,
        deliver_logs_permission_arn: log.role.clone(),
        deliver_logs_status: "SUCCESS",
        flow_log_id: log.id.clone(),
        flow_log_status: "ACTIVE",
        log_group_name: log.destination.log_group(),
        resource_id: log.resource.clone(),
        traffic_type: log.traffic.name(),
        log_destination_type: log.destination.kind(),
        log_destination: log.destination.arn(),
        log_format: log.format.clone(),
        max_aggregation_interval: log.interval,
        tag_set: region.tag_items(&log.id),
    };
    Ok(FlowLogSet { flow_log_set: logs.into_iter().map(item).collect(), next_token })
}

/// DeleteFlowLogs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteFlowLogs {
    #[serde(default, rename = "FlowLogId")]
    ids: Vec<String>,
}

/// Answer of DeleteFlowLogs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeletedFlowLogs {
    unsuccessful: Vec<String>,
}

pub(crate) fn delete(
    cx: &mut Context<'_>,
    request: DeleteFlowLogs,
) -> Result<DeletedFlowLogs, Ec2Error> {
    if request.ids.is_empty() {
        return Err(Ec2Error::missing("FlowLogId"));
    }
    for id in &request.ids {
        find(&cx.region.flow_logs, id)?;
    }
    for id in &request.ids {
        let gone = cx.region.flow_logs.remove(id);
        cx.region.tags.remove(id);
        gone.iter().for_each(|log| follow(cx, log));
    }
    Ok(DeletedFlowLogs { unsuccessful: Vec::new() })
}
