//! Who asks: whom an access key belongs to, and whether it may be used.
//!
//! Long-term keys need not exist: any is the account's user. Temporary ones (`ASIA…`) are an
//! instance's, as its metadata service gave them out, or nobody's.

use super::time::Timestamp;
use super::{ACCOUNT, State};
use crate::api::envelope::Api;
use crate::api::error::Ec2Error;

/// What the ids of temporary access keys begin with ("Unique identifiers", IAM User Guide).
pub(super) const TEMPORARY: &str = "ASIA";
const USER_ID: &str = "AIDAHEDGEROWEXAMPLE00";
const ROLE_ID: &str = "AROAHEDGEROWEXAMPLE00";

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Principal {
    /// The account's user, whom every long-term key belongs to; requests without a signature too.
    #[default]
    User,
    /// An instance, by its role.
    Instance {
        /// The role's name, which is also its instance profile's.
        role: String,
        /// `i-…`, which is also the session's name.
        instance: String,
        /// Where the instance is.
        region: String,
    },
}

impl Principal {
    /// The ARN that GetCallerIdentity and refusals name.
    pub fn arn(&self) -> String {
        match self {
            Principal::User => format!("arn:aws:iam::{ACCOUNT}:user/hedgerow"),
            Principal::Instance { role, instance, .. } => {
                format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{instance}")
            }
        }
    }

    /// `aws:userid`.
    pub(crate) fn user_id(&self) -> String {
        match self {
            Principal::User => USER_ID.to_owned(),
            Principal::Instance { instance, .. } => format!("{ROLE_ID}:{instance}"),
        }
    }
}

/// What a request shows of who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// Access key id; `None` for requests without a signature.
    pub key: Option<String>,
    /// Session token of temporary keys.
    pub token: Option<String>,
}

/// Why credentials are nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unauthentic {
    /// Never given out, or without their session token.
    Unknown,
    /// Given out too long ago.
    Expired,
}

impl Credentials {
    /// Who asks, at this instant.
    ///
    /// # Errors
    /// Where the keys are temporary and not an instance's.
    pub fn principal(&self, state: &State, now: Timestamp) -> Result<Principal, Unauthentic> {
        let Some(key) = self.key.as_deref().filter(|key| key.starts_with(TEMPORARY)) else {
            return Ok(Principal::User);
        };
        let token = self.token.as_deref().unwrap_or_default();
        let mut regions = state.regions();
        let found = regions.find_map(|region| Some((region, region.role_keys.get(key)?)));
        let (region, keys) =
            found.filter(|(_, keys)| keys.token == token).ok_or(Unauthentic::Unknown)?;
        if keys.ends <= now {
            return Err(Unauthentic::Expired);
        }
        Ok(Principal::Instance {
            role: keys.role.clone(),
            instance: keys.instance.clone(),
            region: region.name().to_owned(),
        })
    }
}

impl Unauthentic {
    /// What each API says of such credentials.
    pub fn error(self, api: Api) -> Ec2Error {
        let (code, message) = match (self, api) {
            (Self::Unknown, Api::Ec2) => {
                ("AuthFailure", "AWS was not able to validate the provided access credentials")
            }
            (Self::Expired, Api::Ec2) => ("RequestExpired", "Request has expired."),
            (Self::Unknown, Api::Eks) => ("UnrecognizedClientException", INVALID),
            (Self::Expired, Api::Eks) => ("ExpiredTokenException", EXPIRED),
            (Self::Unknown, Api::Sts | Api::Rds) => ("InvalidClientTokenId", INVALID),
            (Self::Expired, Api::Sts | Api::Rds) => ("ExpiredToken", EXPIRED),
        };
        Ec2Error::new(code, message)
    }
}

const INVALID: &str = "The security token included in the request is invalid.";
const EXPIRED: &str = "The security token included in the request is expired";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api;
    use crate::state::Quotas;
    use crate::state::role_keys::LIFE;

    #[test]
    fn an_instances_keys_are_its_roles_until_they_end() {
        let mut state = State::new(7, Quotas::default());
        let begin = Timestamp(1_000);
        let run = "Action=RunInstances&ImageId=ami-1&InstanceType=t3.micro&MinCount=1&MaxCount=1\
                   &IamInstanceProfile.Name=node";
        let made = api::answer(&mut state, "us-west-2", run.as_bytes(), begin);
        made.result.expect("an instance");
        let region = state.region("us-west-2").expect("used");
        let instance = region.instances.keys().next().expect("one").clone();
        let issue = format!("Action=IssueLabRoleKeys&InstanceId={instance}");
        api::answer(&mut state, "us-west-2", issue.as_bytes(), begin).result.expect("keys");
        let region = state.region("us-west-2").expect("used");
        let keys = region.role_keys.fresh(&instance, "node", begin).expect("just issued");
        let shown = Credentials { key: Some(keys.key.clone()), token: Some(keys.token.clone()) };
        let known = shown.principal(&state, Timestamp(1_000 + LIFE - 1)).expect("valid");
        let arn = format!("arn:aws:sts::{ACCOUNT}:assumed-role/node/{instance}");
        assert_eq!(known.arn(), arn);
        let end = Timestamp(1_000 + LIFE);
        assert_eq!(shown.principal(&state, end), Err(Unauthentic::Expired));
        let bare = Credentials { token: None, ..shown };
        assert_eq!(bare.principal(&state, begin), Err(Unauthentic::Unknown));
        let foreign = Credentials { key: Some("ASIAFOREIGN".into()), token: None };
        assert_eq!(foreign.principal(&state, begin), Err(Unauthentic::Unknown));
        for key in [None, Some("AKIAANY".to_owned())] {
            let anybody = Credentials { key, token: None };
            assert_eq!(anybody.principal(&state, begin), Ok(Principal::User));
        }
    }

    #[test]
    fn each_api_has_its_own_words() {
        let code = |why: Unauthentic, api| why.error(api).code;
        assert_eq!(code(Unauthentic::Expired, Api::Ec2), "RequestExpired");
        assert_eq!(code(Unauthentic::Expired, Api::Rds), "ExpiredToken");
        assert_eq!(code(Unauthentic::Expired, Api::Eks), "ExpiredTokenException");
        assert_eq!(code(Unauthentic::Unknown, Api::Sts), "InvalidClientTokenId");
    }
}
