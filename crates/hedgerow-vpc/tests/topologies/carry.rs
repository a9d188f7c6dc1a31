//! How packets get to the fabric: shown to its program, or sent for real.

use std::process::Command;
use std::time::{Duration, Instant};

use hedgerow_datapath::sys::Netns;

use super::frames;
use super::model::Packet;
use super::raw::Tap;
use super::run::{Observed, describe};
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
        let port = world.ports[packet.port].interface;
        let key = world.cloud.keys[&world.model.interfaces[port].eni];
        let frame = frames::frame(packet);
        let rehearsed = world.cloud.runtime.block_on(world.cloud.wire.rehearse(key, &frame));
        let rehearsed = rehearsed.expect("rehearse");
        let out = rehearsed.leaves.map(|frame| {
            let macs = frame[..12].try_into().expect("a frame has MACs");
            // To which port the program redirects is not told, but the receiver's MAC is unique.
            let (port, vlan, _) = expected.out.unwrap_or((usize::MAX, None, [0; 12]));
            (port, vlan, macs)
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
                for scope in ["all", "default"] {
                    let file = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
                    std::fs::write(file, "1").expect("switch IPv6 off");
                }
                ip(&["address", "flush", "dev", port.link]);
                ip(&["link", "set", port.link, "arp", "off", "up"]);
                Tap::open(port.link).expect("packet socket")
            };
            namespace.run(open).expect("enter the instance's namespace")
        };
        Live { taps: world.ports.iter().map(tap).collect() }
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("run ip");
    assert!(status.success(), "ip {arguments:?}: {status}");
}

impl Carrier for Live {
    fn carry(&mut self, world: &mut World, packet: &Packet, expected: &Observed) -> Observed {
        self.taps[packet.port].send(&frames::frame(packet));
        let ipv4 = frames::ipv4(packet);
        let mut out = None;
        if let Some((port, _, _)) = expected.out {
            let here = |bytes: &[u8]| bytes.get(14..14 + ipv4.len()) == Some(&ipv4);
            let arrived = self.taps[port].wait(PATIENCE, |arrived| here(&arrived.bytes));
            out = arrived.map(|arrived| {
                let macs = arrived.bytes[..12].try_into().expect("a frame has MACs");
                (port, arrived.vlan, macs)
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
        for (port, tap) in self.taps.iter().enumerate() {
            while let Some(arrived) = tap.try_next() {
                left.push(format!("port {port}: {arrived:02x?}"));
            }
        }
        left
    }
}
