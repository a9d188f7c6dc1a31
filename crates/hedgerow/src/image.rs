//! Container images without a container builder.
//!
//! The lab has no registry and no Docker. Its images are archives that this module writes from
//! our own binaries, from Debian packages and from files in `lab/images`:
//!
//! ```text
//! recipe ──► tree of files ──► one uncompressed layer ──► docker-archive ──► containerd
//!              ▲       ▲
//!     debian packages  binaries, stripped
//! ```
//!
//! An archive is a function of its inputs: entries are sorted and owned by root, times are zero.
//! It is written again only when an input changed (size or modification time of a file, text of
//! the recipe). Every megabyte counts: importing 100 MB costs a node 1.7 s of its start.

mod archive;
mod debian;
mod recipe;
mod tree;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::lab::state::cache_dir;
use recipe::Recipe;

/// `hedgerow image …`
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Write the lab's container images as archives, those whose inputs changed.
    Build(BuildArgs),
}

/// Arguments of `hedgerow image build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Images to build, by archive name (`aws-node`); all of them by default.
    names: Vec<String>,
    /// Where the archives go; `images` in the cache by default.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Where Hedgerow's own binaries are; beside this one by default.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    /// Where CoreDNS and Kubernetes are; the cache's by default.
    #[arg(long)]
    kubernetes_bin: Option<PathBuf>,
}

/// Runs `hedgerow image …`.
///
/// # Errors
/// When an input is missing or a tool fails; the message says which and what to do.
pub fn run(command: ImageCommand) -> Result<()> {
    match command {
        ImageCommand::Build(args) => build(&args),
    }
}

fn build(args: &BuildArgs) -> Result<()> {
    let cache = cache_dir();
    let bin_dir = match &args.bin_dir {
        Some(dir) => dir.clone(),
        None => own_directory()?,
    };
    let kubernetes = match &args.kubernetes_bin {
        Some(dir) => dir.clone(),
        None => cache.join("kubernetes").join(crate::lab::KUBERNETES_VERSION),
    };
    let out = args.out.clone().unwrap_or_else(|| cache.join("images"));
    let recipes = recipe::all(&bin_dir, &kubernetes);
    if let Some(unknown) = args.names.iter().find(|n| !recipes.iter().any(|r| r.name == **n)) {
        let known: Vec<_> = recipes.iter().map(|r| r.name).collect();
        bail!("no image is called {unknown:?}; there are {}", known.join(", "));
    }
    for recipe in recipes {
        if args.names.is_empty() || args.names.iter().any(|n| n == recipe.name) {
            build_one(&recipe, &out, &cache)
                .with_context(|| format!("build image {}", recipe.tag))?;
        }
    }
    Ok(())
}

fn own_directory() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("find this program's own file")?;
    Ok(exe.parent().unwrap_or(Path::new("/")).to_owned())
}

/// Writes one archive if its inputs changed since the last time.
fn build_one(recipe: &Recipe, out: &Path, cache: &Path) -> Result<()> {
    let out = &out.join(recipe.folder);
    std::fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    let target = out.join(format!("{}.tar", recipe.name));
    let stamp = out.join(format!(".{}.inputs", recipe.name));
    let inputs = recipe.inputs()?;
    if target.exists() && std::fs::read_to_string(&stamp).is_ok_and(|had| had == inputs) {
        return Ok(());
    }
    let started = Instant::now();
    let tree = recipe.tree(cache)?;
    let bytes = archive::docker(recipe.tag, &recipe.config, &tree.layer()?)?;
    // Renamed into place, so that a reader sees the old archive or the new one, whole.
    let fresh = out.join(format!(".{}.{}.tmp", recipe.name, std::process::id()));
    std::fs::write(&fresh, &bytes).with_context(|| format!("write {}", fresh.display()))?;
    std::fs::rename(&fresh, &target).with_context(|| format!("rename to {}", target.display()))?;
    std::fs::write(&stamp, inputs).with_context(|| format!("write {}", stamp.display()))?;
    println!(
        "image {}: {:.1} MB in {:.1} s",
        recipe.tag,
        bytes.len() as f64 / 1e6,
        started.elapsed().as_secs_f64()
    );
    Ok(())
}
