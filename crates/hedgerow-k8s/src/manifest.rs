//! The CustomResourceDefinitions as YAML text.

use kube::CustomResourceExt;
use serde_json::Value;

use crate::{CNINode, ENIConfig, SecurityGroupPolicy};

const HEADER: &str = "\
# Generated from crates/hedgerow-k8s/src/resources.rs, do not edit:
#   cargo run -p hedgerow-k8s --example crds > deploy/crds.yaml
";

/// `deploy/crds.yaml`: the three definitions.
pub fn crds() -> String {
    let mut text = HEADER.to_owned();
    for crd in [SecurityGroupPolicy::crd(), CNINode::crd(), ENIConfig::crd()] {
        let value = serde_json::to_value(crd).expect("definitions are plain data");
        text.push_str("---\n");
        block(&value, 0, &mut text);
    }
    text
}

/// Writes a mapping or a sequence in block style; each line is indented by `depth` steps.
fn block(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                out.push_str(&format!("{indent}{}:", scalar(&Value::String(key.clone()))));
                nested(value, depth + 1, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                let mut text = String::new();
                block(item, depth + 1, &mut text);
                // The item's first line takes the dash in place of its last step of indentation.
                out.push_str(&format!("{indent}- {}", &text[indent.len() + 2..]));
            }
        }
        other => out.push_str(&format!("{indent}{}\n", scalar(other))),
    }
}

fn nested(value: &Value, depth: usize, out: &mut String) {
    let empty = value.as_object().is_some_and(|m| m.is_empty())
        || value.as_array().is_some_and(|a| a.is_empty());
    if (value.is_object() || value.is_array()) && !empty {
        out.push('\n');
        block(value, depth, out);
    } else {
        out.push_str(&format!(" {}\n", scalar(value)));
    }
}

/// JSON is YAML; plain words lose their quotes for the reader's sake.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether YAML reads the bare text back as this string: a letter first, no special characters,
/// and none of the words that mean something else.
fn is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-./_".contains(c))
        && !["true", "false", "yes", "no", "on", "off", "null", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str())
}
