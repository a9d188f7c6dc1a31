//! Error codes: every one that an action can answer with is met by some test here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Codes that no request alone leads to.
const OUT_OF_REACH: &[(&str, &str)] = &[
    ("InsufficientAddressCapacity", "needs as many elastic addresses as the range has"),
    ("InsufficientDBInstanceCapacity", "the machine has no PostgreSQL server left to give"),
];

/// What stands before an error's code in sources without spaces, and how many quotes lie between.
const BEFORE: &[(&str, usize)] =
    &[("Ec2Error::new(\"", 0), ("NOT_FOUND:&'staticstr=\"", 0), ("quota::room(", 1)];

fn texts(directory: &Path, ending: &str) -> String {
    let mut text = String::new();
    let entries = std::fs::read_dir(directory).expect("read a directory of sources");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            text += &texts(&path, ending);
        } else if path.to_string_lossy().ends_with(ending) {
            text += &std::fs::read_to_string(&path).expect("read a source");
        }
    }
    text
}

/// The codes in `sources`, whose line breaks and spaces are gone.
fn codes(sources: &str) -> BTreeSet<&str> {
    let found = BEFORE.iter().flat_map(|(before, quotes)| {
        let rests = sources.split(before).skip(1);
        rests.map(|rest| rest.split('"').nth(*quotes).unwrap_or_default())
    });
    found.filter(|code| code.starts_with(|c: char| c.is_ascii_uppercase())).collect()
}

#[test]
fn every_code_is_met() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = texts(&root.join("src/state"), ".rs");
    sources.retain(|c| !c.is_whitespace());
    let tests = texts(&root.join("tests"), ".rs") + &texts(&root.join("tests"), ".py");
    let met = |code: &str| tests.contains(&format!("\"{code}\""));
    let codes = codes(&sources);
    assert!(codes.len() > 60, "the codes are no longer found as {BEFORE:?}: {codes:?}");
    let unmet: Vec<&str> = codes
        .into_iter()
        .filter(|code| !met(code) && !OUT_OF_REACH.iter().any(|(out, _)| out == code))
        .collect();
    assert!(unmet.is_empty(), "no test meets {unmet:?}");
}
