//! `hedgerow lab up`: everything in the order that makes it quick, and nothing left if it fails.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use kube::Client;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;

use super::ec2::{Ec2, Subnet};
use super::pki::ClusterPki;
use super::preflight::{self, Tools};
use super::process::{Process, Start, start};
use super::state::{LabDir, LabName, State};
use super::{REGION, cluster, control_plane, down, eks, iam, manifests, node, process};
use crate::cli::UpArgs;
use crate::progress::Progress;

const VPC_BLOCK: &str = "10.0.0.0/16";
/// Private subnets: (zone suffix, block).
const SUBNETS: [(&str, &str); 2] = [("a", "10.0.0.0/19"), ("b", "10.0.32.0/19")];
/// Type of the control plane's instance; any does.
const CONTROL_PLANE_TYPE: &str = "m5.large";
/// How long one step may take before `up` gives up.
const PATIENCE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(100);

/// Starts a lab.
pub async fn up(name: &LabName, args: &UpArgs) -> Result<()> {
    refuse_if_up(name)?;
    let tools = preflight::check(args)?;
    let mut progress = Progress::start();
    if down::anything_of(name) {
        progress.step(format!("Removing what is left of an earlier lab '{name}'"));
        down::down(name)?;
    }
    progress.line(&format!("Lab '{name}'; logs: {}", name.dir().log().display()));
    let outcome = tokio::select! {
        outcome = bring_up(name, args, &tools, &mut progress) => outcome,
        signal = interrupted() => Err(signal),
    };
    match outcome {
        Ok(state) => {
            print_usage(&state);
            Ok(())
        }
        Err(error) => {
            progress.fail();
            clean_up(name, args.keep, &progress);
            Err(error.context(format!("lab '{name}' did not come up")))
        }
    }
}

/// Ends when the user, or whoever started us, wants us to stop.
async fn interrupted() -> anyhow::Error {
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => return anyhow::Error::new(error).context("listening for SIGTERM"),
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => anyhow!("interrupted"),
        _ = terminate.recv() => anyhow!("terminated"),
    }
}

fn refuse_if_up(name: &LabName) -> Result<()> {
    if process::recorded(&name.dir()).iter().any(Process::alive) {
        bail!(
            "a lab named '{name}' is already up: use it (hedgerow lab status --name {name}), stop \
             it (hedgerow lab down --name {name}) or choose another --name (and other --ec2-port \
             and --api-port)"
        );
    }
    Ok(())
}

fn clean_up(name: &LabName, keep: bool, progress: &Progress) {
    if keep {
        progress.line(&format!("kept for inspection; remove it: hedgerow lab down --name {name}"));
    } else if let Err(error) = down::down(name) {
        progress.line(&format!("while cleaning up: {error:#}"));
    }
}

async fn bring_up(
    name: &LabName,
    args: &UpArgs,
    tools: &Tools,
    progress: &mut Progress,
) -> Result<State> {
    let dir = name.dir();
    dir.create()?;
    progress.step("Starting the embedded VPC");
    let mut processes = vec![start_vpc(&dir, name, args, tools)?];
    wait_for_port(args.ec2_port, &dir, &processes, progress).await?;
    iam::bind(args.ec2_port, name).await?;
    progress.step("Making VPC, subnets, cluster security group and instances");
    let state = make_instances(name, args, tools).await?;
    state.write(&dir)?;

    progress.step("Starting the control plane and the nodes' container runtimes");
    let pki = ClusterPki::new()?;
    let name_in_dns = state.endpoint_name();
    let server = format!("https://{name_in_dns}");
    let admin_server = format!("https://127.0.0.1:{}", state.api_port);
    pki.write_control_plane(
        &dir.pki(),
        (state.control_plane.address, &name_in_dns),
        &admin_server,
        &dir.kubeconfig(),
    )?;
    eks::register(&state, &admin_server, &pki.ca.certificate).await?;
    processes.extend(control_plane::start_api(&dir, &state, tools)?);
    let mut nodes = Vec::new();
    for instance in &state.nodes {
        let node = node::start(&dir, name, instance, &server, &pki, tools)?;
        processes.push(node.process.clone());
        nodes.push(node);
    }

    progress.step("Waiting for the API server");
    let client = cluster::client(&dir.kubeconfig()).await?;
    wait(&dir, &processes, progress, "the API server is not ready", || async {
        Ok(if cluster::api_ready(&client).await { Ok(()) } else { Err(String::new()) })
    })
    .await?;
    processes.extend(control_plane::start_controllers(&dir, &state, tools)?);
    for node in nodes {
        node.go()?;
    }
    progress.step("Installing Hedgerow and CoreDNS");
    apply_manifests(&state, &dir).await?;
    wait_for_cluster(&dir, &processes, &client, &state, progress).await?;
    let took = progress.finish();
    progress.line(&format!("Lab '{name}' is up after {:.1} s", took.as_secs_f32()));
    Ok(state)
}

fn start_vpc(dir: &LabDir, name: &LabName, args: &UpArgs, tools: &Tools) -> Result<Process> {
    let mut words = vec![
        "run".to_owned(),
        format!("--name={name}"),
        format!("--listen=127.0.0.1:{}", args.ec2_port),
        format!("--flow-log={}", dir.flow_log().display()),
    ];
    words.extend(args.dns_forward.iter().map(|resolver| format!("--dns-forward={resolver}")));
    let program = tools.vpc.clone();
    start(dir, Start { component: down::VPC, program, args: words, netns: None })
}

async fn wait_for_port(
    port: u16,
    dir: &LabDir,
    processes: &[Process],
    progress: &Progress,
) -> Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait(dir, processes, progress, "the EC2 API does not answer", || async move {
        Ok(TcpStream::connect(address).await.map(drop).map_err(|error| error.to_string()))
    })
    .await
}

/// Makes by EC2's API what EKS and its user would have made.
async fn make_instances(name: &LabName, args: &UpArgs, tools: &Tools) -> Result<State> {
    let ec2 = Ec2::new(format!("http://127.0.0.1:{}", args.ec2_port));
    let text = name.to_string();
    let owned = format!("kubernetes.io/cluster/{name}");
    let tag = (owned.as_str(), "owned");
    let vpc_id = ec2.create_vpc(VPC_BLOCK, &[("Name", &text), tag]).await?;
    ec2.enable_dns_hostnames(&vpc_id).await?;
    // No route leads there: nodes are in private subnets.
    ec2.add_internet_gateway(&vpc_id, &[("Name", &text), tag]).await?;
    let mut subnets: Vec<Subnet> = Vec::new();
    for (suffix, block) in SUBNETS {
        let zone = format!("{REGION}{suffix}");
        let label = format!("{name}-private-{zone}");
        let tags = [("Name", label.as_str()), ("kubernetes.io/role/internal-elb", "1"), tag];
        subnets.push(ec2.create_subnet(&vpc_id, block, &zone, &tags).await?);
    }
    let group = make_cluster_group(&ec2, &vpc_id, &text, tag).await?;
    let label = format!("{name}-control-plane");
    let tags = [("Name", label.as_str()), ("eks:cluster-name", &text), tag];
    let control_plane =
        ec2.run_instance(CONTROL_PLANE_TYPE, &subnets[0], &group, None, &tags).await?;
    let (mut nodes, role) = (Vec::new(), iam::node_role(name));
    for (place, instance_type) in args.node_types().iter().enumerate() {
        let subnet = &subnets[place % subnets.len()];
        let label = format!("{name}-node-{}", place + 1);
        let tags = [("Name", label.as_str()), ("eks:cluster-name", &text), tag];
        nodes.push(ec2.run_instance(instance_type, subnet, &group, Some(&role), &tags).await?);
    }
    Ok(State {
        name: name.clone(),
        ec2_port: args.ec2_port,
        api_port: args.api_port,
        kubernetes_bin: absolute(tools.kubernetes.clone())?,
        vpc_id,
        subnet_ids: subnets.into_iter().map(|subnet| subnet.id).collect(),
        cluster_security_group_id: group,
        control_plane,
        nodes,
    })
}

/// The group EKS makes for a cluster: everything from its own members in, everything out.
async fn make_cluster_group(ec2: &Ec2, vpc: &str, name: &str, tag: (&str, &str)) -> Result<String> {
    // EKS ends the name with a number of its own; the VPC's id is as unique.
    let group_name = format!("eks-cluster-sg-{name}-{}", vpc.trim_start_matches("vpc-"));
    let description = "EKS created security group applied to ENI that is attached to EKS Control \
                       Plane master nodes, as well as any managed workloads.";
    let tags = [("Name", group_name.as_str()), ("eks:cluster-name", name), tag];
    let group = ec2.create_security_group(vpc, &group_name, description, &tags).await?;
    ec2.allow_members(&group).await?;
    Ok(group)
}

fn absolute(path: PathBuf) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("resolving {}", path.display()))
}

async fn apply_manifests(state: &State, dir: &LabDir) -> Result<()> {
    let kubectl = state.kubernetes_bin.join("kubectl");
    let (kubeconfig, stream) = (dir.kubeconfig(), manifests::stream(state));
    spawn_blocking(move || manifests::apply(&kubectl, &kubeconfig, &stream))
        .await
        .context("applying manifests")?
}

async fn wait_for_cluster(
    dir: &LabDir,
    processes: &[Process],
    client: &Client,
    state: &State,
    progress: &mut Progress,
) -> Result<()> {
    progress.step("Waiting for the nodes");
    wait(dir, processes, progress, "not every node is Ready", || async {
        Ok(unready_nodes(client, state.nodes.len()).await?.map_or(Ok(()), Err))
    })
    .await?;
    if state.nodes.is_empty() {
        return Ok(());
    }
    progress.step("Waiting for CoreDNS and the controller");
    wait(dir, processes, progress, "not every Deployment of kube-system is ready", || async {
        Ok(cluster::unready_deployments(client).await?.map_or(Ok(()), Err))
    })
    .await
}

/// What is wrong with the nodes; `None` if all of them are Ready.
async fn unready_nodes(client: &Client, wanted: usize) -> Result<Option<String>> {
    let nodes = cluster::nodes(client).await?;
    if nodes.len() < wanted {
        return Ok(Some(format!("{} of {wanted} registered", nodes.len())));
    }
    let unready = nodes.iter().find(|node| !node.ready);
    Ok(unready.map(|node| format!("{}: {}", node.name, node.message)))
}

/// Asks until the answer is `Ok(())`; fails if a process ended meanwhile, or with the last answer
/// once patience is over. An `Err` of the question itself is an answer like any other.
async fn wait<F, Q>(
    dir: &LabDir,
    processes: &[Process],
    progress: &Progress,
    what: &str,
    question: Q,
) -> Result<()>
where
    Q: Fn() -> F,
    F: Future<Output = Result<Result<(), String>>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = match question().await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(answer)) => answer,
            Err(error) => format!("{error:#}"),
        };
        for process in processes {
            process.check(dir)?;
        }
        if Instant::now() >= deadline {
            bail!("{what} after {} s: {answer}", PATIENCE.as_secs());
        }
        progress.detail(&answer);
        tokio::time::sleep(POLL).await;
    }
}

fn print_usage(state: &State) {
    let name = &state.name;
    let option =
        if name.to_string() == "hedgerow" { String::new() } else { format!(" --name {name}") };
    println!("Use it:");
    println!("  eval \"$(hedgerow lab env{option})\"");
    println!("  kubectl get pods --all-namespaces");
    println!("  aws ec2 describe-instances");
    println!("Look inside:  hedgerow lab status{option}; hedgerow lab logs{option}");
    println!("Stop it:      hedgerow lab down{option}");
}
