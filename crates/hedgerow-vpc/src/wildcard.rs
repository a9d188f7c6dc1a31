//! Matching text against wildcards: what EC2's filters and IAM's documents have in common. How a
//! pattern is written, and how it escapes, is theirs.

/// A piece of a pattern.
pub(crate) enum Token {
    /// Any text, also none.
    Any,
    /// Any one character.
    One,
    /// This character.
    Char(char),
}

/// Whether `text` fits the pattern. Only the last [`Token::Any`] is ever tried again, so the time is
/// at most the product of the lengths.
pub(crate) fn fits(pattern: &[Token], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Token::Any) => {
                p += 1;
                retry = Some((p, t));
            }
            Some(Token::One) => (p, t) = (p + 1, t + 1),
            Some(Token::Char(c)) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match &mut retry {
                Some((after, from)) => {
                    *from += 1;
                    (p, t) = (*after, *from);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|token| matches!(token, Token::Any))
}
