//! From the fabric's events to flow records: equal drops within a second become one.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use hedgerow_core::reason::Reason;
use hedgerow_core::sg::Direction;
use hedgerow_datapath::fabric::Event;

use super::record::FlowRecord;

/// How long equal drops are collected.
pub(super) const WINDOW: Duration = Duration::from_secs(1);

/// What makes drops equal: all of a verdict but time and size.
type Key = (u32, Option<u32>, Option<u32>, [u32; 2], [u16; 2], u8, Reason);

/// Collects drops; time is an argument.
#[derive(Debug, Default)]
pub(super) struct Log {
    drops: HashMap<Key, FlowRecord>,
}

impl Log {
    /// The gates at which `event` makes a record. An accepted flow passed both.
    pub(super) fn gates(event: &Event) -> &'static [Direction] {
        match event.reason {
            Reason::Allowed => &[Direction::Egress, Direction::Ingress],
            Reason::IngressGroups => &[Direction::Ingress],
            _ => &[Direction::Egress],
        }
    }

    /// Counts a drop; `record` is called for the first of its kind in a window.
    pub(super) fn add_drop(
        &mut self,
        event: &Event,
        at: SystemTime,
        record: impl FnOnce() -> FlowRecord,
    ) {
        let key = (
            event.vpc,
            event.from,
            event.to,
            [event.source.to_bits(), event.destination.to_bits()],
            [event.source_port, event.destination_port],
            event.protocol,
            event.reason,
        );
        self.drops
            .entry(key)
            .and_modify(|known| {
                known.packets += 1;
                known.bytes += u64::from(event.bytes);
                known.end = at;
            })
            .or_insert_with(record);
    }

    /// Whether anything waits.
    pub(super) fn is_empty(&self) -> bool {
        self.drops.is_empty()
    }

    /// The records whose window is over, oldest first.
    pub(super) fn flush(&mut self, now: SystemTime) -> Vec<FlowRecord> {
        let over = |record: &FlowRecord| {
            // A clock set back must not keep records for ever.
            now.duration_since(record.start).is_ok_and(|age| age >= WINDOW) || now < record.start
        };
        let mut records: Vec<FlowRecord> =
            self.drops.extract_if(|_, record| over(record)).map(|(_, record)| record).collect();
        records.sort_by_key(|record| record.start);
        records
    }

    /// Everything that waits.
    pub(super) fn flush_all(&mut self) -> Vec<FlowRecord> {
        let mut records: Vec<FlowRecord> = self.drops.drain().map(|(_, record)| record).collect();
        records.sort_by_key(|record| record.start);
        records
    }
}
