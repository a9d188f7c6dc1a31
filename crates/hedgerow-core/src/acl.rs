//! Network ACLs, and the plain verdict function.
//!
//! Entries are tried in the order of their numbers; the first that matches decides, and what none
//! matches is denied. They know no flows: answers need entries of their own, mostly for ephemeral
//! ports ("Network ACL basics", Amazon VPC User Guide).

use std::net::IpAddr;

use crate::sg::{IpPrefix, Traffic};

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Whether a matching packet passes.
    pub allow: bool,
    /// Protocol and destination ports, or ICMP type and code.
    pub traffic: Traffic,
    /// Addresses at the other end: the source of what enters, the destination of what leaves.
    pub peer: IpPrefix,
}

/// Whether `entries`, in the order of their numbers, let a packet pass. `port` is as in
/// [`crate::sg::Packet::port`].
pub fn passes(entries: &[Entry], protocol: u8, port: u16, peer: IpAddr) -> bool {
    let matches =
        |entry: &&Entry| entry.traffic.matches(protocol, port) && entry.peer.contains(peer);
    entries.iter().find(matches).is_some_and(|entry| entry.allow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sg::TCP;

    #[test]
    fn the_first_entry_that_matches_decides_and_none_denies() {
        let entry = |allow, from, to, peer: &str| Entry {
            allow,
            traffic: Traffic::Tcp { from, to },
            peer: peer.parse().expect("prefix"),
        };
        let entries = [entry(false, 80, 80, "10.1.0.0/16"), entry(true, 0, 1023, "10.0.0.0/8")];
        let tcp = |port, peer: [u8; 4]| passes(&entries, TCP, port, IpAddr::from(peer));
        assert!(!tcp(80, [10, 1, 2, 3]));
        assert!(tcp(80, [10, 2, 2, 3]));
        assert!(tcp(81, [10, 1, 2, 3]));
        assert!(!tcp(1024, [10, 1, 2, 3]));
        assert!(!passes(&[], TCP, 80, IpAddr::from([127, 0, 0, 1])));
    }
}
