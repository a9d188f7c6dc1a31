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

/// How many names of actions that are not built are kept apart; clients choose them.
const UNKNOWN_ACTIONS: usize = 200;
/// Longest such name kept.
const UNKNOWN_LENGTH: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    action: String,
    /// EC2's error code, `OK` where there was none.
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verdict {
    reason: &'static str,
}

pub(super) struct Metrics {
    registry: Registry,
    calls: Family<Call, Counter>,
    verdicts: Family<Verdict, Counter>,
    lost: Counter,
    unknown: Mutex<BTreeSet<String>>,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("hedgerow_vpc");
        let calls = Family::<Call, Counter>::default();
        let verdicts = Family::<Verdict, Counter>::default();
        let lost = Counter::default();
        registry.register("calls", "API calls by action and error code", calls.clone());
        let help = "Packets by verdict; 'allowed' counts those let through";
        registry.register("packets", help, verdicts.clone());
        let help = "Verdicts of which no flow record was kept";
        registry.register("lost_flow_records", help, lost.clone());
        Self { registry, calls, verdicts, lost, unknown: Mutex::default() }
    }

    /// Counts a call; `code` is empty where it succeeded.
    pub fn count(&self, action: &str, known: bool, code: &str) {
        let action = if known { action } else { self.bounded(action) };
        let code = if code.is_empty() { "OK" } else { code };
        let call = Call { action: action.to_owned(), code: code.to_owned() };
        self.calls.get_or_create(&call).inc();
    }

    /// The name, unless clients sent too many different ones already.
    fn bounded<'a>(&self, action: &'a str) -> &'a str {
        let mut seen = lock(&self.unknown);
        let plain = action.len() <= UNKNOWN_LENGTH
            && !action.is_empty()
            && action.bytes().all(|b| b.is_ascii_alphanumeric());
        if plain && (seen.contains(action) || seen.len() < UNKNOWN_ACTIONS) {
            seen.insert(action.to_owned());
            action
        } else {
            "other"
        }
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
