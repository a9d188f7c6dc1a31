//! `hedgerow-agent`: runs on every node as the DaemonSet `aws-node`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use hedgerow_agent::install;
use hedgerow_agent::run::{self, Paths};
use hedgerow_agent::settings::Settings;
use tracing_subscriber::EnvFilter;

/// The node agent of Hedgerow: pods' network interfaces and their security groups.
///
/// Settings are environment variables with the names of the Amazon VPC CNI.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Directory of checkpoint and socket.
    #[arg(long, default_value = "/var/run/aws-node")]
    state: PathBuf,
    /// The host's directory of CNI configurations.
    #[arg(long, default_value = "/host/etc/cni/net.d")]
    cni_config: PathBuf,
    /// Directory of pins, on a bpffs.
    #[arg(long, default_value = "/sys/fs/bpf/hedgerow")]
    pins: PathBuf,
    /// Address of metrics and health.
    #[arg(long, default_value = "127.0.0.1:61678")]
    listen: SocketAddr,
}

#[derive(Subcommand)]
enum Command {
    /// Serve this node (the default).
    Run,
    /// Copy the CNI plugin to the host and exit.
    Init {
        /// The plugin; by default beside this program.
        #[arg(long)]
        from: Option<PathBuf>,
        /// The host's directory of plugins.
        #[arg(long, default_value = "/host/opt/cni/bin")]
        to: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let arguments = Arguments::parse();
    match arguments.command.unwrap_or(Command::Run) {
        Command::Init { from, to } => {
            let beside = || Ok(std::env::current_exe()?.with_file_name("hedgerow-cni"));
            let from = from.map_or_else(beside, anyhow::Ok).context("find the plugin")?;
            install::plugin(&from, &to)?;
            tracing::info!(to = %to.display(), "the CNI plugin is in place");
            Ok(())
        }
        Command::Run => {
            let settings = Settings::read(|key| std::env::var(key).ok())?;
            let Arguments { state, cni_config, pins, listen, .. } = arguments;
            let paths = Paths { state, cni_config, pins, listen };
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .context("start the runtime")?;
            let result = runtime.block_on(run::run(settings, paths));
            // Not waiting for a thread that still asks a router for its MAC: the runtime (of
            // containers) calls DEL for what was not answered.
            runtime.shutdown_background();
            result
        }
    }
}
