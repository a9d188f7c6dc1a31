//! What a random case is: networks, and what happens in them.
//!
//! A [`Pick`] stands for one of the things that there are, counted round: every value means
//! something in every topology, so that a case stays one while it shrinks.

use std::net::IpAddr;

use hedgerow_core::prefix::IpPrefix;
use hedgerow_core::sg::{Direction, Traffic};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::addresses::{
    ELASTICS, FIXED, address, destination, everywhere, is_six, outside, prefix,
};
use super::packet::{Body, EXTENSIONS, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};

/// One of the things that there are, counted round.
#[derive(Debug, Clone, Copy)]
pub struct Pick(pub u8);

impl Pick {
    pub fn of(self, count: usize) -> usize {
        usize::from(self.0) % count.max(1)
    }
}

/// Two VPCs with the same address block, and what happens in them.
#[derive(Debug, Clone)]
pub struct Topology {
    pub lists: Vec<List>,
    pub nets: [Net; 2],
    /// The interfaces that are there in every case.
    pub fixed: Vec<Fixed>,
    /// What each elastic address stands for: an interface and which address of it.
    pub elastics: Vec<(Pick, Pick)>,
    pub steps: Vec<Step>,
}

/// A prefix list; entries of the other family are left out.
#[derive(Debug, Clone)]
pub struct List {
    pub six: bool,
    pub entries: Vec<IpPrefix>,
}

#[derive(Debug, Clone)]
pub struct Net {
    pub groups: Vec<Group>,
    pub tables: Vec<Vec<Route>>,
    pub acls: Vec<Vec<Entry>>,
    pub subnets: Vec<Edge>,
    /// Of the subnet in which the fixed interfaces are.
    pub fixed: Edge,
    pub interfaces: Vec<Interface>,
}

/// A group's rules, and whether it keeps those that let everything out.
#[derive(Debug, Clone)]
pub struct Group {
    pub keeps_egress: bool,
    pub rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
pub struct Rule {
    pub direction: Direction,
    pub traffic: Traffic,
    pub peer: Peer,
}

#[derive(Debug, Clone, Copy)]
pub enum Peer {
    Prefix(IpPrefix),
    /// The VPC's default group is among them.
    Group(Pick),
    List(Pick),
}

#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub prefix: IpPrefix,
    pub to: Leads,
}

#[derive(Debug, Clone, Copy)]
pub enum Leads {
    Interface(Pick),
    /// To the VPC's internet gateway.
    Internet,
}

#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub direction: Direction,
    pub allow: bool,
    pub traffic: Traffic,
    pub peer: IpPrefix,
}

/// Which table and list a subnet has; `None`: the VPC's.
#[derive(Debug, Clone, Copy)]
pub struct Edge {
    pub table: Option<Pick>,
    pub acl: Option<Pick>,
}

#[derive(Debug, Clone)]
pub struct Interface {
    pub subnet: Pick,
    pub host: Pick,
    pub six: Option<Six>,
    pub groups: Vec<Pick>,
    pub check: bool,
    /// On which trunk; `None`: on none.
    pub trunk: Option<Pick>,
}

#[derive(Debug, Clone)]
pub struct Fixed {
    pub groups: Vec<Pick>,
    /// Addresses beside the one that each has.
    pub secondaries: Vec<Pick>,
    pub sixes: Vec<Six>,
}

/// What an interface may have of its subnet's IPv6 block.
#[derive(Debug, Clone, Copy)]
pub enum Six {
    Address(Pick),
    /// A /80.
    Prefix(Pick),
}

#[derive(Debug, Clone)]
pub enum Step {
    Send(Send),
    Change(Change),
}

#[derive(Debug, Clone)]
pub struct Send {
    pub from: Pick,
    pub what: What,
    pub twist: Twist,
}

#[derive(Debug, Clone)]
pub enum What {
    New {
        to: To,
        body: Body,
        first_fragment: bool,
        /// Which of [`EXTENSIONS`] it has, if it is one of IPv6.
        extensions: u8,
    },
    /// From somebody in the Internet.
    Outside { to: To, body: Body, first_fragment: bool, extensions: u8 },
    /// An earlier packet once more.
    Again(Pick),
    /// An answer to an earlier packet, from where that arrived.
    Answer(Pick, u8),
    /// An ICMP error about an earlier packet, from where that arrived.
    Error(Pick, u8),
    /// A later fragment of an earlier packet.
    Rest(Pick),
    /// The question who on the link has an IPv6 address; `None`: the router's.
    Solicit(Option<To>),
}

#[derive(Debug, Clone, Copy)]
pub enum To {
    Interface(Pick, Pick),
    /// A public address.
    Public(Pick),
    Address(IpAddr),
}

/// What is wrong with a packet.
#[derive(Debug, Clone, Copy)]
pub enum Twist {
    Nothing,
    Mac,
    Vlan,
    Source(To),
}

#[derive(Debug, Clone)]
pub enum Change {
    AddRule(Pick, Rule),
    RemoveRule(Pick, Pick),
    AddEntry(Pick, Entry),
    RemoveEntry(Pick, Pick),
    SetRoute(Pick, Route),
    RemoveRoute(Pick, Pick),
    Edge(Pick, Edge),
    Groups(Pick, Vec<Pick>),
    Check(Pick),
    /// A branch leaves its trunk, or comes to one.
    Plug(Pick, Pick),
    /// A secondary address comes to a fixed interface, maybe from another.
    Address(Pick, Pick),
    /// An elastic address stands for an address of an interface from now on, or for none any more.
    Elastic(Pick, Pick, Pick),
    /// The same in IPv6; if the interface has it already, it goes.
    Six(Pick, Six),
    List(Pick, IpPrefix),
    /// The interface goes for good.
    Delete(Pick),
}

fn pick() -> impl Strategy<Value = Pick> {
    (0u8..24).prop_map(Pick)
}

fn picks() -> impl Strategy<Value = Vec<Pick>> {
    prop_oneof![1 => Just(Vec::new()), 7 => vec(pick(), 1..=3)]
}

/// Around the borders of the evaluator's blocks and of the rules below.
fn port() -> impl Strategy<Value = u16> {
    let border = select(vec![80u16, 255, 256, 443, 511, 512, 5432, 65535, 0]);
    prop_oneof![
        6 => (border, -1i32..=1).prop_map(|(port, by)| (i32::from(port) + by).clamp(0, 65535) as u16),
        1 => any::<u16>(),
    ]
}

/// Protocols of packets; see [`Body::of_family`].
const OTHERS: [u8; 5] = [0, 47, 50, 58, 255];
/// Protocols of rules.
const OTHERS_OF_RULES: [u8; 5] = [0, 47, 50, 59, 255];

fn traffic() -> impl Strategy<Value = Traffic> {
    let range = || {
        prop_oneof![
            4 => (port(), port()).prop_map(|(a, b)| (a.min(b), a.max(b))),
            1 => Just((0, u16::MAX)),
        ]
    };
    let code = || proptest::option::of(0u8..3);
    let icmp = (select(vec![None, Some(0u8), Some(3), Some(8)]), code());
    let icmpv6 = (select(vec![None, Some(0u8), Some(1), Some(128), Some(129)]), code());
    prop_oneof![
        7 => Just(Traffic::All),
        4 => range().prop_map(|(from, to)| Traffic::Tcp { from, to }),
        4 => range().prop_map(|(from, to)| Traffic::Udp { from, to }),
        2 => icmp.prop_map(|(kind, code)| Traffic::Icmp { kind, code: kind.and(code) }),
        2 => icmpv6.prop_map(|(kind, code)| Traffic::Icmpv6 { kind, code: kind.and(code) }),
        1 => select(OTHERS_OF_RULES.to_vec()).prop_map(Traffic::Other),
    ]
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Ingress), Just(Direction::Egress)]
}

fn rule() -> impl Strategy<Value = Rule> {
    let peer = prop_oneof![
        6 => prefix().prop_map(Peer::Prefix),
        2 => pick().prop_map(Peer::Group),
        1 => pick().prop_map(Peer::List),
    ];
    let direction = prop_oneof![2 => Just(Direction::Ingress), 1 => Just(Direction::Egress)];
    (direction, traffic(), peer).prop_map(|(direction, traffic, peer)| Rule {
        direction,
        traffic,
        peer,
    })
}

fn group() -> impl Strategy<Value = Group> {
    (any::<bool>(), vec(rule(), 0..=6))
        .prop_map(|(keeps_egress, rules)| Group { keeps_egress, rules })
}

fn route() -> impl Strategy<Value = Route> {
    let inwards = (destination(), pick().prop_map(Leads::Interface));
    let outwards = (outside(), Just(Leads::Internet));
    prop_oneof![5 => inwards, 1 => outwards].prop_map(|(prefix, to)| Route { prefix, to })
}

/// Mostly with a way out.
fn table() -> impl Strategy<Value = Vec<Route>> {
    let end = prop_oneof![2 => Just(true), 1 => Just(false)];
    (vec(route(), 0..=6), end).prop_map(|(mut routes, end)| {
        if end {
            let out = |six| Route { prefix: everywhere(six), to: Leads::Internet };
            routes.extend([out(false), out(true)]);
        }
        routes
    })
}

/// Mostly with entries for everything at the end, as most have.
fn acl() -> impl Strategy<Value = Vec<Entry>> {
    let all = |direction, six| Entry {
        direction,
        allow: true,
        traffic: Traffic::All,
        peer: everywhere(six),
    };
    let end = prop_oneof![4 => Just(true), 1 => Just(false)];
    (vec(entry(), 0..=4), end).prop_map(move |(mut entries, end)| {
        if end {
            for six in [false, true] {
                entries.extend([all(Direction::Ingress, six), all(Direction::Egress, six)]);
            }
        }
        entries
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    (direction(), any::<bool>(), traffic(), prefix())
        .prop_map(|(direction, allow, traffic, peer)| Entry { direction, allow, traffic, peer })
}

fn edge() -> impl Strategy<Value = Edge> {
    let some = || prop_oneof![1 => Just(None), 2 => pick().prop_map(Some)];
    (some(), some()).prop_map(|(table, acl)| Edge { table, acl })
}

fn checked() -> impl Strategy<Value = bool> {
    prop_oneof![2 => Just(true), 1 => Just(false)]
}

fn interface() -> impl Strategy<Value = Interface> {
    let trunk = prop_oneof![3 => pick().prop_map(Some), 1 => Just(None)];
    let six = prop_oneof![3 => six().prop_map(Some), 1 => Just(None)];
    (pick(), pick(), six, picks(), checked(), trunk).prop_map(
        |(subnet, host, six, groups, check, trunk)| Interface {
            subnet,
            host,
            six,
            groups,
            check,
            trunk,
        },
    )
}

fn six() -> impl Strategy<Value = Six> {
    prop_oneof![3 => pick().prop_map(Six::Address), 1 => pick().prop_map(Six::Prefix)]
}

fn net(most: usize) -> impl Strategy<Value = Net> {
    (
        vec(group(), most.min(1)..=most),
        vec(table(), 1..=most.min(2)),
        vec(acl(), 0..=most.min(2)),
        vec(edge(), most.min(1)..=most),
        edge(),
        vec(interface(), 0..=most + 1),
    )
        .prop_map(|(groups, tables, acls, subnets, fixed, interfaces)| Net {
            groups,
            tables,
            acls,
            subnets,
            fixed,
            interfaces,
        })
}

fn body() -> impl Strategy<Value = Body> {
    let flags = prop_oneof![5 => Just(TCP_SYN), 1 => flags()];
    let source = || select(vec![1024u16, 1025, 80]);
    // 133 to 136 and 143 are neighbour discovery in ICMPv6.
    let kind = select(vec![8u8, 8, 8, 0, 13, 3, 11, 135, 143, 200]);
    prop_oneof![
        4 => (source(), port(), flags).prop_map(|(from, to, flags)| Body::Tcp { from, to, flags }),
        4 => (source(), port()).prop_map(|(from, to)| Body::Udp { from, to }),
        2 => (kind, 0u8..3, 1u16..3).prop_map(|(kind, code, id)| Body::Icmp { kind, code, id }),
        1 => select(OTHERS.to_vec()).prop_map(Body::Other),
    ]
}

fn flags() -> impl Strategy<Value = u8> {
    select(vec![TCP_ACK, TCP_SYN | TCP_ACK, TCP_FIN | TCP_ACK, TCP_RST, TCP_SYN])
}

fn to() -> impl Strategy<Value = To> {
    prop_oneof![
        12 => (pick(), pick()).prop_map(|(interface, address)| To::Interface(interface, address)),
        1 => pick().prop_map(To::Public),
        4 => address().prop_map(To::Address),
    ]
}

/// For whom somebody outside asks.
fn to_public() -> impl Strategy<Value = To> {
    prop_oneof![
        4 => pick().prop_map(To::Public),
        5 => (pick(), pick()).prop_map(|(interface, address)| To::Interface(interface, address)),
        1 => address().prop_map(To::Address),
    ]
}

fn send() -> impl Strategy<Value = Send> {
    let fragment = || prop_oneof![8 => Just(false), 1 => Just(true)];
    let extensions = || prop_oneof![3 => Just(0u8), 1 => 1..EXTENSIONS.len() as u8];
    let new = (to(), body(), fragment(), extensions());
    let outside = (to_public(), body(), fragment(), extensions());
    let what = prop_oneof![
        2 => outside.prop_map(|(to, body, first_fragment, extensions)| {
            What::Outside { to, body, first_fragment, extensions }
        }),
        6 => new.prop_map(|(to, body, first_fragment, extensions)| {
            What::New { to, body, first_fragment, extensions }
        }),
        2 => pick().prop_map(What::Again),
        3 => (pick(), flags()).prop_map(|(of, flags)| What::Answer(of, flags)),
        1 => (pick(), select(vec![3u8, 11, 4, 12])).prop_map(|(of, kind)| What::Error(of, kind)),
        1 => pick().prop_map(What::Rest),
        1 => proptest::option::weighted(0.9, to()).prop_map(What::Solicit),
    ];
    let twist = prop_oneof![
        40 => Just(Twist::Nothing),
        1 => Just(Twist::Mac),
        1 => Just(Twist::Vlan),
        8 => to().prop_map(Twist::Source),
    ];
    (pick(), what, twist).prop_map(|(from, what, twist)| Send { from, what, twist })
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => (pick(), rule()).prop_map(|(group, rule)| Change::AddRule(group, rule)),
        3 => (pick(), pick()).prop_map(|(group, rule)| Change::RemoveRule(group, rule)),
        1 => (pick(), entry()).prop_map(|(acl, entry)| Change::AddEntry(acl, entry)),
        1 => (pick(), pick()).prop_map(|(acl, entry)| Change::RemoveEntry(acl, entry)),
        2 => (pick(), route()).prop_map(|(table, route)| Change::SetRoute(table, route)),
        1 => (pick(), pick()).prop_map(|(table, route)| Change::RemoveRoute(table, route)),
        1 => (pick(), edge()).prop_map(|(subnet, edge)| Change::Edge(subnet, edge)),
        2 => (pick(), picks()).prop_map(|(interface, groups)| Change::Groups(interface, groups)),
        1 => pick().prop_map(Change::Check),
        1 => (pick(), pick()).prop_map(|(interface, trunk)| Change::Plug(interface, trunk)),
        1 => (pick(), pick()).prop_map(|(interface, host)| Change::Address(interface, host)),
        1 => (pick(), six()).prop_map(|(interface, six)| Change::Six(interface, six)),
        1 => (pick(), pick(), pick()).prop_map(|(which, interface, address)| {
            Change::Elastic(which, interface, address)
        }),
        1 => (pick(), prefix()).prop_map(|(list, prefix)| Change::List(list, prefix)),
        1 => pick().prop_map(Change::Delete),
    ]
}

fn list() -> impl Strategy<Value = List> {
    (any::<bool>(), vec(prefix(), 1..=5)).prop_map(|(six, mut entries)| {
        entries.retain(|entry| is_six(*entry) == six);
        List { six, entries }
    })
}

pub fn topology() -> impl Strategy<Value = Topology> {
    let fixed = (picks(), vec(pick(), 0..=1), vec(six(), 0..=1))
        .prop_map(|(groups, secondaries, sixes)| Fixed { groups, secondaries, sixes });
    let step = prop_oneof![7 => send().prop_map(Step::Send), 1 => change().prop_map(Step::Change)];
    let elastics = vec((pick(), pick()), ELASTICS / 2..=ELASTICS);
    (vec(list(), 0..=2), (net(4), net(1)), vec(fixed, FIXED), elastics, vec(step, 8..40)).prop_map(
        |(lists, (main, other), fixed, elastics, steps)| Topology {
            lists,
            nets: [main, other],
            fixed,
            elastics,
            steps,
        },
    )
}

/// A list of which parts can go.
pub trait Shorten {
    fn length(&self) -> usize;
    fn cut(&mut self, from: usize, count: usize);
}

impl<T> Shorten for Vec<T> {
    fn length(&self) -> usize {
        self.len()
    }

    fn cut(&mut self, from: usize, count: usize) {
        self.drain(from..self.len().min(from + count));
    }
}

impl Topology {
    /// The lists that a topology is made of, or those inside these.
    pub fn lists(&mut self, inside: bool) -> Vec<&mut dyn Shorten> {
        fn all<'a, T>(lists: impl Iterator<Item = &'a mut Vec<T>>) -> Vec<&'a mut dyn Shorten>
        where
            T: 'a,
        {
            lists.map(|list| list as &mut dyn Shorten).collect()
        }
        let mut lists: Vec<&mut dyn Shorten> = Vec::new();
        for net in &mut self.nets {
            let Net { groups, tables, acls, subnets, interfaces, .. } = net;
            if inside {
                lists.extend(all(groups.iter_mut().map(|group| &mut group.rules)));
                lists.extend(all(tables.iter_mut()));
                lists.extend(all(acls.iter_mut()));
                lists.extend(all(interfaces.iter_mut().map(|interface| &mut interface.groups)));
            } else {
                let own: [&mut dyn Shorten; 5] = [interfaces, groups, tables, acls, subnets];
                lists.extend(own);
            }
        }
        if inside {
            lists.extend(all(self.lists.iter_mut().map(|list| &mut list.entries)));
            for fixed in &mut self.fixed {
                let own: [&mut dyn Shorten; 3] =
                    [&mut fixed.groups, &mut fixed.secondaries, &mut fixed.sixes];
                lists.extend(own);
            }
        } else {
            lists.push(&mut self.lists);
            lists.push(&mut self.elastics);
            lists.insert(0, &mut self.steps);
        }
        lists
    }
}
