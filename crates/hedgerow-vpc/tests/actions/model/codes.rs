//! Error codes: every one in the sources is in the table of refusals.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::refusals;

/// Codes that no request alone leads to.
const OUT_OF_REACH: &[(&str, &str)] = &[
    ("InsufficientAddressCapacity", "needs as many elastic addresses as the range has"),
    ("InsufficientDBInstanceCapacity", "the machine has no PostgreSQL server left to give"),
];

/// What stands before an error's code in sources without spaces, and how many quotes lie between.
const BEFORE: &[(&str, usize)] =
    &[("Ec2Error::new(\"", 0), ("NOT_FOUND:&'staticstr=\"", 0), ("quota::room(", 1)];

/// The texts of the Rust sources in a directory.
fn texts(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory).expect("read a directory of sources");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let sources = paths.iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    sources.map(|path| std::fs::read_to_string(path).expect("read a source")).collect()
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
fn every_code_is_in_the_table() {
    let mut sources = texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/state"));
    sources.retain(|c| !c.is_whitespace());
    let codes = codes(&sources);
    assert!(codes.len() > 80, "the codes are no longer found as {BEFORE:?}: {codes:?}");
    let table = refusals::codes();
    let out = |code: &str| OUT_OF_REACH.iter().any(|(out, _)| *out == code);
    let unmet = codes.into_iter().filter(|code| !table.contains(code) && !out(code));
    let unmet: Vec<&str> = unmet.collect();
    assert!(unmet.is_empty(), "not in refusals.txt: {unmet:?}");
}
