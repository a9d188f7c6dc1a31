//! EC2's own model held against what is built.
//!
//! | file | what |
//! |---|---|
//! | `facts.txt` | of every built action its request members, page sizes and filters, from botocore by `facts.py` |
//! | `answers.txt` | of every built action its answer's elements, likewise |
//! | `differences.txt` | the members and filters that are not honoured on purpose, with the reason |
//! | [`world`] | a region where everything exists in pairs that are unlike each other |
//! | [`happy`] | one request per action that succeeds in the world |
//! | [`refusals`] | of every action each code that it is refused with, and a request that provokes it |
//! | [`slices`] | the world and the happy requests of RDS, EKS and STS |
//! | [`selects`] | per describing action, a value of each filter that one of a pair has |
//!
//! The tests here fail when an action honours less than EC2 documents and nobody said why. To add an
//! action:
//!
//! 1. its line in `src/api/table.rs`, then `python3 facts.py`;
//! 2. a line in [`happy`]; dry run, client token, tags at creation and members are tried with it;
//! 3. for an action that lists, an entry in [`selects`]: each filter and the pages are tried with it;
//! 4. for what stays out, a line in `differences.txt`: `ACTION MEMBER reason`, or
//!    `ACTION filter:NAME reason`; `*` stands for any text, and for every action in first place.
//!    Members are written as requests write them (`Placement.GroupName`, `Ipv6Address.1`);
//! 5. a line in `refusals.txt` for each code that it is refused with and each place that refuses: the
//!    tests print what is missing.

mod answers;
mod codes;
mod coverage;
mod happy;
mod instances;
mod pages;
pub mod refusals;
mod selects;
mod selects_network;
mod slices;
mod world;

use std::collections::BTreeMap;

/// What EC2 documents of one action.
#[derive(Debug, Default)]
pub struct Facts {
    /// Request members down to the last one, lists with the index 1.
    pub members: Vec<&'static str>,
    /// Filters; `tag:KEY` for the tags.
    pub filters: Vec<&'static str>,
    /// Smallest and largest page, where EC2's model says it.
    pub pages: Option<(usize, usize)>,
}

impl Facts {
    fn has(&self, member: &str) -> bool {
        self.members.contains(&member)
    }
}

/// The facts of every built action of EC2, by name.
pub fn facts() -> BTreeMap<&'static str, Facts> {
    let mut all: BTreeMap<&str, Facts> = BTreeMap::new();
    let mut action = "";
    for line in include_str!("facts.txt").lines() {
        let Some(name) = line.strip_prefix("  ") else {
            action = line;
            continue;
        };
        let of = all.entry(action).or_default();
        match name.split_once(' ') {
            Some(("filter", filter)) => of.filters.push(filter),
            Some((_, sizes)) => {
                let (least, most) = sizes.split_once(' ').expect("two sizes");
                of.pages = Some((least.parse().expect("a size"), most.parse().expect("a size")));
            }
            None => of.members.push(name),
        }
    }
    all
}

/// A line of `differences.txt`.
pub struct Difference {
    action: &'static str,
    what: &'static str,
    line: &'static str,
}

impl Difference {
    /// Whether the line speaks of this member, or of `filter:NAME`, of the action.
    pub fn covers(&self, action: &str, what: &str) -> bool {
        like(self.action, action) && like(self.what, what)
    }
}

/// Whether the text is like the pattern, in which `*` stands for any text.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            (0..=text.len()).any(|at| text.is_char_boundary(at) && like(rest, &text[at..]))
        }),
    }
}

/// The differences on purpose.
pub fn differences() -> Vec<Difference> {
    let lines = include_str!("differences.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let difference = |line: &'static str| {
        let mut words = line.split_whitespace();
        let (action, what) = (words.next().expect("not empty"), words.next());
        assert!(words.next().is_some(), "no reason: {line}");
        Difference { action, what: what.expect("a member or filter"), line }
    };
    lines.map(difference).collect()
}
