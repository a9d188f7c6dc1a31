//! The process around the state machine: HTTP, metadata, metrics, the flow log.
//!
//! ```text
//!   127.0.0.1:4566 ─┐                 ┌─► state (one lock, microseconds)
//!   VPC .250:4566  ─┼─► http ─► ec2 ──┤
//!   VPC .254:80    ─┘       └► imds   └─► wire (effects queued under the lock, awaited outside)
//! ```

mod admin;
mod climate;
mod credential;
mod eks;
mod flow_log;
mod flow_log_files;
mod flow_log_sums;
mod http;
mod imds;
mod metadata;
mod metrics;
mod rds;
mod seats;
mod services;
mod tokens;
mod transaction;
mod zones;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::api::{self, Outcome, error::Ec2Error};
use crate::dns::Forwarder;
use crate::effect::{Effect, VpcView};
use crate::journal::mirror::Mirror;
use crate::journal::{Journal, Opened};
use crate::rds::Databases;
use crate::settings::Store;
use crate::state::State;
use crate::state::principal::Credentials;
use crate::state::time::Timestamp;
use crate::weather::Fate;
use crate::wire::Wire;
use climate::{Call, Caller, Climate, Reply};
pub use http::listen;
pub(crate) use http::{Open, Place};
use metrics::Metrics;
pub(crate) use seats::{Seat, Seats};

/// Where instances find the EC2 API inside their VPC.
const API_IN_VPC: SocketAddr = address([169, 254, 169, 250], 4566);
/// Where instances find their metadata.
const METADATA: SocketAddr = address([169, 254, 169, 254], 80);
/// The same in IPv6.
const METADATA_IPV6: SocketAddr =
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), 80);

const fn address(octets: [u8; 4], port: u16) -> SocketAddr {
    let [a, b, c, d] = octets;
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port)
}

/// The running embedded VPC. Cheap to clone through its `Arc`.
pub struct Server {
    state: Mutex<State>,
    /// Absent in records-only mode.
    wire: Option<Wire>,
    metrics: Metrics,
    climate: Climate,
    tokens: tokens::Tokens,
    /// Whom the DNS of the VPCs asks for names that it does not know; nobody if never set.
    forwarder: OnceLock<Forwarder>,
    /// Listeners inside each VPC, by its key.
    listeners: Mutex<BTreeMap<u32, Vec<AbortHandle>>>,
    requests: AtomicU64,
    /// Writes the flow logs of the API; set by [`Server::write_flow_logs`].
    flow_logs: OnceLock<flow_log_files::Files>,
    /// Servers of databases; set by [`Server::run_databases`].
    databases: OnceLock<Databases>,
    /// Absent where records go with the process.
    journal: Option<Journal>,
    /// Where what the admin sets is kept; nowhere if never set.
    settings: OnceLock<Arc<Store>>,
    /// Held by who changes what the admin set.
    admin: tokio::sync::Mutex<()>,
    /// What the wire was asked to be; empty without one.
    mirror: Mutex<Mirror>,
    /// Taken by changes while there is a wire.
    turn: tokio::sync::Mutex<()>,
    /// The latest instant, seconds since 1970.
    clock: AtomicU64,
}

/// An answer to an API request.
struct Answer {
    status: u16,
    request: String,
    body: String,
}

impl Server {
    /// A server on `state`; without a wire it keeps records only.
    pub fn new(state: State, wire: Option<Wire>) -> Arc<Self> {
        Arc::new(Self::with(state, wire))
    }

    /// A server on what a journal held, which keeps it up. With a wire, [`Self::rebuild`] comes
    /// before the first request.
    pub fn with_journal(opened: Opened, wire: Option<Wire>) -> Arc<Self> {
        let Opened { journal, mut state, mirror, instant } = opened;
        state.record();
        let mut server = Self::with(state, wire);
        server.journal = Some(journal);
        server.mirror = Mutex::new(mirror);
        server.clock = AtomicU64::new(instant);
        Arc::new(server)
    }

    fn with(state: State, wire: Option<Wire>) -> Self {
        Self {
            state: Mutex::new(state),
            wire,
            metrics: Metrics::new(),
            climate: Climate::new(),
            tokens: tokens::Tokens::default(),
            forwarder: OnceLock::new(),
            listeners: Mutex::default(),
            requests: AtomicU64::new(0),
            flow_logs: OnceLock::new(),
            databases: OnceLock::new(),
            journal: None,
            settings: OnceLock::new(),
            admin: tokio::sync::Mutex::default(),
            mirror: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            clock: AtomicU64::new(0),
        }
    }

    /// Serves the API, `/metrics` and `/healthz` on `listener` until the task is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        self.settle_later();
        http::serve(listener, http::api_routes(self), http::UNLIMITED).await;
    }

    /// Serves the metadata of the VPC with this key on `listener` until the task is dropped. Who asks
    /// is told by the address that a connection comes from.
    pub async fn serve_metadata(self: Arc<Self>, vpc: u32, listener: TcpListener) {
        http::serve(listener, imds::routes(self, vpc), http::MAX_PER_INSTANCE).await;
    }

    /// Leaves a snapshot, stops the listeners in VPCs and takes the machine side down. Blocks for
    /// it.
    pub fn shutdown(&self) {
        self.close();
        self.end_databases(false);
        if let Some(wire) = &self.wire {
            wire.shutdown();
        }
    }

    /// As [`Self::shutdown`], but the machine side is left to the next process, packets and
    /// databases included, where it outlives this one.
    pub fn leave(&self) {
        self.close();
        self.end_databases(true);
        if let Some(wire) = &self.wire {
            wire.leave();
        }
    }

    fn close(&self) {
        if let Some(files) = self.flow_logs.get() {
            files.finish();
        }
        self.close_journal();
        for (_, tasks) in std::mem::take(&mut *lock(&self.listeners)) {
            tasks.iter().for_each(AbortHandle::abort);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Answers one request of the query protocol. Not to be dropped half-way: see [`Self::ask`].
    async fn answer(self: Arc<Self>, caller: Caller, body: Bytes, fate: &Fate) -> Answer {
        let Caller { region, credentials } = caller;
        let reads = api::asked(&body).is_some_and(api::Action::only_reads);
        let changes = !reads || self.state().region(&region).is_none();
        let done = self.transact(changes, |state, now| {
            let call = Call { region: &region, credentials: &credentials, body: &body };
            let mut outcome = self.climate.decide(state, &call, now, fate);
            let effects = std::mem::take(&mut outcome.effects);
            (outcome, effects)
        });
        let (outcome, failed) = match done.await {
            Ok(outcome) => (outcome, None),
            Err((outcome, error)) => (outcome, Some(error)),
        };
        let Outcome { action, api, mut result, remembered, .. } = outcome;
        if let Some(error) = failed {
            tracing::error!(action, error, "taken back");
            result = Err(Ec2Error::new("InternalError", error));
            if let Some((action, token)) = remembered {
                self.state().forget(&region, action, token);
            }
            self.climate.taken_back(&self.state());
        }
        let request = self.request_id();
        self.metrics.count_principal(&action, credentials.key.as_deref());
        self.metrics.count(&action, fate.heard(&result));
        match result {
            Ok(fields) => {
                Answer { status: 200, body: api.answer(&action, &fields, &request), request }
            }
            Err(error) => {
                tracing::debug!(action, region, %error, "refused");
                Answer { status: error.status(), body: api.error(&error, &request), request }
            }
        }
    }

    /// Answers in a task of its own, so that a client that goes away leaves nothing half done.
    async fn ask(self: &Arc<Self>, region: &str, body: Bytes) -> Option<Answer> {
        let caller = Caller { region: region.to_owned(), credentials: Credentials::default() };
        match self.ask_as(caller, body).await {
            Reply::Answer(answer) => Some(answer),
            Reply::Lost | Reply::Failed => None,
        }
    }

    /// Carries effects out and opens or closes the services of VPCs that came or went.
    async fn carry_out(self: Arc<Self>, effects: &[Effect]) -> Result<(), String> {
        let Some(wire) = self.wire.as_ref().filter(|_| !effects.is_empty()) else {
            return Ok(());
        };
        for effect in effects {
            if let Effect::RemoveVpc(key) = effect {
                let tasks = lock(&self.listeners).remove(key).unwrap_or_default();
                tasks.iter().for_each(AbortHandle::abort);
            }
        }
        let stopped = self.stop_databases(effects);
        wire.apply(effects).await.map_err(|error| error.to_string())?;
        for effect in effects {
            if let Effect::PutVpc(vpc) = effect {
                self.open_services(wire, vpc).await?;
            }
        }
        self.start_databases(effects);
        stopped.await;
        Ok(())
    }

    async fn open_services(self: &Arc<Self>, wire: &Wire, view: &VpcView) -> Result<(), String> {
        let vpc = view.key;
        if lock(&self.listeners).contains_key(&vpc) {
            return Ok(());
        }
        let mut tasks = self.open_dns(wire, view).await?;
        for (address, routes) in [
            (API_IN_VPC, http::api_routes(Arc::clone(self))),
            (METADATA, imds::routes(Arc::clone(self), vpc)),
            (METADATA_IPV6, imds::routes(Arc::clone(self), vpc)),
        ] {
            let socket = wire.listen_tcp(vpc, address).await.map_err(|error| error.to_string())?;
            let listener = TcpListener::from_std(socket)
                .map_err(|error| format!("listen on {address} in VPC {vpc}: {error}"))?;
            tasks.push(
                tokio::spawn(http::serve(listener, routes, http::MAX_PER_INSTANCE)).abort_handle(),
            );
        }
        lock(&self.listeners).insert(vpc, tasks);
        Ok(())
    }

    /// An id for the request, in the form of a UUID.
    fn request_id(&self) -> String {
        let count = self.requests.fetch_add(1, Ordering::Relaxed);
        format!("{:08x}-0000-4000-8000-{count:012x}", std::process::id())
    }
}

fn now() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(elapsed.as_secs())
}

/// Locks even after a panic elsewhere: handlers check first and change after, so the data is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
