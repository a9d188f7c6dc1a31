//! Prometheus metrics: API calls by action and code, packets by verdict.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::lock;
use crate::wire::Counters;

/// How many names of actions that are not built, and of access keys, are kept apart; clients choose
/// them.
const UNKNOWN_NAMES: usize = 200;
/// Longest such name kept.
const UNKNOWN_LENGTH: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    action: String,
    /// EC2's error code, `OK` where there was none.
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PrincipalCall {
    action: String,
    /// Access key id, `anonymous` without a signature, `other` beyond the first of them.
    principal: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verdict {
    reason: &'static str,
}

pub(super) struct Metrics {
    registry: Registry,
    calls: Family<Call, Counter>,
    principal_calls: Family<PrincipalCall, Counter>,
    verdicts: Family<Verdict, Counter>,
    lost: Counter,
    unknown: Mutex<BTreeSet<String>>,
    principals: Mutex<BTreeSet<String>>,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("hedgerow_vpc");
        let calls = Family::<Call, Counter>::default();
        let principal_calls = Family::<PrincipalCall, Counter>::default();
        let help = "API calls by action and access key id";
        registry.register("principal_calls", help, principal_calls.clone());
        let verdicts = Family::<Verdict, Counter>::default();
        let lost = Counter::default();
        registry.register("calls", "API calls by action and error code", calls.clone());
        let help = "Packets by verdict; 'allowed' counts those let through";
        registry.register("packets", help, verdicts.clone());
        let help = "Verdicts of which no flow record was kept";
        registry.register("lost_flow_records", help, lost.clone());
        let (unknown, principals) = Default::default();
        Self { registry, calls, principal_calls, verdicts, lost, unknown, principals }
    }

    /// Counts a call; `code` is empty where it succeeded.
    pub fn count(&self, action: &str, known: bool, code: &str) {
        let action = if known { action } else { bounded(&self.unknown, action) };
        let code = if code.is_empty() { "OK" } else { code };
        let call = Call { action: action.to_owned(), code: code.to_owned() };
        self.calls.get_or_create(&call).inc();
    }

    /// Counts a call of an access key.
    pub fn count_principal(&self, action: &str, known: bool, key: Option<&str>) {
        let name = if known { action } else { bounded(&self.unknown, action) };
        let principal = key.map_or("anonymous", |key| bounded(&self.principals, key));
        let call = PrincipalCall { action: name.to_owned(), principal: principal.to_owned() };
        self.principal_calls.get_or_create(&call).inc();
    }

    /// Everything in the OpenMetrics text format.
    pub fn text(&self, counters: &Counters) -> String {
        for (reason, packets) in &counters.verdicts {
            let counter = self.verdicts.get_or_create(&Verdict { reason: reason.name() });
            counter.inner().store(*packets, Ordering::Relaxed);
        }
        self.lost.inner().store(counters.lost_records, Ordering::Relaxed);
        let mut out = String::new();
        match text::encode(&mut out, &self.registry) {
            Ok(()) => out,
            Err(error) => format!("# {error}\n"),
        }
    }
}

/// The name, unless clients sent too many different ones already.
fn bounded<'a>(seen: &Mutex<BTreeSet<String>>, name: &'a str) -> &'a str {
    let mut seen = lock(seen);
    let plain = name.len() <= UNKNOWN_LENGTH
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric());
    if plain && (seen.contains(name) || seen.len() < UNKNOWN_NAMES) {
        seen.insert(name.to_owned());
        name
    } else {
        "other"
    }
}
