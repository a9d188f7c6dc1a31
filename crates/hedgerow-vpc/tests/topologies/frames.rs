//! Packets as bytes.

use std::net::{IpAddr, Ipv6Addr};

use hedgerow_datapath::fabric::ROUTER_MAC;

use super::packet::{Body, Packet, Part};
use super::raw;

/// What every whole datagram or first fragment has after its ports: a later one starts here.
const FIRST_PART: u16 = 32;

/// The transport header and what follows. `answers` is the packet that an ICMP error quotes.
fn transport(body: Body, about: Option<(IpAddr, IpAddr, Body)>) -> Vec<u8> {
    let mut bytes = vec![0; usize::from(FIRST_PART)];
    let put = |bytes: &mut [u8], at: usize, word: u16| {
        bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
    };
    match body {
        Body::Tcp { from, to, flags } => {
            put(&mut bytes, 0, from);
            put(&mut bytes, 2, to);
            bytes[12] = 5 << 4;
            bytes[13] = flags;
        }
        Body::Udp { from, to } => {
            put(&mut bytes, 0, from);
            put(&mut bytes, 2, to);
            put(&mut bytes, 4, FIRST_PART);
        }
        Body::Icmp { kind, code, id } | Body::Icmpv6 { kind, code, id } => {
            bytes[..2].copy_from_slice(&[kind, code]);
            put(&mut bytes, 4, id);
            if let Some((source, destination, body)) = about {
                bytes.truncate(8);
                let quoted = transport(body, None);
                let head = (body.protocol(), 64);
                bytes.extend(ip(source, destination, head, &[], (7, 0, false), &quoted));
            }
        }
        Body::Other(_) => {}
        Body::Solicit(target) => {
            bytes[0] = SOLICITATION;
            bytes[8..24].copy_from_slice(&target.octets());
        }
    }
    bytes
}

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// The packet by which `mac` answers the question who has an address (RFC 4861, 4.4).
pub fn advertisement(asked: &Packet, target: Ipv6Addr, mac: [u8; 6]) -> Vec<u8> {
    let IpAddr::V6(asker) = asked.source else { panic!("{} asks for {target}", asked.source) };
    let router = if mac == ROUTER_MAC { 0x80 } else { 0 };
    // Who has no address yet is told with all others.
    let (to, solicited) = match asker.is_unspecified() {
        true => (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 0),
        false => (asker, 0x40),
    };
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, router | solicited | 0x20, 0, 0, 0];
    message.extend(target.octets());
    message.extend([2, 1]);
    message.extend(mac);
    raw::icmpv6(target, to, message)
}

/// A packet of either family.
fn ip(
    source: IpAddr,
    destination: IpAddr,
    (protocol, hop_limit): (u8, u8),
    extensions: &[u8],
    fragment: (u16, u16, bool),
    bytes: &[u8],
) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            raw::ipv4(source, destination, protocol, fragment, bytes)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut payload = Vec::new();
            let mut following = extensions.iter().copied().skip(1).chain([protocol]);
            for header in extensions {
                let next = following.next().expect("the protocol at last");
                payload.extend(raw::extension(*header, next, fragment));
            }
            payload.extend(bytes);
            let next = *extensions.first().unwrap_or(&protocol);
            raw::ipv6(source, destination, next, hop_limit, &payload)
        }
        both => panic!("{both:?} in one packet"),
    }
}

/// Puts the checksum of TCP and UDP right, which a gateway has to keep right. That of a first fragment
/// is taken over the fragment.
fn sum(packet: &Packet, bytes: &mut [u8]) {
    let at = match packet.body {
        Body::Tcp { .. } => 16,
        Body::Udp { .. } => 6,
        _ => return,
    };
    let sum = raw::transport_sum(packet.source, packet.destination, packet.body.protocol(), bytes);
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The IP packet, as it arrives too.
pub fn packet(packet: &Packet) -> Vec<u8> {
    let bytes = transport(packet.body, packet.about);
    let (fragment, bytes) = match packet.part {
        Part::Whole => ((packet.id, 0, false), bytes),
        Part::First => ((packet.id, 0, true), bytes),
        Part::Later => ((packet.id, FIRST_PART, false), vec![0xff; 16]),
    };
    let Packet { source, destination, ref extensions, .. } = *packet;
    let mut bytes = bytes;
    if packet.part != Part::Later {
        sum(packet, &mut bytes);
    }
    let hop_limit = if matches!(packet.body, Body::Solicit(_)) { 255 } else { 64 };
    ip(source, destination, (packet.body.protocol(), hop_limit), extensions, fragment, &bytes)
}

/// The frame as the sender sends it.
pub fn frame(sent: &Packet) -> Vec<u8> {
    let ethertype = if sent.is_six() { raw::IPV6 } else { raw::IPV4 };
    raw::frame(ROUTER_MAC, sent.source_mac, sent.vlan, ethertype, &packet(sent))
}
