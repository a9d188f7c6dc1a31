//! Internet gateways, and egress-only ones (IPv6).

use serde::{Deserialize, Serialize};

use super::region::{Resource, find, find_mut};
use super::route_table::refresh;
use super::route_table_routes::Target;
use super::select::{Field, describe_request, select, select_within};
use super::tags::{TagItem, TagMap, TagSpecification, requested};
use super::{ACCOUNT, Context, Region, address, quota};
use crate::api::Done;
use crate::api::error::Ec2Error;
use crate::effect::Effect;

/// An internet gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternetGateway {
    pub(crate) id: String,
    /// The VPC it is attached to.
    pub(crate) vpc: Option<String>,
}

impl Resource for InternetGateway {
    const NOT_FOUND: &'static str = "InvalidInternetGatewayID.NotFound";
    const NOUN: &'static str = "internetGateway ID";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Region {
    /// The internet gateway that is attached to the VPC.
    pub(crate) fn internet_gateway_of(&self, vpc: &str) -> Option<&InternetGateway> {
        self.internet_gateways.values().find(|gateway| gateway.vpc.as_deref() == Some(vpc))
    }
}

/// CreateInternetGateway.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateInternetGateway {
    #[serde(default, rename = "TagSpecification")]
    tag_specifications: Vec<TagSpecification>,
}

/// Answer of CreateInternetGateway.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedGateway {
    internet_gateway: GatewayItem,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GatewayItem {
    internet_gateway_id: String,
    owner_id: &'static str,
    attachment_set: Vec<AttachmentItem>,
    tag_set: Vec<TagItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AttachmentItem {
    vpc_id: String,
    state: &'static str,
}

fn gateway_item(region: &Region, gateway: &InternetGateway) -> GatewayItem {
    let attached = |vpc: &String| AttachmentItem { vpc_id: vpc.clone(), state: "available" };
    GatewayItem {
        internet_gateway_id: gateway.id.clone(),
        owner_id: ACCOUNT,
        attachment_set: gateway.vpc.iter().map(attached).collect(),
        tag_set: region.tag_items(&gateway.id),
    }
}

pub(crate) fn create(
    cx: &mut Context<'_>,
    request: CreateInternetGateway,
) -> Result<CreatedGateway, Ec2Error> {
    let tags = requested(&request.tag_specifications, &["internet-gateway"], "internet-gateway")?;
    let present = cx.region.internet_gateways.len();
    let quota = cx.quotas.internet_gateways;
    quota::room(present, quota, "InternetGatewayLimitExceeded", "internet gateways")?;
    let id = make(cx, tags);
    let internet_gateway = gateway_item(cx.region, &cx.region.internet_gateways[&id]);
    Ok(CreatedGateway { internet_gateway })
}

/// Makes a gateway that is attached to no VPC; cannot fail.
pub(crate) fn make(cx: &mut Context<'_>, tags: TagMap) -> String {
    let id = cx.mint.id("igw");
    let gateway = InternetGateway { id: id.clone(), vpc: None };
    cx.region.internet_gateways.insert(id.clone(), gateway);
    cx.region.set_tags(&id, tags);
    id
}

/// DeleteInternetGateway.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteInternetGateway {
    internet_gateway_id: String,
}

pub(crate) fn delete(
    cx: &mut Context<'_>,
    request: DeleteInternetGateway,
) -> Result<Done, Ec2Error> {
    let gateway = find(&cx.region.internet_gateways, &request.internet_gateway_id)?;
    if gateway.vpc.is_some() {
        let message =
            format!("The internetGateway '{}' has dependencies and cannot be deleted.", gateway.id);
        return Err(Ec2Error::new("DependencyViolation", message));
    }
    cx.region.internet_gateways.remove(&request.internet_gateway_id);
    cx.region.tags.remove(&request.internet_gateway_id);
    Ok(Done::new())
}

/// AttachInternetGateway and DetachInternetGateway.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct GatewayOfVpc {
    internet_gateway_id: String,
    vpc_id: String,
}

pub(crate) fn attach(cx: &mut Context<'_>, request: GatewayOfVpc) -> Result<Done, Ec2Error> {
    let region = &*cx.region;
    let gateway = find(&region.internet_gateways, &request.internet_gateway_id)?;
    let vpc = find(&region.vpcs, &request.vpc_id)?;
    if let Some(other) = &gateway.vpc {
        let message = format!("resource {} is already attached to network {other}", gateway.id);
        return Err(Ec2Error::new("Resource.AlreadyAssociated", message));
    }
    if region.internet_gateway_of(&vpc.id).is_some() {
        let message = format!("Network {} already has an internet gateway attached", vpc.id);
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    join(cx, &request.internet_gateway_id, &request.vpc_id);
    Ok(Done::new())
}

/// Attaches; both exist and are free.
pub(crate) fn join(cx: &mut Context<'_>, id: &str, vpc: &str) {
    let gateway = cx.region.internet_gateways.get_mut(id).expect("the gateway was checked");
    gateway.vpc = Some(vpc.to_owned());
    let key = cx.region.vpcs[vpc].key;
    cx.effects.push(Effect::PutInternetGateway { id: id.to_owned(), vpc: key });
    tell_tables(cx, id, vpc);
}

fn tell_tables(cx: &mut Context<'_>, id: &str, vpc: &str) {
    refresh(cx, vpc, |target| matches!(target, Target::InternetGateway(gateway) if gateway == id));
}

pub(crate) fn detach(cx: &mut Context<'_>, request: GatewayOfVpc) -> Result<Done, Ec2Error> {
    let GatewayOfVpc { internet_gateway_id: id, vpc_id: vpc } = &request;
    find(&cx.region.vpcs, vpc)?;
    if find(&cx.region.internet_gateways, id)?.vpc.as_ref() != Some(vpc) {
        let message = format!("resource {id} is not attached to network {vpc}");
        return Err(Ec2Error::new("Gateway.NotAttached", message));
    }
    if address::any_mapped(cx.region, vpc) {
        let message = format!(
            "Network {vpc} has some mapped public address(es). Please unmap those public \
             address(es) before detaching the gateway."
        );
        return Err(Ec2Error::new("DependencyViolation", message));
    }
    find_mut(&mut cx.region.internet_gateways, id)?.vpc = None;
    tell_tables(cx, id, vpc);
    let key = cx.region.vpcs[vpc].key;
    cx.effects.push(Effect::RemoveInternetGateway { id: id.clone(), vpc: key });
    Ok(Done::new())
}

describe_request!(DescribeInternetGateways, "InternetGatewayId");

/// Answer of DescribeInternetGateways.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GatewaySet {
    internet_gateway_set: Vec<GatewayItem>,
    next_token: Option<String>,
}

const FILTERS: &[Field<InternetGateway>] = &[
    ("internet-gateway-id", |_, g| vec![g.id.clone()]),
    ("attachment.vpc-id", |_, g| g.vpc.iter().cloned().collect()),
    ("attachment.state", |_, g| g.vpc.iter().map(|_| "available".into()).collect()),
    ("owner-id", |_, _| vec![ACCOUNT.into()]),
];

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeInternetGateways,
) -> Result<GatewaySet, Ec2Error> {
    let region = &*cx.region;
    let (page, next_token) =
        select(region, &region.internet_gateways, FILTERS, &request.selection())?;
    let internet_gateway_set = page.into_iter().map(|g| gateway_item(region, g)).collect();
    Ok(GatewaySet { internet_gateway_set, next_token })
}

/// An egress-only internet gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressGateway {
    pub(crate) id: String,
    pub(crate) vpc: String,
}

impl Resource for EgressGateway {
    const NOT_FOUND: &'static str = "InvalidEgressOnlyInternetGatewayId.NotFound";
    const NOUN: &'static str = "egressOnlyInternetGateway ID";

    fn id(&self) -> &str {
        &self.id
    }
}

/// CreateEgressOnlyInternetGateway.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateEgressOnlyInternetGateway {
    vpc_id: String,
    client_token: Option<String>,
    #[serde(default, rename = "TagSpecification")]
    tag_specifications: Vec<TagSpecification>,
}

/// Answer of CreateEgressOnlyInternetGateway.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedEgressGateway {
    egress_only_internet_gateway: EgressGatewayItem,
    client_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EgressGatewayItem {
    egress_only_internet_gateway_id: String,
    attachment_set: Vec<AttachmentItem>,
    tag_set: Vec<TagItem>,
}

fn egress_item(region: &Region, gateway: &EgressGateway) -> EgressGatewayItem {
    EgressGatewayItem {
        egress_only_internet_gateway_id: gateway.id.clone(),
        attachment_set: vec![AttachmentItem { vpc_id: gateway.vpc.clone(), state: "attached" }],
        tag_set: region.tag_items(&gateway.id),
    }
}

pub(crate) fn create_egress(
    cx: &mut Context<'_>,
    request: CreateEgressOnlyInternetGateway,
) -> Result<CreatedEgressGateway, Ec2Error> {
    let vpc = find(&cx.region.vpcs, &request.vpc_id)?;
    let (vpc, key) = (vpc.id.clone(), vpc.key);
    let kind = "egress-only-internet-gateway";
    let tags = requested(&request.tag_specifications, &[kind], kind)?;
    let id = cx.mint.id("eigw");
    cx.region.set_tags(&id, tags);
    let gateway = EgressGateway { id: id.clone(), vpc };
    let egress_only_internet_gateway = egress_item(cx.region, &gateway);
    cx.effects.push(Effect::PutEgressGateway { id: id.clone(), vpc: key });
    cx.region.egress_gateways.insert(id, gateway);
    Ok(CreatedEgressGateway { egress_only_internet_gateway, client_token: request.client_token })
}

/// DeleteEgressOnlyInternetGateway.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteEgressOnlyInternetGateway {
    egress_only_internet_gateway_id: String,
}

/// Answer of DeleteEgressOnlyInternetGateway.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReturnCode {
    return_code: bool,
}

pub(crate) fn delete_egress(
    cx: &mut Context<'_>,
    request: DeleteEgressOnlyInternetGateway,
) -> Result<ReturnCode, Ec2Error> {
    let id = &request.egress_only_internet_gateway_id;
    let vpc = find(&cx.region.egress_gateways, id)?.vpc.clone();
    cx.region.egress_gateways.remove(id);
    cx.region.tags.remove(id);
    refresh(cx, &vpc, |target| matches!(target, Target::EgressGateway(gone) if gone == id));
    let key = cx.region.vpcs[&vpc].key;
    cx.effects.push(Effect::RemoveEgressGateway { id: id.clone(), vpc: key });
    Ok(ReturnCode { return_code: true })
}

describe_request!(DescribeEgressOnlyInternetGateways, "EgressOnlyInternetGatewayId");

/// Answer of DescribeEgressOnlyInternetGateways.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EgressGatewaySet {
    egress_only_internet_gateway_set: Vec<EgressGatewayItem>,
    next_token: Option<String>,
}

pub(crate) fn describe_egress(
    cx: &mut Context<'_>,
    request: DescribeEgressOnlyInternetGateways,
) -> Result<EgressGatewaySet, Ec2Error> {
    let region = &*cx.region;
    // Tags are the only documented filters.
    let (page, next_token) =
        select_within(region, &region.egress_gateways, &[], &request.selection(), 5..=255)?;
    let items = page.into_iter().map(|g| egress_item(region, g)).collect();
    Ok(EgressGatewaySet { egress_only_internet_gateway_set: items, next_token })
}
