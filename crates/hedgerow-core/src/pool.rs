//! VLAN ids of a trunk, and a queue of things that must rest before they go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::names::MAX_VLAN;

/// VLAN ids of one trunk: 1 to [`MAX_VLAN`], lowest free first. An id is free again only when its
/// interface is gone, so that no frame reaches a pod that it was not meant for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VlanPool {
    used: BTreeSet<u16>,
}

impl VlanPool {
    /// Takes the lowest free id; `None` when all are used.
    pub fn take(&mut self) -> Option<u16> {
        let vlan = (1..=MAX_VLAN).find(|v| !self.used.contains(v))?;
        self.used.insert(vlan);
        Some(vlan)
    }

    /// Marks an id that is known to be in use (found in EC2 or in an annotation). False when it is
    /// out of range or was marked before.
    pub fn mark(&mut self, vlan: u16) -> bool {
        (1..=MAX_VLAN).contains(&vlan) && self.used.insert(vlan)
    }

    /// Frees an id whose interface is gone.
    pub fn free(&mut self, vlan: u16) {
        self.used.remove(&vlan);
    }

    /// How many ids are taken.
    pub fn used(&self) -> usize {
        self.used.len()
    }
}

/// Things that rest for a while before they are released. Times are durations since any fixed
/// moment of the caller's; the rest itself is given when asking, so that a changed setting acts on
/// what rests already.
#[derive(Debug, Clone)]
pub struct Cooldown<K> {
    since: BTreeMap<K, Duration>,
}

impl<K> Default for Cooldown<K> {
    fn default() -> Self {
        Self { since: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Cooldown<K> {
    /// Starts the rest of `key` at `now`; one that rests already keeps its earlier start.
    pub fn rest(&mut self, key: K, now: Duration) {
        self.since.entry(key).or_insert(now);
    }

    /// Ends the rest of `key` without releasing it.
    pub fn forget(&mut self, key: &K) {
        self.since.remove(key);
    }

    /// Takes out everything that has rested for `period` at `now`, longest rest first.
    pub fn take_rested(&mut self, now: Duration, period: Duration) -> Vec<K> {
        let mut rested: Vec<(Duration, K)> = self
            .since
            .iter()
            .filter(|(_, since)| now.saturating_sub(**since) >= period)
            .map(|(key, since)| (*since, key.clone()))
            .collect();
        rested.sort();
        rested
            .into_iter()
            .map(|(_, key)| {
                self.since.remove(&key);
                key
            })
            .collect()
    }

    /// When the next one will have rested for `period`; `None` when nothing rests.
    pub fn next(&self, period: Duration) -> Option<Duration> {
        self.since.values().min().map(|since| *since + period)
    }

    /// How many rest.
    pub fn len(&self) -> usize {
        self.since.len()
    }

    /// Whether none rests.
    pub fn is_empty(&self) -> bool {
        self.since.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_free_vlan_first() {
        let mut pool = VlanPool::default();
        assert!(pool.mark(2));
        assert!(!pool.mark(2) && !pool.mark(0) && !pool.mark(MAX_VLAN + 1));
        assert_eq!([pool.take(), pool.take()], [Some(1), Some(3)]);
        pool.free(2);
        assert_eq!(pool.take(), Some(2));
        while pool.take().is_some() {}
        assert_eq!(pool.used(), usize::from(MAX_VLAN));
    }

    #[test]
    fn rests_for_the_period_asked_for() {
        let at = Duration::from_secs;
        let mut queue = Cooldown::default();
        queue.rest("b", at(10));
        queue.rest("a", at(20));
        queue.rest("b", at(25));
        assert_eq!(queue.next(at(60)), Some(at(70)));
        assert!(queue.take_rested(at(69), at(60)).is_empty());
        assert_eq!(queue.take_rested(at(70), at(60)), ["b"]);
        assert_eq!(queue.take_rested(at(70), at(30)), ["a"], "a shorter period acts at once");
        assert!(queue.is_empty() && queue.next(at(1)).is_none());
    }
}
