//! What the machine must bring, checked before anything is made. All findings in one error.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use hedgerow_core::limits;
use nix::unistd::geteuid;

use super::KUBERNETES_VERSION;
use super::state::cache_dir;
use crate::cli::UpArgs;

/// Oldest kernel with tcx (Linux 6.6: "bpf: Add fd-based tcx multi-prog infra with link support").
const OLDEST_KERNEL: (u32, u32) = (6, 6);

/// Programs that the lab calls, and the Debian package that has each.
const PROGRAMS: [(&str, &str); 5] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    // The CNI plugin portmap (hostPort) calls it.
    ("iptables", "iptables"),
];

/// Folder of Debian's CNI plugins; a node's `/opt/cni/bin` starts as a copy.
pub const CNI_PLUGINS: &str = "/usr/lib/cni";

const KUBERNETES_PROGRAMS: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
];

/// Where the things are that the lab is built from.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Kubernetes binaries.
    pub kubernetes: PathBuf,
    /// `hedgerow-vpc`.
    pub vpc: PathBuf,
    /// This program.
    pub hedgerow: PathBuf,
    /// Image archives.
    pub images: PathBuf,
}

/// Checks everything; returns where the tools are.
pub fn check(args: &UpArgs) -> Result<Tools> {
    let hedgerow = env::current_exe().context("finding this program's own path")?;
    let tools = Tools {
        kubernetes: args
            .kubernetes_bin
            .clone()
            .unwrap_or_else(|| cache_dir().join("kubernetes").join(KUBERNETES_VERSION)),
        vpc: hedgerow.with_file_name("hedgerow-vpc"),
        images: args.images.clone().unwrap_or_else(|| cache_dir().join("images")),
        hedgerow,
    };
    let mut missing = machine();
    missing.extend(programs());
    missing.extend(built(&tools));
    missing.extend(ports(&[(args.ec2_port, "--ec2-port"), (args.api_port, "--api-port")]));
    missing.extend(
        args.node_types()
            .iter()
            .filter(|t| limits::instance_type(t).is_none())
            .map(|t| format!("'{t}' is not an instance type (see EC2's DescribeInstanceTypes)")),
    );
    if !missing.is_empty() {
        bail!("the lab cannot start here:\n  - {}", missing.join("\n  - "));
    }
    Ok(tools)
}

fn machine() -> Vec<String> {
    let mut missing = Vec::new();
    if !geteuid().is_root() {
        missing.push("it makes namespaces, interfaces and mounts: run it as root (sudo)".into());
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    if kernel_version(release).is_none_or(|version| version < OLDEST_KERNEL) {
        missing.push(format!(
            "Linux {}.{} or newer is needed, this is {release} (Debian 12: package \
             linux-image-amd64 from bookworm-backports)",
            OLDEST_KERNEL.0, OLDEST_KERNEL.1
        ));
    } else if geteuid().is_root() && !has_tcx() {
        missing.push(format!(
            "the kernel {release} has no tcx: it must be built with CONFIG_BPF_SYSCALL and \
             CONFIG_NET_XGRESS"
        ));
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        missing.push(
            "/sys/kernel/btf/vmlinux is missing: the kernel must be built with \
                      CONFIG_DEBUG_INFO_BTF (Debian's kernels are)"
                .into(),
        );
    }
    if !Path::new("/sys/fs/cgroup/memory").exists() {
        missing.push(
            "/sys/fs/cgroup has no version 1 hierarchies: the lab's nodes need them \
                      (boot with systemd.unified_cgroup_hierarchy=0)"
                .into(),
        );
    }
    missing
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Asks the kernel for the tcx programs on `lo`: a kernel without tcx answers EINVAL.
fn has_tcx() -> bool {
    const BPF_PROG_QUERY: libc::c_long = 16;
    const BPF_TCX_INGRESS: u32 = 46;
    const LOOPBACK: u32 = 1;
    // The `query` part of `union bpf_attr` starts with target_ifindex and attach_type; the kernel
    // takes what is not given as zero. 64 bytes are all fields known to Linux 6.6.
    let mut attr = [0u32; 16];
    attr[0] = LOOPBACK;
    attr[1] = BPF_TCX_INGRESS;
    // SAFETY: `attr` is a live, writable buffer of the size given; the call keeps no reference.
    unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, attr.as_mut_ptr(), size_of_val(&attr)) == 0
    }
}

fn programs() -> Vec<String> {
    let folders: Vec<PathBuf> =
        env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    let found = |program: &str| {
        folders.iter().any(|folder| folder.join(program).exists())
            || ["/usr/sbin", "/usr/bin"]
                .iter()
                .any(|folder| Path::new(folder).join(program).exists())
    };
    let mut packages: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !found(program))
        .map(|(_, package)| *package)
        .collect();
    if !Path::new(CNI_PLUGINS).join("portmap").exists() {
        packages.push("containernetworking-plugins");
    }
    packages.dedup();
    if packages.is_empty() {
        return Vec::new();
    }
    vec![format!("programs are missing: apt-get install {}", packages.join(" "))]
}

fn built(tools: &Tools) -> Vec<String> {
    let mut missing = Vec::new();
    let absent: Vec<&str> = KUBERNETES_PROGRAMS
        .into_iter()
        .filter(|program| !tools.kubernetes.join(program).exists())
        .collect();
    if !absent.is_empty() {
        missing.push(format!(
            "{} has no {}: build them (make setup) or name a folder that has them \
             (--kubernetes-bin DIR)",
            tools.kubernetes.display(),
            absent.join(", ")
        ));
    }
    if !tools.vpc.exists() {
        missing.push(format!(
            "{} is missing: build it beside this program (cargo build)",
            tools.vpc.display()
        ));
    }
    if archives(&tools.images).is_empty() {
        missing.push(format!(
            "{} holds no image archives: build them (make setup) or name a folder that has \
             them (--images DIR)",
            tools.images.display()
        ));
    }
    missing
}

/// The image archives of a folder.
pub fn archives(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "tar"))
        .collect();
    found.sort();
    found
}

fn ports(ports: &[(u16, &str)]) -> Vec<String> {
    ports
        .iter()
        .filter_map(|(port, option)| {
            let error = TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).err()?;
            Some(format!("port {port} of 127.0.0.1: {error}; choose another with {option}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions() {
        assert_eq!(kernel_version("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(kernel_version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(kernel_version("6.6"), Some((6, 6)));
        assert_eq!(kernel_version(""), None);
    }
}
