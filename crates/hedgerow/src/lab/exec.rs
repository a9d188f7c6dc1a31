//! Commands on a node: `lab exec`, and `lab load-image` on all of them.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};

use super::process::{Process, open_netns, recorded};
use super::state::{Instance, LabName, State};

/// What `lab exec` calls the control plane's instance.
const CONTROL_PLANE: &str = "control-plane";

/// Runs a command on a node, with its namespaces, on the caller's terminal; returns its exit code.
///
/// Must be called before this process has other threads: the kernel moves only a process of one
/// thread into another mount namespace.
pub fn exec(lab: &LabName, node: &str, command: &[String]) -> Result<ExitCode> {
    let state = State::of(lab)?;
    if node == CONTROL_PLANE || node == state.control_plane.id {
        let netns = open_netns(&state.control_plane.netns(lab))?;
        setns(netns, CloneFlags::CLONE_NEWNET).context("entering the control plane's network")?;
    } else {
        enter(&pid_1(lab, find(&state, node)?)?)?;
    }
    let (program, args) = command.split_first().context("exec needs a command")?;
    let status = Command::new(program)
        .args(args)
        .status()
        .with_context(|| format!("running '{program}' on {node}"))?;
    Ok(exit_code(status))
}

fn find<'a>(state: &'a State, node: &str) -> Result<&'a Instance> {
    let names = || state.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
    state.node(node).with_context(|| {
        format!("lab '{}' has no node '{node}'; it has {}, {CONTROL_PLANE}", state.name, names())
    })
}

fn pid_1(lab: &LabName, node: &Instance) -> Result<Process> {
    recorded(&lab.dir())
        .into_iter()
        .find(|process| process.component == node.component() && process.alive())
        .with_context(|| format!("node {} does not run; see: hedgerow lab status", node.name))
}

/// Moves to the node's namespaces; children are then in its pid namespace too.
fn enter(pid_1: &Process) -> Result<()> {
    let namespaces = ["ipc", "uts", "net", "pid", "mnt"].map(|kind| {
        let path = format!("/proc/{}/ns/{kind}", pid_1.pid);
        File::open(&path).with_context(|| format!("opening {path}"))
    });
    // All are opened before the first is entered: the mount namespace has another /proc.
    let namespaces = namespaces.into_iter().collect::<Result<Vec<File>>>()?;
    for namespace in namespaces {
        setns(namespace, CloneFlags::empty()).context("entering the node's namespaces")?;
    }
    std::env::set_current_dir("/").context("changing to the node's root")
}

/// As a shell would report it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Imports an image archive into every node, all at once.
///
/// containerd's socket is reached through the root of the node's PID 1; the archive is read here.
pub fn load_image(lab: &LabName, archive: &Path) -> Result<()> {
    ensure!(archive.is_file(), "{} is not a file", archive.display());
    let state = State::of(lab)?;
    let mut imports: Vec<(&str, Child)> = Vec::new();
    for node in &state.nodes {
        let socket = format!("/proc/{}/root/run/containerd/containerd.sock", pid_1(lab, node)?.pid);
        let child = Command::new("ctr")
            .args(["-a", &socket, "-n", "k8s.io", "images", "import"])
            .arg(archive)
            .stdin(Stdio::null())
            .spawn()
            .context("starting ctr (Debian package containerd)")?;
        imports.push((&node.name, child));
    }
    let mut failed = Vec::new();
    for (node, mut child) in imports {
        if !child.wait().context("waiting for ctr")?.success() {
            failed.push(node);
        }
    }
    if !failed.is_empty() {
        bail!("{} could not be loaded into {}", archive.display(), failed.join(", "));
    }
    Ok(())
}
