//! The fabric of the embedded VPC: one eBPF program on the VPC side of every attachment.
//!
//! ```text
//!   Fabric ── declarative: put and remove ports, interfaces, groups
//!     ├─ compile  rules → bit vectors, port tables, prefixes (pure)
//!     ├─ groups   combinations of groups, compiled sets, one-store switch
//!     ├─ slots    numbers that rest before they are reused
//!     ├─ maps     the object's maps, typed;  layout: their structures
//!     └─ event    what the program reports
//! ```
//!
//! The program's order of precedence is written above it in `bpf/fabric.bpf.c`.

pub mod compile;
mod error;
mod event;
mod groups;
pub mod layout;
mod maps;
mod slots;

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::time::Instant;

use aya::Ebpf;
use aya::maps::RingBuf;
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use hedgerow_core::reason::Reason;
use hedgerow_core::sg::{Direction, Group, GroupId, Ipv4Prefix, RuleId};

pub use error::FabricError;
pub use event::{Consulted, Event, Events};

use groups::Groups;
use layout::{AddressKey, AddressOwner, InterfaceRecord, Port, Service, UNTAGGED, VlanKey};
use maps::{Maps, limits};
use slots::Slots;

/// MAC of every subnet's router, at base + 1. `HR_ROUTER_MAC` in C.
pub const ROUTER_MAC: [u8; 6] = [0x02, 0x68, 0x72, 0x00, 0x00, 0x01];

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/fabric.bpf.o"));

/// Where an interface's frames enter and leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: packets to it are dropped as `peer_down`.
    Detached,
    /// A port of its own, by ifindex in the fabric's namespace; frames are untagged.
    Port(u32),
    /// The port of its trunk; frames are tagged.
    Branch {
        /// Interface key of the trunk.
        trunk: u32,
        /// VLAN id.
        vlan: u16,
    },
}

/// An interface as the program needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Never reused, never 0.
    pub key: u32,
    /// VPC key.
    pub vpc: u32,
    /// Subnet block; the router is at base + 1.
    pub subnet: Ipv4Prefix,
    /// MAC address.
    pub mac: [u8; 6],
    /// Private addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Groups.
    pub groups: BTreeSet<GroupId>,
    /// Whether frames must carry one of `addresses` as source.
    pub source_dest_check: bool,
    /// Where it is plugged in.
    pub place: Place,
}

/// An interface that is in the maps.
#[derive(Debug)]
struct Known {
    view: Interface,
    slot: u32,
    combination: u32,
}

/// The loaded program and its maps. Dropping it detaches the program everywhere.
pub struct Fabric {
    ebpf: Ebpf,
    maps: Maps,
    links: HashMap<u32, SchedClassifierLink>,
    groups: Groups,
    interfaces: HashMap<u32, Known>,
    slots: Slots,
}

impl Fabric {
    /// Loads program and maps (about 30 ms).
    pub fn load() -> Result<Fabric, FabricError> {
        let mut ebpf = Ebpf::load(OBJECT)?;
        // Before the maps are taken: the program refers to their descriptors until it is loaded.
        let program = ebpf.program_mut("fabric").ok_or(FabricError::NoMap("fabric"))?;
        let program: &mut SchedClassifier = program.try_into().map_err(FabricError::Program)?;
        program.load().map_err(FabricError::Program)?;
        let maps = Maps::open(&mut ebpf)?;
        Ok(Fabric {
            ebpf,
            maps,
            links: HashMap::new(),
            groups: Groups::new(),
            interfaces: HashMap::new(),
            slots: Slots::new(0, limits::INTERFACES),
        })
    }

    /// The program, as for `BPF_PROG_TEST_RUN`.
    pub fn program(&self) -> Result<&SchedClassifier, FabricError> {
        let program = self.ebpf.program("fabric").ok_or(FabricError::NoMap("fabric"))?;
        program.try_into().map_err(FabricError::Program)
    }

    fn program_mut(&mut self) -> Result<&mut SchedClassifier, FabricError> {
        let program = self.ebpf.program_mut("fabric").ok_or(FabricError::NoMap("fabric"))?;
        program.try_into().map_err(FabricError::Program)
    }

    /// What the program reports, once.
    pub fn take_events(&mut self) -> Result<Events, FabricError> {
        let map = self.ebpf.take_map("events").ok_or(FabricError::NoMap("events"))?;
        RingBuf::try_from(map).map(Events).map_err(|source| FabricError::Map {
            operation: "open",
            map: "events",
            source,
        })
    }

    /// Attaches the program to device `name` (tcx ingress, 12 to 15 ms). The calling thread must
    /// be in the device's namespace.
    pub fn attach(&mut self, name: &str, ifindex: u32) -> Result<(), FabricError> {
        let failed = |source| FabricError::Attach { port: name.to_owned(), source };
        let order = TcAttachOptions::TcxOrder(LinkOrder::default());
        let program = self.program_mut()?;
        let id = program.attach_with_options(name, TcAttachType::Ingress, order).map_err(failed)?;
        let link = program.take_link(id).map_err(failed)?;
        self.links.insert(ifindex, link);
        Ok(())
    }

    /// Says which interface is plugged in at the port, so that its frames are known.
    pub fn put_port(&mut self, ifindex: u32, interface: u32, vpc: u32) -> Result<(), FabricError> {
        self.maps.ports.put(ifindex, Port { interface, vpc })
    }

    /// Says which port leads to the services of a VPC, and their MAC.
    pub fn put_service(&mut self, vpc: u32, ifindex: u32, mac: [u8; 6]) -> Result<(), FabricError> {
        self.maps.ports.put(ifindex, Port { interface: 0, vpc })?;
        self.maps.services.put(vpc, Service { ifindex, mac, pad: 0 })
    }

    /// The VPC's services are gone.
    pub fn remove_service(&mut self, vpc: u32) -> Result<(), FabricError> {
        self.maps.services.remove(&vpc)
    }

    /// Forgets a port. Cheapest after its device was removed: detaching from a live one waits for
    /// an RCU grace period.
    pub fn remove_port(&mut self, ifindex: u32) -> Result<(), FabricError> {
        self.links.remove(&ifindex);
        self.maps.ports.remove(&ifindex)
    }

    /// Makes the maps say what `view` says. The next new flow is judged by it.
    pub fn put_interface(&mut self, view: Interface, now: Instant) -> Result<(), FabricError> {
        if view.key == 0 {
            return Err(FabricError::ReservedKey);
        }
        self.reap(now)?;
        if self.interfaces.get(&view.key).is_some_and(|known| known.view == view) {
            return Ok(());
        }
        let combination = self.groups.acquire(&mut self.maps, view.vpc, &view.groups, now)?;
        let Some(slot) = self.slots.take(now) else {
            self.groups.release(&mut self.maps, view.vpc, &view.groups, now)?;
            return Err(FabricError::Full("interfaces"));
        };
        self.maps.interfaces.put(slot, &self.record(&view, combination))?;
        self.maps.interface_slots.put(view.key, slot)?;
        let key = view.key;
        let port_moved = self.interfaces.get(&key).is_none_or(|old| old.view.place != view.place);
        let new = Known { view, slot, combination };
        let old = self.interfaces.insert(key, new);
        self.follow(key, old.as_ref())?;
        if let Some(old) = old {
            self.slots.release(old.slot, now);
            self.groups.release(&mut self.maps, old.view.vpc, &old.view.groups, now)?;
        }
        if port_moved {
            self.move_branches(key, now)?;
        }
        Ok(())
    }

    /// The interface is gone; absent is fine.
    pub fn remove_interface(&mut self, key: u32, now: Instant) -> Result<(), FabricError> {
        self.reap(now)?;
        let Some(gone) = self.interfaces.remove(&key) else { return Ok(()) };
        self.maps.interface_slots.remove(&key)?;
        for address in &gone.view.addresses {
            self.remove_address(gone.view.vpc, *address, key)?;
        }
        if let Some(vlan) = vlan_key(&gone.view) {
            self.maps.vlans.remove(&vlan)?;
        }
        self.slots.release(gone.slot, now);
        self.groups.release(&mut self.maps, gone.view.vpc, &gone.view.groups, now)?;
        self.move_branches(key, now)
    }

    /// The group is new or its rules changed.
    pub fn put_group(&mut self, vpc: u32, group: Group, now: Instant) -> Result<(), FabricError> {
        self.reap(now)?;
        self.groups.put_group(&mut self.maps, vpc, group, now)
    }

    /// The group is gone; absent is fine.
    pub fn remove_group(
        &mut self,
        vpc: u32,
        group: &GroupId,
        now: Instant,
    ) -> Result<(), FabricError> {
        self.reap(now)?;
        self.groups.remove_group(&mut self.maps, vpc, group, now)
    }

    /// The rule that an event names; `None` a minute after its set was replaced.
    pub fn rule(&self, set: u32, direction: Direction, number: u16) -> Option<&RuleId> {
        self.groups.rule(set, direction, number)
    }

    /// The interface with this key.
    pub fn interface(&self, key: u32) -> Option<&Interface> {
        self.interfaces.get(&key).map(|known| &known.view)
    }

    /// Packets by reason since the start.
    pub fn verdicts(&self) -> Result<Vec<(Reason, u64)>, FabricError> {
        let read = |reason: &Reason| Ok((*reason, self.maps.verdicts(*reason as u32)?));
        Reason::ALL.iter().map(read).collect()
    }

    /// Events lost since the start, the ring buffer being full.
    pub fn lost_events(&self) -> Result<u64, FabricError> {
        self.maps.lost()
    }

    /// Takes back what no packet in flight can be reading any more.
    fn reap(&mut self, now: Instant) -> Result<(), FabricError> {
        self.groups.reap(&mut self.maps, now)
    }

    fn record(&self, view: &Interface, combination: u32) -> InterfaceRecord {
        let (ifindex, vlan) = match view.place {
            Place::Detached => (0, UNTAGGED),
            Place::Port(ifindex) => (ifindex, UNTAGGED),
            Place::Branch { trunk, vlan } => (self.trunk_port(trunk), vlan),
        };
        InterfaceRecord {
            key: view.key,
            vpc: view.vpc,
            ifindex,
            combination,
            subnet: view.subnet.address.to_bits().to_be(),
            mask: u32::MAX.checked_shl(32 - u32::from(view.subnet.len)).unwrap_or(0).to_be(),
            vlan,
            mac: view.mac,
            check: u32::from(view.source_dest_check),
        }
    }

    /// The ifindex at which a trunk is plugged in, 0 if it is not.
    fn trunk_port(&self, trunk: u32) -> u32 {
        match self.interfaces.get(&trunk).map(|known| known.view.place) {
            Some(Place::Port(ifindex)) => ifindex,
            _ => 0,
        }
    }

    /// Brings addresses and tags of a changed interface up to date.
    fn follow(&mut self, key: u32, old: Option<&Known>) -> Result<(), FabricError> {
        let Some(new) = self.interfaces.get(&key) else { return Ok(()) };
        let (vpc, addresses) = (new.view.vpc, new.view.addresses.clone());
        let vlan = vlan_key(&new.view);
        if let Some(vlan) = vlan {
            self.maps.vlans.put(vlan, key)?;
        }
        for address in &addresses {
            let address = address.to_bits().to_be();
            let owner = AddressOwner { interface: key, vpc, address };
            self.maps.addresses.put(AddressKey { vpc, address }, owner)?;
        }
        let Some(old) = old else { return Ok(()) };
        for address in old.view.addresses.iter().filter(|a| !addresses.contains(a)) {
            self.remove_address(old.view.vpc, *address, key)?;
        }
        match vlan_key(&old.view) {
            Some(before) if Some(before) != vlan => self.maps.vlans.remove(&before),
            _ => Ok(()),
        }
    }

    /// Removes an address unless it went over to another interface meanwhile.
    fn remove_address(&mut self, vpc: u32, address: Ipv4Addr, key: u32) -> Result<(), FabricError> {
        let moved = self.interfaces.values().any(|known| {
            known.view.key != key
                && known.view.vpc == vpc
                && known.view.addresses.contains(&address)
        });
        if moved {
            return Ok(());
        }
        self.maps.addresses.remove(&AddressKey { vpc, address: address.to_bits().to_be() })
    }

    /// Rewrites the branches of a trunk whose port changed.
    fn move_branches(&mut self, trunk: u32, now: Instant) -> Result<(), FabricError> {
        let on_trunk = |known: &&Known| matches!(known.view.place, Place::Branch { trunk: t, .. } if t == trunk);
        let branches: Vec<u32> =
            self.interfaces.values().filter(on_trunk).map(|known| known.view.key).collect();
        for key in branches {
            let slot = self.slots.take(now).ok_or(FabricError::Full("interfaces"))?;
            let Some(known) = self.interfaces.get(&key) else { continue };
            let record = self.record(&known.view, known.combination);
            self.maps.interfaces.put(slot, &record)?;
            self.maps.interface_slots.put(key, slot)?;
            if let Some(known) = self.interfaces.get_mut(&key) {
                let old = std::mem::replace(&mut known.slot, slot);
                self.slots.release(old, now);
            }
        }
        Ok(())
    }
}

fn vlan_key(view: &Interface) -> Option<VlanKey> {
    match view.place {
        Place::Branch { trunk, vlan } => Some(VlanKey { trunk, vlan: u32::from(vlan) }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
