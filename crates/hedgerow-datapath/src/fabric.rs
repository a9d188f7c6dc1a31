//! The fabric of the embedded VPC.
