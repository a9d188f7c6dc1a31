//! What a shell needs to use the lab.

use std::fs;

use anyhow::{Context, Result};

use super::REGION;
use super::state::{LabName, State, cache_dir};

/// `export` lines for a POSIX shell.
pub fn exports(name: &LabName) -> Result<String> {
    let state = State::of(name)?;
    let dir = name.dir();
    let text = |path: std::path::PathBuf| path.display().to_string();
    let variables = [
        ("HEDGEROW_LAB", name.to_string()),
        ("KUBECONFIG", text(dir.kubeconfig())),
        ("AWS_ENDPOINT_URL", state.ec2_endpoint()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", "hedgerow".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "hedgerow".to_owned()),
        // Answers are printed, not paged.
        ("AWS_PAGER", String::new()),
        ("CLUSTER_NAME", name.to_string()),
        ("VPC_ID", state.vpc_id),
        ("CLUSTER_SECURITY_GROUP_ID", state.cluster_security_group_id),
        ("SUBNET_IDS", state.subnet_ids.join(" ")),
        ("FLOW_LOG", text(dir.flow_log())),
    ];
    let mut lines: String =
        variables.iter().map(|(key, value)| format!("export {key}={}\n", quote(value))).collect();
    let folders = [text(state.kubernetes_bin), text(cache_dir().join("aws/bin"))];
    lines += &format!("export PATH={}:\"$PATH\"\n", folders.map(|f| quote(&f)).join(":"));
    lines += "export NO_PROXY=127.0.0.1,localhost${NO_PROXY:+,$NO_PROXY}\n";
    Ok(lines)
}

/// The administrator's kubeconfig.
pub fn kubeconfig(name: &LabName) -> Result<String> {
    State::of(name)?;
    let path = name.dir().kubeconfig();
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// Quotes a word for a POSIX shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted() {
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), r"'it'\''s'");
    }
}
