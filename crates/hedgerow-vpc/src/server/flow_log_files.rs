//! The flow logs of the API as files below a directory, or as lines of standard output.
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
use std::sync::{Weak, mpsc as sync};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use super::Server;
use super::flow_log_sums::{Batch, Sums};
use crate::state::ACCOUNT;
use crate::state::flow_logs::Destination;
use crate::state::time::Timestamp;
use crate::wire::Wire;

/// How often packets are asked for and intervals looked at.
const TICK: Duration = Duration::from_millis(500);
/// How late packets may be told: at the second tick after they were counted.
const LATE: Duration = Duration::from_millis(1_500);
/// For how long packets may be under way through the program that counts them.
const UNDER_WAY: Duration = Duration::from_millis(5);
/// How long the last lines may take.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Where flow logs are written.
enum Target {
    /// To files below this directory.
    Below(PathBuf),
    /// All to standard output, without headers.
    Output,
}

/// Asks for the last lines, and where to say that they are written.
type Finish = sync::Sender<()>;

/// The task that writes.
pub(super) struct Files(mpsc::UnboundedSender<Finish>);

impl Files {
    /// Writes the flow logs of `server` below `directory`, or to standard output for `-`, until it
    /// ends or [`Files::finish`].
    pub fn start(server: Weak<Server>, directory: PathBuf, interval: Option<u64>) -> Files {
        let target = match directory == Path::new("-") {
            true => Target::Output,
            false => Target::Below(directory),
        };
        let (sender, mut inbox) = mpsc::unbounded_channel::<Finish>();
        tokio::spawn(async move {
            let mut sums = Sums::new(interval);
            let mut tick = tokio::time::interval(TICK);
            loop {
                let finish = tokio::select! {
                    _ = tick.tick() => None,
                    asked = inbox.recv() => match asked {
                        Some(finish) => Some(finish),
                        None => return,
                    },
                };
                let Some(server) = server.upgrade() else { return };
                let Some(wire) = &server.wire else { return };
                gather(&server, wire, &mut sums).await;
                if let Some(done) = finish {
                    tokio::time::sleep(UNDER_WAY).await;
                    gather(&server, wire, &mut sums).await;
                    let batches = sums.finish(&server.state());
                    write(&target, &batches);
                    let _gone = done.send(());
                    return;
                }
                let now = SystemTime::now();
                let batches = sums.flush(&server.state(), now.checked_sub(LATE).unwrap_or(now));
                write(&target, &batches);
            }
        });
        Files(sender)
    }

    /// Writes what the present intervals have so far, and no more after it. Blocks until it is
    /// written, so not to be called where the task runs.
    pub fn finish(&self) {
        let (done, written) = sync::channel();
        if self.0.send(done).is_ok() && written.recv_timeout(LAST_LINES).is_err() {
            tracing::error!("the last lines of flow logs were not written in time");
        }
    }
}

/// Adds what was counted since the last time.
async fn gather(server: &Server, wire: &Wire, sums: &mut Sums) {
    match wire.flow_counts().await {
        Ok(counted) => {
            let state = server.state();
            counted.counts.iter().for_each(|count| sums.add(&state, count));
            sums.missed(counted.missed);
        }
        Err(error) => {
            tracing::error!(%error, "ask for the packets of flow logs");
            sums.skip();
        }
    }
}

fn write(target: &Target, batches: &[Batch]) {
    match target {
        Target::Below(directory) => write_files(directory, batches),
        Target::Output => {
            let text: String = batches.iter().map(lines).collect();
            let mut output = std::io::stdout().lock();
            if let Err(error) = output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
                tracing::error!(%error, "write flow logs to standard output");
            }
        }
    }
}

/// Appends every batch to its file.
fn write_files(directory: &Path, batches: &[Batch]) {
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
    let in_bucket = matches!(batch.destination, Destination::Bucket { .. });
    let header = match in_bucket && file.metadata()?.len() == 0 {
        true => format!("{}\n", batch.header),
        false => String::new(),
    };
    file.write_all((header + &lines(batch)).as_bytes())
}

fn lines(batch: &Batch) -> String {
    batch.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
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
