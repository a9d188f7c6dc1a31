//! Answers to requests that carried a client token, so that a repeated request gets the first
//! answer and makes nothing.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::api::error::Ec2Error;
use crate::query::params::Node;

/// An action and a client token.
type Key = (&'static str, String);

/// First answers, by action and client token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<Kept>", try_from = "Vec<Kept>")]
pub(crate) struct Tokens {
    answers: BTreeMap<Key, Remembered>,
    /// The keys of `answers`, oldest first.
    order: VecDeque<Key>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Remembered {
    request: Node,
    answer: String,
}

/// One answer as a snapshot keeps it.
#[derive(Serialize, Deserialize)]
struct Kept {
    action: String,
    token: String,
    request: Node,
    answer: String,
}

impl From<Tokens> for Vec<Kept> {
    fn from(mut tokens: Tokens) -> Self {
        let kept = tokens.order.into_iter().filter_map(|key| {
            let Remembered { request, answer } = tokens.answers.remove(&key)?;
            Some(Kept { action: key.0.to_owned(), token: key.1, request, answer })
        });
        kept.collect()
    }
}

impl TryFrom<Vec<Kept>> for Tokens {
    type Error = String;

    fn try_from(kept: Vec<Kept>) -> Result<Self, String> {
        let mut tokens = Tokens::default();
        for Kept { action, token, request, answer } in kept {
            let known = crate::api::find(&action)
                .ok_or_else(|| format!("a client token of the unknown action {action}"))?;
            tokens.remember(known.name, token, request, answer);
        }
        Ok(tokens)
    }
}

impl Tokens {
    /// Answers kept; EC2 keeps them for a day, a VPC process for this many requests.
    const KEPT: usize = 20_000;

    /// The first answer to this token, if the action was asked with it before.
    ///
    /// # Errors
    /// `IdempotentParameterMismatch` where the earlier request was a different one.
    pub fn recall(
        &self,
        action: &'static str,
        token: &str,
        request: &Node,
    ) -> Result<Option<&str>, Ec2Error> {
        match self.answers.get(&(action, token.to_owned())) {
            None => Ok(None),
            Some(first) if first.request == *request => Ok(Some(&first.answer)),
            Some(_) => Err(Ec2Error::new(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in \
                 previous request(s).",
            )),
        }
    }

    /// Whether the action was asked with this token before.
    pub fn knows(&self, action: &'static str, token: &str) -> bool {
        self.answers.contains_key(&(action, token.to_owned()))
    }

    /// Remembers the answer to a request with a token.
    pub fn remember(&mut self, action: &'static str, token: String, request: Node, answer: String) {
        let key = (action, token);
        self.order.push_back(key.clone());
        self.answers.insert(key, Remembered { request, answer });
        if self.order.len() > Self::KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
    }

    /// Forgets an answer: a repeated request tries anew.
    pub fn forget(&mut self, action: &'static str, token: String) {
        let key = (action, token);
        self.answers.remove(&key);
        self.order.retain(|kept| *kept != key);
    }
}
