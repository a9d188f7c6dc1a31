//! Answers: EC2 documents every element of them, so that clients see what is there.

use std::collections::{BTreeMap, BTreeSet};

use super::coverage::{happies, ready};

/// Ends of paths that are shown and not documented: an interface's public address is described alike
/// for DescribeInstances and for DescribeNetworkInterfaces, where EC2 says more.
const MORE: &[&str] = &[".association.allocationId", ".association.associationId"];

/// Elements by action, as paths: `vpcSet.item.vpcId`.
fn documented() -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut all: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut action = "";
    let mut path: Vec<&str> = Vec::new();
    for line in include_str!("answers.txt").lines() {
        let name = line.trim_start();
        match line.len() - name.len() {
            0 => action = name,
            depth => {
                path.truncate(depth - 1);
                path.push(name);
                all.entry(action).or_default().insert(path.join("."));
            }
        }
    }
    all
}

/// The paths of all elements of an answer.
fn shown(xml: &str) -> BTreeSet<String> {
    let mut path: Vec<&str> = Vec::new();
    let mut paths = BTreeSet::new();
    for tag in xml.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default()) {
        if tag.starts_with('/') {
            path.pop();
            continue;
        }
        path.push(tag.trim_end_matches('/'));
        paths.insert(path.join("."));
        if tag.ends_with('/') {
            path.pop();
        }
    }
    paths
}

#[test]
fn answers_have_documented_elements_only() {
    let documented = documented();
    let mut unknown = Vec::new();
    for (action, happy) in happies() {
        let (scenario, request) = ready(&happy);
        let scenario = scenario.ok(request);
        let of_action = documented.get(action);
        for path in shown(scenario.body()) {
            // Actions without an answer's shape of their own say `return`.
            let known = path == "return" || of_action.is_some_and(|known| known.contains(&path));
            if !known && !MORE.iter().any(|end| path.ends_with(end)) {
                unknown.push(format!("{action} {path}"));
            }
        }
    }
    assert!(unknown.is_empty(), "no client sees:\n{}", unknown.join("\n"));
}
