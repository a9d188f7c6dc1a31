//! A small synchronous rtnetlink client.
//!
//! Synchronous, because a netlink socket belongs to the namespace of the thread that opened it:
//! one short-lived thread enters a pod's namespace, opens a socket and hands it back, and a few
//! request/answer pairs of some 20 µs each need no reactor.

mod messages;

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use hedgerow_core::mac::Mac;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::packet_core;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use messages::{link_of, neighbour_of, route_message, route_of};

/// Why the kernel did not do it.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused.
    #[error("{operation} {subject}: {error}")]
    Kernel {
        /// What was asked.
        operation: &'static str,
        /// Of what.
        subject: String,
        /// The kernel's errno.
        error: std::io::Error,
    },
    /// The socket failed.
    #[error("{operation}: the netlink socket failed: {error}")]
    Socket {
        /// What was asked.
        operation: &'static str,
        /// The error.
        error: std::io::Error,
    },
    /// The kernel's answer could not be read.
    #[error("{operation}: the kernel's answer does not parse: {error}")]
    Decode {
        /// What was asked.
        operation: &'static str,
        /// The error.
        error: packet_core::DecodeError,
    },
}

impl NetlinkError {
    /// The errno of a refusal.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel { error, .. } => error.raw_os_error(),
            _ => None,
        }
    }

    /// Whether what was named is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self.errno(), Some(libc::ENODEV | libc::ENOENT | libc::ESRCH | libc::ENXIO))
    }
}

type Result<T, E = NetlinkError> = std::result::Result<T, E>;

/// A link as the agent needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// MAC; `None` for links without one.
    pub mac: Option<Mac>,
    /// Maximum transmission unit, bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it is one end of a veth pair.
    pub veth: bool,
}

/// A veth pair to make: the first end here and down, the other in a pod's namespace.
#[derive(Debug, Clone, Copy)]
pub struct VethPair<'a> {
    /// Name of the host's end.
    pub host_name: &'a str,
    /// Its MAC.
    pub host_mac: Mac,
    /// Name of the pod's end.
    pub pod_name: &'a str,
    /// Its MAC.
    pub pod_mac: Mac,
    /// MTU of both.
    pub mtu: u32,
    /// The pod's network namespace.
    pub netns: BorrowedFd<'a>,
}

/// An IPv4 route out of an interface.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Destination; prefix length 0 is the default route.
    pub destination: (Ipv4Addr, u8),
    /// Next hop, taken as on-link; `None`: the destination itself is on the link.
    pub gateway: Option<Ipv4Addr>,
    /// Interface index.
    pub link: u32,
    /// Routing table.
    pub table: u32,
}

/// The main routing table.
pub const TABLE_MAIN: u32 = 254;

/// One netlink socket, bound to the namespace where it was opened.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Self> {
        let failed = |error| NetlinkError::Socket { operation: "open a netlink socket", error };
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(failed)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Opens a socket in another namespace; a thread goes there and back.
    pub fn open_in(netns: BorrowedFd<'_>) -> Result<Self> {
        let failed =
            |error| NetlinkError::Socket { operation: "enter a pod's network namespace", error };
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET)
                    .map_err(|e| failed(e.into()))?;
                Self::open()
            });
            thread.join().unwrap_or_else(|_| Err(failed(std::io::Error::other("thread panicked"))))
        })
    }

    /// Sends a request and collects the answers until the kernel's acknowledgement.
    fn request(
        &mut self,
        operation: &'static str,
        subject: &dyn std::fmt::Display,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        let failed = |error| NetlinkError::Socket { operation, error };
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(failed)?;
        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full().map_err(failed)?;
            let mut rest = datagram.as_slice();
            while rest.len() >= 16 {
                let len = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
                if len < 16 || len > rest.len() {
                    return Err(failed(std::io::ErrorKind::InvalidData.into()));
                }
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&rest[..len]);
                rest = &rest[len.next_multiple_of(4).min(rest.len())..];
                let answer = answer.map_err(|error| NetlinkError::Decode { operation, error })?;
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(e) => match e.code {
                        None => return Ok(answers),
                        Some(_) => {
                            let subject = subject.to_string();
                            let error = e.to_io();
                            return Err(NetlinkError::Kernel { operation, subject, error });
                        }
                    },
                    _ => {}
                }
            }
        }
    }

    /// The link of this name, if there is one.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let message = RouteNetlinkMessage::GetLink(message);
        match self.request("look up the link", &name, message, NLM_F_ACK) {
            Ok(answers) => Ok(answers.iter().find_map(link_of)),
            Err(e) if e.is_missing() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Every link of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = self.request("list the links", &"", message, NLM_F_DUMP)?;
        Ok(answers.iter().filter_map(link_of).collect())
    }

    /// Makes a veth pair; both ends are down.
    pub fn create_veth(&mut self, pair: &VethPair<'_>) -> Result<()> {
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(pair.pod_name.to_owned()),
            LinkAttribute::Mtu(pair.mtu),
            LinkAttribute::Address(pair.pod_mac.0.to_vec()),
            LinkAttribute::NetNsFd(pair.netns.as_raw_fd()),
        ];
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(pair.host_name.to_owned()),
            LinkAttribute::Mtu(pair.mtu),
            LinkAttribute::Address(pair.host_mac.0.to_vec()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        let message = RouteNetlinkMessage::NewLink(message);
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.request("make the veth pair", &pair.host_name, message, flags).map(drop)
    }

    /// Deletes a link by name; false when there was none.
    pub fn delete_link(&mut self, name: &str) -> Result<bool> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let message = RouteNetlinkMessage::DelLink(message);
        match self.request("delete the link", &name, message, NLM_F_ACK) {
            Ok(_) => Ok(true),
            Err(e) if e.is_missing() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Brings a link up, with another MTU where one is given.
    pub fn set_up(&mut self, index: u32, mtu: Option<u32>) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes.extend(mtu.map(LinkAttribute::Mtu));
        let message = RouteNetlinkMessage::SetLink(message);
        self.request("bring up link", &index, message, NLM_F_ACK).map(drop)
    }

    /// Gives a link an address.
    pub fn put_address(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = prefix;
        message.header.scope = AddressScope::Universe;
        message.header.index = index;
        message.attributes = vec![
            AddressAttribute::Local(address.into()),
            AddressAttribute::Address(address.into()),
        ];
        let message = RouteNetlinkMessage::NewAddress(message);
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        self.request("add the address", &address, message, flags).map(drop)
    }

    /// The IPv4 addresses of a link, or of all links for index 0.
    pub fn addresses(&mut self, index: u32) -> Result<Vec<Ipv4Addr>> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        let message = RouteNetlinkMessage::GetAddress(message);
        let answers = self.request("list the addresses", &index, message, NLM_F_DUMP)?;
        let of = |message: &RouteNetlinkMessage| match message {
            RouteNetlinkMessage::NewAddress(m) if index == 0 || m.header.index == index => {
                m.attributes.iter().find_map(|a| match a {
                    AddressAttribute::Local(std::net::IpAddr::V4(v4)) => Some(*v4),
                    _ => None,
                })
            }
            _ => None,
        };
        Ok(answers.iter().filter_map(of).collect())
    }

    /// A neighbour entry that needs no ARP and never expires.
    pub fn put_neighbour(&mut self, index: u32, address: Ipv4Addr, mac: Mac) -> Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = index;
        message.header.state = NeighbourState::Permanent;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)),
            NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
        ];
        let message = RouteNetlinkMessage::NewNeighbour(message);
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        self.request("add the neighbour", &address, message, flags).map(drop)
    }

    /// The permanent neighbour entries of a link.
    pub fn neighbours(&mut self, index: u32) -> Result<Vec<(Ipv4Addr, Mac)>> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        let message = RouteNetlinkMessage::GetNeighbour(message);
        let answers = self.request("list the neighbours", &index, message, NLM_F_DUMP)?;
        Ok(answers.iter().filter_map(|m| neighbour_of(m, index)).collect())
    }

    /// Adds the route, or replaces one to the same destination in the same table.
    pub fn put_route(&mut self, route: &Route) -> Result<()> {
        let message = RouteNetlinkMessage::NewRoute(route_message(route));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        self.request("add the route to", &route.destination.0, message, flags).map(drop)
    }

    /// Every IPv4 route of a table.
    pub fn routes(&mut self, table: u32) -> Result<Vec<Route>> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        let message = RouteNetlinkMessage::GetRoute(message);
        let answers = self.request("list the routes of table", &table, message, NLM_F_DUMP)?;
        Ok(answers.iter().filter_map(route_of).filter(|r| r.table == table).collect())
    }

    /// `fwmark mark/mask lookup table`; nothing happens where the rule is there already.
    pub fn put_mark_rule(&mut self, priority: u32, mark: u32, mask: u32, table: u32) -> Result<()> {
        let mut message = RuleMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.action = RuleAction::ToTable;
        message.attributes = vec![
            RuleAttribute::Priority(priority),
            RuleAttribute::FwMark(mark),
            RuleAttribute::FwMask(mask),
            RuleAttribute::Table(table),
        ];
        let message = RouteNetlinkMessage::NewRule(message);
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self.request("add the routing rule of priority", &priority, message, flags) {
            Err(e) if e.errno() != Some(libc::EEXIST) => Err(e),
            _ => Ok(()),
        }
    }

    /// Moves the lookup of the `local` table from priority 0 to `priority`, so that rules before it
    /// are possible. Both exist for a moment; it is never missing.
    pub fn move_local_rule(&mut self, priority: u32) -> Result<()> {
        let rule = |priority| {
            let mut message = RuleMessage::default();
            message.header.family = AddressFamily::Inet;
            message.header.action = RuleAction::ToTable;
            message.header.table = 255;
            message.attributes = vec![RuleAttribute::Priority(priority)];
            message
        };
        let message = RouteNetlinkMessage::NewRule(rule(priority));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self.request("add the local rule at priority", &priority, message, flags) {
            Err(e) if e.errno() != Some(libc::EEXIST) => return Err(e),
            _ => {}
        }
        let message = RouteNetlinkMessage::DelRule(rule(0));
        match self.request("delete the local rule at priority", &0, message, NLM_F_ACK) {
            Err(e) if !e.is_missing() => Err(e),
            _ => Ok(()),
        }
    }
}
