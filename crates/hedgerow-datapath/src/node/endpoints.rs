//! The endpoint maps: slots, and the indexes that make them visible.
//!
//! A program that reads while we write sees the old endpoint or the new one: a slot is written
//! before any index points to it, and rests after the last one did.

use std::collections::{BTreeMap, BTreeSet};

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, MapError};

use super::layout::{ENDPOINTS, RawEndpoint, RawVlan, SLOTS, network_order};
use super::take_map;
use super::{Endpoint, NodeError, Result};

const SLOT_MAP: &str = "node_endpoints";
const BY_HOST: &str = "node_by_host";
const BY_ADDRESS: &str = "node_by_address";
const BY_VLAN: &str = "node_by_vlan";

/// The endpoint maps and what of them is in use.
pub(super) struct Endpoints {
    slots: Array<MapData, RawEndpoint>,
    by_host: HashMap<MapData, u32, u32>,
    by_address: HashMap<MapData, u32, u32>,
    by_vlan: HashMap<MapData, RawVlan, u32>,
    /// Host interface → slot and what is in it.
    known: BTreeMap<u32, (u32, RawEndpoint)>,
    /// Where the search for a free slot goes on.
    next: u32,
}

pub(super) fn failed(
    action: &'static str,
    map: &'static str,
) -> impl FnOnce(MapError) -> NodeError {
    move |source| NodeError::Map { action, map, source }
}

/// The first slot from `next` on, round the end, that is not in use.
fn free_slot(next: u32, used: &BTreeSet<u32>) -> Option<u32> {
    (0..SLOTS).map(|offset| (next + offset) % SLOTS).find(|slot| !used.contains(slot))
}

/// Removing what is not there is success.
fn absent_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

impl Endpoints {
    /// Takes the maps out of the loaded object and finds the endpoints of an earlier agent. What it
    /// left half done when it was killed is swept away.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self> {
        let mut this = Self {
            slots: take_map(ebpf, SLOT_MAP)?,
            by_host: take_map(ebpf, BY_HOST)?,
            by_address: take_map(ebpf, BY_ADDRESS)?,
            by_vlan: take_map(ebpf, BY_VLAN)?,
            known: BTreeMap::new(),
            next: 0,
        };
        this.recover()?;
        Ok(this)
    }

    fn recover(&mut self) -> Result<()> {
        let hosts: Vec<(u32, u32)> =
            self.by_host.iter().collect::<Result<_, _>>().map_err(failed("list", BY_HOST))?;
        for (host, slot) in hosts {
            let raw = self.slots.get(&slot, 0).map_err(failed("read", SLOT_MAP))?;
            self.known.insert(host, (slot, raw));
        }
        let live: BTreeSet<u32> = self.known.values().map(|(slot, _)| *slot).collect();
        self.next = live.last().map_or(0, |slot| (slot + 1) % SLOTS);
        let addresses: Vec<(u32, u32)> =
            self.by_address.iter().collect::<Result<_, _>>().map_err(failed("list", BY_ADDRESS))?;
        for (address, _) in addresses.iter().filter(|(_, slot)| !live.contains(slot)) {
            absent_is_fine(self.by_address.remove(address)).map_err(failed("sweep", BY_ADDRESS))?;
        }
        let vlans: Vec<(RawVlan, u32)> =
            self.by_vlan.iter().collect::<Result<_, _>>().map_err(failed("list", BY_VLAN))?;
        for (vlan, _) in vlans.iter().filter(|(_, slot)| !live.contains(slot)) {
            absent_is_fine(self.by_vlan.remove(vlan)).map_err(failed("sweep", BY_VLAN))?;
        }
        Ok(())
    }

    fn validate(&self, endpoint: &Endpoint, raw: &RawEndpoint) -> Result<()> {
        let address = endpoint.address;
        if let Some(vlan) = endpoint.uplink.vlan
            && !(1..=4094).contains(&vlan)
        {
            return Err(NodeError::BadVlan { address, vlan });
        }
        for (&holder, (_, other)) in &self.known {
            if holder == endpoint.host_ifindex {
                continue;
            }
            if other.address == raw.address {
                return Err(NodeError::AddressTaken {
                    address,
                    wanted: endpoint.host_ifindex,
                    holder,
                });
            }
            if raw.vlan_key().is_some() && raw.vlan_key() == other.vlan_key() {
                let (vlan, uplink) = (raw.vlan, raw.uplink_ifindex);
                return Err(NodeError::VlanTaken { address, vlan, uplink, holder });
            }
        }
        if !self.known.contains_key(&endpoint.host_ifindex) && self.known.len() >= ENDPOINTS {
            return Err(NodeError::Full { address, most: ENDPOINTS });
        }
        Ok(())
    }

    /// Makes the endpoint visible; see [`super::NodeDatapath::put_endpoint`].
    pub(super) fn put(&mut self, endpoint: &Endpoint) -> Result<()> {
        let raw = RawEndpoint::from(endpoint);
        self.validate(endpoint, &raw)?;
        let old = self.known.get(&raw.host_ifindex).copied();
        if old.is_some_and(|(_, old)| old == raw) {
            return Ok(());
        }
        let used = self.known.values().map(|(slot, _)| *slot).collect();
        let full = NodeError::Full { address: endpoint.address, most: ENDPOINTS };
        let slot = free_slot(self.next, &used).ok_or(full)?;
        self.next = (slot + 1) % SLOTS;

        self.slots.set(slot, raw, 0).map_err(failed("write", SLOT_MAP))?;
        // The host index last: whoever it names is known by every key (recover relies on it).
        self.by_address.insert(raw.address, slot, 0).map_err(failed("write", BY_ADDRESS))?;
        if let Some(key) = raw.vlan_key() {
            self.by_vlan.insert(key, slot, 0).map_err(failed("write", BY_VLAN))?;
        }
        self.by_host.insert(raw.host_ifindex, slot, 0).map_err(failed("write", BY_HOST))?;
        self.known.insert(raw.host_ifindex, (slot, raw));
        match old {
            Some((_, old)) => self.unindex(&old, Some(&raw)),
            None => Ok(()),
        }
    }

    /// Removes `old` from the indexes, except where `new` took its key over.
    fn unindex(&mut self, old: &RawEndpoint, new: Option<&RawEndpoint>) -> Result<()> {
        if new.is_none_or(|new| new.address != old.address) {
            absent_is_fine(self.by_address.remove(&old.address))
                .map_err(failed("remove from", BY_ADDRESS))?;
        }
        if let Some(key) = old.vlan_key()
            && new.is_none_or(|new| new.vlan_key() != Some(key))
        {
            absent_is_fine(self.by_vlan.remove(&key)).map_err(failed("remove from", BY_VLAN))?;
        }
        Ok(())
    }

    /// Forgets the endpoint; see [`super::NodeDatapath::remove_endpoint`].
    pub(super) fn remove(&mut self, host_ifindex: u32) -> Result<()> {
        let Some((_, old)) = self.known.get(&host_ifindex).copied() else { return Ok(()) };
        absent_is_fine(self.by_host.remove(&host_ifindex))
            .map_err(failed("remove from", BY_HOST))?;
        self.unindex(&old, None)?;
        self.known.remove(&host_ifindex);
        Ok(())
    }

    /// Every endpoint, by host interface.
    pub(super) fn list(&self) -> Vec<Endpoint> {
        self.known.values().map(|(_, raw)| Endpoint::from(*raw)).collect()
    }
}

/// Makes the keys of a set-like map exactly `wanted`: first adds, then removes, so that nothing
/// that stays is missing in between.
pub(super) fn addresses_exactly(
    map: &mut HashMap<MapData, u32, u32>,
    wanted: &[std::net::Ipv4Addr],
) -> Result<()> {
    const MAP: &str = "node_addresses";
    let wanted: BTreeSet<u32> = wanted.iter().copied().map(network_order).collect();
    for address in &wanted {
        map.insert(address, 1, 0).map_err(failed("write", MAP))?;
    }
    let present: Vec<u32> = map.keys().collect::<Result<_, _>>().map_err(failed("list", MAP))?;
    for address in present.iter().filter(|address| !wanted.contains(address)) {
        absent_is_fine(map.remove(address)).map_err(failed("remove from", MAP))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_in_turn() {
        let used = BTreeSet::from([5, 6, SLOTS - 1]);
        assert_eq!(free_slot(5, &used), Some(7));
        assert_eq!(free_slot(SLOTS - 1, &used), Some(0), "round the end");
        assert_eq!(free_slot(0, &(0..SLOTS).collect()), None);
    }
}
