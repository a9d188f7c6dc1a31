//! Deciding a journalled request again.

use super::entry::{Entry, Kind};
use super::mirror::Mirror;
use crate::api::{self, Outcome, error::Ec2Error};
use crate::state::State;
use crate::state::time::Timestamp;

/// Checksum of an answer, so that a program that decides differently than the one that wrote the
/// journal is found out.
pub fn fingerprint(result: &Result<String, Ec2Error>) -> u32 {
    match result {
        Ok(fields) => crc32fast::hash(fields.as_bytes()),
        Err(error) => !crc32fast::hash(error.code.as_bytes()),
    }
}

/// Applies an entry.
///
/// # Errors
/// The action's name, where it does not come to what it came to when it was answered.
pub(super) fn apply(
    state: &mut State,
    mirror: Option<&mut Mirror>,
    entry: &Entry,
) -> Result<(), String> {
    state.move_mint(entry.mint);
    let now = Timestamp(entry.instant);
    let Outcome { action, effects, result, .. } = match entry.kind {
        Kind::Request => api::answer(state, &entry.region, &entry.body, now),
    };
    if let Some(mirror) = mirror {
        mirror.absorb(effects);
    }
    if fingerprint(&result) == entry.outcome { Ok(()) } else { Err(action) }
}
