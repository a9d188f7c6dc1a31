//! The few kernel settings that the node's own network namespace needs.

use std::path::PathBuf;

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

/// Loose reverse-path filtering: a reply may come in by another ENI than the route back leaves by.
/// The kernel takes the larger of the link's value and `all`'s, and 2 (loose) is the largest.
pub fn prepare_uplink(link: &str) -> Result<(), SysctlError> {
    set_ipv4(link, "rp_filter", "2")
}

/// The same for a pod's host veth; and no redirects, which would tell pods of routes around us.
pub fn prepare_pod_link(link: &str) -> Result<(), SysctlError> {
    set_ipv4(link, "rp_filter", "2")?;
    set_ipv4(link, "send_redirects", "0")
}
