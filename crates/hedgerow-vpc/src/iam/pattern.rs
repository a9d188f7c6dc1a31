//! Wildcards of policy documents: `*` is any text, `?` any character.

use crate::wildcard::{self, Token};

/// Whether an action's name fits; names are compared without regard to case.
pub(super) fn action(pattern: &str, action: &str) -> bool {
    wildcard(&pattern.to_ascii_lowercase(), &action.to_ascii_lowercase())
}

/// Whether an ARN fits. A wildcard stays within its part of the ARN; the last part is all the rest.
/// `*` alone fits everything, and is all that fits an action without resources.
pub(super) fn resource(pattern: &str, arn: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let patterns: Vec<&str> = pattern.splitn(6, ':').collect();
    patterns.len() == parts.len() && patterns.iter().zip(parts).all(|(p, part)| wildcard(p, part))
}

/// Whether text fits a pattern. `${*}`, `${?}` and `${$}` stand for the characters themselves.
pub(super) fn wildcard(pattern: &str, text: &str) -> bool {
    wildcard::fits(&tokens(pattern), text)
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let escaped = ["${*}", "${?}", "${$}"].into_iter().find(|e| rest.starts_with(e));
        let token = match (escaped, c) {
            (Some(escape), _) => Token::Char(char::from(escape.as_bytes()[2])),
            (None, '*') => Token::Any,
            (None, '?') => Token::One,
            (None, c) => Token::Char(c),
        };
        out.push(token);
        rest = &rest[escaped.map_or(c.len_utf8(), str::len)..];
    }
    out
}

/// `text` with `${*}`, `${?}` and `${$}` replaced by what they stand for.
pub(super) fn plain(text: &str) -> String {
    text.replace("${*}", "*").replace("${?}", "?").replace("${$}", "$")
}

/// A policy variable that is not one of those three, if there is one.
pub(super) fn variable(text: &str) -> Option<&str> {
    let at = text.match_indices("${").find(|(at, _)| {
        !["${*}", "${?}", "${$}"].into_iter().any(|escape| text[*at..].starts_with(escape))
    })?;
    let rest = &text[at.0..];
    Some(rest.find('}').map_or(rest, |end| &rest[..=end]))
}
