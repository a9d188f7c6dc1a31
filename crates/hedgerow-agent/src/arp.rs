//! Asks a subnet's router for its MAC, over any interface, VLAN and sender.
//!
//! The kernel's own resolution needs an address on the interface and a VLAN device, and we have
//! neither on the trunk. One raw packet socket asks "who has base + 1?" in the name of the
//! interface whose frames will go there. The answer is also a proof: the VPC knows this MAC, this
//! address and this VLAN at this place, so an annotation of another trunk or a branch that is not
//! yet associated gets none.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use hedgerow_core::mac::Mac;

/// Who asks, and where.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// Interface of the node.
    pub link: u32,
    /// Tag of the frame, for a branch.
    pub vlan: Option<u16>,
    /// MAC of the ENI or branch that asks.
    pub source_mac: Mac,
    /// Its address.
    pub source: Ipv4Addr,
    /// The router.
    pub gateway: Ipv4Addr,
}

/// No answer, or no socket.
#[derive(Debug, thiserror::Error)]
pub enum ArpError {
    /// Nobody answered.
    #[error(
        "the router {gateway} did not answer {mac} (VLAN {vlan}) within {waited:?}: \
         is the interface attached and the branch associated with this trunk?"
    )]
    NoAnswer {
        /// The router.
        gateway: Ipv4Addr,
        /// Who asked.
        mac: Mac,
        /// VLAN id, 0 for none.
        vlan: u16,
        /// How long.
        waited: Duration,
    },
    /// The packet socket failed.
    #[error("ask for the router {gateway}: the packet socket failed: {error}")]
    Socket {
        /// The router.
        gateway: Ipv4Addr,
        /// The error.
        error: io::Error,
    },
}

/// Time between two questions.
const INTERVAL: Duration = Duration::from_millis(100);

/// Asks until there is an answer or `patience` is over. Blocks.
pub fn resolve(question: &Question, patience: Duration) -> Result<Mac, ArpError> {
    let failed = |error| ArpError::Socket { gateway: question.gateway, error };
    let socket = open(question.link).map_err(failed)?;
    let frame = request(question);
    let start = Instant::now();
    while start.elapsed() < patience {
        match send(&socket, &frame) {
            // The link has just come up, or has no carrier yet.
            Err(e) if e.raw_os_error() == Some(libc::ENETDOWN) => std::thread::sleep(INTERVAL),
            other => other.map_err(failed)?,
        }
        let asked = Instant::now();
        while let Some(left) = INTERVAL.checked_sub(asked.elapsed()) {
            if let Some(mac) = receive(&socket, left, question).map_err(failed)? {
                return Ok(mac);
            }
        }
    }
    Err(ArpError::NoAnswer {
        gateway: question.gateway,
        mac: question.source_mac,
        vlan: question.vlan.unwrap_or(0),
        waited: patience,
    })
}

/// A broadcast ARP request (RFC 826), padded to Ethernet's least length.
fn request(q: &Question) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(q.source_mac.0);
    if let Some(vlan) = q.vlan {
        frame.extend([0x81, 0x00]);
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(q.source_mac.0);
    frame.extend(q.source.octets());
    frame.extend([0; 6]);
    frame.extend(q.gateway.octets());
    frame.resize(frame.len().max(60), 0);
    frame
}

/// The router's MAC, if the frame (its tag already taken off by the kernel, or not) is its reply
/// to us.
fn reply(frame: &[u8], q: &Question) -> Option<Mac> {
    let arp = match frame.get(12..14)? {
        [0x08, 0x06] => frame.get(14..42)?,
        [0x81, 0x00] if frame.get(16..18)? == [0x08, 0x06] => frame.get(18..46)?,
        _ => return None,
    };
    let ours = arp[..8] == [0, 1, 0x08, 0, 6, 4, 0, 2]
        && arp[14..18] == q.gateway.octets()
        && arp[18..24] == q.source_mac.0;
    let mac = Mac(arp[8..14].try_into().ok()?);
    (ours && mac.is_unicast()).then_some(mac)
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A raw packet socket on one interface that sees ARP only, tagged or not.
fn open(link: u32) -> io::Result<OwnedFd> {
    // Protocol 0: nothing is received before the filter stands and the socket is bound.
    // SAFETY: socket(2) takes no pointers.
    let fd =
        checked(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor was just made and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // ldh [12]; jeq ARP → take; jeq 802.1Q → take; drop
    let op = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        op(0x28, 0, 0, 12),
        op(0x15, 1, 0, 0x0806),
        op(0x15, 0, 1, 0x8100),
        op(0x06, 0, 0, 0xffff),
        op(0x06, 0, 0, 0),
    ];
    let program =
        libc::sock_fprog { len: filter.len() as libc::c_ushort, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which lives until the call is over.
    checked(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    })?;
    // SAFETY: all-zero bytes are a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = link as libc::c_int;
    // SAFETY: the address is a sockaddr_ll of the length given.
    checked(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    })?;
    Ok(socket)
}

fn send(socket: &OwnedFd, frame: &[u8]) -> io::Result<()> {
    // SAFETY: the buffer is valid for its length.
    let sent = unsafe { libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits for one frame; `None` when none came in time or it is not the answer.
fn receive(socket: &OwnedFd, wait: Duration, q: &Question) -> io::Result<Option<Mac>> {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let millis = wait.as_millis().max(1) as libc::c_int;
    // SAFETY: one valid pollfd.
    if checked(unsafe { libc::poll(&raw mut poll, 1, millis) })? == 0 {
        return Ok(None);
    }
    let mut frame = [0_u8; 256];
    // SAFETY: the buffer is valid for its length.
    let read = unsafe {
        libc::recv(socket.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), libc::MSG_DONTWAIT)
    };
    match usize::try_from(read) {
        Ok(len) => Ok(reply(&frame[..len], q)),
        Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(vlan: Option<u16>) -> Question {
        Question {
            link: 1,
            vlan,
            source_mac: Mac([2, 0, 0, 0, 0, 9]),
            source: Ipv4Addr::new(10, 0, 0, 9),
            gateway: Ipv4Addr::new(10, 0, 0, 1),
        }
    }

    fn answer(q: &Question) -> Vec<u8> {
        let mut frame = q.source_mac.0.to_vec();
        frame.extend([2, 0, 0, 0, 0, 1, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2]);
        frame.extend([2, 0, 0, 0, 0, 1]);
        frame.extend(q.gateway.octets());
        frame.extend(q.source_mac.0);
        frame.extend(q.source.octets());
        frame
    }

    #[test]
    fn request_layout() {
        assert_eq!(request(&question(None)).len(), 60);
        let tagged = request(&question(Some(7)));
        assert_eq!(tagged[12..18], [0x81, 0x00, 0, 7, 0x08, 0x06]);
        assert_eq!(tagged[42..46], [10, 0, 0, 1]);
    }

    #[test]
    fn only_the_answer_to_us_counts() {
        let q = question(Some(7));
        let good = answer(&q);
        assert_eq!(reply(&good, &q), Some(Mac([2, 0, 0, 0, 0, 1])));
        let mut tagged = good[..12].to_vec();
        tagged.extend([0x81, 0x00, 0, 7]);
        tagged.extend(&good[12..]);
        assert_eq!(reply(&tagged, &q), Some(Mac([2, 0, 0, 0, 0, 1])));
        for len in 0..good.len() {
            assert_eq!(reply(&good[..len], &q), None, "{len}");
        }
        for byte in [21, 28, 33] {
            let mut bent = good.clone();
            bent[byte] ^= 0x10;
            assert_eq!(reply(&bent, &q), None, "byte {byte}");
        }
    }
}
