//! A form body as a tree: `Filter.1.Value.2=x` is the value `x` at `Filter` → `1` → `Value` → `2`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::xml::carries;

/// Most parameters in one request; EC2's largest lists have 1,000 entries of a few fields.
const MAX_PARAMETERS: usize = 20_000;
/// Deepest name, in parts; the deepest EC2 knows has seven.
const MAX_DEPTH: usize = 10;
/// Longest name, bytes.
const MAX_NAME: usize = 256;

/// A node of the tree: a value, children, or both (which no type accepts).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The text given for this very name.
    pub value: Option<String>,
    /// What was given below this name.
    pub children: BTreeMap<String, Node>,
}

/// A body that is not a query request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// The body has more than 20,000 parameters.
    #[error("the request has more than {MAX_PARAMETERS} parameters")]
    TooMany,
    /// A name is too long or too deep to be a parameter of any action.
    #[error("the parameter name '{0}…' is longer than {MAX_NAME} bytes or deeper than {MAX_DEPTH}")]
    Name(String),
    /// No answer could tell the value.
    #[error("The value of the parameter {0} has a character that is not valid")]
    Character(String),
    /// A name has two values.
    #[error("the parameter {0} is given twice")]
    Twice(String),
}

impl ParamsError {
    /// EC2's code for it.
    pub fn code(&self) -> &'static str {
        match self {
            ParamsError::Character(_) => "InvalidCharacter",
            _ => "InvalidParameterValue",
        }
    }
}

impl Node {
    /// Parses an `application/x-www-form-urlencoded` body.
    pub fn parse(body: &[u8]) -> Result<Node, ParamsError> {
        let mut root = Node::default();
        for (count, (name, value)) in form_urlencoded::parse(body).enumerate() {
            if count >= MAX_PARAMETERS {
                return Err(ParamsError::TooMany);
            }
            root.insert(&name, value.into_owned())?;
        }
        Ok(root)
    }

    fn insert(&mut self, name: &str, value: String) -> Result<(), ParamsError> {
        if name.len() > MAX_NAME || name.split('.').count() > MAX_DEPTH {
            return Err(ParamsError::Name(name.chars().take(64).collect()));
        }
        if !value.chars().all(carries) {
            return Err(ParamsError::Character(name.to_owned()));
        }
        let mut node = self;
        for part in name.split('.') {
            node = node.children.entry(part.to_owned()).or_default();
        }
        match node.value.replace(value) {
            None => Ok(()),
            Some(_) => Err(ParamsError::Twice(name.to_owned())),
        }
    }

    /// Takes a plain top-level parameter out of the tree; `None` where it is absent or a structure.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.children.remove(name).and_then(|node| node.value)
    }
}
