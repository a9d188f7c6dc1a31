//! The actions as their clients see them, against the pure state machine: form bodies in, XML out,
//! effects beside. Each scenario also checks that a refused action changed nothing.

mod acls;
mod gateways;
mod groups;
mod instance_options;
mod instances;
mod interfaces;
mod ipv6;
mod model;
mod nat_gateways;
mod network;
mod prefix_lists;
mod protocol;
mod random_walk;
mod routes;
mod rules;
mod scenario;
mod services;
mod tags;
mod trunks;
