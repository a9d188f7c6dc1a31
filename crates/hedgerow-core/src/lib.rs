//! The pure logic of Hedgerow: no I/O, no clock, no async, no Kubernetes client.
//!
//! ```text
//!   acl      ── network ACLs: the plain verdict function
//!   route    ── route tables: the plain lookup
//!   prefix   ── address prefixes of both families
//!   names    ── every wire name that EKS users and manifests rely on
//!   reason   ── why a packet was refused: one append-only list (C, metrics, flow logs, CLI)
//!   sg       ── security-group rules and the plain verdict function
//!   select   ── which SecurityGroupPolicies select a pod
//!   planner  ── which interfaces and addresses a node should have
//!   mac      ── MAC addresses as text
//!   limits   ── what an instance type can carry
//!   pool     ── VLAN ids and addresses, handed out and cooled down
//! ```
//!
//! Everything here is a function from values to values; the binaries carry the answers out.

pub mod acl;
pub mod limits;
pub mod mac;
pub mod names;
pub mod planner;
pub mod pool;
pub mod prefix;
pub mod reason;
pub mod route;
pub mod select;
pub mod sg;
