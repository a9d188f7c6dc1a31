//! What beside the records outlives a process with `--state DIR`.
//!
//! ```text
//!   DIR/settings   what the admin set: the policies of access keys, and the weather; JSON
//!   DIR/secret     32 random bytes, made once: signs session tokens, and names the directory
//! ```
//!
//! Settings are written before they hold: a key that was bound to a policy stays bound to it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::iam::{Keys, KeysError};
use crate::weather::{Config, ConfigError};

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A call to the kernel failed.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Not written by this program, or damaged.
    #[error(
        "read {}: {why}. It says what access keys may do; restore it, or remove it to bind none",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// More keys than can be bound.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

/// What the admin set.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Which access key is bound to which policy.
    pub keys: Keys,
    /// The weather; fair if absent.
    pub weather: Option<Config>,
}

/// The form of [`Settings`] in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    keys: BTreeMap<String, Value>,
    weather: Option<Value>,
}

impl Settings {
    /// Adds what the command line says: its keys' policies and its weather replace earlier ones.
    ///
    /// # Errors
    /// More keys than can be bound.
    pub fn add(&mut self, keys: Option<Keys>, weather: Option<Config>) -> Result<(), KeysError> {
        for (key, policy) in keys.iter().flat_map(Keys::iter) {
            self.keys.bind(key, &policy.source().to_string())?;
        }
        self.weather = weather.or(self.weather.take());
        Ok(())
    }

    fn parse(text: &str) -> Result<Self, String> {
        let Written { keys, weather } =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut settings = Settings::default();
        for (key, policy) in keys {
            let bound = settings.keys.bind(&key, &policy.to_string());
            bound.map_err(|error| error.to_string())?;
        }
        let weather = weather.map(|weather| Config::parse(&weather.to_string()));
        settings.weather = weather.transpose().map_err(|error: ConfigError| error.to_string())?;
        Ok(settings)
    }

    fn text(&self) -> serde_json::Result<String> {
        let keys = self.keys.iter().map(|(key, policy)| (key.to_owned(), policy.source().clone()));
        let weather = self.weather.as_ref().map(serde_json::to_value).transpose()?;
        serde_json::to_string_pretty(&Written { keys: keys.collect(), weather })
    }
}

/// The files of one directory, which this process has to itself.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    secret: Secret,
}

impl Store {
    /// Reads what is in `directory`, which the caller holds the lock of; nothing is there at first.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn open(directory: &Path) -> Result<(Store, Settings), SettingsError> {
        let secret = Secret::open(&directory.join("secret"))?;
        let path = directory.join("settings");
        let settings = match fs::read_to_string(&path) {
            Ok(text) => Settings::parse(&text)
                .map_err(|why| SettingsError::Damaged { path: path.clone(), why })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Settings::default(),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        Ok((Store { path, secret }, settings))
    }

    /// Writes the settings so that there is the whole of them or what was there before. Blocks.
    ///
    /// # Errors
    /// What the disk says; the earlier ones are still there.
    pub fn save(&self, settings: &Settings) -> Result<(), SettingsError> {
        let text = settings.text().map_err(io::Error::from).map_err(failed("write", &self.path))?;
        replace(&self.path, text.as_bytes())
    }

    /// The directory's secret.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> SettingsError {
    let path = path.to_owned();
    move |source| SettingsError::Io { operation, path: path.clone(), source }
}

/// Replaces a file that only its owner can read.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), SettingsError> {
    let part = path.with_extension("part");
    let mut options = OpenOptions::new();
    let written = options.write(true).create(true).truncate(true).mode(0o600).open(&part);
    let written = written.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(failed("write", &part))?;
    fs::rename(&part, path).map_err(failed("replace", path))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory).and_then(|d| d.sync_all()).map_err(failed("sync", directory))
}

/// 32 bytes that nobody else knows.
#[derive(Debug, Clone)]
pub struct Secret(hmac::Key);

impl Secret {
    const BYTES: usize = 32;

    /// One that goes with the process.
    ///
    /// # Errors
    /// Where the kernel gives no random bytes.
    pub fn new() -> io::Result<Secret> {
        Self::random().map(|bytes| Self::of(&bytes))
    }

    fn of(bytes: &[u8]) -> Secret {
        Secret(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    fn random() -> io::Result<[u8; Self::BYTES]> {
        let mut bytes = [0; Self::BYTES];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The one in the file, which is made where it is absent.
    fn open(path: &Path) -> Result<Secret, SettingsError> {
        match fs::read(path) {
            Ok(bytes) if bytes.len() == Self::BYTES => Ok(Self::of(&bytes)),
            Ok(bytes) => {
                let why = format!("expected {} bytes, found {}", Self::BYTES, bytes.len());
                Err(SettingsError::Damaged { path: path.to_owned(), why })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let bytes = Self::random().map_err(failed("make random bytes for", path))?;
                replace(path, &bytes)?;
                Ok(Self::of(&bytes))
            }
            Err(error) => Err(failed("read", path)(error)),
        }
    }

    /// What nobody else can say of `words`, in hexadecimal digits.
    pub fn sign(&self, words: &str) -> String {
        let tag = hmac::sign(&self.0, words.as_bytes());
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether [`Self::sign`] said `signature` of `words`; takes as long for a wrong one.
    pub fn signed(&self, words: &str, signature: &str) -> bool {
        let digit = |text: &[u8]| u8::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = signature.as_bytes().chunks(2).map(digit).collect();
        bytes.is_some_and(|bytes| hmac::verify(&self.0, words.as_bytes(), &bytes).is_ok())
    }

    /// A name for what belongs to the secret, from which it cannot be found out.
    pub fn name(&self) -> String {
        self.sign("name")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"{"Version": "2012-10-17", "Statement":
        {"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}}"#;

    struct Directory(PathBuf);

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn directory(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("hedgerow-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Directory(path)
    }

    #[test]
    fn what_was_saved_is_there_and_flags_add_to_it() {
        let directory = directory("settings");
        let (store, mut settings) = Store::open(&directory.0).expect("a new one");
        settings.keys.bind("AKIANARROW", POLICY).expect("a policy");
        settings.weather = Some(Config::parse(r#"{"seed": 7, "stale": {"ms": 5}}"#).expect("JSON"));
        store.save(&settings).expect("room");
        let (again, read) = Store::open(&directory.0).expect("the same");
        assert_eq!(read.weather, settings.weather);
        let bound = |settings: &Settings| {
            settings.keys.iter().map(|(key, _)| key.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(bound(&read), ["AKIANARROW"]);
        assert_eq!(again.secret().name(), store.secret().name());

        let mut more = read;
        let flags = Keys::parse(&format!(r#"{{"AKIAOTHER": {POLICY}}}"#)).expect("keys");
        more.add(Some(flags), None).expect("two keys");
        assert_eq!(bound(&more), ["AKIANARROW", "AKIAOTHER"]);
        assert_eq!(more.weather, settings.weather, "no flag: it goes on");
    }

    #[test]
    fn damage_is_not_taken_for_no_settings() {
        let directory = directory("damaged-settings");
        let (store, settings) = Store::open(&directory.0).expect("a new one");
        store.save(&settings).expect("room");
        for text in ["", "{", r#"{"keys": {}}x"#, r#"{"keys": {"A": {}}, "weather": null}"#] {
            fs::write(directory.0.join("settings"), text).expect("written");
            let error = Store::open(&directory.0).expect_err("damaged");
            assert!(matches!(error, SettingsError::Damaged { .. }), "{text}: {error}");
        }
    }

    #[test]
    fn a_signature_is_of_its_words_only() {
        let secret = Secret::new().expect("random");
        let signature = secret.sign("i-1 60");
        assert!(secret.signed("i-1 60", &signature));
        assert!(!secret.signed("i-2 60", &signature));
        for wrong in ["", "0", "zz", &signature[2..], &format!("{signature}00")] {
            assert!(!secret.signed("i-1 60", wrong), "{wrong}");
        }
        assert!(!Secret::new().expect("random").signed("i-1 60", &signature));
    }
}
