//! Every action has its facts and its happy request; every member and filter is honoured or a
//! difference on purpose; dry runs, client tokens and tags at creation do what EC2 says.

use std::collections::{BTreeMap, BTreeSet};

use hedgerow_vpc::api::ACTIONS;
use hedgerow_vpc::api::envelope::Api;

use super::happy::{self, Happy};
use super::{Facts, differences, facts, world};
use crate::scenario::Scenario;

/// The world in which the action's happy request succeeds, and the request.
pub(super) fn ready(happy: &Happy) -> (Scenario, &'static str) {
    let mut requests = happy.requests.iter();
    let last = *requests.next_back().expect("a request");
    (requests.fold(world::world(), |scenario, request| scenario.ok(request)), last)
}

pub(super) fn happies() -> BTreeMap<&'static str, Happy> {
    let all = happy::all().into_iter();
    all.map(|happy| (happy.action(), happy)).collect()
}

#[test]
fn every_action_has_its_facts_and_its_happy_request() {
    let built: BTreeSet<&str> = ACTIONS
        .iter()
        .filter(|action| action.api == Api::Ec2 && !action.labs_own)
        .map(|action| action.name)
        .collect();
    let known: BTreeSet<&str> = facts().into_keys().collect();
    assert_eq!(built, known, "run facts.py");
    let happy: BTreeSet<&str> = happies().into_keys().collect();
    assert_eq!(built, happy, "happy.rs has a request per action");
}

/// What of the action's members and filters is refused or not known, as `differences.txt` names it.
fn unhonoured(happy: &Happy, facts: &Facts) -> Vec<String> {
    let (scenario, request) = ready(happy);
    let given: BTreeSet<&str> =
        request.split_whitespace().filter_map(|part| Some(part.split_once('=')?.0)).collect();
    let members = facts.members.iter().filter(|member| !given.contains(**member));
    let members = members.filter(|member| {
        let asked = format!("{request} {member}=1");
        matches!(scenario.code_of(&asked).as_str(), "UnknownParameter" | "UnsupportedOperation")
    });
    let filters = facts.filters.iter().filter(|filter| {
        let asked = format!("{request} Filter.1.Name={filter} Filter.1.Value.1=x");
        !scenario.code_of(&asked).is_empty()
    });
    members.map(|m| (*m).to_owned()).chain(filters.map(|f| format!("filter:{f}"))).collect()
}

#[test]
fn what_ec2_documents_is_honoured_or_a_difference_on_purpose() {
    let (happies, differences) = (happies(), differences());
    let mut used = BTreeSet::new();
    let mut missing = Vec::new();
    for (action, facts) in facts() {
        for what in unhonoured(&happies[action], &facts) {
            let mut lines = differences.iter().filter(|line| line.covers(action, &what)).peekable();
            if lines.peek().is_none() {
                missing.push(format!("{action} {what}"));
            }
            used.extend(lines.map(|difference| difference.line));
        }
    }
    assert!(missing.is_empty(), "neither honoured nor a difference:\n{}", missing.join("\n"));
    let stale = differences.iter().map(|d| d.line).filter(|line| !used.contains(line));
    let stale: Vec<&str> = stale.collect();
    assert!(stale.is_empty(), "no longer a difference:\n{}", stale.join("\n"));
}

#[test]
fn every_action_rehearses_and_then_does() {
    for (action, facts) in facts() {
        let happy = &happies()[action];
        let (scenario, request) = ready(happy);
        if facts.has("DryRun") {
            let rehearsed = scenario.code_of(&format!("{request} DryRun=true"));
            assert_eq!(rehearsed, "DryRunOperation", "{request}");
        }
        assert_eq!(scenario.code_of(request), "", "{request}");
    }
}

#[test]
fn a_repeated_client_token_gets_the_first_answer() {
    for (action, facts) in facts() {
        if !facts.has("ClientToken") {
            continue;
        }
        let (scenario, request) = ready(&happies()[action]);
        let request = format!("{request} ClientToken=again");
        let first = scenario.ok(&request);
        let body = first.body().to_owned();
        let second = first.clone().ok(&request);
        assert_eq!(second.body(), body, "{action}");
        assert!(second.same_records(&first), "{action} did it twice");
        let other = format!("{request} DryRun=false Other=1");
        assert_eq!(second.code_of(&other), "IdempotentParameterMismatch", "{action}");
        for (token, code) in [
            ("t".repeat(64), ""),
            ("t".repeat(65), "InvalidClientToken"),
            ("é".to_owned(), "InvalidClientToken"),
        ] {
            let (fresh, request) = ready(&happies()[action]);
            assert_eq!(fresh.code_of(&format!("{request} ClientToken={token}")), code, "{action}");
        }
    }
}

#[test]
fn what_is_made_has_the_tags_it_was_given() {
    for (action, facts) in facts() {
        if !facts.has("TagSpecification.1.Tag.1.Key") {
            continue;
        }
        let happy = &happies()[action];
        let kind = happy.kind.unwrap_or_else(|| panic!("{action} takes tags: of which kind?"));
        let (scenario, request) = ready(happy);
        let tag = "TagSpecification.1.Tag.1.Key=at TagSpecification.1.Tag.1.Value=birth";
        scenario
            .clone()
            .ok(&format!("{request} TagSpecification.1.ResourceType={kind} {tag}"))
            .shows("DescribeTags Filter.1.Name=key Filter.1.Value.1=at", "resourceType", kind)
            .shows("DescribeTags Filter.1.Name=key Filter.1.Value.1=at", "value", "birth");
        let other = format!("{request} TagSpecification.1.ResourceType=castle {tag}");
        assert_eq!(scenario.code_of(&other), "InvalidParameterValue", "{action}");
    }
}
