//! How packets get to the fabric: shown to its program, or sent for real.

use std::process::Command;
use std::time::{Duration, Instant};

use hedgerow_datapath::sys::Netns;

use super::frames;
use super::packet::{OUTSIDE, Packet};
use super::raw::Tap;
use super::run::{Observed, Out, describe};
use super::world::World;

pub trait Carrier {
    /// Sends one packet; what became of it. `expected` says what to wait for.
    fn carry(&mut self, world: &mut World, packet: &Packet, expected: &Observed) -> Observed;

    /// What came that nobody waited for.
    fn leftovers(&mut self, world: &mut World) -> Vec<String>;
}

/// `BPF_PROG_TEST_RUN`.
pub struct TestRun;

impl Carrier for TestRun {
    fn carry(&mut self, world: &mut World, packet: &Packet, expected: &Observed) -> Observed {
        let port = match packet.port {
            OUTSIDE => None,
            port => {
                let interface = &world.model.interfaces[world.ports[port].interface];
                Some(world.cloud.keys[&interface.eni])
            }
        };
        let frame = frames::frame(packet);
        let rehearsed = world.cloud.runtime.block_on(world.cloud.wire.rehearse(port, &frame));
        let rehearsed = rehearsed.expect("rehearse");
        let out = rehearsed.leaves.map(|frame| {
            // To which port the program redirects is not told, nor the tag, but the receiver's MAC is
            // unique. An answer goes back tagged as it came.
            let whither = expected.out.as_ref().map(|out| (out.port, out.vlan));
            let (port, vlan) = whither.unwrap_or((usize::MAX, None));
            let tagged = frame[12..14] == [0x81, 0];
            let (macs, packet) = (frame[..12].try_into(), &frame[if tagged { 18 } else { 14 }..]);
            Out { port, vlan, macs: macs.expect("a frame has MACs"), packet: packet.to_vec() }
        });
        Observed { out, records: rehearsed.records.iter().map(describe).collect() }
    }

    fn leftovers(&mut self, _: &mut World) -> Vec<String> {
        Vec::new()
    }
}

/// Packets through veth pairs, between namespaces.
pub struct Live {
    taps: Vec<Tap>,
    /// In the Internet.
    outside: Tap,
}

/// How long to wait for what must come. It takes microseconds, but the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(3);

impl Live {
    /// Packet sockets at all ports of the world, in instances that send and answer nothing by
    /// themselves.
    pub fn new(world: &World) -> Self {
        let tap = |port: &super::world::Port| {
            let path = format!("/run/netns/hr.{}.{}", world.cloud.name, port.instance);
            let namespace = Netns::open(&path).expect("the instance's namespace");
            let open = || {
                if port.link == "eth0" {
                    silence("-6");
                }
                let quiet = format!("/proc/sys/net/ipv6/conf/{}/addr_gen_mode", port.link);
                std::fs::write(quiet, "1").expect("switch link-local addresses off");
                ip(&["address", "flush", "dev", port.link]);
                ip(&["link", "set", port.link, "arp", "off", "up"]);
                Tap::open(port.link).expect("packet socket")
            };
            namespace.run(open).expect("enter the instance's namespace")
        };
        Live { taps: world.ports.iter().map(tap).collect(), outside: outside(&world.cloud.name) }
    }

    fn tap(&self, port: usize) -> &Tap {
        if port == OUTSIDE { &self.outside } else { &self.taps[port] }
    }
}

/// A packet socket at the port to the Internet, where nobody answers.
fn outside(world: &str) -> Tap {
    let namespace = Netns::open(format!("/run/netns/hr.{world}.internet"));
    let open = || {
        silence("-4");
        silence("-6");
        Tap::open("edge0").expect("packet socket")
    };
    namespace.and_then(|namespace| namespace.run(open)).expect("enter the Internet's namespace")
}

/// Where no route leads anywhere, nothing is answered nor passed on.
fn silence(family: &str) {
    ip(&[family, "rule", "add", "prio", "0", "blackhole"]);
    ip(&[family, "rule", "del", "prio", "0", "lookup", "local"]);
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("run ip");
    assert!(status.success(), "ip {arguments:?}: {status}");
}

impl Carrier for Live {
    fn carry(&mut self, world: &mut World, packet: &Packet, expected: &Observed) -> Observed {
        self.tap(packet.port).send(&frames::frame(packet));
        let mut out = None;
        if let Some(Out { port, packet, .. }) = &expected.out {
            let here = |bytes: &[u8]| bytes.get(14..14 + packet.len()) == Some(packet);
            let arrived = self.tap(*port).wait(PATIENCE, |arrived| here(&arrived.bytes));
            out = arrived.map(|arrived| {
                let macs = arrived.bytes[..12].try_into().expect("a frame has MACs");
                Out { port: *port, vlan: arrived.vlan, macs, packet: packet.clone() }
            });
        }
        let mut records: Vec<String> = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            records.extend(world.cloud.take_records().iter().map(describe));
            if records.len() >= expected.records.len() || Instant::now() > deadline {
                return Observed { out, records };
            }
        }
    }

    fn leftovers(&mut self, world: &mut World) -> Vec<String> {
        let mut left: Vec<String> = world.cloud.take_records().iter().map(describe).collect();
        for (port, tap) in self.taps.iter().chain([&self.outside]).enumerate() {
            while let Some(arrived) = tap.try_next() {
                left.push(format!("port {port}: {arrived:02x?}"));
            }
        }
        left
    }
}
