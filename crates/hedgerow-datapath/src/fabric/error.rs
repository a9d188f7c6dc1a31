//! What the fabric can refuse, and why.

use super::compile::TooManyRules;
use crate::pins::PinsError;

/// Why a change of the fabric failed.
#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    /// The kernel refused the eBPF object.
    #[error("load the fabric's eBPF object: {0}; it needs root and Linux 6.6 or later with BTF")]
    Load(#[from] aya::EbpfError),
    /// The kernel refused the program.
    #[error("load eBPF program fabric: {0}")]
    Program(#[source] aya::programs::ProgramError),
    /// The program could not be attached to a port.
    #[error("attach eBPF program fabric to {port} (tcx ingress): {source}")]
    Attach {
        /// The device.
        port: String,
        /// The kernel's answer.
        source: aya::programs::ProgramError,
    },
    /// The link has no descriptor, so that it cannot be pinned.
    #[error("pin the link of {0}: {1}; it needs Linux 6.6 or later (tcx)")]
    NotTcx(String, #[source] aya::programs::links::LinkError),
    /// See [`PinsError`].
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// The object does not have a map this build knows.
    #[error("the fabric's eBPF object has no map '{0}': rebuild hedgerow-datapath")]
    NoMap(&'static str),
    /// A map operation failed.
    #[error("{operation} map {map}: {source}")]
    Map {
        /// Insert, remove, read, open.
        operation: &'static str,
        /// The map.
        map: &'static str,
        /// The kernel's answer.
        source: aya::maps::MapError,
    },
    /// A map's memory could not be shared.
    #[error("mmap map {map}: {source}")]
    Share {
        /// The map.
        map: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A map's entries could not be taken out.
    #[error("take the entries out of map {map}: {source}")]
    Take {
        /// The map.
        map: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// No free entry is left.
    #[error(
        "map {0} is full; remove interfaces, security groups, network ACLs or route tables, or use \
         fewer distinct ones"
    )]
    Full(&'static str),
    /// See [`TooManyRules`].
    #[error(transparent)]
    Rules(#[from] TooManyRules),
    /// Key 0 means "none" in the fabric.
    #[error("put interface: key 0 is reserved; interface keys start at 1")]
    ReservedKey,
}
