//! `hedgerow demo`: the tutorial "security groups for pods", for real.
//!
//! ```text
//!   demo ── tutorial   the story: commands as a user would type them, and what is expected
//!             │ ── shell      prints a command, runs exactly it, keeps its output
//!             └─ findings     expected against seen
//! ```
//!
//! The lab is taken down at the end, also after a failure and on Ctrl-C, unless `--keep` is given.

mod findings;
mod shell;
mod tutorial;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::lab;
use crate::lab::process::{self, Process};
use crate::lab::state::{LabName, cache_dir};
use findings::Findings;
use shell::Shell;

/// The server that `aws rds create-db-instance` starts: Debian 12's.
const POSTGRES: &str = "/usr/lib/postgresql/15/bin/postgres";

/// Arguments of `hedgerow demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Name of the lab that the demo starts
    #[arg(long, default_value = "demo")]
    name: LabName,
    /// Leave the lab running at the end
    #[arg(long)]
    keep: bool,
    /// Loopback port of the lab's EC2 API
    #[arg(long, default_value_t = 4566)]
    ec2_port: u16,
    /// Loopback port of the lab's Kubernetes API
    #[arg(long, default_value_t = 6443)]
    api_port: u16,
}

impl DemoArgs {
    /// The command that starts the lab; ports only where they are not the usual ones.
    fn lab_up(&self) -> String {
        let mut command = "hedgerow lab up --nodes 1 --instance-type m5.xlarge".to_owned();
        for (option, port, usual) in
            [("ec2-port", self.ec2_port, 4566), ("api-port", self.api_port, 6443)]
        {
            if port != usual {
                command += &format!(" --{option} {port}");
            }
        }
        command
    }
}

/// Carries out `hedgerow demo`. The exit code says whether everything was seen as expected.
///
/// # Errors
/// When a command of the tutorial fails, or the lab cannot be started or removed.
pub fn run(args: &DemoArgs) -> Result<ExitCode> {
    if process::recorded(&args.name.dir()).iter().any(Process::alive) {
        bail!("a lab named '{0}' is up; stop it first: hedgerow lab down --name {0}", args.name);
    }
    if !Path::new(POSTGRES).exists() {
        bail!("PostgreSQL 15 is not installed; `make setup` installs it");
    }
    shell::catch_signals()?;
    let started = Instant::now();
    let mut findings = Findings::default();
    let mut shell = Shell::new(&args.name)?;
    let told = tutorial::tell(&mut shell, &args.lab_up(), &mut findings);
    if told.is_err() {
        let kept = keep_evidence(&shell, &args.name);
        eprintln!("\nThe demo stopped. The lab's logs are in {}", kept.display());
    }
    if args.keep {
        println!("\nThe lab is still up: eval \"$(hedgerow lab env --name {0})\"", args.name);
        println!("Remove it with: hedgerow lab down --name {}", args.name);
    } else {
        let down = lab::down::command(&args.name).context("taking the lab down");
        if told.is_ok() {
            down?;
        } else if let Err(error) = down {
            eprintln!("{error:#}");
        }
    }
    told?;
    println!("\n{findings}");
    println!("{} ({:.0} s)", findings.sentence(), started.elapsed().as_secs_f64());
    Ok(if findings.all_as_expected() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Copies the lab's logs and what the cluster can say about itself to where `down` does not reach.
fn keep_evidence(shell: &Shell, name: &LabName) -> PathBuf {
    let to = cache_dir().join("logs").join(format!("demo-{name}"));
    let _ = fs::remove_dir_all(&to);
    let _ = copy_files(&name.dir().log(), &to);
    for (file, command) in [
        ("pods.txt", "kubectl get pods -A -o wide; kubectl describe pods -A"),
        ("nodes.txt", "kubectl describe nodes"),
        ("events.txt", "kubectl get events -A --sort-by=.lastTimestamp"),
        ("agent.txt", "kubectl logs -n kube-system ds/aws-node --all-containers --tail=500"),
        ("controller.txt", "kubectl logs -n kube-system -l app=hedgerow-controller --tail=500"),
    ] {
        if let Ok(seen) = shell.quiet(command) {
            let _ = fs::write(to.join(file), seen.text);
        }
    }
    to
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let path = entry?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            fs::copy(&path, to.join(name))
                .with_context(|| format!("copying {}", path.display()))?;
        }
    }
    Ok(())
}
