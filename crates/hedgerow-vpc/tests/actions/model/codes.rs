//! Error codes: every one in the sources is in the table of refusals.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::refusals;

/// Codes that no request alone leads to.
const OUT_OF_REACH: &[(&str, &str)] = &[
    ("InsufficientAddressCapacity", "needs as many elastic addresses as the range has"),
    ("InsufficientDBInstanceCapacity", "the machine has no PostgreSQL server left to give"),
];

/// Sources of what is not asked of the actions: keys that are not good, and the lab's own calls.
const NOT_ASKED: &[&str] = &["principal.rs", "role_keys.rs", "zone.rs"];

/// Places that no request to one region leads to: a part of the line, and why.
const FAR: &[(&str, &str)] = &[
    ("\"InsufficientAddressCapacity\"", "see above"),
    ("\"InsufficientDBInstanceCapacity\"", "see above"),
    ("Ec2Error::new(\"AuthFailure\", message));", "a region that does not exist: see protocol.rs"),
    ("Ec2Error::new(\"InsufficientCidrBlocks\", message));", "needs 65,534 prefixes of a subnet"),
];

/// What stands before an error's code in sources without spaces, and how many quotes lie between.
const BEFORE: &[(&str, usize)] =
    &[("Ec2Error::new(\"", 0), ("NOT_FOUND:&'staticstr=\"", 0), ("quota::room(", 1)];

/// The Rust sources in a directory.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("read a directory of sources");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "rs")).collect();
    paths.sort();
    paths
}

/// The codes in `sources`, whose line breaks and spaces are gone.
fn codes(sources: &str) -> BTreeSet<&str> {
    let found = BEFORE.iter().flat_map(|(before, quotes)| {
        let rests = sources.split(before).skip(1);
        rests.map(|rest| rest.split('"').nth(*quotes).unwrap_or_default())
    });
    found.filter(|code| code.starts_with(|c: char| c.is_ascii_uppercase())).collect()
}

/// Files and lines of the state's sources where an error is made, but those that are out of reach.
pub fn places() -> Vec<(String, u32)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/state");
    let mut places = Vec::new();
    for path in sources(&directory) {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        if NOT_ASKED.contains(&name.as_str()) {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("read a source");
        let own = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (line, number) in own.lines().zip(1..) {
            let made = ["new(", "value(", "missing("];
            let made = made.iter().any(|call| line.contains(&format!("Ec2Error::{call}")));
            if made && !FAR.iter().any(|(part, _)| line.contains(part)) {
                places.push((name.clone(), number));
            }
        }
    }
    assert!(places.len() > 300, "errors are no longer made so");
    places
}

#[test]
fn every_code_is_in_the_table() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/state");
    let texts = sources(&directory).into_iter();
    let texts = texts.map(|path| std::fs::read_to_string(path).expect("read a source"));
    let mut sources: String = texts.collect();
    sources.retain(|c| !c.is_whitespace());
    let codes = codes(&sources);
    assert!(codes.len() > 80, "the codes are no longer found as {BEFORE:?}: {codes:?}");
    let table = refusals::codes();
    let out = |code: &str| OUT_OF_REACH.iter().any(|(out, _)| *out == code);
    let unmet = codes.into_iter().filter(|code| !table.contains(code) && !out(code));
    let unmet: Vec<&str> = unmet.collect();
    assert!(unmet.is_empty(), "not in refusals.txt: {unmet:?}");
}
