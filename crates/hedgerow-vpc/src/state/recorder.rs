//! What changed a state, in the words it takes to change a copy in the same way.

use crate::journal::Entry;

/// Notes changes while it is switched on. It is no part of what the state says: copies do not
/// record, snapshots do not have it, and states are equal without it.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    on: bool,
    entries: Vec<Entry>,
}

impl Recorder {
    /// Notes changes from now on.
    pub fn switch_on(&mut self) {
        self.on = true;
    }

    /// Notes a change.
    pub fn note(&mut self, entry: impl FnOnce() -> Entry) {
        if self.on {
            self.entries.push(entry());
        }
    }

    /// The changes since the last call.
    pub fn take(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.entries)
    }
}

impl Clone for Recorder {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Recorder {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Recorder {}
