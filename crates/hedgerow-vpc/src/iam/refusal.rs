//! The words of a refusal.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::request::Request;
use crate::api::envelope::Api;
use crate::api::error::Ec2Error;
use crate::state::Principal;

/// Each API's refusal of a request: EC2's `UnauthorizedOperation`, EKS's `AccessDeniedException`, and
/// `AccessDenied` of the others.
///
/// The encoded message is base64 of what `sts:DecodeAuthorizationMessage` gives; at AWS it is
/// encrypted. EC2's actions without resources have none, as at EC2, and the other APIs' neither.
pub(super) fn error(
    api: Api,
    principal: &Principal,
    request: &Request,
    resource: &str,
    explicit: bool,
) -> Ec2Error {
    let action = &request.action;
    let why = match explicit {
        true => " with an explicit deny in an identity-based policy".to_owned(),
        false => format!(" because no identity-based policy allows the {action} action"),
    };
    let on = match resource {
        "*" => String::new(),
        arn => format!(" on resource: {arn}"),
    };
    let user = principal.arn();
    let message = format!("User: {user} is not authorized to perform: {action}{on}{why}");
    let code = match api {
        Api::Eks => "AccessDeniedException",
        Api::Rds | Api::Sts => "AccessDenied",
        Api::Ec2 => {
            let mut message =
                format!("You are not authorized to perform this operation. {message}");
            if resource != "*" {
                let encoded = encoded(&user, request, resource, explicit);
                message += &format!(". Encoded authorization failure message: {encoded}");
            }
            return Ec2Error::new("UnauthorizedOperation", message);
        }
    };
    Ec2Error::new(code, message)
}

fn encoded(user: &str, request: &Request, arn: &str, explicit: bool) -> String {
    let resource = request.resources.iter().find(|resource| resource.arn == arn);
    let facts = request.facts.iter().chain(resource.into_iter().flat_map(|r| r.facts.iter()));
    let conditions: Map<String, Value> =
        facts.map(|(key, values)| (key.to_owned(), json!(values))).collect();
    let message = json!({
        "allowed": false,
        "explicitDeny": explicit,
        "context": {
            "principal": { "arn": user },
            "action": request.action,
            "resource": arn,
            "conditions": conditions,
        },
    });
    URL_SAFE_NO_PAD.encode(message.to_string())
}
