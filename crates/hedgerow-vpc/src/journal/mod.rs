//! What was answered is there after `kill -9`: a journal of requests, and snapshots of the records.
//!
//! ```text
//!   DIR/lock            held by the one process that uses DIR
//!   DIR/snapshot-N      all records before entry N                         (snapshot)
//!   DIR/journal-N       entries from N on: region, instant, mint, body     (segment, entry)
//!
//!   request ─► decided, carried out ─► appended ─► durable (group commit) ─► answered   (writer)
//!   restart ─► newest snapshot ─► every later entry decided again (replay) ─► state, mirror ─► wire
//! ```
//!
//! The state machine is pure, so the requests are the journal: deciding them again at their
//! instants gives the same records, and the checksum of each answer proves it. A snapshot begins a
//! new journal file; when it is durable, what is older goes.
//!
//! [`mirror`] is the machine's half: what the wire was asked to be, from which it is built again.

mod entry;
pub mod mirror;
mod replay;
mod segment;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::fcntl::Flock;

use mirror::Mirror;
use writer::Writer;

pub use entry::{Entry, Kind, request};
pub use replay::fingerprint;
pub use segment::{Scan, SegmentError, frame, header, scan};
pub use snapshot::{Snapshot, SnapshotError, parse as parse_snapshot};

use crate::state::State;

/// How a journal is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether there is no machine behind the records.
    pub records_only: bool,
    /// Whether an answer waits for the disk, and so outlives a power cut, or only for the kernel,
    /// and so outlives the process.
    pub sync: bool,
    /// Entries from one snapshot to the next.
    pub snapshot_every: u64,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A call to the kernel failed.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Another process has the directory.
    #[error("{} is in use by process {holder}: stop that one, or take another directory", directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
        /// Process id as the other one wrote it.
        holder: String,
    },
    /// Records with a machine behind them cannot go on without, nor the other way round.
    #[error(
        "{} was made {}: start it so, or take another directory",
        directory.display(),
        if *records_only { "with --records-only" } else { "without --records-only" }
    )]
    Mode {
        /// The directory.
        directory: PathBuf,
        /// How it was made.
        records_only: bool,
    },
    /// The newest snapshot cannot be used.
    #[error(
        "read snapshot {}: {source}. Restore the directory from a copy, or start with an empty one",
        path.display()
    )]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SnapshotError,
    },
    /// A journal file cannot be used.
    #[error(
        "read journal {}: {source}. Restore the directory from a copy; or give up everything from \
         the damage on: `truncate -s BYTE` this file there and remove later journals",
        path.display()
    )]
    Segment {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SegmentError,
    },
    /// Entries are missing between two files.
    #[error(
        "{} has no entry {missing}, but later ones: a file is missing or was cut. Restore the \
         directory from a copy, or remove the later files to give up what is in them",
        directory.display()
    )]
    Gap {
        /// The directory.
        directory: PathBuf,
        /// Number of the first entry that is missing.
        missing: u64,
    },
    /// An entry does not come to what was answered.
    #[error(
        "journal {}: entry {number} ({action}) comes to another answer than it was given: another \
         version of hedgerow-vpc wrote it. Start and stop (SIGTERM) that version once, which \
         leaves a snapshot and no journal; then this one can go on",
        path.display()
    )]
    Diverged {
        /// The file.
        path: PathBuf,
        /// The entry.
        number: u64,
        /// Its action.
        action: String,
    },
}

/// What a directory held, ready to go on.
pub struct Opened {
    /// Takes further entries.
    pub journal: Journal,
    /// The records.
    pub state: State,
    /// What the machine was asked to be; empty with [`Options::records_only`].
    pub mirror: Mirror,
    /// Instant of the last entry, seconds since 1970; time does not go back behind it.
    pub instant: u64,
}

/// An open journal.
pub struct Journal {
    directory: PathBuf,
    options: Options,
    writer: Writer,
    /// Entries since the last snapshot.
    entries: AtomicU64,
    /// Whether a snapshot is under way.
    snapshotting: AtomicBool,
    /// Held as long as the directory is ours.
    _lock: Flock<File>,
}

/// Makes the directory's names durable.
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

impl Journal {
    /// Opens `directory`, makes it where it is absent, and brings back what it holds. `fresh` is
    /// the state of a new directory; its quotas hold in an old one too.
    pub fn open(directory: &Path, options: Options, fresh: State) -> Result<Opened, JournalError> {
        store::open(directory, options, fresh)
    }

    /// How the journal is kept.
    pub fn options(&self) -> Options {
        self.options
    }

    /// Queues an entry. Called under the lock that orders decisions. Returns what to give
    /// [`Self::durable`].
    pub fn append(&self, entry: &Entry) -> u64 {
        let mut bytes = Vec::with_capacity(64 + entry.body.len());
        entry.encode(&mut bytes);
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.writer.append(bytes)
    }

    /// The number that the next entry will have.
    pub fn next(&self) -> u64 {
        self.writer.next()
    }

    /// Returns when every entry before `number` is durable.
    ///
    /// # Errors
    /// What to tell the operator, where that will never be.
    pub async fn durable(&self, number: u64) -> Result<(), Arc<str>> {
        let mut progress = self.writer.progress();
        let reached = progress.wait_for(|p| p.durable >= number || p.failed.is_some()).await;
        match reached.as_deref() {
            Ok(progress) if progress.durable >= number => Ok(()),
            Ok(progress) => Err(progress.failed.clone().unwrap_or_default()),
            Err(_) => Err("the journal is closed: hedgerow-vpc is shutting down".into()),
        }
    }

    /// Why the journal cannot be written any more, if so.
    pub fn failed(&self) -> Option<Arc<str>> {
        self.writer.progress().borrow().failed.clone()
    }

    /// Whether it is time for a snapshot; then the caller must call [`Self::begin_snapshot`] and
    /// [`Self::finish_snapshot`].
    pub fn snapshot_due(&self) -> bool {
        self.entries.load(Ordering::Relaxed) >= self.options.snapshot_every
            && !self.snapshotting.swap(true, Ordering::Relaxed)
    }

    /// Begins a new file. Called under the lock that orders decisions, with the records as they
    /// are now.
    pub fn begin_snapshot(&self, state: State, mirror: Mirror, instant: u64) -> Snapshot {
        self.entries.store(0, Ordering::Relaxed);
        let records_only = self.options.records_only;
        Snapshot { next: self.writer.rotate(), instant, records_only, state, mirror }
    }

    /// Writes the snapshot and removes what is older. Blocks. A failure is logged: the journal then
    /// grows until the next snapshot.
    pub fn finish_snapshot(&self, snapshot: &Snapshot) {
        if let Err(error) = store::keep_only(&self.directory, snapshot) {
            tracing::error!(%error, "no snapshot; the journal grows until the next one");
        }
        self.snapshotting.store(false, Ordering::Relaxed);
    }

    /// Writes what is queued, then the snapshot. Blocks. Nothing may be appended any more.
    pub fn close(&self, snapshot: &Snapshot) {
        self.writer.stop();
        match self.failed() {
            None => self.finish_snapshot(snapshot),
            Some(failed) => tracing::error!(%failed, "no snapshot"),
        }
    }
}
