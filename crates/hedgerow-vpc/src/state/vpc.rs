//! VPCs.

use hedgerow_core::sg::Ipv4Prefix;
use serde::{Deserialize, Serialize};

use super::group::{self, SecurityGroup};
use super::region::{Resource, find, find_mut};
use super::select::{Field, describe_request, select};
use super::tags::{TagItem, TagMap, TagSpecification, requested};
use super::unsupported::Given;
use super::vpc_block::SecondaryBlock;
use super::vpc_ipv6::{Ipv6Block, Ipv6Wish, POOL_NAME, VpcIpv6Item};
use super::{ACCOUNT, Context, Region, group_vpc, network_acl, quota, route_table, vpc_block};
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
    /// Blocks that were added later.
    pub(crate) secondary: Vec<SecondaryBlock>,
    #[serde(default)]
    pub(crate) ipv6: Vec<Ipv6Block>,
    /// Whether EC2 would run its instances on hardware of their own.
    pub(crate) dedicated: bool,
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
    /// All IPv4 blocks, the first one first.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Ipv4Prefix> {
        [self.block].into_iter().chain(self.secondary.iter().map(|secondary| secondary.block))
    }

    /// Association ids and blocks, in the same order.
    fn associations(&self) -> impl Iterator<Item = (&String, Ipv4Prefix)> {
        let secondary = self.secondary.iter().map(|s| (&s.association, s.block));
        [(&self.block_association, self.block)].into_iter().chain(secondary)
    }

    /// The ids of the associations of all its blocks.
    pub(crate) fn association_ids(&self) -> impl Iterator<Item = &String> {
        self.associations().map(|(id, _)| id).chain(self.ipv6.iter().map(|own| &own.association))
    }

    /// The instances' tenancy.
    pub(crate) fn tenancy(&self) -> &'static str {
        if self.dedicated { "dedicated" } else { "default" }
    }

    /// The VPC as the fabric needs it.
    pub(crate) fn view(&self) -> VpcView {
        VpcView {
            key: self.key,
            id: self.id.clone(),
            blocks: self.blocks().collect(),
            blocks_v6: self.ipv6.iter().map(|own| own.block).collect(),
        }
    }
}

/// CreateVpc.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateVpc {
    cidr_block: String,
    instance_tenancy: Option<String>,
    amazon_provided_ipv6_cidr_block: Option<bool>,
    ipv6_cidr_block_network_border_group: Option<String>,
    ipv6_cidr_block: Given,
    ipv6_pool: Given,
    ipv6_ipam_pool_id: Given,
    ipv6_netmask_length: Given,
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
    ipv6_cidr_block_association_set: Vec<VpcIpv6Item>,
    dhcp_options_id: &'static str,
    instance_tenancy: &'static str,
    is_default: bool,
    tag_set: Vec<TagItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BlockAssociation {
    association_id: String,
    cidr_block: String,
    cidr_block_state: BlockState,
}

/// How far an association of a block has come, in answers.
#[derive(Debug, Serialize)]
pub(crate) struct BlockState {
    pub state: &'static str,
}

impl BlockAssociation {
    /// The association of a block, in a state.
    pub fn new(id: &str, block: Ipv4Prefix, state: &'static str) -> Self {
        BlockAssociation {
            association_id: id.to_owned(),
            cidr_block: block.to_string(),
            cidr_block_state: BlockState { state },
        }
    }
}

impl VpcAnswer {
    /// The VPC with this id.
    pub fn new(region: &Region, id: &str) -> Self {
        VpcAnswer { vpc: region.vpc_item(&region.vpcs[id]) }
    }
}

impl Region {
    fn vpc_item(&self, vpc: &Vpc) -> VpcItem {
        VpcItem {
            vpc_id: vpc.id.clone(),
            owner_id: ACCOUNT,
            state: "available",
            cidr_block: vpc.block.to_string(),
            cidr_block_association_set: vpc
                .associations()
                .map(|(id, block)| BlockAssociation::new(id, block, "associated"))
                .collect(),
            ipv6_cidr_block_association_set: vpc
                .ipv6
                .iter()
                .map(|own| self.vpc_ipv6_item(own, "associated"))
                .collect(),
            dhcp_options_id: "default",
            instance_tenancy: vpc.tenancy(),
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
    let dedicated = match request.instance_tenancy.as_deref() {
        None | Some("default") => false,
        Some("dedicated") => true,
        Some(other) => {
            return Err(Ec2Error::value("instanceTenancy", other, "It is default or dedicated."));
        }
    };
    let wish = Ipv6Wish::new(
        request.amazon_provided_ipv6_cidr_block,
        request.ipv6_cidr_block_network_border_group,
        [
            &request.ipv6_cidr_block,
            &request.ipv6_pool,
            &request.ipv6_ipam_pool_id,
            &request.ipv6_netmask_length,
        ],
    );
    let with_ipv6 = wish.checked(cx.region)?;
    let tags = requested(&request.tag_specifications, &["vpc"], "vpc")?;
    check_room(cx)?;
    let id = make(cx, block, false, tags);
    if with_ipv6 {
        vpc_block::add_ipv6(cx, &id);
    }
    cx.region.vpcs.get_mut(&id).expect("just made").dedicated = dedicated;
    Ok(VpcAnswer::new(cx.region, &id))
}

/// `VpcLimitExceeded` unless the region may have one more VPC.
pub(crate) fn check_room(cx: &Context<'_>) -> Result<(), Ec2Error> {
    quota::room(cx.region.vpcs.len(), cx.quotas.vpcs, "VpcLimitExceeded", "VPCs")
}

/// Makes a VPC with its main route table, default ACL and default group; cannot fail.
pub(crate) fn make(
    cx: &mut Context<'_>,
    block: Ipv4Prefix,
    is_default: bool,
    tags: TagMap,
) -> String {
    let vpc = Vpc {
        id: cx.mint.id("vpc"),
        key: cx.mint.key(),
        block,
        block_association: cx.mint.id("vpc-cidr-assoc"),
        secondary: Vec::new(),
        ipv6: Vec::new(),
        dedicated: false,
        is_default,
        dns_support: true,
        dns_hostnames: is_default,
        address_metrics: false,
    };
    let id = vpc.id.clone();
    cx.effects.push(Effect::PutVpc(vpc.view()));
    cx.region.set_tags(&id, tags);
    cx.region.vpcs.insert(id.clone(), vpc);
    route_table::make_main(cx, &id);
    network_acl::make_default(cx, &id);
    group::make_default(cx, &id);
    id
}

describe_request!(DescribeVpcs, "VpcId");

/// Answer of DescribeVpcs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VpcSet {
    vpc_set: Vec<VpcItem>,
    next_token: Option<String>,
}

fn of_ipv6(vpc: &Vpc, read: fn(&Ipv6Block) -> String) -> Vec<String> {
    vpc.ipv6.iter().map(read).collect()
}

const FILTERS: &[Field<Vpc>] = &[
    ("vpc-id", |_, v| vec![v.id.clone()]),
    ("cidr", |_, v| vec![v.block.to_string()]),
    ("cidr-block-association.cidr-block", |_, v| v.blocks().map(|b| b.to_string()).collect()),
    ("cidr-block-association.association-id", |_, v| {
        v.associations().map(|(id, _)| id.clone()).collect()
    }),
    ("cidr-block-association.state", |_, _| vec!["associated".into()]),
    ("is-default", |_, v| vec![v.is_default.to_string()]),
    ("isDefault", |_, v| vec![v.is_default.to_string()]),
    ("owner-id", |_, _| vec![ACCOUNT.into()]),
    ("state", |_, _| vec!["available".into()]),
    ("dhcp-options-id", |_, _| vec!["default".into()]),
    ("instance-tenancy", |_, v| vec![v.tenancy().into()]),
    ("ipv6-cidr-block-association.ipv6-cidr-block", |_, v| of_ipv6(v, |own| own.block.to_string())),
    ("ipv6-cidr-block-association.ipv6-pool", |_, v| of_ipv6(v, |_| POOL_NAME.into())),
    ("ipv6-cidr-block-association.association-id", |_, v| {
        of_ipv6(v, |own| own.association.clone())
    }),
    ("ipv6-cidr-block-association.state", |_, v| of_ipv6(v, |_| "associated".into())),
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
        || cx.region.groups.values().any(|group| group.vpc == id && !group.is_default())
        || cx.region.internet_gateway_of(&id).is_some()
        || cx.region.egress_gateways.values().any(|gateway| gateway.vpc == id)
        || cx.region.route_tables.values().any(|table| table.vpc == id && !table.is_main())
        || cx.region.network_acls.values().any(|acl| acl.vpc == id && !acl.is_default);
    if in_use {
        let message = format!("The vpc '{id}' has dependencies and cannot be deleted.");
        return Err(Ec2Error::new("DependencyViolation", message));
    }
    group_vpc::forget_vpc(cx, &id);
    let group = cx.region.default_group(&id).id.clone();
    group::remove(cx, &group);
    let table = cx.region.route_table_of(&id, "").id.clone();
    route_table::remove(cx, &table);
    let acl = cx.region.default_acl(&id).id.clone();
    network_acl::remove(cx, &acl);
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
