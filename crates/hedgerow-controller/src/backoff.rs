//! When to try again what failed: per object, doubling, bounded.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);

/// Failures in a row, by key. Times are durations since any fixed moment of the caller's.
#[derive(Debug)]
pub struct Backoff<K> {
    failures: HashMap<K, (u32, Duration)>,
}

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Self { failures: HashMap::new() }
    }
}

impl<K: Eq + Hash> Backoff<K> {
    /// How long `key` must still wait at `now`; `None`: it may be tried.
    pub fn wait(&self, key: &K, now: Duration) -> Option<Duration> {
        self.failures.get(key).map(|(_, at)| at.saturating_sub(now)).filter(|d| !d.is_zero())
    }

    /// Notes a failure at `now` and returns how long to wait: 2, 4, 8, … 60 seconds.
    pub fn failed(&mut self, key: K, now: Duration) -> Duration {
        let (count, next) = self.failures.entry(key).or_default();
        let wait = (FIRST * 2u32.pow((*count).min(5))).min(LONGEST);
        *count += 1;
        *next = now + wait;
        wait
    }

    /// Forgets the failures of `key`.
    pub fn succeeded(&mut self, key: &K) {
        self.failures.remove(key);
    }

    /// Forgets every key that `keep` does not want.
    pub fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.failures.retain(|key, _| keep(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_a_minute_and_forgets_on_success() {
        let at = Duration::from_secs;
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..7).map(|_| backoff.failed("pod", at(100)).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.wait(&"pod", at(130)), Some(at(30)));
        assert_eq!(backoff.wait(&"pod", at(160)), None);
        assert_eq!(backoff.wait(&"other", at(0)), None);
        backoff.succeeded(&"pod");
        assert_eq!(backoff.failed("pod", at(0)), at(2));
    }
}
