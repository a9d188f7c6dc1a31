//! What the weather is, as JSON: see `docs/weather-and-iam.md`.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Afterwards, Fate};
use crate::api::error::Ec2Error;
use crate::state::select::wildcard;

/// Most bytes of a configuration.
const MAX_BYTES: usize = 64 << 10;
/// Most rules of one kind.
const MAX_RULES: usize = 200;
/// Longest delay of one call, and longest time that describes lag behind.
const MAX_MS: f64 = 600_000.0;
/// Different error codes that a process accepts in its life; each is kept.
const MAX_CODES: usize = 500;

/// A configuration that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Too long.
    #[error("the weather has more than {MAX_BYTES} bytes")]
    TooLong,
    /// Not JSON of this shape.
    #[error("the weather is not understood: {0}")]
    Json(String),
    /// A value is out of range.
    #[error("{place}: {why}")]
    Value {
        /// `failures 2, share`.
        place: String,
        /// What was expected.
        why: &'static str,
    },
}

/// The weather. Everything is off where it is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What chance depends on.
    pub seed: u64,
    /// How long calls take; the first rule that fits an action holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub latency: Vec<Latency>,
    /// EC2's request limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    /// Describes that do not see the newest writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<Stale>,
    /// Calls that fail; the first rule that befalls a call holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    /// Attachments that stay `attaching`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attach: Option<Attach>,
    /// Instance types that are short.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capacity: Vec<Capacity>,
}

/// Names with `*` and `?`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern(String);

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Pattern(text)
    }
}

impl Default for Pattern {
    fn default() -> Self {
        Pattern("*".to_owned())
    }
}

impl Pattern {
    /// Whether the name is one of those meant.
    pub fn fits(&self, name: &str) -> bool {
        wildcard(&self.0, name)
    }
}

/// How long the calls of some actions take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Which actions.
    #[serde(default)]
    pub action: Pattern,
    /// How long.
    #[serde(flatten)]
    pub distribution: Distribution,
}

/// A distribution of milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Distribution {
    /// Always the same.
    Fixed {
        /// Milliseconds.
        fixed_ms: f64,
    },
    /// Anything between two bounds.
    Uniform {
        /// Lower and upper bound.
        uniform_ms: [f64; 2],
    },
    /// A floor and an exponential tail, so that half the calls take at most `p50` and 99 of 100 at
    /// most `p99`.
    Exponential {
        /// The two percentiles.
        exponential_ms: Percentiles,
    },
}

/// Two percentiles, milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl Distribution {
    /// The duration at a number from 0 up to 1.
    pub fn sample(&self, chance: f64) -> Duration {
        let milliseconds = match self {
            Distribution::Fixed { fixed_ms } => *fixed_ms,
            Distribution::Uniform { uniform_ms: [low, high] } => low + (high - low) * chance,
            Distribution::Exponential { exponential_ms: Percentiles { p50, p99 } } => {
                // Quantile of a shifted exponential through (½, p50) and (0.99, p99):
                // t(q) = p50 + scale · (ln 2 halves gone), never below 0.
                let scale = (p99 - p50) / 50_f64.ln();
                p50 + scale * (-(1.0 - chance).ln() - 2_f64.ln())
            }
        };
        Duration::from_secs_f64(milliseconds.clamp(0.0, MAX_MS) / 1_000.0)
    }

    fn check(&self, place: &str) -> Result<(), ConfigError> {
        let (low, high) = match self {
            Distribution::Fixed { fixed_ms } => (*fixed_ms, *fixed_ms),
            Distribution::Uniform { uniform_ms: [low, high] } => (*low, *high),
            Distribution::Exponential { exponential_ms: Percentiles { p50, p99 } } => (*p50, *p99),
        };
        let fine = low >= 0.0 && low <= high && high <= MAX_MS;
        require(fine, place, "expected milliseconds from 0 to 600,000, the smaller first")
    }
}

/// Token buckets. Without `buckets` EC2's defaults hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Throttle {
    /// Instead of or before the defaults; all actions that fit one share its tokens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<Bucket>,
}

/// One token bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// Which actions take from it.
    pub action: Pattern,
    /// Tokens it holds at most, and at first.
    pub capacity: f64,
    /// Tokens a second that come back.
    pub refill: f64,
}

/// Describes that answer from the past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stale {
    /// How old the state is that they see.
    pub ms: u64,
    /// Which share of them; the others see the newest state.
    #[serde(default = "all")]
    pub share: f64,
}

/// Attachments that hang.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// How long they stay `attaching`; the packets wait as long.
    pub seconds: u64,
    /// Which share of them.
    #[serde(default = "all")]
    pub share: f64,
}

fn all() -> f64 {
    1.0
}

/// Call numbers, from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Nth {
    /// One call.
    One(u64),
    /// Several.
    Some(Vec<u64>),
}

/// Calls that fail.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Failure {
    /// Which actions.
    pub action: Pattern,
    /// Only the calls with these numbers, of those that fit the pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nth: Option<Nth>,
    /// Only every so many calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// Only this share of the calls, by chance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// EC2's error code; without one the connection is closed and nothing is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The error's message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// HTTP status, if not the code's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The call is carried out first. Always so for one without a code.
    pub after_effect: bool,
}

/// An instance type that is short in a zone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capacity {
    /// Which types.
    pub instance_type: Pattern,
    /// Which zones.
    pub zone: Pattern,
    /// How many such instances can run there at a time, all types that fit together.
    pub available: usize,
}

impl Failure {
    /// Makes the failure part of a fate.
    pub(super) fn befall(&self, fate: &mut Fate) {
        let Some(code) = &self.code else {
            fate.afterwards = Some(Afterwards::Silence);
            return;
        };
        // The code was accepted before, so it is kept already.
        let code = intern(code).unwrap_or("InternalError");
        let message = self
            .message
            .clone()
            .unwrap_or_else(|| format!("Bad weather: this call was chosen to fail with {code}."));
        let error = Ec2Error::new(code, message);
        match self.after_effect {
            true => fate.afterwards = Some(Afterwards::Error(error, self.status)),
            false => fate.refusal = Some((error, self.status)),
        }
    }
}

/// The code as text that lives for ever, as errors want it; `None` for one that cannot be a code.
fn intern(code: &str) -> Option<&'static str> {
    static CODES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let plain = code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    if code.is_empty() || code.len() > 100 || !plain {
        return None;
    }
    let mut codes = CODES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(known) = codes.get(code) {
        return Some(known);
    }
    if codes.len() >= MAX_CODES {
        return None;
    }
    let kept: &'static str = Box::leak(code.to_owned().into_boxed_str());
    codes.insert(kept);
    Some(kept)
}

fn require(fine: bool, place: &str, why: &'static str) -> Result<(), ConfigError> {
    if fine { Ok(()) } else { Err(ConfigError::Value { place: place.to_owned(), why }) }
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        if text.len() > MAX_BYTES {
            return Err(ConfigError::TooLong);
        }
        let config: Config =
            serde_json::from_str(text).map_err(|error| ConfigError::Json(error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// Whether every value is in range.
    ///
    /// # Errors
    /// The first value that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let most = [self.latency.len(), self.failures.len(), self.capacity.len()];
        let fine = most.into_iter().all(|count| count <= MAX_RULES);
        require(fine, "rules", "expected at most 200 of each kind")?;
        for (index, latency) in self.latency.iter().enumerate() {
            latency.distribution.check(&format!("latency {}", index + 1))?;
        }
        let buckets = self.throttle.iter().flat_map(|throttle| &throttle.buckets);
        for (index, bucket) in buckets.enumerate() {
            let fine = bucket.capacity >= 1.0 && bucket.refill >= 0.0;
            let fine = fine
                && bucket.capacity.is_finite()
                && bucket.refill.is_finite()
                && index < MAX_RULES;
            let place = format!("throttle, bucket {}", index + 1);
            require(fine, &place, "expected a capacity from 1 and a refill from 0 a second")?;
        }
        for (index, failure) in self.failures.iter().enumerate() {
            failure.check(&format!("failures {}", index + 1))?;
        }
        let shares = self.stale.iter().map(|s| s.share).chain(self.attach.iter().map(|a| a.share));
        for share in shares {
            require((0.0..=1.0).contains(&share), "share", "expected a number from 0 to 1")?;
        }
        let ms = self.stale.as_ref().map_or(0, |stale| stale.ms);
        require(ms as f64 <= MAX_MS, "stale, ms", "expected at most 600,000")?;
        let seconds = self.attach.as_ref().map_or(0, |attach| attach.seconds);
        require(seconds <= 3_600, "attach, seconds", "expected at most 3,600")
    }

    /// A configuration in which every call takes so long.
    #[must_use]
    pub fn slow(milliseconds: f64) -> Config {
        Config { latency: vec![Latency::fixed(milliseconds)], ..Config::default() }
    }
}

impl Failure {
    fn check(&self, place: &str) -> Result<(), ConfigError> {
        let share = self.share.is_none_or(|share| (0.0..=1.0).contains(&share));
        require(share, &format!("{place}, share"), "expected a number from 0 to 1")?;
        require(self.every != Some(0), &format!("{place}, every"), "expected a number from 1")?;
        let status = self.status.is_none_or(|status| (400..=599).contains(&status));
        require(status, &format!("{place}, status"), "expected an HTTP status from 400 to 599")?;
        let code = self.code.as_deref().is_none_or(|code| intern(code).is_some());
        let why = "expected letters, digits and dots, at most 100, and at most 500 codes in all";
        require(code, &format!("{place}, code"), why)
    }
}
