//! /28 prefixes on interfaces ("Assigning prefixes to network interfaces", Amazon EC2 User Guide):
//! all sixteen addresses of one belong to the interface. And the room that new interfaces need.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use hedgerow_core::sg::{Ipv4Prefix, Ipv6Prefix};
use serde::Deserialize;

use super::interface::NewInterface;
use super::interface_ipv6;
use super::subnet::Subnet;
use crate::api::error::Ec2Error;

/// Length of every delegated prefix.
const LEN: u8 = 28;
/// Addresses of one.
const SIZE: u32 = 1 << (32 - LEN);

/// A prefix in requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct PrefixSpec {
    pub ipv4_prefix: String,
}

/// The addresses of a prefix.
pub(crate) fn addresses(prefix: &Ipv4Prefix) -> impl Iterator<Item = Ipv4Addr> + use<> {
    let prefix = *prefix;
    (0..SIZE).map(move |n| prefix.nth(n))
}

/// Reads a prefix of the right length.
///
/// # Errors
/// `InvalidParameterValue`.
pub(crate) fn parse(text: &str) -> Result<Ipv4Prefix, Ec2Error> {
    let bad = || Ec2Error::value("ipv4Prefix", text, "It must be a /28 prefix, host bits zero.");
    let prefix: Ipv4Prefix = text.parse().map_err(|_| bad())?;
    if prefix.len == LEN && prefix.to_string() == text { Ok(prefix) } else { Err(bad()) }
}

/// The prefixes that a request names and how many it leaves to EC2; `named` are the single
/// addresses that the same request names.
pub(crate) fn wanted(
    subnet: &Subnet,
    specs: &[PrefixSpec],
    count: Option<u32>,
    named: &BTreeSet<Ipv4Addr>,
) -> Result<(Vec<Ipv4Prefix>, usize), Ec2Error> {
    let count = count.unwrap_or(0) as usize;
    if count > 0 && !specs.is_empty() {
        let message = "IPv4 prefixes are either named or counted, not both";
        return Err(Ec2Error::new("InvalidParameterCombination", message));
    }
    let mut prefixes = Vec::new();
    for PrefixSpec { ipv4_prefix } in specs {
        let prefix = parse(ipv4_prefix)?;
        check_free(subnet, prefix)?;
        if prefixes.contains(&prefix) || addresses(&prefix).any(|a| named.contains(&a)) {
            let message = format!("An address of {prefix} is given twice");
            return Err(Ec2Error::new("InvalidParameterValue", message));
        }
        prefixes.push(prefix);
    }
    Ok((prefixes, count))
}

/// Checks that an interface may ask for this very prefix.
///
/// # Errors
/// `InvalidParameterValue` outside the subnet or reserved, `InvalidIPAddress.InUse` where one of its
/// addresses is taken.
fn check_free(subnet: &Subnet, prefix: Ipv4Prefix) -> Result<(), Ec2Error> {
    addresses(&prefix).try_for_each(|address| subnet.check_free(address))
}

/// A prefix of which nobody has an address, of what is set aside for prefixes if there is one, else of
/// what is not set aside. The first and the last of the subnet have reserved ones.
fn free(subnet: &Subnet) -> Option<Ipv4Prefix> {
    let blocks = u32::try_from(subnet.block.size() / u64::from(SIZE)).unwrap_or(u32::MAX);
    let all =
        (1..blocks.saturating_sub(1)).map(|n| Ipv4Prefix::new(subnet.block.nth(n * SIZE), LEN));
    let is_free = |prefix: &Ipv4Prefix| {
        subnet.taken.range(prefix.nth(0)..=prefix.nth(SIZE - 1)).next().is_none()
    };
    let mut all = all.filter(is_free);
    let ranges = || subnet.reservations.values();
    let kept = |prefix: &Ipv4Prefix| ranges().any(|r| r.for_prefixes && r.range.covers(prefix));
    let open = |prefix: &Ipv4Prefix| !ranges().any(|r| r.range.overlaps(prefix));
    all.clone().find(kept).or_else(|| all.find(open))
}

/// What a new interface was given.
pub(crate) struct Reserved {
    pub addresses: Vec<Ipv4Addr>,
    pub prefixes: Vec<Ipv4Prefix>,
    pub ipv6: Vec<Ipv6Addr>,
    pub ipv6_prefixes: Vec<Ipv6Prefix>,
}

/// Takes addresses and prefixes of the subnet for the interface `owner`: first what is named, then
/// prefixes, then single addresses, the primary one first.
///
/// # Errors
/// `InsufficientCidrBlocks` and `InsufficientFreeAddressesInSubnet`, with part of them taken.
pub(crate) fn reserve(
    subnet: &mut Subnet,
    owner: &str,
    new: &NewInterface,
) -> Result<Reserved, Ec2Error> {
    for address in new.primary.iter().chain(&new.secondary) {
        subnet.taken.insert(*address, owner.to_owned());
    }
    let mut prefixes = new.prefixes.clone();
    prefixes.iter().for_each(|prefix| take(subnet, *prefix, owner));
    prefixes.extend(choose(subnet, owner, new.prefix_count)?);
    let chosen = usize::from(new.primary.is_none()) + new.secondary_count;
    subnet.check_room(chosen as u64)?;
    let mut addresses = vec![new.primary.unwrap_or_else(|| subnet.allocate(owner))];
    addresses.extend(&new.secondary);
    addresses.extend((0..new.secondary_count).map(|_| subnet.allocate(owner)));
    let (ipv6, ipv6_prefixes) = interface_ipv6::reserve(subnet.ipv6.as_mut(), owner, &new.ipv6)?;
    Ok(Reserved { addresses, prefixes, ipv6, ipv6_prefixes })
}

/// Whether the interfaces take single addresses only, of which there are either enough or not.
fn is_simple(subnet: &Subnet, new: &[&NewInterface]) -> bool {
    let single = |new: &&NewInterface| {
        new.prefixes.is_empty() && new.prefix_count == 0 && new.ipv6.prefix_count == 0
    };
    subnet.reservations.is_empty() && new.iter().all(single)
}

/// Takes a prefix that was checked to be free.
pub(crate) fn take(subnet: &mut Subnet, prefix: Ipv4Prefix, owner: &str) {
    for address in addresses(&prefix) {
        subnet.taken.insert(address, owner.to_owned());
    }
}

/// Takes `count` free prefixes.
///
/// # Errors
/// `InsufficientCidrBlocks`, with some of them taken.
pub(crate) fn choose(
    subnet: &mut Subnet,
    owner: &str,
    count: usize,
) -> Result<Vec<Ipv4Prefix>, Ec2Error> {
    let mut prefixes = Vec::new();
    for _ in 0..count {
        let prefix = free(subnet).ok_or_else(|| {
            let message = "The specified subnet does not have enough free cidr blocks to satisfy \
                           the request.";
            Ec2Error::new("InsufficientCidrBlocks", message)
        })?;
        take(subnet, prefix, owner);
        prefixes.push(prefix);
    }
    Ok(prefixes)
}

/// Checks that these interfaces fit into the subnet `count` times.
///
/// # Errors
/// As [`reserve`].
pub(crate) fn check_room(
    subnet: &Subnet,
    new: &[&NewInterface],
    count: u32,
) -> Result<(), Ec2Error> {
    if is_simple(subnet, new) {
        let each: usize = new.iter().map(|new| new.address_count()).sum();
        return subnet.check_room(each as u64 * u64::from(count));
    }
    let mut copy = subnet.clone();
    for _ in 0..count {
        for new in new {
            reserve(&mut copy, "", new)?;
        }
    }
    Ok(())
}

/// How many times these interfaces fit into the subnet, at most `most`.
pub(crate) fn fits(subnet: &Subnet, new: &[&NewInterface], most: u32) -> u32 {
    if is_simple(subnet, new) {
        let each: usize = new.iter().map(|new| new.address_count()).sum();
        return u32::try_from(subnet.free() / each.max(1) as u64).unwrap_or(u32::MAX).min(most);
    }
    let mut copy = subnet.clone();
    (0..most).take_while(|_| new.iter().all(|new| reserve(&mut copy, "", new).is_ok())).count()
        as u32
}
