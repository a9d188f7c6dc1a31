//! Questions: every answer is a message that a resolver reads, with the question's id, and within
//! what the client takes.

use std::sync::OnceLock;

use hedgerow_vpc::dns::{Reply, Transport, find, reply};
use hickory_proto::op::{Message, MessageType};

use crate::vpc::{Records, records};

static RECORDS: OnceLock<Records> = OnceLock::new();

/// Most that goes by UDP, whatever the client says.
const MAX_UDP: usize = 4096;

pub fn run(bytes: &[u8]) {
    let Some((how, request)) = bytes.split_first() else { return };
    let records = RECORDS.get_or_init(|| records("10.0.0.0/16", "10.0.0.10"));
    let transport = if how & 1 == 0 { Transport::Udp } else { Transport::Tcp };
    let ask =
        || reply(request, transport, how & 2 != 0, |name| find(&records.state, records.vpc, name));
    let said = ask();
    assert_eq!(said, ask(), "asked again");
    let answer = match said {
        Reply::Answer(answer) | Reply::Forward { otherwise: answer } => answer,
        Reply::Silence => return,
    };
    assert!(request.len() >= 12 && request[2] & 0x80 == 0, "an answer to what asks nothing");
    let message = Message::from_vec(&answer).expect("an answer that can be read");
    assert_eq!(message.metadata.message_type, MessageType::Response);
    assert_eq!(message.metadata.id, u16::from_be_bytes([request[0], request[1]]));
    let limit = match (transport, Message::from_vec(request)) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, Ok(Message { edns: Some(edns), .. })) => {
            usize::from(edns.max_payload()).clamp(512, MAX_UDP)
        }
        (Transport::Udp, _) => 512,
    };
    assert!(answer.len() <= limit, "{} bytes where {limit} fit", answer.len());
}
