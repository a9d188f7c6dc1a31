//! Kernel messages to and from the agent's own types.

use std::net::Ipv4Addr;

use hedgerow_core::mac::Mac;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteScope};
use rtnetlink::RouteMessageBuilder;

use super::{Link, Route};

pub(super) fn link_of(message: &RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    link_of_message(message)
}

fn link_of_message(message: &LinkMessage) -> Option<Link> {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        veth: false,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().ok().map(Mac),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::LinkInfo(info) => {
                link.veth = info.iter().any(|i| matches!(i, LinkInfo::Kind(InfoKind::Veth)));
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

pub(super) fn neighbour_of(message: &RouteNetlinkMessage, index: u32) -> Option<(Ipv4Addr, Mac)> {
    let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
    if message.header.ifindex != index || message.header.state != NeighbourState::Permanent {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(*v4),
            NeighbourAttribute::LinkLayerAddress(b) => mac = b.as_slice().try_into().ok().map(Mac),
            _ => {}
        }
    }
    Some((address?, mac?))
}

pub(super) fn route_message(route: &Route) -> RouteMessage {
    let (address, len) = route.destination;
    let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(address, len)
        .output_interface(route.link)
        .table_id(route.table);
    builder = match route.gateway {
        Some(gateway) => builder.gateway(gateway).onlink(),
        None => builder.scope(RouteScope::Link),
    };
    builder.build()
}

pub(super) fn route_of(message: &RouteNetlinkMessage) -> Option<Route> {
    use netlink_packet_route::route::RouteAddress::Inet;
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let mut route = Route {
        destination: (Ipv4Addr::UNSPECIFIED, message.header.destination_prefix_length),
        gateway: None,
        link: 0,
        table: u32::from(message.header.table),
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(Inet(v4)) => route.destination.0 = *v4,
            RouteAttribute::Gateway(Inet(v4)) => route.gateway = Some(*v4),
            RouteAttribute::Oif(index) => route.link = *index,
            RouteAttribute::Table(table) => route.table = *table,
            _ => {}
        }
    }
    Some(route)
}
