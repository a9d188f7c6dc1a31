//! The eBPF programs of Hedgerow and everything that touches them.
//!
//! ```text
//!   fabric ── the VPC side: who sent this, egress groups, ingress groups, tag, redirect
//!   node   ── the node side: pods to uplinks and back
//!   pins   ── maps and links that outlive their process
//!   sys    ── raw calls both need: namespaces, shared map memory
//! ```

pub mod fabric;
pub mod node;
pub mod pins;
pub mod sys;
