//! Temporary keys of instances' roles: the metadata service gives them out, and every API knows whose
//! they are ([`super::principal`]).

use serde::{Deserialize, Serialize};

use super::Context;
use super::instance::Instance;
use super::principal::TEMPORARY;
use super::rds_subnet_group::Nothing;
use super::region::find;
use super::table::{Table, copied};
use super::time::Timestamp;
use crate::api::error::Ec2Error;

/// How long keys are valid, seconds.
pub(crate) const LIFE: u64 = 6 * 3_600;
/// New keys are given out when the old ones are valid for less than this, as EC2 does ("at least
/// five minutes prior to the expiration").
const RENEW: u64 = 900;
/// How long keys that ended are told from keys that never were.
const REMEMBERED: u64 = 86_400;
/// Keys of one region that are kept; those that end first go when there are more.
const KEPT: usize = 10_000;

/// Keys of one instance's role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Issued {
    /// `ASIA…`.
    pub key: String,
    pub secret: String,
    /// The session token that goes with them.
    pub token: String,
    pub role: String,
    pub instance: String,
    pub begins: Timestamp,
    pub ends: Timestamp,
}

/// All keys of a region, by access key id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoleKeys(pub(super) Table<String, Issued>);

copied!(Issued);

impl RoleKeys {
    /// These keys, also if they ended not long ago.
    pub fn get(&self, key: &str) -> Option<&Issued> {
        self.0.get(key)
    }

    /// The keys to give out for an instance's role, unless new ones are due.
    pub fn fresh(&self, instance: &str, role: &str, now: Timestamp) -> Option<&Issued> {
        let own = |keys: &&Issued| keys.instance == instance && keys.role == role;
        let latest = self.0.values().filter(own).max_by_key(|keys| keys.ends)?;
        (latest.ends.0 > now.0 + RENEW).then_some(latest)
    }

    fn add(&mut self, keys: Issued, now: Timestamp) {
        self.0.retain(|_, keys| keys.ends.0 + REMEMBERED > now.0);
        self.0.insert(keys.key.clone(), keys);
        if self.0.len() > KEPT {
            let first = self.0.values().min_by_key(|keys| keys.ends);
            if let Some(key) = first.map(|keys| keys.key.clone()) {
                self.0.remove(&key);
            }
        }
    }
}

/// IssueLabRoleKeys: an instance asks its metadata service for its role's keys.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct IssueRoleKeys {
    instance_id: String,
}

pub(crate) fn issue(cx: &mut Context<'_>, request: IssueRoleKeys) -> Result<Nothing, Ec2Error> {
    let instance: &Instance = find(&cx.region.instances, &request.instance_id)?;
    let role = instance.profile.clone().ok_or_else(|| {
        let message = format!("Instance {} has no instance profile", instance.id);
        Ec2Error::new("InvalidParameterCombination", message)
    })?;
    let instance = instance.id.clone();
    if cx.region.role_keys.fresh(&instance, &role, cx.now).is_none() {
        // Access key ids are of RFC 4648's base 32.
        let key =
            format!("{TEMPORARY}{}", cx.mint.letters(16, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"));
        let keys = Issued {
            key,
            secret: cx.mint.letters(40, BASE64),
            token: cx.mint.letters(120, BASE64),
            role,
            instance,
            begins: cx.now,
            ends: Timestamp(cx.now.0 + LIFE),
        };
        cx.region.role_keys.add(keys, cx.now);
    }
    Ok(Nothing {})
}

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(key: &str, ends: u64) -> Issued {
        Issued {
            key: key.to_owned(),
            secret: String::new(),
            token: String::new(),
            role: "node".to_owned(),
            instance: "i-1".to_owned(),
            begins: Timestamp(0),
            ends: Timestamp(ends),
        }
    }

    #[test]
    fn keys_are_renewed_before_they_end_and_remembered_after() {
        let mut keys = RoleKeys::default();
        keys.add(issued("ASIA1", LIFE), Timestamp(0));
        let fresh = |keys: &RoleKeys, now| {
            keys.fresh("i-1", "node", Timestamp(now)).map(|keys| keys.key.clone())
        };
        assert_eq!(fresh(&keys, LIFE - RENEW - 1).as_deref(), Some("ASIA1"));
        assert_eq!(fresh(&keys, LIFE - RENEW), None);
        keys.add(issued("ASIA2", 2 * LIFE), Timestamp(LIFE - RENEW));
        assert_eq!(fresh(&keys, LIFE - RENEW).as_deref(), Some("ASIA2"));
        assert_eq!(keys.fresh("i-1", "other", Timestamp(0)), None);
        keys.add(issued("ASIA3", 9 * LIFE), Timestamp(LIFE + REMEMBERED - 1));
        assert!(keys.get("ASIA1").is_some(), "to be told from one that never was");
        keys.add(issued("ASIA4", 9 * LIFE), Timestamp(LIFE + REMEMBERED));
        assert!(keys.get("ASIA1").is_none() && keys.get("ASIA2").is_some());
    }
}
