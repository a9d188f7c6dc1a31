//! What the agent writes to the host: the plugin's binary, and the CNI configuration that makes
//! the node Ready.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

/// Name of the configuration; `10` comes before other networks' in the directory.
const CONFIG: &str = "10-aws.conflist";
/// The plugin's name in the configuration and in the directory of plugins.
const PLUGIN: &str = "hedgerow-cni";

/// A file could not be put in place.
#[derive(Debug, thiserror::Error)]
#[error("write {path}: {error} (is the host's directory mounted?)")]
pub struct InstallError {
    path: PathBuf,
    error: std::io::Error,
}

/// Puts a file in place so that nobody sees half of it: runtimes watch these directories, and a
/// plugin may be running from the file that is replaced.
fn put(path: &Path, contents: &[u8], mode: u32) -> Result<(), InstallError> {
    let failed = |error| InstallError { path: path.to_owned(), error };
    // A name that no runtime takes for a configuration or a plugin.
    let temporary = path.with_file_name(format!(
        ".{}.hedgerow-tmp",
        path.file_name().unwrap_or_default().to_string_lossy()
    ));
    let write = || -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(contents)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        failed(error)
    })
}

/// Copies the plugin from the image into the host's directory of plugins.
pub fn plugin(from: &Path, directory: &Path) -> Result<(), InstallError> {
    let contents =
        std::fs::read(from).map_err(|error| InstallError { path: from.to_owned(), error })?;
    put(&directory.join(PLUGIN), &contents, 0o755)
}

/// The network's configuration: our plugin, then `portmap` for host ports.
pub fn conflist(socket: &str, mtu: u32) -> serde_json::Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "aws-cni",
        "plugins": [
            {"name": "aws-cni", "type": PLUGIN, "socket": socket, "mtu": mtu},
            {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
        ],
    })
}

/// Writes the configuration; from then on the runtime calls the plugin.
pub fn config(directory: &Path, socket: &str, mtu: u32) -> Result<(), InstallError> {
    let text = format!("{:#}\n", conflist(socket, mtu));
    put(&directory.join(CONFIG), text.as_bytes(), 0o644)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_whole_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        std::fs::write(&source, b"binary").unwrap();
        let host = dir.path().join("host");
        std::fs::create_dir(&host).unwrap();
        for _ in 0..2 {
            plugin(&source, &host).unwrap();
            config(&host, "/s", 9001).unwrap();
        }
        let mut names: Vec<_> =
            std::fs::read_dir(&host).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [CONFIG, PLUGIN]);
        let mode = std::fs::metadata(host.join(PLUGIN)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        let written = std::fs::read(host.join(CONFIG)).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(value["plugins"][1]["type"], "portmap");
        hedgerow_cni::invocation::config(
            &serde_json::to_vec(&json!({
                "cniVersion": value["cniVersion"], "socket": value["plugins"][0]["socket"],
            }))
            .unwrap(),
        )
        .unwrap();
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = config(Path::new("/nonexistent"), "/s", 9001).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/10-aws.conflist"), "{error}");
    }
}
