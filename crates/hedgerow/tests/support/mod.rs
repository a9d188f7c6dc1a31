//! A lab for a test: up when made, down when dropped, whatever the test does in between.
//!
//! Needs what `hedgerow lab up` needs: root, `hedgerow-vpc` beside `hedgerow`, and the built
//! Kubernetes and images in the cache.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// Path of the program under test.
pub const HEDGEROW: &str = env!("CARGO_BIN_EXE_hedgerow");

/// A running lab; dropping it takes it down.
pub struct Lab {
    /// Its name: the test's, and this process's id.
    pub name: String,
}

impl Lab {
    /// Starts a lab with free ports.
    pub fn up(test: &str, args: &[&str]) -> Lab {
        let lab = Lab { name: format!("{test}-{}", std::process::id()) };
        let output = lab.try_up(args);
        assert!(output.status.success(), "lab up failed:\n{}", all(&output));
        lab
    }

    /// A name without a lab; dropping it takes down what may have been started.
    pub fn named(test: &str) -> Lab {
        Lab { name: format!("{test}-{}", std::process::id()) }
    }

    /// `hedgerow lab up` for this name, however it ends.
    pub fn try_up(&self, args: &[&str]) -> Output {
        let ports = [free_port(), free_port()].map(|port| port.to_string());
        let mut command = Command::new(HEDGEROW);
        command.args(["lab", "up", "--name", &self.name, "--ec2-port", &ports[0]]);
        command.args(["--api-port", &ports[1]]).args(args);
        command.output().expect("hedgerow starts")
    }

    /// `hedgerow lab COMMAND` for this lab; its standard output. Panics if it fails.
    pub fn hedgerow(&self, args: &[&str]) -> String {
        let output = self.try_hedgerow(args);
        assert!(output.status.success(), "hedgerow lab {args:?} failed:\n{}", all(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `hedgerow lab COMMAND`, however it ends.
    pub fn try_hedgerow(&self, args: &[&str]) -> Output {
        let (command, rest) = args.split_first().expect("a command");
        Command::new(HEDGEROW)
            .args(["lab", command, "--name", &self.name])
            .args(rest)
            .output()
            .expect("hedgerow starts")
    }

    /// A program with the environment that `hedgerow lab env` gives a shell.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let script = format!("eval \"$({HEDGEROW} lab env --name {})\" && exec \"$@\"", self.name);
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", program]).args(args);
        command
    }

    /// `kubectl` or `aws` as a user would type it; its standard output. Panics if it fails.
    pub fn run(&self, line: &str) -> String {
        let output = self.try_run(line);
        assert!(output.status.success(), "{line}\n{}", all(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The same, however it ends.
    pub fn try_run(&self, line: &str) -> Output {
        self.command("sh", &["-c", line]).output().expect("sh starts")
    }

    /// Applies a manifest.
    pub fn apply(&self, manifest: &str) {
        let line = format!("kubectl apply --server-side -f - <<'EOF'\n{manifest}\nEOF");
        self.run(&line);
    }

    /// Runs a command until its output satisfies `wanted`; panics with the last output after `limit`.
    pub fn eventually(&self, line: &str, limit: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + limit;
        loop {
            let output = self.try_run(line);
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if output.status.success() && wanted(&text) {
                return text;
            }
            let late = Instant::now() >= deadline;
            assert!(!late, "still not as wanted after {limit:?}: {line}\n{}", all(&output));
            thread::sleep(Duration::from_millis(300));
        }
    }

    /// Node names.
    pub fn nodes(&self) -> Vec<String> {
        let names = self.run("kubectl get nodes -o name");
        names.lines().map(|name| name.trim_start_matches("node/").to_owned()).collect()
    }

    /// Takes the lab down; panics if that fails.
    pub fn down(&self) {
        self.hedgerow(&["down"]);
    }

    /// What of this lab can still be found on the machine.
    pub fn remains(&self) -> Vec<String> {
        let prefix = format!("hr.{}.", self.name);
        let mut found = named(Path::new("/run/netns"), &prefix);
        for hierarchy in subfolders(Path::new("/sys/fs/cgroup")) {
            found.extend(named(&hierarchy, &prefix));
        }
        let folder = format!("/var/lib/hedgerow/{}", self.name);
        found.extend(Path::new(&folder).exists().then(|| folder.clone()));
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        let ours = |line: &&str| line.contains(&folder) || line.contains(&prefix);
        found.extend(mounts.lines().filter(ours).map(|line| format!("mount {line}")));
        let argument = format!("--name={}", self.name);
        found.extend(processes().into_iter().filter(|process| {
            process.contains(&folder) || process.contains(&prefix) || process.contains(&argument)
        }));
        found
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::env::var_os("HEDGEROW_TEST_KEEP").is_some() && thread::panicking() {
            eprintln!("kept: hedgerow lab down --name {}", self.name);
            return;
        }
        let output = self.try_hedgerow(&["down"]);
        if !output.status.success() {
            eprintln!("{}", all(&output));
        }
    }
}

/// Machine-wide settings that Kubernetes' components would like to change.
pub fn sysctls() -> BTreeMap<PathBuf, String> {
    let names = [
        "vm/overcommit_memory",
        "vm/panic_on_oom",
        "kernel/panic",
        "kernel/panic_on_oops",
        "kernel/keys/root_maxkeys",
        "kernel/keys/root_maxbytes",
        "net/ipv4/ip_forward",
        "net/ipv4/tcp_early_demux",
        "net/ipv4/conf/all/rp_filter",
        "net/ipv4/conf/all/route_localnet",
        "net/netfilter/nf_conntrack_max",
        "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
        "net/netfilter/nf_conntrack_tcp_timeout_established",
    ];
    names
        .iter()
        .map(|name| Path::new("/proc/sys").join(name))
        .filter_map(|path| Some((path.clone(), fs::read_to_string(path).ok()?)))
        .collect()
}

/// Names of the machine's own network interfaces.
pub fn interfaces() -> Vec<String> {
    named(Path::new("/sys/class/net"), "")
}

/// A loopback port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}

fn all(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect()
}

fn named(folder: &Path, prefix: &str) -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        })
        .map(|path| path.display().to_string())
        .collect();
    found.sort();
    found
}

/// Command line of every process but our own.
fn processes() -> Vec<String> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let pid: u32 = path.file_name()?.to_str()?.parse().ok()?;
            let line = fs::read(path.join("cmdline")).ok()?;
            (pid != std::process::id())
                .then(|| format!("{pid}: {}", String::from_utf8_lossy(&line).replace('\0', " ")))
        })
        .collect()
}
