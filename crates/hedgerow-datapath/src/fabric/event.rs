//! What the fabric reports: drops, and accepted new flows where somebody wants to know.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{MapData, RingBuf};
use hedgerow_core::reason::Reason;

use super::layout::{EventRecord, EventRecordV6, NO_RULE};

/// Which compiled rules a gate consulted, and which of them decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consulted {
    /// Names the rule list; see [`super::Fabric::rule`].
    pub set: u32,
    /// Position in it; `None`: no rule matched.
    pub rule: Option<u16>,
}

/// One verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// VPC key, 0 where the frame could not be attributed.
    pub vpc: u32,
    /// The sender's interface key; for frames without a valid sender the port's.
    pub from: Option<u32>,
    /// The receiver's interface key.
    pub to: Option<u32>,
    /// Source address; 0.0.0.0 before it was known.
    pub source: IpAddr,
    /// Destination address; as `source`.
    pub destination: IpAddr,
    /// Source port of TCP and UDP.
    pub source_port: u16,
    /// Destination port of TCP and UDP; ICMP and ICMPv6: type << 8 | code.
    pub destination_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// Frame length, for segmentation offload that of the whole packet.
    pub bytes: u32,
    /// [`Reason::Allowed`] for a new flow, or why the frame was dropped.
    pub reason: Reason,
    /// The receiver's gate, where it was reached.
    pub ingress: Option<Consulted>,
    /// The sender's gate, where it was reached.
    pub egress: Option<Consulted>,
}

impl Event {
    /// Decodes a ring-buffer record; `None` if it is not one of this build's.
    pub fn read(bytes: &[u8]) -> Option<Event> {
        let (record, addresses) = match bytemuck::try_pod_read_unaligned::<EventRecordV6>(bytes) {
            Ok(EventRecordV6 { event, source, destination }) => {
                (event, [source, destination].map(|address| IpAddr::V6(address.into())))
            }
            Err(_) => {
                let record: EventRecord = bytemuck::try_pod_read_unaligned(bytes).ok()?;
                let addresses = [record.source, record.destination];
                (record, addresses.map(|word| Ipv4Addr::from_bits(u32::from_be(word)).into()))
            }
        };
        let [source, destination] = addresses;
        let key = |key: u32| (key != 0).then_some(key);
        let consulted = |direction: usize| {
            let rule = record.rules[direction];
            let rule = (rule != NO_RULE).then_some(rule);
            // Set 0 with a rule cannot be; an interface without groups consults set id 0.
            key(record.sets[direction]).map(|set| Consulted { set, rule })
        };
        Some(Event {
            time: record.time,
            vpc: record.vpc,
            from: key(record.from),
            to: key(record.to),
            source,
            destination,
            source_port: record.source_port,
            destination_port: record.destination_port,
            protocol: record.protocol,
            bytes: record.bytes,
            reason: Reason::from_number(u32::from(record.reason))?,
            ingress: consulted(0),
            egress: consulted(1),
        })
    }
}

/// The fabric's events, in order. The descriptor is readable while some wait, as for
/// `tokio::io::unix::AsyncFd`.
pub struct Events(pub(super) RingBuf<MapData>);

impl Events {
    /// All events that wait.
    pub fn drain(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(record) = self.0.next() {
            events.extend(Event::read(&record));
        }
        events
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
