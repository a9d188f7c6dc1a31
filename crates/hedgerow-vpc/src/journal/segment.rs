//! A journal file as bytes: a header, then frames. Pure; [`super::writer`] writes them.
//!
//! ```text
//!   header   magic and format version (8) · number of the first entry (8) · CRC-32 of both (4)
//!   frame    length of the payload (4) · CRC-32 of length and payload (4) · payload
//!   payload  number of the first entry (8) · count of entries (4) · entries
//! ```
//!
//! A frame is what was written, and made durable, at once, and no frame is written before the one
//! in front of it is durable. So a frame that is not whole is the last one, and none of its
//! requests was answered; damage that has a whole frame behind it is not from a crash.

use super::entry::{Entry, take};

/// Magic and version of the format: changes with every change of the bytes.
const MAGIC: [u8; 8] = *b"HRVPCJ\0\x01";
const VERSION: u8 = MAGIC[7];
/// Length of the header, bytes.
pub(super) const HEADER: usize = 20;
/// Length of what stands before a payload, bytes.
const PREFIX: usize = 8;
/// Longest payload; the writer ends a frame soon after a quarter of it.
const MAX_PAYLOAD: usize = 16 << 20;
/// A frame's entries end after the one that crosses this many bytes.
pub(super) const FULL: usize = MAX_PAYLOAD / 4;

/// What a segment holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Scan {
    /// Entries and their numbers, in order.
    pub entries: Vec<(u64, Entry)>,
    /// How many bytes from the start are whole; 0 where not even the header is.
    pub whole: usize,
}

/// Why a segment cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Written by another version of the program.
    #[error("it has format version {0}, and this program reads version {VERSION}")]
    Version(u8),
    /// Bytes were changed after they had been written.
    #[error("it is damaged at byte {damage}, and what was answered later follows at byte {later}")]
    Damaged {
        /// Where the frame or header begins that is not whole.
        damage: usize,
        /// Where a later whole frame begins.
        later: usize,
    },
}

/// The header of a segment whose first entry has number `first`.
pub fn header(first: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&first.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// A frame of `entries`, encoded, the first of which has number `first`.
pub fn frame(first: u64, entries: &[Vec<u8>]) -> Vec<u8> {
    let payload = 12 + entries.iter().map(Vec::len).sum::<usize>();
    let len = u32::try_from(payload).expect("a frame is at most FULL and one request");
    let count = u32::try_from(entries.len()).expect("fewer than bytes");
    let mut bytes = Vec::with_capacity(PREFIX + payload);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&first.to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    entries.iter().for_each(|entry| bytes.extend_from_slice(entry));
    let sum = checksum(&bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// CRC-32 of a frame without the place of the checksum itself.
fn checksum(frame: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&frame[..4]);
    sum.update(&frame[PREFIX..]);
    sum.finalize()
}

/// Reads a segment that should begin with entry `first`.
///
/// # Errors
/// Another format, or damage before the tail. A damaged tail is no error: [`Scan::whole`] tells.
pub fn scan(bytes: &[u8], first: u64) -> Result<Scan, SegmentError> {
    let mut scan = Scan { entries: Vec::new(), whole: 0 };
    if bytes.len() >= 8 && bytes[..7] == MAGIC[..7] && bytes[7] != MAGIC[7] {
        return Err(SegmentError::Version(bytes[7]));
    }
    if bytes.starts_with(&header(first)) {
        scan.whole = HEADER;
        while let Some((entries, len)) = whole_frame(&bytes[scan.whole..], next(&scan, first)) {
            scan.entries.extend(entries);
            scan.whole += len;
        }
    }
    match later_frame(bytes, scan.whole, next(&scan, first)) {
        None => Ok(scan),
        Some(later) => Err(SegmentError::Damaged { damage: scan.whole, later }),
    }
}

fn next(scan: &Scan, first: u64) -> u64 {
    scan.entries.last().map_or(first, |(number, _)| number + 1)
}

/// The entries of the frame at the start of `bytes` and its length, if it is whole and begins with
/// entry `first`.
fn whole_frame(bytes: &[u8], first: u64) -> Option<(Vec<(u64, Entry)>, usize)> {
    let (mut payload, len) = payload(bytes)?;
    if u64::from_le_bytes(take(&mut payload)?) != first {
        return None;
    }
    let count = u32::from_le_bytes(take(&mut payload)?);
    let mut entries = Vec::new();
    for number in first..first.checked_add(count.into())? {
        entries.push((number, Entry::decode(&mut payload)?));
    }
    (payload.is_empty() && count > 0).then_some((entries, len))
}

/// The payload of the frame at the start of `bytes` and the frame's length, if its sum is right.
fn payload(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let mut rest = bytes;
    let len = usize::try_from(u32::from_le_bytes(take(&mut rest)?)).ok()?;
    let sum = u32::from_le_bytes(take(&mut rest)?);
    let frame = bytes.get(..PREFIX.checked_add(len)?)?;
    let right = (12..=MAX_PAYLOAD).contains(&len) && checksum(frame) == sum;
    right.then_some((&frame[PREFIX..], frame.len()))
}

/// Where behind `from` a whole frame begins that a later write made: one with entry `next` or one
/// that comes soon after.
fn later_frame(bytes: &[u8], from: usize, next: u64) -> Option<usize> {
    // Entries are longer than 40 bytes, so numbers cannot go on faster than this.
    let most = next.saturating_add(bytes.len() as u64 / 40);
    let plausible = |at: &usize| {
        let mut number = bytes.get(at + PREFIX..).unwrap_or_default();
        take(&mut number).is_some_and(|n| (next..=most).contains(&u64::from_le_bytes(n)))
    };
    (from..bytes.len()).filter(plausible).find(|at| payload(&bytes[*at..]).is_some())
}
