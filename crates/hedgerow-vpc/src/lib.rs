//! The embedded VPC: EC2's API, its state, the packets behind it, instance metadata.
//!
//! ```text
//!   aws cli · SDKs ──► server ──► api ──► state ──► answer
//!   instances ───────► (http,    (table)  (pure)──► effects ──► wire ──► namespaces, veth, eBPF
//!                       imds)    query: form bodies to structs, structs to XML
//! ```
//!
//! Beside these: `journal` (what was answered survives `kill -9`), `iam` (policies bound to access
//! keys), `weather` (delays, throttling, failures on purpose), `dns` (names inside a VPC), `rds` (the
//! servers behind databases), `settings` (what the admin set survives, too).
//!
//! What the API says about a security group is what happens to a packet: an answer is sent after
//! its [`effect`]s were carried out.

pub mod api;
pub mod dns;
pub mod effect;
pub mod iam;
pub mod journal;
pub mod query;
pub mod rds;
pub mod server;
pub mod settings;
pub mod state;
pub mod weather;
mod wildcard;
pub mod wire;
