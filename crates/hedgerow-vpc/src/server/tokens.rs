//! Session tokens of the metadata service (IMDSv2).

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Mutex;

use super::lock;
use crate::state::time::Timestamp;

/// Tokens kept at a time; the ones that end first go when there are more.
const KEPT: usize = 10_000;
/// Longest life of a token, seconds.
const MAX_LIFE: u64 = 21_600;

/// Tokens given out, each for one instance.
#[derive(Default)]
pub(super) struct Tokens {
    tokens: Mutex<BTreeMap<String, Session>>,
}

struct Session {
    instance: String,
    ends: Timestamp,
}

impl Tokens {
    /// A new token for `instance`; `None` where `life` is not 1 to 21,600 seconds.
    pub fn give(
        &self,
        instance: &str,
        life: &str,
        now: Timestamp,
    ) -> std::io::Result<Option<String>> {
        let Some(life) = life.parse().ok().filter(|life| (1..=MAX_LIFE).contains(life)) else {
            return Ok(None);
        };
        let mut random = [0; 32];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut tokens = lock(&self.tokens);
        tokens.retain(|_, session| session.ends > now);
        if tokens.len() >= KEPT {
            let first = tokens.iter().min_by_key(|(_, session)| session.ends);
            if let Some(token) = first.map(|(token, _)| token.clone()) {
                tokens.remove(&token);
            }
        }
        let ends = Timestamp(now.0 + life);
        tokens.insert(token.clone(), Session { instance: instance.to_owned(), ends });
        Ok(Some(token))
    }

    /// Whether the token was given to `instance` and has not ended.
    pub fn valid(&self, token: &str, instance: &str, now: Timestamp) -> bool {
        lock(&self.tokens)
            .get(token)
            .is_some_and(|session| session.instance == instance && session.ends > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_instances_and_ends() {
        let tokens = Tokens::default();
        let now = Timestamp(1_000);
        for life in ["0", "21601", "-1", "x", ""] {
            assert!(tokens.give("i-1", life, now).expect("random").is_none(), "{life}");
        }
        let token = tokens.give("i-1", "60", now).expect("random").expect("a token");
        assert!(tokens.valid(&token, "i-1", Timestamp(1_059)));
        assert!(!tokens.valid(&token, "i-1", Timestamp(1_060)));
        assert!(!tokens.valid(&token, "i-2", now));
    }
}
