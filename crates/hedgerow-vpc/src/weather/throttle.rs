//! EC2's request limits: token buckets per region, refilled with time.

use std::collections::BTreeMap;

use super::config::Throttle;
use super::{Millis, is_describe};

/// Tokens of one bucket and when that was.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Level {
    tokens: f64,
    at: Millis,
}

/// Buckets in use, by region and name.
#[derive(Debug, Default)]
pub(super) struct Buckets(BTreeMap<(String, String), Level>);

/// Most buckets that are kept; regions are few, so only nonsense gets there.
const MAX_BUCKETS: usize = 10_000;

/// Describes that take from a smaller bucket where they ask for everything.
const COSTLY_WHOLE: &[&str] = &[
    "DescribeInstanceStatus",
    "DescribeInstances",
    "DescribeNetworkInterfaces",
    "DescribeSecurityGroups",
    "DescribeSnapshots",
    "DescribeVolumes",
];

/// Actions with a bucket of their own: name, capacity, refill a second.
const OWN: &[(&str, f64, f64)] = &[
    ("AssignPrivateIpAddresses", 100.0, 5.0),
    ("CreateDefaultSubnet", 1.0, 1.0),
    ("CreateDefaultVpc", 1.0, 1.0),
    ("CreateTags", 100.0, 10.0),
    ("DeleteTags", 100.0, 10.0),
    ("RunInstances", 5.0, 2.0),
    ("StartInstances", 5.0, 2.0),
    ("UnassignPrivateIpAddresses", 100.0, 5.0),
];

/// EC2's default for an action: the bucket's name, its capacity, its refill a second ("Request
/// throttling for the Amazon EC2 API"). The actions of a class share its bucket, which is how
/// accounts were limited until 2024 and the stricter reading of REFERENCE §2.
fn default(action: &str, whole: bool) -> (&str, f64, f64) {
    if let Some((name, capacity, refill)) = OWN.iter().find(|(name, ..)| *name == action) {
        return (name, *capacity, *refill);
    }
    match is_describe(action) {
        true if whole && COSTLY_WHOLE.contains(&action) => ("whole", 50.0, 10.0),
        true => ("describe", 100.0, 20.0),
        false => ("change", 50.0, 5.0),
    }
}

impl Buckets {
    /// Takes a token for a call; whether there was one.
    pub fn take(
        &mut self,
        throttle: &Throttle,
        region: &str,
        action: &str,
        whole: bool,
        now: Millis,
    ) -> bool {
        let chosen = throttle.buckets.iter().enumerate().find(|(_, b)| b.action.fits(action));
        let (name, capacity, refill) = match chosen {
            Some((index, bucket)) => (format!("#{index}"), bucket.capacity, bucket.refill),
            None => {
                let (name, capacity, refill) = default(action, whole);
                (name.to_owned(), capacity, refill)
            }
        };
        let key = (region.to_owned(), name);
        if self.0.len() >= MAX_BUCKETS && !self.0.contains_key(&key) {
            return false;
        }
        let level = self.0.entry(key).or_insert(Level { tokens: capacity, at: now });
        let back = now.since(level.at) as f64 / 1_000.0 * refill;
        level.tokens = (level.tokens + back).min(capacity);
        level.at = level.at.max(now);
        if level.tokens < 1.0 {
            return false;
        }
        level.tokens -= 1.0;
        true
    }
}
