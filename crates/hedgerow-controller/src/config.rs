//! Flags and environment.

use clap::Parser;

/// Gives pods their security groups: trunks, branches, admission. EC2's endpoint, region and
/// credentials come from the usual AWS environment.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Args {
    /// Cluster name, for the tag kubernetes.io/cluster/NAME=owned on every interface made.
    #[arg(long, env = "CLUSTER_NAME", default_value = "hedgerow")]
    pub cluster: String,
    /// Namespace of the controller, its Service, its Secret and the settings ConfigMap.
    #[arg(long, env = "POD_NAMESPACE", default_value = "kube-system")]
    pub namespace: String,
    /// Service (and Secret) by which the API server reaches the webhook.
    #[arg(long, env = "WEBHOOK_SERVICE", default_value = "hedgerow-webhook")]
    pub service: String,
    /// Port of the webhook (TLS).
    #[arg(long, env = "WEBHOOK_PORT", default_value_t = 9443)]
    pub webhook_port: u16,
    /// Port of /metrics, /healthz and /readyz.
    #[arg(long, env = "METRICS_PORT", default_value_t = 61681)]
    pub metrics_port: u16,
    /// Seconds a branch rests before it is deleted, where the ConfigMap amazon-vpc-cni says
    /// nothing; at least 30.
    #[arg(long, env = "BRANCH_ENI_COOLDOWN", default_value_t = 60)]
    pub cooldown: u64,
    /// Seconds between two looks for leaked interfaces; one is deleted at its second sighting.
    #[arg(long, env = "SWEEP_SECONDS", default_value_t = 300)]
    pub sweep: u64,
    /// Account that is given permission to attach each new branch (EKS's own set-up has its trunk
    /// calls made by another account; here there is usually none).
    #[arg(long, env = "BRANCH_PERMISSION_ACCOUNT")]
    pub permission_account: Option<String>,
}
