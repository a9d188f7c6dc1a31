//! The CNI plugin: the protocol a container runtime speaks, and the messages to the node agent.
//!
//! ```text
//!   runtime ── CNI_* + stdin ──► invocation ──► message (unix socket) ──► hedgerow-agent
//!           ◄── stdout + exit ── answer     ◄── message
//! ```
//!
//! The plugin decides nothing about networking: it checks what the runtime said, asks the agent,
//! and answers in the version of the specification that the configuration asks for.
//!
//! **DEL without an agent succeeds.** A pod must be able to end while the agent restarts or after
//! it was uninstalled. Nothing is lost: the runtime removes the sandbox and with it the veth pair,
//! the address cannot be given away while the agent is down, and the agent releases what has no
//! veth any more when it starts. An agent that *answers* with an error makes DEL fail, and the
//! runtime tries again.

pub mod answer;
pub mod invocation;
pub mod message;
pub mod plugin;

/// Where the agent listens unless the configuration's key `socket` says otherwise.
pub const DEFAULT_SOCKET: &str = "/var/run/aws-node/hedgerow.sock";
