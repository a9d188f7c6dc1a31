//! One case: the topology is made, its packets are sent, and everything is compared with the model.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hedgerow_core::reason::Reason;
use hedgerow_core::sg::Direction;
use hedgerow_datapath::fabric::ROUTER_MAC;
use hedgerow_vpc::wire::FlowRecord;

use super::carry::Carrier;
use super::frames;
use super::generate::{Body, Send, Step, TCP_ACK, To, Topology, Twist, What};
use super::model::{Id, Packet, Part, Place, Verdict};
use super::world::World;

/// What cases came to, to see that they were worth it.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub packets: usize,
    pub seen: BTreeMap<Reason, usize>,
    /// Packets of flows that were tracked.
    pub tracked: usize,
    pub changes: usize,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.packets += other.packets;
        self.tracked += other.tracked;
        self.changes += other.changes;
        for (reason, count) in &other.seen {
            *self.seen.entry(*reason).or_default() += count;
        }
    }
}

/// What was observed of a packet, in the words that verdicts are put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Where it came out: port, tag, and the frame's MACs (receiver's, sender's).
    pub out: Option<(usize, Option<u16>, [u8; 12])>,
    pub records: Vec<String>,
}

/// Where the packet must come out.
pub fn expected_out(world: &World, verdict: &Verdict) -> Option<(usize, Option<u16>, [u8; 12])> {
    let (Reason::Allowed, Some(from), Some(to)) = (verdict.reason, verdict.from, verdict.to) else {
        return None;
    };
    let [from, to] = [from, to].map(|id| &world.model.interfaces[id]);
    let (port, vlan) = match to.place {
        Place::Nowhere => return None,
        Place::Port(port) => (port, None),
        Place::Branch { port, vlan } => (port, Some(vlan)),
    };
    let source = if from.subnet == to.subnet { from.mac } else { ROUTER_MAC };
    let mut macs = [0; 12];
    macs[..6].copy_from_slice(&to.mac);
    macs[6..].copy_from_slice(&source);
    Some((port, vlan, macs))
}

/// What makes a record, time and size aside.
pub fn describe(record: &FlowRecord) -> String {
    format!(
        "{:?} at {} other {} {}:{} > {}:{} protocol {} packets {} {} rule {}",
        record.gate.direction,
        record.gate.interface.as_deref().unwrap_or("-"),
        record.other.as_deref().unwrap_or("-"),
        record.source,
        record.source_port,
        record.destination,
        record.destination_port,
        record.protocol,
        record.packets,
        record.reason,
        record.rule.as_ref().map_or("-", |rule| rule.0.as_str()),
    )
}

/// What must be recorded of the packet.
fn expected_records(world: &World, packet: &Packet, verdict: &Verdict) -> Vec<String> {
    let eni = |id: Option<Id>| id.map_or("-", |id| world.model.interfaces[id].eni.as_str());
    let (source_port, destination_port) = match packet.part {
        Part::Later => (0, 0),
        _ => packet.body.ports(),
    };
    let line = |direction: Direction, rule: &str| {
        let (gate, other) = match direction {
            Direction::Egress => (verdict.from, verdict.to),
            Direction::Ingress => (verdict.to, verdict.from),
        };
        format!(
            "{direction:?} at {} other {} {}:{source_port} > {}:{destination_port} protocol {} \
             packets 1 {} rule {rule}",
            eni(gate),
            eni(other),
            packet.source,
            packet.destination,
            packet.body.protocol(),
            verdict.reason,
        )
    };
    match (verdict.reason, &verdict.rules) {
        (Reason::Allowed, None) => Vec::new(),
        (Reason::Allowed, Some([out, into])) => {
            vec![line(Direction::Egress, &out.0), line(Direction::Ingress, &into.0)]
        }
        (Reason::IngressGroups | Reason::NetworkAclIngress | Reason::DestinationAddress, _) => {
            vec![line(Direction::Ingress, "-")]
        }
        _ => vec![line(Direction::Egress, "-")],
    }
}

/// A packet that was sent, and where it came out.
struct Sent {
    packet: Packet,
    at: Option<Id>,
}

/// Runs the case.
///
/// # Errors
/// The first difference between what happened and what the model says.
pub fn run(
    world: &mut World,
    carrier: &mut dyn Carrier,
    topology: &Topology,
) -> Result<Tally, String> {
    world.runs = world.runs.wrapping_add(1);
    world.build(topology);
    let mut sent: Vec<Sent> = Vec::new();
    let mut tally = Tally::default();
    for (number, step) in topology.steps.iter().enumerate() {
        let packet = match step {
            Step::Change(change) => {
                world.change(change);
                tally.changes += 1;
                continue;
            }
            Step::Send(send) => resolve(world, &sent, send, number as u16),
        };
        let Some(packet) = packet else { continue };
        let verdict = world.model.judge(&packet);
        let expected = Observed {
            out: expected_out(world, &verdict),
            records: expected_records(world, &packet, &verdict),
        };
        let observed = carrier.carry(world, &packet, &expected);
        if observed != expected {
            return Err(format!(
                "step {number}: {packet:?}\n  frame    {:02x?}\n  model    {verdict:?}\n  \
                 expected {expected:?}\n  observed {observed:?}\n  groups   {:?}",
                frames::frame(&packet),
                world.model.groups,
            ));
        }
        tally.packets += 1;
        tally.tracked += usize::from(expected.out.is_some() && expected.records.is_empty());
        *tally.seen.entry(verdict.reason).or_default() += 1;
        let at = verdict.to.filter(|_| verdict.reason == Reason::Allowed);
        sent.push(Sent { packet, at });
    }
    match carrier.leftovers(world) {
        left if left.is_empty() => Ok(tally),
        left => Err(format!("nobody expected {left:?}")),
    }
}

/// The packet that the step means; `None` if there is none.
fn resolve(world: &World, sent: &[Sent], send: &Send, number: u16) -> Option<Packet> {
    let earlier = |pick: super::generate::Pick| sent.get(pick.of(sent.len()));
    let exists = |id: &Id| world.model.interfaces[*id].place != Place::Nowhere;
    let plugged: Vec<Id> = (0..world.model.interfaces.len()).filter(exists).collect();
    let mut packet = match &send.what {
        What::New { to, body, first_fragment } => {
            let from = plugged[send.from.of(plugged.len())];
            let source = world.usable(from)[0];
            let mut packet = packet_from(world, from, source, resolve_to(world, from, *to), *body)?;
            packet.id = world.runs.wrapping_mul(64) | number;
            packet.part = if *first_fragment { Part::First } else { Part::Whole };
            packet
        }
        What::Again(pick) => earlier(*pick)?.packet.clone(),
        What::Answer(pick, flags) => {
            let Sent { packet, at } = earlier(*pick)?;
            let body = answer(packet.body, *flags)?;
            packet_from(world, (*at)?, packet.destination, packet.source, body)?
        }
        What::Error(pick, kind) => {
            let Sent { packet, at } = earlier(*pick)?;
            let at = (*at)?;
            // Some from the address that was asked, some from the reporter's own.
            let from = match kind {
                3 => packet.destination,
                _ => *world.usable(at).first()?,
            };
            let body = Body::Icmp { kind: *kind, code: 0, id: 0 };
            let mut error = packet_from(world, at, from, packet.source, body)?;
            error.about = Some((packet.source, packet.destination, packet.body));
            error
        }
        What::Rest(pick) => {
            let mut packet = earlier(*pick)?.packet.clone();
            packet.part = Part::Later;
            packet.about = None;
            packet
        }
    };
    match send.twist {
        Twist::Nothing => {}
        Twist::Mac => packet.source_mac[5] ^= 1,
        Twist::Vlan => packet.vlan = Some(4000),
        Twist::Source(to) => {
            let from = world.model.sender(packet.port, packet.vlan)?;
            packet.source = resolve_to(world, from, to);
        }
    }
    (packet.source != packet.destination).then_some(packet)
}

/// An address as seen from an interface: mostly one in its VPC.
fn resolve_to(world: &World, from: Id, to: To) -> IpAddr {
    match to {
        To::Address(address) => address,
        To::Interface(interface, address) => {
            let interfaces = &world.model.interfaces;
            let near =
                |id: &Id| interface.0 % 8 == 7 || interfaces[*id].vpc == interfaces[from].vpc;
            let ids: Vec<Id> = (0..interfaces.len()).filter(near).collect();
            let addresses = world.usable(ids[interface.of(ids.len())]);
            addresses[address.of(addresses.len())]
        }
    }
}

fn packet_from(
    world: &World,
    from: Id,
    source: IpAddr,
    destination: IpAddr,
    body: Body,
) -> Option<Packet> {
    let interface = &world.model.interfaces[from];
    let (port, vlan) = match interface.place {
        Place::Nowhere => return None,
        Place::Port(port) => (port, None),
        Place::Branch { port, vlan } => (port, Some(vlan)),
    };
    Some(Packet {
        port,
        vlan,
        source_mac: interface.mac,
        source,
        destination,
        id: 0,
        body,
        part: Part::Whole,
        about: None,
    })
}

fn answer(body: Body, flags: u8) -> Option<Body> {
    match body {
        Body::Tcp { from, to, .. } => {
            Some(Body::Tcp { from: to, to: from, flags: flags | TCP_ACK })
        }
        Body::Udp { from, to } => Some(Body::Udp { from: to, to: from }),
        Body::Icmp { kind: 8, code, id } => Some(Body::Icmp { kind: 0, code, id }),
        Body::Icmp { kind: 13, code, id } => Some(Body::Icmp { kind: 14, code, id }),
        Body::Icmp { .. } => None,
        Body::Other(number) => Some(Body::Other(number)),
    }
}
