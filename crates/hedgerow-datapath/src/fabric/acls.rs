//! Network ACLs: each is a combination of its own, with rules that deny.

use std::collections::HashMap;
use std::time::Instant;

use hedgerow_core::acl::Entry;
use hedgerow_core::sg::Direction;

use super::FabricError;
use super::compile::{Gate, compile_acl};
use super::maps::Maps;
use super::sets::{Installed, Sets};

/// A network ACL; both lists in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acl {
    /// For packets into the subnet.
    pub ingress: Vec<Entry>,
    /// For packets out of the subnet.
    pub egress: Vec<Entry>,
}

#[derive(Debug)]
struct Known {
    number: u32,
    acl: Acl,
    set: Option<Installed>,
}

/// All lists, by their keys.
#[derive(Debug, Default)]
pub struct Acls(HashMap<u32, Known>);

impl Acls {
    /// The combination that stands for the list; denies everything until the list is put.
    pub fn number(&mut self, sets: &mut Sets, key: u32, now: Instant) -> Result<u32, FabricError> {
        if let Some(known) = self.0.get(&key) {
            return Ok(known.number);
        }
        let number = sets.numbers.take(now).ok_or(FabricError::Full("combination_sets"))?;
        self.0.insert(key, Known { number, acl: Acl::default(), set: None });
        Ok(number)
    }

    /// The list is new or changed. One that cannot be put denies everything.
    pub fn put(
        &mut self,
        sets: &mut Sets,
        maps: &mut Maps,
        key: u32,
        acl: Acl,
        now: Instant,
    ) -> Result<(), FabricError> {
        let number = self.number(sets, key, now)?;
        let Some(known) = self.0.get_mut(&key) else { return Ok(()) };
        if known.set.is_some() && known.acl == acl {
            return Ok(());
        }
        let gates = || -> Result<[Gate; 2], FabricError> {
            Ok([
                compile_acl(&acl.ingress, Direction::Ingress)?,
                compile_acl(&acl.egress, Direction::Egress)?,
            ])
        };
        let made = gates().and_then(|gates| sets.install(maps, gates, [], now));
        maps.combination_sets.store(number, made.as_ref().map_or(0, |set| set.slot));
        known.acl = acl;
        let (set, result) = match made {
            Ok(set) => (Some(set), Ok(())),
            Err(error) => (None, Err(error)),
        };
        if let Some(old) = std::mem::replace(&mut known.set, set) {
            sets.retire(old, now);
        }
        result
    }

    /// The list is gone, and no interface has it; absent is fine.
    pub fn remove(&mut self, sets: &mut Sets, maps: &mut Maps, key: u32, now: Instant) {
        let Some(gone) = self.0.remove(&key) else { return };
        maps.combination_sets.store(gone.number, 0);
        if let Some(set) = gone.set {
            sets.retire(set, now);
        }
        sets.numbers.release(gone.number, now);
    }
}
