//! Network namespaces with a name: files in `/run/netns`, as `ip netns` keeps them.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use hedgerow_datapath::sys::Netns;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

use super::WireError;

const DIRECTORY: &str = "/run/netns";

/// The full name of a namespace of the VPC process `name`.
pub(super) fn full_name(name: &str, part: &str) -> String {
    format!("hr.{name}.{part}")
}

/// Where the namespace `full` has its name.
pub(super) fn path(full: &str) -> PathBuf {
    Path::new(DIRECTORY).join(full)
}

fn failed(operation: &'static str, object: &Path) -> impl Fn(io::Error) -> WireError {
    let object = object.display().to_string();
    move |source| WireError::Machine { operation, object: object.clone(), source }
}

/// Makes the namespace `full`, IPv6 off by default in it where `quiet` (the kernel then sends
/// nothing by itself), and bind-mounts it under its name.
pub(super) fn create(full: &str, quiet: bool) -> Result<Netns, WireError> {
    let path = path(full);
    fs::create_dir_all(DIRECTORY).map_err(failed("create directory", Path::new(DIRECTORY)))?;
    share_directory().map_err(failed("mount as shared", Path::new(DIRECTORY)))?;
    OpenOptions::new().write(true).create_new(true).open(&path).map_err(|source| {
        match source.kind() {
            io::ErrorKind::AlreadyExists => WireError::NamespaceExists(full.to_owned()),
            _ => failed("create", &path)(source),
        }
    })?;
    let made = std::thread::scope(|scope| {
        let worker = scope.spawn(|| unshare_onto(&path, quiet));
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    made.and_then(|()| Netns::open(&path)).map_err(|source| {
        remove(full);
        failed("make network namespace", &path)(source)
    })
}

/// Makes the directory a shared mount, as `ip netns` does when it first needs it. Were it to do so
/// after us, it would cover our names with copies, and removing those would free nothing.
fn share_directory() -> io::Result<()> {
    let none = None::<&str>;
    let share = || mount(none, DIRECTORY, none, MsFlags::MS_SHARED | MsFlags::MS_REC, none);
    match share() {
        // Not a mount point yet.
        Err(Errno::EINVAL) => {
            let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(DIRECTORY), DIRECTORY, none, bind, none)?;
            Ok(share()?)
        }
        result => Ok(result?),
    }
}

/// Gives the calling thread, which must end afterwards, a new namespace and mounts it on `path`.
fn unshare_onto(path: &Path, quiet: bool) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    if quiet {
        // Absent when the kernel has no IPv6, which is just as quiet.
        set_ipv6(&["all", "default"], &[("disable_ipv6", "1")]);
    } else {
        // Addresses come from the API, so there is nobody to ask for one, nor whether it is taken.
        let settings = [("accept_dad", "0"), ("accept_ra", "0"), ("router_solicitations", "0")];
        set_ipv6(&["all", "default"], &settings);
    }
    mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

/// Settings of IPv6 in the calling thread's namespace. A kernel without IPv6 has none.
fn set_ipv6(scopes: &[&str], settings: &[(&str, &str)]) {
    for scope in scopes {
        for (name, value) in settings {
            let _absent = fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/{name}"), value);
        }
    }
}

/// Switches IPv6 on for these links, so that they have the addresses they are given and ask for none.
pub(super) fn allow_ipv6(full: &str, namespace: &Netns, links: &[&str]) -> Result<(), WireError> {
    // 1: no link-local address of its own (IN6_ADDR_GEN_MODE_NONE).
    let settings = [
        ("addr_gen_mode", "1"),
        ("accept_dad", "0"),
        ("accept_ra", "0"),
        ("router_solicitations", "0"),
        ("disable_ipv6", "0"),
    ];
    namespace.run(|| set_ipv6(links, &settings)).map_err(failed("switch IPv6 on in", &path(full)))
}

/// Lets the namespace forward between its links, silently where a packet goes back where it came
/// from (in IPv6 a link without an address of its own is silent), and its sockets have any address
/// that a local route leads to.
pub(super) fn make_router(full: &str, namespace: &Netns) -> Result<(), WireError> {
    let settings = [("ip_forward", "1"), ("conf/all/send_redirects", "0")]
        .into_iter()
        .chain([("conf/default/send_redirects", "0")]);
    let write = move || {
        let mut settings = settings;
        settings
            .try_for_each(|(name, value)| fs::write(format!("/proc/sys/net/ipv4/{name}"), value))?;
        set_ipv6(&["all"], &[("forwarding", "1")]);
        let _without_ipv6 = fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1");
        Ok(())
    };
    let written = namespace.run(write).and_then(|result| result);
    written.map_err(failed("let packets be forwarded in", &path(full)))
}

/// Removes the name `full`, if it is there; the namespace lives on while processes are in it.
pub(super) fn remove(full: &str) {
    let path = path(full);
    // EINVAL: the file is there and nothing is mounted on it; ENOENT: nothing is there.
    let _not_mounted = umount2(&path, MntFlags::MNT_DETACH);
    if let Err(error) = fs::remove_file(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "remove network namespace");
    }
}

/// The namespace `full`, if it is there; what is left of one that was being made is removed.
pub(super) fn existing(full: &str) -> Result<Option<Netns>, WireError> {
    let path = path(full);
    match statfs(&path) {
        Ok(status) if status.filesystem_type() == NSFS_MAGIC => {
            Netns::open(&path).map(Some).map_err(failed("open network namespace", &path))
        }
        Ok(_) => {
            remove(full);
            Ok(None)
        }
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(failed("look at", &path)(errno.into())),
    }
}

/// What follows `hr.NAME.` in the names of this process's namespaces, in order. An absent directory
/// is an empty one.
pub(super) fn parts(name: &str) -> io::Result<Vec<String>> {
    let prefix = full_name(name, "");
    let entries = match fs::read_dir(DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut parts = Vec::new();
    for entry in entries {
        let file = entry?.file_name();
        parts.extend(file.to_str().and_then(|file| file.strip_prefix(&prefix)).map(str::to_owned));
    }
    parts.sort();
    Ok(parts)
}
