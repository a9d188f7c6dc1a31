//! What a packet costs, by `BPF_PROG_TEST_RUN`: `make bench`.

use std::net::Ipv4Addr;

use hedgerow_core::sg::Traffic;

use super::tests::*;
use super::*;

pub(super) static BENCH: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench.bpf.o"));

/// `HR_BENCH_NEW`.
pub(super) const NEW_FLOWS: u32 = 0x8000_0000;

/// Nanoseconds per packet, the best of `rounds` runs of 10,000.
fn best(bench: &mut Bench, program: &str, mark: u32, rounds: usize) -> u128 {
    let datagram = frame(CLIENT, SERVER, 17, &[3, 232, 0, 9, 0, 8, 0, 0]);
    bench.fabric.put_port(PORT, 1, 0).expect("put port");
    let mut run = || {
        let took = bench.run_program(program, &datagram, 10_000, mark);
        bench.events.drain();
        took
    };
    (0..rounds).map(|_| run()).min().expect("rounds")
}

/// A fabric whose server has `rules` rules, the last of which lets UDP 9 to 16 in.
fn with_rules(rules: u16) -> Bench {
    let fabric = Fabric::load_object(BENCH, &["spread", "nothing"]).expect("load (root?)");
    let mut bench = Bench::of(fabric);
    bench.fabric.tell_accepted(false);
    let other = |n: u16| Traffic::Tcp { from: n * 16, to: n * 16 + 7 };
    let mut traffic: Vec<Traffic> = (1..rules).map(other).collect();
    traffic.push(Traffic::Udp { from: 9, to: 16 });
    bench.group("sg-server", Direction::Ingress, &traffic);
    bench
}

/// A line for the table of `bench/run.py`, and one on its own that takes the floor off.
fn print(what: &str, ns: u128, floor: u128, goal: Option<u128>) {
    let net = ns.saturating_sub(floor);
    println!("{what:<44} {ns:>5} ns per packet, {net:>4} without the floor");
    let goal = goal.map_or(String::new(), |goal| format!("<= {goal}"));
    println!("bench\t{what}\tns\t\t\t{ns}\t{goal}");
}

/// Tables of which the best counts: where one lies in memory decides what its cache misses cost.
const TABLES: usize = 8;

/// The same for packets of known flows, chosen at random.
fn best_of_known(flows: u32) -> u128 {
    let once = || {
        let mut bench = with_rules(10);
        // Every flow is there before it counts.
        best(&mut bench, "spread", flows - 1, 80);
        best(&mut bench, "spread", flows - 1, 300)
    };
    (0..TABLES).map(|_| once()).min().expect("tables")
}

/// The same for packets that each begin a flow: a table takes 90,000 of them before it is full.
fn best_of_new(rules: u16, told: bool) -> u128 {
    let once = || {
        let mut bench = with_rules(rules);
        bench.fabric.tell_accepted(told);
        best(&mut bench, "spread", NEW_FLOWS, 9)
    };
    (0..TABLES).map(|_| once()).min().expect("tables")
}

#[test]
#[ignore = "a measurement, for `make bench`"]
fn cost_of_a_packet() {
    let floor = best(&mut with_rules(10), "nothing", 0, 100);
    print("floor (the kernel's test run)", floor, floor, None);
    for (flows, goal) in [(1, None), (16_384, None), (65_536, Some(150))] {
        let ns = best_of_known(flows);
        print(&format!("established, {flows} flows at random"), ns, floor, goal);
    }
    for rules in [1, 10, 1000] {
        let ns = best_of_new(rules, false);
        print(&format!("new flow, {rules} rules"), ns, floor, Some(500));
    }
    let ns = best_of_new(10, true);
    print("new flow, 10 rules, told to a log", ns, floor, None);
}

#[test]
#[ignore = "a measurement, for `make bench`"]
fn a_first_packet_by_the_number_of_rules() {
    let mut least = [u128::MAX; 2];
    for _ in 0..4 {
        let mut benches = [with_rules(1), with_rules(1000)];
        // In turn, so that what else the machine does meets both; and no more than fit the table.
        for _ in 0..9 {
            for (bench, least) in benches.iter_mut().zip(&mut least) {
                *least = (*least).min(best(bench, "spread", NEW_FLOWS, 1));
            }
        }
    }
    let [one, thousand] = least;
    println!("bench\tfirst packet, 1,000 rules\tns\t1 rule\t{one}\t{thousand}\tratio <= 1.1");
}

#[test]
#[ignore = "a measurement, for `make bench`"]
fn a_rule_change_of_a_thousand_interfaces() {
    let mut bench = with_rules(60);
    let start = Instant::now();
    for key in 10..1010 {
        let mut view = bench.fabric.interface(2).expect("server").clone();
        view.key = key;
        view.addresses = vec![Ipv4Addr::from_bits(0x0a01_0000 + key).into()];
        bench.fabric.put_interface(view, start).expect("put interface");
    }
    let rules: Vec<Traffic> = (0..60).map(|n| Traffic::Tcp { from: n, to: n + 7 }).collect();
    let start = Instant::now();
    bench.group("sg-server", Direction::Ingress, &rules);
    let took = start.elapsed();
    let millis = took.as_secs_f64() * 1e3;
    println!("bench\trule change, 1,000 interfaces, in the fabric alone\tms\t\t\t{millis}\t<= 20");
}
