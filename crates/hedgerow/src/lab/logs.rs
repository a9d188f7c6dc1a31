//! `hedgerow lab logs`.

use std::fs;
use std::io::{self, Write};

use anyhow::{Context, Result, ensure};

use super::state::LabName;

/// Prints the last `count` lines (0: all) of a component's log, or lists the logs.
pub fn logs(lab: &LabName, component: Option<&str>, count: usize) -> Result<()> {
    let dir = lab.dir();
    ensure!(dir.exists(), "no lab named '{lab}' is up; start it: hedgerow lab up --name {lab}");
    let Some(component) = component else {
        for name in components(lab)? {
            println!("{name:50} {}", dir.log_file(&name).display());
        }
        return Ok(());
    };
    let path = dir.log_file(component);
    let text = fs::read(&path).with_context(|| {
        format!("reading {} (hedgerow lab logs lists what there is)", path.display())
    })?;
    io::stdout().write_all(last_lines(&text, count)).context("printing the log")
}

/// Every component that has a log.
fn components(lab: &LabName) -> Result<Vec<String>> {
    let folder = lab.dir().log();
    let mut names: Vec<String> = fs::read_dir(&folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .filter_map(|entry| {
            Some(entry.ok()?.file_name().to_str()?.strip_suffix(".log")?.to_owned())
        })
        .collect();
    names.sort();
    Ok(names)
}

fn last_lines(text: &[u8], count: usize) -> &[u8] {
    if count == 0 {
        return text;
    }
    let end = text.len() - usize::from(text.ends_with(b"\n"));
    let mut newlines = text[..end].iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    newlines.nth(count - 1).map_or(text, |(place, _)| &text[place + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines() {
        assert_eq!(last_lines(b"a\nb\nc\n", 2), b"b\nc\n");
        assert_eq!(last_lines(b"a\nb\nc", 1), b"c");
        assert_eq!(last_lines(b"a\nb\n", 5), b"a\nb\n");
        assert_eq!(last_lines(b"a\nb\n", 0), b"a\nb\n");
        assert_eq!(last_lines(b"", 1), b"");
    }
}
