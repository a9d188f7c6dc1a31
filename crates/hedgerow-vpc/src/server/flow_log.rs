//! Flow records as they come: a line each, or a JSON object each.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hedgerow_core::sg;
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::state::ACCOUNT;
use crate::state::flow_logs::direction_name;
use crate::wire::{Action, FlowRecord};

/// How a record is written, newline included.
pub(super) type Form = fn(&FlowRecord) -> String;

/// A file to append to, or standard output for `-`.
pub(super) fn open(path: &Path) -> std::io::Result<Box<dyn Write + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdout()));
    }
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    Ok(Box::new(file))
}

/// Writes records to `sink` until the wire ends. `name` says where, in complaints.
pub(super) fn start(
    mut records: Receiver<FlowRecord>,
    mut sink: Box<dyn Write + Send>,
    name: String,
    form: Form,
) {
    tokio::spawn(async move {
        loop {
            let mut lines = match records.recv().await {
                Ok(record) => form(&record),
                Err(RecvError::Lagged(lost)) => {
                    tracing::warn!(lost, "flow records came faster than they were written");
                    continue;
                }
                Err(RecvError::Closed) => return,
            };
            loop {
                match records.try_recv() {
                    Ok(record) => lines.push_str(&form(&record)),
                    Err(TryRecvError::Lagged(lost)) => tracing::warn!(lost, "flow records lost"),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
            if let Err(error) = sink.write_all(lines.as_bytes()).and_then(|()| sink.flush()) {
                tracing::error!(%error, file = name, "write the flow log");
            }
        }
    });
}

/// EC2's default format with groups, reason and rule behind it.
pub(super) fn line(record: &FlowRecord) -> String {
    let mut line = record.line(ACCOUNT);
    line.push('\n');
    line
}

/// Everything that is known of a verdict.
#[derive(Serialize)]
struct Json<'a> {
    /// Seconds since 1970, with fractions.
    start: f64,
    end: f64,
    action: &'static str,
    /// Name of the reason; `allowed` if it passed.
    reason: &'static str,
    /// The reason in words.
    why: &'static str,
    /// The rule that allowed.
    rule: Option<&'a str>,
    /// The gate that judged: `egress` at the sender's interface, `ingress` at the receiver's.
    gate: &'static str,
    interface: Option<&'a str>,
    groups: Vec<&'a str>,
    /// The interface at the other end.
    peer: Option<&'a str>,
    vpc: &'a str,
    source: String,
    destination: String,
    protocol: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_type: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_code: Option<u8>,
    packets: u64,
    /// Ethernet headers included.
    bytes: u64,
}

/// The record as a JSON object on a line.
pub(super) fn json(record: &FlowRecord) -> String {
    let seconds =
        |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
    let has_ports = matches!(record.protocol, sg::TCP | sg::UDP);
    let [kind, code] = record.destination_port.to_be_bytes();
    let is_icmp = matches!(record.protocol, sg::ICMP | sg::ICMPV6);
    let object = Json {
        start: seconds(record.start),
        end: seconds(record.end),
        action: match record.action() {
            Action::Accept => "ACCEPT",
            Action::Reject => "REJECT",
        },
        reason: record.reason.name(),
        why: record.reason.describe(),
        rule: record.rule.as_ref().map(|rule| rule.0.as_str()),
        gate: direction_name(record.gate.direction),
        interface: record.gate.interface.as_deref(),
        groups: record.gate.groups.iter().map(|group| group.0.as_str()).collect(),
        peer: record.other.as_deref(),
        vpc: &record.vpc,
        source: record.source.to_string(),
        destination: record.destination.to_string(),
        protocol: record.protocol,
        source_port: has_ports.then_some(record.source_port),
        destination_port: has_ports.then_some(record.destination_port),
        icmp_type: is_icmp.then_some(kind),
        icmp_code: is_icmp.then_some(code),
        packets: record.packets,
        bytes: record.bytes,
    };
    let mut text = serde_json::to_string(&object).unwrap_or_default();
    text.push('\n');
    text
}
