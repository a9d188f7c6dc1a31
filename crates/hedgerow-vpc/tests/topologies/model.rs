//! The plain model: what a VPC does with a packet, in words of [`hedgerow_core`], without a thought
//! to speed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hedgerow_core::acl;
use hedgerow_core::prefix::IpPrefix;
use hedgerow_core::reason::Reason;
use hedgerow_core::route::{self, Target};
use hedgerow_core::sg::{self, Direction, GroupId, Peer, RuleId, Traffic, judge, tracks};

use hedgerow_datapath::fabric::{ROUTER_LINK_LOCAL, ROUTER_MAC};

use super::addresses::block_v6;
use super::packet::{Body, OUTSIDE, Packet, Part, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};

/// Position of an interface in [`Model::interfaces`].
pub type Id = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Nowhere,
    /// Has the port for itself.
    Port(usize),
    /// Shares a trunk's port.
    Branch {
        port: usize,
        vlan: u16,
    },
}

impl Place {
    /// The port, and the tag of frames there.
    pub fn port(self) -> Option<(usize, Option<u16>)> {
        match self {
            Place::Nowhere => None,
            Place::Port(port) => Some((port, None)),
            Place::Branch { port, vlan } => Some((port, Some(vlan))),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Interface {
    pub eni: String,
    pub mac: [u8; 6],
    pub vpc: usize,
    pub subnet: usize,
    /// Addresses and delegated prefixes, each with a number of its own for every time that an interface
    /// gets one.
    pub addresses: Vec<(IpPrefix, u64)>,
    pub groups: BTreeSet<GroupId>,
    pub check: bool,
    pub place: Place,
    /// An interface that was deleted keeps its position.
    pub exists: bool,
    /// Whether it stands for its VPC's internet gateway, which has neither groups nor a subnet.
    pub gateway: bool,
}

impl Interface {
    pub fn has(&self, address: IpAddr) -> bool {
        self.exists && self.addresses.iter().any(|(own, _)| own.contains(address))
    }

    /// Whether it has any of these addresses.
    pub fn meets(&self, held: IpPrefix) -> bool {
        self.exists && self.addresses.iter().any(|(own, _)| own.overlaps(&held))
    }
}

#[derive(Debug, Clone)]
pub struct Subnet {
    pub id: String,
    pub vpc: usize,
    /// Of IPv4 and of IPv6.
    pub blocks: [IpPrefix; 2],
    pub table: usize,
    pub acl: usize,
}

/// Where a route leads; to an interface whether it is there or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    Local,
    Interface(Id),
    /// The VPC's internet gateway.
    Internet,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RulePeer {
    Prefix(IpPrefix),
    Group(GroupId),
    List(usize),
}

#[derive(Debug, Clone)]
pub struct Rule {
    pub id: RuleId,
    pub direction: Direction,
    pub traffic: Traffic,
    pub peer: RulePeer,
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub interfaces: Vec<Interface>,
    pub subnets: Vec<Subnet>,
    pub tables: Vec<BTreeMap<IpPrefix, Goal>>,
    /// By direction, by number.
    pub acls: Vec<BTreeMap<(Direction, u16), acl::Entry>>,
    pub groups: BTreeMap<GroupId, Vec<Rule>>,
    pub lists: Vec<BTreeSet<IpPrefix>>,
    /// The interface that stands for each VPC's internet gateway.
    pub gateways: Vec<Id>,
    /// By public address, the VPC and the private address for which it stands.
    pub publics: BTreeMap<IpAddr, (usize, IpAddr)>,
    flows: BTreeMap<FlowKey, Flow>,
    fragments: BTreeSet<(Id, Id, IpAddr, IpAddr, u16, u8)>,
}

/// What becomes of a packet, how it was seen inside, and how it leaves.
#[derive(Debug, Clone)]
pub struct Judged {
    pub verdict: Verdict,
    pub seen: Packet,
    pub leaves: Packet,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub reason: Reason,
    pub from: Option<Id>,
    /// `None` where it is allowed: it ends at the link itself, and nobody speaks of it.
    pub to: Option<Id>,
    /// The MAC that answers at once, where somebody asked for one.
    pub answer: Option<[u8; 6]>,
    /// Rules that let it out and in, where groups are asked; `None` for packets of tracked flows, of
    /// which there is no news.
    pub rules: Option<Rules>,
}

pub type Rules = [Option<RuleId>; 2];

fn dropped(reason: Reason, from: Option<Id>, to: Option<Id>) -> Verdict {
    Verdict { reason, from, to, answer: None, rules: None }
}

/// One end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    who: Who,
    address: IpAddr,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    /// The interface that has the address, in this VPC.
    Owner(usize),
    /// An interface that forwards for the address.
    Forwards(Id),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct FlowKey {
    protocol: u8,
    ends: [End; 2],
    /// Of ICMP queries: the request's type, and who asks.
    query: Option<(u8, End)>,
}

#[derive(Debug, Clone)]
struct Flow {
    initiator: End,
    /// Ends whose groups do not track it.
    untracked: BTreeSet<End>,
    replied: bool,
    closing: bool,
    /// Since when each end has its address; 0 for one that forwards.
    tenures: BTreeMap<End, u64>,
}

/// How an interface and an address of a packet stand to each other.
#[derive(Debug, Clone, Copy)]
struct Side {
    interface: Id,
    address: IpAddr,
    owns: bool,
}

impl Model {
    fn owner(&self, vpc: usize, address: IpAddr) -> Option<(Id, u64)> {
        self.interfaces.iter().enumerate().filter(|(_, i)| i.exists && i.vpc == vpc).find_map(
            |(id, interface)| {
                let held = interface.addresses.iter().find(|(own, _)| own.contains(address))?;
                Some((id, held.1))
            },
        )
    }

    /// The interface whose frames come so tagged from the port.
    pub fn sender(&self, port: usize, vlan: Option<u16>) -> Option<Id> {
        let place = vlan.map_or(Place::Port(port), |vlan| Place::Branch { port, vlan });
        self.interfaces.iter().position(|i| i.exists && i.place == place)
    }

    /// Decides, and remembers what the decision starts.
    pub fn judge(&mut self, packet: &Packet) -> Judged {
        let mut seen = packet.clone();
        let verdict = match packet.port == OUTSIDE {
            true => self.judge_outside(&mut seen),
            false => self.judge_inside(packet),
        };
        let mut leaves = seen.clone();
        let outwards = verdict.to.filter(|to| self.interfaces[*to].gateway);
        if let Some(gateway) = outwards.filter(|_| verdict.reason == Reason::Allowed) {
            let vpc = self.interfaces[gateway].vpc;
            if let Some(public) = self.public_of(vpc, seen.source) {
                leaves.translate_source(public);
            }
        }
        Judged { verdict, seen, leaves }
    }

    fn public_of(&self, vpc: usize, private: IpAddr) -> Option<IpAddr> {
        let mut publics = self.publics.iter();
        publics.find(|(_, of)| **of == (vpc, private)).map(|(public, _)| *public)
    }

    /// A packet from the Internet: by which gateway it comes in, and what becomes of it there.
    fn judge_outside(&mut self, packet: &mut Packet) -> Verdict {
        if packet.is_too_long() {
            return dropped(Reason::Malformed, None, None);
        }
        if packet.is_of_the_link() {
            return dropped(Reason::Allowed, None, None);
        }
        let (from, to) = match self.gateway_in(packet) {
            Ok(ends) => ends,
            Err((reason, to)) => return dropped(reason, None, to),
        };
        let known = to.filter(|_| packet.is_six());
        let vpc = self.interfaces[from].vpc;
        if self.owner(vpc, packet.source).is_some() || is_local(packet.source) {
            return dropped(Reason::SourceAddress, Some(from), known);
        }
        match to {
            Some(to) => self.deliver(packet, from, to, [None, Some(to)]),
            None => dropped(Reason::NoRoute, Some(from), None),
        }
    }

    /// The gateway and the receiver of a packet from outside, which has its private destination then.
    fn gateway_in(&self, packet: &mut Packet) -> Result<(Id, Option<Id>), (Reason, Option<Id>)> {
        let unknown = (Reason::UnknownPublicAddress, None);
        if !packet.is_six() {
            let (vpc, private) = *self.publics.get(&packet.destination).ok_or(unknown)?;
            packet.translate_destination(private);
            return Ok((self.gateways[vpc], self.owner(vpc, private).map(|(id, _)| id)));
        }
        let block = |vpc: &usize| IpPrefix::V6(block_v6(*vpc)).contains(packet.destination);
        let vpc = (0..self.gateways.len()).find(block).ok_or(unknown)?;
        let (to, _) = self.owner(vpc, packet.destination).ok_or(unknown)?;
        // The way back says how it came.
        let table = &self.tables[self.subnets[self.interfaces[to].subnet].table];
        match self.lookup(table, vpc, packet.source) {
            Some(Target::Interface(id)) if self.interfaces[id as Id].gateway => {
                Ok((id as Id, Some(to)))
            }
            Some(Target::Blackhole) => Err((Reason::Blackhole, Some(to))),
            Some(Target::Local) => Err((Reason::SourceAddress, Some(to))),
            _ => Err((Reason::NoRoute, Some(to))),
        }
    }

    fn judge_inside(&mut self, packet: &Packet) -> Verdict {
        let Some(from) = self.sender(packet.port, packet.vlan) else {
            let port = self.sender(packet.port, None);
            return dropped(Reason::UnknownVlan, port, None);
        };
        let sender = &self.interfaces[from];
        let vpc = sender.vpc;
        if packet.source_mac != sender.mac {
            return dropped(Reason::SourceMac, Some(from), None);
        }
        if packet.is_too_long() {
            return dropped(Reason::Malformed, Some(from), None);
        }
        if packet.is_of_the_link() {
            let answer = self.neighbour(from, packet.body);
            return Verdict { answer, ..dropped(Reason::Allowed, Some(from), None) };
        }
        let source_owner = self.owner(vpc, packet.source).map(|(id, _)| id);
        let subnet = &self.subnets[sender.subnet];
        let many = goes_to_many(packet.destination, subnet.blocks[0]);
        // Hosts speak to groups before they have an address.
        if many && packet.is_six() {
            return dropped(Reason::Multicast, Some(from), None);
        }
        if sender.check && source_owner != Some(from) || is_local(packet.source) {
            return dropped(Reason::SourceAddress, Some(from), None);
        }
        if many {
            return dropped(Reason::Multicast, Some(from), None);
        }
        if is_local(packet.destination) {
            return dropped(Reason::NoRoute, Some(from), None);
        }
        let owner = self.owner(vpc, packet.destination).map(|(id, _)| id);
        match self.route(subnet, packet.destination, owner) {
            Ok(to) => self.deliver(packet, from, to, [source_owner, owner]),
            Err(reason) => dropped(reason, Some(from), owner),
        }
    }

    /// What the receiver, the gates of both ends and the gateway make of a packet.
    fn deliver(
        &mut self,
        packet: &Packet,
        from: Id,
        to: Id,
        [source_owner, owner]: [Option<Id>; 2],
    ) -> Verdict {
        let receiver = &self.interfaces[to];
        if receiver.place == Place::Nowhere {
            return dropped(Reason::PeerDown, Some(from), Some(to));
        }
        if receiver.check && owner != Some(to) {
            return dropped(Reason::DestinationAddress, Some(from), Some(to));
        }
        if receiver.gateway {
            let known = match packet.is_six() {
                true => source_owner.is_some(),
                false => self.public_of(receiver.vpc, packet.source).is_some(),
            };
            if !known {
                return dropped(Reason::NoPublicAddress, Some(from), Some(to));
            }
        }
        let sides = [
            Side { interface: from, address: packet.source, owns: source_owner == Some(from) },
            Side { interface: to, address: packet.destination, owns: owner == Some(to) },
        ];
        // In IPv6 a datagram's number is one whatever the protocol (RFC 8200, 4.5).
        let protocol = if packet.is_six() { 0 } else { packet.body.protocol() };
        let datagram = (from, to, packet.source, packet.destination, packet.id, protocol);
        let verdict = match packet.part {
            Part::Later if self.fragments.contains(&datagram) => Ok(None),
            Part::Later => Err(Reason::Fragment),
            Part::Whole | Part::First => self.gates(packet, sides),
        };
        if packet.part == Part::First && verdict.is_ok() {
            self.fragments.insert(datagram);
        }
        match verdict {
            Ok(rules) => Verdict { rules, ..dropped(Reason::Allowed, Some(from), Some(to)) },
            Err(reason) => dropped(reason, Some(from), Some(to)),
        }
    }

    /// Which MAC answers a neighbour solicitation.
    fn neighbour(&self, asker: Id, body: Body) -> Option<[u8; 6]> {
        let Body::Solicit(target) = body else { return None };
        if target == ROUTER_LINK_LOCAL {
            return Some(ROUTER_MAC);
        }
        let Interface { vpc, subnet, .. } = self.interfaces[asker];
        let (owner, _) = self.owner(vpc, target.into())?;
        let near = owner != asker && self.interfaces[owner].subnet == subnet;
        near.then_some(self.interfaces[owner].mac)
    }

    /// Where the subnet's table leads; in the subnet itself, to whoever has the address.
    fn route(&self, subnet: &Subnet, destination: IpAddr, owner: Option<Id>) -> Result<Id, Reason> {
        if subnet.blocks.iter().any(|block| block.contains(destination)) {
            return owner.ok_or(Reason::NoRoute);
        }
        match self.lookup(&self.tables[subnet.table], subnet.vpc, destination) {
            Some(Target::Local) => owner.ok_or(Reason::NoRoute),
            Some(Target::Interface(id)) => Ok(id as Id),
            Some(Target::Blackhole) => Err(Reason::Blackhole),
            _ => Err(Reason::NoRoute),
        }
    }

    fn lookup(
        &self,
        table: &BTreeMap<IpPrefix, Goal>,
        vpc: usize,
        destination: IpAddr,
    ) -> Option<Target> {
        let target = |goal: &Goal| match *goal {
            Goal::Local => Target::Local,
            Goal::Internet => Target::Interface(self.gateways[vpc] as u32),
            Goal::Interface(id) => {
                let interface = &self.interfaces[id];
                match interface.exists && interface.place != Place::Nowhere {
                    true => Target::Interface(id as u32),
                    false => Target::Blackhole,
                }
            }
        };
        let routes: Vec<(IpPrefix, Target)> =
            table.iter().map(|(prefix, goal)| (*prefix, target(goal))).collect();
        route::lookup(&routes, destination)
    }

    /// Groups and network ACLs of both ends. `Ok(None)`: as a packet of a tracked flow.
    fn gates(&mut self, packet: &Packet, sides: [Side; 2]) -> Result<Option<Rules>, Reason> {
        let [out, into] = sides;
        let ends = [self.end(out, packet.body, true), self.end(into, packet.body, false)];
        let key = flow_key(packet.body, ends);
        if let Some(key) = &key
            && let Some(flow) = self.flows.get(key).filter(|flow| self.has(flow, packet, ends))
        {
            let untracked = flow.untracked.clone();
            if untracked.contains(&ends[0]) {
                self.rule_out(packet, sides)?;
            }
            self.edges(packet, sides)?;
            if untracked.contains(&ends[1]) {
                self.rule_in(packet, sides)?;
            }
            let flow = self.flows.get_mut(key).expect("found above");
            flow.replied |= ends[0] != flow.initiator;
            flow.closing |= packet.body.flags() & (TCP_FIN | TCP_RST) != 0;
            return Ok(None);
        }
        if self.related(packet, sides) {
            self.edges(packet, sides)?;
            return Ok(None);
        }
        let out = self.rule_out(packet, sides)?;
        self.edges(packet, sides)?;
        let into = self.rule_in(packet, sides)?;
        if let Some(key) = key {
            let flow = self.start(packet, sides, ends);
            self.flows.insert(key, flow);
        }
        Ok(Some([out, into]))
    }

    /// The network ACLs of both subnets, unless the packet stays in one.
    fn edges(&self, packet: &Packet, [from, to]: [Side; 2]) -> Result<(), Reason> {
        let list = |side: Side| {
            let interface = &self.interfaces[side.interface];
            (!interface.gateway).then(|| self.subnets[interface.subnet].acl)
        };
        if self.interfaces[from.interface].subnet == self.interfaces[to.interface].subnet {
            return Ok(());
        }
        let passes = |list: Option<usize>, direction, peer| {
            let Some(list) = list else { return true };
            let entries: Vec<acl::Entry> = self.acls[list]
                .iter()
                .filter(|((way, _), _)| *way == direction)
                .map(|(_, entry)| *entry)
                .collect();
            acl::passes(&entries, packet.body.protocol(), packet.body.ports().1, peer)
        };
        if !passes(list(from), Direction::Egress, packet.destination) {
            return Err(Reason::NetworkAclEgress);
        }
        if !passes(list(to), Direction::Ingress, packet.source) {
            return Err(Reason::NetworkAclIngress);
        }
        Ok(())
    }

    /// The groups on an interface, in the order in which rules are tried, lists as their entries.
    fn groups_of(&self, id: Id) -> Vec<sg::Group> {
        let peers = |peer: &RulePeer| match peer {
            RulePeer::Prefix(prefix) => vec![Peer::from(*prefix)],
            RulePeer::Group(group) => vec![Peer::Group(group.clone())],
            RulePeer::List(list) => self.lists[*list].iter().copied().map(Peer::from).collect(),
        };
        let rules = |rule: &Rule| {
            let Rule { id, direction, traffic, peer } = rule.clone();
            let rule = |peer| sg::Rule { id: id.clone(), direction, traffic, peer };
            peers(&peer).into_iter().map(rule).collect::<Vec<_>>()
        };
        let group = |id: &GroupId| sg::Group {
            id: id.clone(),
            rules: self.groups[id].iter().flat_map(rules).collect(),
        };
        self.interfaces[id].groups.iter().map(group).collect()
    }

    /// Whether a rule is for a prefix that not everybody is in.
    pub fn is_narrow(&self, id: &RuleId) -> bool {
        let mut rules = self.groups.values().flatten();
        let rule = rules.find(|rule| rule.id == *id);
        rule.is_some_and(|rule| matches!(rule.peer, RulePeer::Prefix(p) if p.prefix_len() > 0))
    }

    fn seen(&self, packet: &Packet, peer: Side) -> sg::Packet {
        let groups = || self.interfaces[peer.interface].groups.clone();
        sg::Packet {
            protocol: packet.body.protocol(),
            port: packet.body.ports().1,
            peer: peer.address,
            // An interface that forwards for others does not lend them its groups.
            peer_groups: if peer.owns { groups() } else { BTreeSet::new() },
        }
    }

    /// The rule that lets the packet out; `None` where no groups are asked.
    fn rule_out(&self, packet: &Packet, [from, to]: [Side; 2]) -> Result<Option<RuleId>, Reason> {
        if self.interfaces[from.interface].gateway {
            return Ok(None);
        }
        let groups = self.groups_of(from.interface);
        let rule = judge(&groups, Direction::Egress, &self.seen(packet, to));
        rule.map(|rule| Some(rule.id.clone())).ok_or(Reason::EgressGroups)
    }

    fn rule_in(&self, packet: &Packet, [from, to]: [Side; 2]) -> Result<Option<RuleId>, Reason> {
        if self.interfaces[to.interface].gateway {
            return Ok(None);
        }
        let groups = self.groups_of(to.interface);
        let rule = judge(&groups, Direction::Ingress, &self.seen(packet, from));
        rule.map(|rule| Some(rule.id.clone())).ok_or(Reason::IngressGroups)
    }

    fn end(&self, side: Side, body: Body, sends: bool) -> End {
        let who = match side.owns {
            true => Who::Owner(self.interfaces[side.interface].vpc),
            false => Who::Forwards(side.interface),
        };
        let port = match body {
            Body::Icmp { id, .. } | Body::Icmpv6 { id, .. } => id,
            body if sends => body.ports().0,
            body => body.ports().1,
        };
        End { who, address: side.address, port }
    }

    /// For how long each end has had its address; one that forwards has none.
    fn tenure(&self, end: End) -> Option<u64> {
        match end.who {
            Who::Owner(vpc) => self.owner(vpc, end.address).map(|(_, tenure)| tenure),
            Who::Forwards(_) => Some(0),
        }
    }

    /// Whether the packet goes on with the flow: it does not start it anew, and both ends are still
    /// the same interfaces.
    fn has(&self, flow: &Flow, packet: &Packet, ends: [End; 2]) -> bool {
        let opens = packet.body.flags() & (TCP_SYN | TCP_ACK) == TCP_SYN;
        let repeats = ends[0] == flow.initiator && !flow.replied && !flow.closing;
        (!opens || repeats)
            && ends.iter().all(|end| self.tenure(*end) == flow.tenures.get(end).copied())
    }

    fn start(&self, packet: &Packet, [from, to]: [Side; 2], ends: [End; 2]) -> Flow {
        let mut untracked = BTreeSet::new();
        let groups = self.groups_of(from.interface);
        if !tracks(&groups, Direction::Egress, &self.seen(packet, to)) {
            untracked.insert(ends[0]);
        }
        let groups = self.groups_of(to.interface);
        if !tracks(&groups, Direction::Ingress, &self.seen(packet, from)) {
            untracked.insert(ends[1]);
        }
        let tenures = ends.iter().filter_map(|end| Some((*end, self.tenure(*end)?))).collect();
        let closing = packet.body.flags() & (TCP_FIN | TCP_RST) != 0;
        Flow { initiator: ends[0], untracked, replied: false, closing, tenures }
    }

    /// Whether the packet is an ICMP error about one that its receiver sent in a tracked flow.
    fn related(&self, packet: &Packet, [from, to]: [Side; 2]) -> bool {
        let (Body::Icmp { kind: 3 | 4 | 11 | 12, .. } | Body::Icmpv6 { kind: 1..=4, .. }) =
            packet.body
        else {
            return false;
        };
        let Some((source, destination, body)) = packet.about else { return false };
        if source != packet.destination {
            return false;
        }
        let reporter = &self.interfaces[from.interface];
        let owner = self.owner(reporter.vpc, destination).map(|(id, _)| id);
        // Whoever checks addresses reports of the address's owner, not of what it forwarded itself.
        let speaks_for_owner = reporter.check || owner == Some(from.interface);
        let other =
            Side { interface: from.interface, address: destination, owns: speaks_for_owner };
        let ends = [self.end(to, body, true), self.end(other, body, false)];
        let Some(flow) = flow_key(body, ends).and_then(|key| self.flows.get(&key)) else {
            return false;
        };
        // An error comes to the receiver by its address, also where it forwards for that.
        let since = self.owner(reporter.vpc, packet.destination).map(|(_, tenure)| tenure);
        let receiver = match ends[0].who {
            Who::Owner(_) => since == flow.tenures.get(&ends[0]).copied(),
            Who::Forwards(_) => true,
        };
        receiver && self.tenure(ends[1]) == flow.tenures.get(&ends[1]).copied()
    }
}

/// An address of IPv6 that counts on one link only, or none.
fn is_local(address: IpAddr) -> bool {
    let IpAddr::V6(address) = address else { return false };
    address.is_unspecified() || address.is_unicast_link_local()
}

/// Multicast, and the broadcast of the sender's subnet.
fn goes_to_many(destination: IpAddr, subnet: IpPrefix) -> bool {
    match (destination, subnet) {
        (IpAddr::V4(to), IpPrefix::V4(block)) => {
            to.octets()[0] >= 224 || to == block.nth(u32::MAX >> block.len)
        }
        (to, _) => to.is_multicast(),
    }
}

/// The flow of a packet between two ends; `None`: such packets make none.
fn flow_key(body: Body, [from, to]: [End; 2]) -> Option<FlowKey> {
    let query = match body {
        Body::Icmp { kind, .. } => Some(match kind {
            8 => (8, from),
            0 => (8, to),
            13 | 15 | 17 => (kind, from),
            14 | 16 | 18 => (kind - 1, to),
            _ => return None,
        }),
        Body::Icmpv6 { kind, .. } => Some(match kind {
            128 => (kind, from),
            129 => (kind - 1, to),
            _ => return None,
        }),
        _ => None,
    };
    Some(FlowKey { protocol: body.protocol(), ends: [from.min(to), from.max(to)], query })
}
