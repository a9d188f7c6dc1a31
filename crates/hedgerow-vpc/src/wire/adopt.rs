//! Taking up what the last process left on the machine, while packets go on.
//!
//! ```text
//!   effects of all records ─► what stands is taken up, what is missing is made
//!   go_live ─► what no record names is removed; the new program judges at every port
//! ```
//!
//! A near end whose link is pinned was whole: its far end was configured once and belongs to who is
//! in the instance, so it is left alone. One without a pin was being made, and is made anew. What a
//! crash left half done is therefore made whole or removed, wherever it happened: links are pinned
//! when all else of a port is ready, and what was not answered is not in the records.
//!
//! **Whoever makes another kind of namespace or port** takes it by [`Machine::take_namespace`] and
//! [`Machine::standing`], and names it in [`is_part`] and [`is_port`], [`Machine::parts`] and
//! [`Machine::ports`].

use std::collections::HashSet;

use hedgerow_datapath::sys::Netns;

use super::link::index_of;
use super::machine::Machine;
use super::{WireError, netns};

/// How much of the machine was there already.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) adopted: usize,
    pub(super) made: usize,
}

impl Tally {
    pub(super) fn count(&mut self, adopted: bool) {
        *if adopted { &mut self.adopted } else { &mut self.made } += 1;
    }
}

/// Whether a device in the fabric's namespace is one of those that this machine makes and knows.
fn is_port(device: &str) -> bool {
    let number = device.strip_prefix(['p', 's', 'n', 't']);
    device == "inet" || number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Whether a namespace is one of those that effects make.
fn is_part(part: &str) -> bool {
    part == "internet" || ["i-", "db-", "vpc-"].iter().any(|kind| part.starts_with(kind))
}

impl Machine {
    /// The namespace `full`, if it is there to be taken up, or a new one.
    pub(super) fn take_namespace(&mut self, full: &str, quiet: bool) -> Result<Netns, WireError> {
        if self.adopting
            && let Some(namespace) = netns::existing(full)?
        {
            self.tally.count(true);
            return Ok(namespace);
        }
        self.tally.count(false);
        netns::create(full, quiet)
    }

    /// The index of a veth's near end `device` that stands with its far end in the namespace `full`.
    /// Remains of it are removed.
    pub(super) async fn standing(
        &mut self,
        device: &str,
        full: &str,
    ) -> Result<Option<u32>, WireError> {
        if !self.adopting {
            return Ok(None);
        }
        let Ok(near) = index_of(device) else {
            self.tally.count(false);
            return Ok(None);
        };
        if self.fabric.was_attached(device)
            && let Some(far) = self.net.peer_of(near).await?
            && let Some(there) = netns::existing(full)?
        {
            let (net, _) = self.visit(&there, full, "lo")?;
            if net.peer_of(far).await? == Some(near) {
                self.tally.count(true);
                return Ok(Some(near));
            }
        }
        tracing::warn!(device, namespace = full, "the last process left it half made: made anew");
        self.tally.count(false);
        self.net.delete(near).await?;
        Ok(None)
    }

    /// All that the records name is put: it is what packets meet from now on, and all else goes.
    pub(super) async fn go_live(&mut self) -> Result<(), WireError> {
        if !std::mem::take(&mut self.adopting) {
            return Ok(());
        }
        self.remove_leftovers().await?;
        self.fabric.go_live()?;
        let Tally { adopted, made } = self.tally;
        if adopted > 0 {
            tracing::info!(adopted, made, "took up namespaces and ports of the last process");
        } else if made > 0 {
            tracing::info!(made, "made namespaces and ports of the records; nothing was there");
        }
        Ok(())
    }

    async fn remove_leftovers(&mut self) -> Result<(), WireError> {
        let ports: HashSet<u32> = self.ports().collect();
        for (index, device) in self.net.links().await? {
            if is_port(&device) && !ports.contains(&index) {
                tracing::info!(device, "removed a port that no record names");
                self.net.delete(index).await?;
            }
        }
        let parts: HashSet<String> = self.parts().map(str::to_owned).collect();
        let there = netns::parts(&self.name).map_err(|source| WireError::Machine {
            operation: "list namespaces of",
            object: self.name.clone(),
            source,
        })?;
        for part in there.into_iter().filter(|part| is_part(part) && !parts.contains(part)) {
            tracing::info!(namespace = part, "removed a namespace that no record names");
            netns::remove(&netns::full_name(&self.name, &part));
        }
        Ok(())
    }
}
