//! The embedded VPC.
pub mod effect;
