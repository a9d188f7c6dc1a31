//! The object's maps, typed, with errors that name them.

use std::hash::BuildHasher;
use std::os::fd::AsFd;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, IterableMap, MapData, MapError, PerCpuArray};
use aya::{Ebpf, Pod};
use hedgerow_core::sg::{IpPrefix, Ipv6Prefix};

use super::FabricError;
use super::layout::{
    AddressKey, AddressOwner, AddressOwnerV6, Bits, Block, GroupKey, InterfaceRecord, Nat, Port,
    PrefixKey, PrefixKeyV6, Public, RouteKey, Service, SetRecord, VlanKey,
};
use crate::sys::SharedWords;

/// Entries of the maps from which user space hands out numbers, as in `bpf/fabric/maps.h`.
pub mod limits {
    /// `interfaces`.
    pub const INTERFACES: u32 = 32768;
    /// `interface_hints`.
    pub const HINTS: u32 = 16384;
    /// `near_ports`.
    pub const NEAR_PORTS: u32 = 65536;
    /// `combination_sets`.
    pub const COMBINATIONS: u32 = 8192;
    /// `route_versions`.
    pub const ROUTE_TABLES: u32 = 4096;
    /// `sets`.
    pub const SETS: u32 = 4096;
    /// `port_tables`.
    pub const TABLES: u32 = 4096;
    /// `port_blocks`.
    pub const BLOCKS: u32 = 8192;
    /// `rule_bits`.
    pub const BITS: u32 = 16384;
}

/// A hash map that knows its name.
#[derive(Debug)]
pub struct Table<K: Pod, V: Pod> {
    name: &'static str,
    map: HashMap<MapData, K, V>,
}

/// An array that knows its name.
pub struct Row<V: Pod> {
    name: &'static str,
    map: Array<MapData, V>,
}

pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, FabricError> {
    ebpf.take_map(name).ok_or(FabricError::NoMap(name))
}

pub(super) fn failed(
    operation: &'static str,
    map: &'static str,
) -> impl Fn(MapError) -> FabricError {
    move |source| FabricError::Map { operation, map, source }
}

impl<K: Pod, V: Pod> Table<K, V> {
    fn open(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, FabricError> {
        let map = HashMap::try_from(take(ebpf, name)?).map_err(failed("open", name))?;
        Ok(Self { name, map })
    }

    /// Inserts or replaces.
    pub fn put(&mut self, key: K, value: V) -> Result<(), FabricError> {
        self.map.insert(key, value, 0).map_err(failed("insert into", self.name))
    }

    /// Removes; absent is fine.
    pub fn remove(&mut self, key: &K) -> Result<(), FabricError> {
        absent_is_fine(self.map.remove(key)).map_err(failed("remove from", self.name))
    }
}

impl<V: Pod> Row<V> {
    fn open(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, FabricError> {
        let map = Array::try_from(take(ebpf, name)?).map_err(failed("open", name))?;
        Ok(Self { name, map })
    }

    /// Writes the entry.
    pub fn put(&mut self, index: u32, value: &V) -> Result<(), FabricError> {
        self.map.set(index, value, 0).map_err(failed("write to", self.name))
    }

    /// The map's name.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

/// Gives the table of flows its seed, unless flows of a process before go by one.
pub(super) fn sow(ebpf: &mut Ebpf) -> Result<(), FabricError> {
    let mut seed: Row<u64> = Row::open(ebpf, "flow_seed")?;
    if seed.map.get(&0, 0).map_err(failed("read", seed.name))? != 0 {
        return Ok(());
    }
    // The standard library's own seed: the kernel's randomness.
    let random = std::hash::RandomState::new().hash_one(());
    seed.put(0, &(random | 1))
}

fn absent_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// A trie that knows its name; keys have a number before the address.
pub struct Trie<K: Pod, V: Pod> {
    name: &'static str,
    map: LpmTrie<MapData, K, V>,
}

impl<K: Pod, V: Pod> Trie<K, V> {
    fn open(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, FabricError> {
        let map = LpmTrie::try_from(take(ebpf, name)?).map_err(failed("open", name))?;
        Ok(Self { name, map })
    }

    /// `len` is that of the prefix alone. Inserts or replaces.
    fn put(&mut self, len: u8, key: K, value: V) -> Result<(), FabricError> {
        let key = Key::new(32 + u32::from(len), key);
        self.map.insert(&key, value, 0).map_err(failed("insert into", self.name))
    }

    /// Removes; absent is fine.
    fn remove(&mut self, len: u8, key: K) -> Result<(), FabricError> {
        let key = Key::new(32 + u32::from(len), key);
        absent_is_fine(self.map.remove(&key)).map_err(failed("remove from", self.name))
    }
}

/// The key of an IPv6 prefix with its number.
fn long_key(number: u32, prefix: &Ipv6Prefix) -> PrefixKeyV6 {
    PrefixKeyV6 { number, address: prefix.address.octets() }
}

impl<V: Pod> Trie<PrefixKeyV6, V> {
    /// Inserts or replaces.
    pub fn put_v6(&mut self, number: u32, prefix: Ipv6Prefix, value: V) -> Result<(), FabricError> {
        self.put(prefix.len, long_key(number, &prefix), value)
    }

    /// Removes; absent is fine.
    pub fn remove_v6(&mut self, number: u32, prefix: Ipv6Prefix) -> Result<(), FabricError> {
        self.remove(prefix.len, long_key(number, &prefix))
    }
}

/// A trie for each family; `K` is made of a number and an IPv4 address.
pub struct PrefixTable<K: Pod> {
    v4: Trie<K, u32>,
    v6: Trie<PrefixKeyV6, u32>,
    key: fn(u32, u32) -> K,
}

impl<K: Pod> PrefixTable<K> {
    fn open(
        ebpf: &mut Ebpf,
        names: [&'static str; 2],
        key: fn(u32, u32) -> K,
    ) -> Result<Self, FabricError> {
        let [v4, v6] = names;
        Ok(Self { v4: Trie::open(ebpf, v4)?, v6: Trie::open(ebpf, v6)?, key })
    }

    /// Inserts or replaces.
    pub fn put(&mut self, number: u32, prefix: IpPrefix, value: u32) -> Result<(), FabricError> {
        match prefix {
            IpPrefix::V4(prefix) => {
                let key = (self.key)(number, prefix.address.to_bits().to_be());
                self.v4.put(prefix.len, key, value)
            }
            IpPrefix::V6(prefix) => self.v6.put_v6(number, prefix, value),
        }
    }

    /// Removes; absent is fine.
    pub fn remove(&mut self, number: u32, prefix: IpPrefix) -> Result<(), FabricError> {
        match prefix {
            IpPrefix::V4(prefix) => {
                let key = (self.key)(number, prefix.address.to_bits().to_be());
                self.v4.remove(prefix.len, key)
            }
            IpPrefix::V6(prefix) => self.v6.remove_v6(number, prefix),
        }
    }
}

pub(super) fn shared(
    ebpf: &mut Ebpf,
    name: &'static str,
    words: u32,
) -> Result<SharedWords, FabricError> {
    let row: Row<u32> = Row::open(ebpf, name)?;
    SharedWords::map(row.map.map().fd().as_fd(), words)
        .map_err(|source| FabricError::Share { map: name, source })
}

/// Every map that user space writes, and the counters it reads.
pub struct Maps {
    /// See `bpf/fabric/maps.h` for each.
    ports: Table<u32, Port>,
    near_ports: Row<Port>,
    /// Records by slot.
    pub interfaces: Row<InterfaceRecord>,
    interface_slots: Table<u32, u32>,
    interface_hints: SharedWords,
    /// Branches.
    pub vlans: Table<VlanKey, u32>,
    /// Owners of addresses.
    pub addresses: Table<AddressKey, AddressOwner>,
    /// Owners of IPv6 addresses and prefixes.
    pub addresses_v6: Trie<PrefixKeyV6, AddressOwnerV6>,
    /// Public addresses and whose they are.
    pub publics: Table<u32, Public>,
    /// Private addresses that have public ones.
    pub privates: Table<AddressKey, Public>,
    /// Blocks of VPCs whose addresses are public, below number 0.
    pub publics_v6: Trie<PrefixKeyV6, u32>,
    /// NAT gateways, by both ends of their ports.
    pub nats: Table<u32, Nat>,
    /// Service ports.
    pub services: Table<u32, Service>,
    /// Present set slot of each combination.
    pub combination_sets: SharedWords,
    /// Present version of each route table.
    pub route_versions: SharedWords,
    /// Routes of all versions.
    pub routes: PrefixTable<RouteKey>,
    /// One word.
    pub generation: SharedWords,
    /// One word.
    pub told: SharedWords,
    /// Compiled sets by slot.
    pub sets: Row<SetRecord>,
    /// First level of ports.
    pub port_tables: Row<Block>,
    /// Second level of ports.
    pub port_blocks: Row<Block>,
    /// Rule bit vectors.
    pub rule_bits: Row<Bits>,
    /// Peer prefixes.
    pub prefixes: PrefixTable<PrefixKey>,
    /// Peer combinations.
    pub group_peers: Table<GroupKey, u32>,
    verdicts: PerCpuArray<MapData, u64>,
    lost: PerCpuArray<MapData, u64>,
}

impl Maps {
    /// Takes the maps out of the loaded object.
    pub fn open(ebpf: &mut Ebpf) -> Result<Self, FabricError> {
        let per_cpu = |ebpf: &mut Ebpf, name| {
            PerCpuArray::try_from(take(ebpf, name)?).map_err(failed("open", name))
        };
        Ok(Self {
            ports: Table::open(ebpf, "ports")?,
            near_ports: Row::open(ebpf, "near_ports")?,
            interfaces: Row::open(ebpf, "interfaces")?,
            interface_slots: Table::open(ebpf, "interface_slots")?,
            interface_hints: shared(ebpf, "interface_hints", limits::HINTS)?,
            vlans: Table::open(ebpf, "vlans")?,
            addresses: Table::open(ebpf, "addresses")?,
            addresses_v6: Trie::open(ebpf, "addresses_v6")?,
            publics: Table::open(ebpf, "publics")?,
            privates: Table::open(ebpf, "privates")?,
            publics_v6: Trie::open(ebpf, "publics_v6")?,
            nats: Table::open(ebpf, "nats")?,
            services: Table::open(ebpf, "services")?,
            combination_sets: shared(ebpf, "combination_sets", limits::COMBINATIONS)?,
            route_versions: shared(ebpf, "route_versions", limits::ROUTE_TABLES)?,
            routes: PrefixTable::open(ebpf, ["routes", "routes_v6"], |version, destination| {
                RouteKey { version, destination }
            })?,
            generation: shared(ebpf, "generation", 1)?,
            told: shared(ebpf, "told", 1)?,
            sets: Row::open(ebpf, "sets")?,
            port_tables: Row::open(ebpf, "port_tables")?,
            port_blocks: Row::open(ebpf, "port_blocks")?,
            rule_bits: Row::open(ebpf, "rule_bits")?,
            prefixes: PrefixTable::open(ebpf, ["prefixes", "prefixes_v6"], |gate, address| {
                PrefixKey { gate, address }
            })?,
            group_peers: Table::open(ebpf, "group_peers")?,
            verdicts: per_cpu(ebpf, "verdicts")?,
            lost: per_cpu(ebpf, "lost")?,
        })
    }

    /// Says what is plugged in at the device.
    pub fn put_port(&mut self, ifindex: u32, port: Port) -> Result<(), FabricError> {
        self.ports.put(ifindex, port)?;
        if ifindex < limits::NEAR_PORTS { self.near_ports.put(ifindex, &port) } else { Ok(()) }
    }

    /// Nothing is plugged in at the device; absent is fine.
    pub fn remove_port(&mut self, ifindex: u32) -> Result<(), FabricError> {
        if ifindex < limits::NEAR_PORTS {
            self.near_ports.put(ifindex, &Port { interface: 0, vpc: 0 })?;
        }
        self.ports.remove(&ifindex)
    }

    /// Publishes the record of the interface, which is in `slot`.
    pub fn put_slot(&mut self, interface: u32, slot: u32) -> Result<(), FabricError> {
        self.interface_slots.put(interface, slot)?;
        self.interface_hints.store(interface % limits::HINTS, slot);
        Ok(())
    }

    /// The interface is gone, whose record is in `slot`.
    pub fn remove_slot(&mut self, interface: u32, slot: u32) -> Result<(), FabricError> {
        let hint = interface % limits::HINTS;
        // Or else it is another interface's.
        if self.interface_hints.load(hint) == slot {
            self.interface_hints.store(hint, u32::MAX);
        }
        self.interface_slots.remove(&interface)
    }

    /// Packets with the verdict `reason`, all processors together.
    pub fn verdicts(&self, reason: u32) -> Result<u64, FabricError> {
        let counts = self.verdicts.get(&reason, 0).map_err(failed("read", "verdicts"))?;
        Ok(counts.iter().sum())
    }

    /// Events that were lost, all processors together.
    pub fn lost(&self) -> Result<u64, FabricError> {
        let counts = self.lost.get(&0, 0).map_err(failed("read", "lost"))?;
        Ok(counts.iter().sum())
    }
}
