//! VPCs.

use hedgerow_core::sg::Ipv4Prefix;
use serde::{Deserialize, Serialize};

use super::group::{self, SecurityGroup};
use super::region::{Resource, find, find_mut};
use super::select::{Field, describe_request, select};
use super::tags::{TagItem, TagMap, TagSpecification, requested};
use super::{ACCOUNT, Context, Region, catalog, subnet};
use crate::api::Done;
use crate::api::error::Ec2Error;
use crate::effect::{Effect, VpcView};

/// A VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    pub(crate) id: String,
    /// Number in the fabric.
    pub(crate) key: u32,
    pub(crate) block: Ipv4Prefix,
    pub(crate) block_association: String,
    pub(crate) is_default: bool,
    pub(crate) dns_support: bool,
    pub(crate) dns_hostnames: bool,
    pub(crate) address_metrics: bool,
}

impl Resource for Vpc {
    const NOT_FOUND: &'static str = "InvalidVpcID.NotFound";
    const NOUN: &'static str = "vpc ID";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Vpc {
    /// The VPC as the fabric needs it.
    pub(crate) fn view(&self) -> VpcView {
        VpcView { key: self.key, id: self.id.clone(), blocks: vec![self.block] }
    }
}

/// CreateVpc.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateVpc {
    cidr_block: String,
    instance_tenancy: Option<String>,
    #[serde(default, rename = "TagSpecification")]
    tag_specifications: Vec<TagSpecification>,
}

/// Answer of CreateVpc.
#[derive(Debug, Serialize)]
pub(crate) struct VpcAnswer {
    vpc: VpcItem,
}

/// A VPC in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VpcItem {
    vpc_id: String,
    owner_id: &'static str,
    state: &'static str,
    cidr_block: String,
    cidr_block_association_set: Vec<BlockAssociation>,
    dhcp_options_id: &'static str,
    instance_tenancy: &'static str,
    is_default: bool,
    tag_set: Vec<TagItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockAssociation {
    association_id: String,
    cidr_block: String,
    cidr_block_state: BlockState,
}

#[derive(Debug, Serialize)]
struct BlockState {
    state: &'static str,
}

impl Region {
    fn vpc_item(&self, vpc: &Vpc) -> VpcItem {
        VpcItem {
            vpc_id: vpc.id.clone(),
            owner_id: ACCOUNT,
            state: "available",
            cidr_block: vpc.block.to_string(),
            cidr_block_association_set: vec![BlockAssociation {
                association_id: vpc.block_association.clone(),
                cidr_block: vpc.block.to_string(),
                cidr_block_state: BlockState { state: "associated" },
            }],
            dhcp_options_id: "default",
            instance_tenancy: "default",
            is_default: vpc.is_default,
            tag_set: self.tag_items(&vpc.id),
        }
    }
}

/// A block as CreateVpc and CreateSubnet take it, /16 to /28.
///
/// # Errors
/// `InvalidParameterValue` where it is no prefix, `out_of_range` where it is too large or small.
pub(crate) fn parse_block(text: &str, out_of_range: &'static str) -> Result<Ipv4Prefix, Ec2Error> {
    let block: Ipv4Prefix = text
        .parse()
        .map_err(|_| Ec2Error::value("cidrBlock", text, "This is not a valid CIDR block."))?;
    if !(16..=28).contains(&block.len) {
        return Err(Ec2Error::new(out_of_range, format!("The CIDR '{text}' is invalid.")));
    }
    Ok(block)
}

pub(crate) fn create(cx: &mut Context<'_>, request: CreateVpc) -> Result<VpcAnswer, Ec2Error> {
    let block = parse_block(&request.cidr_block, "InvalidVpc.Range")?;
    if let Some(tenancy) = request.instance_tenancy.filter(|t| t != "default") {
        let why = "Instances here have the tenancy 'default' only.";
        return Err(Ec2Error::value("instanceTenancy", tenancy, why));
    }
    let tags = requested(&request.tag_specifications, &["vpc"], "vpc")?;
    let id = make(cx, block, false, tags);
    Ok(VpcAnswer { vpc: cx.region.vpc_item(&cx.region.vpcs[&id]) })
}

/// Makes a VPC with its default group; cannot fail.
fn make(cx: &mut Context<'_>, block: Ipv4Prefix, is_default: bool, tags: TagMap) -> String {
    let vpc = Vpc {
        id: cx.mint.id("vpc"),
        key: cx.mint.key(),
        block,
        block_association: cx.mint.id("vpc-cidr-assoc"),
        is_default,
        dns_support: true,
        dns_hostnames: is_default,
        address_metrics: false,
    };
    let id = vpc.id.clone();
    cx.effects.push(Effect::PutVpc(vpc.view()));
    cx.region.set_tags(&id, tags);
    cx.region.vpcs.insert(id.clone(), vpc);
    group::make_default(cx, &id);
    id
}

/// Makes the region's default VPC: 172.31.0.0/16 with a /20 subnet in each zone.
pub(crate) fn create_default(cx: &mut Context<'_>) {
    let block = Ipv4Prefix::new([172, 31, 0, 0].into(), 16);
    let vpc = make(cx, block, true, TagMap::new());
    for (zone, offset) in catalog::zones(&cx.region.name).into_iter().zip((0..).step_by(1 << 12)) {
        subnet::make(cx, &vpc, Ipv4Prefix::new(block.nth(offset), 20), zone, true, TagMap::new());
    }
}

describe_request!(DescribeVpcs, "VpcId");

/// Answer of DescribeVpcs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VpcSet {
    vpc_set: Vec<VpcItem>,
    next_token: Option<String>,
}

const FILTERS: &[Field<Vpc>] = &[
    ("vpc-id", |_, v| vec![v.id.clone()]),
    ("cidr", |_, v| vec![v.block.to_string()]),
    ("cidr-block-association.cidr-block", |_, v| vec![v.block.to_string()]),
    ("cidr-block-association.association-id", |_, v| vec![v.block_association.clone()]),
    ("cidr-block-association.state", |_, _| vec!["associated".into()]),
    ("is-default", |_, v| vec![v.is_default.to_string()]),
    ("isDefault", |_, v| vec![v.is_default.to_string()]),
    ("owner-id", |_, _| vec![ACCOUNT.into()]),
    ("state", |_, _| vec!["available".into()]),
];

pub(crate) fn describe(cx: &mut Context<'_>, request: DescribeVpcs) -> Result<VpcSet, Ec2Error> {
    let region = &*cx.region;
    let (vpcs, next_token) = select(region, &region.vpcs, FILTERS, &request.selection())?;
    Ok(VpcSet { vpc_set: vpcs.into_iter().map(|v| region.vpc_item(v)).collect(), next_token })
}

/// DeleteVpc.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteVpc {
    vpc_id: String,
}

pub(crate) fn delete(cx: &mut Context<'_>, request: DeleteVpc) -> Result<Done, Ec2Error> {
    let id = request.vpc_id;
    let key = find(&cx.region.vpcs, &id)?.key;
    let in_use = cx.region.subnets.values().any(|subnet| subnet.vpc == id)
        || cx.region.groups.values().any(|group| group.vpc == id && !group.is_default());
    if in_use {
        let message = format!("The vpc '{id}' has dependencies and cannot be deleted.");
        return Err(Ec2Error::new("DependencyViolation", message));
    }
    let group = cx.region.default_group(&id).id.clone();
    group::remove(cx, &group);
    cx.region.vpcs.remove(&id);
    cx.region.tags.remove(&id);
    cx.effects.push(Effect::RemoveVpc(key));
    Ok(Done::new())
}

/// A boolean attribute in requests: `Name.Value=true`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Flag {
    pub value: bool,
}

/// A boolean attribute in answers.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct FlagItem {
    pub value: bool,
}

/// ModifyVpcAttribute.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ModifyVpcAttribute {
    vpc_id: String,
    enable_dns_support: Option<Flag>,
    enable_dns_hostnames: Option<Flag>,
    enable_network_address_usage_metrics: Option<Flag>,
}

pub(crate) fn modify(cx: &mut Context<'_>, request: ModifyVpcAttribute) -> Result<Done, Ec2Error> {
    let vpc = find_mut(&mut cx.region.vpcs, &request.vpc_id)?;
    let set = |field: &mut bool, flag: Option<Flag>| {
        if let Some(flag) = flag {
            *field = flag.value;
        }
    };
    set(&mut vpc.dns_support, request.enable_dns_support);
    set(&mut vpc.dns_hostnames, request.enable_dns_hostnames);
    set(&mut vpc.address_metrics, request.enable_network_address_usage_metrics);
    Ok(Done::new())
}

/// DescribeVpcAttribute.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeVpcAttribute {
    vpc_id: String,
    attribute: String,
}

/// Answer of DescribeVpcAttribute.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VpcAttribute {
    vpc_id: String,
    enable_dns_support: Option<FlagItem>,
    enable_dns_hostnames: Option<FlagItem>,
    enable_network_address_usage_metrics: Option<FlagItem>,
}

pub(crate) fn describe_attribute(
    cx: &mut Context<'_>,
    request: DescribeVpcAttribute,
) -> Result<VpcAttribute, Ec2Error> {
    let vpc = find(&cx.region.vpcs, &request.vpc_id)?;
    let mut answer = VpcAttribute {
        vpc_id: vpc.id.clone(),
        enable_dns_support: None,
        enable_dns_hostnames: None,
        enable_network_address_usage_metrics: None,
    };
    let (field, value) = match request.attribute.as_str() {
        "enableDnsSupport" => (&mut answer.enable_dns_support, vpc.dns_support),
        "enableDnsHostnames" => (&mut answer.enable_dns_hostnames, vpc.dns_hostnames),
        "enableNetworkAddressUsageMetrics" => {
            (&mut answer.enable_network_address_usage_metrics, vpc.address_metrics)
        }
        other => {
            return Err(Ec2Error::value("attribute", other, "No VPC attribute has this name."));
        }
    };
    *field = Some(FlagItem { value });
    Ok(answer)
}

/// The VPC named in a request, or the default one.
///
/// # Errors
/// `InvalidVpcID.NotFound`; `VPCIdNotSpecified` where none is named and there is no default.
pub(crate) fn named_or_default<'r>(
    region: &'r Region,
    id: Option<&str>,
) -> Result<&'r Vpc, Ec2Error> {
    match id {
        Some(id) => find(&region.vpcs, id),
        None => region
            .default_vpc()
            .ok_or_else(|| Ec2Error::new("VPCIdNotSpecified", "No default VPC for this user")),
    }
}

impl Region {
    /// The VPC's group of this name.
    pub(crate) fn group_in(&self, vpc: &str, name: &str) -> Option<&SecurityGroup> {
        self.groups.values().find(|group| group.vpc == vpc && group.name == name)
    }
}
