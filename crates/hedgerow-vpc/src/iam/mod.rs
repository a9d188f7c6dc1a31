//! IAM: which calls an access key, or a role, may make.
//!
//! ```text
//!   form body ──touched──► Requests (action, resources with tags and VPC, context)   reads the state
//!   document  ──parse────► Document (statements)
//!   decide(Document, Request) ──► Decision ──refusal──► UnauthorizedOperation
//! ```
//!
//! A key or role that is bound to no document may do everything. For a bound one everything is
//! refused that no statement allows, and a `Deny` that fits wins over every `Allow` (IAM User Guide, "Policy
//! evaluation logic"). Each resource that a call touches must be allowed.

pub mod condition;
pub mod document;
mod keys;
mod pattern;
mod refusal;
pub mod request;
mod slices;
mod touched;

pub use document::{Document, PolicyError};
pub use keys::{Keys, KeysError};
pub use request::{Facts, Request, Resource};

use document::{Effect, Statement};

/// What a document says to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Every resource is allowed.
    Allowed,
    /// A resource is not.
    Denied {
        /// The resource's ARN, or `*` where the action has no resources.
        resource: String,
        /// Whether a `Deny` statement fits; otherwise nothing allows it.
        explicit: bool,
    },
}

/// Judges a request by a document.
pub fn decide(document: &Document, request: &Request) -> Decision {
    let fits = |effect: Effect, resource: &Resource| {
        let statements = document.statements.iter().filter(|s| s.effect == effect);
        statements.into_iter().any(|statement| matches(statement, request, resource))
    };
    let denied = |resource: &Resource, explicit: bool| Decision::Denied {
        resource: resource.arn.clone(),
        explicit,
    };
    if let Some(resource) = request.resources.iter().find(|r| fits(Effect::Deny, r)) {
        return denied(resource, true);
    }
    match request.resources.iter().find(|r| !fits(Effect::Allow, r)) {
        Some(resource) => denied(resource, false),
        None => Decision::Allowed,
    }
}

fn matches(statement: &Statement, request: &Request, resource: &Resource) -> bool {
    let facts = |key: &str| resource.facts.get(key).or_else(|| request.facts.get(key));
    statement.actions.contain(|p| pattern::action(p, &request.action))
        && statement.resources.contain(|p| pattern::resource(p, &resource.arn))
        && statement.conditions.iter().all(|condition| condition.holds(facts))
}

#[cfg(test)]
mod tests;
