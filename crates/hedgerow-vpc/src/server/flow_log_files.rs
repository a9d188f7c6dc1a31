//! The flow logs of the API as files below a directory.
//!
//! ```text
//!   cloud-watch-logs  DIR/cloud-watch-logs/GROUP/ENI-all          one file, appended to
//!   s3                DIR/s3/BUCKET/PREFIX/AWSLogs/ACCOUNT/vpcflowlogs/REGION/YYYY/MM/DD/
//!                         ACCOUNT_vpcflowlogs_REGION_FL_YYYYMMDDTHHmmZ.log
//! ```

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::{Duration, SystemTime};

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::Server;
use super::flow_log_sums::{Batch, Sums};
use crate::state::ACCOUNT;
use crate::state::flow_logs::Destination;
use crate::state::time::Timestamp;
use crate::wire::FlowRecord;

/// How often intervals are looked at.
const TICK: Duration = Duration::from_millis(500);
/// How late a record may come after its packet: drops are collected for a second.
const LATE: Duration = Duration::from_millis(1_500);

/// Writes the flow logs of `server` below `directory` until it or the wire ends.
pub(super) fn start(
    server: Weak<Server>,
    mut records: Receiver<FlowRecord>,
    directory: PathBuf,
    interval: Option<u64>,
) {
    tokio::spawn(async move {
        let mut sums = Sums::new(interval);
        let mut tick = tokio::time::interval(TICK);
        loop {
            let received = tokio::select! {
                received = records.recv() => Some(received),
                _ = tick.tick() => None,
            };
            let Some(server) = server.upgrade() else { return };
            match received {
                Some(Ok(record)) => sum_up(&server, &mut sums, record, &mut records),
                Some(Err(RecvError::Lagged(lost))) => {
                    tracing::warn!(lost, "flow records came faster than they were summed up");
                    sums.lost();
                }
                Some(Err(RecvError::Closed)) => return,
                None => {
                    let now = SystemTime::now();
                    let now = now.checked_sub(LATE).unwrap_or(now);
                    let batches = sums.flush(&server.state(), now);
                    write(&directory, &batches);
                }
            }
        }
    });
}

/// Adds a record, and those that wait behind it.
fn sum_up(server: &Server, sums: &mut Sums, first: FlowRecord, records: &mut Receiver<FlowRecord>) {
    let state = server.state();
    sums.add(&state, &first);
    loop {
        match records.try_recv() {
            Ok(record) => sums.add(&state, &record),
            Err(TryRecvError::Lagged(_)) => sums.lost(),
            Err(TryRecvError::Empty | TryRecvError::Closed) => return,
        }
    }
}

/// Appends every batch to its file.
fn write(directory: &Path, batches: &[Batch]) {
    let mut told = BTreeSet::new();
    for batch in batches {
        let path = directory.join(path(batch));
        if let Err(error) = append(&path, batch)
            && told.insert(path.clone())
        {
            tracing::error!(%error, file = %path.display(), log = batch.log, "write a flow log");
        }
    }
}

fn append(path: &Path, batch: &Batch) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut text = String::new();
    let in_bucket = matches!(batch.destination, Destination::Bucket { .. });
    if in_bucket && file.metadata()?.len() == 0 {
        text.push_str(&batch.header);
        text.push('\n');
    }
    for line in &batch.lines {
        text.push_str(line);
        text.push('\n');
    }
    file.write_all(text.as_bytes())
}

/// Where a batch goes, below the directory.
fn path(batch: &Batch) -> PathBuf {
    let Batch { interface, log, region, traffic, .. } = batch;
    match &batch.destination {
        Destination::LogGroup(group) => {
            let stream = format!("{interface}-{}", traffic.to_ascii_lowercase());
            Path::new("cloud-watch-logs").join(group.trim_matches('/')).join(stream)
        }
        Destination::Bucket { bucket, prefix } => {
            // 2026-11-22T20:49:12.000Z
            let time = Timestamp(batch.begun).to_string();
            let (day, clock) = (&time[..10], &time[11..16]);
            let name = format!(
                "{ACCOUNT}_vpcflowlogs_{region}_{log}_{}T{}Z.log",
                day.replace('-', ""),
                clock.replace(':', "")
            );
            Path::new("s3")
                .join(bucket)
                .join(prefix)
                .join(format!("AWSLogs/{ACCOUNT}/vpcflowlogs/{region}"))
                .join(day.replace('-', "/"))
                .join(name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(destination: Destination) -> Batch {
        Batch {
            destination,
            log: "fl-1".into(),
            region: "us-west-2".into(),
            interface: "eni-1".into(),
            traffic: "ALL",
            begun: 951_782_460,
            header: "version".into(),
            lines: vec!["2".into()],
        }
    }

    #[test]
    fn paths() {
        let group = batch(Destination::LogGroup("/aws/vpc".into()));
        assert_eq!(path(&group), Path::new("cloud-watch-logs/aws/vpc/eni-1-all"));
        let bucket = Destination::Bucket { bucket: "logs".into(), prefix: "a/b".into() };
        let want = "s3/logs/a/b/AWSLogs/123456789012/vpcflowlogs/us-west-2/2000/02/29/\
                    123456789012_vpcflowlogs_us-west-2_fl-1_20000229T0001Z.log";
        assert_eq!(path(&batch(bucket)), Path::new(want));
    }
}
