//! Refusals: of every action each error code that it can answer with, and a request that provokes it.
//!
//! `refusals.txt` is the table. It is held from both sides:
//!
//! - every line's request is refused with its code, and nothing changes;
//! - every place in the sources of the state that refuses is reached, by the lines or by the changed
//!   happy requests below;
//! - no test meets a pair of action and code that is not in it: the scenarios of all tests here and
//!   the random walk look each refusal up ([`check`]), and so do the happy requests with one part
//!   left out, changed or added, which are tried here one by one.
//!
//! What holds for every action alike has no lines: [`FOR_ALL`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use hedgerow_vpc::api::error::Ec2Error;
use hedgerow_vpc::state::Quotas;

use super::coverage::{happies, ready};
use super::{Facts, codes, facts, slices, world};
use crate::scenario::Scenario;

/// Codes that every action answers with, for reasons that have nothing to do with it; tests go through
/// all actions with them.
const FOR_ALL: &[&str] = &[
    "DryRunOperation",
    "FilterLimitExceeded",
    "IdempotentParameterMismatch",
    "InvalidAction",
    "InvalidClientToken",
    "UnknownParameter",
];

/// A line of the table.
struct Refusal {
    action: &'static str,
    code: &'static str,
    /// `quota NAME=NUMBER`, `later SECONDS`, or a request; before a request of which a later one needs
    /// something, `NAME=ELEMENT`.
    steps: Vec<&'static str>,
}

fn table() -> Vec<Refusal> {
    let lines = include_str!("refusals.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let refusal = |line: &'static str| {
        let (code, steps) = line.split_once(' ').expect("a code and steps");
        let steps: Vec<&str> = steps.split(';').map(str::trim).collect();
        let last = steps.last().expect("a request");
        Refusal { action: last.split(' ').next().expect("an action"), code, steps }
    };
    lines.map(refusal).collect()
}

fn pairs() -> &'static BTreeSet<(&'static str, &'static str)> {
    static PAIRS: OnceLock<BTreeSet<(&str, &str)>> = OnceLock::new();
    PAIRS.get_or_init(|| table().into_iter().map(|line| (line.action, line.code)).collect())
}

/// The codes of the table, and those that hold for every action.
pub fn codes() -> BTreeSet<&'static str> {
    pairs().iter().map(|(_, code)| *code).chain(FOR_ALL.iter().copied()).collect()
}

/// Whether the table says that the action answers with the code.
fn is_known(action: &str, code: &str) -> bool {
    FOR_ALL.contains(&code) || pairs().contains(&(action, code))
}

/// The actions that clients may ask for.
fn actions() -> &'static BTreeSet<&'static str> {
    static ACTIONS: OnceLock<BTreeSet<&str>> = OnceLock::new();
    ACTIONS.get_or_init(|| facts().into_keys().chain(slices::actions()).collect())
}

/// Fails where an action is refused with a code that is not in the table.
pub fn check(action: &str, code: &str, request: &str) {
    let built = actions().contains(action);
    assert!(!built || is_known(action, code), "not in refusals.txt: {code} {request}");
}

/// The request with what is written shorter in the table in full.
fn in_full(request: &str) -> String {
    let parts = request.split_whitespace().flat_map(|part| match part.split_once('=') {
        Some((name, value)) => numbered(name, &repeated(value)),
        None => vec![part.to_owned()],
    });
    parts.collect::<Vec<_>>().join(" ")
}

/// `xxx` for `x@3`.
fn repeated(value: &str) -> String {
    let times = value.rsplit_once('@').and_then(|(text, n)| Some(text.repeat(n.parse().ok()?)));
    times.unwrap_or_else(|| value.to_owned())
}

/// `Name.1=x`, `Name.2=x` for `Name.1..2=x`, with the number for `#`.
fn numbered(name: &str, value: &str) -> Vec<String> {
    let Some((before, after)) = name.split_once("..") else {
        return vec![format!("{name}={value}")];
    };
    let (list, first) = before.rsplit_once('.').expect("Name.1..2");
    let (last, rest) = after
        .split_once('.')
        .map_or((after, String::new()), |(last, rest)| (last, format!(".{rest}")));
    let number = |text: &str| text.parse::<u32>().expect("a number");
    let one = |n: u32| format!("{list}.{n}{rest}={}", value.replace('#', &n.to_string()));
    (number(first)..=number(last)).map(one).collect()
}

fn carried_out(scenario: Scenario, step: &str) -> Scenario {
    let (first, rest) = step.split_once(' ').unwrap_or((step, ""));
    match first.split_once('=') {
        Some((name, element)) => scenario.make(name, element, rest),
        None if first == "later" => scenario.later(rest.parse().expect("seconds")),
        None if first == "quota" => {
            let mut quotas = Quotas::default();
            quotas.set(rest).expect("a quota");
            scenario.quotas(quotas)
        }
        None => scenario.ok(step),
    }
}

/// Tries every line of the table; what is refused otherwise, and where the refusals come from.
fn try_lines() -> (Vec<String>, BTreeSet<Place>) {
    let (mut others, mut reached) = (Vec::new(), BTreeSet::new());
    let slices: BTreeSet<&str> = slices::actions().collect();
    for Refusal { action, code, steps } in table() {
        let (last, before) = steps.split_last().expect("a request");
        let world = if slices.contains(action) { slices::world() } else { world::world() };
        let ready = before.iter().fold(world, |s, step| carried_out(s, step));
        let mut after = ready.clone();
        let refused = after.try_send(&in_full(last)).result.err();
        reached.extend(refused.as_ref().map(place));
        let got = refused.map(|error| error.code);
        if got != Some(code) || !after.same_records(&ready) {
            others.push(format!("{code} {}\n  got {got:?}", steps.join("; ")));
        }
    }
    (others, reached)
}

/// A file of the sources and a line in it.
type Place = (String, u32);

fn place(error: &Ec2Error) -> Place {
    let (file, line) = error.origin.place();
    (file.rsplit('/').next().unwrap_or(file).to_owned(), line)
}

#[test]
fn every_line_of_the_table_is_refused_as_it_says() {
    let (others, _) = try_lines();
    assert!(others.is_empty(), "{}", others.join("\n"));
}

#[test]
fn the_table_is_in_order() {
    let lines: Vec<(&str, &str)> = table().iter().map(|line| (line.action, line.code)).collect();
    assert!(lines.is_sorted(), "by action and code");
    let other: Vec<_> = lines.iter().filter(|(action, _)| !actions().contains(action)).collect();
    assert!(other.is_empty(), "no actions that are built: {other:?}");
}

#[test]
fn no_action_knows_what_ec2_does_not() {
    for happy in happies().values() {
        let (scenario, request) = ready(happy);
        scenario.fails("UnknownParameter", &format!("{request} Nonsense=1"));
    }
    for (_, request) in slices::happy() {
        slices::world().fails("UnknownParameter", &format!("{request} Nonsense=1"));
    }
}

#[test]
fn filters_have_limits() {
    let filters = |count: usize| -> String {
        let one = |n| format!(" Filter.{n}.Name=tag:{n} Filter.{n}.Value.1=x");
        (1..=count).map(one).collect()
    };
    let values = |count: usize| -> String {
        let all = (1..=count).map(|n| format!(" Filter.1.Value.{n}=x"));
        " Filter.1.Name=tag:x".to_owned() + &all.collect::<String>()
    };
    let long = |length| format!(" Filter.1.Name=tag:x Filter.1.Value.1={}", "é".repeat(length));
    for (action, facts) in facts() {
        if !facts.filters.contains(&"tag:KEY") {
            continue;
        }
        let (scenario, request) = ready(&happies()[action]);
        for fine in [filters(50), values(200), long(255)] {
            assert_eq!(scenario.code_of(&format!("{request}{fine}")), "", "{action}");
        }
        for more in [filters(51), values(201), long(256)] {
            let code = scenario.code_of(&format!("{request}{more}"));
            assert_eq!(code, "FilterLimitExceeded", "{action}");
        }
    }
}

/// What parameters are changed to, besides the ids of the world.
const VALUES: &[&str] = &[
    "vpc-0123456789abcdef0",
    "subnet-0123456789abcdef0",
    "sg-0123456789abcdef0",
    "eni-0123456789abcdef0",
    "i-0123456789abcdef0",
    "rtb-0123456789abcdef0",
    "acl-0123456789abcdef0",
    "igw-0123456789abcdef0",
    "nat-0123456789abcdef0",
    "eipalloc-0123456789abcdef0",
    "pl-0123456789abcdef0",
    "eigw-0123456789abcdef0",
    "fl-0123456789abcdef0",
    "sgr-0123456789abcdef0",
    "scr-0123456789abcdef0",
    "eipassoc-0123456789abcdef0",
    "rtbassoc-0123456789abcdef0",
    "aclassoc-0123456789abcdef0",
    "eni-attach-0123456789abcdef0",
    "trunk-assoc-0123456789abcdef0",
    "vpc-cidr-assoc-0123456789abcdef0",
    "subnet-cidr-assoc-0123456789abcdef0",
    "eni-perm-0123456789abcdef0",
    "10.0.0.0/8",
    "10.0.1.0/28",
    "0.0.0.0/0",
    "10.0.1.9",
    "10.0.1.4",
    "3fff:23:0:100::/64",
    "3fff:23:0:100::9",
    "2001:db8::/32",
    "::/0",
    "65536",
    "99999999999",
    "2",
    "1",
    "0",
    "-1",
    "true",
    "x",
    "",
];

/// The request with one part left out, changed, or added.
fn mutations(request: &str, facts: &Facts, values: &[String]) -> Vec<String> {
    let parts: Vec<&str> = request.split_whitespace().collect();
    let mut all = Vec::new();
    for at in 1..parts.len() {
        let with = |part: &str| {
            let mut changed = parts.clone();
            changed[at] = part;
            changed.join(" ").trim_end().to_owned()
        };
        let (name, _) = parts[at].split_once('=').expect("Name=value");
        all.push(with("").replace("  ", " "));
        all.extend(values.iter().map(|value| with(&format!("{name}={value}"))));
    }
    let given = |member: &str| parts.iter().any(|part| part.starts_with(&format!("{member}=")));
    let more = facts.members.iter().filter(|m| !given(m) && **m != "DryRun");
    all.extend(more.flat_map(|m| values.iter().map(move |v| format!("{request} {m}={v}"))));
    all
}

/// Tries the happy request of an action with one part changed, and notes what the table does not know.
fn try_out(
    (action, facts): (&'static str, &Facts),
    scenario: &Scenario,
    requests: &[&'static str],
    missing: &mut BTreeMap<(&'static str, &'static str), String>,
    reached: &mut BTreeSet<Place>,
) {
    let (request, before) = requests.split_last().expect("a request");
    let values = scenario.ids().into_iter().chain(VALUES.iter().map(|v| (*v).to_owned()));
    let values: Vec<String> = values.collect();
    let mut tried = scenario.clone();
    for mutation in mutations(request, facts, &values) {
        let Err(error) = tried.try_send(&mutation).result else {
            tried = scenario.clone();
            continue;
        };
        reached.insert(place(&error));
        if !is_known(action, error.code) {
            let steps: Vec<&str> = before.iter().copied().chain([mutation.as_str()]).collect();
            missing.entry((action, error.code)).or_insert_with(|| steps.join("; "));
        }
    }
}

#[test]
fn happy_requests_with_one_part_changed_are_refused_as_the_table_says() {
    let (happies, mut missing) = (happies(), BTreeMap::new());
    let (_, mut reached) = try_lines();
    for (action, facts) in facts() {
        let happy = &happies[action];
        let (scenario, _) = ready(happy);
        try_out((action, &facts), &scenario, happy.requests, &mut missing, &mut reached);
    }
    for (action, request) in slices::happy() {
        let (facts, world) = (Facts::default(), slices::world());
        try_out((action, &facts), &world, &[request], &mut missing, &mut reached);
    }
    let lines: Vec<String> =
        missing.iter().map(|((_, code), steps)| format!("{code} {steps}")).collect();
    assert!(lines.is_empty(), "not in refusals.txt:\n{}", lines.join("\n"));
    // And every place in the sources that refuses was reached.
    let unmet = codes::places().into_iter().filter(|place| !reached.contains(place));
    let unmet: Vec<Place> = unmet.collect();
    assert!(unmet.is_empty(), "no line of refusals.txt leads to {unmet:?}");
}
