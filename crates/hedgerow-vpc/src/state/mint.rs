//! Identifiers and MAC addresses from a seed: the same requests give the same answers.

use serde::{Deserialize, Serialize};

/// Hands out identifiers that never repeat within a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mint {
    seed: u64,
    issued: u64,
    keys: u32,
}

impl Mint {
    /// A mint whose identifiers depend on `seed` only.
    pub fn new(seed: u64) -> Self {
        Self { seed, issued: 0, keys: 0 }
    }

    /// How many identifiers and how many keys were handed out.
    pub(crate) fn position(&self) -> (u64, u32) {
        (self.issued, self.keys)
    }

    /// Goes on from [`Self::position`] of an earlier run with the same seed.
    pub(crate) fn move_to(&mut self, (issued, keys): (u64, u32)) {
        (self.issued, self.keys) = (issued, keys);
    }

    /// `PREFIX-` and 17 hex digits, the first of them 0 as at EC2.
    pub fn id(&mut self, prefix: &str) -> String {
        format!("{prefix}-0{:016x}", self.next())
    }

    /// A locally administered unicast MAC, `02:…`.
    pub fn mac(&mut self) -> [u8; 6] {
        self.issued += 1;
        // An odd factor permutes 40-bit numbers, so two counts never give one address.
        let [.., a, b, c, d, e] =
            self.seed.wrapping_add(self.issued).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        [0x02, a, b, c, d, e]
    }

    /// A number for the fabric (VPC or interface), from 1.
    pub fn key(&mut self) -> u32 {
        self.keys += 1;
        self.keys
    }

    /// An id in the form of a random UUID (RFC 9562, version 4).
    pub fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | (b >> 48) & 0x3fff,
            b & 0xffff_ffff_ffff
        )
    }

    /// `count` of these letters, of which there are at most 256.
    pub fn letters(&mut self, count: usize, of: &[u8]) -> String {
        let mut letters = String::with_capacity(count + 8);
        while letters.len() < count {
            let bytes = self.next().to_le_bytes();
            letters.extend(bytes.map(|byte| char::from(of[usize::from(byte) % of.len()])));
        }
        letters.truncate(count);
        letters
    }

    /// The next number of the SplitMix64 sequence; a permutation of the count, so it never repeats.
    fn next(&mut self) -> u64 {
        self.issued += 1;
        let mut z = self.seed.wrapping_add(self.issued.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A MAC as EC2 writes it: lower case, colons.
pub fn format_mac(mac: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn nothing_repeats() {
        let mut mint = Mint::new(7);
        let ids: BTreeSet<_> = (0..5_000).map(|_| mint.id("eni")).collect();
        let macs: BTreeSet<_> = (0..5_000).map(|_| mint.mac()).collect();
        assert_eq!((ids.len(), macs.len()), (5_000, 5_000));
        assert!(ids.iter().all(|id| id.len() == 21) && macs.iter().all(|mac| mac[0] == 2));
    }
}
