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

/// Actions that also take one token per instance from a second bucket: name, capacity, refill a
/// second ("Resource token limits" on the same page).
const PER_INSTANCE: &[(&str, f64, f64)] = &[
    ("RunInstances", 1_000.0, 2.0),
    ("StartInstances", 1_000.0, 2.0),
    ("StopInstances", 1_000.0, 20.0),
    ("TerminateInstances", 1_000.0, 20.0),
];

/// What of a request besides its action decides how much it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// A describe without ids, filters and page size.
    pub whole: bool,
    /// Instances that the request names, or asks for at most.
    pub instances: u32,
}

impl Load {
    /// A request for one thing.
    pub const ONE: Load = Load { whole: false, instances: 1 };
}

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
    /// Takes tokens for a call; whether there were enough.
    pub fn take(
        &mut self,
        throttle: &Throttle,
        region: &str,
        action: &str,
        load: Load,
        now: Millis,
    ) -> bool {
        let chosen = throttle.buckets.iter().enumerate().find(|(_, b)| b.action.fits(action));
        if let Some((index, bucket)) = chosen {
            let size = (bucket.capacity, bucket.refill);
            return self.draw((region.to_owned(), format!("#{index}")), size, 1.0, now);
        }
        let (name, capacity, refill) = default(action, load.whole);
        if !self.draw((region.to_owned(), name.to_owned()), (capacity, refill), 1.0, now) {
            return false;
        }
        match PER_INSTANCE.iter().find(|(name, ..)| *name == action) {
            None => true,
            Some((name, capacity, refill)) => {
                let key = (region.to_owned(), format!("{name}/instances"));
                self.draw(key, (*capacity, *refill), f64::from(load.instances), now)
            }
        }
    }

    /// Takes tokens out of one bucket of a capacity and a refill; whether there were enough.
    fn draw(&mut self, key: (String, String), size: (f64, f64), tokens: f64, now: Millis) -> bool {
        let (capacity, refill) = size;
        if self.0.len() >= MAX_BUCKETS && !self.0.contains_key(&key) {
            return false;
        }
        let level = self.0.entry(key).or_insert(Level { tokens: capacity, at: now });
        let back = now.since(level.at) as f64 / 1_000.0 * refill;
        level.tokens = (level.tokens + back).min(capacity);
        level.at = level.at.max(now);
        if level.tokens < tokens {
            return false;
        }
        level.tokens -= tokens;
        true
    }
}
