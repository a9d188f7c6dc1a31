//! Compiled sets of rules in the maps: written to fresh entries, taken back when no packet in flight
//! can be reading them any more.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use hedgerow_core::sg::{Direction, GroupId, IpPrefix, RuleId};

use super::FabricError;
use super::compile::Gate;
use super::layout::{Bits, Block, GroupKey, RULE_WORDS, SetRecord};
use super::maps::{Maps, Row, limits};
use super::slots::{Pool, QUARANTINE, Slots};

/// Bits of [`Direction`] in map keys, `HR_INGRESS` and `HR_EGRESS`.
pub const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// How long the rules of a replaced set can still be looked up by events that name it.
const HISTORY: Duration = Duration::from_secs(60);

/// A compiled set in the maps, and what must be given back when it goes.
#[derive(Debug)]
pub struct Installed {
    pub(super) slot: u32,
    id: u32,
    gates: [Gate; 2],
    tables: Vec<u32>,
    blocks: Vec<u32>,
    bits: Vec<u32>,
    prefixes: Vec<(u32, IpPrefix)>,
    pub(super) peers: Vec<GroupKey>,
}

impl Installed {
    fn empty(slot: u32, id: u32, gates: [Gate; 2]) -> Self {
        let (tables, blocks, bits) = Default::default();
        Self { slot, id, gates, tables, blocks, bits, prefixes: Vec::new(), peers: Vec::new() }
    }
}

/// All sets in the maps, and the numbers of the combinations that point to them.
#[derive(Debug)]
pub struct Sets {
    pub(super) numbers: Slots,
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

impl Sets {
    /// Set 0 means "no rules" and stays empty.
    pub fn new() -> Self {
        Self {
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

    /// Writes a set that nothing points to yet; `peers` are the combinations it may meet.
    pub fn install<'a>(
        &mut self,
        maps: &mut Maps,
        gates: [Gate; 2],
        peers: impl IntoIterator<Item = (u32, &'a BTreeSet<GroupId>)>,
        now: Instant,
    ) -> Result<Installed, FabricError> {
        let slot = self.sets.take(now).ok_or(FabricError::Full("sets"))?;
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1).max(1);
        let mut set = Installed::empty(slot, id, gates);
        let written = self.write(maps, &mut set, now).and_then(|()| {
            let mut peers = peers.into_iter();
            peers
                .try_for_each(|(number, groups)| self.add_peer(maps, &mut set, number, groups, now))
        });
        if let Err(error) = written {
            self.retired.push_back((now, set));
            return Err(error);
        }
        self.rules.insert(id, set.gates.each_ref().map(|gate| gate.rules.clone()));
        Ok(set)
    }

    /// Lets `set` know the peer combination `number`.
    pub fn add_peer(
        &mut self,
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
            let slot = keep(&mut self.bits, &mut maps.rule_bits, &bits, &mut set.bits, now)?;
            maps.group_peers.put(key, slot)?;
            set.peers.push(key);
        }
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

    /// The number in the maps of a bit vector of `set`; 0 is the one without bits.
    fn bits_of(
        &mut self,
        maps: &mut Maps,
        bits: &Bits,
        users: &mut Vec<u32>,
        now: Instant,
    ) -> Result<u32, FabricError> {
        if *bits == Bits::NONE {
            return Ok(0);
        }
        keep(&mut self.bits, &mut maps.rule_bits, bits, users, now)
    }

    /// Writes tables, blocks, bits, prefixes and the record of a set.
    fn write(
        &mut self,
        maps: &mut Maps,
        set: &mut Installed,
        now: Instant,
    ) -> Result<(), FabricError> {
        let mut record = SetRecord {
            id: set.id,
            tables: [0; 8],
            others: [0; 2],
            words: [0; 2],
            denies: [0; 2],
            groups: [0; 2],
            open: [0; 8],
        };
        for (direction, gate) in set.gates.iter().enumerate() {
            record.words[direction] = gate.rules.len().div_ceil(64).min(RULE_WORDS) as u32;
            record.groups[direction] = u32::from(!gate.groups.is_empty());
            record.denies[direction] = self.bits_of(maps, &gate.denies, &mut set.bits, now)?;
            for (class, answered) in set.gates[1 - direction].answers.iter().enumerate() {
                if *answered {
                    // The first two answers are those of IPv4.
                    record.open[class / 2 * 4 + direction * 2 + class % 2] =
                        self.bits_of(maps, &gate.open, &mut set.bits, now)?;
                }
            }
            let mut bits = Vec::with_capacity(gate.bits.len());
            for value in &gate.bits {
                bits.push(self.bits_of(maps, value, &mut set.bits, now)? as u16);
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
                record.tables[direction * 4 + class] =
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

    /// Nothing points to `set` any more.
    pub fn retire(&mut self, set: Installed, now: Instant) {
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
