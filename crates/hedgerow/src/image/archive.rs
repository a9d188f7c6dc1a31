//! The docker-archive format: `manifest.json`, the image's configuration, its layer.
//!
//! containerd 1.6 imports it with `ctr images import` and makes `docker.io/hedgerow/x` of a tag
//! `hedgerow/x`, which is also what the kubelet's CRI makes of it.

use anyhow::{Context, Result};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tar::Builder;

use super::tree::{Node, append};

/// What the image runs by default.
#[derive(Debug, Default)]
pub struct Config {
    /// Program and its first arguments.
    pub entrypoint: &'static [&'static str],
    /// Environment, `NAME=value`.
    pub env: &'static [&'static str],
}

/// An archive of one image with one layer, all of it uncompressed.
///
/// # Errors
/// When an entry does not fit a tar.
pub fn docker(tag: &str, config: &Config, layer: &[u8]) -> Result<Vec<u8>> {
    let config = serde_json::to_vec(&configuration(config, &sha256(layer)))?;
    let config_name = format!("{}.json", sha256(&config));
    let manifest = serde_json::to_vec(&json!([{
        "Config": config_name, "RepoTags": [tag], "Layers": ["layer.tar"],
    }]))?;
    let mut builder = Builder::new(Vec::with_capacity(layer.len() + 16 * 1024));
    let members = [
        ("manifest.json", manifest.as_slice()),
        (config_name.as_str(), config.as_slice()),
        ("layer.tar", layer),
    ];
    for (name, content) in members {
        append(&mut builder, name, &Node::File(0o644, content.to_vec()))
            .with_context(|| format!("add {name} to the archive"))?;
    }
    builder.into_inner().context("finish the archive")
}

fn configuration(config: &Config, layer_digest: &str) -> Value {
    json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": config.entrypoint, "Env": config.env},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
    })
}

/// SHA-256 in hex. From ring, whose assembly is as fast in a debug build.
fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_the_layer_by_its_digest() {
        let value = configuration(&Config::default(), &sha256(b""));
        assert_eq!(
            value["rootfs"]["diff_ids"][0],
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn manifest_comes_first_and_names_the_tag() {
        let bytes = docker("hedgerow/x:1", &Config::default(), b"layer").expect("archive");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut entries = archive.entries().expect("entries");
        let first = entries.next().expect("one").expect("entry");
        assert_eq!(first.path().expect("path").to_str(), Some("manifest.json"));
        let manifest: Value = serde_json::from_reader(first).expect("json");
        assert_eq!(manifest[0]["RepoTags"][0], "hedgerow/x:1");
        assert_eq!(entries.count(), 2);
    }
}
