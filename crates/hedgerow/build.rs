//! Embeds what the lab applies to a new cluster: every YAML file of `deploy/` (Hedgerow itself, as
//! a user installs it) and of `lab/manifests/` (what only the lab needs).

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("set by cargo")).join("../..");
    let mut table = String::from("&[\n");
    for folder in ["deploy", "lab/manifests"] {
        let folder = root.join(folder);
        println!("cargo:rerun-if-changed={}", folder.display());
        for file in yaml_files(&folder) {
            println!("cargo:rerun-if-changed={}", file.display());
            let name = file.file_name().expect("a file has a name").to_string_lossy().into_owned();
            table += &format!("    ({name:?}, include_str!({:?})),\n", file.display().to_string());
        }
    }
    table += "]\n";
    let out = Path::new(&env::var("OUT_DIR").expect("set by cargo")).join("manifests.rs");
    fs::write(&out, table).expect("OUT_DIR is writable");
}

/// The folder's YAML files in name order, but for the one that only tells kubectl of the others;
/// none if the folder does not exist.
fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.path().canonicalize().ok())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .filter(|path| !path.ends_with("kustomization.yaml"))
        .collect();
    files.sort();
    files
}
