//! Combinations of groups, and their compiled rules in the maps.
//!
//! A combination is a distinct set of groups in a VPC; its number stays the same for as long as an
//! interface has it. A change of rules writes a fresh set and stores its slot at the combination's
//! number: every interface with it follows at once.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use hedgerow_core::sg::{Direction, Group, GroupId};

use super::FabricError;
use super::compile::{Gate, compile};
use super::maps::Maps;
use super::sets::{Installed, Sets};

/// A set of groups in a VPC.
type Members = (u32, BTreeSet<GroupId>);

#[derive(Debug)]
struct Combination {
    number: u32,
    interfaces: u32,
    set: Installed,
    /// Its rules could not be put: nothing passes until one of its groups is put again.
    failed: bool,
}

/// All groups and combinations.
#[derive(Debug)]
pub struct Groups {
    groups: HashMap<(u32, GroupId), Group>,
    combinations: HashMap<Members, Combination>,
}

impl Groups {
    /// Nothing is known; combination 0 means "no groups" and stays empty.
    pub fn new() -> Self {
        Self { groups: HashMap::new(), combinations: HashMap::new() }
    }

    /// Changes a group's rules, for every combination that holds it.
    pub fn put_group(
        &mut self,
        sets: &mut Sets,
        maps: &mut Maps,
        vpc: u32,
        group: Group,
        now: Instant,
    ) -> Result<(), FabricError> {
        let key = (vpc, group.id.clone());
        let failed = || self.holders(&key).any(|(_, known)| known.failed);
        if self.groups.get(&key) == Some(&group) && !failed() {
            return Ok(());
        }
        self.groups.insert(key.clone(), group);
        self.recompile(sets, maps, &key, now)
    }

    /// Forgets a group; combinations that still hold it lose its rules.
    pub fn remove_group(
        &mut self,
        sets: &mut Sets,
        maps: &mut Maps,
        vpc: u32,
        group: &GroupId,
        now: Instant,
    ) -> Result<(), FabricError> {
        let key = (vpc, group.clone());
        if self.groups.remove(&key).is_none() {
            return Ok(());
        }
        self.recompile(sets, maps, &key, now)
    }

    /// The number of a combination for one more interface; compiled and visible when it returns.
    pub fn acquire(
        &mut self,
        sets: &mut Sets,
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
        let number = sets.numbers.take(now).ok_or(FabricError::Full("combination_sets"))?;
        let made = self
            .install(sets, maps, &members, Some((number, groups)), now)
            .and_then(|set| self.introduce(sets, maps, vpc, number, groups, now).map(|()| set));
        let set = match made {
            Ok(set) => set,
            Err(error) => {
                sets.numbers.release(number, now);
                return Err(error);
            }
        };
        maps.combination_sets.store(number, set.slot);
        self.combinations
            .insert(members, Combination { number, interfaces: 1, set, failed: false });
        Ok(number)
    }

    /// One interface less has the combination.
    pub fn release(
        &mut self,
        sets: &mut Sets,
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
        sets.numbers.release(gone.number, now);
        sets.retire(gone.set, now);
        Ok(())
    }

    /// The combinations with a group.
    fn holders<'a>(
        &'a self,
        (vpc, group): &'a (u32, GroupId),
    ) -> impl Iterator<Item = (&'a Members, &'a Combination)> {
        self.combinations.iter().filter(move |((v, groups), _)| v == vpc && groups.contains(group))
    }

    fn recompile(
        &mut self,
        sets: &mut Sets,
        maps: &mut Maps,
        changed: &(u32, GroupId),
        now: Instant,
    ) -> Result<(), FabricError> {
        let affected: Vec<Members> =
            self.holders(changed).map(|(members, _)| members.clone()).collect();
        let mut result = Ok(());
        for members in affected {
            let set = self.install(sets, maps, &members, None, now);
            let Some(known) = self.combinations.get_mut(&members) else { continue };
            known.failed = set.is_err();
            match set {
                Ok(set) => {
                    maps.combination_sets.store(known.number, set.slot);
                    let old = std::mem::replace(&mut known.set, set);
                    sets.retire(old, now);
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
        &self,
        sets: &mut Sets,
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
        let gates: [Gate; 2] = [of(Direction::Ingress)?, of(Direction::Egress)?];
        let peers = self
            .combinations
            .iter()
            .filter(|((v, _), _)| v == vpc)
            .map(|((_, groups), known)| (known.number, groups))
            .chain(newcomer);
        sets.install(maps, gates, peers, now)
    }

    /// Lets the existing sets of the VPC know a new combination as peer.
    fn introduce(
        &mut self,
        sets: &mut Sets,
        maps: &mut Maps,
        vpc: u32,
        number: u32,
        groups: &BTreeSet<GroupId>,
        now: Instant,
    ) -> Result<(), FabricError> {
        for ((v, _), known) in &mut self.combinations {
            if *v == vpc {
                sets.add_peer(maps, &mut known.set, number, groups, now)?;
            }
        }
        Ok(())
    }
}
