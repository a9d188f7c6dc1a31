//! The fabric of the embedded VPC: one eBPF program on the VPC side of every attachment.
//!
//! ```text
//!   Fabric ── declarative: put and remove ports, interfaces, groups
//!     ├─ compile  rules → bit vectors, port tables, prefixes (pure)
//!     ├─ groups   combinations of groups;  acls: network ACLs;  routes: route tables
//!     ├─ addresses  whose an address is
//!     ├─ sets     compiled rules in the maps, one-store switch
//!     ├─ slots    numbers that rest before they are reused
//!     ├─ maps     the object's maps, typed;  layout: their structures
//!     ├─ pins     what outlives the process
//!     ├─ account  packets of flows, counted for flow logs
//!     └─ event    what the program reports
//! ```
//!
//! The program's order of precedence is written above it in `bpf/fabric.bpf.c`.

mod account;
mod acls;
mod addresses;
pub mod compile;
mod error;
mod event;
mod gateway;
mod groups;
mod interface;
pub mod layout;
mod maps;
mod pins;
mod routes;
mod sets;
mod slots;

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Instant;

use aya::Ebpf;
use aya::maps::RingBuf;
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType, TestRun, TestRunOptions,
};
use hedgerow_core::reason::Reason;
use hedgerow_core::route::Target;
use hedgerow_core::sg::{Direction, Group, GroupId, IpPrefix, RuleId};

pub use account::Account;
pub use acls::Acl;
pub use error::FabricError;
pub use event::{Consulted, Event, Events};
pub use gateway::{NAT_ADDRESSES, NatGateway, PublicAddress};
pub use interface::{Interface, Kind, Place, Timeouts};

use account::Accounts;
use acls::Acls;
use groups::Groups;
use interface::{Known, vlan_key};
use layout::{InterfaceRecord, Port, Service};
use maps::{Maps, limits};
use pins::Pins;
use routes::Routes;
use sets::Sets;
use slots::Slots;

/// MAC of every subnet's router, at base + 1. `HR_ROUTER_MAC` in C.
pub const ROUTER_MAC: [u8; 6] = [0x02, 0x68, 0x72, 0x00, 0x00, 0x01];

/// The router's address in IPv6, in every subnet: link-local, from its MAC (RFC 4291, appendix A).
pub const ROUTER_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x68, 0x72ff, 0xfe00, 1);

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/fabric.bpf.o"));

/// Programs of the object.
const PROGRAMS: &[&str] = &["fabric", "nat", "slice"];

/// A program at a device.
enum Link {
    /// Detached by its drop.
    Held { _link: SchedClassifierLink },
    /// Stays until the pin goes.
    Pinned(PathBuf),
}

/// Attaches a program to a device (tcx ingress).
fn attach_link(
    program: &mut SchedClassifier,
    device: &str,
) -> Result<SchedClassifierLink, ProgramError> {
    let order = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id = program.attach_with_options(device, TcAttachType::Ingress, order)?;
    program.take_link(id)
}

/// The loaded program and its maps. Dropping it detaches the program everywhere, unless links are
/// pinned ([`Fabric::open`]).
pub struct Fabric {
    ebpf: Ebpf,
    maps: Maps,
    accounts: Accounts,
    links: HashMap<u32, Link>,
    /// Absent where everything goes with the process.
    pins: Option<Pins>,
    sets: Sets,
    groups: Groups,
    acls: Acls,
    routes: Routes,
    interfaces: HashMap<u32, Known>,
    slots: Slots,
    generation: u32,
}

/// What `bpf_redirect_peer` returns.
const TC_ACT_REDIRECT: u32 = 7;

/// `HR_GENERATION`.
const GENERATION: u32 = 0x3fff_ffff;

impl Fabric {
    /// Loads program and maps (about 100 ms, most of which the verifier takes).
    pub fn load() -> Result<Fabric, FabricError> {
        Self::load_object(OBJECT, PROGRAMS)
    }

    fn load_object(object: &[u8], programs: &[&'static str]) -> Result<Fabric, FabricError> {
        Self::from_object(Ebpf::load(object)?, programs)
    }

    fn from_object(mut ebpf: Ebpf, programs: &[&'static str]) -> Result<Fabric, FabricError> {
        // Before the maps are taken: the programs refer to their descriptors until they are loaded.
        for name in programs {
            let program = ebpf.program_mut(name).ok_or(FabricError::NoMap(name))?;
            let program: &mut SchedClassifier = program.try_into().map_err(FabricError::Program)?;
            program.load().map_err(FabricError::Program)?;
        }
        let maps = Maps::open(&mut ebpf)?;
        maps::sow(&mut ebpf)?;
        let accounts = Accounts::open(&mut ebpf)?;
        Ok(Fabric {
            ebpf,
            maps,
            accounts,
            links: HashMap::new(),
            pins: None,
            sets: Sets::new(),
            groups: Groups::new(),
            acls: Acls::default(),
            routes: Routes::new(),
            interfaces: HashMap::new(),
            slots: Slots::new(0, limits::INTERFACES),
            generation: 0,
        })
    }

    /// The program, as for `BPF_PROG_TEST_RUN`.
    pub fn program(&self) -> Result<&SchedClassifier, FabricError> {
        let program = self.ebpf.program("fabric").ok_or(FabricError::NoMap("fabric"))?;
        program.try_into().map_err(FabricError::Program)
    }

    /// Shows the program one frame as if it had come from port `ifindex`, which must exist in the
    /// calling thread's namespace, without sending it (`BPF_PROG_TEST_RUN`). The frame as it would
    /// leave, its tag aside; `None`: it is dropped.
    ///
    /// # Errors
    /// The kernel takes frames of 14 bytes to nearly a page only.
    pub fn rehearse(&self, ifindex: u32, frame: &[u8]) -> Result<Option<Vec<u8>>, FabricError> {
        let mut context = [0u8; 192];
        // struct __sk_buff: ifindex is the eleventh word.
        context[40..44].copy_from_slice(&ifindex.to_ne_bytes());
        let mut out = vec![0; frame.len() + 64];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        options.ctx_in = Some(&context);
        let result = self.program()?.test_run(options).map_err(FabricError::Program)?;
        let length = result.data_size_out as usize;
        out.truncate(length);
        Ok((result.return_value == TC_ACT_REDIRECT).then_some(out))
    }

    fn program_mut(&mut self, name: &'static str) -> Result<&mut SchedClassifier, FabricError> {
        let program = self.ebpf.program_mut(name).ok_or(FabricError::NoMap(name))?;
        program.try_into().map_err(FabricError::Program)
    }

    /// Whether accepted new flows are reported, too; at first they are not, as each costs about as
    /// much as a gate.
    pub fn tell_accepted(&self, wanted: bool) {
        self.maps.told.store(0, wanted.into());
    }

    /// What the program reports, once: drops, and what [`Fabric::tell_accepted`] says.
    pub fn take_events(&mut self) -> Result<Events, FabricError> {
        let map = self.ebpf.take_map("events").ok_or(FabricError::NoMap("events"))?;
        RingBuf::try_from(map).map(Events).map_err(|source| FabricError::Map {
            operation: "open",
            map: "events",
            source,
        })
    }

    /// Attaches the program to device `name` (tcx ingress, 12 to 15 ms). The calling thread must
    /// be in the device's namespace, and at [`Fabric::go_live`] where that is to come.
    pub fn attach(&mut self, name: &str, ifindex: u32) -> Result<(), FabricError> {
        self.attach_program("fabric", name, ifindex)
    }

    /// As [`Fabric::attach`], with another program of the object.
    fn attach_program(
        &mut self,
        program: &'static str,
        device: &str,
        ifindex: u32,
    ) -> Result<(), FabricError> {
        if self.pins.as_mut().is_some_and(|pins| pins.stage(program, device, ifindex)) {
            return Ok(());
        }
        self.attach_now(program, device, ifindex)
    }

    fn attach_now(
        &mut self,
        program: &'static str,
        device: &str,
        ifindex: u32,
    ) -> Result<(), FabricError> {
        let link = match self.pins.as_ref().map(|pins| pins.link(device)) {
            Some(path) => self.attach_pinned(program, device, path)?,
            None => {
                let failed = |source| FabricError::Attach { port: device.to_owned(), source };
                let link = attach_link(self.program_mut(program)?, device);
                Link::Held { _link: link.map_err(failed)? }
            }
        };
        self.links.insert(ifindex, link);
        Ok(())
    }

    /// Says which interface is plugged in at the port, so that its frames are known.
    pub fn put_port(&mut self, ifindex: u32, interface: u32, vpc: u32) -> Result<(), FabricError> {
        self.maps.put_port(ifindex, Port { interface, vpc })
    }

    /// Says which port leads to the services of a VPC, their MAC, and the address in the VPC that its
    /// DNS has besides the link-local one.
    pub fn put_service(
        &mut self,
        vpc: u32,
        ifindex: u32,
        mac: [u8; 6],
        dns: Ipv4Addr,
    ) -> Result<(), FabricError> {
        self.maps.put_port(ifindex, Port { interface: 0, vpc })?;
        self.maps.services.put(vpc, Service { ifindex, mac, pad: 0, dns: dns.to_bits().to_be() })
    }

    /// The VPC's services are gone.
    pub fn remove_service(&mut self, vpc: u32) -> Result<(), FabricError> {
        self.maps.services.remove(&vpc)
    }

    /// Forgets a port. Cheapest after its device was removed: detaching from a live one waits for
    /// an RCU grace period.
    pub fn remove_port(&mut self, ifindex: u32) -> Result<(), FabricError> {
        if let Some(Link::Pinned(path)) = self.links.remove(&ifindex) {
            crate::pins::end_link(&path)?;
        }
        self.maps.remove_port(ifindex)
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
        let result = self.replace_interface(view, now);
        self.advance();
        result
    }

    fn replace_interface(&mut self, view: Interface, now: Instant) -> Result<(), FabricError> {
        let number = |key: Option<u32>, number: &mut dyn FnMut(u32) -> Result<u32, FabricError>| {
            key.map_or(Ok(0), number)
        };
        let routes = number(view.routes, &mut |key| self.routes.number(key, now))?;
        let acl = number(view.acl, &mut |key| self.acls.number(&mut self.sets, key, now))?;
        let (sets, maps) = (&mut self.sets, &mut self.maps);
        let combination = self.groups.acquire(sets, maps, view.vpc, &view.groups, now)?;
        let Some(slot) = self.slots.take(now) else {
            self.groups.release(sets, maps, view.vpc, &view.groups, now)?;
            return Err(FabricError::Full("interfaces"));
        };
        let key = view.key;
        let before = self.interfaces.get(&key);
        let since = view.holds().map(|held| {
            let kept = before.filter(|old| old.view.vpc == view.vpc);
            let kept = kept.and_then(|old| old.since.get(&held).copied());
            let kept = kept.or_else(|| self.pins.as_ref()?.since(view.vpc, held, view.key));
            (held, kept.unwrap_or((self.generation + 1) & GENERATION))
        });
        let since = since.collect();
        let port_moved = before.is_none_or(|old| old.view.place != view.place);
        let new = Known { view, slot, combination, routes, acl, since };
        self.maps.interfaces.put(slot, &self.record(&new))?;
        self.maps.put_slot(key, slot)?;
        let old = self.interfaces.insert(key, new);
        self.follow(key, old.as_ref())?;
        if let Some(old) = old {
            self.slots.release(old.slot, now);
            let (sets, maps) = (&mut self.sets, &mut self.maps);
            self.groups.release(sets, maps, old.view.vpc, &old.view.groups, now)?;
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
        let result = self.forget_interface(key, &gone, now);
        self.advance();
        result
    }

    fn forget_interface(
        &mut self,
        key: u32,
        gone: &Known,
        now: Instant,
    ) -> Result<(), FabricError> {
        self.maps.remove_slot(key, gone.slot)?;
        for held in gone.view.holds() {
            self.remove_address(gone.view.vpc, held, key)?;
        }
        if let Some(vlan) = vlan_key(&gone.view) {
            self.maps.vlans.remove(&vlan)?;
        }
        self.slots.release(gone.slot, now);
        let (sets, maps) = (&mut self.sets, &mut self.maps);
        self.groups.release(sets, maps, gone.view.vpc, &gone.view.groups, now)?;
        self.move_branches(key, now)
    }

    /// The group is new or its rules changed.
    pub fn put_group(&mut self, vpc: u32, group: Group, now: Instant) -> Result<(), FabricError> {
        self.reap(now)?;
        let result = self.groups.put_group(&mut self.sets, &mut self.maps, vpc, group, now);
        self.advance();
        result
    }

    /// The group is gone; absent is fine.
    pub fn remove_group(
        &mut self,
        vpc: u32,
        group: &GroupId,
        now: Instant,
    ) -> Result<(), FabricError> {
        self.reap(now)?;
        let result = self.groups.remove_group(&mut self.sets, &mut self.maps, vpc, group, now);
        self.advance();
        result
    }

    /// The route table is new or its routes changed; no prefix may occur twice.
    pub fn put_routes(
        &mut self,
        key: u32,
        routes: Vec<(IpPrefix, Target)>,
        now: Instant,
    ) -> Result<(), FabricError> {
        self.reap(now)?;
        let result = self.routes.put(&mut self.maps, key, routes, now);
        self.advance();
        result
    }

    /// The route table is gone, and no interface has it; absent is fine.
    pub fn remove_routes(&mut self, key: u32, now: Instant) -> Result<(), FabricError> {
        self.reap(now)?;
        self.routes.remove(&mut self.maps, key, now);
        self.advance();
        Ok(())
    }

    /// The network ACL is new or its entries changed.
    pub fn put_acl(&mut self, key: u32, acl: Acl, now: Instant) -> Result<(), FabricError> {
        self.reap(now)?;
        let result = self.acls.put(&mut self.sets, &mut self.maps, key, acl, now);
        self.advance();
        result
    }

    /// The network ACL is gone, and no interface has it; absent is fine.
    pub fn remove_acl(&mut self, key: u32, now: Instant) -> Result<(), FabricError> {
        self.reap(now)?;
        self.acls.remove(&mut self.sets, &mut self.maps, key, now);
        self.advance();
        Ok(())
    }

    /// The rule that an event names; `None` a minute after its set was replaced.
    pub fn rule(&self, set: u32, direction: Direction, number: u16) -> Option<&RuleId> {
        self.sets.rule(set, direction, number)
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

    /// What packets of interfaces with a flow log were counted before the last call, and not
    /// returned by it: every packet is in one account, once.
    pub fn take_accounts(&mut self) -> Result<Vec<Account>, FabricError> {
        self.accounts.take()
    }

    /// Packets of interfaces with a flow log that were not counted since the start.
    pub fn unaccounted(&self) -> Result<u64, FabricError> {
        self.accounts.missed()
    }

    /// Events lost since the start, the ring buffer being full.
    pub fn lost_events(&self) -> Result<u64, FabricError> {
        self.maps.lost()
    }

    /// Takes back what no packet in flight can be reading any more.
    fn reap(&mut self, now: Instant) -> Result<(), FabricError> {
        self.routes.reap(&mut self.maps, now)?;
        self.sets.reap(&mut self.maps, now)
    }

    /// What was changed in the maps counts from now on, for tracked flows too.
    fn advance(&mut self) {
        self.generation = (self.generation + 1) & GENERATION;
        self.maps.generation.store(0, self.generation);
    }

    fn record(&self, known: &Known) -> InterfaceRecord {
        let ifindex = match known.view.place {
            Place::Detached => 0,
            Place::Port(ifindex) => ifindex,
            Place::Branch { trunk, .. } => self.trunk_port(trunk),
        };
        known.record(ifindex)
    }

    /// The ifindex at which a trunk is plugged in, 0 if it is not.
    fn trunk_port(&self, trunk: u32) -> u32 {
        match self.interfaces.get(&trunk).map(|known| known.view.place) {
            Some(Place::Port(ifindex)) => ifindex,
            _ => 0,
        }
    }

    /// Rewrites the branches of a trunk whose port changed.
    fn move_branches(&mut self, trunk: u32, now: Instant) -> Result<(), FabricError> {
        let on_trunk = |known: &&Known| matches!(known.view.place, Place::Branch { trunk: t, .. } if t == trunk);
        let branches: Vec<u32> =
            self.interfaces.values().filter(on_trunk).map(|known| known.view.key).collect();
        for key in branches {
            let slot = self.slots.take(now).ok_or(FabricError::Full("interfaces"))?;
            let Some(known) = self.interfaces.get(&key) else { continue };
            let record = self.record(known);
            self.maps.interfaces.put(slot, &record)?;
            self.maps.put_slot(key, slot)?;
            if let Some(known) = self.interfaces.get_mut(&key) {
                let old = std::mem::replace(&mut known.slot, slot);
                self.slots.release(old, now);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod bench;
#[cfg(test)]
mod nat_tests;
#[cfg(test)]
mod tests;
