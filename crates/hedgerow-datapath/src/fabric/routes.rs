//! Route tables: a change writes all routes under a fresh version and stores that.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use hedgerow_core::route::Target;
use hedgerow_core::sg::IpPrefix;

use super::FabricError;
use super::maps::{Maps, limits};
use super::slots::{QUARANTINE, Slots};

/// `HR_ROUTE_…`; every other word is an interface's key.
const BLACKHOLE: u32 = 0;
const UNSERVED: u32 = u32::MAX - 1;
const LOCAL: u32 = u32::MAX;

#[derive(Debug)]
struct Table {
    number: u32,
    version: u32,
    routes: Vec<(IpPrefix, Target)>,
}

/// All tables, by their keys.
#[derive(Debug)]
pub struct Routes {
    tables: HashMap<u32, Table>,
    numbers: Slots,
    next_version: u32,
    retired: VecDeque<(Instant, Table)>,
}

impl Routes {
    /// Number 0 means "the local route alone" and version 0 has no routes.
    pub fn new() -> Self {
        Self {
            tables: HashMap::new(),
            numbers: Slots::new(1, limits::ROUTE_TABLES),
            next_version: 1,
            retired: VecDeque::new(),
        }
    }

    /// The number that stands for the table; it leads nowhere until the table is put.
    pub fn number(&mut self, key: u32, now: Instant) -> Result<u32, FabricError> {
        if let Some(known) = self.tables.get(&key) {
            return Ok(known.number);
        }
        let number = self.numbers.take(now).ok_or(FabricError::Full("route_versions"))?;
        self.tables.insert(key, Table { number, version: 0, routes: Vec::new() });
        Ok(number)
    }

    /// The table is new or changed. On an error the old routes stand.
    pub fn put(
        &mut self,
        maps: &mut Maps,
        key: u32,
        routes: Vec<(IpPrefix, Target)>,
        now: Instant,
    ) -> Result<(), FabricError> {
        let number = self.number(key, now)?;
        let Some(known) = self.tables.get_mut(&key) else { return Ok(()) };
        if known.version != 0 && known.routes == routes {
            return Ok(());
        }
        let new = Table { number, version: self.next_version, routes };
        self.next_version = self.next_version.wrapping_add(1).max(1);
        let written = new.routes.iter().try_for_each(|(prefix, target)| {
            let word = match target {
                Target::Local => LOCAL,
                Target::Blackhole => BLACKHOLE,
                Target::Unserved => UNSERVED,
                Target::Interface(key) => *key,
            };
            maps.routes.put(new.version, *prefix, word)
        });
        let old = match written {
            Ok(()) => {
                maps.route_versions.store(number, new.version);
                std::mem::replace(known, new)
            }
            Err(_) => new,
        };
        self.retired.push_back((now, old));
        written
    }

    /// The table is gone, and no interface has it; absent is fine.
    pub fn remove(&mut self, maps: &mut Maps, key: u32, now: Instant) {
        let Some(gone) = self.tables.remove(&key) else { return };
        maps.route_versions.store(gone.number, 0);
        self.numbers.release(gone.number, now);
        self.retired.push_back((now, gone));
    }

    /// Takes back what no packet in flight can be reading any more.
    pub fn reap(&mut self, maps: &mut Maps, now: Instant) -> Result<(), FabricError> {
        while let Some((since, _)) = self.retired.front()
            && now.saturating_duration_since(*since) >= QUARANTINE
            && let Some((_, table)) = self.retired.pop_front()
        {
            for (prefix, _) in &table.routes {
                maps.routes.remove(table.version, *prefix)?;
            }
        }
        Ok(())
    }
}
