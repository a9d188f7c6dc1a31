//! Taking up what the last process left on the machine, while packets go on.
//!
//! ```text
//!   effects of all records ─► what stands is taken up, what is missing is made
//!   go_live ─► what no record names is removed; the new program judges at every port
//! ```
//!
//! A near end whose link is pinned was whole: its far end was configured once and belongs to who is
//! in the instance, who may have moved it on, so it is left alone. One without a pin was being made,
//! and is made anew; so is everything of a namespace that is made anew, of which `PINS/anew` keeps a
//! mark until all is whole. What a crash left half done is therefore made whole or removed, wherever
//! it happened: links are pinned when all else of a port is ready, and what was not answered is not
//! in the records.
//!
//! **Whoever makes another kind of namespace or port** takes it by [`Machine::take_namespace`] and
//! [`Machine::standing`], and names it in [`is_part`] and [`is_port`], [`Machine::parts`] and
//! [`Machine::ports`].

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use hedgerow_datapath::sys::Netns;

use super::link::index_of;
use super::machine::Machine;
use super::{WireError, netns};

/// How far a start is with it.
#[derive(Debug)]
pub(super) struct Adoption {
    /// Has an entry for each namespace that is being made anew.
    anew: PathBuf,
    adopted: usize,
    made: usize,
}

impl Adoption {
    pub(super) fn new(pins: &Path) -> Self {
        Self { anew: pins.join("anew"), adopted: 0, made: 0 }
    }

    /// What has been made anew, or was being made when the last process ended.
    fn mark(&self, full: &str) -> PathBuf {
        // bpffs has no names with dots.
        self.anew.join(full.rsplit('.').next().unwrap_or(full))
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
        let Some(adoption) = &mut self.adopting else { return netns::create(full, quiet) };
        if let Some(namespace) = netns::existing(full)? {
            adoption.adopted += 1;
            return Ok(namespace);
        }
        adoption.made += 1;
        let mark = adoption.mark(full);
        fs::create_dir_all(&mark).map_err(|source| WireError::Machine {
            operation: "make directory",
            object: mark.display().to_string(),
            source,
        })?;
        netns::create(full, quiet)
    }

    /// The index of a veth's near end `device` that stands, whose far end was put into the namespace
    /// `full`. Remains of one are removed.
    pub(super) async fn standing(
        &mut self,
        device: &str,
        full: &str,
    ) -> Result<Option<u32>, WireError> {
        let Some(adoption) = &mut self.adopting else { return Ok(None) };
        let near = index_of(device).ok();
        let whole = self.fabric.was_attached(device) && !adoption.mark(full).exists();
        if near.is_some() && whole {
            adoption.adopted += 1;
            return Ok(near);
        }
        adoption.made += 1;
        if let Some(near) = near {
            tracing::warn!(device, namespace = full, "left half made: made anew");
            self.net.delete(near).await?;
        }
        // Before the new device is there: the pin would call it whole.
        self.fabric.forget_link(device)?;
        Ok(None)
    }

    /// All that the records name is put: it is what packets meet from now on, and all else goes.
    pub(super) async fn go_live(&mut self) -> Result<(), WireError> {
        let Some(Adoption { anew, adopted, made }) = self.adopting.take() else { return Ok(()) };
        tracing::debug!("all that the records name is put: going live");
        self.remove_leftovers().await?;
        self.fabric.go_live()?;
        match fs::remove_dir_all(&anew) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                let (operation, object) = ("remove directory", anew.display().to_string());
                return Err(WireError::Machine { operation, object, source });
            }
            _ => {}
        }
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
