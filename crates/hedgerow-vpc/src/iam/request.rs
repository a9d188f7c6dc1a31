//! What a policy document is asked about.

use std::collections::BTreeMap;

/// Values of condition keys. Keys are compared without regard to case, tag keys in them too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts(BTreeMap<String, Vec<String>>);

impl Facts {
    /// Values of a key; `None` where the request does not have it.
    pub fn get(&self, key: &str) -> Option<&[String]> {
        self.0.get(&key.to_ascii_lowercase()).map(Vec::as_slice)
    }

    /// The same facts and one value more of a key.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.add(key, value);
        self
    }

    /// Adds a value of a key.
    pub fn add(&mut self, key: &str, value: impl Into<String>) {
        self.0.entry(key.to_ascii_lowercase()).or_default().push(value.into());
    }

    /// Every key, in lower case, with its values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(key, values)| (key.as_str(), values.as_slice()))
    }
}

/// Something that an action touches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resource {
    /// Its ARN; `…/*` for what the action makes; `*` where the action has no resources.
    pub arn: String,
    /// Facts of the resource: tags, VPC, subnet.
    pub facts: Facts,
}

/// One action on resources by a principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `ec2:CreateTags`.
    pub action: String,
    /// Never empty.
    pub resources: Vec<Resource>,
    /// Facts of the request, true of every resource.
    pub facts: Facts,
}
