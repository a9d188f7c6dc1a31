//! Packets as bytes.

use std::net::{IpAddr, Ipv4Addr};

use hedgerow_datapath::fabric::ROUTER_MAC;

use super::generate::Body;
use super::model::{Packet, Part};
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
        Body::Icmp { kind, code, id } => {
            bytes[..2].copy_from_slice(&[kind, code]);
            put(&mut bytes, 4, id);
            if let Some((source, destination, body)) = about {
                bytes.truncate(8);
                let quoted = transport(body, None);
                let datagram = (7, 0, false);
                bytes.extend(raw::ipv4(
                    v4(source),
                    v4(destination),
                    body.protocol(),
                    datagram,
                    &quoted,
                ));
            }
        }
        Body::Other(_) => {}
    }
    bytes
}

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address} in an IPv4 packet"),
    }
}

/// The IPv4 packet, as it arrives too.
pub fn ipv4(packet: &Packet) -> Vec<u8> {
    let bytes = transport(packet.body, packet.about);
    let (fragment, bytes) = match packet.part {
        Part::Whole => ((packet.id, 0, false), bytes),
        Part::First => ((packet.id, 0, true), bytes),
        Part::Later => ((packet.id, FIRST_PART, false), vec![0xff; 16]),
    };
    let (source, destination) = (v4(packet.source), v4(packet.destination));
    raw::ipv4(source, destination, packet.body.protocol(), fragment, &bytes)
}

/// The frame as the sender sends it.
pub fn frame(packet: &Packet) -> Vec<u8> {
    raw::frame(ROUTER_MAC, packet.source_mac, packet.vlan, raw::IPV4, &ipv4(packet))
}
