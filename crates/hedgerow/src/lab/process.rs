//! Long-lived processes: started in a network namespace with a log, recorded by pid **and** start
//! time, so that a recycled pid is never signalled.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, setsid};

use super::state::LabDir;

/// How many lines of a log an error shows.
const LOG_LINES: usize = 15;

/// A recorded process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The component's name: `etcd`, `node-ip-10-0-0-12…`.
    pub component: String,
    /// As the machine numbers it.
    pub pid: i32,
    /// Start time in clock ticks since boot (proc(5), field 22).
    pub started: u64,
}

/// What to start.
pub struct Start<'a> {
    /// The component's name.
    pub component: &'a str,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Network namespace to start it in; the machine's own if `None`.
    pub netns: Option<&'a Path>,
}

/// Starts a process of its own session, with nothing of our environment but `PATH` and `HOME`
/// (proxy settings would send the lab's own requests elsewhere), and records it.
pub fn start(dir: &LabDir, what: Start<'_>) -> Result<Process> {
    let log = log_file(dir, what.component)?;
    let mut command = Command::new(&what.program);
    command.args(&what.args).stdin(Stdio::null());
    command.stdout(log.try_clone().context("sharing the log")?).stderr(log);
    clean_environment(&mut command);
    let netns = what.netns.map(open_netns).transpose()?;
    // SAFETY: between fork and exec the closure only makes two system calls on a descriptor that
    // outlives it; it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            setsid()?;
            if let Some(netns) = &netns {
                setns(netns, CloneFlags::CLONE_NEWNET)?;
            }
            Ok(())
        });
    }
    let child =
        command.spawn().with_context(|| format!("starting {} as a process", what.component))?;
    record(dir, what.component, child.id() as i32)
}

/// Leaves the program only what every program needs.
pub fn clean_environment(command: &mut Command) {
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    // Logs are files.
    command.env("HOME", "/root").env("NO_COLOR", "1");
}

/// Opens a network namespace by its path.
pub fn open_netns(path: &Path) -> Result<File> {
    File::open(path).with_context(|| {
        format!("opening the instance's network namespace {} (is hedgerow-vpc up?)", path.display())
    })
}

/// The component's log, for appending.
pub fn log_file(dir: &LabDir, component: &str) -> Result<File> {
    let path = dir.log_file(component);
    File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("opening the log {}", path.display()))
}

/// Writes the pid file of a process that runs.
pub fn record(dir: &LabDir, component: &str, pid: i32) -> Result<Process> {
    let process = identify(component, pid)
        .with_context(|| format!("{component} (pid {pid}) ended before it could be recorded"))?;
    let path = dir.run().join(format!("{component}.pid"));
    let mut file = File::create(&path).with_context(|| format!("writing {}", path.display()))?;
    writeln!(file, "{pid} {}", process.started)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(process)
}

/// The process that has this pid now.
pub fn identify(component: &str, pid: i32) -> Option<Process> {
    let started = stat(pid)?.started;
    Some(Process { component: component.to_owned(), pid, started })
}

/// Every recorded process, by component; also those that ended.
pub fn recorded(dir: &LabDir) -> Vec<Process> {
    let mut found: Vec<Process> = fs::read_dir(dir.run())
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let component = path.file_name()?.to_str()?.strip_suffix(".pid")?.to_owned();
            let text = fs::read_to_string(&path).ok()?;
            let (pid, started) = text.trim().split_once(' ')?;
            Some(Process { component, pid: pid.parse().ok()?, started: started.parse().ok()? })
        })
        .collect();
    found.sort_by(|a, b| a.component.cmp(&b.component));
    found
}

impl Process {
    /// Whether it still runs. A zombie does not: nothing of it is left but its exit status.
    pub fn alive(&self) -> bool {
        // Ours to reap only if this very command started it; ECHILD otherwise.
        let _ = waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG));
        stat(self.pid).is_some_and(|stat| stat.started == self.started && stat.runs())
    }

    /// Fails with the end of its log if it ended.
    pub fn check(&self, dir: &LabDir) -> Result<()> {
        if self.alive() {
            return Ok(());
        }
        let log = dir.log_file(&self.component);
        bail!("{} ended; its log {} ends with:\n{}", self.component, log.display(), tail(&log))
    }

    /// Sends a signal if it still runs.
    pub fn signal(&self, signal: Signal) {
        if self.alive() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Resident memory in MiB; 0 if it ended.
    pub fn rss_mib(&self) -> u64 {
        rss_mib(self.pid)
    }
}

/// Waits until none of `processes` runs; returns those that still do after `limit`.
pub fn wait_gone(processes: &[Process], limit: Duration) -> Vec<Process> {
    let deadline = Instant::now() + limit;
    loop {
        let alive: Vec<Process> = processes.iter().filter(|p| p.alive()).cloned().collect();
        if alive.is_empty() || Instant::now() >= deadline {
            return alive;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Resident memory of a process in MiB; 0 if it ended.
pub fn rss_mib(pid: i32) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        })
        .map_or(0, |kib| kib / 1024)
}

/// Every process of the machine.
pub fn all() -> Vec<i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Pid and name of the children of `pid`.
pub fn children(pid: i32) -> Vec<(i32, String)> {
    all()
        .into_iter()
        .filter_map(|child| {
            let stat = stat(child)?;
            (stat.parent == pid && stat.runs()).then_some((child, stat.name))
        })
        .collect()
}

/// The words a process was started with; none if it ended.
pub fn command_line(pid: i32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// Identity of the process's network namespace: its inode, also that of the file it is bound to.
pub fn network_id(pid: i32) -> Option<u64> {
    Some(fs::metadata(format!("/proc/{pid}/ns/net")).ok()?.ino())
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    state: char,
    parent: i32,
    started: u64,
}

impl Stat {
    fn runs(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    /// Parses `/proc/PID/stat`. The name stands in parentheses and may itself hold some.
    fn parse(text: &str) -> Option<Stat> {
        let (head, rest) = text.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(Stat {
            name,
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

fn stat(pid: i32) -> Option<Stat> {
    Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_parse_whatever_the_name() {
        let fields: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let line = format!("17 (a) b (c) S {}", fields.join(" "));
        let stat = Stat::parse(&line).expect("parses");
        assert_eq!(stat, Stat { name: "a) b (c".into(), state: 'S', parent: 4, started: 22 });
    }

    #[test]
    fn a_recycled_pid_is_not_ours() {
        let pid = std::process::id() as i32;
        let started = stat(pid).expect("we run").started;
        let process = |started| Process { component: "test".into(), pid, started };
        assert!(process(started).alive());
        assert!(!process(started + 1).alive());
    }
}
