//! The eBPF programs of Hedgerow and everything that touches them.
//!
//! ```text
//!   fabric ── the VPC side: who sent this, egress groups, ingress groups, tag, redirect
//!   node   ── the node side: pods to uplinks and back
//! ```

pub mod fabric;
pub mod node;
