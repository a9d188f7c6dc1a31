//! `hedgerow-controller`: see the library's documentation.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use clap::Parser;
use futures::{FutureExt, StreamExt};
use hedgerow_cloud::Ec2;
use hedgerow_controller::admission::server::{self, Served};
use hedgerow_controller::config::Args;
use hedgerow_controller::context::Context;
use hedgerow_controller::namespaces::{self, Namespaces};
use hedgerow_controller::{cleanup, http, nodes, pods, release, settings, webhook};
use hedgerow_k8s::{CNINode, SecurityGroupPolicy};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, ResourceExt};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "info,kube_runtime=warn,aws_config=warn".into());
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .init();
    let args = Args::parse();
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is installed"))?;
    let client = Client::try_default()
        .await
        .context("finding the cluster: run in a pod, or set KUBECONFIG")?;
    let cloud = Arc::new(Ec2::from_env().await);
    tokio::select! {
        ended = run(args, client, cloud) => ended,
        ended = terminated() => ended,
    }
}

/// SIGTERM or SIGINT. Nothing needs winding up: state is rebuilt at the next start.
async fn terminated() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    tracing::info!("told to stop");
    Ok(())
}

async fn run(args: Args, client: Client, cloud: Arc<Ec2>) -> anyhow::Result<()> {
    let pod_controller = Controller::new(Api::<Pod>::all(client.clone()), listing());
    let node_controller = Controller::new(Api::<Node>::all(client.clone()), listing());
    let context = Arc::new(Context::new(
        args.clone(),
        client.clone(),
        cloud,
        pod_controller.store(),
        node_controller.store(),
    ));

    let ready = Arc::new(AtomicBool::new(false));
    let served = Arc::new(Served::default());
    let listener =
        tokio::net::TcpListener::bind(("0.0.0.0", args.webhook_port)).await.with_context(|| {
            format!("listening on port {} for the webhook (WEBHOOK_PORT)", args.webhook_port)
        })?;
    let webhook_server =
        server::serve_tls(listener, served.clone(), server::router(context.clone()));

    let cninodes = Api::<CNINode>::all(client.clone());
    let node_loop = node_controller
        .watches(cninodes.clone(), listing(), |c| Some(ObjectRef::new(&c.name_any())))
        .run(nodes::reconcile, nodes::failed, context.clone())
        .for_each(|_| async {});
    let cleanup_loop = Controller::new(cninodes, listing())
        .run(cleanup::reconcile, cleanup::failed, context.clone())
        .for_each(|_| async {});
    let pod_loop = pod_controller
        .run(pods::reconcile, |_, never, _| match *never {}, context.clone())
        .for_each(|_| async {});

    tokio::select! {
        ended = webhook_server => ended.context("serving the webhook")?,
        ended = http::serve(args.metrics_port, context.clone(), ready.clone()) => ended?,
        () = webhook::run(context.clone(), served, ready) => {}
        () = tokio::spawn(node_loop).map(drop) => {}
        () = tokio::spawn(cleanup_loop).map(drop) => {}
        () = tokio::spawn(pod_loop).map(drop) => {}
        () = tokio::spawn(namespace_loop(client)).map(drop) => {}
        () = tokio::spawn(settings::run(context.clone())).map(drop) => {}
        () = tokio::spawn(release::run(context.clone())).map(drop) => {}
        () = tokio::spawn(release::sweep(context)).map(drop) => {}
    }
    anyhow::bail!("a part of the controller ended; the kubelet starts it anew")
}

/// Lists come from the API server's watch cache: the loops look again at whatever changes.
fn listing() -> watcher::Config {
    watcher::Config::default().any_semantic()
}

async fn namespace_loop(client: Client) {
    let policies = Api::<SecurityGroupPolicy>::all(client.clone());
    Controller::new(Api::<Namespace>::all(client.clone()), listing())
        .watches(policies, listing(), |p| p.namespace().map(|name| ObjectRef::new(&name)))
        .run(namespaces::reconcile, namespaces::failed, Arc::new(Namespaces::new(client)))
        .for_each(|_| async {})
        .await;
}
