//! What the API server asks before a pod or a policy is created.

pub mod decide;
pub mod server;
