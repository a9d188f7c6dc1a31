//! `hedgerow lab status`: the components and the nodes.

use std::time::Duration;

use anyhow::Result;
use comfy_table::{Table, presets};

use super::cluster::{self, NodeView};
use super::process::{Process, children, recorded, rss_mib};
use super::state::{LabDir, LabName, NODE_PREFIX, State};

/// How long the API server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints both tables.
pub async fn status(name: &LabName) -> Result<()> {
    let state = State::of(name)?;
    let dir = name.dir();
    println!("Lab {name}: VPC {}, EC2 API {}", state.vpc_id, state.ec2_endpoint());
    println!("{}", components(&dir));
    match tokio::time::timeout(PATIENCE, ask_nodes(&dir)).await {
        Ok(Ok(views)) => println!("{}", nodes(&state, &views)),
        Ok(Err(error)) => println!("The API server does not answer: {error:#}"),
        Err(_) => println!("The API server does not answer within {} s", PATIENCE.as_secs()),
    }
    Ok(())
}

async fn ask_nodes(dir: &LabDir) -> Result<Vec<NodeView>> {
    cluster::nodes(&cluster::client(&dir.kubeconfig()).await?).await
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table
}

fn components(dir: &LabDir) -> Table {
    let mut table = table(&["COMPONENT", "PID", "RSS MiB", "LOG"]);
    for process in recorded(dir) {
        let log = |component: &str| dir.log_file(component).display().to_string();
        let alive = process.alive();
        table.add_row([
            process.component.clone(),
            if alive { process.pid.to_string() } else { "ended".to_owned() },
            process.rss_mib().to_string(),
            log(&process.component),
        ]);
        for (pid, name) in services(&process, alive) {
            let node = process.component.trim_start_matches(NODE_PREFIX);
            let rss = rss_mib(pid).to_string();
            table.add_row([
                format!("  {name}"),
                pid.to_string(),
                rss,
                log(&format!("{node}-{name}")),
            ]);
        }
    }
    table
}

/// What a node's PID 1 runs: its services, not the containers' shims.
fn services(process: &Process, alive: bool) -> Vec<(i32, String)> {
    if !alive || !process.component.starts_with(NODE_PREFIX) {
        return Vec::new();
    }
    let mut found = children(process.pid);
    found.retain(|(_, name)| ["containerd", "kubelet", "kube-proxy"].contains(&name.as_str()));
    found
}

fn nodes(state: &State, views: &[NodeView]) -> Table {
    let mut table = table(&["NODE", "STATUS", "INSTANCE", "TYPE", "ADDRESS", "ZONE", "KUBELET"]);
    for node in &state.nodes {
        let view = views.iter().find(|view| view.name == node.name);
        let status = match view {
            Some(view) if view.ready => "Ready",
            Some(_) => "NotReady",
            None => "not registered",
        };
        table.add_row([
            node.name.as_str(),
            status,
            &node.id,
            &node.instance_type,
            &node.address.to_string(),
            &node.zone,
            view.map_or("", |view| &view.version),
        ]);
    }
    table
}
