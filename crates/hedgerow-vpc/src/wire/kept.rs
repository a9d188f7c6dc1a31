//! What outlives a process whose records do: `/run/hedgerow-vpc/NAME`, with a bpffs of its own for
//! the fabric's pins and a word on whose records they belong to.
//!
//! A start with the same records adopts what it finds: see [`super::adopt`]. Anything else of that
//! name is removed first, for its flows and devices would be taken for those of other records. After
//! a reboot there is nothing, as `/run` is gone.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::{fs, os::unix::fs::DirBuilderExt};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::{WireError, netns};
use crate::rds;

const ROOT: &str = "/run/hedgerow-vpc";

fn directory(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

fn owner(directory: &Path) -> PathBuf {
    directory.join("owner")
}

fn pins(directory: &Path) -> PathBuf {
    directory.join("bpf")
}

/// Makes ready what is kept for the records called `records`. Returns the place for pins.
pub(super) fn take(name: &str, records: &str) -> Result<PathBuf, WireError> {
    let directory = directory(name);
    let failed = |operation| {
        let object = directory.display().to_string();
        move |source| WireError::Machine { operation, object, source }
    };
    let known = fs::read_to_string(owner(&directory)).ok();
    if known.as_deref() != Some(records) {
        let removed = sweep(name).map_err(failed("sweep"))?;
        if !removed.is_empty() {
            tracing::warn!(?removed, "removed what a process with other records left");
        }
    }
    let pins = pins(&directory);
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(&pins).map_err(failed("make directory"))?;
    if statfs(&pins).map_err(io::Error::from).map_err(failed("look at"))?.filesystem_type()
        != BPF_FS_MAGIC
    {
        mount(Some("bpf"), &pins, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
            .map_err(io::Error::from)
            .map_err(failed("mount a bpffs below"))?;
    }
    fs::write(owner(&directory), records).map_err(failed("write the owner of"))?;
    Ok(pins)
}

/// Removes the directory with its pins; absent is fine. Returns whether it was there.
fn remove(name: &str) -> io::Result<bool> {
    let directory = directory(name);
    let absent_is_fine = |result: io::Result<()>| match result {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    if !directory.exists() {
        return Ok(false);
    }
    // Before the pins go: without it nobody takes the rest for something whole.
    absent_is_fine(fs::remove_file(owner(&directory)))?;
    let pins = pins(&directory);
    // EINVAL: nothing is mounted; ENOENT: nothing is there.
    let _not_mounted = umount2(&pins, MntFlags::MNT_DETACH);
    absent_is_fine(fs::remove_dir(&pins))?;
    absent_is_fine(fs::remove_dir(&directory))?;
    // Only when it was the last.
    let _others = fs::remove_dir(ROOT);
    Ok(true)
}

/// Removes the directory when the machine is gone.
pub(super) fn remove_all(name: &str) {
    if let Err(error) = remove(name) {
        tracing::warn!(directory = %directory(name).display(), %error, "remove pins");
    }
}

/// Removes what a killed process of this `name` left: every namespace `hr.NAME.…`, with which their
/// veth pairs go, and the pins in `/run/hedgerow-vpc/NAME`. Returns what was removed.
///
/// # Errors
/// When `/run` cannot be read or changed. What is absent is fine.
pub fn sweep(name: &str) -> io::Result<Vec<String>> {
    let mut removed = Vec::new();
    if remove(name)? {
        removed.push(directory(name).display().to_string());
    }
    for part in netns::parts(name)? {
        let full = netns::full_name(name, &part);
        if part.starts_with("db-") {
            rds::end_all_in(&netns::path(&full));
        }
        netns::remove(&full);
        removed.push(full);
    }
    Ok(removed)
}
