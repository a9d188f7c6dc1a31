//! `hedgerow-vpc`: an EC2 endpoint that keeps its promises to real packets.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use hedgerow_vpc::api::ACTIONS;
use hedgerow_vpc::iam::Keys;
use hedgerow_vpc::journal::{self, Journal};
use hedgerow_vpc::rds;
use hedgerow_vpc::server::{self, Server};
use hedgerow_vpc::settings::{Settings, Store};
use hedgerow_vpc::state::{Quotas, State};
use hedgerow_vpc::weather::WeatherFlags;
use hedgerow_vpc::wire::{Wire, WireConfig, sweep};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The embedded VPC: EC2's API, with real packets behind it.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the EC2 API until SIGTERM or Ctrl-C.
    Run(Box<Run>),
    /// Remove what a `run` of that name left running: namespaces, interfaces, eBPF pins, and its
    /// databases' files unless it had a --state. Records stay.
    Sweep {
        /// Name given to `run`.
        #[arg(long, default_value = "vpc", value_parser = name)]
        name: String,
    },
    /// List the actions that are built and that clients may ask: of EC2, EKS, RDS and STS.
    Actions,
}

#[derive(Args)]
struct Run {
    /// Address of the API, /metrics and /healthz.
    #[arg(long, default_value = "127.0.0.1:4566")]
    listen: SocketAddr,
    /// Name of this VPC process; its network namespaces are called hr.NAME.…
    #[arg(long, default_value = "vpc", value_parser = name)]
    name: String,
    /// Keep records only: no namespaces, no packets, no need for root.
    #[arg(long)]
    records_only: bool,
    /// Seed of ids and MAC addresses; the same requests then give the same answers. Random if
    /// absent.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    keep: Keep,
    /// Append a line per judged flow to this file, or to standard output for -.
    #[arg(long, value_name = "FILE", conflicts_with = "records_only")]
    flow_log: Option<PathBuf>,
    /// Append a JSON object per judged flow to this file, or to standard output for -: with
    /// interface, groups, and the rule that allowed or the gate that refused.
    #[arg(long, value_name = "FILE", conflicts_with = "records_only")]
    flow_log_json: Option<PathBuf>,
    /// Write the flow logs that CreateFlowLogs makes below this directory, or all of them to standard
    /// output for -.
    #[arg(long, value_name = "DIR", conflicts_with = "records_only")]
    flow_log_dir: Option<PathBuf>,
    /// Seconds that a line of those covers, whatever was asked for (60 or 600).
    #[arg(long, value_name = "SECONDS", requires = "flow_log_dir",
          value_parser = clap::value_parser!(u64).range(1..=600))]
    flow_log_interval: Option<u64>,
    /// Ask this resolver, from the machine's network, for names that the VPC does not know: ADDRESS,
    /// ADDRESS:PORT, host for the machine's own if it is at a loopback address, or none: such names are
    /// refused then. [default: host where there is one, or else none]
    #[arg(long, value_name = "RESOLVER")]
    dns_forward: Option<String>,
    /// Security groups that an interface can have, 1 to 16 (EC2: 5 by default, 16 on request).
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=16))]
    groups_per_interface: u8,
    /// Rules per direction and address family that a security group can have; times
    /// --groups-per-interface at most 1,000, as at EC2.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rules_per_group: u16,
    /// Another quota than EC2's default, as NAME=NUMBER; may be given several times: blocks-per-vpc,
    /// elastic-addresses, elastic-addresses-per-nat-gateway, entries-per-acl, groups,
    /// internet-gateways, nat-gateways-per-zone, network-acls-per-vpc, route-tables-per-vpc,
    /// routes-per-table, subnets-per-vpc, vpcs.
    #[arg(long, value_name = "NAME=NUMBER")]
    quota: Vec<String>,
    /// Bind access keys to IAM policies: a JSON object from access key ids to policy documents. With
    /// --state, keys that were bound before and are not in it stay bound.
    #[arg(long, value_name = "FILE")]
    iam: Option<PathBuf>,
    #[command(flatten)]
    weather: WeatherFlags,
    /// Write the process id here once the API answers; removed at the end.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
}

/// What outlives the process.
#[derive(Args)]
struct Keep {
    /// Keep the records in this directory: what was answered is there after a restart, also after
    /// kill -9. Then packets go on by the rules last answered, also while no process runs, and the
    /// next start takes instances and flows up as they are. --seed is of use only with a new
    /// directory.
    #[arg(long = "state", value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Requests from one snapshot of the records to the next.
    #[arg(long, value_name = "N", default_value_t = 100_000, requires = "directory")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    snapshot_every: u64,
    /// At SIGTERM or Ctrl-C, leave instances, databases and packets running, as kill -9 does, for the
    /// next start to take up. Without it everything on the machine is removed, and made anew then.
    #[arg(long, requires = "directory", conflicts_with = "records_only")]
    leave_running: bool,
    /// Answer before the disk has it: outlives kill -9, but not a power cut.
    #[arg(long, requires = "directory")]
    no_sync: bool,
}

/// Names are parts of file names, and a dot ends them there.
fn name(text: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let fits = (1..=64).contains(&text.len()) && text.chars().all(plain);
    let fits = fits && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    fits.then(|| text.to_owned())
        .ok_or("expected 1 to 64 letters, digits, '-' or '_', the first a letter or digit")
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match Cli::parse().command {
        Command::Run(options) => {
            raise_descriptor_limit()?;
            keep_freed_memory();
            let runtime = tokio::runtime::Runtime::new().context("start the async runtime")?;
            runtime.block_on(run(*options))
        }
        Command::Sweep { name } => {
            let removed = sweep(&name).with_context(|| format!("sweep what '{name}' left"))?;
            removed.iter().for_each(|namespace| println!("{namespace}"));
            rds::sweep(&name).with_context(|| format!("remove the databases that '{name}' left"))
        }
        Command::Actions => {
            let built = ACTIONS.iter().filter(|action| !action.labs_own);
            built.for_each(|action| println!("{}", action.name));
            Ok(())
        }
    }
}

async fn run(options: Run) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let listener = server::listen(options.listen).with_context(|| {
        format!("listen on {} (is another hedgerow-vpc running?)", options.listen)
    })?;
    let address = listener.local_addr().context("read the listener's address")?;
    let mut quotas = Quotas {
        groups_per_interface: options.groups_per_interface.into(),
        rules_per_group: options.rules_per_group.into(),
        ..Quotas::default()
    };
    for quota in &options.quota {
        quotas.set(quota).context("read --quota")?;
    }
    quotas.check().context("read --groups-per-interface and --rules-per-group")?;
    let seed = options.seed.map_or_else(random_seed, Ok)?;
    let weather = options.weather.config(seed).context("set up the weather")?;
    let keys = options.iam.as_deref().map(read_keys).transpose()?;
    let fresh = State::new(seed, quotas);
    let mut settings = Settings::default();
    // Before the wire: a directory that cannot be used leaves nothing behind.
    let opened = match options.keep.directory.clone() {
        Some(directory) => {
            let keep = journal::Options {
                records_only: options.records_only,
                sync: !options.keep.no_sync,
                snapshot_every: options.keep.snapshot_every,
            };
            let fresh = fresh.clone();
            let open = move || {
                let opened = Journal::open(&directory, keep, fresh)?;
                let (store, kept) = Store::open(&directory)?;
                anyhow::Ok((opened, store, kept))
            };
            let (opened, store, kept) = tokio::task::spawn_blocking(open).await??;
            settings = kept;
            Some((opened, store))
        }
        None => None,
    };
    settings.add(keys, weather).context("read --iam")?;
    let records = opened.as_ref().map(|(_, store)| store.secret().name());
    let wire = match options.records_only {
        true => None,
        false => Some(start_wire(options.name.clone(), records).await?),
    };
    let server = match opened {
        Some((opened, store)) => {
            store.save(&settings)?;
            let server = Server::with_journal(opened, wire);
            server.keep_settings(store);
            server
        }
        None => Server::new(fresh, wire),
    };
    server.set_keys(settings.keys);
    if settings.weather.is_some() {
        server.set_weather(settings.weather);
    }
    server.run_databases(&options.name, options.keep.directory.as_deref());
    // Before anything has DNS.
    server.forward_dns(options.dns_forward.as_deref()).map_err(anyhow::Error::msg)?;
    if let Err(error) = server.rebuild().await {
        // What stands goes on as the last process left it, where it outlives processes.
        end(server, true).await?;
        anyhow::bail!("make what the records say: {error}");
    }
    if let Some(path) = &options.flow_log {
        server.log_flows(path).with_context(|| format!("open the flow log {}", path.display()))?;
    }
    if let Some(path) = &options.flow_log_json {
        let opened = server.log_flows_as_json(path);
        opened.with_context(|| format!("open the flow log {}", path.display()))?;
    }
    if let Some(directory) = options.flow_log_dir {
        server.write_flow_logs(directory, options.flow_log_interval);
    }
    let pid_file = options.pid_file.map(PidFile::write).transpose()?;
    // The one line on standard output: what AWS_ENDPOINT_URL should be.
    println!("http://{address}");
    tracing::info!(%address, name = options.name, records_only = options.records_only, "serving");
    tokio::select! {
        () = Arc::clone(&server).serve(listener) => {}
        _ = terminate.recv() => tracing::info!("SIGTERM"),
        _ = interrupt.recv() => tracing::info!("SIGINT"),
    }
    end(server, options.keep.leave_running).await?;
    drop(pid_file);
    Ok(())
}

async fn end(server: Arc<Server>, leave: bool) -> anyhow::Result<()> {
    let end = move || if leave { server.leave() } else { server.shutdown() };
    tokio::task::spawn_blocking(end).await.context("shut down")
}

fn read_keys(path: &Path) -> anyhow::Result<Keys> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("read the access keys' policies from {}", path.display()))?;
    Keys::parse(&text).with_context(|| format!("the access keys' policies in {}", path.display()))
}

/// Keeps other processes from using the name as long as this one lives: what is left of the name is
/// then of a dead process.
fn take_name(name: &str) -> anyhow::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let address = SocketAddr::from_abstract_name(format!("hedgerow-vpc.{name}"));
    let taken = address.and_then(|address| UnixListener::bind_addr(&address));
    let taken = taken.with_context(|| {
        format!("take the name '{name}': another hedgerow-vpc has it; stop that one or use --name")
    })?;
    // The socket goes with the process, however it ends.
    std::mem::forget(taken);
    Ok(())
}

/// Starts the wire; with `records` it outlives the process, and what one with the same records left
/// is taken up.
async fn start_wire(name: String, records: Option<String>) -> anyhow::Result<Wire> {
    let start = move || {
        take_name(&name)?;
        anyhow::Ok(Wire::start(WireConfig { name, records })?)
    };
    tokio::task::spawn_blocking(start).await?
}

/// Thousands of connections and a few descriptors per instance need more than the usual 1,024.
fn raise_descriptor_limit() -> anyhow::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context("read the descriptor limit")?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("raise the descriptor limit")
}

/// Answers of half a megabyte come and go: memory for them is kept for the next one, up to some
/// megabytes, instead of being given back to the kernel and cleared by it each time.
fn keep_freed_memory() {
    const KEPT: libc::c_int = 32 << 20;
    // SAFETY: sets two numbers of the allocator, before there is another thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

fn random_seed() -> anyhow::Result<u64> {
    use std::io::Read;
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("read a seed from /dev/urandom")?;
    Ok(u64::from_ne_bytes(bytes))
}

/// A file with our process id that goes when we go.
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: PathBuf) -> anyhow::Result<Self> {
        std::fs::write(&path, format!("{}\n", std::process::id()))
            .with_context(|| format!("write the pid file {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(%error, file = %self.0.display(), "remove the pid file");
        }
    }
}
