//! Combinations of groups, and their compiled rules in the maps.
//!
//! A combination is a distinct set of groups in a VPC; its number stays the same for as long as an
//! interface has it. A change of rules writes a fresh set and stores its slot at the combination's
//! number: every interface with it follows at once.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use hedgerow_core::sg::{Direction, Group, GroupId, Ipv4Prefix, RuleId};

use super::FabricError;
use super::compile::{Gate, compile};
use super::layout::{Bits, Block, GroupKey, SetRecord};
use super::maps::{Maps, Row, limits};
use super::slots::{Pool, QUARANTINE, Slots};

/// Bits of [`Direction`] in map keys, `HR_INGRESS` and `HR_EGRESS`.
pub const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// How long the rules of a replaced set can still be looked up by events that name it.
const HISTORY: Duration = Duration::from_secs(60);

/// A set of groups in a VPC.
type Members = (u32, BTreeSet<GroupId>);

#[derive(Debug)]
struct Combination {
    number: u32,
    interfaces: u32,
    set: Installed,
}

/// A compiled set in the maps, and what must be given back when it goes.
#[derive(Debug)]
struct Installed {
    slot: u32,
    id: u32,
    gates: [Gate; 2],
    tables: Vec<u32>,
    blocks: Vec<u32>,
    bits: Vec<u32>,
    prefixes: Vec<(u32, Ipv4Prefix)>,
    peers: Vec<GroupKey>,
}

impl Installed {
    fn empty(slot: u32, id: u32, gates: [Gate; 2]) -> Self {
        let (tables, blocks, bits) = Default::default();
        Self { slot, id, gates, tables, blocks, bits, prefixes: Vec::new(), peers: Vec::new() }
    }
}

/// All groups and combinations.
#[derive(Debug)]
pub struct Groups {
    groups: HashMap<(u32, GroupId), Group>,
    combinations: HashMap<Members, Combination>,
    numbers: Slots,
    sets: Slots,
    next_id: u32,
    tables: Pool<Block>,
    blocks: Pool<Block>,
    bits: Pool<Bits>,
    retired: VecDeque<(Instant, Installed)>,
    rules: HashMap<u32, [Vec<RuleId>; 2]>,
    past: VecDeque<(Instant, u32)>,
}

/// Acquires `value` from the pool and writes it if it is new.
fn keep<T: std::hash::Hash + Eq + Copy + aya::Pod>(
    pool: &mut Pool<T>,
    row: &mut Row<T>,
    value: &T,
    users: &mut Vec<u32>,
    now: Instant,
) -> Result<u32, FabricError> {
    let (slot, fresh) = pool.acquire(value, now).ok_or(FabricError::Full(row.name()))?;
    users.push(slot);
    if fresh {
        row.put(slot, value)?;
    }
    Ok(slot)
}

impl Groups {
    /// Nothing is known; combination 0 and set 0 mean "no groups" and stay empty.
    pub fn new() -> Self {
        Self {
            groups: HashMap::new(),
            combinations: HashMap::new(),
            numbers: Slots::new(1, limits::COMBINATIONS),
            sets: Slots::new(1, limits::SETS),
            next_id: 1,
            tables: Pool::new(1, limits::TABLES),
            blocks: Pool::new(1, limits::BLOCKS),
            bits: Pool::new(1, limits::BITS),
            retired: VecDeque::new(),
            rules: HashMap::new(),
            past: VecDeque::new(),
        }
    }

    /// The rule that an event names; `None` once the set is long replaced.
    pub fn rule(&self, set: u32, direction: Direction, number: u16) -> Option<&RuleId> {
        self.rules.get(&set)?[index(direction)].get(usize::from(number))
    }

    /// Changes a group's rules, for every combination that holds it.
    pub fn put_group(
        &mut self,
        maps: &mut Maps,
        vpc: u32,
        group: Group,
        now: Instant,
    ) -> Result<(), FabricError> {
        let key = (vpc, group.id.clone());
        if self.groups.get(&key) == Some(&group) {
            return Ok(());
        }
        self.groups.insert(key.clone(), group);
        self.recompile(maps, &key, now)
    }

    /// Forgets a group; combinations that still hold it lose its rules.
    pub fn remove_group(
        &mut self,
        maps: &mut Maps,
        vpc: u32,
        group: &GroupId,
        now: Instant,
    ) -> Result<(), FabricError> {
        let key = (vpc, group.clone());
        if self.groups.remove(&key).is_none() {
            return Ok(());
        }
        self.recompile(maps, &key, now)
    }

    /// The number of a combination for one more interface; compiled and visible when it returns.
    pub fn acquire(
        &mut self,
        maps: &mut Maps,
        vpc: u32,
        groups: &BTreeSet<GroupId>,
        now: Instant,
    ) -> Result<u32, FabricError> {
        if groups.is_empty() {
            return Ok(0);
        }
        let members = (vpc, groups.clone());
        if let Some(known) = self.combinations.get_mut(&members) {
            known.interfaces += 1;
            return Ok(known.number);
        }
        let number = self.numbers.take(now).ok_or(FabricError::Full("combination_sets"))?;
        let made = self
            .install(maps, &members, Some((number, groups)), now)
            .and_then(|set| self.introduce(maps, vpc, number, groups, now).map(|()| set));
        let set = match made {
            Ok(set) => set,
            Err(error) => {
                self.numbers.release(number, now);
                return Err(error);
            }
        };
        maps.combination_sets.store(number, set.slot);
        self.combinations.insert(members, Combination { number, interfaces: 1, set });
        Ok(number)
    }

    /// One interface less has the combination.
    pub fn release(
        &mut self,
        maps: &mut Maps,
        vpc: u32,
        groups: &BTreeSet<GroupId>,
        now: Instant,
    ) -> Result<(), FabricError> {
        let members = (vpc, groups.clone());
        let Some(known) = self.combinations.get_mut(&members) else { return Ok(()) };
        known.interfaces -= 1;
        if known.interfaces > 0 {
            return Ok(());
        }
        let Some(gone) = self.combinations.remove(&members) else { return Ok(()) };
        maps.combination_sets.store(gone.number, 0);
        for ((_, _), other) in self.combinations.iter_mut().filter(|((v, _), _)| *v == vpc) {
            for key in other.set.peers.extract_if(.., |key| key.combination == gone.number) {
                maps.group_peers.remove(&key)?;
            }
        }
        self.numbers.release(gone.number, now);
        self.retire(gone.set, now);
        Ok(())
    }

    /// Takes back what no packet in flight can be reading any more.
    pub fn reap(&mut self, maps: &mut Maps, now: Instant) -> Result<(), FabricError> {
        while let Some((since, _)) = self.retired.front()
            && now.saturating_duration_since(*since) >= QUARANTINE
            && let Some((_, set)) = self.retired.pop_front()
        {
            self.dismantle(maps, set, now)?;
        }
        while let Some((since, id)) = self.past.front().copied()
            && now.saturating_duration_since(since) >= HISTORY
        {
            self.past.pop_front();
            self.rules.remove(&id);
        }
        Ok(())
    }

    fn recompile(
        &mut self,
        maps: &mut Maps,
        changed: &(u32, GroupId),
        now: Instant,
    ) -> Result<(), FabricError> {
        let affected: Vec<Members> = self
            .combinations
            .keys()
            .filter(|(vpc, groups)| *vpc == changed.0 && groups.contains(&changed.1))
            .cloned()
            .collect();
        let mut result = Ok(());
        for members in affected {
            let set = self.install(maps, &members, None, now);
            let Some(known) = self.combinations.get_mut(&members) else { continue };
            match set {
                Ok(set) => {
                    maps.combination_sets.store(known.number, set.slot);
                    let old = std::mem::replace(&mut known.set, set);
                    self.retire(old, now);
                }
                // Neither the old rules nor a part of the new ones: nothing passes.
                Err(error) => {
                    maps.combination_sets.store(known.number, 0);
                    result = Err(error);
                }
            }
        }
        result
    }

    /// Compiles a combination into fresh entries that nothing points to yet. `newcomer` is the
    /// combination itself while it is not in the list of peers.
    fn install(
        &mut self,
        maps: &mut Maps,
        members: &Members,
        newcomer: Option<(u32, &BTreeSet<GroupId>)>,
        now: Instant,
    ) -> Result<Installed, FabricError> {
        let (vpc, groups) = members;
        let of = |direction| {
            let groups = groups.iter().filter_map(|id| self.groups.get(&(*vpc, id.clone())));
            compile(groups, direction)
        };
        let gates = [of(Direction::Ingress)?, of(Direction::Egress)?];
        let slot = self.sets.take(now).ok_or(FabricError::Full("sets"))?;
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1).max(1);
        let mut set = Installed::empty(slot, id, gates);
        let peers: Vec<(u32, BTreeSet<GroupId>)> = self
            .combinations
            .iter()
            .filter(|((v, _), _)| v == vpc)
            .map(|((_, groups), known)| (known.number, groups.clone()))
            .chain(newcomer.map(|(number, groups)| (number, groups.clone())))
            .collect();
        let written = self.write(maps, &mut set, now).and_then(|()| {
            peers.iter().try_for_each(|(number, groups)| {
                add_peer(&mut self.bits, maps, &mut set, *number, groups, now)
            })
        });
        if let Err(error) = written {
            self.retired.push_back((now, set));
            return Err(error);
        }
        self.rules.insert(id, set.gates.each_ref().map(|gate| gate.rules.clone()));
        Ok(set)
    }

    /// Writes tables, blocks, bits, prefixes and the record of a set.
    fn write(
        &mut self,
        maps: &mut Maps,
        set: &mut Installed,
        now: Instant,
    ) -> Result<(), FabricError> {
        let mut record = SetRecord { id: set.id, tables: [0; 6], others: [0; 2] };
        for (direction, gate) in set.gates.iter().enumerate() {
            let mut bits = Vec::with_capacity(gate.bits.len());
            for value in &gate.bits {
                let slot = match *value == Bits::NONE {
                    true => 0,
                    false => keep(&mut self.bits, &mut maps.rule_bits, value, &mut set.bits, now)?,
                };
                bits.push(slot as u16);
            }
            let mut blocks = Vec::with_capacity(gate.blocks.len());
            for block in &gate.blocks {
                let block = Block { at: block.at.map(|local| bits[usize::from(local)]) };
                let row = &mut maps.port_blocks;
                blocks.push(keep(&mut self.blocks, row, &block, &mut set.blocks, now)? as u16);
            }
            for (class, table) in gate.tables.iter().enumerate() {
                let table = Block { at: table.at.map(|local| blocks[usize::from(local)]) };
                let row = &mut maps.port_tables;
                record.tables[direction * 3 + class] =
                    keep(&mut self.tables, row, &table, &mut set.tables, now)?;
            }
            record.others[direction] = u32::from(blocks[usize::from(gate.others)]);
            let key = set.slot << 1 | direction as u32;
            for (prefix, value) in &gate.prefixes {
                let row = &mut maps.rule_bits;
                let bits = keep(&mut self.bits, row, value, &mut set.bits, now)?;
                maps.prefixes.put(key, *prefix, bits)?;
                set.prefixes.push((key, *prefix));
            }
        }
        maps.sets.put(set.slot, &record)
    }

    /// Lets the existing sets of the VPC know a new combination as peer.
    fn introduce(
        &mut self,
        maps: &mut Maps,
        vpc: u32,
        number: u32,
        groups: &BTreeSet<GroupId>,
        now: Instant,
    ) -> Result<(), FabricError> {
        for ((v, _), known) in &mut self.combinations {
            if *v == vpc {
                add_peer(&mut self.bits, maps, &mut known.set, number, groups, now)?;
            }
        }
        Ok(())
    }

    fn retire(&mut self, set: Installed, now: Instant) {
        self.past.push_back((now, set.id));
        self.retired.push_back((now, set));
    }

    fn dismantle(
        &mut self,
        maps: &mut Maps,
        set: Installed,
        now: Instant,
    ) -> Result<(), FabricError> {
        for (gate, prefix) in &set.prefixes {
            maps.prefixes.remove(*gate, *prefix)?;
        }
        for key in &set.peers {
            maps.group_peers.remove(key)?;
        }
        set.tables.iter().for_each(|slot| self.tables.release(*slot, now));
        set.blocks.iter().for_each(|slot| self.blocks.release(*slot, now));
        set.bits.iter().for_each(|slot| self.bits.release(*slot, now));
        self.sets.release(set.slot, now);
        Ok(())
    }
}

/// Position of a direction in arrays shared with C.
fn index(direction: Direction) -> usize {
    match direction {
        Direction::Ingress => 0,
        Direction::Egress => 1,
    }
}

/// Lets `set` know the peer combination `number`.
fn add_peer(
    pool: &mut Pool<Bits>,
    maps: &mut Maps,
    set: &mut Installed,
    number: u32,
    groups: &BTreeSet<GroupId>,
    now: Instant,
) -> Result<(), FabricError> {
    for direction in DIRECTIONS.map(index) {
        let bits = set.gates[direction].peer_bits(groups);
        if bits == Bits::NONE {
            continue;
        }
        let key = GroupKey { gate: set.slot << 1 | direction as u32, combination: number };
        let slot = keep(pool, &mut maps.rule_bits, &bits, &mut set.bits, now)?;
        maps.group_peers.put(key, slot)?;
        set.peers.push(key);
    }
    Ok(())
}
