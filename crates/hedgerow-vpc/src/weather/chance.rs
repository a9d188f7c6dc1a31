//! Chance that can be repeated: a number from the seed, the action, the call's number, the purpose.

/// What a number is drawn for; two purposes of one call are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// How long it takes.
    Latency,
    /// Whether the failure rule with this index befalls it.
    Failure(usize),
    /// Whether a describe sees the past.
    Stale,
    /// Whether an attachment hangs.
    Attach,
}

impl Purpose {
    fn number(self) -> u64 {
        match self {
            Purpose::Latency => 1,
            Purpose::Stale => 2,
            Purpose::Attach => 3,
            Purpose::Failure(index) => 16 + index as u64,
        }
    }
}

/// A number from 0 up to but not including 1.
pub(super) fn chance(seed: u64, action: &str, call: u64, purpose: Purpose) -> f64 {
    // FNV-1a, whose constants these are, makes a number of the name; SplitMix64 mixes them all.
    let name = action
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mixed = [name, call, purpose.number()].into_iter().fold(mix(seed), |h, n| mix(h ^ mix(n)));
    // 53 bits are what an f64 holds.
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
