//! Access keys and the documents they are bound to.

use std::collections::BTreeMap;

use serde_json::Value;

use super::document::{Document, PolicyError};
use super::{Decision, decide, refusal, touched};
use crate::api::error::Ec2Error;
use crate::state::State;

/// Most keys that can be bound.
const MAX_KEYS: usize = 1_000;

/// A binding that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// Not an access key id.
    #[error("'{0}' is no access key id: expected 1 to 128 letters, digits or _")]
    Key(String),
    /// Too many.
    #[error("{MAX_KEYS} access keys are bound already; unbind one")]
    TooMany,
    /// The file is not an object of keys and documents.
    #[error("expected a JSON object from access key ids to policy documents: {0}")]
    Shape(String),
    /// A key's document is not one.
    #[error("the policy of access key {key}: {error}")]
    Policy {
        /// The access key id.
        key: String,
        /// What is wrong.
        error: PolicyError,
    },
}

/// Documents by access key id.
#[derive(Debug, Clone, Default)]
pub struct Keys(BTreeMap<String, Document>);

impl Keys {
    /// Reads `{"ACCESS_KEY_ID": {policy document}, …}`.
    ///
    /// # Errors
    /// The first key or document that is not one.
    pub fn parse(text: &str) -> Result<Keys, KeysError> {
        let bindings: BTreeMap<String, Value> =
            serde_json::from_str(text).map_err(|error| KeysError::Shape(error.to_string()))?;
        let mut keys = Keys::default();
        for (key, document) in bindings {
            keys.bind(&key, &document.to_string())?;
        }
        Ok(keys)
    }

    /// Binds a key to a document, in place of the one it was bound to.
    ///
    /// # Errors
    /// See [`KeysError`]; nothing changed then.
    pub fn bind(&mut self, key: &str, document: &str) -> Result<(), KeysError> {
        let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if key.is_empty() || key.len() > 128 || !plain {
            return Err(KeysError::Key(key.chars().take(128).collect()));
        }
        if self.0.len() >= MAX_KEYS && !self.0.contains_key(key) {
            return Err(KeysError::TooMany);
        }
        let document = Document::parse(document)
            .map_err(|error| KeysError::Policy { key: key.to_owned(), error })?;
        self.0.insert(key.to_owned(), document);
        Ok(())
    }

    /// Lets a key do everything again; whether it was bound.
    pub fn unbind(&mut self, key: &str) -> bool {
        self.0.remove(key).is_some()
    }

    /// The document of a key.
    pub fn get(&self, key: &str) -> Option<&Document> {
        self.0.get(key)
    }

    /// Bound keys with their documents.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Document)> {
        self.0.iter().map(|(key, document)| (key.as_str(), document))
    }

    /// Whether the key may make the call in `body`. What is no call of a known action is let
    /// through: the API says itself what is wrong with it.
    ///
    /// # Errors
    /// EC2's `UnauthorizedOperation`, with or without `DryRun`.
    pub fn check(
        &self,
        state: &State,
        key: &str,
        region: &str,
        body: &[u8],
    ) -> Result<(), Ec2Error> {
        let Some(document) = self.0.get(key) else { return Ok(()) };
        for request in touched::requests(state.region(region), region, body) {
            if let Decision::Denied { resource, explicit } = decide(document, &request) {
                return Err(refusal::error(&request, &resource, explicit));
            }
        }
        Ok(())
    }
}
