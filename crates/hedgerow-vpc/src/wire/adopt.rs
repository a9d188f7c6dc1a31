//! Taking up what the last process left on the machine, while packets go on.
//!
//! ```text
//!   effects of all records ─► what stands is taken up, what is missing is made
//!   go_live ─► what no record names is removed; the new program judges at every port
//! ```
//!
//! A near end whose link is pinned was whole: its far end was configured once and belongs to who is
//! in the instance, who may have moved it on, so it is left alone, but for the IPv6 address that it has
//! by the records ([`Lease`]): a change may have come between the two. One without a pin was being made,
//! and is made anew; so is everything of a namespace that is made anew, of which `PINS/anew` keeps a
//! mark until all is whole. What a crash left half done is therefore made whole or removed, wherever
//! it happened: links are pinned when all else of a port is ready, and what was not answered is not
//! in the records.
//!
//! **Whoever makes another kind of namespace or port** takes it by [`Machine::take_namespace`] and
//! [`Machine::standing`], and names it in [`is_part`] and [`is_port`], [`Machine::parts`] and
//! [`Machine::ports`].

use std::collections::HashSet;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use hedgerow_core::sg::Ipv6Prefix;
use hedgerow_datapath::sys::Netns;

use super::link::index_of;
use super::machine::Machine;
use super::{WireError, netns};
use crate::effect::InterfaceView;

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

/// What an adopted primary interface lacks of its IPv6 address, and has too much.
#[derive(Debug, PartialEq, Eq)]
struct Lease {
    missing: Option<Ipv6Addr>,
    gone: Vec<Ipv6Addr>,
}

impl Lease {
    /// `own` are the interface's addresses, the one that its instance is given first, and `there` those
    /// on all links of the instance. Of the subnet's block nothing else than `own` and what is in
    /// `delegated` can be of use; the rest is who is inside's.
    fn of(
        own: &[Ipv6Addr],
        delegated: &[Ipv6Prefix],
        block: Option<Ipv6Prefix>,
        eth0: u32,
        there: &[(u32, Ipv6Addr)],
    ) -> Lease {
        let given = own.first().copied();
        let has = |address: &Ipv6Addr| there.iter().any(|(_, known)| known == address);
        let lost = |(link, address): &(u32, Ipv6Addr)| {
            *link == eth0
                && block.is_some_and(|block| block.contains(*address))
                && !own.contains(address)
                && !delegated.iter().any(|prefix| prefix.contains(*address))
        };
        Lease {
            missing: given.filter(|address| !has(address)),
            gone: there.iter().filter(|of| lost(of)).map(|(_, address)| *address).collect(),
        }
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

    /// Gives the primary interface of an adopted instance the IPv6 address that it has by the records,
    /// and takes away what it has no longer. One that was moved on is left alone.
    pub(super) async fn adopt_ipv6(
        &self,
        view: &InterfaceView,
        full: &str,
        instance: &str,
    ) -> Result<(), WireError> {
        let block = self.subnet_block_v6(&view.subnet_id);
        if block.is_none() && view.ipv6.is_empty() {
            return Ok(());
        }
        let Ok((net, eth0)) = self.visit(self.instance(instance)?, full, "eth0") else {
            return Ok(());
        };
        let there = net.ipv6_addresses().await?;
        let lease = Lease::of(&view.ipv6, &view.ipv6_prefixes, block, eth0, &there);
        for gone in &lease.gone {
            net.remove_ipv6(eth0, *gone).await?;
        }
        match lease.missing {
            Some(address) => Self::configure_ipv6(&net, eth0, address).await,
            None => Ok(()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adopted_interface_gets_the_address_of_the_records() {
        let address = |host: u16| Ipv6Addr::new(0x3fff, 0x23, 0, 0x101, 0, 0, 0, host);
        let delegated = [Ipv6Prefix::new(Ipv6Addr::new(0x3fff, 0x23, 0, 0x101, 9, 0, 0, 0), 80)];
        let block = Some(Ipv6Prefix::new(address(0), 64));
        let lease = |own: &[Ipv6Addr], there: &[(u32, Ipv6Addr)]| {
            Lease::of(own, &delegated, block, 2, there)
        };
        let as_it_is = Lease { missing: None, gone: Vec::new() };
        assert_eq!(lease(&[address(4)], &[(2, address(4))]), as_it_is);
        assert_eq!(lease(&[], &[]), as_it_is);
        let changed = lease(&[address(5), address(6)], &[(2, address(4)), (2, address(6))]);
        assert_eq!(changed, Lease { missing: Some(address(5)), gone: vec![address(4)] });
        // Who is inside has it elsewhere, has added one of the prefix and one of their own.
        let own = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
        let there = [(3, address(4)), (2, delegated[0].nth(1)), (2, own), (3, address(9))];
        assert_eq!(lease(&[address(4)], &there), as_it_is);
    }
}
