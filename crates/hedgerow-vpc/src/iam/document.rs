//! Policy documents: JSON to statements (IAM User Guide, "JSON policy element reference").

use serde_json::{Map, Value};

use super::condition::Condition;
use super::pattern;

/// Most characters without white space: a managed policy's limit ("IAM and AWS STS quotas").
pub const MAX_CHARACTERS: usize = 6_144;
/// Most bytes that are looked at.
pub const MAX_BYTES: usize = 64 << 10;

/// A document that is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Too long.
    #[error(
        "the policy document has {0} characters without white space; \
         at most {MAX_CHARACTERS} in {MAX_BYTES} bytes are accepted"
    )]
    TooLong(usize),
    /// Not JSON.
    #[error("the policy document is not JSON: {0}")]
    Json(String),
    /// An element has the wrong shape or value.
    #[error("{place}: {why}")]
    Element {
        /// Where: `Statement 2, Action`.
        place: String,
        /// What was expected, with the text that was found.
        why: String,
    },
}

/// A parsed policy document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub(super) statements: Vec<Statement>,
    /// As it was given, for answers.
    source: Value,
}

/// What a statement does when it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// `Allow`.
    Allow,
    /// `Deny`.
    Deny,
}

/// Patterns, or with `not` everything but them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Patterns {
    not: bool,
    patterns: Vec<String>,
}

impl Patterns {
    /// Whether what `fits` knows is meant.
    pub fn contain(&self, fits: impl Fn(&str) -> bool) -> bool {
        self.patterns.iter().any(|pattern| fits(pattern)) != self.not
    }
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub effect: Effect,
    pub actions: Patterns,
    pub resources: Patterns,
    pub conditions: Vec<Condition>,
}

fn bad(place: &str, why: impl Into<String>) -> PolicyError {
    PolicyError::Element { place: place.to_owned(), why: why.into() }
}

impl Document {
    /// Parses a document.
    ///
    /// # Errors
    /// See [`PolicyError`]; the first mistake is named with its place.
    pub fn parse(text: &str) -> Result<Document, PolicyError> {
        let characters = text.chars().filter(|c| !c.is_whitespace()).count();
        if text.len() > MAX_BYTES || characters > MAX_CHARACTERS {
            return Err(PolicyError::TooLong(characters));
        }
        let source: Value =
            serde_json::from_str(text).map_err(|error| PolicyError::Json(error.to_string()))?;
        Ok(Document { statements: statements(&source)?, source })
    }

    /// The document as JSON.
    pub fn source(&self) -> &Value {
        &self.source
    }
}

fn statements(source: &Value) -> Result<Vec<Statement>, PolicyError> {
    let root = source.as_object().ok_or_else(|| bad("the document", "expected an object"))?;
    known(root, &["Version", "Id", "Statement"], "the document")?;
    match root.get("Version").map(Value::as_str) {
        None | Some(Some("2012-10-17" | "2008-10-17")) => {}
        Some(_) => return Err(bad("Version", "expected \"2012-10-17\"")),
    }
    let list = match root.get("Statement") {
        Some(Value::Array(list)) if !list.is_empty() => list.iter().collect(),
        Some(one @ Value::Object(_)) => vec![one],
        _ => return Err(bad("Statement", "expected a statement or a list of them")),
    };
    let mut sids = std::collections::BTreeSet::new();
    let numbered = list.into_iter().enumerate();
    numbered
        .map(|(index, value)| {
            let place = format!("Statement {}", index + 1);
            let object = value.as_object().ok_or_else(|| bad(&place, "expected an object"))?;
            if let Some(sid) = object.get("Sid") {
                let plain = sid.as_str().filter(|s| s.bytes().all(|b| b.is_ascii_alphanumeric()));
                let sid = plain.ok_or_else(|| bad(&place, "Sid: expected letters and digits"))?;
                if !sid.is_empty() && !sids.insert(sid) {
                    return Err(bad(&place, format!("Sid '{sid}' is that of another statement")));
                }
            }
            statement(object, &place)
        })
        .collect()
}

fn known(object: &Map<String, Value>, names: &[&str], place: &str) -> Result<(), PolicyError> {
    match object.keys().find(|key| !names.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) if key == "Principal" || key == "NotPrincipal" => {
            Err(bad(place, format!("{key} belongs in resource policies; the key is the principal")))
        }
        Some(key) => Err(bad(place, format!("'{key}' is none of {}", names.join(", ")))),
    }
}

fn statement(object: &Map<String, Value>, place: &str) -> Result<Statement, PolicyError> {
    let names = ["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"];
    known(object, &names, place)?;
    let effect = match object.get("Effect").and_then(Value::as_str) {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        _ => return Err(bad(&format!("{place}, Effect"), "expected \"Allow\" or \"Deny\"")),
    };
    let conditions = match object.get("Condition") {
        None => Vec::new(),
        Some(value) => conditions(value, &format!("{place}, Condition"))?,
    };
    let actions = patterns(object, ["Action", "NotAction"], place, |pattern| {
        let prefixed = pattern.split_once(':').is_some_and(|(service, action)| {
            !service.is_empty() && !service.contains(['*', '?']) && !action.is_empty()
        });
        (pattern == "*" || prefixed).then_some(()).ok_or("expected service:Action or *")
    })?;
    let resources = patterns(object, ["Resource", "NotResource"], place, |pattern| {
        let arn = pattern.starts_with("arn:") && pattern.split(':').count() >= 6;
        (pattern == "*" || arn)
            .then_some(())
            .ok_or("expected an ARN (arn:partition:service:region:account:resource) or *")
    })?;
    Ok(Statement { effect, actions, resources, conditions })
}

/// One of two elements, which are opposites.
fn patterns(
    object: &Map<String, Value>,
    [name, opposite]: [&str; 2],
    place: &str,
    check: impl Fn(&str) -> Result<(), &'static str>,
) -> Result<Patterns, PolicyError> {
    let (not, name, value) = match (object.get(name), object.get(opposite)) {
        (Some(value), None) => (false, name, value),
        (None, Some(value)) => (true, opposite, value),
        _ => return Err(bad(place, format!("expected either {name} or {opposite}"))),
    };
    let place = format!("{place}, {name}");
    let patterns = texts(value, &place)?;
    for pattern in &patterns {
        check(pattern).map_err(|why| bad(&place, format!("'{pattern}': {why}")))?;
    }
    Ok(Patterns { not, patterns })
}

/// A text or a list of texts; numbers and Booleans are taken as their texts, as IAM does.
fn texts(value: &Value, place: &str) -> Result<Vec<String>, PolicyError> {
    let one = |value: &Value| match value {
        Value::String(text) => match pattern::variable(text) {
            None => Ok(text.clone()),
            Some(variable) => {
                Err(bad(place, format!("the policy variable {variable} is not known here")))
            }
        },
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        _ => Err(bad(place, "expected a text or a list of texts")),
    };
    match value {
        Value::Array(list) if list.is_empty() => Err(bad(place, "the list is empty")),
        Value::Array(list) => list.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

fn conditions(value: &Value, place: &str) -> Result<Vec<Condition>, PolicyError> {
    let object = value.as_object().ok_or_else(|| bad(place, "expected an object"))?;
    let mut out = Vec::new();
    for (operator, keys) in object {
        let place = format!("{place}, {operator}");
        let keys = keys.as_object().ok_or_else(|| bad(&place, "expected keys with values"))?;
        for (key, values) in keys {
            let place = format!("{place}, {key}");
            if !key.contains(':') {
                return Err(bad(&place, "expected a key such as aws:ResourceTag/Name"));
            }
            let values = texts(values, &place)?;
            out.push(Condition::new(operator, key, values).map_err(|why| bad(&place, why))?);
        }
    }
    Ok(out)
}
