//! `hedgerow lab down`: by what was recorded, and by the names only this lab can have. Every step
//! works on a lab that is half made, half gone, or not there.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, io};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;

use super::cgroup;
use super::process::{self, Process, clean_environment, recorded, wait_gone};
use super::state::{LabDir, LabName, NETNS, NODE_PREFIX};

/// Component name of the embedded VPC.
pub const VPC: &str = "vpc";
/// How long a process may take to end by SIGTERM.
const POLITE: Duration = Duration::from_secs(2);
/// How long the VPC may take to remove its namespaces.
const VPC_POLITE: Duration = Duration::from_secs(10);
/// How long the kernel may take to end a killed process (a node ends with all its pods).
const KILLED: Duration = Duration::from_secs(10);

/// The command: says whether there was anything to do.
pub fn command(name: &LabName) -> Result<()> {
    let there = anything_of(name);
    down(name)?;
    eprintln!(
        "{}",
        if there {
            format!("lab '{name}' is down")
        } else {
            format!("no lab named '{name}' was up")
        }
    );
    Ok(())
}

/// Whether anything of the lab is on the machine, running or not.
pub fn anything_of(name: &LabName) -> bool {
    name.dir().exists() || !network_ids(&name.prefix()).is_empty() || !strays(name).is_empty()
}

/// Removes everything of the lab. Goes on after a failure; all failures are in the error.
pub fn down(name: &LabName) -> Result<()> {
    let dir = name.dir();
    let known = recorded(&dir);
    let found = strays(name).into_iter().filter(|stray| !known.iter().any(|p| p.pid == stray.pid));
    let (vpc, others): (Vec<Process>, Vec<Process>) =
        known.iter().cloned().chain(found).partition(|process| process.component == VPC);
    let steps = [
        stop_all(&others),
        stop(&vpc, Signal::SIGTERM, VPC_POLITE),
        sweep(name),
        cgroup::remove_all(&name.prefix()),
        unmount_below(dir.root()),
        remove_files(&dir),
    ];
    let failures: Vec<String> =
        steps.into_iter().filter_map(|step| step.err().map(|error| format!("{error:#}"))).collect();
    if !failures.is_empty() {
        bail!("lab '{name}' is not wholly removed:\n  - {}", failures.join("\n  - "));
    }
    Ok(())
}

/// Nodes and Kubernetes have nothing to save and are slow to say goodbye: they are killed. Others
/// (relay, and what the demo runs) get the chance to end by themselves.
fn stop_all(processes: &[Process]) -> Result<()> {
    let abrupt = |process: &&Process| {
        let name = process.component.as_str();
        name.starts_with(NODE_PREFIX) || name.starts_with("kube-") || name == "etcd"
    };
    let (killed, asked): (Vec<&Process>, Vec<&Process>) = processes.iter().partition(abrupt);
    let killed: Vec<Process> = killed.into_iter().cloned().collect();
    let asked: Vec<Process> = asked.into_iter().cloned().collect();
    for process in &killed {
        process.signal(Signal::SIGKILL);
    }
    stop(&asked, Signal::SIGTERM, POLITE)?;
    stop(&killed, Signal::SIGKILL, KILLED)
}

/// Signals, waits, and kills what still runs.
fn stop(processes: &[Process], signal: Signal, limit: Duration) -> Result<()> {
    for process in processes {
        process.signal(signal);
    }
    let left = wait_gone(processes, limit);
    for process in &left {
        process.signal(Signal::SIGKILL);
    }
    let left = wait_gone(&left, KILLED);
    if !left.is_empty() {
        let names: Vec<String> =
            left.iter().map(|p| format!("{} (pid {})", p.component, p.pid)).collect();
        bail!("these do not end although killed: {}", names.join(", "));
    }
    Ok(())
}

/// Processes that can only be this lab's: in its namespaces or cgroups, or told its name. All of
/// them are recorded too, unless `up` was killed between starting one and recording it.
fn strays(name: &LabName) -> Vec<Process> {
    let prefix = name.prefix();
    let networks = network_ids(&prefix);
    let in_cgroups = cgroup::processes(&prefix);
    let relay = format!("--netns={NETNS}/{prefix}");
    let vpc = format!("--name={name}");
    process::all()
        .into_iter()
        .filter_map(|pid| {
            let words = process::command_line(pid);
            let is_vpc = words.first().is_some_and(|program| program.ends_with("/hedgerow-vpc"))
                && words.contains(&vpc);
            let ours = is_vpc
                || in_cgroups.contains(&pid)
                || process::network_id(pid).is_some_and(|id| networks.contains(&id))
                || words.iter().any(|word| word.starts_with(&relay));
            let component = if is_vpc { VPC } else { NODE_PREFIX };
            ours.then(|| process::identify(component, pid)).flatten()
        })
        .collect()
}

/// Identities of the lab's network namespaces.
fn network_ids(prefix: &str) -> Vec<u64> {
    fs::read_dir(NETNS)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        })
        .filter_map(|path| Some(fs::metadata(path).ok()?.ino()))
        .collect()
}

/// Lets `hedgerow-vpc` remove what a killed one left: namespaces, interfaces, pins.
fn sweep(name: &LabName) -> Result<()> {
    let program = env::current_exe()
        .context("finding this program's own path")?
        .with_file_name("hedgerow-vpc");
    let mut command = Command::new(&program);
    command.arg("sweep").arg(format!("--name={name}")).stdin(Stdio::null());
    clean_environment(&mut command);
    let output =
        command.output().with_context(|| format!("starting {} sweep", program.display()))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("{} sweep --name={name}: {}", program.display(), words.trim());
    }
    Ok(())
}

/// Detaches mounts of the machine below the lab's folder.
fn unmount_below(root: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
    let places: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|place| Path::new(place).starts_with(root))
        .collect();
    for place in places.iter().rev() {
        umount2(*place, MntFlags::MNT_DETACH).with_context(|| format!("unmounting {place}"))?;
    }
    Ok(())
}

fn remove_files(dir: &LabDir) -> Result<()> {
    match fs::remove_dir_all(dir.root()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", dir.root().display()))
        }
        _ => {
            // The folder of all labs goes with the last one; others keep it.
            let _ = dir.root().parent().map(fs::remove_dir);
            Ok(())
        }
    }
}
