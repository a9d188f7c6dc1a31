//! Commands and their arguments, and which function carries each one out.

use std::ffi::OsString;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use crate::lab::state::LabName;
use crate::{demo, image, lab};

/// Security groups for pods, and a lab to try them in.
#[derive(Debug, Parser)]
#[command(name = "hedgerow", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// An EKS-like cluster in an embedded VPC on this machine
    Lab(LabArgs),
    /// The tutorial "security groups for pods" in a lab of its own, for real
    Demo(demo::DemoArgs),
    /// The embedded VPC alone: `hedgerow-vpc` with these arguments, for example `vpc run`
    #[command(disable_help_flag = true)]
    Vpc {
        /// Arguments of `hedgerow-vpc`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// The lab's container images
    #[command(subcommand)]
    Image(image::ImageCommand),
}

#[derive(Debug, Args)]
struct LabArgs {
    /// Which lab
    #[arg(long, global = true, default_value = "hedgerow", env = "HEDGEROW_LAB")]
    name: LabName,
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Start a lab
    Up(UpArgs),
    /// Stop a lab and remove everything it made; right after a failed `up` too
    Down,
    /// Show the lab's components and nodes
    Status,
    /// Print shell lines that make `kubectl` and `aws` use the lab: eval "$(hedgerow lab env)"
    Env,
    /// Print the administrator's kubeconfig
    Kubeconfig,
    /// Load an image archive (docker-archive or OCI tar) into every node
    LoadImage {
        /// The archive
        file: PathBuf,
    },
    /// Run a command on a node (or in `control-plane`, where only the network is the instance's)
    Exec {
        /// Node name or instance id
        node: String,
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Print a component's log; without a component, list the logs
    Logs {
        /// As `lab status` names it
        component: Option<String>,
        /// How many lines from the end; 0 for all
        #[arg(long, default_value_t = 200)]
        tail: usize,
    },
    /// PID 1 of a node (internal)
    #[command(hide = true)]
    NodeInit {
        /// The node's description, JSON
        config: PathBuf,
    },
    /// Carry TCP connections into an instance (internal)
    #[command(hide = true)]
    Relay {
        /// Address to listen on, in the machine's network
        #[arg(long)]
        listen: SocketAddr,
        /// Network namespace to connect from
        #[arg(long)]
        netns: PathBuf,
        /// Address to connect to
        #[arg(long)]
        to: SocketAddr,
        /// URL that says whether a client may come in
        #[arg(long)]
        gate: String,
        /// Another address to listen on, in --public-netns
        #[arg(long, requires = "public_netns")]
        public: Option<SocketAddr>,
        /// Network namespace of --public
        #[arg(long, requires = "public")]
        public_netns: Option<PathBuf>,
    },
}

/// What `lab up` should make.
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// How many nodes of --instance-type (1 unless --node is given)
    #[arg(long)]
    pub nodes: Option<usize>,
    /// EC2 instance type of the nodes counted by --nodes
    #[arg(long, default_value = "m5.xlarge")]
    pub instance_type: String,
    /// One more node, of this instance type; may be repeated
    #[arg(long = "node", value_name = "TYPE")]
    pub node: Vec<String>,
    /// Folder with ready Kubernetes binaries [default: those that `make` built into the cache]
    #[arg(long, value_name = "DIR")]
    pub kubernetes_bin: Option<PathBuf>,
    /// Folder with the image archives for the nodes [default: those that `make` built]
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Loopback port of the EC2 API
    #[arg(long, default_value_t = 4566)]
    pub ec2_port: u16,
    /// Loopback port of the Kubernetes API
    #[arg(long, default_value_t = 6443)]
    pub api_port: u16,
    /// Resolver for names that neither the cluster nor its VPC knows: ADDRESS, ADDRESS:PORT, host for
    /// the machine's own if it is at a loopback address, or none [default: host where there is one, or
    /// else none]
    #[arg(long, value_name = "RESOLVER")]
    pub dns_forward: Option<String>,
    /// If it fails, leave everything as it is for inspection
    #[arg(long)]
    pub keep: bool,
}

impl UpArgs {
    /// The instance type of every node to make.
    pub fn node_types(&self) -> Vec<String> {
        let counted = self.nodes.unwrap_or(usize::from(self.node.is_empty()));
        std::iter::repeat_n(self.instance_type.clone(), counted)
            .chain(self.node.iter().cloned())
            .collect()
    }
}

/// Carries a command out.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Lab(LabArgs { name, command }) => run_lab(&name, command),
        Command::Demo(args) => demo::run(&args),
        Command::Vpc { arguments } => vpc(&arguments),
        Command::Image(command) => image::run(command).map(|()| ExitCode::SUCCESS),
    }
}

/// Becomes the `hedgerow-vpc` that lies beside this program. Returns only if it cannot.
fn vpc(arguments: &[OsString]) -> Result<ExitCode> {
    let own = std::env::current_exe().context("finding this program's own file")?;
    let program = own.with_file_name("hedgerow-vpc");
    let error = std::process::Command::new(&program).args(arguments).exec();
    Err(error).with_context(|| format!("running {}", program.display()))
}

fn run_lab(name: &LabName, command: LabCommand) -> Result<ExitCode> {
    match command {
        LabCommand::Up(args) => block_on(lab::up::up(name, &args))?,
        LabCommand::Down => lab::down::command(name)?,
        LabCommand::Status => block_on(lab::status::status(name))?,
        LabCommand::Env => print!("{}", lab::env::exports(name)?),
        LabCommand::Kubeconfig => print!("{}", lab::env::kubeconfig(name)?),
        LabCommand::LoadImage { file } => lab::exec::load_image(name, &file)?,
        LabCommand::Exec { node, command } => return lab::exec::exec(name, &node, &command),
        LabCommand::Logs { component, tail } => lab::logs::logs(name, component.as_deref(), tail)?,
        LabCommand::NodeInit { config } => lab::node_init::run(&config)?,
        LabCommand::Relay { listen, netns, to, gate, public, public_netns } => {
            let public = public.zip(public_netns.as_deref());
            lab::relay::run((listen, public), &netns, to, gate)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `future` to its end. The commands that enter namespaces must not have other threads, so
/// only those that need one get a runtime.
fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Runtime::new().context("starting the async runtime")?.block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node_types(words: &[&str]) -> Vec<String> {
        let words = ["hedgerow", "lab", "up"].iter().chain(words);
        match Cli::parse_from(words).command {
            Command::Lab(LabArgs { command: LabCommand::Up(args), .. }) => args.node_types(),
            other => panic!("parsed as {other:?}"),
        }
    }

    #[test]
    fn arguments_of_the_vpc_are_its_own() {
        let cli = Cli::parse_from(["hedgerow", "vpc", "run", "--records-only", "--help"]);
        let Command::Vpc { arguments } = cli.command else { panic!("parsed as another command") };
        assert_eq!(arguments, ["run", "--records-only", "--help"]);
    }

    #[test]
    fn nodes_are_counted_or_named() {
        assert_eq!(node_types(&[]), ["m5.xlarge"]);
        assert_eq!(node_types(&["--nodes", "2"]), ["m5.xlarge", "m5.xlarge"]);
        assert_eq!(node_types(&["--node", "t3.medium"]), ["t3.medium"]);
        assert_eq!(
            node_types(&["--nodes=1", "--instance-type=m5.large", "--node=t3.medium"]),
            ["m5.large", "t3.medium"]
        );
    }
}
