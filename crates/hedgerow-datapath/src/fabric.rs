//! The fabric of the embedded VPC.

/// Why the fabric refused.
#[derive(Debug, thiserror::Error)]
#[error("fabric")]
pub struct FabricError;
