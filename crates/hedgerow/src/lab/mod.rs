//! The lab: a real Kubernetes cluster in an embedded VPC, on this machine.
//!
//! ```text
//!   up ── preflight ── what the machine must bring
//!    │ ── iam          policies of the controller and the nodes
//!    │ ── ec2          VPC, subnets, cluster security group, instances (EC2 API of hedgerow-vpc)
//!    │ ── pki          certificates, kubeconfigs
//!    │ ── control_plane  etcd, API server, controller-manager, scheduler in an instance's network
//!    │ ── node ─► node_init   an instance with namespaces of its own: containerd, kubelet, kube-proxy
//!    │ ── relay        the API server on a loopback port of the machine
//!    │ ── eks          tells the VPC of the cluster; who may use the relay is decided there
//!    └ ── manifests, cluster   what is installed, and when it is ready
//!   down        by what state and process recorded; works on any half-made lab
//!   status, env, exec, logs    for users
//! ```
//!
//! Everything runs for real; what stands in for hardware is the embedded VPC and Linux namespaces.

pub mod cgroup;
pub mod cluster;
pub mod control_plane;
pub mod down;
pub mod ec2;
pub mod eks;
pub mod env;
pub mod exec;
pub mod iam;
pub mod logs;
pub mod manifests;
pub mod node;
pub mod node_init;
pub mod pki;
pub mod preflight;
pub mod process;
pub mod relay;
pub mod state;
pub mod status;
pub mod up;

/// Version of the Kubernetes binaries the lab runs; names their folder in the cache.
pub const KUBERNETES_VERSION: &str = "v1.34.4";
/// The lab's region.
pub const REGION: &str = "us-west-2";
/// Service addresses; the first is the API server's, [`DNS_ADDRESS`] is CoreDNS's. As EKS chooses
/// for a VPC in 10.0.0.0/8 it would be 172.20.0.0/16; 10.100.0.0/16 is its choice for all others
/// and does not overlap the lab's VPC.
pub const SERVICE_BLOCK: &str = "10.100.0.0/16";
/// Address of the `kubernetes` Service.
pub const KUBERNETES_SERVICE: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 100, 0, 1);
/// Address of the `kube-dns` Service.
pub const DNS_ADDRESS: &str = "10.100.0.10";
/// Where a VPC answers the EC2 API to its own instances.
pub const EC2_IN_VPC: &str = "http://169.254.169.250:4566";
/// Where the lab's VPC has its DNS, as DHCP tells instances: the block's base + 2.
pub const DNS_IN_VPC: &str = "10.0.0.2";
/// The public address of the API server: one that the Internet of `hedgerow-vpc` has.
pub const PUBLIC_ENDPOINT: std::net::Ipv4Addr = std::net::Ipv4Addr::new(203, 0, 113, 10);
