//! The node agent: interfaces, addresses, datapath, and the socket for the CNI plugin.
//!
//! ```text
//!   hedgerow-cni ──socket──► service ──► decide (pod, policies) ◄── cluster (watches)
//!                               │
//!                               ▼
//!   EC2 ◄── interfaces ──► node: ipam (addresses, sandboxes, checkpoint)
//!            (planner)            pod_net (veth, routes) ── netlink, sysctl
//!                                 arp (routers' MACs)
//!                                 datapath (eBPF)
//! ```
//!
//! `node` and everything below it blocks and knows neither Kubernetes nor EC2; everything above is
//! async and touches the kernel only through `node`.
//!
//! While `ENABLE_POD_ENI` is false on a node, SecurityGroupPolicies do not apply there, as on EKS.
//! A pod that asks for a branch interface gets that or nothing, whatever the setting.

pub mod arp;
pub mod cluster;
pub mod decide;
pub mod feature;
pub mod imds;
pub mod install;
pub mod interfaces;
pub mod ipam;
pub mod metrics;
pub mod netlink;
pub mod node;
pub mod pod_net;
pub mod run;
pub mod service;
pub mod settings;
pub mod socket;
pub mod sysctl;
