//! Journals: whatever happens to the bytes, what is read was written, in order and from the start.

use hedgerow_vpc::journal::{Entry, Kind, frame, header, scan};

/// Takes one byte, 0 at the end.
fn next(bytes: &mut &[u8]) -> u8 {
    let Some((first, rest)) = bytes.split_first() else { return 0 };
    *bytes = rest;
    *first
}

/// A segment that begins with entry 7: frames of some entries each.
fn written(bytes: &mut &[u8]) -> (Vec<u8>, Vec<(u64, Entry)>) {
    let mut segment = header(FIRST).to_vec();
    let mut entries = Vec::new();
    for _ in 0..next(bytes) % 6 {
        let first = FIRST + entries.len() as u64;
        let mut encoded = Vec::new();
        for _ in 0..=next(bytes) % 3 {
            let entry = Entry {
                kind: Kind::ALL[usize::from(next(bytes)) % Kind::ALL.len()],
                instant: u64::from(next(bytes)),
                mint: (u64::from(next(bytes)), 1),
                outcome: u32::from(next(bytes)) << 24,
                region: "us-west-2".to_owned(),
                body: vec![next(bytes); usize::from(next(bytes) % 40)],
            };
            encoded.push(Vec::new());
            entry.encode(encoded.last_mut().expect("just pushed"));
            entries.push((FIRST + entries.len() as u64, entry));
        }
        segment.extend(frame(first, &encoded));
    }
    (segment, entries)
}

const FIRST: u64 = 7;

pub fn run(bytes: &[u8]) {
    if let Ok(found) = scan(bytes, FIRST) {
        assert!(found.whole <= bytes.len());
    }
    let mut bytes = bytes;
    let (mut segment, entries) = written(&mut bytes);
    let whole = scan(&segment, FIRST).expect("nothing is wrong with it");
    assert_eq!((&whole.entries, whole.whole), (&entries, segment.len()));
    let length = segment.len();
    let mut at = || {
        let [high, low] = [next(&mut bytes), next(&mut bytes)];
        usize::from(u16::from_be_bytes([high, low])) % length
    };
    let (cut, flips) = (at(), at() % 4);
    let damage: Vec<(usize, u8)> = (0..flips).map(|_| (at(), (at() % 255 + 1) as u8)).collect();
    for (at, by) in damage {
        segment[at] ^= by;
    }
    if cut % 3 == 0 {
        segment.truncate(cut);
    }
    // Refusing is fine; inventing is not.
    if let Ok(found) = scan(&segment, FIRST) {
        assert!(entries.starts_with(&found.entries), "{:?} of {entries:?}", found.entries);
        assert!(found.whole <= segment.len());
    }
}
