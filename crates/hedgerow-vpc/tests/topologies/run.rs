//! One case: the topology is made, its packets are sent, and everything is compared with the model.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use hedgerow_core::reason::Reason;
use hedgerow_core::sg::Direction;
use hedgerow_datapath::fabric::{ROUTER_LINK_LOCAL, ROUTER_MAC};
use hedgerow_vpc::wire::FlowRecord;

use super::carry::Carrier;
use super::frames;
use super::generate::{Send, Step, To, Topology, Twist, What};
use super::model::{Id, Judged, Place, Verdict};
use super::packet::{Body, EXTENSIONS, FRAGMENT, OUTSIDE, Packet, Part};
use super::world::World;

/// What cases came to, to see that they were worth it.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub packets: usize,
    /// Whether they were packets of IPv6, and how they fared.
    pub seen: BTreeMap<(bool, Reason), usize>,
    /// Packets of flows that were tracked.
    pub tracked: usize,
    /// Packets for the link only.
    pub of_the_link: usize,
    /// Packets that came in from outside, and that went there.
    pub outside: [usize; 2],
    /// Rules that decided by a prefix that not everybody is in, of IPv4 and of IPv6.
    pub narrow: [usize; 2],
    pub changes: usize,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.packets += other.packets;
        self.tracked += other.tracked;
        self.of_the_link += other.of_the_link;
        for (counts, more) in [(&mut self.outside, other.outside), (&mut self.narrow, other.narrow)]
        {
            for (count, more) in counts.iter_mut().zip(more) {
                *count += more;
            }
        }
        self.changes += other.changes;
        for (reason, count) in &other.seen {
            *self.seen.entry(*reason).or_default() += count;
        }
    }
}

/// What was observed of a packet, in the words that verdicts are put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    pub out: Option<Out>,
    pub records: Vec<String>,
}

/// Where a packet came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Out {
    pub port: usize,
    pub vlan: Option<u16>,
    /// The receiver's, and the sender's.
    pub macs: [u8; 12],
    /// From the IP header on.
    pub packet: Vec<u8>,
}

/// Where the packet must come out.
pub fn expected_out(world: &World, judged: &Judged) -> Option<Out> {
    let Judged { verdict, leaves: packet, .. } = judged;
    let interfaces = &world.model.interfaces;
    let at = |id: Id, source: [u8; 6], packet: Vec<u8>| {
        let (port, vlan) = interfaces[id].place.port()?;
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&interfaces[id].mac);
        macs[6..].copy_from_slice(&source);
        Some(Out { port, vlan, macs, packet })
    };
    match (verdict, packet.body) {
        (Verdict { answer: Some(mac), from: Some(from), .. }, Body::Solicit(target)) => {
            at(*from, *mac, frames::advertisement(packet, target, *mac))
        }
        (Verdict { reason: Reason::Allowed, from: Some(from), to: Some(to), .. }, _) => {
            let near = interfaces[*from].subnet == interfaces[*to].subnet;
            let source = if near { interfaces[*from].mac } else { ROUTER_MAC };
            at(*to, source, frames::packet(packet))
        }
        _ => None,
    }
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
fn expected_records(world: &World, judged: &Judged) -> Vec<String> {
    let Judged { verdict, seen: packet, .. } = judged;
    let outside = |id: Option<Id>| id.is_none_or(|id| world.model.interfaces[id].gateway);
    let eni = |id: Option<Id>| id.map_or("-", |id| world.model.interfaces[id].eni.as_str());
    let (source_port, destination_port) = packet.ports();
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
            packet.protocol(),
            verdict.reason,
        )
    };
    match (verdict.reason, &verdict.rules) {
        (Reason::Allowed, None) => Vec::new(),
        (Reason::Allowed, Some(rules)) => [Direction::Egress, Direction::Ingress]
            .into_iter()
            .zip(rules)
            .filter_map(|(direction, rule)| Some(line(direction, &rule.as_ref()?.0)))
            .collect(),
        (Reason::IngressGroups | Reason::NetworkAclIngress | Reason::DestinationAddress, _) => {
            vec![line(Direction::Ingress, "-")]
        }
        // What came from outside is refused at the receiver.
        _ if outside(verdict.from) && verdict.to.is_some() => vec![line(Direction::Ingress, "-")],
        _ => vec![line(Direction::Egress, "-")],
    }
}

/// A packet that was sent, as which it arrived, and where.
struct Sent {
    packet: Packet,
    arrived: Packet,
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
        let judged = world.model.judge(&packet);
        let expected = Observed {
            out: expected_out(world, &judged),
            records: expected_records(world, &judged),
        };
        let Judged { verdict, leaves: arrived, .. } = judged;
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
        for rule in verdict.rules.iter().flatten().flatten() {
            tally.narrow[usize::from(packet.is_six())] += usize::from(world.model.is_narrow(rule));
        }
        if verdict.reason == Reason::Allowed && verdict.to.is_none() {
            tally.of_the_link += 1;
            continue;
        }
        tally.tracked += usize::from(expected.out.is_some() && expected.records.is_empty());
        *tally.seen.entry((packet.is_six(), verdict.reason)).or_default() += 1;
        let at = verdict.to.filter(|_| verdict.reason == Reason::Allowed);
        for (count, end) in tally.outside.iter_mut().zip([verdict.from, verdict.to]) {
            let gateway = end.is_some_and(|id| world.model.interfaces[id].gateway);
            *count += usize::from(gateway && at.is_some());
        }
        sent.push(Sent { packet, arrived, at });
    }
    match carrier.leftovers(world) {
        left if left.is_empty() => Ok(tally),
        left => Err(format!("nobody expected {left:?}")),
    }
}

/// The packet that the step means; `None` if there is none.
fn resolve(world: &World, sent: &[Sent], send: &Send, number: u16) -> Option<Packet> {
    let earlier = |pick: super::generate::Pick| sent.get(pick.of(sent.len()));
    let exists = |id: &Id| {
        let interface = &world.model.interfaces[*id];
        interface.place != Place::Nowhere && !interface.gateway
    };
    let plugged: Vec<Id> = (0..world.model.interfaces.len()).filter(exists).collect();
    let sender = plugged[send.from.of(plugged.len())];
    let new = |from: Id, to: To, body: Body, first_fragment: bool, extensions: u8| {
        let destination = resolve_to(world, from, to, None)?;
        let mut sources = world.usable(from);
        sources.retain(|source| source.is_ipv6() == destination.is_ipv6());
        let source = *sources.get(usize::from(send.from.0 / 8) % sources.len().max(1))?;
        let mut packet = packet_from(world, from, source, destination, body)?;
        packet.id = world.runs.wrapping_mul(64) | number;
        packet.part = if first_fragment { Part::First } else { Part::Whole };
        if packet.is_six() {
            packet.extensions = extended(extensions, packet.part);
        }
        Some(packet)
    };
    let mut packet = match send.what.clone() {
        What::New { to, body, first_fragment, extensions } => {
            new(sender, to, body, first_fragment, extensions)?
        }
        What::Outside { to, body, first_fragment, extensions } => {
            new(world.model.gateways[0], to, body, first_fragment, extensions)?
        }
        What::Again(pick) => earlier(pick)?.packet.clone(),
        What::Answer(pick, flags) => {
            let Sent { arrived: packet, at, .. } = earlier(pick)?;
            let body = packet.body.answer(flags)?;
            packet_from(world, (*at)?, packet.destination, packet.source, body)?
        }
        What::Error(pick, kind) => {
            let Sent { arrived: packet, at, .. } = earlier(pick)?;
            let at = (*at)?;
            // Some from the address that was asked, some from the reporter's own.
            let from = match kind {
                3 => packet.destination,
                _ => {
                    let same = |own: &IpAddr| own.is_ipv6() == packet.source.is_ipv6();
                    world.usable(at).into_iter().find(same)?
                }
            };
            let body = Body::Icmp { kind, code: 0, id: 0 };
            let mut error = packet_from(world, at, from, packet.source, body)?;
            error.about = Some((packet.source, packet.destination, packet.body));
            error
        }
        What::Rest(pick) => {
            let mut packet = earlier(pick)?.packet.clone();
            if packet.is_six() && packet.part == Part::Whole {
                packet.extensions = extended(0, Part::Later);
            }
            packet.part = Part::Later;
            packet.about = None;
            packet
        }
        What::Solicit(to) => {
            let target = match to {
                None => ROUTER_LINK_LOCAL.into(),
                Some(to) => resolve_to(world, sender, to, Some(true))?,
            };
            let IpAddr::V6(target) = target else { return None };
            let source = world.usable(sender).into_iter().find(IpAddr::is_ipv6)?;
            packet_from(world, sender, source, to_solicit(target).into(), Body::Solicit(target))?
        }
    };
    match send.twist {
        Twist::Nothing => {}
        Twist::Mac => packet.source_mac[5] ^= 1,
        Twist::Vlan => packet.vlan = Some(4000),
        Twist::Source(to) => {
            let from = match packet.port {
                OUTSIDE => world.model.gateways[0],
                port => world.model.sender(port, packet.vlan)?,
            };
            packet.source = resolve_to(world, from, to, Some(packet.is_six()))?;
        }
    }
    (packet.source != packet.destination).then_some(packet)
}

/// The group of those who may have an address (RFC 4291, 2.7.1).
fn to_solicit(target: Ipv6Addr) -> Ipv6Addr {
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).to_bits();
    Ipv6Addr::from_bits(group | target.to_bits() & 0xff_ffff)
}

/// The extension headers of a part of a datagram.
fn extended(which: u8, part: Part) -> Vec<u8> {
    let mut extensions = EXTENSIONS[usize::from(which)].to_vec();
    if part != Part::Whole {
        extensions.retain(|header| *header != FRAGMENT);
        extensions.push(FRAGMENT);
    }
    extensions
}

/// An address as seen from an interface: mostly one in its VPC. Of a family, if only that will do.
fn resolve_to(world: &World, from: Id, to: To, six: Option<bool>) -> Option<IpAddr> {
    let fits = |address: &IpAddr| six.is_none_or(|six| six == address.is_ipv6());
    match to {
        To::Address(address) => Some(address).filter(fits),
        To::Public(which) => {
            let mut publics: Vec<IpAddr> = world.model.publics.keys().copied().collect();
            // Rarely one that stands for nobody, perhaps.
            if publics.is_empty() || which.0 % 8 == 7 {
                publics = world.elastics.iter().map(|elastic| elastic.public).collect();
            }
            Some(publics[which.of(publics.len())]).filter(fits)
        }
        To::Interface(interface, address) => {
            let interfaces = &world.model.interfaces;
            let near = |id: &Id| {
                let other = &interfaces[*id];
                !other.gateway && (interface.0 % 8 == 7 || other.vpc == interfaces[from].vpc)
            };
            let ids: Vec<Id> = (0..interfaces.len()).filter(near).collect();
            let mut addresses = world.usable(ids[interface.of(ids.len())]);
            addresses.retain(fits);
            addresses.get(address.of(addresses.len())).copied()
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
    let (port, vlan) = interface.place.port()?;
    Some(Packet {
        port,
        vlan,
        source_mac: interface.mac,
        source,
        destination,
        id: 0,
        extensions: Vec::new(),
        body: body.of_family(destination.is_ipv6()),
        part: Part::Whole,
        about: None,
    })
}
