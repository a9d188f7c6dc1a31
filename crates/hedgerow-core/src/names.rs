//! Wire names: resources, labels, annotations, event reasons, tags.
//!
//! These are contracts with manifests and tools written for Amazon EKS; they never change.

/// Extended resource on nodes and pods: branch interfaces. Also the pod annotation's key.
pub const POD_ENI: &str = "vpc.amazonaws.com/pod-eni";
/// Node label: `true` once the trunk is attached, `false` where the node supports one and has none yet.
pub const HAS_TRUNK: &str = "vpc.amazonaws.com/has-trunk-attached";
/// Node label: the node's ENIConfig name, written by the agent for the controller.
pub const ENI_CONFIG_LABEL: &str = "vpc.amazonaws.com/eniConfig";
/// Pod annotation on Fargate pods: comma-joined group ids.
pub const FARGATE_POD_SG: &str = "fargate.amazonaws.com/pod-sg";
/// Pod label that marks a Fargate pod.
pub const FARGATE_PROFILE: &str = "eks.amazonaws.com/fargate-profile";
/// Node label whose value `auto` means: leave the node alone.
pub const COMPUTE_TYPE: &str = "eks.amazonaws.com/compute-type";
/// Namespace label set by the controller where a SecurityGroupPolicy exists; the webhook's
/// fail-closed configuration selects it. Value [`ENFORCED`].
pub const NAMESPACE_LABEL: &str = "hedgerow.dev/pod-security-groups";
/// Value of [`NAMESPACE_LABEL`].
pub const ENFORCED: &str = "enforced";
/// CNINode feature: the node asks for a trunk.
pub const FEATURE_POD_SECURITY_GROUPS: &str = "SecurityGroupsForPods";
/// CNINode feature: value is an ENIConfig name.
pub const FEATURE_CUSTOM_NETWORKING: &str = "CustomNetworking";
/// CNINode finalizer.
pub const CNINODE_FINALIZER: &str = "networking.k8s.aws/resource-cleanup";

/// Description of a trunk interface.
pub const TRUNK_DESCRIPTION: &str = "aws-k8s-trunk-eni";
/// Description of a branch interface.
pub const BRANCH_DESCRIPTION: &str = "aws-k8s-branch-eni";
/// Tag key on trunks and branches: who made it. Value [`TAG_OWNER_VALUE`].
pub const TAG_OWNER: &str = "eks:eni:owner";
/// Value of [`TAG_OWNER`].
pub const TAG_OWNER_VALUE: &str = "eks-vpc-resource-controller";
/// Tag key: the instance an interface belongs to.
pub const TAG_INSTANCE: &str = "node.k8s.amazonaws.com/instance_id";
/// Tag key on branches: the VLAN id.
pub const TAG_VLAN: &str = "vpcresources.k8s.aws/vlan-id";
/// Tag key on branches: the trunk's interface id.
pub const TAG_TRUNK: &str = "vpcresources.k8s.aws/trunk-eni-id";
/// Highest VLAN id of a trunk; ids start at 1.
pub const MAX_VLAN: u16 = 120;
/// ConfigMap in `kube-system` that holds the operator's settings.
pub const SETTINGS_CONFIGMAP: &str = "amazon-vpc-cni";
/// Key in [`SETTINGS_CONFIGMAP`]: seconds a branch interface rests before it is released.
pub const COOLDOWN_KEY: &str = "branch-eni-cooldown";

/// Host side of a regular pod's veth pair: this prefix and eleven hex digits.
pub const VETH_PREFIX: &str = "eni";
/// Host side of a branch pod's veth pair: this prefix and eleven hex digits.
pub const BRANCH_VETH_PREFIX: &str = "vlan";
/// IPv4 address of the instance metadata service.
pub const IMDS_V4: std::net::Ipv4Addr = std::net::Ipv4Addr::new(169, 254, 169, 254);

/// Tag key that marks an interface as belonging to a cluster.
pub fn cluster_tag(cluster: &str) -> String {
    format!("kubernetes.io/cluster/{cluster}")
}
