//! One PostgreSQL server: Debian's, in the network of the database, as its own user, with its own
//! folder; nothing of it is left once it has ended. With records that outlive our process it does, too,
//! and the next one takes it up.

use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nix::unistd::{User, chown, setgid, setgroups, setuid};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

use super::process::{self, Server};
use super::{Config, News};
use crate::effect::DatabaseView;
use crate::state::rds::Status;

/// The server's user, which Debian's package makes; the server refuses to run as root.
const USER: &str = "postgres";
/// Where Debian 12 keeps PostgreSQL's programs.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// Where a server sees its folder, whatever is closed to it above the real one.
const HOME: &str = "/var/lib/postgresql";
/// Written once the files of a server are whole.
const MADE: &str = "made";
/// How long a server may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
enum DatabaseError {
    #[error("{operation} {}: {source}", .path.display())]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("no user {USER}: install Debian's package postgresql-15")]
    NoUser,
    #[error("{program} ended with {status}; its output is in {}", .log.display())]
    Ended { program: &'static str, status: std::process::ExitStatus, log: PathBuf },
    #[error("the server is not ready after {PATIENCE:?}; its log is {}", .0.display())]
    NotReady(PathBuf),
}

/// What a program is started for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// To serve.
    Server,
    /// To read its input, do something and end.
    Tool,
}

fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DatabaseError {
    let path = path.to_owned();
    move |source| DatabaseError::File { operation, path, source }
}

/// A database's life: until it is `stopped`, which says whether its folder goes too.
pub(super) async fn run(
    config: Config,
    view: DatabaseView,
    mut stopped: oneshot::Receiver<bool>,
    news: mpsc::UnboundedSender<News>,
) {
    let site = Site::new(&config, &view.instance);
    let tell = |status| {
        let _at_the_end = news.send((view.region.clone(), view.instance.clone(), status));
    };
    if site.has_data() && process::find(&site.data(), &site.netns).is_none() {
        // It was available to the API before the last process ended.
        tell(Status::Creating);
    }
    let started = tokio::select! {
        started = site.start(&view) => Some(started),
        remove = &mut stopped => {
            // What was under way was killed when its future was dropped.
            site.leave(remove.unwrap_or(false));
            None
        }
    };
    let remove = match started {
        None => return,
        Some(Err(error)) => {
            tracing::error!(database = view.id, %error, "no server for the database");
            tell(Status::Failed);
            stopped.await
        }
        Some(Ok(mut server)) => {
            tracing::info!(database = view.id, address = %view.address, port = view.port, "ready");
            tell(Status::Available);
            tokio::select! {
                status = server.wait() => {
                    tracing::error!(database = view.id, ?status, "the database's server ended");
                    tell(Status::Failed);
                    (&mut stopped).await
                }
                remove = &mut stopped => {
                    server.end().await;
                    remove
                }
            }
        }
    };
    site.leave(remove.unwrap_or(false));
}

/// What is left of a database that no record names goes: its server and its folder.
pub(super) async fn remove_leftover(config: &Config, instance: &str) {
    let site = Site::new(config, instance);
    if let Some((server, _)) = process::find(&site.data(), &site.netns) {
        server.end().await;
    }
    site.leave(true);
}

/// Where one server runs.
struct Site {
    folder: PathBuf,
    netns: PathBuf,
    /// Whether the server outlives our process.
    outlives: bool,
}

impl Site {
    fn new(config: &Config, instance: &str) -> Self {
        Self {
            folder: config.folder.join(instance),
            netns: Path::new("/run/netns").join(format!("hr.{}.{instance}", config.name)),
            outlives: config.keep,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Whether a cluster was made here, whole.
    fn has_data(&self) -> bool {
        self.folder.join(MADE).exists()
    }

    /// The server is gone: its folder goes too, or stays for the next process.
    fn leave(&self, remove: bool) {
        if remove && let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(folder = %self.folder.display(), %error, "remove a database's folder");
        }
    }

    /// Takes up the server that runs here, or makes the files, unless they are there, and starts one;
    /// returns when it takes connections.
    async fn start(&self, view: &DatabaseView) -> Result<Server, DatabaseError> {
        if !self.has_data() {
            self.make_data(view).await?;
        }
        if let Some(server) = self.take_up().await {
            return self.ready(server).await;
        }
        let arguments = server_arguments(view.address, view.port);
        let server = Server::Started(self.spawn("postgres", &arguments, Use::Server)?);
        match self.ready(server).await {
            // One that the last process had just started had not written its number yet.
            Err(error) => match self.take_up().await {
                Some(server) => self.ready(server).await,
                None => Err(error),
            },
            ready => ready,
        }
    }

    /// The server that an earlier process left running, if its network is still the database's; if
    /// not, it is ended.
    async fn take_up(&self) -> Option<Server> {
        let (server, in_place) = process::find(&self.data(), &self.netns)?;
        let folder = self.folder.display();
        if in_place {
            tracing::info!(%folder, "took up the server of the last process");
            return Some(server);
        }
        tracing::warn!(%folder, "its network is gone: the database's server is started anew");
        server.end().await;
        None
    }

    async fn make_data(&self, view: &DatabaseView) -> Result<(), DatabaseError> {
        self.make_folder(view)?;
        let text = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        let mut arguments = text(&["-D", "data", "--no-sync", "--pwfile=password"]);
        arguments.extend(text(&["--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"]));
        arguments.push(format!("--username={}", view.user));
        self.complete("initdb", &arguments, "").await?;
        self.allow_logins()?;
        if let Some(name) = view.database.as_deref().filter(|name| *name != "postgres") {
            // The name is letters, digits and underscores: `state` checked it.
            let single = text(&["--single", "-D", "data", "postgres"]);
            self.complete("postgres", &single, &format!("CREATE DATABASE \"{name}\"\n")).await?;
        }
        let made = self.folder.join(MADE);
        fs::write(&made, "").map_err(file("write", &made))
    }

    fn make_folder(&self, view: &DatabaseView) -> Result<(), DatabaseError> {
        let user = User::from_name(USER).ok().flatten().ok_or(DatabaseError::NoUser)?;
        // A process that was killed may have left half of one.
        let _absent = fs::remove_dir_all(&self.folder);
        fs::create_dir_all(&self.folder).map_err(file("make folder", &self.folder))?;
        let secret = self.folder.join("password");
        fs::write(&secret, &view.password).map_err(file("write", &secret))?;
        for (path, mode) in [(&secret, 0o600), (&self.folder, 0o700)] {
            fs::set_permissions(path, Permissions::from_mode(mode)).map_err(file("close", path))?;
            chown(path, Some(user.uid), Some(user.gid))
                .map_err(|error| file("give to postgres", path)(error.into()))?;
        }
        Ok(())
    }

    /// Logins from everywhere by password: security groups say who gets that far.
    fn allow_logins(&self) -> Result<(), DatabaseError> {
        let rules = self.folder.join("data/pg_hba.conf");
        File::options()
            .append(true)
            .open(&rules)
            .and_then(|mut rules| rules.write_all(b"host all all 0.0.0.0/0 scram-sha-256\n"))
            .map_err(file("append to", &rules))
    }

    /// Runs a program to its end.
    async fn complete(
        &self,
        program: &'static str,
        arguments: &[String],
        input: &str,
    ) -> Result<(), DatabaseError> {
        let mut child = self.spawn(program, arguments, Use::Tool)?;
        let failed = || file("run", Path::new(program));
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await.map_err(failed())?;
        }
        let status = child.wait().await.map_err(failed())?;
        if status.success() {
            return Ok(());
        }
        Err(DatabaseError::Ended { program, status, log: self.log() })
    }

    /// PostgreSQL writes `ready` to line 8 of `postmaster.pid` once it takes connections.
    async fn ready(&self, mut server: Server) -> Result<Server, DatabaseError> {
        let pid_file = self.data().join("postmaster.pid");
        let ready = async {
            loop {
                let text = fs::read_to_string(&pid_file).unwrap_or_default();
                if text.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let ended = tokio::select! {
            biased;
            status = server.wait() => Some(status.unwrap_or_default()),
            () = ready => None,
            () = tokio::time::sleep(PATIENCE) => {
                server.end().await;
                return Err(DatabaseError::NotReady(self.log()));
            }
        };
        match ended {
            None => Ok(server),
            Some(status) => {
                let log = self.log();
                Err(DatabaseError::Ended { program: "postgres", status, log })
            }
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Starts a program as the server's user in the database's network, in mount and IPC
    /// namespaces of its own. Unless it is a server that outlives us, it is killed when the child is
    /// dropped, or when we are.
    fn spawn(
        &self,
        program: &'static str,
        arguments: &[String],
        purpose: Use,
    ) -> Result<Child, DatabaseError> {
        let user = User::from_name(USER).ok().flatten().ok_or(DatabaseError::NoUser)?;
        let log = File::options().create(true).append(true).open(self.log());
        let log = log.map_err(file("open", &self.log()))?;
        let errors = log.try_clone().map_err(file("share", &self.log()))?;
        let netns = File::open(&self.netns).map_err(file("open namespace", &self.netns))?;
        let from = CString::new(self.folder.as_os_str().as_bytes());
        let from = from.map_err(|error| file("use", &self.folder)(error.into()))?;
        let mut command = Command::new(format!("{PROGRAMS}/{program}"));
        command.args(arguments).env_clear().env("PATH", PROGRAMS).env("LC_ALL", "C.UTF-8");
        let stays = purpose == Use::Server && self.outlives;
        command.stdin(if purpose == Use::Tool { Stdio::piped() } else { Stdio::null() });
        command.stdout(log).stderr(errors).kill_on_drop(!stays);
        if stays {
            // A Ctrl-C is for us.
            command.process_group(0);
        }
        let enter = move || {
            setns(&netns, CloneFlags::CLONE_NEWNET)?;
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC)?;
            let (none, flags) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
            mount(none, c"/", none, flags, none)?;
            mount(Some(from.as_c_str()), HOME, none, MsFlags::MS_BIND, none)?;
            nix::unistd::chdir(HOME)?;
            setgroups(&[user.gid])?;
            setgid(user.gid)?;
            setuid(user.uid)?;
            if !stays {
                // After the change of user, which would clear it.
                nix::sys::prctl::set_pdeathsig(Signal::SIGQUIT)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes system calls on data that were made
        // before and that it owns; short paths are copied to the stack, and no lock is taken.
        unsafe { command.pre_exec(enter) };
        command.spawn().map_err(file("start", Path::new(program)))
    }
}

/// No fsync: data that are kept survive our death, not the machine's.
fn server_arguments(address: Ipv4Addr, port: u16) -> Vec<String> {
    let mut arguments = vec!["-D".to_owned(), "data".to_owned()];
    for setting in [
        format!("listen_addresses={address}"),
        format!("port={port}"),
        "unix_socket_directories=".to_owned(),
        "fsync=off".to_owned(),
        "shared_buffers=16MB".to_owned(),
        "max_connections=50".to_owned(),
        "dynamic_shared_memory_type=mmap".to_owned(),
    ] {
        arguments.extend(["-c".to_owned(), setting]);
    }
    arguments
}
