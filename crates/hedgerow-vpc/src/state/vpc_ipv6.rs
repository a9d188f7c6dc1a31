//! A VPC's IPv6 blocks: Amazon's at EC2, a /56 each; here they come from a range for documentation.

use hedgerow_core::sg::Ipv6Prefix;
use serde::{Deserialize, Serialize};

use super::unsupported::{Given, refuse};
use super::vpc::{BlockState, Vpc};
use super::{Region, catalog};
use crate::api::error::Ec2Error;
use crate::effect::PUBLIC_ADDRESSES_V6;

/// Length of a region's part of the range that blocks come from.
const REGION_LEN: u32 = 32;
/// Length of every block.
const BLOCK_LEN: u8 = 56;
/// Blocks of a region's part.
const BLOCKS: u32 = 1 << (BLOCK_LEN as u32 - REGION_LEN);
/// IPv6 blocks that a VPC can have ("Amazon VPC quotas").
const MAX_BLOCKS: usize = 5;

/// An IPv6 block of a VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ipv6Block {
    pub association: String,
    pub block: Ipv6Prefix,
}

/// What a request says of an IPv6 block for a VPC.
#[derive(Debug, Default)]
pub(crate) struct Ipv6Wish {
    pub amazon_provided: Option<bool>,
    pub border_group: Option<String>,
    /// Parameters about blocks of one's own and IPAM pools, and whether they were given.
    pub own: [(&'static str, bool); 4],
}

impl Ipv6Wish {
    /// A wish; `own` is `Ipv6CidrBlock`, `Ipv6Pool`, `Ipv6IpamPoolId`, `Ipv6NetmaskLength`.
    pub fn new(
        amazon_provided: Option<bool>,
        border_group: Option<String>,
        own: [&Given; 4],
    ) -> Self {
        let names = ["Ipv6CidrBlock", "Ipv6Pool", "Ipv6IpamPoolId", "Ipv6NetmaskLength"];
        let mut given = [("", false); 4];
        for (slot, (name, parameter)) in given.iter_mut().zip(names.into_iter().zip(own)) {
            *slot = (name, parameter.is_some());
        }
        Self { amazon_provided, border_group, own: given }
    }

    /// Whether a block is wished for.
    ///
    /// # Errors
    /// `UnsupportedOperation` for a block that is not Amazon's, `InvalidParameterValue` for a border
    /// group that is not the region, `InvalidParameterCombination` for one without a block.
    pub fn checked(&self, region: &Region) -> Result<bool, Ec2Error> {
        refuse(&self.own)?;
        let wished = self.amazon_provided == Some(true);
        match &self.border_group {
            Some(_) if !wished => {
                let message = "The parameter ipv6CidrBlockNetworkBorderGroup needs \
                               amazonProvidedIpv6CidrBlock";
                Err(Ec2Error::new("InvalidParameterCombination", message))
            }
            Some(group) if *group != region.name => {
                let why = format!("It can only be {}.", region.name);
                Err(Ec2Error::value("ipv6CidrBlockNetworkBorderGroup", group, &why))
            }
            _ => Ok(wished),
        }
    }
}

/// `CidrLimitExceeded` where the VPC has as many blocks as it can have.
pub(crate) fn check_room(vpc: &Vpc) -> Result<(), Ec2Error> {
    if vpc.ipv6.len() < MAX_BLOCKS {
        return Ok(());
    }
    let message = format!(
        "This network '{}' has met its maximum number of allowed IPv6 CIDRs: {MAX_BLOCKS}",
        vpc.id
    );
    Err(Ec2Error::new("CidrLimitExceeded", message))
}

impl Region {
    /// The next block that no VPC has, so that a block rests before it comes back.
    pub(crate) fn next_ipv6_block(&mut self) -> Ipv6Prefix {
        let region = u128::from(catalog::region_number(&self.name));
        let part = region << (128 - REGION_LEN);
        loop {
            self.ipv6_cursor = (self.ipv6_cursor + 1) % BLOCKS;
            let offset = part | u128::from(self.ipv6_cursor) << (128 - u32::from(BLOCK_LEN));
            let block = Ipv6Prefix::new(PUBLIC_ADDRESSES_V6.nth(offset), BLOCK_LEN);
            if !self.vpcs.values().any(|vpc| vpc.ipv6.iter().any(|own| own.block == block)) {
                return block;
            }
        }
    }
}

/// An IPv6 block of a VPC in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VpcIpv6Item {
    association_id: String,
    ipv6_cidr_block: String,
    ipv6_cidr_block_state: BlockState,
    network_border_group: String,
    ipv6_pool: &'static str,
    ipv6_address_attribute: &'static str,
    ip_source: &'static str,
}

/// The pool that Amazon's blocks come from, by its name.
pub(crate) const POOL_NAME: &str = "Amazon";

impl Region {
    /// A block of a VPC for an answer.
    pub(crate) fn vpc_ipv6_item(&self, own: &Ipv6Block, state: &'static str) -> VpcIpv6Item {
        VpcIpv6Item {
            association_id: own.association.clone(),
            ipv6_cidr_block: own.block.to_string(),
            ipv6_cidr_block_state: BlockState { state },
            network_border_group: self.name.clone(),
            ipv6_pool: POOL_NAME,
            ipv6_address_attribute: "public",
            ip_source: "amazon",
        }
    }
}
