//! `hedgerow-vpc` does with packets what the plain model says: thousands of random topologies are
//! made by EC2 requests, and the fate, the reason and the deciding rules of every packet compared.
//!
//! ```text
//!   generate ──► world ──requests──► state machine ──effects──► wire ──► fabric ◄── carry: packets
//!                  └──► model ─────────────── judges the same packets ──────────────┘   (run)
//! ```
//!
//! A failure shrinks and prints how to repeat it. What was found once is in `regressions`.

mod addresses;
mod carry;
mod cloud;
mod edit;
mod elastic;
mod frames;
mod generate;
mod model;
mod packet;
#[path = "../harness/raw.rs"]
mod raw;
mod regressions;
mod run;
mod six;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hedgerow_core::reason::Reason;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use carry::{Carrier, Live, TestRun};
use generate::{Topology, topology};
use run::{Tally, run};
use world::World;

/// `SEED` for all cases of a run, `SEED:NUMBER` for one of them.
const REPEAT: &str = "HEDGEROW_TOPOLOGY";
/// How many cases instead of the usual number.
const CASES: &str = "HEDGEROW_TOPOLOGIES";

/// How long a case may shrink.
const SHRINKING: Duration = Duration::from_secs(60);

/// How packets are carried.
#[derive(Clone, Copy)]
enum Mode {
    TestRun,
    Live,
}

/// A world and the way into it; made anew after a panic, which leaves it half changed.
struct Bench {
    mode: Mode,
    name: String,
    ready: Option<(World, Box<dyn Carrier>)>,
    worlds: u32,
}

impl Bench {
    fn new(mode: Mode, name: String) -> Self {
        Bench { mode, name, ready: None, worlds: 0 }
    }

    /// Runs one case and takes everything away again.
    fn run(&mut self, number: u32, topology: &Topology, first: bool) -> Result<Tally, String> {
        let fresh = self.ready.is_none();
        let (mut world, mut carrier) = self.ready.take().unwrap_or_else(|| self.start());
        if first || fresh {
            world.cloud.begin(number);
        }
        let case = || {
            let result = run(&mut world, carrier.as_mut(), topology);
            world.clear();
            let left = carrier.leftovers(&mut world);
            result.and_then(|tally| match left.is_empty() {
                true => Ok(tally),
                false => Err(format!("after the end came {left:?}")),
            })
        };
        let result = catch_unwind(AssertUnwindSafe(case));
        result.unwrap_or_else(|panic| Err(text_of(panic.as_ref()))).inspect(|_| {
            self.ready = Some((world, carrier));
        })
    }

    fn start(&mut self) -> (World, Box<dyn Carrier>) {
        self.worlds += 1;
        let world = World::new(format!("{}-{}", self.name, self.worlds));
        let carrier: Box<dyn Carrier> = match self.mode {
            Mode::TestRun => Box::new(TestRun),
            Mode::Live => Box::new(Live::new(&world)),
        };
        (world, carrier)
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

/// The random numbers of case `number`.
fn runner(seed: u64, number: u32) -> TestRunner {
    let mut bytes = [0x5a; 16];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..12].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::XorShift, &bytes);
    TestRunner::new_with_rng(Config::default(), rng)
}

/// Shrinks a case that failed: halves, quarters and single ones of what it is made of go, as long as
/// it differs. (Proptest would first make every number smaller.) The smallest found, and its
/// difference.
fn shrink(
    bench: &mut Bench,
    number: u32,
    mut smallest: Topology,
    mut why: String,
) -> (Topology, String) {
    let deadline = Instant::now() + SHRINKING;
    let mut smaller = true;
    while std::mem::take(&mut smaller) {
        for (inside, list) in places(&mut smallest) {
            let length = smallest.lists(inside).get(list).map_or(0, |list| list.length());
            let mut count = length.next_power_of_two();
            while count > 0 {
                let mut from = 0;
                while Instant::now() < deadline {
                    let mut candidate = smallest.clone();
                    match candidate.lists(inside).get_mut(list) {
                        Some(list) if from < list.length() => list.cut(from, count),
                        _ => break,
                    }
                    match bench.run(number, &candidate, false) {
                        Err(difference) => {
                            (smallest, why, smaller) = (candidate, difference, true);
                        }
                        Ok(_) => from += count,
                    }
                }
                count /= 2;
            }
        }
    }
    (smallest, why)
}

/// All lists of a topology: whether they are inside others, and which.
fn places(topology: &mut Topology) -> Vec<(bool, usize)> {
    let mut places = Vec::new();
    for inside in [false, true] {
        places.extend((0..topology.lists(inside).len()).map(|list| (inside, list)));
    }
    places
}

/// Runs cases `numbers` of a seed; panics at the first difference.
fn cases(bench: &mut Bench, test: &str, seed: u64, numbers: impl Iterator<Item = u32>) -> Tally {
    let mut tally = Tally::default();
    for number in numbers {
        let tree = topology().new_tree(&mut runner(seed, number)).expect("a topology");
        let topology = tree.current();
        match bench.run(number, &topology, true) {
            Ok(case) => tally.add(&case),
            Err(why) => {
                println!("{test} {REPEAT}={seed}:{number} differs, shrinking: {why}");
                let (smallest, why) = shrink(bench, number, topology, why);
                panic!(
                    "{smallest:#?}\n\nabove: the smallest topology that fails; here: how\n{why}\n\n\
                     repeat with: {REPEAT}={seed}:{number} cargo test -p hedgerow-vpc --test \
                     topologies {test}\n"
                );
            }
        }
    }
    tally
}

/// The seed, and one case only if one is to be repeated.
fn asked() -> (u64, Option<u32>) {
    let fresh = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos());
    let Ok(text) = std::env::var(REPEAT) else { return (fresh() as u64, None) };
    let (seed, number) = text.split_once(':').map_or((text.as_str(), None), |(seed, number)| {
        (seed, Some(number.parse().expect("the number after the colon")))
    });
    (seed.parse().expect("the seed is a number"), number)
}

/// Runs the cases on two threads, each with a fabric of its own.
fn all(mode: Mode, test: &str, usual: u32) -> Tally {
    let (seed, one) = asked();
    let count = std::env::var(CASES).map_or(usual, |count| count.parse().expect("a number"));
    let start = Instant::now();
    let name = |thread: u32| format!("t{}-{test:.1}{thread}", std::process::id());
    let mut tally = Tally::default();
    if let Some(number) = one {
        cases(&mut Bench::new(mode, name(0)), test, seed, [number].into_iter());
        return tally;
    }
    println!("{REPEAT}={seed}");
    std::thread::scope(|scope| {
        let half = |thread: u32| {
            let mut bench = Bench::new(mode, name(thread));
            cases(&mut bench, test, seed, (0..count).filter(move |n| n % 2 == thread))
        };
        let halves = [0, 1].map(|thread| scope.spawn(move || half(thread)));
        for half in halves {
            tally.add(&half.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    println!("{count} topologies in {:?}: {tally:?}", start.elapsed());
    if count >= usual {
        worthwhile(&tally, count as usize);
    }
    tally
}

/// Every outcome is common enough to mean something.
fn worthwhile(tally: &Tally, cases: usize) {
    let seen = |six, reason| tally.seen.get(&(six, reason)).copied().unwrap_or(0);
    assert!(tally.packets >= 5 * cases, "packets: {tally:?}");
    assert!(tally.of_the_link >= cases / 10, "packets for the link: {tally:?}");
    assert!(tally.narrow.iter().all(|rules| *rules >= cases / 50), "narrow rules: {tally:?}");
    assert!(tally.tracked >= cases / 5, "packets of tracked flows: {tally:?}");
    assert!(tally.changes >= cases, "changes: {tally:?}");
    for reason in [
        Reason::Allowed,
        Reason::UnknownVlan,
        Reason::SourceMac,
        Reason::SourceAddress,
        Reason::NoRoute,
        Reason::Multicast,
        Reason::EgressGroups,
        Reason::IngressGroups,
        Reason::Fragment,
        Reason::PeerDown,
        Reason::Blackhole,
        Reason::NetworkAclEgress,
        Reason::NetworkAclIngress,
        Reason::DestinationAddress,
    ] {
        for (six, few) in [(false, cases / 150), (true, cases / 200)] {
            assert!(seen(six, reason) >= few, "{reason}, six {six}: {tally:?}");
        }
    }
    for reason in [Reason::NoPublicAddress, Reason::UnknownPublicAddress] {
        assert!(seen(false, reason) >= cases / 100, "{reason}: {tally:?}");
    }
    assert!(tally.outside.iter().all(|packets| *packets >= cases / 50), "outside: {tally:?}");
    assert!(seen(true, Reason::Malformed) >= cases / 100, "extension headers: {tally:?}");
}

#[test]
fn ten_thousand_topologies_by_test_run() {
    all(Mode::TestRun, "ten_thousand_topologies_by_test_run", 10_000);
}

#[test]
fn a_thousand_topologies_as_live_packets() {
    all(Mode::Live, "a_thousand_topologies_as_live_packets", 1_000);
}
