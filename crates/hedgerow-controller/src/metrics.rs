//! Counters and gauges of `/metrics`.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Labels = Vec<(&'static str, &'static str)>;

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    allocations: Family<Labels, Counter>,
    releases: Family<Labels, Counter>,
    admissions: Family<Labels, Counter>,
    branches: Family<Labels, Gauge>,
    /// Trunks that are up.
    pub trunks: Gauge,
    /// When the webhook's certificate ends, seconds since 1970.
    pub certificate_expiry: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("hedgerow");
        let this = Self {
            allocations: Family::default(),
            releases: Family::default(),
            admissions: Family::default(),
            branches: Family::default(),
            trunks: Gauge::default(),
            certificate_expiry: Gauge::default(),
            registry: Registry::default(),
        };
        let r = &mut registry;
        r.register(
            "branch_allocations",
            "Branches asked for, by outcome",
            this.allocations.clone(),
        );
        r.register("branch_releases", "Branches deleted, by outcome", this.releases.clone());
        r.register("admissions", "Pods admitted, by decision", this.admissions.clone());
        r.register("branches", "Branches, by state", this.branches.clone());
        r.register("trunks", "Trunks that are up", this.trunks.clone());
        r.register(
            "webhook_certificate_expiry_seconds",
            "When the webhook's certificate ends, seconds since 1970",
            this.certificate_expiry.clone(),
        );
        Self { registry, ..this }
    }
}

impl Metrics {
    /// Counts one try to make a branch.
    pub fn allocated(&self, ok: bool) {
        self.allocations.get_or_create(&outcome(ok)).inc();
    }

    /// Counts one try to delete a branch.
    pub fn released(&self, ok: bool) {
        self.releases.get_or_create(&outcome(ok)).inc();
    }

    /// Counts one admission.
    pub fn admitted(&self, decision: &'static str) {
        self.admissions.get_or_create(&vec![("decision", decision)]).inc();
    }

    /// Sets the number of branches that pods hold and that rest.
    pub fn set_branches(&self, held: usize, resting: usize) {
        for (state, count) in [("held", held), ("resting", resting)] {
            self.branches
                .get_or_create(&vec![("state", state)])
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// The text of `/metrics` (OpenMetrics).
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn outcome(ok: bool) -> Labels {
    vec![("outcome", if ok { "ok" } else { "failed" })]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_what_was_counted() {
        let metrics = Metrics::default();
        metrics.allocated(true);
        metrics.set_branches(3, 1);
        metrics.certificate_expiry.set(1_800_000_000);
        let text = metrics.render();
        for line in [
            "hedgerow_branch_allocations_total{outcome=\"ok\"} 1",
            "hedgerow_branches{state=\"held\"} 3",
            "hedgerow_webhook_certificate_expiry_seconds 1800000000",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
