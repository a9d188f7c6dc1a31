//! Actions: which there are, how a request becomes an answer.
//!
//! ```text
//!   form body ──query──► Node ── Action, ClientToken, DryRun taken out ──► table ──► handler
//!                                                                             │
//!   XML ◄── envelope of the API (EC2, STS) ◄── query::xml ◄── answer or Ec2Error ┘ + effects
//! ```
//!
//! To add an action: a request structure, an answer structure, a handler in `state`, a line in
//! [`ACTIONS`].

pub mod envelope;
pub mod error;
mod table;

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Serialize;

use crate::effect::Effect;
use crate::journal::{self, Entry};
use crate::query::de::boolean;
use crate::query::params::Node;
use crate::state::launch;
use crate::state::route_table::follow_interfaces;
use crate::state::time::Timestamp;
use crate::state::{Context, Principal, State};
use envelope::Api;
use error::Ec2Error;
pub use table::ACTIONS;

/// One line of the action table.
pub struct Action {
    /// As in the parameter `Action`.
    pub name: &'static str,
    /// Which API it belongs to.
    pub api: Api,
    /// Whether a repeated `ClientToken` gets the first answer again.
    pub idempotent: bool,
    /// Whether only the lab's own programs may ask it, by the admin paths: a form must not name it.
    pub labs_own: bool,
    run: fn(&mut Context<'_>, &Node) -> Result<String, Ec2Error>,
}

impl Action {
    /// Whether the action changes nothing by itself: it describes.
    pub fn only_reads(&self) -> bool {
        ["Describe", "Get", "List", "Search"].iter().any(|verb| self.name.starts_with(verb))
    }
}

/// Answer of actions that have nothing to say but that they were done.
#[derive(Debug, Serialize)]
pub(crate) struct Done {
    r#return: bool,
}

impl Done {
    pub fn new() -> Self {
        Done { r#return: true }
    }
}

/// What came of a request.
#[derive(Debug)]
pub struct Outcome {
    /// The action's name if it is one of [`ACTIONS`], else as the client wrote it.
    pub action: String,
    /// Which API's format the answer has.
    pub api: Api,
    /// The answer's fields as XML.
    pub result: Result<String, Ec2Error>,
    /// What the machine must do before the answer is sent.
    pub effects: Vec<Effect>,
    /// The action and client token under which the answer is remembered.
    pub remembered: Option<(&'static str, String)>,
}

impl Outcome {
    /// Whether the records may have changed. An action that only reads changes nothing, and a
    /// refused one neither, unless it opened its region.
    fn changes(&self) -> bool {
        let reads = find(&self.action).is_none_or(Action::only_reads);
        !self.effects.is_empty() || (self.result.is_ok() && !reads)
    }
}

/// The action with this name.
pub fn find(name: &str) -> Option<&'static Action> {
    static BY_NAME: LazyLock<HashMap<&str, &Action>> =
        LazyLock::new(|| ACTIONS.iter().map(|action| (action.name, action)).collect());
    BY_NAME.get(name).copied()
}

/// The action that a form body names, if it is built.
pub fn asked(body: &[u8]) -> Option<&'static Action> {
    let (_, name) = form_urlencoded::parse(body).find(|(name, _)| name == "Action")?;
    find(&name)
}

/// The name of an action in a form body that is not for clients.
pub fn names_labs_own(body: &[u8]) -> Option<&'static str> {
    form_urlencoded::parse(body)
        .filter(|(name, _)| name == "Action")
        .find_map(|(_, name)| find(&name).filter(|action| action.labs_own))
        .map(|action| action.name)
}

/// What a client hears of an action that is not built, or not for it.
pub fn invalid_action(name: &str) -> Ec2Error {
    let message = format!("The action {name} is not valid for this web service.");
    Ec2Error::new("InvalidAction", message)
}

/// Parameters of the protocol and of signatures in the query; no action sees them.
const PROTOCOL_PARAMETERS: &[&str] = &[
    "Version",
    "AWSAccessKeyId",
    "SecurityToken",
    "Signature",
    "SignatureMethod",
    "SignatureVersion",
    "Timestamp",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
];

/// What an answer depends on besides the request and the records.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// Who asks. What changes the records does not depend on it: the journal does not know.
    pub caller: Principal,
    /// How many instances a launch may make, where that is fewer than it would take.
    pub room: Option<u32>,
}

/// Answers a form body on behalf of a region: parses, decides, changes `state`.
pub fn answer(state: &mut State, region: &str, body: &[u8], now: Timestamp) -> Outcome {
    answer_on(Terms::default(), state, region, body, now)
}

/// As [`answer`], on these terms.
pub fn answer_on(
    terms: Terms,
    state: &mut State,
    region: &str,
    body: &[u8],
    now: Timestamp,
) -> Outcome {
    let mut outcome = Outcome {
        action: String::new(),
        api: Api::Ec2,
        result: Ok(String::new()),
        effects: Vec::new(),
        remembered: None,
    };
    let mint = state.mint_position();
    let room = terms.room;
    outcome.result = decide(terms, state, region, body, now, &mut outcome);
    if outcome.changes() {
        state.note(|| {
            let (kind, body) = journal::request(body, room);
            let outcome = journal::fingerprint(&outcome.result);
            Entry { kind, instant: now.0, mint, outcome, region: region.to_owned(), body }
        });
    }
    outcome
}

fn decide(
    terms: Terms,
    state: &mut State,
    region: &str,
    body: &[u8],
    now: Timestamp,
    outcome: &mut Outcome,
) -> Result<String, Ec2Error> {
    let mut node =
        Node::parse(body).map_err(|error| Ec2Error::new(error.code(), error.to_string()))?;
    outcome.api = Api::of_version(node.children.get("Version").and_then(|v| v.value.as_deref()));
    for name in PROTOCOL_PARAMETERS {
        node.children.remove(*name);
    }
    outcome.action = node.take("Action").ok_or_else(|| {
        Ec2Error::new("MissingAction", "The request is missing an action or a required parameter")
    })?;
    let own = |action: &&Action| action.api.is_asked_as(outcome.api);
    let Some(action) = find(&outcome.action).filter(own) else {
        return Err(invalid_action(&outcome.action));
    };
    outcome.api = action.api;
    outcome.effects = state.open_region(region, now)?;
    check_token(action, &node)?;
    if let Some(text) = node.take("DryRun") {
        match boolean(&text) {
            Some(false) => {}
            Some(true) => return Err(rehearse(state, region, action, &node, now)),
            None => return Err(Ec2Error::value("DryRun", &text, "Expected true or false.")),
        }
    }
    let mut context = state.context(region, now);
    context.terms = terms;
    let token = node.children.get("ClientToken").filter(|_| action.idempotent);
    let token = token.and_then(|token| token.value.clone()).filter(|token| !token.is_empty());
    outcome.remembered = token.clone().map(|token| (action.name, token));
    if let Some(token) = &token
        && let Some(first) = context.region.tokens.recall(action.name, token, &node)?
    {
        if action.name == "RunInstances" {
            launch::check_repeated(context.region, token)?;
        }
        return Ok(first.to_owned());
    }
    let answer = (action.run)(&mut context, &node)?;
    follow_interfaces(&mut context);
    if let Some(token) = token {
        context.region.tokens.remember(action.name, token, node, answer.clone());
    }
    outcome.effects.append(&mut context.effects);
    Ok(answer)
}

/// Longest client token ("Ensuring idempotency", EC2 API Reference).
const MAX_TOKEN: usize = 64;

fn check_token(action: &Action, node: &Node) -> Result<(), Ec2Error> {
    let token = node.children.get("ClientToken").filter(|_| action.idempotent);
    match token.and_then(|token| token.value.as_deref()) {
        Some(token) if token.len() > MAX_TOKEN || !token.is_ascii() => {
            let message = format!("A client token has at most {MAX_TOKEN} ASCII characters.");
            Err(Ec2Error::new("InvalidClientToken", message))
        }
        _ => Ok(()),
    }
}

/// What the action would have come to, on a copy of the state.
fn rehearse(state: &State, region: &str, action: &Action, node: &Node, now: Timestamp) -> Ec2Error {
    let mut copy = state.clone();
    match (action.run)(&mut copy.context(region, now), node) {
        Err(error) => error,
        Ok(_) => {
            let message = "Request would have succeeded, but DryRun flag is set.";
            Ec2Error::new("DryRunOperation", message)
        }
    }
}
