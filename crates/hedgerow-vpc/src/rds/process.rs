//! A server's process: one that we started, or one of an earlier process of our name that still runs.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;

/// How long a server may take to end when asked.
const FAREWELL: Duration = Duration::from_secs(10);

/// A process that is the same whatever becomes of its number: see pidfd_open(2).
#[derive(Debug)]
pub(super) struct Pid(OwnedFd);

impl Pid {
    fn open(pid: u32) -> io::Result<Pid> {
        // SAFETY: takes two numbers and returns a descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that pidfd_open made for us alone; it fits an int.
        Ok(Pid(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// Sends a signal; none only asks whether the process is there.
    fn signal(&self, signal: Option<Signal>) -> io::Result<()> {
        let (fd, signal) = (self.0.as_raw_fd(), signal.map_or(0, |signal| signal as i32));
        let nothing = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a descriptor that lives through the call, and no memory.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, nothing, 0) };
        if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Returns when the process has ended.
    async fn ended(&self) {
        // Readable then, says pidfd_open(2).
        let watched = self.0.try_clone().and_then(|fd| {
            // SAFETY: the descriptor is owned and neither closed nor replaced before its drop.
            let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
            Ok(watched?)
        });
        match watched {
            Ok(watched) => drop(watched.readable().await),
            Err(error) => {
                tracing::error!(%error, "watch a database's server");
                std::future::pending().await
            }
        }
    }
}

/// The server of a data folder.
#[derive(Debug)]
pub(super) enum Server {
    /// Our child.
    Started(Child),
    /// Of an earlier process of our name.
    Found(Pid),
}

impl Server {
    /// What it ended with, where that is known. May be dropped and asked again.
    pub(super) async fn wait(&mut self) -> Option<std::process::ExitStatus> {
        match self {
            Server::Started(child) => child.wait().await.ok(),
            Server::Found(pid) => {
                pid.ended().await;
                None
            }
        }
    }

    /// "Fast shutdown": sessions are cut, then the server ends.
    pub(super) async fn end(mut self) {
        let signal = |server: &Server, signal| match server {
            Server::Started(child) => child.id().map_or(Ok(()), |pid| {
                let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
                Ok(nix::sys::signal::kill(pid, signal)?)
            }),
            Server::Found(pid) => pid.signal(Some(signal)),
        };
        let _gone: io::Result<()> = signal(&self, Signal::SIGINT);
        if tokio::time::timeout(FAREWELL, self.wait()).await.is_err() {
            let _gone: io::Result<()> = signal(&self, Signal::SIGKILL);
            self.wait().await;
        }
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    let file = |path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    file(a).is_some_and(|a| file(b) == Some(a))
}

/// The server that runs on the data folder `data`, and whether its network is `netns`.
///
/// Its number is what it wrote itself; that the process with this number is the server is seen by
/// its working directory, which PostgreSQL makes the data folder.
pub(super) fn find(data: &Path, netns: &Path) -> Option<(Server, bool)> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let number: u32 = text.lines().next()?.trim().parse().ok()?;
    let pid = Pid::open(number).ok()?;
    let process = Path::new("/proc").join(number.to_string());
    let (ours, in_place) =
        (same_file(&process.join("cwd"), data), same_file(&process.join("ns/net"), netns));
    // While it is there its number is nobody else's, so what was read was its own.
    (ours && pid.signal(None).is_ok()).then_some((Server::Found(pid), in_place))
}

/// Ends the servers in the network `netns`, at once, and returns when they are gone or after a
/// second: for databases of which nothing is to stay.
pub(crate) fn end_all_in(netns: &Path) {
    let in_it = |process: &Path| same_file(&process.join("ns/net"), netns);
    let is_server = |process: &Path| {
        fs::read_link(process.join("exe")).is_ok_and(|exe| {
            exe.starts_with("/usr/lib/postgresql")
                && exe.file_name().is_some_and(|n| n == "postgres")
        })
    };
    let mut ending = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = number.and_then(|number| Pid::open(number).ok()) else { continue };
        let process = entry.path();
        if in_it(&process) && is_server(&process) && pid.signal(Some(Signal::SIGQUIT)).is_ok() {
            ending.push(pid);
        }
    }
    for _ in 0..100 {
        if ending.iter().all(|pid| pid.signal(None).is_err()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_never_taken_for_the_server_by_its_number_alone() {
        let data = std::env::temp_dir().join(format!("hedgerow-find-{}", std::process::id()));
        fs::create_dir_all(&data).expect("a folder");
        let sleep = |directory: &Path| {
            let mut command = std::process::Command::new("sleep");
            command.arg("60").current_dir(directory).spawn().expect("start sleep")
        };
        let (mut elsewhere, mut here) = (sleep(Path::new("/")), sleep(&data));
        let own = Path::new("/proc/self/ns/net");
        let found = |number: String| {
            fs::write(data.join("postmaster.pid"), number).expect("written");
            find(&data, own).map(|(_, in_place)| in_place)
        };
        let results = [
            found(format!("{}\n/x\n", elsewhere.id())),
            found(format!("{}\n/x\n", here.id())),
            found("-5\n".to_owned()),
            found("0\n".to_owned()),
            found(String::new()),
        ];
        let foreign = find(&data, Path::new("/proc/self/ns/mnt")).is_none();
        for child in [&mut elsewhere, &mut here] {
            child.kill().expect("end sleep");
            child.wait().expect("wait for sleep");
        }
        let gone = found(format!("{}\n/x\n", here.id()));
        fs::remove_dir_all(&data).expect("remove the folder");
        assert_eq!(results, [None, Some(true), None, None, None]);
        assert!(foreign && gone.is_none());
    }
}
