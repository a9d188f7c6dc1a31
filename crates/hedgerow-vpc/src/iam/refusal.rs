//! The words of a refusal.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::request::Request;
use crate::api::error::Ec2Error;
use crate::state::ACCOUNT;

/// EC2's `UnauthorizedOperation` for a request.
///
/// The encoded message is base64 of what `sts:DecodeAuthorizationMessage` would give; at AWS it is
/// encrypted. Actions without resources have none, as at EC2.
pub(super) fn error(request: &Request, resource: &str, explicit: bool) -> Ec2Error {
    let action = &request.action;
    let why = match explicit {
        true => " with an explicit deny in an identity-based policy".to_owned(),
        false => format!(" because no identity-based policy allows the {action} action"),
    };
    let user = principal();
    let message = "You are not authorized to perform this operation.";
    let message = match resource {
        "*" => format!("{message} User: {user} is not authorized to perform: {action}{why}"),
        arn => format!(
            "{message} User: {user} is not authorized to perform: {action} on resource: {arn}{why}. \
             Encoded authorization failure message: {}",
            encoded(request, arn, explicit)
        ),
    };
    Ec2Error::new("UnauthorizedOperation", message)
}

/// The ARN behind every access key, as GetCallerIdentity gives it.
pub(super) fn principal() -> String {
    format!("arn:aws:iam::{ACCOUNT}:user/hedgerow")
}

fn encoded(request: &Request, arn: &str, explicit: bool) -> String {
    let resource = request.resources.iter().find(|resource| resource.arn == arn);
    let facts = request.facts.iter().chain(resource.into_iter().flat_map(|r| r.facts.iter()));
    let conditions: Map<String, Value> =
        facts.map(|(key, values)| (key.to_owned(), json!(values))).collect();
    let message = json!({
        "allowed": false,
        "explicitDeny": explicit,
        "context": {
            "principal": { "arn": principal() },
            "action": request.action,
            "resource": arn,
            "conditions": conditions,
        },
    });
    URL_SAFE_NO_PAD.encode(message.to_string())
}
