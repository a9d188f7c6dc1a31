//! A VPC in user space: packet sockets on the far ends of a node's ENI and trunk and of an outside
//! host. Like the real one it answers ARP, lets pass only what carries the sender's own address, MAC
//! and VLAN id, and delivers by destination address. Offload metadata (partial checksums, GSO) travels
//! with the frames, so that sockets can use them as they would on a node.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0xff, 1];

/// `struct virtio_net_hdr`: 10 bytes before each frame (packet(7), PACKET_VNET_HDR).
const VNET_HDR: usize = 10;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_VLAN: u16 = 0x8100;

/// A raw socket on one interface of the thread's namespace.
pub struct Port(OwnedFd);

impl Port {
    pub fn open(ifindex: u32) -> io::Result<Port> {
        // SAFETY: plain socket call; the descriptor is owned by nobody else.
        let fd = unsafe {
            let all = i32::from((libc::ETH_P_ALL as u16).to_be());
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, all);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        for (level, name, value) in [
            (libc::SOL_PACKET, 8 /* PACKET_AUXDATA */, 1),
            (libc::SOL_PACKET, 15 /* PACKET_VNET_HDR */, 1),
            (libc::SOL_PACKET, 23 /* PACKET_IGNORE_OUTGOING */, 1),
            (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 16 << 20),
        ] {
            let value: i32 = value;
            // SAFETY: passes a live i32 and its size.
            let result = unsafe {
                libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), 4)
            };
            if result != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: sockaddr_ll is plain data; zero is a valid value of each field.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = ifindex as i32;
        // SAFETY: passes a live sockaddr_ll and its size.
        let result = unsafe {
            let size = size_of_val(&address) as u32;
            libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size)
        };
        if result == 0 { Ok(Port(fd)) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends a whole frame as it is.
    pub fn send(&self, frame: &[u8]) {
        let mut bytes = vec![0; VNET_HDR];
        bytes.extend_from_slice(frame);
        self.send_raw(&bytes);
    }

    fn send_raw(&self, bytes: &[u8]) {
        // SAFETY: a live buffer and its length. A refusal (interface down) is a lost frame.
        unsafe { libc::send(self.0.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    }

    /// A frame with its vnet header in front, and the VLAN id that came as metadata.
    fn receive<'a>(&self, buffer: &'a mut [u8]) -> Option<(Option<u16>, &'a mut [u8])> {
        let mut control = [0u64; 16];
        let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: msghdr is plain data; its pointers are set to live buffers with their lengths.
        let (length, vlan) = unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = &raw mut iov;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = size_of_val(&control);
            let length = libc::recvmsg(self.0.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT);
            let mut vlan = None;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            if length > 0 && !header.is_null() && (*header).cmsg_level == libc::SOL_PACKET {
                let data: libc::tpacket_auxdata =
                    std::ptr::read_unaligned(libc::CMSG_DATA(header).cast());
                if data.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                    vlan = Some(data.tp_vlan_tci & 0xfff);
                }
            }
            (length, vlan)
        };
        (length > VNET_HDR as isize).then(|| (vlan, &mut buffer[..length as usize]))
    }
}

/// Where an address is plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub port: usize,
    pub vlan: Option<u16>,
    pub mac: [u8; 6],
}

/// An IPv4 frame that reached the VPC.
#[derive(Debug, Clone)]
pub struct Seen {
    pub from: Place,
    pub destination_mac: [u8; 6],
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub ttl: u8,
    /// Whether address, MAC and VLAN id belong together.
    pub accepted: bool,
}

/// The running VPC; ends with its drop.
pub struct Vpc {
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Vpc {
    pub fn start(ports: Vec<Port>, places: BTreeMap<Ipv4Addr, Place>) -> Vpc {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let switch = Switch { ports, places, seen: seen.clone() };
        let stopped = stop.clone();
        let worker = std::thread::spawn(move || switch.run(&stopped));
        Vpc { seen, stop, worker: Some(worker) }
    }

    /// Frames from one address to another, so far.
    pub fn frames(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<Seen> {
        let seen = self.seen.lock().expect("VPC log");
        seen.iter()
            .filter(|s| (s.source, s.destination) == (source, destination))
            .cloned()
            .collect()
    }

    /// Frames that the VPC refused, so far.
    pub fn refused(&self) -> Vec<Seen> {
        let seen = self.seen.lock().expect("VPC log");
        seen.iter().filter(|s| !s.accepted).cloned().collect()
    }
}

impl Drop for Vpc {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

struct Switch {
    ports: Vec<Port>,
    places: BTreeMap<Ipv4Addr, Place>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

fn mac(bytes: &[u8]) -> [u8; 6] {
    bytes.try_into().expect("six bytes")
}

fn address(bytes: &[u8]) -> Ipv4Addr {
    let bytes: [u8; 4] = bytes.try_into().expect("four bytes");
    bytes.into()
}

impl Switch {
    fn run(&self, stop: &AtomicBool) {
        let mut buffer = vec![0; 70_000];
        let mut polls: Vec<libc::pollfd> = self
            .ports
            .iter()
            .map(|port| libc::pollfd { fd: port.0.as_raw_fd(), events: libc::POLLIN, revents: 0 })
            .collect();
        while !stop.load(Ordering::Relaxed) {
            // SAFETY: a live array and its length.
            unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as u64, 20) };
            for (number, port) in self.ports.iter().enumerate() {
                while let Some((vlan, bytes)) = port.receive(&mut buffer) {
                    self.frame(number, vlan, bytes);
                }
            }
        }
    }

    fn frame(&self, port: usize, vlan: Option<u16>, bytes: &mut [u8]) {
        let frame = &bytes[VNET_HDR..];
        if frame.len() < 34 {
            return;
        }
        match u16::from_be_bytes([frame[12], frame[13]]) {
            ETHERTYPE_ARP if frame.len() >= 42 && frame[21] == 1 => self.answer_arp(port, frame),
            ETHERTYPE_IPV4 => self.forward(port, vlan, bytes),
            _ => {}
        }
    }

    fn answer_arp(&self, port: usize, request: &[u8]) {
        let mut reply = request[..42].to_vec();
        reply[0..6].copy_from_slice(&request[6..12]);
        reply[6..12].copy_from_slice(&ROUTER_MAC);
        reply[21] = 2;
        reply[22..28].copy_from_slice(&ROUTER_MAC);
        reply[28..32].copy_from_slice(&request[38..42]);
        reply[32..42].copy_from_slice(&request[22..32]);
        self.ports[port].send(&reply);
    }

    fn forward(&self, port: usize, vlan: Option<u16>, bytes: &mut [u8]) {
        let frame = &mut bytes[VNET_HDR..];
        let from = Place { port, vlan, mac: mac(&frame[6..12]) };
        let (source, destination) = (address(&frame[26..30]), address(&frame[30..34]));
        let accepted = self.places.get(&source) == Some(&from);
        let destination_mac = mac(&frame[..6]);
        let seen = Seen { from, destination_mac, source, destination, ttl: frame[22], accepted };
        self.seen.lock().expect("VPC log").push(seen);
        let Some(to) = self.places.get(&destination).filter(|_| accepted) else { return };
        frame[0..6].copy_from_slice(&to.mac);
        frame[6..12].copy_from_slice(&ROUTER_MAC);
        match to.vlan {
            None => self.ports[to.port].send_raw(bytes),
            Some(vlan) => self.ports[to.port].send_raw(&tagged(bytes, vlan)),
        }
    }
}

/// The frame with a tag in it. The offsets of a partial checksum move with it.
fn tagged(bytes: &[u8], vlan: u16) -> Vec<u8> {
    let at = VNET_HDR + 12;
    let mut out = bytes[..at].to_vec();
    out.extend_from_slice(&ETHERTYPE_VLAN.to_be_bytes());
    out.extend_from_slice(&vlan.to_be_bytes());
    out.extend_from_slice(&bytes[at..]);
    for field in [2, 6] {
        // hdr_len and csum_start, little-endian on this machine; 0: not set
        let value = u16::from_ne_bytes([out[field], out[field + 1]]);
        if value != 0 {
            out[field..field + 2].copy_from_slice(&(value + 4).to_ne_bytes());
        }
    }
    out
}
