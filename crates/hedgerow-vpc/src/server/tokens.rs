//! Session tokens of the metadata service (IMDSv2). A token says itself until when it is whose, under
//! a signature: with a secret that outlives the process, tokens do, too.

use std::sync::OnceLock;

use crate::settings::Secret;
use crate::state::time::Timestamp;

/// Longest life of a token, seconds.
const MAX_LIFE: u64 = 21_600;

/// Gives tokens out and knows them again.
#[derive(Default)]
pub(super) struct Tokens {
    secret: OnceLock<Secret>,
}

impl Tokens {
    /// Signs with this secret, if nothing was signed yet.
    pub fn sign_with(&self, secret: Secret) {
        let _too_late = self.secret.set(secret);
    }

    fn secret(&self) -> std::io::Result<&Secret> {
        match self.secret.get() {
            Some(secret) => Ok(secret),
            None => {
                let fresh = Secret::new()?;
                Ok(self.secret.get_or_init(|| fresh))
            }
        }
    }

    /// A token for `instance`; `None` where `life` is not 1 to 21,600 seconds.
    pub fn give(
        &self,
        instance: &str,
        life: &str,
        now: Timestamp,
    ) -> std::io::Result<Option<String>> {
        let Some(life) = life.parse().ok().filter(|life| (1..=MAX_LIFE).contains(life)) else {
            return Ok(None);
        };
        let ends = now.0 + life;
        let signature = self.secret()?.sign(&words(instance, ends));
        Ok(Some(format!("{ends:016x}{signature}")))
    }

    /// Whether the token was given to `instance` and has not ended.
    pub fn valid(&self, token: &str, instance: &str, now: Timestamp) -> bool {
        let Some((ends, signature)) = token.split_at_checked(16) else { return false };
        let Ok(ends) = u64::from_str_radix(ends, 16) else { return false };
        let signed = |secret: &Secret| secret.signed(&words(instance, ends), signature);
        ends > now.0 && self.secret().is_ok_and(signed)
    }
}

fn words(instance: &str, ends: u64) -> String {
    format!("session token of {instance} until {ends}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_instances_and_ends() {
        let secret = Secret::new().expect("random");
        let tokens = Tokens::default();
        tokens.sign_with(secret.clone());
        let now = Timestamp(1_000);
        for life in ["0", "21601", "-1", "x", ""] {
            assert!(tokens.give("i-1", life, now).expect("random").is_none(), "{life}");
        }
        let token = tokens.give("i-1", "60", now).expect("random").expect("a token");
        assert!(tokens.valid(&token, "i-1", Timestamp(1_059)));
        assert!(!tokens.valid(&token, "i-1", Timestamp(1_060)));
        assert!(!tokens.valid(&token, "i-2", now));
        for wrong in ["", "x", "00000000000004240", &token[..16], &token[..79]] {
            assert!(!tokens.valid(wrong, "i-1", now), "{wrong}");
        }
        let longer = format!("{:016x}{}", 9_999, &token[16..]);
        assert!(!tokens.valid(&longer, "i-1", now), "its end is signed, too");

        let again = Tokens::default();
        again.sign_with(secret);
        assert!(again.valid(&token, "i-1", now), "the next process knows it");
        assert!(!Tokens::default().valid(&token, "i-1", now), "another VPC does not");
    }
}
