//! Numbers of map entries that packets in flight may still be reading.
//!
//! A change is written to a fresh entry and made visible by one store. The old entry rests for
//! [`QUARANTINE`] before its number is given out again; a run of the program takes microseconds.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How long a released number rests.
pub const QUARANTINE: Duration = Duration::from_millis(500);

/// Hands out the numbers `first..limit`.
#[derive(Debug)]
pub struct Slots {
    next: u32,
    limit: u32,
    resting: VecDeque<(Instant, u32)>,
}

impl Slots {
    /// All of `first..limit` are free.
    pub fn new(first: u32, limit: u32) -> Self {
        Self { next: first, limit, resting: VecDeque::new() }
    }

    /// A number that nothing reads; `None` when all are in use or resting.
    pub fn take(&mut self, now: Instant) -> Option<u32> {
        if let Some((released, slot)) = self.resting.front().copied()
            && now.saturating_duration_since(released) >= QUARANTINE
        {
            self.resting.pop_front();
            return Some(slot);
        }
        (self.next < self.limit).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Nothing points to `slot` any more.
    pub fn release(&mut self, slot: u32, now: Instant) {
        self.resting.push_back((now, slot));
    }
}

/// Values that are kept once each, by number, and counted.
#[derive(Debug)]
pub struct Pool<T> {
    slots: Slots,
    known: HashMap<T, (u32, u32)>,
    values: HashMap<u32, T>,
}

impl<T: Hash + Eq + Clone> Pool<T> {
    /// An empty pool over the numbers `first..limit`.
    pub fn new(first: u32, limit: u32) -> Self {
        Self { slots: Slots::new(first, limit), known: HashMap::new(), values: HashMap::new() }
    }

    /// The number of `value`, and whether the entry must be written first. `None`: full.
    pub fn acquire(&mut self, value: &T, now: Instant) -> Option<(u32, bool)> {
        if let Some((slot, users)) = self.known.get_mut(value) {
            *users += 1;
            return Some((*slot, false));
        }
        let slot = self.slots.take(now)?;
        self.known.insert(value.clone(), (slot, 1));
        self.values.insert(slot, value.clone());
        Some((slot, true))
    }

    /// One user of `slot` less; the last one's leaving frees it.
    pub fn release(&mut self, slot: u32, now: Instant) {
        let Some(value) = self.values.get(&slot) else { return };
        let Some((_, users)) = self.known.get_mut(value) else { return };
        *users -= 1;
        if *users == 0 {
            self.known.remove(value);
            self.values.remove(&slot);
            self.slots.release(slot, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_slot_rests_before_it_is_reused() {
        let start = Instant::now();
        let mut slots = Slots::new(1, 3);
        assert_eq!((slots.take(start), slots.take(start)), (Some(1), Some(2)));
        slots.release(1, start);
        assert_eq!(slots.take(start + QUARANTINE / 2), None);
        assert_eq!(slots.take(start + QUARANTINE), Some(1));
    }

    #[test]
    fn equal_values_share_a_slot_until_the_last_user_leaves() {
        let start = Instant::now();
        let mut pool = Pool::new(0, 2);
        assert_eq!(pool.acquire(&"a", start), Some((0, true)));
        assert_eq!(pool.acquire(&"a", start), Some((0, false)));
        assert_eq!(pool.acquire(&"b", start), Some((1, true)));
        pool.release(0, start);
        assert_eq!(pool.acquire(&"c", start + QUARANTINE), None, "a has a user left");
        pool.release(0, start);
        assert_eq!(pool.acquire(&"c", start + QUARANTINE), Some((0, true)));
    }
}
