//! Address prefixes of both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// A text that is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPrefix {
    /// An IPv4 prefix was asked for.
    #[error("'{0}' is not an IPv4 prefix (expected A.B.C.D/N with N from 0 to 32)")]
    V4(String),
    /// An IPv6 prefix was asked for.
    #[error("'{0}' is not an IPv6 prefix (expected an IPv6 address, '/' and N from 0 to 128)")]
    V6(String),
}

macro_rules! prefix {
    ($(#[$doc:meta])* $name:ident, $address:ty, $bits:ty, $bad:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name {
            /// Network address; bits past `len` are zero.
            pub address: $address,
            /// How many bits of the address count.
            pub len: u8,
        }

        impl $name {
            /// The longest length: one address.
            pub const MAX_LEN: u8 = <$bits>::BITS as u8;

            /// All addresses.
            pub const ANY: $name = $name { address: <$address>::UNSPECIFIED, len: 0 };

            /// The prefix of length `len` (at most [`Self::MAX_LEN`]) that holds `address`; host
            /// bits are cleared.
            pub fn new(address: $address, len: u8) -> Self {
                let len = len.min(Self::MAX_LEN);
                let bits = address.to_bits() & Self::mask_bits(len);
                Self { address: <$address>::from_bits(bits), len }
            }

            fn mask_bits(len: u8) -> $bits {
                <$bits>::MAX.checked_shl(u32::from(Self::MAX_LEN - len)).unwrap_or(0)
            }

            /// Whether `address` lies in the prefix.
            pub fn contains(&self, address: $address) -> bool {
                address.to_bits() & Self::mask_bits(self.len) == self.address.to_bits()
            }

            /// Whether every address of `other` lies in the prefix.
            pub fn covers(&self, other: &$name) -> bool {
                self.len <= other.len && self.contains(other.address)
            }

            /// Whether the two prefixes share an address.
            pub fn overlaps(&self, other: &$name) -> bool {
                self.covers(other) || other.covers(self)
            }

            /// The address `offset` places after the network address; wraps past the last one.
            pub fn nth(&self, offset: $bits) -> $address {
                <$address>::from_bits(self.address.to_bits().wrapping_add(offset))
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadPrefix;

            /// Parses `ADDRESS/N`; host bits are cleared, as EC2 does.
            fn from_str(text: &str) -> Result<Self, BadPrefix> {
                let bad = || BadPrefix::$bad(text.to_owned());
                let (address, len) = text.split_once('/').ok_or_else(bad)?;
                let address: $address = address.parse().map_err(|_| bad())?;
                let len: u8 = len.parse().map_err(|_| bad())?;
                if len > Self::MAX_LEN {
                    return Err(bad());
                }
                Ok(Self::new(address, len))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}/{}", self.address, self.len)
            }
        }
    };
}

prefix! {
    /// An IPv4 prefix, host bits zero.
    Ipv4Prefix, Ipv4Addr, u32, V4
}
prefix! {
    /// An IPv6 prefix, host bits zero.
    Ipv6Prefix, Ipv6Addr, u128, V6
}

impl Ipv4Prefix {
    /// How many addresses the prefix holds.
    pub fn size(&self) -> u64 {
        1 << (32 - u32::from(self.len))
    }
}

/// A prefix of either family; the families share no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum IpPrefix {
    /// IPv4.
    V4(Ipv4Prefix),
    /// IPv6.
    V6(Ipv6Prefix),
}

impl IpPrefix {
    /// All addresses of the family of `address`.
    pub fn any(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => IpPrefix::V4(Ipv4Prefix::ANY),
            IpAddr::V6(_) => IpPrefix::V6(Ipv6Prefix::ANY),
        }
    }

    /// The prefix of length `len` (at most the family's) that holds `address`.
    pub fn new(address: IpAddr, len: u8) -> Self {
        match address {
            IpAddr::V4(address) => IpPrefix::V4(Ipv4Prefix::new(address, len)),
            IpAddr::V6(address) => IpPrefix::V6(Ipv6Prefix::new(address, len)),
        }
    }

    /// How many bits of the address count.
    pub fn prefix_len(&self) -> u8 {
        match self {
            IpPrefix::V4(prefix) => prefix.len,
            IpPrefix::V6(prefix) => prefix.len,
        }
    }

    /// Whether `address` lies in the prefix.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self, address) {
            (IpPrefix::V4(prefix), IpAddr::V4(address)) => prefix.contains(address),
            (IpPrefix::V6(prefix), IpAddr::V6(address)) => prefix.contains(address),
            _ => false,
        }
    }

    /// Whether every address of `other` lies in the prefix.
    pub fn covers(&self, other: &IpPrefix) -> bool {
        match (self, other) {
            (IpPrefix::V4(prefix), IpPrefix::V4(other)) => prefix.covers(other),
            (IpPrefix::V6(prefix), IpPrefix::V6(other)) => prefix.covers(other),
            _ => false,
        }
    }

    /// Whether the two prefixes share an address.
    pub fn overlaps(&self, other: &IpPrefix) -> bool {
        self.covers(other) || other.covers(self)
    }
}

impl From<Ipv4Prefix> for IpPrefix {
    fn from(prefix: Ipv4Prefix) -> Self {
        IpPrefix::V4(prefix)
    }
}

impl From<Ipv6Prefix> for IpPrefix {
    fn from(prefix: Ipv6Prefix) -> Self {
        IpPrefix::V6(prefix)
    }
}

impl std::str::FromStr for IpPrefix {
    type Err = BadPrefix;

    /// Parses a prefix of the family that its address is of.
    fn from_str(text: &str) -> Result<Self, BadPrefix> {
        if text.contains(':') {
            text.parse().map(IpPrefix::V6)
        } else {
            text.parse().map(IpPrefix::V4)
        }
    }
}

impl std::fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            IpPrefix::V4(prefix) => prefix.fmt(f),
            IpPrefix::V6(prefix) => prefix.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v6(text: &str) -> Ipv6Prefix {
        text.parse().expect("prefix")
    }

    #[test]
    fn ipv6_prefixes_clear_host_bits_and_know_their_edges() {
        assert_eq!(v6("2001:DB8::1/32").to_string(), "2001:db8::/32");
        assert_eq!(v6("::1/128").to_string(), "::1/128");
        assert_eq!(v6("ffff::/0"), Ipv6Prefix::ANY);
        let subnet = v6("2001:db8:0:1::/64");
        assert!(subnet.contains("2001:db8:0:1:ffff:ffff:ffff:ffff".parse().expect("address")));
        assert!(!subnet.contains("2001:db8:0:2::".parse().expect("address")));
        assert_eq!(subnet.nth(0x10).to_string(), "2001:db8:0:1::10");
        assert!(Ipv6Prefix::ANY.covers(&subnet) && !subnet.covers(&Ipv6Prefix::ANY));
        for text in ["::/129", "10.0.0.0/8", "::", "g::/8", "::/-1"] {
            assert_eq!(text.parse::<Ipv6Prefix>(), Err(BadPrefix::V6(text.into())));
        }
    }

    #[test]
    fn families_share_no_address() {
        let all: [IpPrefix; 2] = ["0.0.0.0/0", "::/0"].map(|text| text.parse().expect("prefix"));
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().expect("address");
        let plain: IpAddr = "10.0.0.1".parse().expect("address");
        assert_eq!(all.map(|prefix| prefix.contains(plain)), [true, false]);
        assert_eq!(all.map(|prefix| prefix.contains(mapped)), [false, true]);
        assert!(!all[0].overlaps(&all[1]) && !all[1].covers(&all[0]));
        assert_eq!(all, [IpPrefix::any(plain), IpPrefix::any(mapped)]);
    }
}
