//! What a lab is made of and where its files are: `/var/lib/hedgerow/NAME`.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{env, fs, io};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::REGION;

/// Folder of all labs.
const LABS: &str = "/var/lib/hedgerow";

/// Where network namespaces have names.
pub const NETNS: &str = "/run/netns";

/// A lab's name: part of namespace names, cgroup names and tags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LabName(String);

/// A text that cannot name a lab.
#[derive(Debug, thiserror::Error)]
#[error("a lab's name is 1 to 20 of a-z, 0-9 and '-', and starts with a letter")]
pub struct BadLabName;

impl FromStr for LabName {
    type Err = BadLabName;

    fn from_str(text: &str) -> Result<Self, BadLabName> {
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts_well || text.len() > 20 || !text.chars().all(letters) {
            return Err(BadLabName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Display for LabName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl LabName {
    /// The lab's files.
    pub fn dir(&self) -> LabDir {
        LabDir { root: Path::new(LABS).join(&self.0) }
    }

    /// What every namespace and cgroup of the lab starts with. Names hold no dot, so no lab's
    /// prefix is the beginning of another's.
    pub fn prefix(&self) -> String {
        format!("hr.{self}.")
    }
}

/// The cache of built things: Kubernetes, images, the aws CLI.
pub fn cache_dir() -> PathBuf {
    env::var_os("HEDGEROW_CACHE").map_or_else(|| "/var/cache/hedgerow".into(), PathBuf::from)
}

/// Where a lab keeps its files.
#[derive(Debug, Clone)]
pub struct LabDir {
    root: PathBuf,
}

impl LabDir {
    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Process id files.
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Logs, one per component.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Log of one component.
    pub fn log_file(&self, component: &str) -> PathBuf {
        self.log().join(format!("{component}.log"))
    }

    /// Flow log of the VPC.
    pub fn flow_log(&self) -> PathBuf {
        self.log().join("flow.log")
    }

    /// Certificates and kubeconfigs of the control plane.
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// Files of a node.
    pub fn node(&self, name: &str) -> PathBuf {
        self.root.join("nodes").join(name)
    }

    /// Whether anything of the lab is on disk.
    pub fn exists(&self) -> bool {
        self.root.exists()
    }

    /// Makes the folders; only root may look inside (keys are here).
    pub fn create(&self) -> Result<()> {
        for folder in [self.root.clone(), self.run(), self.log(), self.pki()] {
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        }
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&self.root, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("closing {} to others", self.root.display()))
    }
}

/// An instance of the lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// `i-…`.
    pub id: String,
    /// `m5.xlarge`.
    pub instance_type: String,
    /// Private address of its primary interface.
    pub address: Ipv4Addr,
    /// `us-west-2a`.
    pub zone: String,
    /// Its private DNS name, which is also a node's name, as on EKS.
    pub name: String,
}

impl Instance {
    /// Its network namespace.
    pub fn netns(&self, lab: &LabName) -> PathBuf {
        Path::new(NETNS).join(format!("{}{}", lab.prefix(), self.id))
    }

    /// Its cgroup, the same path in every hierarchy.
    pub fn cgroup(&self, lab: &LabName) -> String {
        format!("{}{}", lab.prefix(), self.id)
    }

    /// Component name of the node's PID 1.
    pub fn component(&self) -> String {
        format!("{NODE_PREFIX}{}", self.name)
    }
}

/// Component names of nodes start with this.
pub const NODE_PREFIX: &str = "node-";

/// What exists of a lab; written as soon as it is known, so that `down` finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The lab.
    pub name: LabName,
    /// Loopback port of the EC2 API.
    pub ec2_port: u16,
    /// Loopback port of the Kubernetes API.
    pub api_port: u16,
    /// Folder of the Kubernetes binaries.
    pub kubernetes_bin: PathBuf,
    /// `vpc-…`.
    pub vpc_id: String,
    /// `subnet-…`, one per zone.
    pub subnet_ids: Vec<String>,
    /// `sg-…`.
    pub cluster_security_group_id: String,
    /// The instance of the control plane.
    pub control_plane: Instance,
    /// The instances that are nodes.
    pub nodes: Vec<Instance>,
}

impl State {
    /// Endpoint of the EC2 API on the machine.
    pub fn ec2_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ec2_port)
    }

    /// The name of the API server's endpoint, which the VPC's DNS knows.
    pub fn endpoint_name(&self) -> String {
        use sha2::Digest;
        let digest = sha2::Sha256::digest(self.vpc_id.as_bytes());
        let id: String = digest[..16].iter().map(|byte| format!("{byte:02X}")).collect();
        format!("{id}.gr7.{REGION}.eks.amazonaws.com")
    }

    /// The network behind the VPC's internet gateway.
    pub fn internet(&self) -> PathBuf {
        Path::new(NETNS).join(format!("{}internet", self.name.prefix()))
    }

    /// The state on disk; `None` if the lab was never, or not far enough, made.
    pub fn read(dir: &LabDir) -> Result<Option<State>> {
        let path = Self::path(dir);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .with_context(|| format!("reading {}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// The state of a lab that is there.
    pub fn of(name: &LabName) -> Result<State> {
        match Self::read(&name.dir())? {
            Some(state) => Ok(state),
            None => bail!("no lab named '{name}' is up; start it: hedgerow lab up --name {name}"),
        }
    }

    /// Writes it to disk.
    pub fn write(&self, dir: &LabDir) -> Result<()> {
        let path = Self::path(dir);
        fs::write(&path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("writing {}", path.display()))
    }

    /// The node of this name or instance id.
    pub fn node(&self, name: &str) -> Option<&Instance> {
        self.nodes.iter().find(|node| node.name == name || node.id == name)
    }

    fn path(dir: &LabDir) -> PathBuf {
        dir.root().join("state.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "hedgerow", "ci-7"] {
            assert!(good.parse::<LabName>().is_ok(), "{good}");
        }
        for bad in ["", "7", "-a", "A", "a.b", "a/b", "a_b", "abcdefghijklmnopqrstu"] {
            assert!(bad.parse::<LabName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes_do_not_overlap() {
        let (a, b): (LabName, LabName) = ("a".parse().unwrap(), "a-b".parse().unwrap());
        assert!(!b.prefix().starts_with(&a.prefix()));
    }
}
