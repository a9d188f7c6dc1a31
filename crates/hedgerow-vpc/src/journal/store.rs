//! A journal's directory: taking it, bringing back what it holds, tidying up.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::mirror::Mirror;
use super::segment::{self, Scan};
use super::snapshot::{self, Snapshot};
use super::writer::{Target, Writer, segment_path};
use super::{Journal, JournalError, Opened, Options, replay, sync_directory};
use crate::state::State;

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { operation, path, source }
}

fn snapshot_path(directory: &Path, next: u64) -> PathBuf {
    directory.join(format!("snapshot-{next:020}"))
}

/// See [`Journal::open`].
pub(super) fn open(
    directory: &Path,
    options: Options,
    fresh: State,
) -> Result<Opened, JournalError> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(directory);
    made.map_err(failed("make directory", directory))?;
    let lock = lock(directory)?;
    let files = Files::list(directory)?;
    let mut snapshot = match files.snapshots.last() {
        Some(next) => read_snapshot(directory, *next)?,
        None => first_snapshot(directory, &files, options, fresh.clone())?,
    };
    if snapshot.records_only != options.records_only {
        let records_only = snapshot.records_only;
        return Err(JournalError::Mode { directory: directory.to_owned(), records_only });
    }
    let from = snapshot.next;
    let last = replay_all(directory, &files, &mut snapshot)?;
    let next = snapshot.next;
    let target = open_target(directory, last, next, options.sync)?;
    let writer = Writer::start(target, next).map_err(failed("start the thread of", directory))?;
    let entries = AtomicU64::new(next - from);
    let journal = Journal {
        directory: directory.to_owned(),
        options,
        writer,
        entries,
        snapshotting: AtomicBool::new(false),
        _lock: lock,
    };
    if snapshot.state.quotas() != fresh.quotas() {
        // Entries before this point were decided with the old quotas, and are in the snapshot.
        snapshot.state.set_quotas(fresh.quotas().clone());
        journal.writer.rotate();
        keep_only(directory, &snapshot)?;
    }
    let Snapshot { state, mirror, instant, .. } = snapshot;
    Ok(Opened { journal, state, mirror, instant })
}

/// Takes the directory for this process. The lock goes with the process, however it ends.
fn lock(directory: &Path) -> Result<Flock<File>, JournalError> {
    let path = directory.join("lock");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(failed("open", &path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            let written = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
            written.map_err(failed("write", &path))?;
            Ok(lock)
        }
        Err((_, Errno::EWOULDBLOCK)) => {
            let holder = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
            Err(JournalError::Locked { directory: directory.to_owned(), holder })
        }
        Err((_, errno)) => Err(failed("lock", &path)(errno.into())),
    }
}

/// Numbers of the files of a directory, in order.
#[derive(Default)]
struct Files {
    snapshots: Vec<u64>,
    segments: Vec<u64>,
}

impl Files {
    /// What is there; files that were not finished are removed.
    fn list(directory: &Path) -> Result<Files, JournalError> {
        let mut files = Files::default();
        for entry in fs::read_dir(directory).map_err(failed("read directory", directory))? {
            let entry = entry.map_err(failed("read directory", directory))?;
            let name = entry.file_name();
            let Some((kind, number)) = name.to_str().and_then(|name| name.split_once('-')) else {
                continue;
            };
            match (kind, number.parse()) {
                ("snapshot", Ok(number)) => files.snapshots.push(number),
                ("journal", Ok(number)) => files.segments.push(number),
                ("snapshot", Err(_)) if number.ends_with(".part") => {
                    fs::remove_file(entry.path()).map_err(failed("remove", &entry.path()))?;
                }
                _ => {}
            }
        }
        files.snapshots.sort_unstable();
        files.segments.sort_unstable();
        Ok(files)
    }
}

fn read_snapshot(directory: &Path, next: u64) -> Result<Snapshot, JournalError> {
    let path = snapshot_path(directory, next);
    snapshot::read(&path).map_err(|source| JournalError::Snapshot { path, source })
}

/// The snapshot of a new directory: it keeps the seed and the quotas.
fn first_snapshot(
    directory: &Path,
    files: &Files,
    options: Options,
    state: State,
) -> Result<Snapshot, JournalError> {
    if !files.segments.is_empty() {
        return Err(JournalError::Gap { directory: directory.to_owned(), missing: 0 });
    }
    let records_only = options.records_only;
    let mirror = Mirror::default();
    let snapshot = Snapshot { next: 0, instant: 0, records_only, state, mirror };
    let path = snapshot_path(directory, 0);
    snapshot::write(&path, &snapshot).map_err(failed("write", &path))?;
    Ok(snapshot)
}

/// A journal file as it was read.
#[derive(Clone, Copy)]
struct Read {
    /// Number of its first entry.
    first: u64,
    /// Number of the entry that would come next in it.
    end: u64,
    /// How many of its bytes are whole.
    whole: usize,
}

/// Applies the entries of every journal file to the snapshot. Returns the last file.
fn replay_all(
    directory: &Path,
    files: &Files,
    snapshot: &mut Snapshot,
) -> Result<Option<Read>, JournalError> {
    let mut last = None;
    for &first in &files.segments {
        if first > snapshot.next {
            let missing = snapshot.next;
            return Err(JournalError::Gap { directory: directory.to_owned(), missing });
        }
        let path = segment_path(directory, first);
        let bytes = fs::read(&path).map_err(failed("read", &path))?;
        let Scan { entries, whole } = segment::scan(&bytes, first)
            .map_err(|source| JournalError::Segment { path: path.clone(), source })?;
        if whole < bytes.len() {
            let (file, cut) = (path.display(), bytes.len() - whole);
            tracing::warn!(%file, cut, whole, "the end of the journal is not whole and is cut off");
        }
        for (number, entry) in &entries {
            if *number < snapshot.next {
                continue;
            }
            let mirror = (!snapshot.records_only).then_some(&mut snapshot.mirror);
            replay::apply(&mut snapshot.state, mirror, entry).map_err(|action| {
                JournalError::Diverged { path: path.clone(), number: *number, action }
            })?;
            snapshot.next = number + 1;
            snapshot.instant = snapshot.instant.max(entry.instant);
        }
        let end = entries.last().map_or(first, |(number, _)| number + 1);
        last = Some(Read { first, end, whole });
    }
    Ok(last)
}

/// The file to go on with: the last one, cut where it is no longer whole, or a new one.
fn open_target(
    directory: &Path,
    last: Option<Read>,
    next: u64,
    sync: bool,
) -> Result<Target, JournalError> {
    // Entries of one file have no gaps: where a snapshot is ahead of the file, another one begins.
    let Some(Read { first, whole, .. }) = last.filter(|last| last.end == next && last.whole > 0)
    else {
        let made = Target::create(directory, next, sync);
        return made.map_err(failed("make", &segment_path(directory, next)));
    };
    let path = segment_path(directory, first);
    let file = OpenOptions::new().append(true).open(&path).map_err(failed("open", &path))?;
    let cut = file.set_len(whole as u64).and_then(|()| file.sync_all());
    cut.map_err(failed("cut the end of", &path))?;
    Ok(Target { directory: directory.to_owned(), file, segment: first, sync })
}

/// Writes the snapshot, then removes the files that it replaces.
pub(super) fn keep_only(directory: &Path, snapshot: &Snapshot) -> Result<(), JournalError> {
    let path = snapshot_path(directory, snapshot.next);
    snapshot::write(&path, snapshot).map_err(failed("write", &path))?;
    let files = Files::list(directory)?;
    let older = |number: &&u64| **number < snapshot.next;
    let snapshots = files.snapshots.iter().filter(older).map(|n| snapshot_path(directory, *n));
    let segments = files.segments.iter().filter(older).map(|n| segment_path(directory, *n));
    for path in snapshots.chain(segments) {
        fs::remove_file(&path).map_err(failed("remove", &path))?;
    }
    sync_directory(directory).map_err(failed("sync", directory))
}
