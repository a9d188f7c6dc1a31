//! The pool's checkpoint: what a restarted agent must know.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Pool, Sandbox};
use crate::pod_net::SandboxKey;

/// The checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Reading or writing failed.
    #[error("checkpoint {path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// The error.
        error: std::io::Error,
    },
    /// Its contents are not a checkpoint.
    #[error("checkpoint {path} does not parse: {error}")]
    Parse {
        /// The file.
        path: String,
        /// The error.
        error: serde_json::Error,
    },
    /// Another agent's layout.
    #[error("checkpoint {path} has version {version}, this agent reads {VERSION}")]
    Version {
        /// The file.
        path: String,
        /// The version it has.
        version: u32,
    },
}

/// Version of the checkpoint's layout.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Checkpoint {
    version: u32,
    sandboxes: BTreeMap<SandboxKey, Sandbox>,
    resting: BTreeMap<Ipv4Addr, u64>,
}

impl Pool {
    /// Writes sandboxes and rests, by a temporary file and rename.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let io = |error| CheckpointError::Io { path: path.display().to_string(), error };
        let checkpoint = Checkpoint {
            version: VERSION,
            sandboxes: self.sandboxes.clone(),
            resting: self.resting.clone(),
        };
        let json = serde_json::to_vec(&checkpoint).map_err(|e| io(e.into()))?;
        let temporary = path.with_extension("tmp");
        std::fs::write(&temporary, json).map_err(io)?;
        std::fs::rename(&temporary, path).map_err(io)
    }

    /// Reads a checkpoint; an absent file is an empty one.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let name = || path.display().to_string();
        let json = match std::fs::read(path) {
            Ok(json) => json,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(CheckpointError::Io { path: name(), error }),
        };
        let checkpoint: Checkpoint = serde_json::from_slice(&json)
            .map_err(|error| CheckpointError::Parse { path: name(), error })?;
        if checkpoint.version != VERSION {
            return Err(CheckpointError::Version { path: name(), version: checkpoint.version });
        }
        let Checkpoint { sandboxes, resting, .. } = checkpoint;
        Ok(Self { sandboxes, resting, ..Self::default() })
    }
}
