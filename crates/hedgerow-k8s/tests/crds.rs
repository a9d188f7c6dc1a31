//! The committed manifest is the one that the types give.

#[test]
fn the_committed_crds_are_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds.yaml");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == hedgerow_k8s::manifest::crds(),
        "run: cargo run -p hedgerow-k8s --example crds > deploy/crds.yaml"
    );
}
