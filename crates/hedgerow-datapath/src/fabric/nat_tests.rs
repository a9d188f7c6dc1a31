//! The NAT gateway's program, by whole frames through `BPF_PROG_TEST_RUN`. Needs root.

use std::net::Ipv4Addr;

use aya::maps::{HashMap, MapData};
use aya::programs::{TestRun, TestRunOptions};

use super::tests::frame;
use super::*;

/// The loopback device stands for both ends of the gateway's port.
const PORT: u32 = 1;
const NAT: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 5);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 6);
const THIRD: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 7);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 10);
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 8);
const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// A gateway with four ports for each address.
fn gateway(addresses: &[Ipv4Addr], draining: &[Ipv4Addr]) -> NatGateway {
    let (interface, vpc, near, far) = (5, 1, PORT, PORT);
    let (addresses, draining) = (addresses.to_vec(), draining.to_vec());
    NatGateway { interface, vpc, addresses, draining, ports: 1024..=1027, near, far }
}

struct Gateway {
    fabric: Fabric,
    events: Events,
}

impl Gateway {
    /// With one address.
    fn new() -> Self {
        let mut fabric = Fabric::load().expect("load the fabric (root?)");
        let events = fabric.take_events().expect("events");
        fabric.put_nat(&gateway(&[NAT], &[])).expect("put NAT gateway");
        Self { fabric, events }
    }

    /// New flows go on from some addresses, those that were before from others, too.
    fn set(&mut self, addresses: &[Ipv4Addr], draining: &[Ipv4Addr]) {
        self.fabric.put_nat(&gateway(addresses, draining)).expect("put NAT gateway");
    }

    /// What becomes of a frame, or why it was dropped; both, if it became an answer.
    fn send(&mut self, frame: &[u8]) -> (Option<Vec<u8>>, Option<Reason>) {
        let mut context = [0u8; 192];
        // struct __sk_buff: ifindex is the eleventh word.
        context[40..44].copy_from_slice(&PORT.to_ne_bytes());
        let mut out = vec![0u8; 2048];
        let mut options = TestRunOptions::new();
        (options.data_in, options.ctx_in) = (Some(frame), Some(&context[..]));
        options.data_out = Some(&mut out);
        let program = self.fabric.ebpf.program("nat").expect("program");
        let program: &SchedClassifier = program.try_into().expect("classifier");
        let result = program.test_run(options).expect("test run");
        let (sent, len) = (result.return_value == 7, result.data_size_out as usize);
        out.truncate(len);
        let events = self.events.drain();
        assert!(events.len() <= 1, "{events:?}");
        (sent.then_some(out), events.first().map(|event| event.reason))
    }

    /// The port that a packet from the client's port gets.
    fn out(&mut self, from: u16, to: Ipv4Addr, protocol: u8) -> Result<u16, Reason> {
        let (address, port) = self.translated(from, to, protocol, SYN)?;
        assert_eq!(address, NAT, "from the gateway");
        Ok(port)
    }

    /// The address and port that a packet from the client's port gets.
    fn translated(
        &mut self,
        from: u16,
        to: Ipv4Addr,
        protocol: u8,
        flags: u8,
    ) -> Result<(Ipv4Addr, u16), Reason> {
        let (sent, reason) =
            self.send(&packet(CLIENT, to, protocol, &ports(protocol, from, 80, flags)));
        if let Some(reason) = reason {
            return Err(reason);
        }
        let sent = sent.expect("sent or dropped");
        assert_eq!(sent[30..34], to.octets());
        assert_eq!(sum(&sent[14..34]), 0xffff, "the header's checksum");
        let source = <[u8; 4]>::try_from(&sent[26..30]).expect("an address");
        Ok((source.into(), u16::from_be_bytes([sent[34], sent[35]])))
    }

    /// Whether an answer to the address and port reaches the client's port.
    fn answered(&mut self, to: (Ipv4Addr, u16), from: u16) -> bool {
        let (inside, _) = self.send(&packet(SERVER, to.0, UDP, &ports(UDP, 80, to.1, 0)));
        inside.is_some_and(|inside| {
            inside[30..34] == CLIENT.octets() && inside[36..38] == from.to_be_bytes()
        })
    }
}

/// A frame with a header that is right.
fn packet(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, transport: &[u8]) -> Vec<u8> {
    let mut frame = frame(from, to, protocol, transport);
    close(&mut frame);
    frame
}

/// Writes the header's checksum.
fn close(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let check = !sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&check.to_be_bytes());
}

/// A TCP or UDP header without options or data; UDP's has no checksum.
fn ports(protocol: u8, from: u16, to: u16, flags: u8) -> Vec<u8> {
    let mut header = [from.to_be_bytes(), to.to_be_bytes()].concat();
    if protocol == UDP {
        header.extend([0, 8, 0, 0]);
    } else {
        header.extend([0, 0, 0, 1, 0, 0, 0, 99, 5 << 4, flags, 0, 0, 0, 0, 0, 0]);
    }
    header
}

/// The one's complement sum of what a checksum covers, with the checksum: 0xffff if it is right.
fn sum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum();
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[test]
fn ports_are_for_one_destination_and_run_out() {
    let mut gateway = Gateway::new();
    let mut given: Vec<u16> =
        (5000..5004).map(|from| gateway.out(from, SERVER, TCP).expect("a port")).collect();
    assert_eq!(gateway.out(5001, SERVER, TCP), Ok(given[1]), "a flow keeps its port");
    given.sort_unstable();
    assert_eq!(given, [1024, 1025, 1026, 1027]);
    assert_eq!(gateway.out(5004, SERVER, TCP), Err(Reason::NatPorts));
    gateway.out(5004, OTHER, TCP).expect("the same ports to another destination");
    gateway.out(5004, SERVER, UDP).expect("and for another protocol");
}

#[test]
fn each_address_gives_all_ports() {
    let mut gateway = Gateway::new();
    gateway.set(&[NAT, SECOND, THIRD], &[]);
    let mut given: Vec<(Ipv4Addr, u16)> = (5000..5012)
        .map(|from| gateway.translated(from, SERVER, UDP, 0).expect("an address and a port"))
        .collect();
    for (from, at) in (5000..).zip(given.clone()) {
        assert_eq!(gateway.translated(from, SERVER, UDP, 0), Ok(at), "a flow keeps them");
        assert!(gateway.answered(at, from), "{at:?}");
    }
    assert_eq!(gateway.translated(5012, SERVER, UDP, 0), Err(Reason::NatPorts));
    given.sort_unstable();
    let all = [NAT, SECOND, THIRD].into_iter().flat_map(|a| (1024..=1027).map(move |p| (a, p)));
    assert_eq!(given, all.collect::<Vec<_>>());
}

#[test]
fn an_address_that_drains_serves_the_flows_that_it_has() {
    let mut gateway = Gateway::new();
    gateway.set(&[SECOND], &[]);
    let udp = gateway.translated(5000, SERVER, UDP, 0).expect("out");
    let tcp = gateway.translated(5000, SERVER, TCP, SYN).expect("out");
    assert_eq!((udp.0, tcp.0), (SECOND, SECOND));
    gateway.set(&[NAT, THIRD], &[SECOND]);
    for from in 5001..5009 {
        let (address, _) = gateway.translated(from, SERVER, UDP, 0).expect("a new flow");
        assert!([NAT, THIRD].contains(&address), "{address}");
    }
    assert_eq!(gateway.translated(5009, SERVER, UDP, 0), Err(Reason::NatPorts));
    assert_eq!(gateway.translated(5000, SERVER, UDP, 0), Ok(udp));
    assert_eq!(gateway.translated(5000, SERVER, TCP, ACK), Ok(tcp));
    assert!(gateway.answered(udp, 5000));
    // Released: what it served is as if forgotten.
    gateway.set(&[NAT, THIRD], &[]);
    assert!(!gateway.answered(udp, 5000));
    assert_eq!(gateway.translated(5000, SERVER, TCP, ACK), Err(Reason::NatIdleFlow));
    let (address, _) = gateway.translated(5000, OTHER, UDP, 0).expect("another destination");
    assert_ne!(address, SECOND);
    assert_eq!(gateway.translated(5000, SERVER, UDP, 0), Err(Reason::NatPorts), "a new flow");
}

#[test]
fn a_connection_that_was_idle_for_too_long_is_reset() {
    let mut gateway = Gateway::new();
    gateway.out(5000, SERVER, TCP).expect("a port");
    let map = gateway.fabric.ebpf.take_map("nat_flows").expect("nat_flows");
    let mut flows: HashMap<MapData, [u32; 5], [u32; 5]> = map.try_into().expect("a hash map");
    let known: Vec<_> = flows.iter().map(|entry| entry.expect("an entry")).collect();
    assert_eq!(known.len(), 2, "one entry for each way");
    let now = (crate::sys::monotonic_ns() >> 30) as u32;
    for (key, mut flow) in known {
        let idle = flow[0] - now;
        assert!((326..=327).contains(&idle), "350 seconds in ticks of 2^30 ns: {idle}");
        flow[0] = now - 1;
        flows.insert(key, flow, 0).expect("let it expire");
    }
    let segment = packet(CLIENT, SERVER, TCP, &ports(TCP, 5000, 80, ACK));
    let (answer, reason) = gateway.send(&segment);
    let answer = answer.expect("an answer");
    assert_eq!(reason, Some(Reason::NatIdleFlow));
    assert_eq!(answer.len(), 54);
    assert_eq!(answer[26..34], [SERVER.octets(), CLIENT.octets()].concat());
    assert_eq!(answer[34..38], [80u16.to_be_bytes(), 5000u16.to_be_bytes()].concat());
    assert_eq!(
        (&answer[38..42], answer[47]),
        (&[0, 0, 0, 99][..], RST),
        "at the sequence asked for"
    );
    let pseudo = [&answer[26..34], &[0, TCP, 0, 20], &answer[34..54]].concat();
    assert_eq!((sum(&answer[14..34]), sum(&pseudo)), (0xffff, 0xffff), "checksums");
    let (answer, reason) = gateway.send(&packet(CLIENT, SERVER, TCP, &ports(TCP, 5000, 80, RST)));
    assert_eq!((answer, reason), (None, Some(Reason::NatIdleFlow)), "no RST for a RST");
    gateway.out(5000, SERVER, TCP).expect("a SYN begins anew");
}

#[test]
fn only_what_a_nat_gateway_knows_is_translated() {
    let mut gateway = Gateway::new();
    let port = gateway.out(5000, SERVER, UDP).expect("a port");
    let answer = packet(SERVER, NAT, UDP, &ports(UDP, 80, port, 0));
    let (inside, _) = gateway.send(&answer);
    let inside = inside.expect("an answer");
    assert_eq!(
        (&inside[30..34], &inside[36..38]),
        (&CLIENT.octets()[..], &5000u16.to_be_bytes()[..])
    );
    let dropped = |gateway: &mut Gateway, frame: &[u8]| {
        let (sent, reason) = gateway.send(frame);
        assert_eq!(sent, None);
        reason.expect("a reason")
    };
    let stranger = packet(OTHER, NAT, UDP, &ports(UDP, 80, port, 0));
    assert_eq!(dropped(&mut gateway, &stranger), Reason::NatUnsolicited);
    let elsewhere = packet(SERVER, NAT, UDP, &ports(UDP, 81, port, 0));
    assert_eq!(dropped(&mut gateway, &elsewhere), Reason::NatUnsolicited);
    let esp = packet(CLIENT, SERVER, 50, &[0; 20]);
    assert_eq!(dropped(&mut gateway, &esp), Reason::NatProtocol);

    let fragment = |protocol, source: Ipv4Addr, destination: Ipv4Addr, offset: u16, more: bool| {
        let mut transport = ports(protocol, 5000, 80, SYN);
        if protocol == UDP {
            // The length of the whole datagram.
            transport[4..6].copy_from_slice(&2008u16.to_be_bytes());
        }
        let mut frame = packet(source, destination, protocol, &transport);
        let field = (offset / 8) | if more { 0x2000 } else { 0 };
        frame[20..22].copy_from_slice(&field.to_be_bytes());
        close(&mut frame);
        frame
    };
    let tcp = fragment(TCP, CLIENT, SERVER, 0, true);
    assert_eq!(dropped(&mut gateway, &tcp), Reason::NatProtocol, "of fragments only UDP's");
    let later = fragment(UDP, CLIENT, SERVER, 8, false);
    assert_eq!(dropped(&mut gateway, &later), Reason::Fragment, "the first was not seen");
    let (first, _) = gateway.send(&fragment(UDP, CLIENT, SERVER, 0, true));
    assert_eq!(first.expect("the first")[34..36], port.to_be_bytes());
    let (later, _) = gateway.send(&later);
    let later = later.expect("now it was");
    assert_eq!((&later[26..30], &later[34..36]), (&NAT.octets()[..], &5000u16.to_be_bytes()[..]));
}
