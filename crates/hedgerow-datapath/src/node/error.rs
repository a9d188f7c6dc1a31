//! Errors of the node's datapath.

use std::path::PathBuf;

/// Why an operation of the node's datapath failed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The datapath cannot be opened yet.
    #[error("open the node datapath at {0}: not built yet")]
    Unfinished(PathBuf),
}
