//! One journalled change as bytes. Numbers are little-endian; texts carry their length.

/// What changed the records. The discriminant is the byte in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A request was decided.
    Request = 1,
    /// Attachments that hung were attached, and addresses of NAT gateways that drained released,
    /// whose time had come.
    Settle = 2,
    /// An attachment began to hang: the body has the seconds, a space and the answer.
    Hold = 3,
    /// A launch that found room for fewer instances than it would take: the body has their number
    /// and the request.
    Launch = 4,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 4] = [Kind::Request, Kind::Settle, Kind::Hold, Kind::Launch];
}

/// The kind and body of an entry for a request that was decided with room for so many instances.
pub fn request(form: &[u8], room: Option<u32>) -> (Kind, Vec<u8>) {
    match room {
        None => (Kind::Request, form.to_vec()),
        Some(room) => (Kind::Launch, [&room.to_le_bytes()[..], form].concat()),
    }
}

/// Something that changed records, and what it takes to do it again the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// The instant it was decided at, seconds since 1970.
    pub instant: u64,
    /// How many identifiers and how many keys the mint had handed out before.
    pub mint: (u64, u32),
    /// Checksum of what it came to: see [`super::replay::fingerprint`].
    pub outcome: u32,
    /// The region it was signed for.
    pub region: String,
    /// The form body of a request; of other kinds as they say.
    pub body: Vec<u8>,
}

impl Entry {
    /// Appends the entry to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind as u8);
        out.extend_from_slice(&self.instant.to_le_bytes());
        out.extend_from_slice(&self.mint.0.to_le_bytes());
        out.extend_from_slice(&self.mint.1.to_le_bytes());
        out.extend_from_slice(&self.outcome.to_le_bytes());
        for bytes in [self.region.as_bytes(), &self.body] {
            let len = u32::try_from(bytes.len()).expect("bodies are little more than a mebibyte");
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(bytes);
        }
    }

    /// Takes an entry from the front of `bytes`; `None` where there is no whole one.
    pub fn decode(bytes: &mut &[u8]) -> Option<Entry> {
        let [kind] = take(bytes)?;
        let kind = Kind::ALL.into_iter().find(|known| *known as u8 == kind)?;
        let instant = u64::from_le_bytes(take(bytes)?);
        let mint = (u64::from_le_bytes(take(bytes)?), u32::from_le_bytes(take(bytes)?));
        let outcome = u32::from_le_bytes(take(bytes)?);
        let region = String::from_utf8(take_counted(bytes)?.to_vec()).ok()?;
        let body = take_counted(bytes)?.to_vec();
        Some(Entry { kind, instant, mint, outcome, region, body })
    }
}

/// Takes `N` bytes from the front.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn take_counted<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let len = u32::from_le_bytes(take(bytes)?);
    let (first, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
    *bytes = rest;
    Some(first)
}
