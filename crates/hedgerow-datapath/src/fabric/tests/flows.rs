//! The table of flows: what it remembers when there are many, what it forgets first, and that two
//! processors do not disturb each other. Needs root.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use super::super::bench::{BENCH, NEW_FLOWS};
use super::*;

/// The first flows, which can be sent again at random.
const FIRST: u32 = 65_536;
const TABLE: usize = 4096 * 32;

/// A fabric under many UDP flows, each of which the server lets in.
struct Crowd(Bench);

impl Crowd {
    fn new() -> Self {
        let fabric = Fabric::load_object(BENCH, &["spread"]).expect("load (root?)");
        let mut bench = Bench::of(fabric);
        bench.group("sg-server", Direction::Ingress, &[Traffic::Udp { from: 9, to: 16 }]);
        bench.fabric.put_port(PORT, 1, 0).expect("put port");
        Self(bench)
    }

    /// Sends so many thousands of packets; how many of them were taken for new flows.
    fn send(&mut self, thousands: u32, mark: u32) -> usize {
        (0..thousands.div_ceil(8)).map(|_| self.run(mark)).sum()
    }

    /// 8,192 packets: no more events than fit the ring.
    fn run(&mut self, mark: u32) -> usize {
        spread(&self.0, mark);
        let events = self.0.events.drain();
        assert!(events.iter().all(|event| event.reason == Reason::Allowed), "none is dropped");
        events.len()
    }
}

fn spread(bench: &Bench, mark: u32) {
    let datagram = frame(CLIENT, SERVER, 17, &[3, 232, 0, 9, 0, 8, 0, 0]);
    bench.run_program("spread", &datagram, 8192, mark);
}

#[test]
fn a_table_half_full_forgets_nothing() {
    let mut crowd = Crowd::new();
    assert_eq!(crowd.send(64, NEW_FLOWS), FIRST as usize);
    assert_eq!(crowd.0.flows().len(), FIRST as usize);
    assert_eq!(crowd.send(200, FIRST - 1), 0, "all are known");
}

#[test]
fn a_full_table_forgets_what_was_used_least_recently() {
    let mut crowd = Crowd::new();
    crowd.send(320, NEW_FLOWS);
    assert_eq!(crowd.0.flows().len(), TABLE, "no entry is left unused");
    // Some of the first had to go, and come back in place of others.
    let back = crowd.send(1000, FIRST - 1);
    assert!(back > 0, "the table is smaller than the crowd");
    // So that they were used at another tick than the others.
    thread::sleep(Duration::from_millis(2200));
    crowd.send(1000, FIRST - 1);
    assert_eq!(crowd.send(40, NEW_FLOWS), 40_960);
    let forgotten = crowd.send(400, FIRST - 1);
    assert!(forgotten < FIRST as usize / 50, "{forgotten} of those in use were forgotten");
}

#[test]
fn what_has_expired_makes_room() {
    let mut crowd = Crowd::new();
    let timeouts = Timeouts { udp: 4, ..Timeouts::default() };
    for key in [1, 2] {
        let mut view = crowd.0.fabric.interface(key).expect("known").clone();
        view.timeouts = timeouts;
        crowd.0.fabric.put_interface(view, Instant::now()).expect("put interface");
    }
    crowd.send(160, NEW_FLOWS);
    thread::sleep(Duration::from_millis(6500));
    let new = crowd.send(1000, FIRST - 1);
    assert!(new <= FIRST as usize, "{new} new flows of {FIRST}: live ones were forgotten");
    assert!(new > FIRST as usize * 9 / 10, "{new}: they had expired");
    assert!(crowd.0.flows().len() < TABLE, "a set without room is swept");
}

#[test]
fn two_processors_leave_every_entry_whole_and_none_twice() {
    let crowd = Crowd::new();
    let bench = &crowd.0;
    // More flows than fit, so that entries change hands all the time.
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..60).for_each(|_| spread(bench, (1 << 18) - 1)));
        }
    });
    let entries = bench.flows();
    let key = |entry: &[u32; LINE]| <[u32; 6]>::try_from(&entry[KEY..KEY + 6]).expect("six words");
    let keys: BTreeSet<_> = entries.iter().map(key).collect();
    assert_eq!(keys.len(), entries.len(), "no flow is there twice");
    assert!(entries.iter().all(|entry| entry[VERSION] % 2 == 0), "none is half written");
    let addresses = [CLIENT, SERVER].map(|address| u32::from_ne_bytes(address.octets()));
    assert!(keys.iter().all(|key| addresses.iter().all(|address| key[2..4].contains(address))));
}
