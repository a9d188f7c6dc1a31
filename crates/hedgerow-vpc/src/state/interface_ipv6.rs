//! IPv6 addresses in requests: VPCs and subnets here have no IPv6 blocks, so none can be given.

use std::net::Ipv6Addr;

use serde::Deserialize;

use super::subnet::Subnet;
use crate::api::error::Ec2Error;

/// An IPv6 address in requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Ipv6Spec {
    #[serde(rename = "Ipv6Address")]
    _ipv6_address: Ipv6Addr,
    #[serde(rename = "IsPrimaryIpv6")]
    _is_primary_ipv6: Option<bool>,
}

/// `InvalidParameterValue` where a request asks for IPv6 addresses in the subnet.
pub(crate) fn refuse_ipv6(
    subnet: &Subnet,
    named: &[Ipv6Spec],
    count: Option<u32>,
) -> Result<(), Ec2Error> {
    if named.is_empty() && count.unwrap_or(0) == 0 {
        return Ok(());
    }
    let message = format!("The subnet '{}' has no IPv6 CIDR block", subnet.id);
    Err(Ec2Error::new("InvalidParameterValue", message))
}
