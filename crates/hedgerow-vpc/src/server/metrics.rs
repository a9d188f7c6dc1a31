//! Prometheus metrics: API calls by action and code, packets by verdict.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::lock;
use crate::api;
use crate::wire::Counters;

/// How many names of actions that are not built, and of access keys, are kept apart; clients choose
/// them.
const UNKNOWN_NAMES: usize = 200;
/// Longest such name kept.
const UNKNOWN_LENGTH: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    action: Cow<'static, str>,
    /// EC2's error code, `OK` where there was none.
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PrincipalCall {
    action: Cow<'static, str>,
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
    pub fn count(&self, action: &str, code: &'static str) {
        let code = if code.is_empty() { "OK" } else { code };
        self.calls.get_or_create(&Call { action: self.name(action), code }).inc();
    }

    /// Counts a call of an access key.
    pub fn count_principal(&self, action: &str, key: Option<&str>) {
        let principal = key.map_or("anonymous", |key| bounded(&self.principals, key)).to_owned();
        let call = PrincipalCall { action: self.name(action), principal };
        self.principal_calls.get_or_create(&call).inc();
    }

    /// What an action is called here: by its name if it is built, else as the client wrote it as
    /// long as there are not too many such names.
    fn name(&self, action: &str) -> Cow<'static, str> {
        match api::find(action) {
            Some(known) => Cow::Borrowed(known.name),
            None => Cow::Owned(bounded(&self.unknown, action).to_owned()),
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

/// The name, unless clients sent too many different ones already.
fn bounded<'a>(seen: &Mutex<BTreeSet<String>>, name: &'a str) -> &'a str {
    let mut seen = lock(seen);
    let plain = name.len() <= UNKNOWN_LENGTH
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric());
    if seen.contains(name) {
        return name;
    }
    if !plain || seen.len() >= UNKNOWN_NAMES {
        return "other";
    }
    seen.insert(name.to_owned());
    name
}
