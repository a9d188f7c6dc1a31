//! The `hedgerow` command line: the lab and the demo.
//!
//! ```text
//!   cli        ── commands and their arguments
//!   demo       ── the tutorial, walked for real
//!   image      ── container images without a container builder
//!   lab        ── a Kubernetes cluster in an embedded VPC on this machine
//!   progress   ── what a long command is doing, and for how long
//! ```

mod cli;
mod demo;
mod image;
mod lab;
mod progress;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
