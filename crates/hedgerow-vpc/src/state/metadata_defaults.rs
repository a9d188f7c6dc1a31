//! Metadata options that an account's launches in a region have where they do not say otherwise.

use serde::{Deserialize, Serialize};

use super::Context;
use super::instance::MetadataOptions;
use super::instance_attribute::MetadataSpec;
use crate::api::Done;
use crate::api::error::Ec2Error;

/// The account's defaults; what is absent is EC2's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MetadataDefaults {
    http_tokens: Option<String>,
    hop_limit: Option<u8>,
    http_endpoint: Option<String>,
    tags: Option<String>,
    /// Whether launches that would not require tokens are refused.
    enforced: bool,
}

impl MetadataDefaults {
    /// As if a request asked for them.
    pub fn spec(&self) -> MetadataSpec {
        MetadataSpec {
            http_tokens: self.http_tokens.clone(),
            http_put_response_hop_limit: self.hop_limit,
            http_endpoint: self.http_endpoint.clone(),
            instance_metadata_tags: self.tags.clone(),
            http_protocol_ipv6: None,
        }
    }

    /// Whether an instance may have these options.
    ///
    /// # Errors
    /// `UnsupportedOperation` where tokens are enforced and these do not require them.
    pub fn check(&self, options: &MetadataOptions) -> Result<(), Ec2Error> {
        if !self.enforced || options.token_required {
            return Ok(());
        }
        let message = "You can't launch instances with IMDSv1 because httpTokensEnforced is enabled \
                       for this account. Either launch the instance with httpTokens=required or \
                       contact your account owner to disable httpTokensEnforced using the \
                       ModifyInstanceMetadataDefaults API.";
        Err(Ec2Error::new("UnsupportedOperation", message))
    }
}

/// GetInstanceMetadataDefaults.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetInstanceMetadataDefaults {}

/// Answer of GetInstanceMetadataDefaults.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GotDefaults {
    account_level: DefaultsItem,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DefaultsItem {
    http_tokens: Option<String>,
    http_put_response_hop_limit: Option<u8>,
    http_endpoint: Option<String>,
    instance_metadata_tags: Option<String>,
    http_tokens_enforced: Option<&'static str>,
    managed_by: &'static str,
}

pub(crate) fn get(
    cx: &mut Context<'_>,
    _request: GetInstanceMetadataDefaults,
) -> Result<GotDefaults, Ec2Error> {
    let defaults = &cx.region.metadata_defaults;
    let account_level = DefaultsItem {
        http_tokens: defaults.http_tokens.clone(),
        http_put_response_hop_limit: defaults.hop_limit,
        http_endpoint: defaults.http_endpoint.clone(),
        instance_metadata_tags: defaults.tags.clone(),
        http_tokens_enforced: defaults.enforced.then_some("enabled"),
        managed_by: "account",
    };
    Ok(GotDefaults { account_level })
}

/// ModifyInstanceMetadataDefaults; `no-preference` and -1 take a default back.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ModifyInstanceMetadataDefaults {
    http_tokens: Option<String>,
    http_put_response_hop_limit: Option<i32>,
    http_endpoint: Option<String>,
    instance_metadata_tags: Option<String>,
    http_tokens_enforced: Option<String>,
}

pub(crate) fn modify(
    cx: &mut Context<'_>,
    request: ModifyInstanceMetadataDefaults,
) -> Result<Done, Ec2Error> {
    let mut defaults = cx.region.metadata_defaults.clone();
    let texts = [
        ("httpTokens", request.http_tokens, ["optional", "required"], &mut defaults.http_tokens),
        (
            "httpEndpoint",
            request.http_endpoint,
            ["disabled", "enabled"],
            &mut defaults.http_endpoint,
        ),
        (
            "instanceMetadataTags",
            request.instance_metadata_tags,
            ["disabled", "enabled"],
            &mut defaults.tags,
        ),
    ];
    for (name, given, values, field) in texts {
        match given {
            None => {}
            Some(text) if text == "no-preference" => *field = None,
            Some(text) if values.contains(&text.as_str()) => *field = Some(text),
            Some(text) => {
                let why = format!("It is {}, {} or no-preference.", values[0], values[1]);
                return Err(Ec2Error::value(name, text, &why));
            }
        }
    }
    match request.http_put_response_hop_limit {
        None => {}
        Some(-1) => defaults.hop_limit = None,
        Some(hops) => {
            let good = u8::try_from(hops).ok().filter(|hops| (1..=64).contains(hops));
            let why = "It is from 1 to 64, or -1 for no preference.";
            let bad = || Ec2Error::value("httpPutResponseHopLimit", hops, why);
            defaults.hop_limit = Some(good.ok_or_else(bad)?);
        }
    }
    match request.http_tokens_enforced.as_deref() {
        None => {}
        Some("no-preference" | "disabled") => defaults.enforced = false,
        Some("enabled") => defaults.enforced = true,
        Some(other) => {
            let why = "It is disabled, enabled or no-preference.";
            return Err(Ec2Error::value("httpTokensEnforced", other, why));
        }
    }
    cx.region.metadata_defaults = defaults;
    Ok(Done::new())
}
