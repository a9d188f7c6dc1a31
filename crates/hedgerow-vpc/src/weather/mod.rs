//! Weather: what a cloud does to its callers besides answering.
//!
//! ```text
//!   request ──► Weather::meet(action, now) ──► Fate: delay, refusal, lost answer, old state, hang
//!                  │ Config (JSON)    │ calls so far, buckets
//!                  └ chance(seed, action, call number)
//! ```
//!
//! A fate depends on the seed, the action and the number of its call only (throttling also on the
//! instant), so a run with the same requests meets the same weather. Fair weather costs nothing:
//! without a configuration no call is counted.

mod capacity;
mod chance;
mod config;
mod flags;
mod past;
mod throttle;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::api::error::Ec2Error;

pub use capacity::shortage;
pub use config::{Config, ConfigError};
pub use flags::{WeatherFlags, WeatherFlagsError};
pub use past::{Change, Past};

use chance::{Purpose, chance};
use config::{Failure, Latency, Nth};
use throttle::Buckets;
pub use throttle::Load;

/// Milliseconds since some instant of the process; only differences matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// Milliseconds from `earlier` to this instant; 0 if `earlier` is later.
    pub fn since(self, earlier: Millis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What happens to one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fate {
    /// How long the request takes before it is looked at.
    pub delay: Duration,
    /// Refused without an effect, with this HTTP status if not the code's own.
    pub refusal: Option<(Ec2Error, Option<u16>)>,
    /// Done, and then the answer is replaced.
    pub afterwards: Option<Afterwards>,
    /// A describe answers from the state as it was before.
    pub stale: bool,
    /// An attachment that the call makes stays `attaching` for so many seconds.
    pub attaching: Option<u64>,
}

impl Fate {
    /// The code that the client hears of a call with this result; empty where it hears of success.
    pub fn heard(&self, result: &Result<String, Ec2Error>) -> &'static str {
        match (&self.afterwards, result) {
            (Some(Afterwards::Silence), _) => "NoAnswer",
            (Some(Afterwards::Error(error, _)), _) | (None, Err(error)) => error.code,
            (None, Ok(_)) => "",
        }
    }
}

/// What comes in place of the answer to a request that was carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Afterwards {
    /// The connection is closed.
    Silence,
    /// An error, with this HTTP status if not the code's own.
    Error(Ec2Error, Option<u16>),
}

/// A configuration and what it has met so far.
#[derive(Debug)]
pub struct Weather {
    config: Arc<Config>,
    /// Calls of each action so far.
    calls: BTreeMap<String, u64>,
    /// Calls that each failure rule fitted so far.
    fitted: Vec<u64>,
    buckets: Buckets,
}

/// Most names of actions that are counted apart; what clients invent beyond shares one count.
const MAX_ACTIONS: usize = 2_000;

impl Weather {
    /// Weather from its beginning: no call was made yet, every bucket is full.
    pub fn new(config: Config) -> Self {
        let fitted = vec![0; config.failures.len()];
        Self {
            config: Arc::new(config),
            calls: BTreeMap::new(),
            fitted,
            buckets: Buckets::default(),
        }
    }

    /// What this is the weather of.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The fate of a call.
    pub fn meet(&mut self, region: &str, action: &str, load: Load, now: Millis) -> Fate {
        let call = self.count(action);
        let config = Arc::clone(&self.config);
        let roll = |purpose| chance(config.seed, action, call, purpose);
        let mut fate = Fate::default();
        if let Some(latency) = config.latency.iter().find(|latency| latency.action.fits(action)) {
            fate.delay = latency.distribution.sample(roll(Purpose::Latency));
        }
        if let Some(throttle) = &config.throttle
            && !self.buckets.take(throttle, region, action, load, now)
        {
            let error = Ec2Error::new("RequestLimitExceeded", "Request limit exceeded.");
            fate.refusal = Some((error, None));
            return fate;
        }
        if let Some(failure) = self.failure(&config, action, &roll) {
            failure.befall(&mut fate);
        }
        fate.stale = is_describe(action)
            && config.stale.as_ref().is_some_and(|stale| roll(Purpose::Stale) < stale.share);
        fate.attaching = config
            .attach
            .as_ref()
            .filter(|_| action == "AttachNetworkInterface")
            .filter(|attach| roll(Purpose::Attach) < attach.share)
            .map(|attach| attach.seconds);
        fate
    }

    fn count(&mut self, action: &str) -> u64 {
        let full = self.calls.len() >= MAX_ACTIONS && !self.calls.contains_key(action);
        let count = self.calls.entry(if full { "" } else { action }.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// The first rule that befalls the call; every rule that fits counts it.
    fn failure<'c>(
        &mut self,
        config: &'c Config,
        action: &str,
        roll: &dyn Fn(Purpose) -> f64,
    ) -> Option<&'c Failure> {
        let mut found = None;
        for (index, failure) in config.failures.iter().enumerate() {
            if !failure.action.fits(action) {
                continue;
            }
            self.fitted[index] += 1;
            let call = self.fitted[index];
            let falls = match &failure.nth {
                Some(Nth::One(n)) => call == *n,
                Some(Nth::Some(numbers)) => numbers.contains(&call),
                None => true,
            };
            let falls = falls && failure.every.is_none_or(|every| call.is_multiple_of(every));
            let share = failure.share.unwrap_or(1.0);
            if falls && found.is_none() && roll(Purpose::Failure(index)) < share {
                found = Some(failure);
            }
        }
        found
    }
}

/// Whether an action changes nothing.
pub fn is_describe(action: &str) -> bool {
    ["Describe", "Get", "List", "Search"].iter().any(|verb| action.starts_with(verb))
}

impl Latency {
    /// A rule for every action.
    fn fixed(milliseconds: f64) -> Self {
        Latency {
            action: "*".to_owned().into(),
            distribution: config::Distribution::Fixed { fixed_ms: milliseconds },
        }
    }
}

#[cfg(test)]
mod tests;
