//! Packets summed up for the flow logs of the API; pure, with time as an argument.
//!
//! ```text
//!   count ──► every flow log that covers an end of it ──► one sum per flow and interval
//!   the interval is over ──► a line per sum, or NODATA, or SKIPDATA per interface
//! ```

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use hedgerow_core::reason::Reason;
use hedgerow_core::sg::Direction;

use crate::state::flow_logs::{Destination, FlowLog, direction_name};
use crate::state::flow_logs_format::{Field, Format};
use crate::state::interface::Interface;
use crate::state::{ACCOUNT, Region, State};
use crate::wire::FlowCount;

/// Sums of one flow log in one interval; more are skipped, as EC2 does under its limits.
const MAX_SUMS: usize = 50_000;

/// By how many seconds an interval may begin later than now: what is counted comes late.
const SET_BACK: u64 = 10;

/// Lines for a file, in the words of its flow log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    /// Where they go.
    pub destination: Destination,
    /// `fl-…`.
    pub log: String,
    /// `us-west-2`.
    pub region: String,
    /// `eni-…`.
    pub interface: String,
    /// `accept`, `reject`, `all`.
    pub traffic: &'static str,
    /// When the interval began, seconds since 1970.
    pub begun: u64,
    /// The first line of a file in S3.
    pub header: String,
    pub lines: Vec<String>,
}

/// What makes packets one flow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Flow {
    interface: String,
    source: IpAddr,
    destination: IpAddr,
    ports: [u16; 2],
    protocol: u8,
    reason: Reason,
    outward: bool,
    to_internet: bool,
}

#[derive(Debug, Clone, Copy)]
struct Sum {
    packets: u64,
    bytes: u64,
    start: u64,
    end: u64,
    tcp_flags: u8,
}

/// The present interval of a flow log.
#[derive(Debug)]
struct Interval {
    region: String,
    begun: u64,
    length: u64,
    sums: BTreeMap<Flow, Sum>,
    skipped: bool,
}

/// The sums of all flow logs.
#[derive(Debug, Default)]
pub(super) struct Sums {
    intervals: BTreeMap<String, Interval>,
    /// Replaces the interval of every flow log, seconds.
    interval: Option<u64>,
    /// Packets that the fabric had no room to count, as of the last time.
    missed: u64,
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Sums {
    /// Sums whose intervals have this length whatever was asked for, if it is given.
    pub fn new(interval: Option<u64>) -> Self {
        Self { interval, ..Self::default() }
    }

    /// Adds packets to every flow log that covers their sender or receiver.
    pub fn add(&mut self, state: &State, count: &FlowCount) {
        for (id, direction) in count.gates() {
            let Some((region, interface)) = find(state, id) else { continue };
            for log in region.flow_logs.values() {
                if log.traffic.covers(count.reason == Reason::Allowed) && log.covers(interface) {
                    self.add_to(region, log, flow(count, id, direction), count);
                }
            }
        }
    }

    fn add_to(&mut self, region: &Region, log: &FlowLog, flow: Flow, count: &FlowCount) {
        let start = seconds(count.start);
        let interval = self.interval_of(region, log, start);
        let known = interval.sums.len();
        let sum = match interval.sums.entry(flow) {
            Entry::Vacant(_) if known >= MAX_SUMS => {
                interval.skipped = true;
                return;
            }
            entry => entry.or_insert(Sum { packets: 0, bytes: 0, start, end: 0, tcp_flags: 0 }),
        };
        sum.packets += count.packets;
        sum.bytes += count.bytes;
        sum.start = sum.start.min(start);
        sum.end = sum.end.max(seconds(count.end));
        sum.tcp_flags |= count.tcp_flags;
    }

    /// How many packets were not counted since the fabric's start: if they are more than before,
    /// every present interval says so.
    pub fn missed(&mut self, packets: u64) {
        if packets != self.missed {
            self.missed = packets;
            self.skip();
        }
    }

    /// Some packets of every present interval are not in it.
    pub fn skip(&mut self) {
        self.intervals.values_mut().for_each(|interval| interval.skipped = true);
    }

    fn interval_of(&mut self, region: &Region, log: &FlowLog, now: u64) -> &mut Interval {
        let length = self.interval.unwrap_or(log.interval.into()).max(1);
        self.intervals.entry(log.id.clone()).or_insert_with(|| Interval {
            region: region.name().to_owned(),
            begun: now - now % length,
            length,
            sums: BTreeMap::new(),
            skipped: false,
        })
    }

    /// The lines of the intervals that are over; flow logs that have none get their first.
    pub fn flush(&mut self, state: &State, now: SystemTime) -> Vec<Batch> {
        let now = seconds(now);
        // A clock set back must not keep lines for ever.
        let over = |interval: &Interval| {
            now >= interval.begun + interval.length || now + SET_BACK < interval.begun
        };
        let batches = self.end(state, over, true);
        for region in state.regions() {
            for log in region.flow_logs.values() {
                self.interval_of(region, log, now);
            }
        }
        batches
    }

    /// The lines of the flows in intervals that are not over, and never will be.
    pub fn finish(&mut self, state: &State) -> Vec<Batch> {
        self.end(state, |_| true, false)
    }

    fn end(&mut self, state: &State, over: impl Fn(&Interval) -> bool, whole: bool) -> Vec<Batch> {
        let ended: Vec<(String, Interval)> =
            self.intervals.extract_if(.., |_, interval| over(interval)).collect();
        let mut batches = Vec::new();
        for (id, interval) in ended {
            let region = state.region(&interval.region);
            // A flow log that was deleted meanwhile writes nothing more.
            if let Some((region, log)) = region.and_then(|r| Some((r, r.flow_logs.get(&id)?))) {
                batches.extend(write(region, log, &interval, whole));
            }
        }
        batches
    }
}

fn find<'s>(state: &'s State, interface: &str) -> Option<(&'s Region, &'s Interface)> {
    state.regions().find_map(|region| Some((region, region.interfaces.get(interface)?)))
}

fn flow(count: &FlowCount, interface: &str, direction: Direction) -> Flow {
    Flow {
        interface: interface.to_owned(),
        source: count.source,
        destination: count.destination,
        ports: [count.source_port, count.destination_port],
        protocol: count.protocol,
        reason: count.reason,
        outward: direction == Direction::Egress,
        to_internet: count.to_internet,
    }
}

/// The lines of an interval, by interface. Of a whole one, interfaces in use without a flow have a
/// line that says so.
fn write(region: &Region, log: &FlowLog, interval: &Interval, whole: bool) -> Vec<Batch> {
    let format = log.format();
    let mut lines: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let attached =
        |interface: &&Interface| whole && log.covers(interface) && interface.status() == "in-use";
    for interface in region.interfaces.values().filter(attached) {
        lines.entry(&interface.id).or_default();
    }
    for (flow, sum) in &interval.sums {
        let values = Values { region, format: &format, flow: Some((flow, sum)), interval };
        lines.entry(&flow.interface).or_default().push(values.line(&flow.interface, "OK"));
    }
    for (interface, written) in &mut lines {
        let status = match (interval.skipped, written.is_empty()) {
            (true, _) => "SKIPDATA",
            (false, true) => "NODATA",
            (false, false) => continue,
        };
        let values = Values { region, format: &format, flow: None, interval };
        written.push(values.line(interface, status));
    }
    let batch = |(interface, lines): (&str, Vec<String>)| Batch {
        destination: log.destination.clone(),
        log: log.id.clone(),
        region: interval.region.clone(),
        interface: interface.to_owned(),
        traffic: log.traffic.name(),
        begun: interval.begun,
        header: format.header(),
        lines,
    };
    lines.into_iter().map(batch).collect()
}

/// What the fields of a line are.
struct Values<'a> {
    region: &'a Region,
    format: &'a Format,
    /// Absent in NODATA and SKIPDATA.
    flow: Option<(&'a Flow, &'a Sum)>,
    interval: &'a Interval,
}

impl Values<'_> {
    fn line(&self, interface: &str, status: &str) -> String {
        self.format.line(|field| {
            let general = self.of_interface(interface, status, field);
            let value = general.or_else(|| self.flow.and_then(|(flow, sum)| of(flow, sum, field)));
            // Also for what there is none of here: sublocations, services with public addresses.
            value.unwrap_or_else(|| "-".to_owned())
        })
    }

    fn of_interface(&self, id: &str, status: &str, field: Field) -> Option<String> {
        let interface = self.region.interfaces.get(id);
        let ends = self.interval.begun + self.interval.length;
        Some(match field {
            Field::Version => self.format.version().to_string(),
            Field::AccountId => ACCOUNT.to_owned(),
            Field::InterfaceId => id.to_owned(),
            Field::LogStatus => status.to_owned(),
            Field::Region => self.region.name().to_owned(),
            Field::VpcId => interface?.vpc.clone(),
            Field::SubnetId => interface?.subnet.clone(),
            Field::InstanceId => interface?.attachment.as_ref()?.instance.clone(),
            Field::ZoneId => self.region.subnets.get(&interface?.subnet)?.zone.id.clone(),
            Field::Start if self.flow.is_none() => self.interval.begun.to_string(),
            Field::End if self.flow.is_none() => ends.to_string(),
            _ => return None,
        })
    }
}

fn of(flow: &Flow, sum: &Sum, field: Field) -> Option<String> {
    let accepted = flow.reason == Reason::Allowed;
    let direction = if flow.outward { Direction::Egress } else { Direction::Ingress };
    Some(match field {
        Field::Source | Field::PacketSource => flow.source.to_string(),
        Field::Destination | Field::PacketDestination => flow.destination.to_string(),
        Field::SourcePort => flow.ports[0].to_string(),
        Field::DestinationPort => flow.ports[1].to_string(),
        Field::Protocol => flow.protocol.to_string(),
        Field::Packets => sum.packets.to_string(),
        Field::Bytes => sum.bytes.to_string(),
        Field::Start => sum.start.to_string(),
        Field::End => sum.end.to_string(),
        Field::Action => if accepted { "ACCEPT" } else { "REJECT" }.to_owned(),
        Field::Type => if flow.source.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned(),
        Field::FlowDirection => direction_name(direction).to_owned(),
        Field::TcpFlags => sum.tcp_flags.to_string(),
        // 8: "Through an internet gateway"; 1: "Through another resource in the same VPC".
        Field::TrafficPath if flow.outward && accepted => {
            if flow.to_internet { "8" } else { "1" }.to_owned()
        }
        // EC2 has BPA and EC only, which are not here; ours says which gate refused.
        Field::RejectReason if !accepted => flow.reason.name().to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hedgerow_core::sg;

    use super::*;
    use crate::api;
    use crate::state::Quotas;
    use crate::state::time::Timestamp;

    const NOW: u64 = 1_800_000_000;

    fn ask(state: &mut State, body: &str) {
        let outcome = api::answer(state, "us-west-2", body.as_bytes(), Timestamp(NOW));
        outcome.result.unwrap_or_else(|error| panic!("{body}: {error}"));
    }

    /// A running instance in the default VPC whose interface has a flow log.
    fn state(flow_log: &str) -> (State, String) {
        let mut state = State::new(1, Quotas::default());
        ask(
            &mut state,
            "Action=RunInstances&ImageId=ami-1&InstanceType=t3.micro&MinCount=1&MaxCount=1",
        );
        let region = state.region("us-west-2").expect("it is open");
        let eni = region.interfaces.keys().next().expect("one").clone();
        ask(
            &mut state,
            &format!(
                "Action=CreateFlowLogs&ResourceType=NetworkInterface&ResourceId.1={eni}\
                 &LogDestinationType=s3&LogDestination=arn:aws:s3:::a\
                 &MaxAggregationInterval=60&{flow_log}"
            ),
        );
        (state, eni)
    }

    /// Two packets to the interface in that second.
    fn count(eni: &str, second: u64, reason: Reason) -> FlowCount {
        let at = UNIX_EPOCH + Duration::from_secs(NOW + second);
        FlowCount {
            start: at,
            end: at,
            from: None,
            to: Some(eni.to_owned()),
            to_internet: false,
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
            source_port: 40_000,
            destination_port: 22,
            protocol: sg::TCP,
            packets: 2,
            bytes: 120,
            tcp_flags: 2,
            reason,
        }
    }

    fn written(batches: Vec<Batch>) -> Vec<String> {
        batches.into_iter().flat_map(|batch| batch.lines).collect()
    }

    fn lines(sums: &mut Sums, state: &State, second: u64) -> Vec<String> {
        written(sums.flush(state, UNIX_EPOCH + Duration::from_secs(NOW + second)))
    }

    #[test]
    fn a_line_per_flow_and_interval() {
        let (state, eni) = state("TrafficType=REJECT");
        let mut sums = Sums::default();
        assert_eq!(lines(&mut sums, &state, 0), Vec::<String>::new(), "the first interval begins");
        for (second, reason) in
            [(3, Reason::IngressGroups), (9, Reason::IngressGroups), (10, Reason::Allowed)]
        {
            sums.add(&state, &count(&eni, second, reason));
        }
        // At the sender's gate, which is not the interface's.
        let from = Some("eni-1".to_owned());
        sums.add(&state, &FlowCount { from, ..count(&eni, 11, Reason::EgressGroups) });
        assert_eq!(lines(&mut sums, &state, 59), Vec::<String>::new());
        let start = NOW + 3;
        let want = format!(
            "2 123456789012 {eni} 10.0.0.1 10.0.0.2 40000 22 6 4 240 {start} {} REJECT OK",
            NOW + 9
        );
        assert_eq!(lines(&mut sums, &state, 60), [want]);
        let (begun, ended) = (NOW + 60, NOW + 120);
        let nothing = format!("2 123456789012 {eni} - - - - - - - {begun} {ended} -");
        assert_eq!(lines(&mut sums, &state, 120), [format!("{nothing} NODATA")]);
        sums.add(&state, &count(&eni, 130, Reason::IngressGroups));
        sums.missed(7);
        let skipped = lines(&mut sums, &state, 180);
        assert_eq!(skipped.len(), 2);
        assert!(skipped[1].ends_with("SKIPDATA"), "{skipped:?}");
        sums.missed(7);
        assert_eq!(lines(&mut sums, &state, 240).len(), 1, "nothing more was missed");
    }

    #[test]
    fn directions_paths_and_flags() {
        let format = "${srcaddr} ${dstaddr} ${packets} ${tcp-flags} ${flow-direction} \
                      ${traffic-path} ${type} ${action} ${reject-reason} ${sublocation-id}";
        let (state, eni) = state(&format!("TrafficType=ALL&LogFormat={format}"));
        let mut sums = Sums::default();
        lines(&mut sums, &state, 0);
        let inward = count(&eni, 1, Reason::Allowed);
        let outward = FlowCount {
            from: Some(eni.clone()),
            to: None,
            source: inward.destination,
            destination: inward.source,
            tcp_flags: 18,
            ..inward.clone()
        };
        let more = FlowCount { tcp_flags: 1, ..inward.clone() };
        let outside = FlowCount {
            destination: [203, 0, 113, 9].into(),
            to_internet: true,
            ..outward.clone()
        };
        let refused = FlowCount { reason: Reason::IngressGroups, ..inward.clone() };
        let [near, far] = ["3fff:20:0:100::4", "2001:db8::9"].map(|ip| ip.parse().expect("IPv6"));
        let outside6 = FlowCount { source: near, destination: far, ..outside.clone() };
        let unasked = FlowCount {
            source: far,
            destination: near,
            reason: Reason::EgressOnly,
            ..inward.clone()
        };
        for count in [&inward, &outward, &more, &outside, &refused, &outside6, &unasked] {
            sums.add(&state, count);
        }
        let begun = sums.finish(&state);
        assert_eq!(
            written(begun),
            [
                "10.0.0.1 10.0.0.2 4 3 ingress - IPv4 ACCEPT - -",
                "10.0.0.1 10.0.0.2 2 2 ingress - IPv4 REJECT ingress_groups -",
                "10.0.0.2 10.0.0.1 2 18 egress 1 IPv4 ACCEPT - -",
                "10.0.0.2 203.0.113.9 2 18 egress 8 IPv4 ACCEPT - -",
                "2001:db8::9 3fff:20:0:100::4 2 2 ingress - IPv6 REJECT egress_only -",
                "3fff:20:0:100::4 2001:db8::9 2 18 egress 8 IPv6 ACCEPT - -",
            ]
        );
        assert_eq!(written(sums.finish(&state)), Vec::<String>::new(), "each packet is told once");
    }
}
