//! What one process leaves and the next one takes up, by whole frames.

use std::path::{Path, PathBuf};

use super::super::pins::LAYOUT;
use super::*;

/// A mount namespace for this thread with a bpffs of its own.
fn private_bpffs() -> PathBuf {
    let mount = |kind: &std::ffi::CStr, target: &std::ffi::CStr, flags| {
        // SAFETY: live nul-terminated strings, no data.
        let result = unsafe {
            libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, std::ptr::null())
        };
        assert_eq!(result, 0, "mount {target:?}: {}", std::io::Error::last_os_error());
    };
    // SAFETY: changes only this thread's namespace and working directory.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0, "unshare: run as root");
    mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE);
    mount(c"bpf", c"/sys/fs/bpf", 0);
    PathBuf::from("/sys/fs/bpf")
}

/// The next process, before it goes live; with what is put, its server lets nothing in.
fn next(root: &Path) -> Bench {
    let mut bench = Bench::of(Fabric::open(root).expect("open"));
    bench.group("sg-server", Direction::Ingress, &[]);
    bench
}

/// A first process with one established flow.
fn first(root: &Path) -> u32 {
    let mut bench = Bench::of(Fabric::open(root).expect("open"));
    bench.fabric.go_live().expect("go live");
    let handshake = [(Client, SYN), (Server, SYN | ACK), (Client, ACK)];
    assert_eq!(handshake.map(|(from, flags)| bench.tcp(from, flags)), [NEW, TRACKED, TRACKED]);
    bench.fabric.generation
}

#[test]
fn a_flow_is_taken_up_and_its_shortcut_is_not() {
    let root = private_bpffs();
    let mut generation = first(&root);
    for _ in 0..2 {
        let mut bench = next(&root);
        assert!(bench.fabric.generation > generation, "counted on");
        // Slots were given out in another order: a shortcut of old would lead elsewhere.
        let mut view = bench.fabric.interface(1).expect("known").clone();
        view.timeouts.udp = 31;
        bench.fabric.put_interface(view, Instant::now()).expect("put");
        bench.fabric.go_live().expect("go live");
        assert_eq!(bench.tcp(Client, ACK), TRACKED);
        assert_eq!(bench.tcp(Server, ACK), TRACKED);
        assert_eq!(bench.tcp(Client, SYN), Some(Reason::IngressGroups), "a new one is judged");
        generation = bench.fabric.generation;
    }
}

#[test]
fn a_flow_is_not_the_next_owners() {
    let root = private_bpffs();
    first(&root);
    for _ in 0..2 {
        let mut bench = next(&root);
        let mut view = bench.fabric.interface(2).expect("known").clone();
        bench.fabric.remove_interface(2, Instant::now()).expect("remove");
        view.key = 3;
        bench.fabric.put_interface(view, Instant::now()).expect("put");
        bench.fabric.go_live().expect("go live");
        assert_eq!(bench.tcp(Client, ACK), Some(Reason::IngressGroups));
    }
}

#[test]
fn a_start_that_ends_before_it_goes_live_changes_nothing() {
    let root = private_bpffs();
    first(&root);
    let mut unfinished = next(&root);
    let mut view = unfinished.fabric.interface(2).expect("known").clone();
    view.addresses.clear();
    unfinished.fabric.put_interface(view, Instant::now()).expect("put");
    drop(unfinished);
    let mut bench = next(&root);
    bench.fabric.go_live().expect("go live");
    assert_eq!(bench.tcp(Client, ACK), TRACKED, "since when is as the first one knew it");
    let records = |name: &String| name.starts_with("records-") || name == "unready";
    let version = root.join(format!("v{LAYOUT}"));
    let left: Vec<_> = crate::pins::list(&version).expect("list").into_iter().collect();
    assert_eq!(left.iter().filter(|name| records(name)).count(), 1, "{left:?}");
}

#[test]
fn another_layout_is_given_up() {
    let root = private_bpffs();
    first(&root);
    let flows = root.join(format!("v{LAYOUT}/flows"));
    std::fs::remove_file(&flows).expect("remove the pin");
    let other = aya::maps::HashMap::<_, u32, u64>::create(16, 0).expect("a map");
    other.pin(&flows).expect("pin");
    std::fs::create_dir(root.join("v0")).expect("another version's");
    let mut bench = next(&root);
    bench.fabric.go_live().expect("go live");
    assert!(!root.join("v0").exists());
    assert_eq!(bench.tcp(Client, ACK), Some(Reason::IngressGroups), "judged as a new one");
}
