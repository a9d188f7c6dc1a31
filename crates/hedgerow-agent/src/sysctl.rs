//! The few kernel settings that the node's own network namespace needs.

use std::path::{Path, PathBuf};

/// A setting could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write {value} to {path}: {error} (the agent must be privileged, with /proc/sys writable)")]
pub struct SysctlError {
    path: PathBuf,
    value: &'static str,
    error: std::io::Error,
}

/// `net.ipv4.conf.LINK.KEY` of the calling thread's network namespace.
fn set_ipv4(link: &str, key: &str, value: &'static str) -> Result<(), SysctlError> {
    let path = PathBuf::from(format!("/proc/sys/net/ipv4/conf/{link}/{key}"));
    write(path, value)
}

/// Writes only what differs: /proc/sys may be read-only where nothing has to change.
fn write(path: PathBuf, value: &'static str) -> Result<(), SysctlError> {
    if std::fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(|error| SysctlError { path, value, error })
}

/// Pods' packets are forwarded by the node's stack (Services, kubelet).
pub fn enable_forwarding() -> Result<(), SysctlError> {
    write("/proc/sys/net/ipv4/ip_forward".into(), "1")
}

/// No reverse-path filter by `all`: the kernel takes the larger of the link's value and `all`'s,
/// and any filter, also the loose one, drops what comes in by a link without an address unless the
/// route back leaves by it (`__fib_validate_source`). Links that are not ours keep what they had.
pub fn unfilter_all() -> Result<(), SysctlError> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).ok().and_then(|v| v.trim().parse::<u8>().ok()).unwrap_or(0)
    };
    let all = PathBuf::from("/proc/sys/net/ipv4/conf/all/rp_filter");
    let value = match read(&all) {
        0 => return Ok(()),
        1 => "1",
        _ => "2",
    };
    let links = std::fs::read_dir("/proc/sys/net/ipv4/conf").into_iter().flatten().flatten();
    for path in links.map(|entry| entry.path().join("rp_filter")).filter(|p| *p != all) {
        if read(&path).to_string().as_str() < value {
            write(path, value)?;
        }
    }
    write(all, "0")
}

/// For an ENI. The datapath and the VPC check sources more strictly than the filter would.
pub fn prepare_uplink(link: &str) -> Result<(), SysctlError> {
    set_ipv4(link, "rp_filter", "0")
}

/// For the trunk also: replies of this node's own processes to its strict pods come back from the
/// VPC with the node's address as source.
pub fn prepare_trunk(link: &str) -> Result<(), SysctlError> {
    prepare_uplink(link)?;
    set_ipv4(link, "accept_local", "1")
}

/// For the host side of a pod's veth.
pub fn prepare_pod_link(link: &str) -> Result<(), SysctlError> {
    set_ipv4(link, "rp_filter", "0")
}
