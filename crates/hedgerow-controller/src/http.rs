//! `/metrics`, `/healthz`, `/readyz`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;

use crate::context::Context;

/// Serves for ever. Ready means: the webhook serves and its configuration is in the cluster.
pub async fn serve(port: u16, context: Arc<Context>, ready: Arc<AtomicBool>) -> anyhow::Result<()> {
    let metrics = get(move || {
        let text = context.metrics.render();
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        async move { ([(header::CONTENT_TYPE, kind)], text) }
    });
    let readyz = get(move || {
        let is_ready = ready.load(Ordering::Relaxed);
        async move {
            if is_ready {
                (StatusCode::OK, "ok\n")
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, "the webhook is not set up yet\n")
            }
        }
    });
    let router = Router::new()
        .route("/metrics", metrics)
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", readyz);
    let listener = tokio::net::TcpListener::bind(("0.0.0.0", port))
        .await
        .with_context(|| format!("listening on port {port} for /metrics (METRICS_PORT)"))?;
    axum::serve(listener, router).await.context("serving /metrics")
}
