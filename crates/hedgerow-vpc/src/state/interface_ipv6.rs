//! IPv6 addresses and /80 prefixes of interfaces: what requests say, and giving them out.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use hedgerow_core::sg::Ipv6Prefix;
use serde::{Deserialize, Serialize};

use super::interface::{Interface, UNATTACHED_ADDRESSES, too_many_addresses};
use super::subnet::Subnet;
use super::subnet_ipv6::{PREFIX_LEN, SubnetIpv6};
use crate::api::error::Ec2Error;

/// An IPv6 address in requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Ipv6Spec {
    ipv6_address: Ipv6Addr,
    is_primary_ipv6: Option<bool>,
}

/// An IPv6 prefix in requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Ipv6PrefixSpec {
    pub ipv6_prefix: String,
}

/// What a request says of the IPv6 addresses of a new interface.
#[derive(Debug, Clone, Default)]
pub(crate) struct WantedIpv6 {
    pub named: Vec<Ipv6Spec>,
    pub count: Option<u32>,
    pub prefixes: Vec<Ipv6PrefixSpec>,
    pub prefix_count: Option<u32>,
    pub primary: Option<bool>,
}

/// IPv6 addresses that an interface gets, checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewIpv6 {
    /// Addresses that the request names, a primary one first.
    pub named: Vec<Ipv6Addr>,
    /// Addresses that EC2 chooses.
    pub count: usize,
    /// Prefixes that the request names.
    pub prefixes: Vec<Ipv6Prefix>,
    /// Prefixes that EC2 chooses.
    pub prefix_count: usize,
    /// Whether the first address is the interface's for as long as it is attached.
    pub primary: bool,
}

impl NewIpv6 {
    /// As [`Interface::places`], in IPv6.
    pub fn places(&self) -> usize {
        self.named.len() + self.count + self.prefixes.len() + self.prefix_count
    }

    /// Whether the request names an address or a prefix, which only one interface can have.
    pub fn names_any(&self) -> bool {
        !self.named.is_empty() || !self.prefixes.is_empty()
    }
}

fn refused(code: &'static str, message: impl Into<String>) -> Ec2Error {
    Ec2Error::new(code, message)
}

impl WantedIpv6 {
    /// Whether the request says anything of IPv6 addresses.
    pub fn is_given(&self) -> bool {
        !self.named.is_empty()
            || self.count.is_some()
            || !self.prefixes.is_empty()
            || self.prefix_count.is_some()
            || self.primary.is_some()
    }

    /// Checks it for a new interface in the subnet, which may give an address unasked.
    ///
    /// # Errors
    /// `InvalidParameterValue` for a subnet without a block or what it does not have,
    /// `InvalidIPAddress.InUse`, `InvalidParameterCombination`, `PrivateIpAddressLimitExceeded`.
    pub fn checked(&self, subnet: &Subnet) -> Result<NewIpv6, Ec2Error> {
        let mut addresses: Vec<Ipv6Addr> = self.named.iter().map(|s| s.ipv6_address).collect();
        let mut primaries = (0..).zip(&self.named).filter(|(_, s)| s.is_primary_ipv6 == Some(true));
        let first = primaries.next().map(|(at, _)| at);
        if primaries.next().is_some() {
            let message = "Only one primary IPv6 address can be specified.";
            return Err(refused("InvalidParameterCombination", message));
        }
        if let Some(at) = first {
            addresses[..=at].rotate_right(1);
        }
        let texts: Vec<&str> = self.prefixes.iter().map(|s| s.ipv6_prefix.as_str()).collect();
        let mut new = checked(subnet, addresses, self.count, &texts, self.prefix_count)?;
        let silent = self.count.is_none() && new.places() == 0;
        if silent && subnet.ipv6_on_creation {
            new.count = 1;
        }
        new.primary = first.is_some() || self.primary == Some(true);
        if new.primary && new.named.is_empty() && new.count == 0 {
            let message = "A primary IPv6 address needs an IPv6 address on the interface";
            return Err(refused("InvalidParameterCombination", message));
        }
        Ok(new)
    }
}

/// Checks addresses and prefixes that an interface in the subnet is to have in addition.
///
/// # Errors
/// As [`WantedIpv6::checked`].
pub(crate) fn checked(
    subnet: &Subnet,
    named: Vec<Ipv6Addr>,
    count: Option<u32>,
    prefixes: &[&str],
    prefix_count: Option<u32>,
) -> Result<NewIpv6, Ec2Error> {
    let count = count.unwrap_or(0) as usize;
    let prefix_count = prefix_count.unwrap_or(0) as usize;
    if (count > 0 && !named.is_empty()) || (prefix_count > 0 && !prefixes.is_empty()) {
        let message = "IPv6 addresses and prefixes are either named or counted, not both";
        return Err(refused("InvalidParameterCombination", message));
    }
    if count + prefix_count > UNATTACHED_ADDRESSES {
        return Err(too_many_addresses());
    }
    let prefixes = prefixes.iter().map(|t| parse_prefix(t)).collect::<Result<Vec<_>, _>>()?;
    let new = NewIpv6 { named, count, prefixes, prefix_count, primary: false };
    if new.places() == 0 {
        return Ok(new);
    }
    let ipv6 = subnet.with_ipv6()?;
    let twice = |what: String| {
        refused("InvalidParameterValue", format!("{what}, or an address of it, is given twice"))
    };
    let mut seen = BTreeSet::new();
    for prefix in &new.prefixes {
        ipv6.check_prefix_free(*prefix)?;
        if !seen.insert(prefix.address) {
            return Err(twice(prefix.to_string()));
        }
    }
    for address in &new.named {
        ipv6.check_free(*address)?;
        let in_prefix = new.prefixes.iter().any(|prefix| prefix.contains(*address));
        if in_prefix || !seen.insert(*address) {
            return Err(twice(address.to_string()));
        }
    }
    Ok(new)
}

/// Reads a prefix of the right length.
///
/// # Errors
/// `InvalidParameterValue`.
pub(crate) fn parse_prefix(text: &str) -> Result<Ipv6Prefix, Ec2Error> {
    let bad = || Ec2Error::value("ipv6Prefix", text, "It must be a /80 prefix, host bits zero.");
    let prefix: Ipv6Prefix = text.parse().map_err(|_| bad())?;
    let address = text.split('/').next().and_then(|address| address.parse().ok());
    let canonical = address == Some(prefix.address);
    if prefix.len == PREFIX_LEN && canonical { Ok(prefix) } else { Err(bad()) }
}

/// Takes addresses and prefixes for the interface `owner`: what is named, then what EC2 chooses.
///
/// # Errors
/// `InsufficientCidrBlocks`, with part of them taken.
pub(crate) fn reserve(
    ipv6: Option<&mut SubnetIpv6>,
    owner: &str,
    new: &NewIpv6,
) -> Result<(Vec<Ipv6Addr>, Vec<Ipv6Prefix>), Ec2Error> {
    let Some(ipv6) = ipv6.filter(|_| new.places() > 0) else { return Ok(Default::default()) };
    new.named.iter().for_each(|address| ipv6.take(*address, owner));
    new.prefixes.iter().for_each(|prefix| ipv6.take_prefix(*prefix, owner));
    let mut prefixes = new.prefixes.clone();
    for _ in 0..new.prefix_count {
        prefixes.push(ipv6.allocate_prefix(owner)?);
    }
    let mut addresses = new.named.clone();
    addresses.extend((0..new.count).map(|_| ipv6.allocate(owner)));
    Ok((addresses, prefixes))
}

impl Interface {
    /// As [`Interface::places`], in IPv6, where there are as many of them.
    pub(crate) fn ipv6_places(&self) -> usize {
        self.ipv6.len() + self.ipv6_prefixes.len()
    }

    /// The address that stays the interface's for as long as it is attached.
    pub(crate) fn primary_ipv6(&self) -> Option<Ipv6Addr> {
        self.ipv6.first().copied().filter(|_| self.has_primary_ipv6)
    }
}

/// An IPv6 address in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ipv6Item {
    ipv6_address: String,
    is_primary_ipv6: bool,
}

/// An IPv6 prefix in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ipv6PrefixItem {
    ipv6_prefix: String,
}

/// An interface's IPv6 addresses for an answer.
pub(crate) fn ipv6_items(interface: &Interface) -> Vec<Ipv6Item> {
    let primary = interface.primary_ipv6();
    let item = |address: &Ipv6Addr| Ipv6Item {
        ipv6_address: address.to_string(),
        is_primary_ipv6: primary == Some(*address),
    };
    interface.ipv6.iter().map(item).collect()
}

/// An interface's IPv6 prefixes for an answer.
pub(crate) fn ipv6_prefix_items(interface: &Interface) -> Vec<Ipv6PrefixItem> {
    let item = |prefix: &Ipv6Prefix| Ipv6PrefixItem { ipv6_prefix: prefix.to_string() };
    interface.ipv6_prefixes.iter().map(item).collect()
}
