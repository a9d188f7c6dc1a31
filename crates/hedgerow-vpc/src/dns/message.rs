//! A request's bytes to an answer's bytes; pure.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::Found;

/// How long answers may be kept, seconds; EC2's private names have the same.
const TTL: u32 = 60;
/// What a client without EDNS takes by UDP (RFC 1035).
const PLAIN_UDP: u16 = 512;
/// Most that we send by UDP, and say so in EDNS.
const MAX_UDP: u16 = 4_096;

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Answers that are too long are cut, and the client asks again by TCP.
    Udp,
    /// Any length.
    Tcp,
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Send this.
    Answer(Vec<u8>),
    /// Ask the resolver; if that fails, send this.
    Forward {
        /// SERVFAIL.
        otherwise: Vec<u8>,
    },
    /// Nothing: it was no request.
    Silence,
}

/// The reply to `request`; names are looked up by `find`, and `forwards` says whether somebody else
/// can be asked.
pub fn reply(
    request: &[u8],
    transport: Transport,
    forwards: bool,
    find: impl FnOnce(&str) -> Found,
) -> Reply {
    let Ok(message) = Message::from_vec(request) else { return unreadable(request) };
    if message.metadata.message_type == MessageType::Response {
        return Reply::Silence;
    }
    let mut answer = response_to(&message);
    let limit = limit(&message, transport);
    let code = match (&message.metadata.op_code, &message.queries[..], &message.edns) {
        (_, _, Some(edns)) if edns.version() > 0 => ResponseCode::BADVERS,
        (OpCode::Query, [query], _) if query.query_class() == DNSClass::IN => {
            let name = query.name().to_lowercase().to_ascii();
            let found = find(name.trim_end_matches('.'));
            if found == Found::Elsewhere && forwards {
                answer.metadata.response_code = ResponseCode::ServFail;
                return encode(&answer, limit)
                    .map_or(Reply::Silence, |otherwise| Reply::Forward { otherwise });
            }
            fill(&mut answer, query, found)
        }
        (OpCode::Query, [_], _) => ResponseCode::Refused,
        (OpCode::Query, _, _) => ResponseCode::FormErr,
        _ => ResponseCode::NotImp,
    };
    set_code(&mut answer, code);
    encode(&answer, limit).map_or(Reply::Silence, Reply::Answer)
}

/// FORMERR if it has at least the header of a request.
fn unreadable(request: &[u8]) -> Reply {
    let [a, b, flags, ..] = *request else { return Reply::Silence };
    if request.len() < 12 || flags & 0x80 != 0 {
        return Reply::Silence;
    }
    let id = u16::from_be_bytes([a, b]);
    let message = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
    message.to_vec().map_or(Reply::Silence, Reply::Answer)
}

/// An empty answer to the request.
fn response_to(request: &Message) -> Message {
    let asked = &request.metadata;
    let mut answer = Message::new(asked.id, MessageType::Response, asked.op_code);
    answer.metadata.recursion_desired = asked.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.metadata.checking_disabled = asked.checking_disabled;
    answer.add_queries(request.queries.iter().take(1).cloned());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP).set_version(0);
        answer.set_edns(edns);
    }
    answer
}

/// Most bytes that the client takes.
fn limit(request: &Message, transport: Transport) -> usize {
    match (transport, &request.edns) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => PLAIN_UDP.into(),
        (Transport::Udp, Some(edns)) => edns.max_payload().clamp(PLAIN_UDP, MAX_UDP).into(),
    }
}

/// Codes above 15 are partly in EDNS (RFC 6891).
fn set_code(answer: &mut Message, code: ResponseCode) {
    answer.metadata.response_code = code;
    if let Some(edns) = &mut answer.edns {
        edns.set_rcode_high((u16::from(code) >> 4) as u8);
    }
}

/// Puts what was found into the answer.
fn fill(answer: &mut Message, query: &Query, found: Found) -> ResponseCode {
    let wants = |kind| query.query_type() == kind || query.query_type() == RecordType::ANY;
    let record = |data| Record::from_rdata(query.name().clone(), TTL, data);
    match found {
        Found::Addresses(addresses) => {
            let data = addresses.into_iter().filter_map(|address| match address {
                IpAddr::V4(address) => wants(RecordType::A).then_some(RData::A(A(address))),
                IpAddr::V6(address) => {
                    wants(RecordType::AAAA).then_some(RData::AAAA(AAAA(address)))
                }
            });
            answer.add_answers(data.map(record));
        }
        Found::Host(host) if wants(RecordType::PTR) => match Name::from_ascii(host + ".") {
            Ok(host) => {
                answer.add_answer(record(RData::PTR(PTR(host))));
            }
            Err(_) => return ResponseCode::ServFail,
        },
        // The name is there, records of that type are not.
        Found::Host(_) => {}
        Found::Absent { zone } => {
            let at_apex = query.name().to_ascii().trim_end_matches('.').eq_ignore_ascii_case(&zone);
            if let Some(record) = start_of_authority(&zone) {
                answer.add_authority(record);
            }
            return if at_apex { ResponseCode::NoError } else { ResponseCode::NXDomain };
        }
        // Somebody may know; this server was not told whom to ask.
        Found::Elsewhere | Found::Off => return ResponseCode::Refused,
    }
    ResponseCode::NoError
}

/// With it, resolvers may keep "there is no such name" for the TTL (RFC 2308).
fn start_of_authority(zone: &str) -> Option<Record> {
    let name = |text: &str| Name::from_ascii(format!("{text}.")).ok();
    let (server, people) = (name(&format!("ns0.{zone}"))?, name("awsdns-hostmaster.amazon.com")?);
    let soa = SOA::new(server, people, 1, 3_600, 900, 7_200, TTL);
    Some(Record::from_rdata(name(zone)?, TTL, RData::SOA(soa)))
}

/// The bytes; without its records and marked as cut if they are more than `limit`.
fn encode(answer: &Message, limit: usize) -> Option<Vec<u8>> {
    let bytes = answer.to_vec().ok()?;
    if bytes.len() <= limit {
        return Some(bytes);
    }
    answer.truncate().to_vec().ok().filter(|bytes| bytes.len() <= limit)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn question(name: &str, kind: RecordType, payload: Option<u16>) -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        if let Some(payload) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        message.to_vec().expect("bytes")
    }

    fn ask(request: &[u8], transport: Transport, found: Found) -> Message {
        match reply(request, transport, false, |_| found) {
            Reply::Answer(bytes) => Message::from_vec(&bytes).expect("our own message"),
            other => panic!("no answer but {other:?}"),
        }
    }

    fn many() -> Found {
        Found::Addresses((0..100).map(|n| Ipv4Addr::new(10, 0, 0, n).into()).collect())
    }

    #[test]
    fn an_address_in_the_case_it_was_asked_for() {
        let found = Found::Addresses(vec![Ipv4Addr::new(10, 0, 0, 5).into()]);
        let request = question("Db.Example.", RecordType::A, None);
        let answer = ask(&request, Transport::Udp, found.clone());
        assert_eq!((answer.metadata.id, answer.answers.len()), (7, 1));
        let record = &answer.answers[0];
        assert_eq!((record.name.to_ascii().as_str(), record.ttl), ("Db.Example.", TTL));
        assert_eq!(record.data, RData::A(A::new(10, 0, 0, 5)));
        assert!(answer.metadata.recursion_available && answer.edns.is_none());
        let request = question("db.example.", RecordType::AAAA, None);
        let answer = ask(&request, Transport::Udp, found);
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert!(answer.answers.is_empty(), "no IPv6 address");
    }

    #[test]
    fn what_is_not_there() {
        let request = question("no.zone.", RecordType::A, None);
        let zone = "zone".to_owned();
        let answer = ask(&request, Transport::Udp, Found::Absent { zone });
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(answer.authorities[0].record_type(), RecordType::SOA);
        for found in [Found::Elsewhere, Found::Off] {
            let answer = ask(&request, Transport::Udp, found);
            assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
        }
        let asked = reply(&request, Transport::Udp, true, |_| Found::Elsewhere);
        assert!(matches!(asked, Reply::Forward { .. }), "{asked:?}");
    }

    #[test]
    fn long_answers() {
        let plain = question("many.", RecordType::A, None);
        let cut = ask(&plain, Transport::Udp, many());
        assert!(cut.metadata.truncation && cut.answers.is_empty());
        assert_eq!(ask(&plain, Transport::Tcp, many()).answers.len(), 100);
        let large = question("many.", RecordType::A, Some(4_096));
        let whole = ask(&large, Transport::Udp, many());
        assert_eq!((whole.metadata.truncation, whole.answers.len()), (false, 100));
        assert_eq!(whole.edns.expect("EDNS for EDNS").max_payload(), MAX_UDP);
    }

    #[test]
    fn what_is_no_query() {
        let mut update = question("a.", RecordType::A, None);
        update[2] |= 5 << 3;
        assert_eq!(
            ask(&update, Transport::Udp, many()).metadata.response_code,
            ResponseCode::NotImp
        );
        let mut response = question("a.", RecordType::A, None);
        response[2] |= 0x80;
        assert_eq!(reply(&response, Transport::Udp, false, |_| many()), Reply::Silence);
        let mut cut = question("a.", RecordType::A, None);
        cut.truncate(13);
        assert_eq!(ask(&cut, Transport::Udp, many()).metadata.response_code, ResponseCode::FormErr);
        assert_eq!(reply(&cut[..11], Transport::Udp, false, |_| many()), Reply::Silence);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Nothing that arrives makes it panic, and answers stay within what the client takes.
        #[test]
        fn any_bytes(request in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Reply::Answer(bytes) = reply(&request, Transport::Udp, false, |_| many()) {
                prop_assert!(bytes.len() <= usize::from(MAX_UDP));
                prop_assert_eq!(&bytes[..2], &request[..2]);
            }
        }

        /// Nearly good requests: one byte of a good one changed, or its end cut off.
        #[test]
        fn nearly_good(at in 0usize..60, byte in any::<u8>(), keep in 0usize..60) {
            let mut request = question("ip-10-0-0-5.us-west-2.compute.internal.", RecordType::A, Some(1_232));
            if let Some(place) = request.get_mut(at) {
                *place = byte;
            }
            request.truncate(request.len().min(keep + 12));
            let _any = reply(&request, Transport::Udp, false, |_| many());
        }
    }
}
