//! Messages between plugin and agent: one request and one answer per connection.
//!
//! A frame is a 32-bit big-endian length and that many bytes of JSON. Both carry the protocol
//! version; a peer of another version is told so instead of being misread, because the plugin
//! binary on the host and the agent are replaced at different moments of an upgrade.

use std::io::{Read, Write};
use std::net::Ipv4Addr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::answer::CniError;

/// Version of the messages; bumped on every change that an older peer would misread.
pub const VERSION: u32 = 1;
/// Longest message, bytes. Real ones are below 1 KiB.
pub const MAX_LEN: usize = 64 * 1024;

/// Why a message could not be exchanged.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Reading or writing failed.
    #[error("exchanging a message failed: {0}")]
    Io(#[from] std::io::Error),
    /// Longer than [`MAX_LEN`].
    #[error("a message of {0} bytes is longer than the limit of {MAX_LEN}")]
    TooLong(usize),
    /// Not the JSON it should be.
    #[error("a message does not parse: {0}")]
    Parse(#[from] serde_json::Error),
    /// The peer speaks another version.
    #[error("the peer speaks version {0} of the messages, this is {VERSION}: finish the upgrade")]
    Version(u32),
}

/// A pod by name; `uid` tells it from an earlier pod of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PodRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID, when the runtime says it.
    pub uid: Option<String>,
}

impl std::fmt::Display for PodRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What the plugin asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    /// Connect a sandbox.
    Add {
        /// The sandbox.
        container_id: String,
        /// Path of its network namespace on the node.
        netns: String,
        /// Interface to make in it.
        ifname: String,
        /// The pod.
        pod: Option<PodRef>,
    },
    /// Release whatever the sandbox has; unknown sandboxes are fine.
    Del {
        /// The sandbox.
        container_id: String,
        /// Interface in it.
        ifname: String,
    },
    /// See that what ADD made is still there.
    Check {
        /// The sandbox.
        container_id: String,
        /// Path of its network namespace on the node.
        netns: String,
        /// Interface in it.
        ifname: String,
    },
}

/// What ADD made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Host side of the veth pair.
    pub host_name: String,
    /// Its MAC.
    pub host_mac: String,
    /// Interface in the sandbox.
    pub pod_name: String,
    /// Its MAC.
    pub pod_mac: String,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// Next hop of the pod's default route.
    pub gateway: Ipv4Addr,
}

/// The agent's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Response {
    /// ADD succeeded.
    Added(Attachment),
    /// DEL or CHECK succeeded.
    Done,
    /// It failed; the error goes to the runtime as it is.
    Failed(CniError),
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    version: u32,
    #[serde(flatten)]
    body: T,
}

#[derive(Deserialize)]
struct JustVersion {
    version: u32,
}

/// The bytes of a frame that carries `body`.
pub fn encode<T: Serialize>(body: &T) -> Result<Vec<u8>, MessageError> {
    let json = serde_json::to_vec(&Envelope { version: VERSION, body })?;
    if json.len() > MAX_LEN {
        return Err(MessageError::TooLong(json.len()));
    }
    let mut frame = u32::try_from(json.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    frame.extend(json);
    Ok(frame)
}

/// The length in a frame's first four bytes, if it is allowed.
pub fn body_len(header: [u8; 4]) -> Result<usize, MessageError> {
    let len = u32::from_be_bytes(header) as usize;
    if len > MAX_LEN { Err(MessageError::TooLong(len)) } else { Ok(len) }
}

/// The body of a frame.
pub fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, MessageError> {
    let JustVersion { version } = serde_json::from_slice(json)?;
    if version != VERSION {
        return Err(MessageError::Version(version));
    }
    Ok(serde_json::from_slice::<Envelope<T>>(json)?.body)
}

/// Writes one frame.
pub fn write<T: Serialize>(to: &mut impl Write, body: &T) -> Result<(), MessageError> {
    to.write_all(&encode(body)?)?;
    Ok(to.flush()?)
}

/// Reads one frame; allocates no more than the length that it checked.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> Result<T, MessageError> {
    let mut header = [0; 4];
    from.read_exact(&mut header)?;
    let mut json = vec![0; body_len(header)?];
    from.read_exact(&mut json)?;
    decode(&json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn del() -> Request {
        Request::Del { container_id: "abc".to_owned(), ifname: "eth0".to_owned() }
    }

    #[test]
    fn there_and_back() {
        let frame = encode(&del()).unwrap();
        assert_eq!(read::<Request>(&mut frame.as_slice()).unwrap(), del());
    }

    #[test]
    fn hostile_frames_are_errors() {
        let huge = [0xff, 0xff, 0xff, 0xff, b'{'];
        assert!(matches!(read::<Request>(&mut huge.as_slice()), Err(MessageError::TooLong(_))));
        let cut = &encode(&del()).unwrap()[..10];
        assert!(matches!(read::<Request>(&mut &*cut), Err(MessageError::Io(_))));
        let empty: &[u8] = &[0, 0, 0, 0];
        assert!(matches!(read::<Request>(&mut &*empty), Err(MessageError::Parse(_))));
        let deep = "[".repeat(60_000);
        assert!(matches!(decode::<Request>(deep.as_bytes()), Err(MessageError::Parse(_))));
        for text in ["null", "[]", r#"{"version":1}"#, r#"{"version":1,"command":"rm"}"#, "\u{1}"] {
            assert!(
                matches!(decode::<Request>(text.as_bytes()), Err(MessageError::Parse(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn another_version_is_named() {
        let error = decode::<Request>(br#"{"version":9,"command":"new"}"#).unwrap_err();
        assert!(matches!(error, MessageError::Version(9)), "{error}");
    }

    #[test]
    fn too_long_to_send() {
        let request = Request::Del { container_id: "a".repeat(MAX_LEN), ifname: "e".to_owned() };
        assert!(matches!(encode(&request), Err(MessageError::TooLong(_))));
    }
}
