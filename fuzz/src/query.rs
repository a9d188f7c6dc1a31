//! Form bodies: read the same way twice, answered by well-formed XML or a refusal that EC2 knows.

use std::sync::OnceLock;

use hedgerow_vpc::api::answer;
use hedgerow_vpc::query::params::Node;
use hedgerow_vpc::state::State;

use crate::vpc::{NOW, REGION, records};

static STATE: OnceLock<State> = OnceLock::new();

/// The parameters of a tree, with their whole names.
fn flatten(node: &Node, name: &str, into: &mut Vec<(String, String)>) {
    if let Some(value) = &node.value {
        into.push((name.to_owned(), value.clone()));
    }
    for (part, child) in &node.children {
        let name = if name.is_empty() { part.clone() } else { format!("{name}.{part}") };
        flatten(child, &name, into);
    }
}

pub fn run(bytes: &[u8]) {
    let Ok(node) = Node::parse(bytes) else { return };
    let mut parameters = Vec::new();
    flatten(&node, "", &mut parameters);
    // A first part without a name cannot be told from none.
    if !node.children.contains_key("") {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(&parameters);
        assert_eq!(Node::parse(body.finish().as_bytes()), Ok(node), "read again");
    }
    let before = STATE.get_or_init(|| records("10.0.0.0/16", "10.0.0.10").state);
    let mut state = before.clone();
    let outcome = answer(&mut state, REGION, bytes, NOW);
    match outcome.result {
        Ok(xml) => {
            let document = format!("<answer>{xml}</answer>");
            if let Err(error) = roxmltree::Document::parse(&document) {
                panic!("{error} in {document}");
            }
        }
        Err(error) => {
            assert_ne!(error.code, "InternalError", "{error}");
            assert!(state == *before, "refused with {error}, and the records changed");
        }
    }
}
