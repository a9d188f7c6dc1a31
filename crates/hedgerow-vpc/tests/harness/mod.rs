//! A VPC on the real kernel for one test: two subnets, instances as needed, all gone on drop.

pub mod bulk;
pub mod raw;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use hedgerow_core::reason::Reason;
use hedgerow_core::sg::{Direction, Group, IpPrefix, Peer, Rule, Traffic};
use hedgerow_datapath::sys::Netns;
use hedgerow_vpc::effect::{Attachment, Effect, InterfaceView, VpcView};
use hedgerow_vpc::wire::{Counters, FlowRecord, Wire, WireConfig};
use tokio::runtime::Runtime;
use tokio::sync::broadcast::Receiver;

/// Key of the VPC in every test.
pub const VPC: u32 = 1;
/// How long to wait for what must not come.
pub const SILENCE: Duration = Duration::from_millis(300);
/// How long to wait for what must come; drops are reported after a second.
pub const SOON: Duration = Duration::from_secs(5);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The VPC under test.
pub struct Lab {
    pub name: String,
    wire: Wire,
    runtime: Runtime,
    records: Receiver<FlowRecord>,
    seen: Vec<FlowRecord>,
}

impl Lab {
    /// An empty VPC 10.0.0.0/16.
    pub fn new() -> Lab {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}-{number}", std::process::id());
        let wire = Wire::start(WireConfig { name: name.clone(), records: None });
        let wire = wire.expect("start wire (root?)");
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let records = wire.flow_records();
        let lab = Lab { name, wire, runtime, records, seen: Vec::new() };
        let blocks = vec!["10.0.0.0/16".parse().expect("prefix")];
        let blocks_v6 = Vec::new();
        lab.apply(&[Effect::PutVpc(VpcView { key: VPC, id: "vpc-1".into(), blocks, blocks_v6 })]);
        lab
    }

    pub fn apply(&self, effects: &[Effect]) {
        self.runtime.block_on(self.wire.apply(effects)).expect("apply effects");
    }

    pub fn run<T>(&self, f: impl AsyncFnOnce(&Wire) -> T) -> T {
        self.runtime.block_on(f(&self.wire))
    }

    pub fn counters(&self) -> Counters {
        self.runtime.block_on(self.wire.counters()).expect("counters")
    }

    /// A group with these rules.
    pub fn group(&self, id: &str, rules: &[Rule]) {
        let group = Group { id: id.into(), rules: rules.to_vec() };
        self.apply(&[Effect::PutGroup { vpc: VPC, group }]);
    }

    /// Starts instance `i-<name>` and plugs the interface in as eth0.
    pub fn host(&self, name: &str, interface: &InterfaceView) -> Host {
        let instance = format!("i-{name}");
        let mut view = interface.clone();
        view.attachment =
            Some(Attachment::Instance { instance: instance.clone(), device_index: 0 });
        self.apply(&[
            Effect::StartInstance { instance: instance.clone() },
            Effect::PutInterface(view.clone()),
        ]);
        Host { path: format!("/run/netns/hr.{}.{instance}", self.name), view }
    }

    /// Runs `f` in the namespace behind the internet gateways.
    pub fn outside<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/hr.{}.internet", self.name);
        Netns::open(path).expect("the Internet").run(f).expect("enter the Internet")
    }

    /// The first flow record that fits, waiting for it.
    pub fn record(&mut self, what: &str, fits: impl Fn(&FlowRecord) -> bool) -> FlowRecord {
        let deadline = Instant::now() + SOON;
        loop {
            while let Ok(record) = self.records.try_recv() {
                self.seen.push(record);
            }
            if let Some(at) = self.seen.iter().position(&fits) {
                return self.seen.remove(at);
            }
            let lines: Vec<String> = self.seen.iter().map(|r| r.line("1")).collect();
            assert!(Instant::now() < deadline, "no flow record: {what}; seen: {lines:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The record of a drop at an interface for a reason.
    pub fn dropped(&mut self, interface: &str, reason: Reason) -> FlowRecord {
        let record = self.record(&format!("{reason} at {interface}"), |record| {
            record.gate.interface.as_deref() == Some(interface) && record.reason == reason
        });
        assert!(self.counters().of(reason) >= 1, "{reason} is counted");
        record
    }
}

/// An instance and its primary interface.
pub struct Host {
    path: String,
    pub view: InterfaceView,
}

impl Host {
    /// Runs `f` in the instance's namespace.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.namespace().run(f).expect("enter the instance's namespace")
    }

    pub fn namespace(&self) -> Netns {
        Netns::open(&self.path).expect("the instance's namespace")
    }

    pub fn address(&self) -> Ipv4Addr {
        self.view.addresses[0]
    }
}

/// An interface `eni-<key>` with address 10.0.<subnet>.<host> in 10.0.<subnet>.0/24.
pub fn interface(key: u32, [subnet, host]: [u8; 2], groups: &[&str]) -> InterfaceView {
    InterfaceView {
        key,
        id: format!("eni-{key}"),
        vpc: VPC,
        subnet: format!("10.0.{subnet}.0/24").parse().expect("prefix"),
        mac: mac(key),
        subnet_id: format!("subnet-{subnet}"),
        addresses: vec![Ipv4Addr::new(10, 0, subnet, host)],
        ipv6: Vec::new(),
        ipv6_prefixes: Vec::new(),
        publics: BTreeMap::new(),
        groups: groups.iter().map(|group| (*group).into()).collect::<BTreeSet<_>>(),
        source_dest_check: true,
        timeouts: None,
        attachment: None,
        logged: false,
    }
}

/// The MAC of `interface(key, …)`.
pub fn mac(key: u32) -> [u8; 6] {
    [0x0a, 0, 0, 0, 0, key as u8]
}

fn rule(id: &str, direction: Direction, traffic: Traffic, peer: &str) -> Rule {
    let peer = peer.parse().map_or_else(|_| Peer::Group(peer.into()), IpPrefix::into);
    Rule { id: id.into(), direction, traffic, peer }
}

/// An ingress rule; the peer is a prefix or a group id.
pub fn ingress(id: &str, traffic: Traffic, peer: &str) -> Rule {
    rule(id, Direction::Ingress, traffic, peer)
}

/// An egress rule.
pub fn egress(id: &str, traffic: Traffic, peer: &str) -> Rule {
    rule(id, Direction::Egress, traffic, peer)
}

pub fn tcp(port: u16) -> Traffic {
    Traffic::Tcp { from: port, to: port }
}

pub fn udp(port: u16) -> Traffic {
    Traffic::Udp { from: port, to: port }
}
