//! Access keys and roles, and the documents they are bound to.

use std::collections::BTreeMap;

use serde_json::Value;

use super::document::{Document, PolicyError};
use super::{Decision, decide, refusal, touched};
use crate::api::error::Ec2Error;
use crate::state::{ACCOUNT, Principal, State};

/// Most keys that can be bound.
const MAX_KEYS: usize = 1_000;

/// A binding that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// Neither an access key id nor a role.
    #[error(
        "'{0}' is no access key id (1 to 128 letters, digits or _) and no role (role/NAME, or its ARN)"
    )]
    Key(String),
    /// Too many.
    #[error("{MAX_KEYS} access keys and roles are bound already; unbind one")]
    TooMany,
    /// The file is not an object of keys and documents.
    #[error("expected a JSON object from access key ids and roles to policy documents: {0}")]
    Shape(String),
    /// A key's document is not one.
    #[error("the policy of {key}: {error}")]
    Policy {
        /// The access key id or role.
        key: String,
        /// What is wrong.
        error: PolicyError,
    },
}

/// What the name of a role begins with, here and at the end of its ARN.
const ROLE: &str = "role/";

/// Documents by access key id and by `role/NAME`.
#[derive(Debug, Clone, Default)]
pub struct Keys(BTreeMap<String, Document>);

impl Keys {
    /// Reads `{"ACCESS_KEY_ID": {policy document}, "role/NAME": …}`.
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

    /// Binds a key or a role to a document, in place of the one it was bound to.
    ///
    /// # Errors
    /// See [`KeysError`]; nothing changed then.
    pub fn bind(&mut self, key: &str, document: &str) -> Result<(), KeysError> {
        let name = name(key);
        if !is_name(name) {
            return Err(KeysError::Key(key.chars().take(128).collect()));
        }
        if self.0.len() >= MAX_KEYS && !self.0.contains_key(name) {
            return Err(KeysError::TooMany);
        }
        let document = Document::parse(document)
            .map_err(|error| KeysError::Policy { key: key.to_owned(), error })?;
        self.0.insert(name.to_owned(), document);
        Ok(())
    }

    /// Lets a key or a role do everything again; whether it was bound.
    pub fn unbind(&mut self, key: &str) -> bool {
        self.0.remove(name(key)).is_some()
    }

    /// The document of a key or a role.
    pub fn get(&self, key: &str) -> Option<&Document> {
        self.0.get(name(key))
    }

    /// Bound keys and roles with their documents.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Document)> {
        self.0.iter().map(|(key, document)| (key.as_str(), document))
    }

    /// Whether the principal, with this key, may make the call in `body`. What is no call of a known
    /// action is let through: the API says itself what is wrong with it.
    ///
    /// # Errors
    /// EC2's `UnauthorizedOperation`, with or without `DryRun`; `AccessDenied…` of the others.
    pub fn check(
        &self,
        state: &State,
        (principal, key): (&Principal, Option<&str>),
        region: &str,
        body: &[u8],
    ) -> Result<(), Ec2Error> {
        let of_role = match principal {
            Principal::User => None,
            Principal::Instance { role, .. } => self.0.get(&format!("{ROLE}{role}")),
        };
        let Some(document) = of_role.or_else(|| self.0.get(key?)) else { return Ok(()) };
        let (api, requests) = touched::requests(state.region(region), region, principal, body);
        for request in requests {
            if let Decision::Denied { resource, explicit } = decide(document, &request) {
                return Err(refusal::error(api, principal, &request, &resource, explicit));
            }
        }
        Ok(())
    }
}

/// The name that a key or a role, which may be given by its ARN, is bound under.
fn name(given: &str) -> &str {
    let prefix = format!("arn:aws:iam::{ACCOUNT}:{ROLE}");
    match given.strip_prefix(&prefix) {
        Some(role) => &given[given.len() - role.len() - ROLE.len()..],
        None => given,
    }
}

/// Whether it is an access key id, or a role by the characters that IAM allows in its name.
fn is_name(name: &str) -> bool {
    let (text, more): (_, &[u8]) = match name.strip_prefix(ROLE) {
        Some(role) => (role, b"+=,.@-_"),
        None => (name, b"_"),
    };
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let arn = format!("arn:aws:iam::{ACCOUNT}:role/node-1");
        for (given, want) in [
            ("AKIA1", Some("AKIA1")),
            ("role/node-1", Some("role/node-1")),
            (arn.as_str(), Some("role/node-1")),
            ("arn:aws:iam::000000000000:role/node-1", None),
            ("role/", None),
            ("role/a/b", None),
            ("AKIA-1", None),
            ("", None),
        ] {
            let found = Some(name(given)).filter(|name| is_name(name));
            assert_eq!(found, want, "{given}");
        }
    }
}
