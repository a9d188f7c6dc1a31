//! STS: who is asking. Every credential belongs to one account.

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
    user_id: &'static str,
    account: &'static str,
    arn: String,
}

pub(crate) fn get(
    _cx: &mut Context<'_>,
    _request: GetCallerIdentity,
) -> Result<CallerIdentity, Ec2Error> {
    Ok(CallerIdentity {
        user_id: "AIDAHEDGEROWEXAMPLE00",
        account: ACCOUNT,
        arn: format!("arn:aws:iam::{ACCOUNT}:user/hedgerow"),
    })
}
