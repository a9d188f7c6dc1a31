//! ModifyVpcTenancy.

use serde::Deserialize;

use super::Context;
use super::region::find_mut;
use crate::api::Done;
use crate::api::error::Ec2Error;

/// ModifyVpcTenancy: a VPC can only go from `dedicated` back to `default`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ModifyVpcTenancy {
    vpc_id: String,
    instance_tenancy: String,
}

pub(crate) fn modify(cx: &mut Context<'_>, request: ModifyVpcTenancy) -> Result<Done, Ec2Error> {
    let vpc = find_mut(&mut cx.region.vpcs, &request.vpc_id)?;
    if request.instance_tenancy != "default" {
        let why = "A VPC's tenancy can be changed to default only.";
        return Err(Ec2Error::value("instanceTenancy", request.instance_tenancy, why));
    }
    vpc.dedicated = false;
    Ok(Done::new())
}
