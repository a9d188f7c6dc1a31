//! A subnet's IPv6 block, and the addresses and /80 prefixes in it.

use std::mem;
use std::net::Ipv6Addr;

use hedgerow_core::sg::Ipv6Prefix;
use serde::{Deserialize, Serialize};

use super::region::find;
use super::subnet::Subnet;
use super::table::{Record, Revertible, Table};
use super::unsupported::{Given, refuse};
use super::vpc::{BlockState, Vpc};
use super::{Context, Region};
use crate::api::error::Ec2Error;

/// Lengths that a subnet's block can have ("Subnet CIDR blocks", VPC User Guide).
const LENGTHS: std::ops::RangeInclusive<u8> = 44..=64;
/// Length of every delegated prefix.
pub(crate) const PREFIX_LEN: u8 = 80;
/// Addresses at the start of a block that nobody gets; the last one is nobody's either.
const RESERVED_FIRST: u128 = 4;

/// The IPv6 side of a subnet that has a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubnetIpv6 {
    pub association: String,
    pub block: Ipv6Prefix,
    /// Address to the interface that has it.
    taken: Table<Ipv6Addr, String>,
    /// First address of a delegated prefix to the interface that has it.
    delegated: Table<Ipv6Addr, String>,
    /// Where the search for a free address goes on, so that an address rests before it comes back.
    cursor: u64,
    /// The same for prefixes.
    prefix_cursor: u64,
}

fn refused(message: impl Into<String>) -> Ec2Error {
    Ec2Error::new("InvalidParameterValue", message)
}

fn in_use(what: impl std::fmt::Display) -> Ec2Error {
    Ec2Error::new("InvalidIPAddress.InUse", format!("Address {what} is in use."))
}

impl Record for SubnetIpv6 {
    fn keep(&mut self) -> Self {
        let (taken, delegated) = (mem::take(&mut self.taken), mem::take(&mut self.delegated));
        let kept = self.clone();
        (self.taken, self.delegated) = (taken, delegated);
        self.taken.mark();
        self.delegated.mark();
        kept
    }

    fn go_back(&mut self, kept: Self) {
        self.taken.go_back();
        self.delegated.go_back();
        let (taken, delegated) = (mem::take(&mut self.taken), mem::take(&mut self.delegated));
        *self = Self { taken, delegated, ..kept };
    }

    fn commit(&mut self) {
        self.taken.commit();
        self.delegated.commit();
    }
}

impl SubnetIpv6 {
    fn new(association: String, block: Ipv6Prefix) -> Self {
        let (taken, delegated) = Default::default();
        Self { association, block, taken, delegated, cursor: 0, prefix_cursor: 0 }
    }

    /// The interface that has the address, by itself or in a prefix.
    pub fn owner(&self, address: Ipv6Addr) -> Option<&str> {
        let prefix = Ipv6Prefix::new(address, PREFIX_LEN).address;
        self.taken.get(&address).or_else(|| self.delegated.get(&prefix)).map(String::as_str)
    }

    /// Whether nobody has an address in the block.
    fn is_unused(&self) -> bool {
        self.taken.is_empty() && self.delegated.is_empty()
    }

    fn last(&self) -> Ipv6Addr {
        self.block.nth(u128::MAX >> self.block.len)
    }

    fn is_reserved(&self, address: Ipv6Addr) -> bool {
        address.to_bits() - self.block.address.to_bits() < RESERVED_FIRST || address == self.last()
    }

    /// Checks that an interface may ask for this very address.
    ///
    /// # Errors
    /// `InvalidParameterValue` outside the block or reserved, `InvalidIPAddress.InUse` if taken.
    pub fn check_free(&self, address: Ipv6Addr) -> Result<(), Ec2Error> {
        if !self.block.contains(address) {
            return Err(refused("Address does not fall within the subnet's address range"));
        }
        if self.is_reserved(address) {
            return Err(refused("Address is in subnet's reserved address range"));
        }
        match self.owner(address) {
            Some(_) => Err(in_use(address)),
            None => Ok(()),
        }
    }

    /// As [`Self::check_free`] for a whole prefix.
    ///
    /// # Errors
    /// The same.
    pub fn check_prefix_free(&self, prefix: Ipv6Prefix) -> Result<(), Ec2Error> {
        if !self.block.covers(&prefix) {
            return Err(refused("Address does not fall within the subnet's address range"));
        }
        if prefix.contains(self.block.address) || prefix.contains(self.last()) {
            return Err(refused("Address is in subnet's reserved address range"));
        }
        if self.is_prefix_free(prefix) { Ok(()) } else { Err(in_use(prefix)) }
    }

    fn is_prefix_free(&self, prefix: Ipv6Prefix) -> bool {
        let last = prefix.nth(u128::MAX >> PREFIX_LEN);
        !self.delegated.contains_key(&prefix.address)
            && self.taken.range(prefix.address..=last).next().is_none()
    }

    /// Gives an address that was checked to be free.
    pub fn take(&mut self, address: Ipv6Addr, owner: &str) {
        self.taken.insert(address, owner.to_owned());
    }

    /// Gives a prefix that was checked to be free.
    pub fn take_prefix(&mut self, prefix: Ipv6Prefix, owner: &str) {
        self.delegated.insert(prefix.address, owner.to_owned());
    }

    /// Gives the next free address. There are more than interfaces could be made.
    pub fn allocate(&mut self, owner: &str) -> Ipv6Addr {
        loop {
            let address = self.block.nth(RESERVED_FIRST + u128::from(self.cursor));
            self.cursor += 1;
            if self.owner(address).is_none() {
                self.take(address, owner);
                return address;
            }
        }
    }

    /// Gives the next free prefix. The first and the last of the block have reserved addresses.
    ///
    /// # Errors
    /// `InsufficientCidrBlocks`.
    pub fn allocate_prefix(&mut self, owner: &str) -> Result<Ipv6Prefix, Ec2Error> {
        let usable = (1_u64 << (PREFIX_LEN - self.block.len)) - 2;
        let start = self.prefix_cursor;
        let nth = |step| 1 + u128::from((start + step) % usable);
        let prefix =
            |step| Ipv6Prefix::new(self.block.nth(nth(step) << (128 - PREFIX_LEN)), PREFIX_LEN);
        let found = (0..usable).find(|step| self.is_prefix_free(prefix(*step)));
        let Some(step) = found else {
            let message = "The specified subnet does not have enough free cidr blocks to satisfy \
                           the request.";
            return Err(Ec2Error::new("InsufficientCidrBlocks", message));
        };
        let prefix = prefix(step);
        self.prefix_cursor = (start + step + 1) % usable;
        self.take_prefix(prefix, owner);
        Ok(prefix)
    }

    /// Frees addresses and prefixes.
    pub fn free<'a>(
        &mut self,
        addresses: impl IntoIterator<Item = &'a Ipv6Addr>,
        prefixes: impl IntoIterator<Item = &'a Ipv6Prefix>,
    ) {
        for address in addresses {
            self.taken.remove(address);
        }
        for prefix in prefixes {
            self.delegated.remove(&prefix.address);
        }
    }
}

impl Subnet {
    /// The subnet's IPv6 side.
    ///
    /// # Errors
    /// `InvalidParameterValue` where it has none.
    pub(crate) fn with_ipv6(&self) -> Result<&SubnetIpv6, Ec2Error> {
        self.ipv6
            .as_ref()
            .ok_or_else(|| refused(format!("The subnet '{}' has no IPv6 CIDR block", self.id)))
    }
}

/// Reads a block that a subnet of the VPC asks for.
///
/// # Errors
/// `InvalidParameterValue` where it is no prefix, `InvalidSubnet.Range` where it is no part of the
/// VPC's blocks, `InvalidSubnet.Conflict` where another subnet has part of it.
pub(crate) fn parse_block(region: &Region, vpc: &Vpc, text: &str) -> Result<Ipv6Prefix, Ec2Error> {
    let block: Ipv6Prefix = text.parse().map_err(|_| {
        let why = "This is not a valid CIDR block.";
        Ec2Error::value("ipv6CidrBlock", text, why)
    })?;
    let fits = LENGTHS.contains(&block.len) && block.len.is_multiple_of(4);
    if !fits || !vpc.ipv6.iter().any(|own| own.block.covers(&block)) {
        let message = format!("The IPv6 CIDR '{text}' is invalid.");
        return Err(Ec2Error::new("InvalidSubnet.Range", message));
    }
    let siblings = region.subnets.values().filter(|subnet| subnet.vpc == vpc.id);
    if siblings.filter_map(|s| s.ipv6.as_ref()).any(|other| other.block.overlaps(&block)) {
        let message = format!("The CIDR '{block}' conflicts with another subnet");
        return Err(Ec2Error::new("InvalidSubnet.Conflict", message));
    }
    Ok(block)
}

/// Gives a subnet a block that was checked.
pub(crate) fn give(cx: &mut Context<'_>, subnet: &str, block: Ipv6Prefix) {
    let association = cx.mint.id("subnet-cidr-assoc");
    let record = cx.region.subnets.get_mut(subnet).expect("the subnet was checked");
    record.ipv6 = Some(SubnetIpv6::new(association, block));
}

/// AssociateSubnetCidrBlock.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AssociateSubnetCidrBlock {
    subnet_id: String,
    ipv6_cidr_block: Option<String>,
    ipv6_ipam_pool_id: Given,
    ipv6_netmask_length: Given,
}

/// Answer of AssociateSubnetCidrBlock and DisassociateSubnetCidrBlock.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangedSubnetBlock {
    subnet_id: String,
    ipv6_cidr_block_association: SubnetIpv6Item,
}

/// A subnet's IPv6 block in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubnetIpv6Item {
    association_id: String,
    ipv6_cidr_block: String,
    ipv6_cidr_block_state: BlockState,
    ipv6_address_attribute: &'static str,
    ip_source: &'static str,
}

impl SubnetIpv6Item {
    /// The block, in a state.
    pub fn new(ipv6: &SubnetIpv6, state: &'static str) -> Self {
        SubnetIpv6Item {
            association_id: ipv6.association.clone(),
            ipv6_cidr_block: ipv6.block.to_string(),
            ipv6_cidr_block_state: BlockState { state },
            ipv6_address_attribute: "public",
            ip_source: "amazon",
        }
    }
}

pub(crate) fn associate(
    cx: &mut Context<'_>,
    request: AssociateSubnetCidrBlock,
) -> Result<ChangedSubnetBlock, Ec2Error> {
    let region = &*cx.region;
    refuse(&[
        ("Ipv6IpamPoolId", request.ipv6_ipam_pool_id.is_some()),
        ("Ipv6NetmaskLength", request.ipv6_netmask_length.is_some()),
    ])?;
    let subnet = find(&region.subnets, &request.subnet_id)?;
    let text = request.ipv6_cidr_block.ok_or_else(|| Ec2Error::missing("ipv6CidrBlock"))?;
    let block = parse_block(region, &region.vpcs[&subnet.vpc], &text)?;
    if subnet.ipv6.is_some() {
        let message = format!(
            "The subnet '{}' has met its maximum number of allowed IPv6 CIDRs: 1",
            subnet.id
        );
        return Err(Ec2Error::new("CidrLimitExceeded", message));
    }
    give(cx, &request.subnet_id, block);
    cx.effects.push(cx.region.put_subnet(&request.subnet_id));
    let ipv6 = cx.region.subnets[&request.subnet_id].ipv6.as_ref().expect("just given");
    let ipv6_cidr_block_association = SubnetIpv6Item::new(ipv6, "associating");
    Ok(ChangedSubnetBlock { subnet_id: request.subnet_id, ipv6_cidr_block_association })
}

/// DisassociateSubnetCidrBlock.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DisassociateSubnetCidrBlock {
    association_id: String,
}

pub(crate) fn disassociate(
    cx: &mut Context<'_>,
    request: DisassociateSubnetCidrBlock,
) -> Result<ChangedSubnetBlock, Ec2Error> {
    let wanted = &request.association_id;
    let of_subnet =
        |subnet: &&Subnet| subnet.ipv6.as_ref().is_some_and(|ipv6| ipv6.association == *wanted);
    let subnet = cx.region.subnets.values().find(of_subnet).ok_or_else(|| {
        let message =
            format!("The subnet CIDR block with association ID '{wanted}' does not exist");
        Ec2Error::new("InvalidSubnetCidrBlockAssociationID.NotFound", message)
    })?;
    let ipv6 = subnet.with_ipv6()?;
    if !ipv6.is_unused() {
        let message = format!(
            "The subnet '{}' currently has interfaces with addresses of CIDR block {}",
            subnet.id, ipv6.block
        );
        return Err(Ec2Error::new("InvalidCidrBlock.InUse", message));
    }
    let ipv6_cidr_block_association = SubnetIpv6Item::new(ipv6, "disassociating");
    let subnet_id = subnet.id.clone();
    let record = cx.region.subnets.get_mut(&subnet_id).expect("found above");
    record.ipv6 = None;
    record.ipv6_on_creation = false;
    cx.effects.push(cx.region.put_subnet(&subnet_id));
    Ok(ChangedSubnetBlock { subnet_id, ipv6_cidr_block_association })
}
