//! STS: who is asking, and what a refusal was about.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{ACCOUNT, Context};
use crate::api::error::Ec2Error;

/// GetCallerIdentity.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetCallerIdentity {}

/// Answer of GetCallerIdentity.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CallerIdentity {
    user_id: String,
    account: &'static str,
    arn: String,
}

pub(crate) fn get(
    cx: &mut Context<'_>,
    _request: GetCallerIdentity,
) -> Result<CallerIdentity, Ec2Error> {
    Ok(CallerIdentity {
        user_id: cx.terms.caller.user_id(),
        account: ACCOUNT,
        arn: cx.terms.caller.arn(),
    })
}

/// DecodeAuthorizationMessage.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DecodeMessage {
    encoded_message: String,
}

/// Answer of DecodeAuthorizationMessage.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DecodedMessage {
    decoded_message: String,
}

/// The text behind an encoded message.
pub(crate) fn decode(
    _cx: &mut Context<'_>,
    request: DecodeMessage,
) -> Result<DecodedMessage, Ec2Error> {
    let decoded = URL_SAFE_NO_PAD.decode(request.encoded_message).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.filter(|text| serde_json::from_str::<serde_json::Value>(text).is_ok());
    let decoded_message = text.ok_or_else(|| {
        let message = "Message can not be decoded.";
        Ec2Error::new("InvalidAuthorizationMessageException", message)
    })?;
    Ok(DecodedMessage { decoded_message })
}
