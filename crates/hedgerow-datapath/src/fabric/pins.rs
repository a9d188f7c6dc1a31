//! What of the fabric outlives its process: links, tracked flows, and what the next process must
//! know of the configuration.
//!
//! ```text
//!   ROOT/links/DEVICE           every link: packets go on being judged while no process runs
//!   ROOT/vN/flows …             KEPT: state; the next object has the same maps
//!   ROOT/vN/records-M/…         READ: maps of the M-th process that the next one reads and leaves
//! ```
//!
//! A process that starts again loads a fresh object: the maps of KEPT are taken up, all others are
//! new and filled from the records, while the old programs go on with their own. Only then
//! [`Fabric::go_live`] puts the new program into every link, one by one. In between old and new
//! programs judge side by side and share the flows, which is sound because
//! - a flow's shortcut names slots of its program's own maps together with a generation: the new
//!   program counts generations on from the old one's, so neither takes the other's shortcut;
//! - since when an address is whose is read back from the old map: a flow that is older never
//!   becomes that of the address's new owner.
//!
//! A crash at any point leaves whole things: `records-M` appears by one rename, before the first
//! link has the new program, and the older one goes after the last link has it.
//!
//! **To let another map outlive the process**, name it in [`KEPT`] if programs write it (entries
//! that name slots or set numbers must carry the generation), or in [`READ`] if user space must know
//! what was in it. Another program joins by its links: [`Fabric::attach_program`].

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{Array, HashMap as HashTable, Map, MapData, MapError};
use aya::{Ebpf, EbpfLoader};
use hedgerow_core::sg::IpPrefix;

use super::layout::{AddressKey, AddressOwner, AddressOwnerV6, PrefixKeyV6};
use super::{Fabric, FabricError, GENERATION, Link};
use crate::pins::{self, PinsError, failed};

/// Raised when the meaning of an entry of a map below changes while all sizes stay.
pub(super) const LAYOUT: u32 = 3;
/// Maps that the programs write and whose entries stay good.
const KEPT: [&str; 11] = [
    "flows",
    "flow_seed",
    "fragments",
    "flows_v6",
    "fragments_v6",
    "nat_flows",
    "nat_fragments",
    "accounts_even",
    "accounts_odd",
    "account_turn",
    "unaccounted",
];
/// Maps that are read before they are replaced.
const READ: [&str; 3] = ["generation", "addresses", "addresses_v6"];

/// The pins of one process.
pub(super) struct Pins {
    links: PathBuf,
    /// ROOT/vN.
    version: PathBuf,
    /// M.
    number: u64,
    past: Past,
    /// Ports that wait for [`Fabric::go_live`]: program, device, its ifindex.
    staged: Option<Vec<(&'static str, String, u32)>>,
}

/// What the process before knew.
#[derive(Default)]
struct Past {
    generation: Option<u32>,
    /// By VPC and address, the interface and since when.
    addresses: HashMap<(u32, IpPrefix), (u32, u32)>,
}

impl Pins {
    /// Makes ready to load; layouts that are not this build's are given up, with a word.
    pub(super) fn open(root: &Path, object: &[u8]) -> Result<Self, FabricError> {
        let links = root.join("links");
        let version = root.join(format!("v{LAYOUT}"));
        pins::make_directory(root, &links)?;
        // The kernel puts files of its own into every bpffs.
        let is_layout =
            |name: &String| name.strip_prefix('v').is_some_and(|n| n.parse::<u32>().is_ok());
        for old in pins::list(root)?.into_iter().filter(is_layout) {
            if root.join(&old) != version {
                tracing::warn!(layout = old, "another layout's flows are not taken up");
                remove(&root.join(old))?;
            }
        }
        let kept = pins::check(object, &version, |name, _| KEPT.contains(&name));
        let before = numbers(&version)?.pop();
        let read = before.map(|number| records(&version, number));
        let read = read.map(|path| pins::check(object, &path, |name, _| READ.contains(&name)));
        if let Err(error) = read.unwrap_or(Ok(())).and(kept) {
            tracing::warn!(%error, "flows of the process before are not taken up");
            remove(&version)?;
        }
        fs::create_dir_all(&version).map_err(failed("create", &version))?;
        let past = match numbers(&version)?.pop() {
            Some(number) => Past::read(&records(&version, number))?,
            None => Past::default(),
        };
        let number = before.map_or(0, |number| number + 1);
        Ok(Self { links, version, number, past, staged: Some(Vec::new()) })
    }

    /// Loads the object with the maps of the process before, if there was one.
    pub(super) fn load(&self, object: &[u8]) -> Result<Ebpf, FabricError> {
        let mut loader = EbpfLoader::new();
        for name in KEPT {
            loader.map_pin_path(name, self.version.join(name));
        }
        let ebpf = loader.load(object)?;
        let unready = self.unready();
        remove(&unready)?;
        fs::create_dir(&unready).map_err(failed("create", &unready))?;
        for name in READ {
            let path = unready.join(name);
            let map = ebpf.map(name).ok_or(FabricError::NoMap(name))?;
            map.pin(&path).map_err(|source| PinsError::Pin { path, source })?;
        }
        Ok(ebpf)
    }

    /// The generation to count on from.
    pub(super) fn generation(&self) -> u32 {
        // One more than was published: an address may have been written for a generation that was
        // not begun any more.
        self.past.generation.map_or(0, |generation| (generation + 2) & GENERATION)
    }

    /// Since when the interface has the address, if it had it before this process.
    pub(super) fn since(&self, vpc: u32, held: IpPrefix, interface: u32) -> Option<u32> {
        self.staged.as_ref()?;
        let (owner, since) = self.past.addresses.get(&(vpc, held))?;
        (*owner == interface).then_some(*since)
    }

    /// Where the link of a device is pinned.
    pub(super) fn link(&self, device: &str) -> PathBuf {
        self.links.join(device)
    }

    /// Notes the port for later; false where it is to be attached at once.
    pub(super) fn stage(&mut self, program: &'static str, device: &str, ifindex: u32) -> bool {
        let Some(staged) = &mut self.staged else { return false };
        staged.push((program, device.to_owned(), ifindex));
        true
    }

    fn unready(&self) -> PathBuf {
        self.version.join("unready")
    }

    /// What this process knows is what the next one shall read.
    fn publish(&mut self) -> Result<(), FabricError> {
        let (unready, path) = (self.unready(), records(&self.version, self.number));
        fs::rename(&unready, &path).map_err(failed("rename", &unready))?;
        Ok(())
    }

    /// No program of an earlier process runs any more.
    fn forget_past(&mut self) -> Result<(), FabricError> {
        self.past = Past::default();
        for number in numbers(&self.version)?.into_iter().filter(|number| *number != self.number) {
            remove(&records(&self.version, number))?;
        }
        Ok(())
    }
}

impl Past {
    fn read(directory: &Path) -> Result<Self, PinsError> {
        let open = |name| {
            let path = directory.join(name);
            let opened = MapData::from_pin(&path);
            opened.map_err(|source| PinsError::Map { action: "open", path, source })
        };
        let unread = |name| {
            let path = directory.join(name);
            move |source: MapError| PinsError::Map { action: "read", path, source }
        };
        let generation: Array<_, u32> =
            Map::Array(open("generation")?).try_into().map_err(unread("generation"))?;
        let generation = generation.get(&0, 0).map_err(unread("generation"))?;
        let addresses: HashTable<_, AddressKey, AddressOwner> =
            Map::HashMap(open("addresses")?).try_into().map_err(unread("addresses"))?;
        let v4 = addresses.iter().map(|entry| {
            let (key, owner) = entry?;
            let address = Ipv4Addr::from_bits(u32::from_be(key.address));
            Ok(((key.vpc, IpPrefix::new(address.into(), u8::MAX)), (owner.interface, owner.since)))
        });
        let v4: Result<Vec<_>, _> = v4.collect();
        let addresses: LpmTrie<_, PrefixKeyV6, AddressOwnerV6> =
            Map::LpmTrie(open("addresses_v6")?).try_into().map_err(unread("addresses_v6"))?;
        let v6 = addresses.iter().map(|entry| {
            let (key, owner) = entry?;
            let PrefixKeyV6 { number, address } = key.data();
            let held = IpPrefix::new(IpAddr::from(address), (key.prefix_len() - 32) as u8);
            Ok(((number, held), (owner.interface, owner.since)))
        });
        let v6: Result<Vec<_>, _> = v6.collect();
        let mut addresses = HashMap::new();
        addresses.extend(v4.map_err(unread("addresses"))?);
        addresses.extend(v6.map_err(unread("addresses_v6"))?);
        Ok(Self { generation: Some(generation), addresses })
    }
}

fn records(version: &Path, number: u64) -> PathBuf {
    version.join(format!("records-{number}"))
}

/// Numbers of the processes whose records are there, in order.
fn numbers(version: &Path) -> Result<Vec<u64>, PinsError> {
    if !version.exists() {
        return Ok(Vec::new());
    }
    let names = pins::list(version)?;
    let number = |name: &String| name.strip_prefix("records-")?.parse().ok();
    let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes a directory with all pins in it; absent is fine.
fn remove(directory: &Path) -> Result<(), PinsError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed("remove", directory)(error))
        }
        _ => Ok(()),
    }
}

impl Fabric {
    /// As [`Fabric::load`], with links and flows pinned below `root`, which is on a bpffs, and taken
    /// up from there. Ports are not attached before [`Fabric::go_live`].
    pub fn open(root: &Path) -> Result<Fabric, FabricError> {
        let pins = Pins::open(root, super::OBJECT)?;
        let ebpf = pins.load(super::OBJECT)?;
        let mut fabric = Self::from_object(ebpf, super::PROGRAMS)?;
        fabric.generation = pins.generation();
        fabric.pins = Some(pins);
        Ok(fabric)
    }

    /// Whether a process before attached a program to this device. It may be gone meanwhile.
    pub fn was_attached(&self, device: &str) -> bool {
        self.pins.as_ref().is_some_and(|pins| pins.link(device).exists())
    }

    /// The device is gone: the link that was pinned for it goes, too; absent is fine.
    pub fn forget_link(&mut self, device: &str) -> Result<(), FabricError> {
        let path = self.pins.as_ref().map(|pins| pins.link(device));
        Ok(path.map_or(Ok(()), |path| pins::end_link(&path))?)
    }

    /// Everything is put: from now on packets are judged by this process's program and maps, at
    /// every port that was attached by then. No packet is lost. Does nothing the second time, or
    /// without pins.
    pub fn go_live(&mut self) -> Result<(), FabricError> {
        let Some(pins) = &mut self.pins else { return Ok(()) };
        let Some(staged) = pins.staged.take() else { return Ok(()) };
        pins.publish()?;
        let names: Vec<String> = staged.iter().map(|(_, device, _)| device.clone()).collect();
        for (program, device, ifindex) in staged {
            self.attach_now(program, &device, ifindex)?;
        }
        let Some(pins) = &mut self.pins else { return Ok(()) };
        for gone in pins::list(&pins.links)?.iter().filter(|device| !names.contains(device)) {
            pins::end_link(&pins.links.join(gone))?;
        }
        pins.forget_past()
    }

    /// Puts a program of the object into the device's pinned link, or attaches it and pins the link.
    pub(super) fn attach_pinned(
        &mut self,
        program: &'static str,
        device: &str,
        path: PathBuf,
    ) -> Result<Link, FabricError> {
        let failed = |source| FabricError::Attach { port: device.to_owned(), source };
        let loaded = self.program_mut(program)?;
        if pins::replace_link(loaded, &path).map_err(failed)? {
            return Ok(Link::Pinned(path));
        }
        pins::end_link(&path)?;
        let link = super::attach_link(loaded, device).map_err(failed)?;
        let unpinned = aya::programs::links::FdLink::try_from(link);
        let unpinned = unpinned.map_err(|error| FabricError::NotTcx(device.to_owned(), error))?;
        unpinned.pin(&path).map_err(|source| PinsError::Pin { path: path.clone(), source })?;
        Ok(Link::Pinned(path))
    }
}
