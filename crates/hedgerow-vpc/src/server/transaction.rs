//! A change of the records that holds before it is answered: the machine followed it and the journal
//! has it, or it did not happen.
//!
//! ```text
//!   decide (state lock) ─► carry out (wire) ─► note (mirror, journal) ─► durable ─► answer
//!                              │ fails
//!                              └─► records back to before, machine back to the mirror
//! ```
//!
//! With a wire, changes take turns, so that one can be taken back; the wire carries out one at a
//! time anyway. Requests that only read do not wait for a turn: they may see a change that is still
//! being carried out.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Server, lock, now};
use crate::effect::Effect;
use crate::journal::Entry;
use crate::journal::mirror::Mirror;
use crate::state::time::Timestamp;
use crate::state::{Checkpoint, State};

/// What was decided and is not carried out yet.
struct Pending {
    effects: Vec<Effect>,
    entries: Vec<Entry>,
    /// The records before, where they can be restored.
    before: Option<Checkpoint>,
}

/// How far a transaction is.
enum Step {
    CarryOut(Pending),
    /// Noted; entries before this number must be durable before it is answered.
    Noted(u64),
}

impl Server {
    /// Runs `act` on the state, and returns when what it did holds: its effects are carried out and
    /// everything that it saw is durable. `turn` says whether it may change records. Not to be
    /// dropped half-way.
    ///
    /// # Errors
    /// What `act` returned and why it was taken back.
    pub(super) async fn transact<T>(
        self: &Arc<Self>,
        turn: bool,
        act: impl FnOnce(&mut State, Timestamp) -> (T, Vec<Effect>),
    ) -> Result<T, (T, String)> {
        let wire = self.wire.is_some();
        let turn = if wire && turn { Some(self.turn.lock().await) } else { None };
        let (value, mut step) = {
            let mut state = lock(&self.state);
            let before = turn.as_ref().map(|_| state.checkpoint());
            let (value, effects) = act(&mut state, self.instant());
            let entries = state.take_entries();
            if !wire {
                self.start_databases(&effects);
            }
            let step = match wire && !effects.is_empty() {
                true => Step::CarryOut(Pending { effects, entries, before }),
                false => Step::Noted(self.note(&state, &[], &entries)),
            };
            (value, step)
        };
        if let Step::CarryOut(Pending { effects, entries, before }) = step {
            if let Err(error) = Arc::clone(self).carry_out(&effects).await {
                if let Some(before) = before {
                    lock(&self.state).restore(before);
                }
                self.take_back(&effects).await;
                return Err((value, error));
            }
            step = Step::Noted(self.note(&lock(&self.state), &effects, &entries));
        }
        if turn.is_some() {
            lock(&self.state).commit();
        }
        drop(turn);
        match (step, &self.journal) {
            (Step::Noted(seen), Some(journal)) => match journal.durable(seen).await {
                Ok(()) => Ok(value),
                Err(error) => Err((value, error.to_string())),
            },
            _ => Ok(value),
        }
    }

    /// Tells the mirror and the journal what was done. Returns the number up to which entries must
    /// be durable.
    fn note(self: &Arc<Self>, state: &State, effects: &[Effect], entries: &[Entry]) -> u64 {
        if self.wire.is_some() {
            lock(&self.mirror).absorb(effects.iter().cloned());
        }
        let Some(journal) = &self.journal else { return 0 };
        for entry in entries {
            journal.append(entry);
        }
        if journal.snapshot_due() {
            let server = Arc::clone(self);
            let (mirror, instant) =
                (lock(&self.mirror).clone(), self.clock.load(Ordering::Relaxed));
            let snapshot = journal.begin_snapshot(state.clone(), mirror, instant);
            tokio::task::spawn_blocking(move || {
                if let Some(journal) = &server.journal {
                    journal.finish_snapshot(&snapshot);
                }
            });
        }
        journal.next()
    }

    /// Takes the machine back from effects of which some were carried out.
    async fn take_back(self: &Arc<Self>, tried: &[Effect]) {
        let back = lock(&self.mirror).undo(tried);
        for effect in back {
            if let Err(error) = Arc::clone(self).carry_out(std::slice::from_ref(&effect)).await {
                tracing::error!(
                    error,
                    ?effect,
                    "the machine could not be taken back to the records; a restart rebuilds it"
                );
            }
        }
    }

    /// The instant, which never goes back: replayed entries are in order.
    fn instant(&self) -> Timestamp {
        let now = now().0;
        Timestamp(self.clock.fetch_max(now, Ordering::Relaxed).max(now))
    }

    /// Builds the machine from what it was before the last process ended, and takes up what of it
    /// still stands.
    ///
    /// # Errors
    /// What the machine refuses.
    pub async fn rebuild(self: &Arc<Self>) -> Result<(), String> {
        let effects = lock(&self.mirror).rebuild();
        Arc::clone(self).carry_out(&effects).await?;
        match &self.wire {
            Some(wire) => wire.go_live().await.map_err(|error| error.to_string())?,
            None => return Ok(()),
        }
        self.tidy_databases();
        Ok(())
    }

    /// Leaves a snapshot and no journal.
    pub(super) fn close_journal(&self) {
        let Some(journal) = &self.journal else { return };
        let instant = self.clock.load(Ordering::Relaxed);
        let snapshot = {
            let state = lock(&self.state);
            let mirror: Mirror = lock(&self.mirror).clone();
            journal.begin_snapshot(state.clone(), mirror, instant)
        };
        journal.close(&snapshot);
    }
}
