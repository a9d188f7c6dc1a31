//! What was expected, and what was seen.

use std::fmt;

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};

/// How much of an output the table shows, in characters.
const SHOWN: usize = 72;

#[derive(Debug)]
struct Finding {
    question: String,
    expected: String,
    seen: String,
    holds: bool,
}

/// The demo's result, in the order in which it was found.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Expects `seen` to contain `expected`.
    pub fn contains(&mut self, question: &str, expected: &str, seen: &str) {
        let holds = seen.contains(expected);
        let line = seen.lines().find(|line| line.contains(expected)).unwrap_or(seen);
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        // What matters may stand late in a long line.
        let seen = match line.find(expected) {
            Some(at) if at + expected.len() > SHOWN => format!("… {}", &line[at..]),
            _ => line,
        };
        self.add(question, expected, &seen, holds);
    }

    /// Expects both to be the same, and not empty.
    pub fn equal(&mut self, question: &str, expected: &str, seen: &str) {
        let holds = expected == seen && !seen.is_empty();
        self.add(question, expected, seen, holds);
    }

    fn add(&mut self, question: &str, expected: &str, seen: &str, holds: bool) {
        let shorten = |text: &str| -> String {
            text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect()
        };
        self.0.push(Finding {
            question: question.to_owned(),
            expected: shorten(expected),
            seen: if seen.is_empty() { "nothing".to_owned() } else { shorten(seen) },
            holds,
        });
    }

    /// Whether there is something, and all of it is as expected.
    pub fn all_as_expected(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|finding| finding.holds)
    }

    /// The end of the story.
    pub fn sentence(&self) -> &'static str {
        if self.all_as_expected() {
            "Two pods on one node, only one reaches the database."
        } else {
            "Not everything was as expected."
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["", "expected", "seen", ""]);
        for finding in &self.0 {
            let mark = if finding.holds { "✓" } else { "✗" };
            table.add_row([&finding.question, &finding.expected, &finding.seen, mark]);
        }
        table.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_difference_is_enough() {
        let mut findings = Findings::default();
        assert!(!findings.all_as_expected(), "nothing seen proves nothing");
        findings.contains("a", "PostgreSQL 15", "Server version: PostgreSQL 15.1");
        assert!(findings.all_as_expected());
        findings.equal("b", "", "");
        assert!(!findings.all_as_expected());
    }

    #[test]
    fn long_outputs_show_the_part_that_matters() {
        let mut findings = Findings::default();
        findings.contains("a", "timeout expired", &format!("{} timeout expired", "ü".repeat(200)));
        assert!(findings.all_as_expected());
        assert!(findings.to_string().contains("timeout"));
    }
}
