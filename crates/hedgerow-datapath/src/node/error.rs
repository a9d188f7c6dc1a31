//! Errors of the node's datapath.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::pin::PinError;
use aya::programs::ProgramError;
use aya::programs::tc::TcError;

use crate::pins::PinsError;

/// Why an operation of the node's datapath failed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// See [`PinsError`]; boxed, because it is by far the largest.
    #[error("open the node datapath: {0}")]
    Pins(#[source] Box<PinsError>),
    /// The object does not load.
    #[error("load the node object: {0}")]
    Load(#[source] EbpfError),
    /// The object has no such program or map, or one of another kind.
    #[error("the node object has no usable {0}; build.rs and src/node disagree")]
    Missing(&'static str),
    /// The kernel refused a program.
    #[error("load program {program}: {source}")]
    Program {
        /// Its name.
        program: &'static str,
        /// The kernel's answer, with the verifier's log.
        source: ProgramError,
    },
    /// A map could not be read or written.
    #[error("{action} {map}: {source}")]
    Map {
        /// What was tried.
        action: &'static str,
        /// The map's name.
        map: &'static str,
        /// The kernel's answer.
        source: MapError,
    },
    /// No such interface in this network namespace.
    #[error("find interface {name}: {source}")]
    Interface {
        /// Its name.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
    /// clsact could not be added.
    #[error("add clsact to {interface}: {source}")]
    Qdisc {
        /// The host veth.
        interface: String,
        /// The kernel's answer.
        source: TcError,
    },
    /// A program could not be attached.
    #[error("attach {program} to {interface}: {source}")]
    Attach {
        /// The program.
        program: &'static str,
        /// The interface.
        interface: String,
        /// The kernel's answer.
        source: ProgramError,
    },
    /// A link could not be pinned.
    #[error("pin the link of {program} at {path}: {source}")]
    PinLink {
        /// The program.
        program: &'static str,
        /// Where to.
        path: PathBuf,
        /// The kernel's answer.
        source: PinError,
    },
    /// VLAN ids are 1 to 4094.
    #[error("put endpoint {address}: VLAN id {vlan} is not between 1 and 4094")]
    BadVlan {
        /// The endpoint.
        address: Ipv4Addr,
        /// The id.
        vlan: u16,
    },
    /// Two endpoints cannot have one address.
    #[error(
        "put endpoint {address} on host interface {wanted}: host interface {holder} has the \
         address; remove that endpoint first"
    )]
    AddressTaken {
        /// The address.
        address: Ipv4Addr,
        /// Host interface of the new endpoint.
        wanted: u32,
        /// Host interface of the present one.
        holder: u32,
    },
    /// Two endpoints cannot have one VLAN id of one trunk.
    #[error(
        "put endpoint {address}: VLAN {vlan} of uplink {uplink} belongs to host interface \
         {holder}; remove that endpoint first"
    )]
    VlanTaken {
        /// The new endpoint.
        address: Ipv4Addr,
        /// The id.
        vlan: u16,
        /// The trunk.
        uplink: u32,
        /// Host interface of the present endpoint.
        holder: u32,
    },
    /// The maps are full.
    #[error("put endpoint {address}: the datapath holds its most, {most} endpoints")]
    Full {
        /// The new endpoint.
        address: Ipv4Addr,
        /// How many there can be.
        most: usize,
    },
}

impl From<PinsError> for NodeError {
    fn from(error: PinsError) -> Self {
        Self::Pins(Box::new(error))
    }
}
