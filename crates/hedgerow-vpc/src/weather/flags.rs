//! Weather on the command line.

use std::path::PathBuf;

use clap::Args;

use super::config::{Attach, Config, ConfigError, Failure, Latency, Stale, Throttle};

/// Bad weather from the start; `PUT /_hedgerow/weather` changes it later.
#[derive(Debug, Clone, Default, Args)]
pub struct WeatherFlags {
    /// Weather as JSON; the flags below add to it.
    #[arg(long, value_name = "FILE")]
    weather: Option<PathBuf>,
    /// Every call takes so many milliseconds longer.
    #[arg(long, value_name = "MS")]
    latency_ms: Option<f64>,
    /// Limit requests as EC2 does by default.
    #[arg(long)]
    throttle: bool,
    /// Describes see the state as it was so many milliseconds ago.
    #[arg(long, value_name = "MS")]
    stale_ms: Option<u64>,
    /// Let calls fail: ACTION=CODE, or ACTION=CODE:SHARE with a share from 0 to 1.
    #[arg(long, value_name = "ACTION=CODE[:SHARE]")]
    fail: Vec<String>,
    /// Attachments stay `attaching` for so many seconds.
    #[arg(long, value_name = "SECONDS")]
    attaching_seconds: Option<u64>,
}

/// Weather flags that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum WeatherFlagsError {
    /// The file cannot be read.
    #[error("read the weather file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What they say is no weather.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `--fail` has another form.
    #[error(
        "--fail {0}: expected ACTION=CODE or ACTION=CODE:SHARE, such as Create*=InternalError:0.1"
    )]
    Fail(String),
}

impl WeatherFlags {
    /// The weather asked for; `None` for fair weather. `seed` is used where the file has none.
    ///
    /// # Errors
    /// See [`WeatherFlagsError`].
    pub fn config(&self, seed: u64) -> Result<Option<Config>, WeatherFlagsError> {
        let mut config = match &self.weather {
            None => Config::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| WeatherFlagsError::Read { path: path.clone(), source })?;
                Config::parse(&text)?
            }
        };
        config.latency.extend(self.latency_ms.map(Latency::fixed));
        if self.throttle {
            config.throttle.get_or_insert_with(Throttle::default);
        }
        if let Some(ms) = self.stale_ms {
            config.stale = Some(Stale { ms, share: 1.0 });
        }
        if let Some(seconds) = self.attaching_seconds {
            config.attach = Some(Attach { seconds, share: 1.0 });
        }
        for text in &self.fail {
            config.failures.push(failure(text).ok_or(WeatherFlagsError::Fail(text.clone()))?);
        }
        if config == Config::default() {
            return Ok(None);
        }
        if config.seed == 0 {
            config.seed = seed;
        }
        config.check()?;
        Ok(Some(config))
    }
}

fn failure(text: &str) -> Option<Failure> {
    let (action, rest) = text.split_once('=')?;
    let (code, share) = match rest.split_once(':') {
        Some((code, share)) => (code, Some(share.parse().ok()?)),
        None => (rest, None),
    };
    let (action, code) = (action.to_owned().into(), Some(code.to_owned()));
    Some(Failure { action, code, share, ..Failure::default() })
}
