//! The embedded VPC.
pub mod effect;
pub mod wire;
