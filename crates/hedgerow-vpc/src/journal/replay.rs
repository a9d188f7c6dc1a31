//! Deciding a journalled request again.

use super::entry::{Entry, Kind, take};
use super::mirror::Mirror;
use crate::api::{self, Terms, error::Ec2Error};
use crate::effect::Effect;
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
    let now = Timestamp(entry.instant);
    let effects = match entry.kind {
        Kind::Request => decide(state, entry, &entry.body, None)?,
        Kind::Launch => {
            let mut form = entry.body.as_slice();
            let room = take(&mut form).ok_or("a launch that found little room")?;
            decide(state, entry, form, Some(u32::from_le_bytes(room)))?
        }
        Kind::Settle => state.settle(now),
        Kind::Hold => hold(state, entry, now).ok_or("a hanging attachment")?,
    };
    if let Some(mirror) = mirror {
        mirror.absorb(effects);
    }
    Ok(())
}

fn decide(
    state: &mut State,
    entry: &Entry,
    form: &[u8],
    room: Option<u32>,
) -> Result<Vec<Effect>, String> {
    state.move_mint(entry.mint);
    let terms = Terms { room, ..Terms::default() };
    let outcome = api::answer_on(terms, state, &entry.region, form, Timestamp(entry.instant));
    match fingerprint(&outcome.result) == entry.outcome {
        true => Ok(outcome.effects),
        false => Err(outcome.action),
    }
}

fn hold(state: &mut State, entry: &Entry, now: Timestamp) -> Option<Vec<Effect>> {
    let (seconds, answer) = std::str::from_utf8(&entry.body).ok()?.split_once(' ')?;
    state.hold_attachment(&entry.region, answer, now, seconds.parse().ok()?)
}
