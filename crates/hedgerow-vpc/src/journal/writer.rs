//! The thread that writes entries: whatever has come while it wrote goes out in one frame (group
//! commit), so that a hundred requests wait for one write.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::segment;

/// How far the writer is.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// Number of the first entry that is not durable yet.
    pub durable: u64,
    /// Number of the first entry of the file that is written now.
    pub segment: u64,
    /// What went wrong; nothing becomes durable any more.
    pub failed: Option<Arc<str>>,
}

/// What waits to be written.
struct Queue {
    entries: Vec<Vec<u8>>,
    /// Number of the first of `entries`.
    first: u64,
    /// Number of the entry with which a new file shall begin.
    rotate: Option<u64>,
    stop: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

/// A handle on the thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Where entries go.
pub(super) struct Target {
    pub directory: PathBuf,
    pub file: File,
    /// Number of the file's first entry.
    pub segment: u64,
    /// Whether the disk must have an entry before it counts as durable, or only the kernel.
    pub sync: bool,
}

/// The journal file whose first entry has this number.
pub(super) fn segment_path(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("journal-{first:020}"))
}

impl Target {
    /// Makes the file that begins with entry `first`.
    pub fn create(directory: &Path, first: u64, sync: bool) -> io::Result<Target> {
        let path = segment_path(directory, first);
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.set_len(0)?;
        file.write_all(&segment::header(first))?;
        file.sync_all()?;
        super::sync_directory(directory)?;
        Ok(Target { directory: directory.to_owned(), file, segment: first, sync })
    }

    fn write(&mut self, first: u64, entries: &[Vec<u8>]) -> io::Result<()> {
        self.file.write_all(&segment::frame(first, entries))?;
        if self.sync { self.file.sync_data() } else { Ok(()) }
    }
}

impl Writer {
    /// Starts the thread; the next entry has number `next`.
    pub fn start(target: Target, next: u64) -> io::Result<Writer> {
        let queue = Queue { entries: Vec::new(), first: next, rotate: None, stop: false };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), wake: Condvar::new() });
        let progress = Progress { durable: next, segment: target.segment, failed: None };
        let (publish, progress) = watch::channel(progress);
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("hr-journal".to_owned());
        let thread = thread.spawn(move || run(&theirs, target, &publish))?;
        Ok(Writer { shared, progress, thread: Mutex::new(Some(thread)) })
    }

    /// Queues an encoded entry; the number that the next one will have.
    pub fn append(&self, entry: Vec<u8>) -> u64 {
        let mut queue = self.shared.lock();
        queue.entries.push(entry);
        self.shared.wake.notify_one();
        queue.first + queue.entries.len() as u64
    }

    /// The number that the next entry will have.
    pub fn next(&self) -> u64 {
        let queue = self.shared.lock();
        queue.first + queue.entries.len() as u64
    }

    /// Begins a new file with the next entry; its number.
    pub fn rotate(&self) -> u64 {
        let mut queue = self.shared.lock();
        let first = queue.first + queue.entries.len() as u64;
        queue.rotate = Some(first);
        self.shared.wake.notify_one();
        first
    }

    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Writes what is queued and ends the thread.
    pub fn stop(&self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(_)) = thread.map(JoinHandle::join) {
            tracing::error!("the journal's thread panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do. Entries up to a rotation or a full frame, with the number of the
    /// first; none where a new file is to begin; `None` to stop.
    fn take(&self) -> Option<(u64, Vec<Vec<u8>>)> {
        let mut queue = self.lock();
        while queue.entries.is_empty() && queue.rotate.is_none() && !queue.stop {
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.entries.is_empty() && queue.rotate.is_none() {
            return None;
        }
        let first = queue.first;
        let before_rotation = queue.rotate.map_or(queue.entries.len(), |at| (at - first) as usize);
        let mut bytes = 0;
        let fits = queue.entries[..before_rotation].iter().take_while(|entry| {
            let more = bytes < segment::FULL;
            bytes += entry.len();
            more
        });
        let count = fits.count();
        let rest = queue.entries.split_off(count);
        let entries = std::mem::replace(&mut queue.entries, rest);
        queue.first += count as u64;
        if entries.is_empty() {
            queue.rotate = None;
        }
        Some((first, entries))
    }
}

fn run(shared: &Shared, mut target: Target, publish: &watch::Sender<Progress>) {
    while let Some((first, entries)) = shared.take() {
        let done = match entries.is_empty() {
            true => Target::create(&target.directory, first, target.sync).map(|new| target = new),
            false => target.write(first, &entries),
        };
        let durable = first + entries.len() as u64;
        if let Err(error) = done {
            let path = segment_path(&target.directory, target.segment);
            let failed = format!(
                "the journal {} cannot be written ({error}); records in memory may not outlive \
                 this process: make room or mend the disk, then restart hedgerow-vpc",
                path.display()
            );
            tracing::error!(failed);
            // What was half written must not be followed by anything.
            publish.send_modify(|progress| progress.failed = Some(failed.into()));
            return;
        }
        publish.send_modify(|progress| {
            progress.durable = durable;
            progress.segment = target.segment;
        });
    }
}
