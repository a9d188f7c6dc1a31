//! Raw calls that aya and nix lack: entering network namespaces, and maps shared by `mmap`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// A network namespace held open by a file descriptor.
#[derive(Debug)]
pub struct Netns(File);

impl Netns {
    /// Opens the namespace at `path`, such as `/run/netns/NAME` or `/proc/PID/ns/net`.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        File::open(path).map(Self)
    }

    /// The calling thread's namespace.
    pub fn current() -> io::Result<Self> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// Moves the calling thread, and no other, into the namespace for good.
    pub fn enter(&self) -> io::Result<()> {
        // SAFETY: setns takes a descriptor, which lives through the call, and touches no memory.
        let result = unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Runs `f` in a thread of its own inside the namespace (about 70 µs). Sockets made there stay
    /// in the namespace wherever they are used later.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| self.enter().map(|()| f()));
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock of `bpf_ktime_get_ns`.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills the struct we own; it cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// `BPF_MAP_LOOKUP_AND_DELETE_BATCH` of `enum bpf_cmd`.
const LOOKUP_AND_DELETE_BATCH: libc::c_long = 25;

/// The `batch` part of `union bpf_attr`.
#[derive(Default)]
#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Takes every entry out of a hash map, which nobody should be writing to: entries that come or
/// change meanwhile may be left or lost.
pub fn take_all<K: aya::Pod, V: aya::Pod>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>> {
    let mut entries = Vec::new();
    let (mut position, mut begun, mut most) = (0u32, false, 4_096usize);
    loop {
        let (mut keys, mut values) = (Vec::<K>::with_capacity(most), Vec::<V>::with_capacity(most));
        let mut next = 0u32;
        let mut batch = Batch {
            in_batch: if begun { &raw const position as u64 } else { 0 },
            out_batch: &raw mut next as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: most as u32,
            map_fd: map.as_raw_fd() as u32,
            ..Batch::default()
        };
        // SAFETY: the structure is the one of this command; the kernel writes at most `count` keys
        // and values, for which there is room, and a position, all of which outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                LOOKUP_AND_DELETE_BATCH,
                &raw mut batch,
                size_of_val(&batch),
            )
        };
        let error = (result != 0).then(io::Error::last_os_error);
        match error.as_ref().and_then(io::Error::raw_os_error) {
            // One bucket has more entries than there was room for.
            Some(libc::ENOSPC) => {
                most *= 2;
                continue;
            }
            None | Some(libc::ENOENT) => {}
            Some(_) => return Err(error.unwrap_or_else(io::Error::last_os_error)),
        }
        let count = (batch.count as usize).min(most);
        // SAFETY: the kernel wrote so many of both, and any bytes are a value of a Pod type.
        unsafe {
            keys.set_len(count);
            values.set_len(count);
        }
        entries.extend(keys.into_iter().zip(values));
        if error.is_some() {
            return Ok(entries);
        }
        (position, begun) = (next, true);
    }
}

/// A BPF array of `u32` made with `BPF_F_MMAPABLE`, shared with the kernel so that one aligned
/// store makes a change visible at once and whole.
#[derive(Debug)]
pub struct SharedWords {
    base: NonNull<AtomicU32>,
    words: usize,
    bytes: usize,
}

// SAFETY: the memory is only reached through atomics and unmapped by the one owner's drop.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Bytes between elements: the kernel rounds array values up to 8.
    const STRIDE: usize = 8;

    /// Maps the array behind `map`, which has `entries` elements of 4 bytes.
    pub fn map(map: BorrowedFd<'_>, entries: u32) -> io::Result<Self> {
        let words = entries as usize;
        // SAFETY: asks the system for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let bytes = (words * Self::STRIDE).next_multiple_of(page);
        // SAFETY: a fresh mapping at an address the kernel picks; nothing else is touched.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { base, words, bytes })
    }

    /// Publishes `value` at `index`; everything written before is visible to who reads it.
    ///
    /// # Panics
    /// When `index` is outside the array.
    pub fn store(&self, index: u32, value: u32) {
        self.word(index).store(value, Ordering::Release);
    }

    /// The value at `index`.
    ///
    /// # Panics
    /// When `index` is outside the array.
    pub fn load(&self, index: u32) -> u32 {
        self.word(index).load(Ordering::Acquire)
    }

    fn word(&self, index: u32) -> &AtomicU32 {
        let index = index as usize;
        assert!(index < self.words, "word {index} of {}", self.words);
        // SAFETY: inside the mapping by the assertion, and 8-byte aligned.
        unsafe { self.base.byte_add(index * Self::STRIDE).as_ref() }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: exactly what mmap returned; no reference outlives self.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}
