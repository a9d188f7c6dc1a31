//! The thread that owns the machine side: it lives in `hr.NAME.fabric` and carries out commands
//! one by one, reading the fabric's events between them.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::mpsc as sync;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use hedgerow_core::reason::Reason;
use hedgerow_core::sg::Direction;
use hedgerow_datapath::fabric::{Account, Event, Events};
use hedgerow_datapath::sys::{Netns, monotonic_ns};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{broadcast, mpsc};

use super::log::Log;
use super::machine::Machine;
use super::record::{FlowCount, FlowCounts, FlowRecord, Gate};
use super::{Command, Counters, Rehearsal, WireConfig, WireError, gateways, kept, netns};
use crate::effect::{Effect, InterfaceKey};

/// How often waiting drops are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Makes the fabric's namespace and the thread in it; returns when it is ready for commands.
pub(super) fn start(
    config: WireConfig,
    inbox: mpsc::UnboundedReceiver<Command>,
    records: broadcast::Sender<FlowRecord>,
) -> Result<JoinHandle<()>, WireError> {
    let WireConfig { name, records: kept } = config;
    let full = netns::full_name(&name, "fabric");
    let pins = kept.map(|kept| kept::take(&name, &kept)).transpose()?;
    let existing = if pins.is_some() { netns::existing(&full)? } else { None };
    let home = existing.map_or_else(|| netns::create(&full, true), Ok)?;
    let stays = pins.is_some();
    let (ready, started) = sync::channel();
    let thread = std::thread::Builder::new().name("hr-wire".to_owned());
    let spawned = thread
        .spawn(move || run(Start { name, home, pins }, inbox, records, &ready))
        .map_err(|source| WireError::Machine {
            operation: "start thread",
            object: "hr-wire".to_owned(),
            source,
        });
    let result = spawned.and_then(|worker| {
        // A worker that ended without a word has panicked; its message is on stderr.
        started.recv().unwrap_or(Err(WireError::Down)).map(|()| worker)
    });
    if result.is_err() && !stays {
        netns::remove(&full);
    }
    result
}

/// What the thread begins with.
struct Start {
    name: String,
    home: Netns,
    /// Where the machine outlives the process.
    pins: Option<PathBuf>,
}

fn run(
    start: Start,
    inbox: mpsc::UnboundedReceiver<Command>,
    records: broadcast::Sender<FlowRecord>,
    ready: &sync::Sender<Result<(), WireError>>,
) {
    let failed = |operation| {
        move |source| WireError::Machine { operation, object: "hr-wire".to_owned(), source }
    };
    let runtime =
        start.home.enter().map_err(failed("enter the fabric's namespace")).and_then(|()| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(failed("start runtime"))
        });
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _caller_gone = ready.send(Err(error));
            return;
        }
    };
    runtime.block_on(async {
        match Worker::new(start, records) {
            Ok(worker) => {
                let _caller_gone = ready.send(Ok(()));
                worker.serve(inbox).await;
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    });
}

struct Worker {
    machine: Machine,
    /// Whether the machine outlives the process.
    kept: bool,
    events: AsyncFd<Events>,
    log: Log,
    records: broadcast::Sender<FlowRecord>,
    /// Whether anybody ever wanted the records.
    listened: bool,
}

/// What the worker woke up for.
enum Wake {
    Command(Option<Command>),
    Events(io::Result<()>),
    Tick,
}

impl Worker {
    fn new(start: Start, records: broadcast::Sender<FlowRecord>) -> Result<Self, WireError> {
        let Start { name, home, pins } = start;
        let mut machine = Machine::new(name, home, pins.as_deref())?;
        let events = machine.fabric.take_events()?;
        // SAFETY: Events owns its descriptor and neither closes nor replaces it before its drop.
        let events = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) };
        let events = events.map_err(|error| WireError::Machine {
            operation: "watch ring buffer",
            object: "events".to_owned(),
            source: error.into(),
        })?;
        Ok(Self {
            machine,
            kept: pins.is_some(),
            events,
            log: Log::default(),
            records,
            listened: false,
        })
    }

    async fn serve(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let leave = loop {
            let waiting = !self.log.is_empty();
            let wake = tokio::select! {
                command = inbox.recv() => Wake::Command(command),
                ready = self.events.readable_mut() => {
                    Wake::Events(ready.map(|mut guard| guard.clear_ready()))
                }
                () = tokio::time::sleep(TICK), if waiting => Wake::Tick,
            };
            // Before a command: it may take away what the events refer to.
            self.read_events();
            self.send(|log| log.flush(SystemTime::now()));
            match wake {
                Wake::Command(None | Some(Command::Stop)) => break false,
                Wake::Command(Some(Command::Leave)) => break self.kept,
                Wake::Command(Some(command)) => self.obey(command).await,
                Wake::Events(Ok(())) | Wake::Tick => {}
                Wake::Events(Err(error)) => {
                    tracing::error!(%error, "the fabric's events can no longer be read");
                    tokio::time::sleep(TICK).await;
                }
            }
        };
        self.read_events();
        self.send(Log::flush_all);
        if leave {
            return;
        }
        let name = self.machine.name.clone();
        self.machine.teardown();
        if self.kept {
            kept::remove_all(&name);
        }
    }

    fn send(&mut self, take: impl FnOnce(&mut Log) -> Vec<FlowRecord>) {
        for record in take(&mut self.log) {
            // Nobody listens: fine.
            let _unheard = self.records.send(record);
        }
    }

    async fn obey(&mut self, command: Command) {
        // A caller that no longer waits does not matter.
        match command {
            Command::Apply(effects, reply) => drop(reply.send(self.apply(effects).await)),
            Command::Counters(reply) => drop(reply.send(self.counters())),
            Command::FlowCounts(reply) => drop(reply.send(self.flow_counts())),
            Command::ListenTcp(vpc, address, reply) => {
                let listen = || {
                    let listener = TcpListener::bind(address)?;
                    listener.set_nonblocking(true).map(|()| listener)
                };
                drop(reply.send(self.machine.in_services(vpc, "listen (TCP)", listen)));
            }
            Command::BindUdp(vpc, address, reply) => {
                let bind = || {
                    let socket = UdpSocket::bind(address)?;
                    socket.set_nonblocking(true).map(|()| socket)
                };
                drop(reply.send(self.machine.in_services(vpc, "bind (UDP)", bind)));
            }
            Command::Rehearse(port, frame, reply) => drop(reply.send(self.rehearse(port, &frame))),
            Command::Listen => {
                self.listened = true;
                self.machine.fabric.tell_accepted(true);
            }
            Command::FlushRecords(reply) => {
                self.send(Log::flush_all);
                drop(reply.send(Ok(())));
            }
            Command::GoLive(reply) => drop(reply.send(self.machine.go_live().await)),
            Command::Stop | Command::Leave => {}
        }
    }

    async fn apply(&mut self, effects: Vec<Effect>) -> Result<(), WireError> {
        for effect in effects {
            self.machine.apply(effect).await?;
        }
        Ok(())
    }

    fn counters(&self) -> Result<Counters, WireError> {
        let verdicts = self.machine.fabric.verdicts()?.into_iter().collect();
        Ok(Counters { verdicts, lost_records: self.machine.fabric.lost_events()? })
    }

    fn flow_counts(&mut self) -> Result<FlowCounts, WireError> {
        let accounts = self.machine.fabric.take_accounts()?;
        let (now, clock) = (SystemTime::now(), monotonic_ns());
        let count = |account: &Account| count(&self.machine, account, |at| then(now, clock, at));
        Ok(FlowCounts {
            counts: accounts.iter().map(count).collect(),
            missed: self.machine.fabric.unaccounted()?,
        })
    }

    /// Events that were there before are read already: what comes now is the frame's, or that of
    /// packets of the same instant.
    fn rehearse(
        &mut self,
        port: Option<InterfaceKey>,
        frame: &[u8],
    ) -> Result<Rehearsal, WireError> {
        self.machine.fabric.tell_accepted(true);
        let leaves = self.machine.rehearse(port, frame);
        self.machine.fabric.tell_accepted(self.listened);
        let leaves = leaves?;
        let mut records = Vec::new();
        for (event, at) in self.drain() {
            for &direction in Log::gates(&event) {
                records.push(describe(&self.machine, &event, direction, at));
            }
        }
        Ok(Rehearsal { leaves, records })
    }

    /// The events that wait, and when they were.
    fn drain(&mut self) -> Vec<(Event, SystemTime)> {
        let events = self.events.get_mut().drain();
        let (now, clock) = (SystemTime::now(), monotonic_ns());
        events.into_iter().map(|event| (event, then(now, clock, event.time))).collect()
    }

    fn read_events(&mut self) {
        for (event, at) in self.drain() {
            for &direction in Log::gates(&event) {
                let record = || describe(&self.machine, &event, direction, at);
                if event.reason == Reason::Allowed {
                    let _unheard = self.records.send(record());
                } else {
                    self.log.add_drop(&event, at, record);
                }
            }
        }
    }
}

/// When it was `at` by the monotonic clock, which now says `clock`.
fn then(now: SystemTime, clock: u64, at: u64) -> SystemTime {
    let age = Duration::from_nanos(clock.saturating_sub(at));
    now.checked_sub(age).unwrap_or(now)
}

/// An account in the words of the EC2 API.
fn count(machine: &Machine, account: &Account, at: impl Fn(u64) -> SystemTime) -> FlowCount {
    let id = |key: Option<u32>| machine.interface(key?).map(|(id, _)| id.to_owned());
    FlowCount {
        start: at(account.first),
        end: at(account.last),
        from: id(account.from),
        to: id(account.to),
        to_internet: account.to.is_some_and(gateways::is_gateway),
        source: account.source,
        destination: account.destination,
        source_port: account.source_port,
        destination_port: account.destination_port,
        protocol: account.protocol,
        packets: account.packets,
        bytes: account.bytes,
        tcp_flags: account.tcp_flags,
        reason: account.reason,
    }
}

/// An event in the words of the EC2 API, as the gate `direction` sees it.
fn describe(machine: &Machine, event: &Event, direction: Direction, at: SystemTime) -> FlowRecord {
    let (gate, other, consulted) = match direction {
        Direction::Egress => (event.from, event.to, event.egress),
        Direction::Ingress => (event.to, event.from, event.ingress),
    };
    let known = gate.and_then(|key| machine.interface(key));
    let (interface, groups) = match known {
        Some((id, groups)) => (Some(id.to_owned()), groups),
        None => (None, Vec::new()),
    };
    // Of a packet that was dropped later, the rule that let it out says nothing.
    let consulted = consulted.filter(|_| event.reason == Reason::Allowed);
    let rule = consulted.and_then(|consulted| {
        machine.fabric.rule(consulted.set, direction, consulted.rule?).cloned()
    });
    FlowRecord {
        start: at,
        end: at,
        vpc: machine.vpc_id(event.vpc).unwrap_or_default().to_owned(),
        gate: Gate { interface, direction, groups },
        other: other.and_then(|key| machine.interface(key)).map(|(id, _)| id.to_owned()),
        source: event.source,
        destination: event.destination,
        source_port: event.source_port,
        destination_port: event.destination_port,
        protocol: event.protocol,
        packets: 1,
        bytes: u64::from(event.bytes),
        reason: event.reason,
        rule,
    }
}
