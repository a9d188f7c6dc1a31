//! The Kubernetes side of Hedgerow: custom resources and codecs. Nothing here talks to a cluster.
//!
//! ```text
//!   resources ── SecurityGroupPolicy, CNINode, ENIConfig (their CRDs: `examples/crds.rs`)
//!   pod_eni   ── the annotation by which controller and agent tell each other of a branch
//!   manifest  ── the CRDs as YAML
//!   node      ── what a Node object says of its instance
//! ```

pub mod manifest;
pub mod node;
pub mod pod_eni;
pub mod resources;

pub use pod_eni::PodEni;
pub use resources::{CNINode, ENIConfig, SecurityGroupPolicy};
