//! Flow records as lines of a file.

use std::io::Write;
use std::path::Path;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::state::ACCOUNT;
use crate::wire::FlowRecord;

/// Appends records to `path` until the wire ends.
pub(super) fn start(mut records: Receiver<FlowRecord>, path: &Path) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    let name = path.display().to_string();
    tokio::spawn(async move {
        loop {
            let mut lines = match records.recv().await {
                Ok(record) => line(&record),
                Err(RecvError::Lagged(lost)) => {
                    tracing::warn!(lost, "flow records came faster than they were written");
                    continue;
                }
                Err(RecvError::Closed) => return,
            };
            loop {
                match records.try_recv() {
                    Ok(record) => lines.push_str(&line(&record)),
                    Err(TryRecvError::Lagged(lost)) => tracing::warn!(lost, "flow records lost"),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
            if let Err(error) = file.write_all(lines.as_bytes()) {
                tracing::error!(%error, file = name, "write the flow log");
            }
        }
    });
    Ok(())
}

fn line(record: &FlowRecord) -> String {
    let mut line = record.line(ACCOUNT);
    line.push('\n');
    line
}
