//! Error codes: every one in the sources of EC2's actions is in the table of refusals, every other one
//! is met by some test.

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

/// What the names of sources begin with that are about other APIs than EC2's, or the lab's own calls.
const SLICES: &[&str] = &["eks", "identity", "rds", "role_keys", "zone"];

/// The texts of the files whose names are wanted.
fn texts(directory: &Path, wanted: &dyn Fn(&str) -> bool) -> String {
    let mut text = String::new();
    let entries = std::fs::read_dir(directory).expect("read a directory of sources");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            text += &texts(&path, wanted);
        } else if path.file_name().is_some_and(|name| wanted(&name.to_string_lossy())) {
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

/// Codes in the sources of the state that are wanted.
fn codes_of(wanted: &dyn Fn(&str) -> bool) -> BTreeSet<String> {
    let mut sources = texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/state"), wanted);
    sources.retain(|c| !c.is_whitespace());
    let all = codes(&sources).into_iter();
    let all = all.filter(|code| !OUT_OF_REACH.iter().any(|(out, _)| out == code));
    all.map(str::to_owned).collect()
}

fn is_slice(name: &str) -> bool {
    SLICES.iter().any(|slice| name.starts_with(slice))
}

#[test]
fn every_code_is_met() {
    let own = codes_of(&|name| !is_slice(name));
    assert!(own.len() > 60, "the codes are no longer found as {BEFORE:?}: {own:?}");
    let table = refusals::codes();
    let unmet: Vec<&String> = own.iter().filter(|code| !table.contains(code.as_str())).collect();
    assert!(unmet.is_empty(), "not in refusals.txt: {unmet:?}");

    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let tests = texts(&tests, &|name| name.ends_with(".rs") || name.ends_with(".py"));
    let met = |code: &&String| tests.contains(&format!("\"{code}\""));
    let unmet = codes_of(&is_slice).into_iter().filter(|code| !met(&code));
    let unmet: Vec<String> = unmet.collect();
    assert!(unmet.is_empty(), "no test meets {unmet:?}");
}
