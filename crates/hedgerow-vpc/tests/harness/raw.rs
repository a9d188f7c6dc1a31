//! Frames byte by byte, and packet sockets to send and receive them.
#![allow(dead_code, reason = "each test program uses a part")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

pub const BROADCAST: [u8; 6] = [0xff; 6];
pub const ARP: u16 = 0x0806;
pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;

/// An Ethernet frame, tagged or not.
pub fn frame(
    to: [u8; 6],
    from: [u8; 6],
    vlan: Option<u16>,
    ethertype: u16,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = [to, from].concat();
    if let Some(vlan) = vlan {
        frame.extend(0x8100u16.to_be_bytes());
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet; `fragment` is (id, offset in bytes, more).
pub fn ipv4(
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    fragment: (u16, u16, bool),
    payload: &[u8],
) -> Vec<u8> {
    let (id, offset, more) = fragment;
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend(((offset / 8) | if more { 0x2000 } else { 0 }).to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// An IPv6 packet whose payload begins with the header `next`.
pub fn ipv6(from: Ipv6Addr, to: Ipv6Addr, next: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, hop_limit]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    packet
}

/// An ICMPv6 message with its checksum put right, as a packet that stays on the link.
pub fn icmpv6(from: Ipv6Addr, to: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    message[2..4].fill(0);
    let sum = transport_sum(from.into(), to.into(), 58, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv6(from, to, 58, 255, &message)
}

/// The checksum of TCP, UDP and ICMPv6, whose field must be 0 (RFC 9293, 3.1; RFC 8200, 8.1). 0 is
/// none, and so never one.
pub fn transport_sum(from: IpAddr, to: IpAddr, protocol: u8, bytes: &[u8]) -> u16 {
    let ends = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
        both => panic!("{both:?} in one packet"),
    };
    let length = (bytes.len() as u32).to_be_bytes();
    match checksum(&[&ends[..], &length, &[0, 0, 0, protocol], bytes].concat()) {
        0 => 0xffff,
        sum => sum,
    }
}

/// The extension header `header` of eight bytes, before the header `next`; `fragment` as for
/// [`ipv4`].
pub fn extension(header: u8, next: u8, fragment: (u16, u16, bool)) -> [u8; 8] {
    match header {
        44 => {
            let (id, offset, more) = fragment;
            let [high, low] = (offset | u16::from(more)).to_be_bytes();
            let [id_high, id_low] = id.to_be_bytes();
            [next, 0, high, low, 0, 0, id_high, id_low]
        }
        // Routing of a type that nobody knows, with no segments left: to be passed over.
        43 => [next, 0, 253, 0, 0, 0, 0, 0],
        // Its length counts words of four bytes, less two.
        51 => [next, 0, 0, 0, 0, 0, 0, 0],
        // One option that fills it (PadN).
        _ => [next, 0, 1, 4, 0, 0, 0, 0],
    }
}

/// A UDP datagram without checksum (0: none).
pub fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(from.to_be_bytes());
    datagram.extend(to.to_be_bytes());
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// An ICMP echo request.
pub fn echo(id: u16) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend([0, 1, 1, 2, 3, 4]);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// An ARP request by `(mac, address)` for `target`.
pub fn arp(mac: [u8; 6], address: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1];
    request.extend(mac);
    request.extend(address.octets());
    request.extend([0; 6]);
    request.extend(target.octets());
    request
}

fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 =
        bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// A frame as it arrived: the tag that the stack took off, and the untagged bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    pub vlan: Option<u16>,
    pub bytes: Vec<u8>,
}

/// A packet socket on one link of the namespace it was opened in.
pub struct Tap(OwnedFd);

fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

impl Tap {
    /// Opens it on `link` in the calling thread's namespace.
    pub fn open(link: &str) -> io::Result<Tap> {
        let index = nix::net::if_::if_nametoindex(link)?;
        let all = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: plain socket calls on descriptors and structs we own.
        unsafe {
            let fd = check(libc::socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from(all)).into())?;
            let tap = Tap(OwnedFd::from_raw_fd(fd as i32));
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = all;
            address.sll_ifindex = index as i32;
            let size = size_of_val(&address) as u32;
            check(libc::bind(tap.0.as_raw_fd(), (&raw const address).cast(), size).into())?;
            tap.option(libc::SOL_PACKET, libc::PACKET_AUXDATA, &1i32)?;
            let pause = libc::timeval { tv_sec: 0, tv_usec: 20_000 };
            tap.option(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &pause)?;
            Ok(tap)
        }
    }

    fn option<T>(&self, level: i32, name: i32, value: &T) -> io::Result<()> {
        let size = size_of::<T>() as u32;
        // SAFETY: the pointer is to `size` readable bytes.
        let result = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                level,
                name,
                std::ptr::from_ref(value).cast(),
                size,
            )
        };
        check(result.into()).map(drop)
    }

    pub fn send(&self, frame: &[u8]) {
        // SAFETY: the pointer is to `len` readable bytes.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        check(sent as i64).expect("send frame");
    }

    /// The next frame that came in (not one we sent), or `None` after 20 ms of silence.
    fn next(&self) -> Option<Arrived> {
        self.receive(0)
    }

    fn receive(&self, flags: i32) -> Option<Arrived> {
        let mut bytes = vec![0u8; 70_000];
        let mut control = [0u64; 16];
        // SAFETY: every pointer is to memory of the given size that outlives the call; the control
        // message is read only when the kernel says it is there and is of that type.
        unsafe {
            let mut from: libc::sockaddr_ll = std::mem::zeroed();
            let mut part =
                libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_name = (&raw mut from).cast();
            message.msg_namelen = size_of_val(&from) as u32;
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = size_of_val(&control);
            let got = libc::recvmsg(self.0.as_raw_fd(), &raw mut message, flags);
            if got < 0 || from.sll_pkttype == libc::PACKET_OUTGOING {
                return if got < 0 { None } else { self.receive(flags) };
            }
            bytes.truncate(got as usize);
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            let aux = libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned();
            let tagged = aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
            Some(Arrived { vlan: tagged.then_some(aux.tp_vlan_tci & 0xfff), bytes })
        }
    }

    /// The next frame that is there already.
    pub fn try_next(&self) -> Option<Arrived> {
        self.receive(libc::MSG_DONTWAIT)
    }

    /// The first frame that fits and arrives within `patience`.
    pub fn wait(&self, patience: Duration, fits: impl Fn(&Arrived) -> bool) -> Option<Arrived> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(arrived) = self.next().filter(&fits) {
                return Some(arrived);
            }
        }
        None
    }
}
