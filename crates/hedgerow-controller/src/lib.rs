//! The controller: everything in the cluster and in EC2 that is not on a node's data path.
//!
//! ```text
//!              Nodes, CNINodes ──► nodes ──► trunk (made or found again) ──► capacity, label
//!   watches    Pods            ──► pods  ──► branch ──► annotation, events
//!              Policies, Namespaces ► namespaces ──► label that the webhook's rules select
//!              ConfigMap       ──► settings (cool-down)
//!
//!   clocks     release: pod gone ► rest ► disassociate + delete ► VLAN free;  sweep: leaks
//!              webhook: certificate and configuration kept as they must be
//!
//!   asked      admission: pods CREATE (mutate or deny), policies CREATE (label first)
//! ```
//!
//! What is decided is in `plan`, `trunk`, `admission::decide`, `certificate`, `backoff`: functions
//! and plain state, no I/O, time as an argument. The rest carries it out.
//!
//! **Truth.** Policies and ServiceAccounts are read live (a LIST of one namespace, a GET) both at
//! admission and when a branch is made: there is no cache that could lag and let a pod go without
//! its groups. State of trunks is rebuilt from EC2 and the pods' annotations at start.

pub mod admission;
pub mod backoff;
pub mod certificate;
pub mod cleanup;
pub mod config;
pub mod context;
pub mod events;
pub mod http;
pub mod metrics;
pub mod namespaces;
pub mod nodes;
pub mod plan;
pub mod pods;
pub mod policies;
pub mod release;
pub mod settings;
pub mod trunk;
pub mod trunk_start;
pub mod webhook;
