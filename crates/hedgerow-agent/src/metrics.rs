//! Numbers for Prometheus and the health of the agent, on a loopback port.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::node::{Node, now};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    command: &'static str,
    outcome: &'static str,
}

/// What the agent counts.
pub struct Metrics {
    registry: Registry,
    requests: Family<Outcome, Counter>,
    seconds: Family<Outcome, Histogram>,
    ready: AtomicBool,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("hedgerow_agent");
        let requests = Family::<Outcome, Counter>::default();
        // From half a millisecond to about 30 s.
        let seconds = Family::<Outcome, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.0005, 2.0, 17))
        });
        registry.register("cni_requests", "Requests of the CNI plugin", requests.clone());
        registry.register("cni_seconds", "Time to answer the CNI plugin", seconds.clone());
        Self { registry, requests, seconds, ready: AtomicBool::new(false) }
    }
}

impl Metrics {
    /// Counts an answered request.
    pub fn request(&self, command: &'static str, ok: bool, took: Duration) {
        let labels = Outcome { command, outcome: if ok { "ok" } else { "error" } };
        self.requests.get_or_create(&labels).inc();
        self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// From now on the agent answers ADD.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// The text for Prometheus, with the node's present state.
    fn render(&self, node: &Node) -> String {
        let mut out = String::new();
        // Writing into a String cannot fail.
        let _ = text::encode(&mut out, &self.registry);
        let end = out.rfind("# EOF").unwrap_or(out.len());
        out.truncate(end);
        let enis = node.pool().enis(now());
        let sum = |of: fn(&hedgerow_core::planner::Eni) -> u32| enis.iter().map(of).sum::<u32>();
        let _ = writeln!(out, "# TYPE hedgerow_agent_addresses gauge");
        for (state, count) in
            [("free", sum(|e| e.free)), ("cooling", sum(|e| e.cooling)), ("used", sum(|e| e.used))]
        {
            let _ = writeln!(out, "hedgerow_agent_addresses{{state=\"{state}\"}} {count}");
        }
        let counters = node.datapath().counters().unwrap_or_default();
        let _ = writeln!(out, "# TYPE hedgerow_datapath_packets counter");
        for (reason, packets) in counters {
            let _ =
                writeln!(out, "hedgerow_datapath_packets_total{{verdict=\"{reason}\"}} {packets}");
        }
        out.push_str("# EOF\n");
        out
    }
}

type Shared = (Arc<Metrics>, Arc<Node>);

/// Serves `/metrics` and `/healthz` (200 once ADD is answered).
pub async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    node: Arc<Node>,
) -> std::io::Result<()> {
    let app = Router::new()
        .route(
            "/metrics",
            get(|State((metrics, node)): State<Shared>| async move { metrics.render(&node) }),
        )
        .route(
            "/healthz",
            get(|State((metrics, _)): State<Shared>| async move {
                if metrics.ready.load(Ordering::Relaxed) {
                    (StatusCode::OK, "ok\n")
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
                }
            }),
        )
        .with_state((metrics, node));
    axum::serve(tokio::net::TcpListener::bind(address).await?, app).await
}
