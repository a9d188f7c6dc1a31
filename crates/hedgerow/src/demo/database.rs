//! PostgreSQL on an instance of the lab, as a managed database service would run it there: Debian's
//! server, in the instance's network, as its own user, listening on the instance's address.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::{User, chown};

use crate::lab::process::{self, Start};
use crate::lab::state::{LabName, State};

/// The server's user, which Debian's package makes; the server refuses to run as root.
const USER: &str = "postgres";
/// Where Debian 12 keeps PostgreSQL's programs.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// The server's home on its instance. The lab's folder is closed to all but root, so the data are
/// mounted here, in a mount namespace that only the server has.
const HOME: &str = "/var/lib/postgresql";
/// The server's component name: its pid file and log, so that `lab down` stops it.
const COMPONENT: &str = "postgres";
/// How long the server may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts the server and returns when it listens.
///
/// # Errors
/// When PostgreSQL is not installed, cannot make its files, or does not listen in time.
pub fn start(lab: &LabName, instance: &str, address: Ipv4Addr, password: &str) -> Result<()> {
    // A lab that is not up is said so, before anything is made.
    State::of(lab)?;
    let dir = lab.dir();
    let data = dir.root().join("database");
    make_folder(&data, password)?;
    let netns = PathBuf::from("/run/netns").join(format!("{}{instance}", lab.prefix()));
    let server = process::start(
        &dir,
        Start {
            component: COMPONENT,
            program: PathBuf::from("unshare"),
            args: server_arguments(&data, address),
            netns: Some(&netns),
        },
    )?;
    let deadline = Instant::now() + PATIENCE;
    while !listens(&netns, SocketAddr::from((address, 5432)))? {
        server.check(&dir)?;
        if Instant::now() >= deadline {
            let log = dir.log_file(COMPONENT);
            bail!("PostgreSQL does not listen after {PATIENCE:?}; its log is {}", log.display());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("PostgreSQL listens on {address}:5432 in instance {instance}");
    Ok(())
}

/// The folder of the server's files, with the password that `initdb` reads.
fn make_folder(data: &Path, password: &str) -> Result<()> {
    let user = User::from_name(USER)
        .with_context(|| format!("looking for user {USER}"))?
        .with_context(|| format!("no user {USER}; install PostgreSQL: make setup"))?;
    fs::create_dir_all(data).with_context(|| format!("making {}", data.display()))?;
    let secret = data.join("password");
    fs::write(&secret, password).with_context(|| format!("writing {}", secret.display()))?;
    for path in [data, &secret] {
        chown(path, Some(user.uid), Some(user.gid))
            .with_context(|| format!("giving {} to {USER}", path.display()))?;
    }
    Ok(())
}

/// Arguments of `unshare`, which becomes the server: mounts the data, makes the cluster, listens.
/// Namespaces of its own for mounts and shared memory, so that nothing of it stays behind.
fn server_arguments(data: &Path, address: Ipv4Addr) -> Vec<String> {
    let script = r#"set -e
        mount --bind "$1" "$2"
        as="setpriv --reuid postgres --regid postgres --init-groups"
        cd "$2"
        $as "$3/initdb" -D data --no-sync --username=postgres --pwfile=password \
            --encoding=UTF8 --locale=C.UTF-8 --auth=scram-sha-256 >initdb.log
        echo "host all all 0.0.0.0/0 scram-sha-256" >>data/pg_hba.conf
        exec $as "$3/postgres" -D data -c listen_addresses="$4" -c unix_socket_directories= \
            -c fsync=off -c shared_buffers=16MB -c max_connections=20 \
            -c dynamic_shared_memory_type=mmap"#;
    let data = data.display().to_string();
    let words = ["--mount", "--ipc", "--propagation", "private", "sh", "-c", script, "database"];
    let mut arguments: Vec<String> = words.map(str::to_owned).to_vec();
    arguments.extend([data, HOME.to_owned(), PROGRAMS.to_owned(), address.to_string()]);
    arguments
}

/// Whether something accepts connections there. Asked from inside the instance: from elsewhere the
/// security groups would have a say.
fn listens(netns: &Path, address: SocketAddr) -> Result<bool> {
    let file = process::open_netns(netns)?;
    let attempt = std::thread::spawn(move || -> Result<bool> {
        // Only this thread moves; it ends here.
        nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET)
            .context("entering the instance's network")?;
        Ok(TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok())
    });
    attempt.join().expect("connecting does not panic")
}

/// Whether Debian's server is installed.
pub fn installed() -> bool {
    Command::new(format!("{PROGRAMS}/postgres"))
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}
