//! The state as it was some time ago, for describes that do not see the newest writes.
//!
//! A second state that carries out the same requests later: the state machine is pure, so it comes
//! to the same records and ids. Memory is twice the state while describes lag; a write costs its
//! own time once more, when a describe asks.

use std::collections::VecDeque;

use super::Millis;
use crate::api::{self, Terms};
use crate::state::State;
use crate::state::time::Timestamp;

/// Most requests that wait to be carried out a second time; then the oldest are, early.
const MAX_WAITING: usize = 100_000;

/// A request that the present state carried out.
#[derive(Debug, Clone)]
pub struct Change {
    /// The region it was signed for.
    pub region: String,
    /// Its form body.
    pub body: Vec<u8>,
    /// The instant it was decided at.
    pub now: Timestamp,
    /// What the mint had handed out before.
    pub mint: (u64, u32),
    /// For how many seconds the attachment that it made is `attaching`.
    pub attaching: Option<u64>,
    /// How many instances a launch found room for, where that is fewer than it would take.
    pub room: Option<u32>,
}

/// A state that lags behind.
#[derive(Debug, Clone)]
pub struct Past {
    lag: u64,
    state: State,
    waiting: VecDeque<(Millis, Change)>,
}

impl Past {
    /// Starts from the state as it is now, which will be seen `lag` milliseconds later.
    pub fn new(state: &State, lag: u64) -> Self {
        Past { lag, state: state.clone(), waiting: VecDeque::new() }
    }

    /// Starts anew from a state that was taken back to what it was.
    pub fn restart(&mut self, state: &State) {
        *self = Past::new(state, self.lag);
    }

    /// Notes a change of the present state.
    pub fn note(&mut self, at: Millis, change: Change) {
        self.waiting.push_back((at, change));
        if self.waiting.len() > MAX_WAITING
            && let Some((_, change)) = self.waiting.pop_front()
        {
            self.carry_out(&change);
        }
    }

    /// The state as it was the lag ago; `stamp` is the same instant as `now`.
    pub fn at(&mut self, now: Millis, stamp: Timestamp) -> &mut State {
        while let Some((at, _)) = self.waiting.front()
            && now.since(*at) >= self.lag
        {
            let (_, change) = self.waiting.pop_front().expect("looked at above");
            self.carry_out(&change);
        }
        // Effects were carried out when this was the present.
        let _ = self.state.settle(Timestamp(stamp.0.saturating_sub(self.lag / 1_000)));
        &mut self.state
    }

    fn carry_out(&mut self, change: &Change) {
        let Change { region, body, now, mint, attaching, room } = change;
        self.state.move_mint(*mint);
        let terms = Terms { room: *room, ..Terms::default() };
        let outcome = api::answer_on(terms, &mut self.state, region, body, *now);
        if let (Ok(answer), Some(seconds)) = (outcome.result, attaching) {
            let _ = self.state.hold_attachment(region, &answer, *now, *seconds);
        }
    }
}
