//! The agent's life: learn who this is, take up what is there, serve, stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hedgerow_cloud::{Cloud, Ec2};
use hedgerow_datapath::node::{NodeConfig, NodeDatapath};
use rtnetlink::MulticastGroup;
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::{Cluster, RETRY};
use crate::interfaces::Interfaces;
use crate::metrics::{self, Metrics};
use crate::node::Node;
use crate::service::Service;
use crate::settings::{Enforcing, Settings};
use crate::{feature, imds, install, socket, sysctl};

/// Where things are, inside the agent's container.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Checkpoint and socket; the host's directory of the same path.
    pub state: PathBuf,
    /// The host's directory of CNI configurations.
    pub cni_config: PathBuf,
    /// Pinned maps and links, on a bpffs.
    pub pins: PathBuf,
    /// Metrics and health.
    pub listen: SocketAddr,
}

/// Runs until SIGTERM or SIGINT. Pods and datapath stay as they are.
pub async fn run(settings: Settings, paths: Paths) -> anyhow::Result<()> {
    let settings = Arc::new(settings);
    if settings.enforcing == Enforcing::Standard {
        tracing::warn!(
            "POD_SECURITY_GROUP_ENFORCING_MODE=standard is not built yet: branch pods are strict, \
             so local traffic crosses the VPC and needs rules that allow it"
        );
    }
    let stop = stopped()?;
    tokio::select! {
        result = serve(settings, paths) => result,
        name = stop => {
            tracing::info!(signal = name, "stopping; pods and datapath go on");
            Ok(())
        }
    }
}

fn stopped() -> anyhow::Result<impl Future<Output = &'static str>> {
    let mut term = signal(SignalKind::terminate()).context("handle SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("handle SIGINT")?;
    Ok(async move {
        tokio::select! { _ = term.recv() => "SIGTERM", _ = int.recv() => "SIGINT" }
    })
}

async fn serve(settings: Arc<Settings>, paths: Paths) -> anyhow::Result<()> {
    std::fs::create_dir_all(&paths.state).context("make the state directory")?;
    sysctl::enable_forwarding()?;
    sysctl::unfilter_all()?;
    let pins = paths.pins.clone();
    let datapath = tokio::task::spawn_blocking(move || NodeDatapath::open(&pins)).await?;
    let datapath = datapath.context("load the datapath (is /sys/fs/bpf a mounted bpffs?)")?;
    let node = Arc::new(Node::new(datapath, paths.state.join("ipam.json"), settings.mtu));
    let metrics = Arc::new(Metrics::default());
    let web = metrics::serve(paths.listen, Arc::clone(&metrics), Arc::clone(&node));

    let client = kube::Client::try_default().await.context("configure the Kubernetes client")?;
    let cluster = Cluster::start(client.clone(), &settings.node_name, settings.pod_eni);
    tokio::spawn(feature::keep(client, settings.node_name.clone(), settings.pod_eni));
    watch_links(Arc::clone(&node))?;

    let work = async {
        let (interfaces, ()) = tokio::join!(interfaces(&settings, &node), sync(&cluster));
        configure(&cluster, &settings, &node).await;
        let service = Arc::new(Service::new(Arc::clone(&node), cluster, Arc::clone(&metrics)));
        let path = paths.state.join("hedgerow.sock");
        let listener =
            socket::listen(&path).with_context(|| format!("listen at {}", path.display()))?;
        tokio::spawn(socket::serve(listener, Arc::clone(&service)));
        install::config(&paths.cni_config, &path.to_string_lossy(), settings.mtu)?;
        metrics.set_ready();
        tracing::info!(node = settings.node_name, pod_eni = settings.pod_eni, "ready");
        tokio::spawn(interfaces.run());
        loop {
            tokio::time::sleep(Duration::from_secs(10)).await;
            service.sweep().await;
        }
    };
    tokio::select! {
        result = web => result.with_context(|| format!("serve metrics at {}", paths.listen)),
        result = work => result,
    }
}

/// Learns who this instance is and brings its interfaces up; tries until it works.
async fn interfaces(settings: &Arc<Settings>, node: &Arc<Node>) -> Interfaces {
    let identity = retried("ask instance metadata", || imds::identity(&settings.imds)).await;
    tracing::info!(instance = identity.instance, instance_type = identity.instance_type, "this is");
    let cloud: Arc<dyn Cloud> = Arc::new(Ec2::from_env().await);
    let mut interfaces = Interfaces::new(
        cloud,
        Arc::clone(node),
        Arc::clone(settings),
        identity.instance,
        &identity.instance_type,
    );
    loop {
        match interfaces.start().await {
            Ok(()) => return interfaces,
            Err(error) => tracing::warn!(%error, "bringing interfaces up failed; trying again"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn sync(cluster: &Cluster) {
    retried("read pods and policies", || cluster.synced()).await;
}

async fn retried<T, E: std::fmt::Display>(
    what: &str,
    mut work: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    loop {
        match work().await {
            Ok(done) => return done,
            Err(error) => tracing::warn!(%error, "could not {what}; trying again"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Tells the datapath the cluster's Service prefixes and the node's own addresses.
async fn configure(cluster: &Cluster, settings: &Settings, node: &Arc<Node>) {
    retried("configure the datapath", async || -> anyhow::Result<()> {
        let service_prefixes = match settings.service_cidrs.as_slice() {
            [] => cluster.service_prefixes().await?,
            given => given.to_vec(),
        };
        anyhow::ensure!(!service_prefixes.is_empty(), "the cluster has no IPv4 ServiceCIDR");
        let node_addresses = node.own_addresses()?;
        tracing::info!(?service_prefixes, ?node_addresses, "datapath");
        node.datapath().configure(&NodeConfig { service_prefixes, node_addresses })?;
        Ok(())
    })
    .await;
}

/// Rings when links come and go: a hot-plugged trunk must be up before its first pod.
fn watch_links(node: Arc<Node>) -> anyhow::Result<()> {
    let (connection, _handle, mut messages) =
        rtnetlink::new_multicast_connection(&[MulticastGroup::Link])
            .context("watch links by netlink")?;
    tokio::spawn(connection);
    tokio::spawn(async move {
        use futures::StreamExt;
        // The handle keeps the connection alive.
        let _handle = _handle;
        while messages.next().await.is_some() {
            node.changed.notify_one();
        }
    });
    Ok(())
}
