//! PID 1 of a node, in new mount, pid, uts and ipc namespaces and the instance's network.
//!
//! It arranges what the node sees, starts containerd, imports images, and on the word from
//! `lab up` starts the kubelet and kube-proxy; then it reaps orphans and restarts what ends, as an
//! init system does. When it is killed the kernel ends the whole node, pods and mounts included.

use std::fs::{self, File};
use std::io::Read;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{sethostname, setsid};
use serde::{Deserialize, Serialize};

use super::cgroup;
use super::preflight::archives;

/// Where the node finds the lab's folders: `node`, `log`, `kubernetes`, `images`.
pub const IN_NODE: &str = "/run/lab";
/// What `lab up` writes to standard input once the API server is ready.
pub const GO: &[u8] = b"go\n";

const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
const CONTAINERD_START: Duration = Duration::from_secs(60);
/// Pause before a component that ended is started again.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// Machine-wide values that the kubelet sets at its start. It finds them as it wants them, in
/// plain files bound over the real ones, and so changes nothing of the machine.
const SYSCTLS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Folders of the node that must be on a real file system: (below `node`, where it is seen).
const REAL_FOLDERS: [(&str, &str); 5] = [
    ("kubelet", "/var/lib/kubelet"),
    ("containerd", "/var/lib/containerd"),
    ("cni", "/var/lib/cni"),
    ("pods", "/var/log/pods"),
    ("containers", "/var/log/containers"),
];

/// A node's description, written by `lab up`.
#[derive(Debug, Serialize, Deserialize)]
pub struct NodeInit {
    /// Node name.
    pub hostname: String,
    /// Address of the primary interface.
    pub address: Ipv4Addr,
    /// Name of its cgroup in every hierarchy.
    pub cgroup: String,
    /// Its folder on the machine.
    pub folder: PathBuf,
    /// The lab's logs on the machine.
    pub log: PathBuf,
    /// Kubernetes binaries.
    pub kubernetes: PathBuf,
    /// Image archives.
    pub images: PathBuf,
}

/// Runs the node until killed.
pub fn run(config: &Path) -> Result<()> {
    ensure!(std::process::id() == 1, "node-init is a node's first process; use: hedgerow lab up");
    // A signal to the process group of `lab up` (Ctrl-C) is not meant for the node.
    setsid().context("leaving the session of lab up")?;
    let text = fs::read(config).with_context(|| format!("reading {}", config.display()))?;
    let node: NodeInit =
        serde_json::from_slice(&text).with_context(|| format!("reading {}", config.display()))?;
    cgroup::enter(&node.cgroup)?;
    sethostname(&node.hostname).context("setting the host name")?;
    arrange_mounts(&node)?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("turning on ip_forward")?;
    let mut services = vec![Service::start(&node.hostname, "containerd", containerd())?];
    wait_for_containerd(&mut services[0].child)?;
    import_images()?;
    wait_for_go()?;
    services.push(Service::start(&node.hostname, "kubelet", kubelet(&node)?)?);
    services.push(Service::start(&node.hostname, "kube-proxy", kube_proxy())?);
    supervise(services)
}

fn arrange_mounts(node: &NodeInit) -> Result<()> {
    mount_at("/", None, None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_at("/proc", Some("proc"), Some("proc"), plain, None)?;
    // Copies of the machine's mounts would keep other instances' namespaces alive.
    unmount_below(&["/run/", "/var/lib/", "/var/log/"])?;
    // A staging place that no later mount hides.
    mount_at("/mnt", Some("tmpfs"), Some("tmpfs"), MsFlags::empty(), None)?;
    let stage = |name: &str| format!("/mnt/{name}");
    for (name, source) in [
        ("node", &node.folder),
        ("log", &node.log),
        ("kubernetes", &node.kubernetes),
        ("images", &node.images),
    ] {
        bind(source, &stage(name))?;
    }
    overlay("/etc", "etc")?;
    overlay("/opt", "opt")?;
    for place in ["/run", "/var/lib", "/var/log", "/tmp"] {
        mount_at(place, Some("tmpfs"), Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))?;
    }
    set_sticky("/tmp")?;
    fs::create_dir_all(IN_NODE).with_context(|| format!("making {IN_NODE}"))?;
    mount_at(IN_NODE, Some("/mnt"), None, MsFlags::MS_BIND | MsFlags::MS_REC, None)?;
    umount2("/mnt", MntFlags::MNT_DETACH).context("unmounting the staging place")?;
    for (name, place) in REAL_FOLDERS {
        bind(&Path::new(IN_NODE).join("node").join(name), place)?;
    }
    arrange_sys()?;
    fake_sysctls()?;
    // Volumes with mount propagation work only below shared mounts.
    mount_at("/", None, None, MsFlags::MS_REC | MsFlags::MS_SHARED, None)
}

/// `/sys` shows this network namespace; the cgroup hierarchies stay; the bpffs is the node's own.
fn arrange_sys() -> Result<()> {
    const KEPT: &str = "/run/lab-cgroup";
    let bind_all = MsFlags::MS_BIND | MsFlags::MS_REC;
    fs::create_dir_all(KEPT).with_context(|| format!("making {KEPT}"))?;
    mount_at(KEPT, Some("/sys/fs/cgroup"), None, bind_all, None)?;
    mount_at("/sys", Some("sysfs"), Some("sysfs"), MsFlags::empty(), None)?;
    mount_at("/sys/fs/cgroup", Some(KEPT), None, bind_all, None)?;
    umount2(KEPT, MntFlags::MNT_DETACH).context("unmounting the kept cgroup hierarchies")?;
    fs::remove_dir(KEPT).with_context(|| format!("removing {KEPT}"))?;
    mount_at("/sys/fs/bpf", Some("bpf"), Some("bpf"), MsFlags::empty(), None)
}

fn fake_sysctls() -> Result<()> {
    for (name, value) in SYSCTLS {
        let file = format!("/run/lab-sysctl/{name}");
        let folder = Path::new(&file).parent().expect("a file below /run has a parent");
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        fs::write(&file, format!("{value}\n")).with_context(|| format!("writing {file}"))?;
        let place = format!("/proc/sys/{name}");
        mount_at(&place, Some(&file), None, MsFlags::MS_BIND, None)?;
    }
    Ok(())
}

/// The machine's files, with the node's own above them.
fn overlay(place: &str, name: &str) -> Result<()> {
    let options =
        format!("lowerdir={place},upperdir=/mnt/node/{name},workdir=/mnt/node/{name}.work");
    mount_at(place, Some("overlay"), Some("overlay"), MsFlags::empty(), Some(&options))
}

fn bind(source: &Path, place: &str) -> Result<()> {
    fs::create_dir_all(place).with_context(|| format!("making {place}"))?;
    let source = source.to_str().context("a path that is not UTF-8")?;
    mount_at(place, Some(source), None, MsFlags::MS_BIND, None)
}

fn mount_at(
    place: &str,
    source: Option<&str>,
    kind: Option<&str>,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<()> {
    mount(source, place, kind, flags, options).with_context(|| {
        format!("mounting {} at {place} ({flags:?})", source.unwrap_or("a propagation change"))
    })
}

fn set_sticky(place: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(place, fs::Permissions::from_mode(0o1777))
        .with_context(|| format!("opening {place} to everyone"))
}

/// Detaches every mount below one of `prefixes` from this mount namespace.
fn unmount_below(prefixes: &[&str]) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
    let mut places: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|place| prefixes.iter().any(|prefix| place.starts_with(prefix)))
        .collect();
    // The last made is on top.
    places.reverse();
    for place in places {
        // One that went away meanwhile, or whose name has escapes, is no reason to stop.
        let _ = umount2(place, MntFlags::MNT_DETACH);
    }
    Ok(())
}

fn containerd() -> Vec<String> {
    let config = format!("{IN_NODE}/node/config/containerd.toml");
    vec!["containerd".into(), "--config".into(), config]
}

fn kubelet(node: &NodeInit) -> Result<Vec<String>> {
    let labels = format!("{IN_NODE}/node/config/labels");
    let labels = fs::read_to_string(&labels).with_context(|| format!("reading {labels}"))?;
    Ok(vec![
        format!("{IN_NODE}/kubernetes/kubelet"),
        format!("--config={IN_NODE}/node/config/kubelet.json"),
        format!("--kubeconfig={IN_NODE}/node/config/kubelet.kubeconfig"),
        format!("--node-ip={}", node.address),
        format!("--node-labels={labels}"),
    ])
}

fn kube_proxy() -> Vec<String> {
    vec![
        format!("{IN_NODE}/kubernetes/kube-proxy"),
        format!("--config={IN_NODE}/node/config/kube-proxy.json"),
    ]
}

/// Before the kubelet: without containerd it sleeps two seconds between tries.
fn wait_for_containerd(child: &mut Child) -> Result<()> {
    let deadline = Instant::now() + CONTAINERD_START;
    while UnixStream::connect(CONTAINERD_SOCKET).is_err() {
        if let Some(status) = child.try_wait().context("looking after containerd")? {
            bail!("containerd ended: {status}; see its log");
        }
        if Instant::now() >= deadline {
            bail!("containerd does not answer at {CONTAINERD_SOCKET}; see its log");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Before the kubelet: a pod whose image comes late waits out a back-off of ten seconds.
fn import_images() -> Result<()> {
    let imports: Vec<(PathBuf, Child)> = archives(Path::new(IN_NODE).join("images").as_path())
        .into_iter()
        .map(|archive| {
            let child = Command::new("ctr")
                .args(["-n", "k8s.io", "images", "import"])
                .arg(&archive)
                .stdin(Stdio::null())
                .spawn()
                .with_context(|| format!("importing {}", archive.display()))?;
            Ok((archive, child))
        })
        .collect::<Result<_>>()?;
    for (archive, mut child) in imports {
        let status = child.wait().with_context(|| format!("importing {}", archive.display()))?;
        ensure!(status.success(), "importing {}: ctr ended with {status}", archive.display());
    }
    Ok(())
}

/// Fails if `lab up` ends without the word.
fn wait_for_go() -> Result<()> {
    let mut word = [0; GO.len()];
    std::io::stdin().read_exact(&mut word).context("waiting for the API server to be ready")?;
    ensure!(word == GO, "an unknown word from lab up: {word:?}");
    Ok(())
}

struct Service {
    log: PathBuf,
    command: Vec<String>,
    child: Child,
}

impl Service {
    fn start(node: &str, name: &str, command: Vec<String>) -> Result<Service> {
        let log = Path::new(IN_NODE).join("log").join(format!("{node}-{name}.log"));
        let child = Self::spawn(&log, &command)?;
        Ok(Service { log, command, child })
    }

    fn spawn(log: &Path, command: &[String]) -> Result<Child> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("opening the log {}", log.display()))?;
        Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("sharing the log")?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {}", command[0]))
    }
}

/// Reaps every child, orphans of containers included, and restarts services that end.
fn supervise(mut services: Vec<Service>) -> Result<()> {
    loop {
        let ended = match wait() {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => pid.as_raw() as u32,
            Ok(_) | Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(error).context("waiting for children"),
        };
        for service in services.iter_mut().filter(|service| service.child.id() == ended) {
            eprintln!("{} ended; starting it again", service.command[0]);
            thread::sleep(RESTART_DELAY);
            service.child = Service::spawn(&service.log, &service.command)?;
        }
    }
}
