//! Which crate may import which is written once, in the table of `docs/design.md`. This test
//! holds the manifests to it. Development dependencies are free.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

type Imports = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Rows of the table that begins with the heading "crate" and ends with "may import".
fn written() -> Imports {
    let text = std::fs::read_to_string(root().join("docs/design.md")).expect("read docs/design.md");
    let rows = text.lines().skip_while(|line| !line.starts_with("| crate |")).skip(2);
    let mut imports = Imports::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`').to_owned();
        let allowed = cells.last().expect("a cell").split(',').map(str::trim);
        let allowed = allowed.filter(|cell| *cell != "–").map(|cell| format!("hedgerow-{cell}"));
        imports.insert(name, allowed.collect());
    }
    imports
}

/// What the manifests say.
fn real() -> Imports {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("run cargo metadata");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata's answer");
    let mut imports = Imports::new();
    let shipped = |package: &&Value| {
        // What is beside `crates/` proves them and ships nowhere.
        package["manifest_path"].as_str().is_some_and(|path| path.contains("/crates/"))
    };
    for package in metadata["packages"].as_array().expect("packages").iter().filter(shipped) {
        let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
        let ours = dependencies
            .filter(|dependency| dependency["kind"] != "dev")
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|name| name.starts_with("hedgerow"));
        let name = package["name"].as_str().expect("name").to_owned();
        imports.insert(name, ours.map(str::to_owned).collect());
    }
    imports
}

#[test]
fn crates_import_only_what_the_design_allows() {
    let (written, real) = (written(), real());
    let names = |imports: &Imports| imports.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&written), names(&real), "crates in docs/design.md and in crates/");
    for (name, imports) in &real {
        let forbidden: Vec<_> = imports.difference(&written[name]).collect();
        assert!(forbidden.is_empty(), "{name} imports {forbidden:?}; docs/design.md forbids it");
    }
}
