//! Namespaces for tests.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use hedgerow_agent::netlink::Netlink;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A network namespace with a name in the file system, as a runtime makes for a sandbox; gone
/// when dropped.
pub struct Namespace {
    /// The file.
    pub path: PathBuf,
}

impl Namespace {
    pub fn new(what: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hr-agent-test-{what}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, "").unwrap();
        let target = path.clone();
        // The thread is in the namespace; the bind mount keeps it when the thread ends.
        let made = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let source = Path::new("/proc/thread-self/ns/net");
            mount(Some(source), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        });
        let made = made.join().unwrap();
        let namespace = Self { path };
        made.expect("root");
        namespace
    }

    pub fn open(&self) -> std::fs::File {
        std::fs::File::open(&self.path).unwrap()
    }

    pub fn netlink(&self) -> Netlink {
        Netlink::open_in(self.open().as_fd()).unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Runs `work` in a thread that lives in the namespace, as the agent does in the node's.
pub fn inside<T: Send>(node: &Namespace, work: impl FnOnce(&mut Netlink) -> T + Send) -> T {
    let file = node.open();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sched::setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
            work(&mut Netlink::open().unwrap())
        });
        thread.join().unwrap()
    })
}
