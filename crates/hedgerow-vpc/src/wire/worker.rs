//! The worker thread.
use std::thread::JoinHandle;

use tokio::sync::{broadcast, mpsc};

use super::{Command, FlowRecord, WireError, netns};

pub(super) fn start(
    name: String,
    mut inbox: mpsc::UnboundedReceiver<Command>,
    _records: broadcast::Sender<FlowRecord>,
) -> Result<JoinHandle<()>, WireError> {
    let full = netns::full_name(&name, "fabric");
    let _fabric = netns::create(&full, true)?;
    Ok(std::thread::spawn(move || {
        while let Some(command) = inbox.blocking_recv() {
            match command {
                Command::Apply(_, reply) => drop(reply.send(Ok(()))),
                Command::Counters(reply) => drop(reply.send(Err(WireError::Down))),
                Command::ListenTcp(_, _, reply) => drop(reply.send(Err(WireError::Down))),
                Command::BindUdp(_, _, reply) => drop(reply.send(Err(WireError::Down))),
                Command::Stop => break,
            }
        }
        netns::remove(&full);
    }))
}
