//! Temporary keys of instances' roles: the metadata service gives them out, and [`RoleKeys`] can tell
//! whose a key is. The EC2 endpoint does not ask yet: these keys may do everything, as unbound ones.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Mutex;

use base64::Engine;

use super::lock;
use super::metadata::whole_seconds;
use crate::state::ACCOUNT;
use crate::state::time::Timestamp;

/// How long keys are valid, seconds.
const LIFE: u64 = 6 * 3_600;
/// New keys are given out when the old ones are valid for less than this, as EC2 does ("at least
/// five minutes prior to the expiration").
const RENEW: u64 = 900;
/// Instances whose keys are kept; the keys that end first go when there are more.
const KEPT: usize = 10_000;

/// Whose temporary keys these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The role.
    pub role: String,
    /// `i-…`, which is also the session's name.
    pub instance: String,
}

impl Principal {
    /// `arn:aws:sts::ACCOUNT:assumed-role/ROLE/INSTANCE`.
    pub fn arn(&self) -> String {
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/{}/{}", self.role, self.instance)
    }
}

struct Issued {
    key: String,
    principal: Principal,
    begins: Timestamp,
    ends: Timestamp,
    document: String,
}

/// Keys by instance.
#[derive(Default)]
pub(super) struct RoleKeys {
    issued: Mutex<BTreeMap<String, Vec<Issued>>>,
}

impl RoleKeys {
    /// The document with the keys of an instance's role, new ones if the old ones end soon.
    pub fn document(&self, instance: &str, role: &str, now: Timestamp) -> std::io::Result<String> {
        let mut issued = lock(&self.issued);
        let known = issued.entry(instance.to_owned()).or_default();
        known.retain(|keys| keys.ends > now);
        let fresh = |keys: &&Issued| keys.principal.role == role && keys.ends.0 > now.0 + RENEW;
        if let Some(keys) = known.iter().rev().find(fresh) {
            return Ok(keys.document.clone());
        }
        let principal = Principal { role: role.to_owned(), instance: instance.to_owned() };
        let keys = issue(principal, now)?;
        let document = keys.document.clone();
        known.push(keys);
        if issued.len() > KEPT {
            let ends = |keys: &Vec<Issued>| keys.last().map_or(Timestamp(0), |keys| keys.ends);
            let oldest = issued.iter().min_by_key(|(_, keys)| ends(keys));
            if let Some(instance) = oldest.map(|(instance, _)| instance.clone()) {
                issued.remove(&instance);
            }
        }
        Ok(document)
    }

    /// Whose key this is, as long as it is valid.
    pub fn principal(&self, key: &str, now: Timestamp) -> Option<Principal> {
        let issued = lock(&self.issued);
        let mut all = issued.values().flatten();
        let found = all.find(|keys| keys.key == key && keys.begins <= now && now < keys.ends);
        found.map(|keys| keys.principal.clone())
    }
}

fn issue(principal: Principal, now: Timestamp) -> std::io::Result<Issued> {
    let mut random = [0; 136];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let (id, rest) = random.split_at(16);
    let (secret, token) = rest.split_at(30);
    // Access key ids are of RFC 4648's base 32.
    let letter =
        |byte: &u8| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from(byte % 32)]);
    let key = format!("ASIA{}", id.iter().map(letter).collect::<String>());
    let base64 = base64::engine::general_purpose::STANDARD;
    let ends = Timestamp(now.0 + LIFE);
    let document = serde_json::json!({
        "Code": "Success",
        "LastUpdated": whole_seconds(now),
        "Type": "AWS-HMAC",
        "AccessKeyId": key,
        "SecretAccessKey": base64.encode(secret),
        "Token": base64.encode(token),
        "Expiration": whole_seconds(ends),
    });
    Ok(Issued { key, principal, begins: now, ends, document: format!("{document:#}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(document: &str) -> String {
        let value: serde_json::Value = serde_json::from_str(document).expect("JSON");
        value["AccessKeyId"].as_str().expect("a key").to_owned()
    }

    #[test]
    fn keys_are_renewed_and_known_until_they_end() {
        let keys = RoleKeys::default();
        let give = |now| keys.document("i-1", "node", Timestamp(now)).expect("random");
        let first = give(1_000);
        assert_eq!(give(2_000), first, "the same while they last");
        let second = give(1_000 + LIFE - RENEW);
        assert_ne!(first, second);
        let known = |document: &str, now| keys.principal(&key(document), Timestamp(now));
        let principal = known(&first, 1_000 + LIFE - 1).expect("both are valid for a while");
        assert_eq!(principal.arn(), "arn:aws:sts::123456789012:assumed-role/node/i-1");
        assert_eq!(known(&first, 1_000 + LIFE), None);
        assert!(known(&second, 1_000 + LIFE).is_some());
        assert_eq!(keys.principal("ASIA", Timestamp(1_000)), None);
    }
}
