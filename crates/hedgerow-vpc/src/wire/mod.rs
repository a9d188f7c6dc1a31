//! Carries out [`Effect`]s on this machine: namespaces, veth pairs, the fabric's eBPF maps.
//!
//! ```text
//!   Wire ──commands──► worker: one thread inside hr.NAME.fabric, owns everything below
//!                        ├─ gateways  the Internet, public addresses
//!                        ├─ netns   namespaces under /run/netns
//!                        ├─ link    veth pairs, addresses, routes (rtnetlink)
//!                        ├─ Fabric  eBPF program and maps (hedgerow-datapath)
//!                        └─ record  the ring buffer's verdicts as flow records
//! ```
//!
//! Without [`WireConfig::records`] nothing is pinned: when the process dies, the kernel drops
//! programs and maps with it, and [`sweep`] removes the namespaces, with which the veth pairs go. With
//! it, `kept` pins the fabric's links and flows, packets go on, and the next process takes everything
//! up (`adopt`).

mod adopt;
mod convert;
mod gateways;
mod kept;
mod link;
mod log;
mod machine;
mod netns;
mod record;
mod worker;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Mutex;
use std::thread::JoinHandle;

use hedgerow_core::reason::Reason;
use hedgerow_datapath::fabric::FabricError;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::effect::{Effect, InterfaceKey};
pub use kept::sweep;
pub use record::{Action, FlowCount, FlowCounts, FlowRecord, Gate};

/// What [`Wire::start`] needs to know.
#[derive(Debug, Clone)]
pub struct WireConfig {
    /// Name of the lab or VPC process; namespaces are called `hr.NAME.…`.
    pub name: String,
    /// Names the records that outlive the process, where they do: the machine then outlives it too,
    /// and a start with the same ones takes it up. [`Wire::go_live`] must follow.
    pub records: Option<String>,
}

/// What can go wrong on the machine.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A step on a namespace, link, address or route failed.
    #[error("{operation} {object}: {source}")]
    Machine {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The namespace exists already.
    #[error(
        "make network namespace {0}: it exists; another hedgerow-vpc of that name runs, or one was \
         killed and left it (then `hedgerow vpc sweep` or `hedgerow lab down` removes it)"
    )]
    NamespaceExists(String),
    /// The eBPF side refused.
    #[error(transparent)]
    Fabric(#[from] FabricError),
    /// An effect refers to something no earlier effect made.
    #[error("{effect}: no {what} with key or id '{key}' on the wire")]
    Unknown {
        /// The effect's name.
        effect: &'static str,
        /// What kind of thing is missing.
        what: &'static str,
        /// Its key or id.
        key: String,
    },
    /// The worker thread is gone: [`Wire::shutdown`] was called, or it panicked.
    #[error("the wire of this VPC is shut down")]
    Down,
}

/// Packet counts since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Verdicts by reason; [`Reason::Allowed`] counts packets let through.
    pub verdicts: BTreeMap<Reason, u64>,
    /// Verdicts of which no flow record could be sent, the ring buffer being full.
    pub lost_records: u64,
}

impl Counters {
    /// Packets with this verdict.
    pub fn of(&self, reason: Reason) -> u64 {
        self.verdicts.get(&reason).copied().unwrap_or(0)
    }
}

/// What the program does with one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// The frame as it leaves, without its tag; `None`: it is dropped.
    pub leaves: Option<Vec<u8>>,
    /// What would be recorded of it; nothing of a packet that passes in a tracked flow.
    pub records: Vec<FlowRecord>,
}

/// One thing asked of the worker.
enum Command {
    Apply(Vec<Effect>, oneshot::Sender<Result<(), WireError>>),
    Counters(oneshot::Sender<Result<Counters, WireError>>),
    FlowCounts(oneshot::Sender<Result<FlowCounts, WireError>>),
    ListenTcp(u32, SocketAddr, oneshot::Sender<Result<TcpListener, WireError>>),
    BindUdp(u32, SocketAddr, oneshot::Sender<Result<UdpSocket, WireError>>),
    Rehearse(Option<InterfaceKey>, Vec<u8>, oneshot::Sender<Result<Rehearsal, WireError>>),
    /// Somebody reads flow records.
    Listen,
    FlushRecords(oneshot::Sender<Result<(), WireError>>),
    GoLive(oneshot::Sender<Result<(), WireError>>),
    Stop,
    Leave,
}

/// The machine side of an embedded VPC. Cheap calls into one worker thread; `&self` everywhere.
/// Dropping it is [`Wire::shutdown`].
#[derive(Debug)]
pub struct Wire {
    commands: mpsc::UnboundedSender<Command>,
    records: broadcast::Sender<FlowRecord>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Wire {
    /// How many flow records a slow reader may fall behind before it loses some.
    const RECORDS: usize = 65_536;

    /// Makes namespace `hr.NAME.fabric`, loads the eBPF program and starts the worker. Blocks for
    /// about 50 ms; needs root and Linux 6.6 (tcx).
    pub fn start(config: WireConfig) -> Result<Wire, WireError> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (records, _) = broadcast::channel(Self::RECORDS);
        let worker = worker::start(config, inbox, records.clone())?;
        Ok(Wire { commands, records, worker: Mutex::new(Some(worker)) })
    }

    /// Carries out `effects` in order and returns when the next packet is judged by them. Every
    /// Put is idempotent, every Remove of something absent succeeds. On an error the effects
    /// before the failing one stand and later ones were not tried; an interface that could not be
    /// put stays as it was, a group whose rules could not be put lets nothing pass. Putting it
    /// again is safe.
    pub async fn apply(&self, effects: &[Effect]) -> Result<(), WireError> {
        let effects = effects.to_vec();
        self.ask(|reply| Command::Apply(effects, reply)).await
    }

    /// Packet counts by reason.
    pub async fn counters(&self) -> Result<Counters, WireError> {
        self.ask(Command::Counters).await
    }

    /// What interfaces with a flow log sent and received, flow by flow, up to the call before: each
    /// packet is told once, by the second call after it at the latest.
    pub async fn flow_counts(&self) -> Result<FlowCounts, WireError> {
        self.ask(Command::FlowCounts).await
    }

    /// A socket that listens inside the service namespace of the VPC with that
    /// [`key`](crate::effect::VpcView::key), for example on `169.254.169.254:80`. It is
    /// non-blocking, as `tokio::net::TcpListener::from_std` asks. The peer address of a connection
    /// is the asking interface's private address.
    pub async fn listen_tcp(
        &self,
        vpc: u32,
        address: SocketAddr,
    ) -> Result<TcpListener, WireError> {
        self.ask(|reply| Command::ListenTcp(vpc, address, reply)).await
    }

    /// A non-blocking UDP socket bound inside the VPC's service namespace, as for DNS.
    pub async fn bind_udp(&self, vpc: u32, address: SocketAddr) -> Result<UdpSocket, WireError> {
        self.ask(|reply| Command::BindUdp(vpc, address, reply)).await
    }

    /// Shows the program a frame as if it had come from the port at which interface `port` is
    /// plugged in, or from the Internet where it is `None`, without sending it (`BPF_PROG_TEST_RUN`). Flows that it starts are tracked and
    /// packets are counted, as with any frame; its records are in the answer and not among
    /// [`Self::flow_records`].
    pub async fn rehearse(
        &self,
        port: Option<InterfaceKey>,
        frame: &[u8],
    ) -> Result<Rehearsal, WireError> {
        let frame = frame.to_vec();
        self.ask(|reply| Command::Rehearse(port, frame, reply)).await
    }

    /// Sends the records of all drops so far, also of those whose second is not over.
    pub async fn flush_records(&self) -> Result<(), WireError> {
        self.ask(Command::FlushRecords).await
    }

    /// Verdicts from now on: one record per dropped packet (equal drops within a second are one
    /// record with a packet count, sent at the end of that second), and for each accepted new flow
    /// one at the sender's interface and one at the receiver's.
    ///
    /// Accepted flows are told from the first call on.
    pub fn flow_records(&self) -> broadcast::Receiver<FlowRecord> {
        let records = self.records.subscribe();
        // Without a worker nothing is accepted.
        let _stopped = self.commands.send(Command::Listen);
        records
    }

    /// Everything that the records name was applied: what an earlier process left is now judged by
    /// this one, and what they do not name is removed. Does nothing without
    /// [`WireConfig::records`].
    pub async fn go_live(&self) -> Result<(), WireError> {
        self.ask(Command::GoLive).await
    }

    /// Removes every namespace and link, and ends the worker thread. Blocks; safe to call twice.
    pub fn shutdown(&self) {
        self.end(Command::Stop);
    }

    /// Ends the worker thread and leaves the machine to the next process, if it outlives this one
    /// ([`WireConfig::records`]); otherwise as [`Wire::shutdown`].
    pub fn leave(&self) {
        self.end(Command::Leave);
    }

    fn end(&self, command: Command) {
        let _gone = self.commands.send(command);
        let worker = self.worker.lock().unwrap_or_else(|poison| poison.into_inner()).take();
        if let Some(Err(_)) = worker.map(JoinHandle::join) {
            tracing::error!("the wire's worker panicked; run the sweep to remove its namespaces");
        }
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, WireError>>) -> Command,
    ) -> Result<T, WireError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_| WireError::Down)?;
        answer.await.map_err(|_| WireError::Down)?
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shutdown();
    }
}
