//! Cgroup directories of nodes, in every version 1 hierarchy under the same path: the kubelet
//! refuses a node whose cpu and memory hierarchies differ.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use anyhow::{Context, Result};

const ROOT: &str = "/sys/fs/cgroup";
/// The part of a node's cgroup that holds its own processes; pods are beside it.
pub const OWN: &str = "node";
/// How long directories may take to become removable after their last process was killed.
const REMOVAL: Duration = Duration::from_secs(3);

/// Every version 1 hierarchy.
fn hierarchies() -> Vec<PathBuf> {
    subfolders(Path::new(ROOT)).into_iter().filter(|path| !path.ends_with("unified")).collect()
}

/// Makes `NAME/node` in every hierarchy.
pub fn create(name: &str) -> Result<()> {
    for hierarchy in hierarchies() {
        let mut parent = hierarchy.clone();
        for part in [name, OWN] {
            let folder = parent.join(part);
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            inherit_cpuset(&parent, &folder)?;
            parent = folder;
        }
    }
    Ok(())
}

/// A new cpuset is empty and takes no process: copies what the parent may use.
fn inherit_cpuset(parent: &Path, child: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let from = parent.join(file);
        if from.exists() {
            let to = child.join(file);
            let value =
                fs::read_to_string(&from).with_context(|| format!("reading {}", from.display()))?;
            fs::write(&to, value.trim()).with_context(|| format!("writing {}", to.display()))?;
        }
    }
    Ok(())
}

/// Moves the calling process into `NAME/node` of every hierarchy.
pub fn enter(name: &str) -> Result<()> {
    for hierarchy in hierarchies() {
        let procs = hierarchy.join(name).join(OWN).join("cgroup.procs");
        fs::write(&procs, "0").with_context(|| format!("entering {}", procs.display()))?;
    }
    Ok(())
}

/// Removes every cgroup whose name starts with `prefix`; those left are in the error.
pub fn remove_all(prefix: &str) -> Result<()> {
    let deadline = Instant::now() + REMOVAL;
    for folder in all(prefix) {
        // A directory stays busy until the kernel has let go of the last killed process.
        while let Err(error) = remove(&folder) {
            if Instant::now() >= deadline {
                return Err(error).with_context(|| format!("removing {}", folder.display()));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// Every process in cgroups whose name starts with `prefix`.
pub fn processes(prefix: &str) -> Vec<i32> {
    fn collect(folder: &Path, found: &mut Vec<i32>) {
        let procs = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        found.extend(procs.lines().filter_map(|line| line.parse::<i32>().ok()));
        for child in subfolders(folder) {
            collect(&child, found);
        }
    }
    let mut found = Vec::new();
    for folder in all(prefix) {
        collect(&folder, &mut found);
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// In the version 2 hierarchy too: nodes are not placed there, but runc makes directories in it.
fn all(prefix: &str) -> Vec<PathBuf> {
    subfolders(Path::new(ROOT))
        .iter()
        .flat_map(|hierarchy| subfolders(hierarchy))
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        })
        .collect()
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .collect()
}

/// Depth first: a cgroup with children cannot be removed.
fn remove(folder: &Path) -> io::Result<()> {
    for child in subfolders(folder) {
        remove(&child)?;
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
