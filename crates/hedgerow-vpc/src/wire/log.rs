//! From the fabric's events to flow records: equal drops within a second become one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use hedgerow_core::reason::Reason;
use hedgerow_core::sg::Direction;
use hedgerow_datapath::fabric::Event;

use super::gateways;
use super::record::{FlowRecord, gates};

/// How long equal drops are collected.
pub(super) const WINDOW: Duration = Duration::from_secs(1);

/// What makes drops equal: all of a verdict but time and size.
type Key = (u32, Option<u32>, Option<u32>, [IpAddr; 2], [u16; 2], u8, Reason);

/// Collects drops; time is an argument.
#[derive(Debug, Default)]
pub(super) struct Log {
    drops: HashMap<Key, FlowRecord>,
}

impl Log {
    /// The gates at which `event` makes a record. What stands for an internet gateway has no log.
    pub(super) fn gates(event: &Event) -> &'static [Direction] {
        let outside = |key: Option<u32>| key.is_some_and(gateways::is_gateway);
        match event.reason {
            Reason::Allowed if outside(event.from) => &[Direction::Ingress],
            Reason::Allowed if outside(event.to) => &[Direction::Egress],
            reason => {
                let unsent = event.from.is_none() || outside(event.from);
                gates(reason, unsent && event.to.is_some())
            }
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
            [event.source, event.destination],
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

#[cfg(test)]
mod tests {
    use super::super::record::{Action, Gate};
    use super::*;

    fn event(port: u16, reason: Reason) -> Event {
        Event {
            time: 0,
            vpc: 1,
            from: Some(1),
            to: Some(2),
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
            source_port: 40000,
            destination_port: port,
            protocol: 6,
            bytes: 74,
            reason,
            ingress: None,
            egress: None,
        }
    }

    fn record(event: &Event, at: SystemTime) -> FlowRecord {
        FlowRecord {
            start: at,
            end: at,
            vpc: "vpc-1".into(),
            gate: Gate {
                interface: Some("eni-2".into()),
                direction: Direction::Ingress,
                groups: vec!["sg-a".into(), "sg-b".into()],
            },
            other: None,
            source: event.source,
            destination: event.destination,
            source_port: event.source_port,
            destination_port: event.destination_port,
            protocol: event.protocol,
            packets: 1,
            bytes: u64::from(event.bytes),
            reason: event.reason,
            rule: None,
        }
    }

    #[test]
    fn equal_drops_of_a_second_are_one_record() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let after = |ms| start + Duration::from_millis(ms);
        let mut log = Log::default();
        for (ms, port) in [(0, 22), (300, 22), (400, 23), (900, 22)] {
            let event = event(port, Reason::IngressGroups);
            log.add_drop(&event, after(ms), || record(&event, after(ms)));
        }
        assert_eq!(log.flush(after(999)), []);
        let flushed = log.flush(after(1000));
        assert_eq!(flushed.len(), 1, "port 23 came later and waits");
        assert_eq!((flushed[0].packets, flushed[0].bytes, flushed[0].end), (3, 222, after(900)));
        assert_eq!(flushed[0].action(), Action::Reject);
        assert_eq!(
            flushed[0].line("123456789012"),
            "2 123456789012 eni-2 10.0.0.1 10.0.0.2 40000 22 6 3 222 1000 1000 REJECT OK \
             groups=sg-a,sg-b reason=ingress_groups rule=-"
        );
        assert_eq!(log.flush_all().len(), 1);
        assert!(log.is_empty());
    }

    #[test]
    fn a_clock_set_back_keeps_nothing_for_ever() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let mut log = Log::default();
        let event = event(22, Reason::IngressGroups);
        log.add_drop(&event, start, || record(&event, start));
        assert_eq!(log.flush(start - Duration::from_secs(500)).len(), 1);
    }

    #[test]
    fn an_accepted_flow_is_logged_at_both_gates() {
        let both = [Direction::Egress, Direction::Ingress];
        assert_eq!(Log::gates(&event(1, Reason::Allowed)), both);
        assert_eq!(Log::gates(&event(1, Reason::IngressGroups)), [Direction::Ingress]);
        assert_eq!(Log::gates(&event(1, Reason::SourceMac)), [Direction::Egress]);
        for from in [None, Some(gateways::internet_key(1))] {
            let from_outside = Event { from, ..event(1, Reason::EgressOnly) };
            assert_eq!(Log::gates(&from_outside), [Direction::Ingress]);
            let nobodys = Event { to: None, ..from_outside };
            assert_eq!(Log::gates(&nobodys), [Direction::Egress]);
        }
    }
}
