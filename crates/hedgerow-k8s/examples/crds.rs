//! Prints `deploy/crds.yaml`.

fn main() {
    print!("{}", hedgerow_k8s::manifest::crds());
}
