//! NAT gateways. Making one succeeds or fails at once; EC2 takes a minute or two.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::interface::{self, Kind, NewInterface};
use super::region::{Region, Resource, find};
use super::route_table::refresh;
use super::route_table_routes::Target;
use super::select::{Field, describe_request, select};
use super::tags::{TagItem, TagSpecification, requested};
use super::time::Timestamp;
use super::{Context, address};
use crate::api::error::Ec2Error;
use crate::effect::Effect;

/// Who manages a gateway's interface.
const REQUESTER: &str = "amazon-aws";
/// How long a deleted or failed gateway stays visible ("about an hour", VPC User Guide).
const GONE_VISIBLE_SECONDS: u64 = 3_600;

/// A NAT gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatGateway {
    pub(crate) id: String,
    /// Number in the fabric.
    pub(crate) key: u32,
    pub(crate) vpc: String,
    pub(crate) subnet: String,
    /// Absent once deleted, or where making the gateway failed.
    pub(crate) interface: Option<String>,
    /// What it has, or had.
    pub(crate) private: Option<Ipv4Addr>,
    /// Set for a public gateway.
    pub(crate) elastic: Option<Elastic>,
    pub(crate) created: Timestamp,
    pub(crate) failure: Option<Failure>,
    /// When it was deleted.
    pub(crate) deleted: Option<Timestamp>,
}

/// The elastic address of a public gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Elastic {
    pub allocation: String,
    pub public: Ipv4Addr,
    /// Absent where the association failed.
    pub association: Option<String>,
}

/// Why a gateway could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub code: String,
    pub message: String,
}

impl Resource for NatGateway {
    const NOT_FOUND: &'static str = "NatGatewayNotFound";
    const NOUN: &'static str = "NatGateway";

    fn id(&self) -> &str {
        &self.id
    }
}

impl NatGateway {
    /// Whether it takes packets.
    pub(crate) fn is_available(&self) -> bool {
        self.interface.is_some()
    }

    fn state(&self) -> &'static str {
        match (&self.deleted, &self.failure) {
            (Some(_), _) => "deleted",
            (None, Some(_)) => "failed",
            (None, None) => "available",
        }
    }

    /// Whether it went so long ago that nobody is told of it any more.
    fn is_forgotten(&self, now: Timestamp) -> bool {
        let gone = self.deleted.or(self.failure.as_ref().map(|_| self.created));
        gone.is_some_and(|gone| now.since(gone) > GONE_VISIBLE_SECONDS)
    }
}

impl Region {
    /// Drops gateways that went long ago.
    pub(crate) fn forget_nat_gateways(&mut self, now: Timestamp) {
        let Region { nat_gateways, tags, .. } = self;
        nat_gateways.retain(|id, gateway| {
            let kept = !gateway.is_forgotten(now);
            if !kept {
                tags.remove(id);
            }
            kept
        });
    }
}

/// `NatGatewayNotFound`, whose message is worded unlike that of other kinds.
fn named<'r>(region: &'r Region, id: &str) -> Result<&'r NatGateway, Ec2Error> {
    region.nat_gateways.get(id).ok_or_else(|| {
        Ec2Error::new(NatGateway::NOT_FOUND, format!("NatGateway {id} was not found"))
    })
}

/// CreateNatGateway.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateNatGateway {
    subnet_id: String,
    allocation_id: Option<String>,
    connectivity_type: Option<String>,
    private_ip_address: Option<Ipv4Addr>,
    client_token: Option<String>,
    #[serde(default, rename = "TagSpecification")]
    tag_specifications: Vec<TagSpecification>,
}

/// Answer of CreateNatGateway.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedNatGateway {
    nat_gateway: NatGatewayItem,
    client_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NatGatewayItem {
    nat_gateway_id: String,
    vpc_id: String,
    subnet_id: String,
    state: &'static str,
    connectivity_type: &'static str,
    create_time: Timestamp,
    delete_time: Option<Timestamp>,
    failure_code: Option<String>,
    failure_message: Option<String>,
    nat_gateway_address_set: Vec<GatewayAddressItem>,
    tag_set: Vec<TagItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GatewayAddressItem {
    allocation_id: Option<String>,
    association_id: Option<String>,
    network_interface_id: Option<String>,
    private_ip: Option<String>,
    public_ip: Option<String>,
    is_primary: bool,
    status: &'static str,
}

fn gateway_item(region: &Region, gateway: &NatGateway) -> NatGatewayItem {
    let elastic = gateway.elastic.as_ref();
    let failure = gateway.failure.as_ref();
    let address = GatewayAddressItem {
        allocation_id: elastic.map(|e| e.allocation.clone()),
        association_id: elastic.and_then(|e| e.association.clone()),
        network_interface_id: gateway.interface.clone(),
        private_ip: gateway.private.map(|address| address.to_string()),
        public_ip: elastic.map(|e| e.public.to_string()),
        is_primary: true,
        status: if failure.is_some() { "failed" } else { "succeeded" },
    };
    NatGatewayItem {
        nat_gateway_id: gateway.id.clone(),
        vpc_id: gateway.vpc.clone(),
        subnet_id: gateway.subnet.clone(),
        state: gateway.state(),
        connectivity_type: if elastic.is_some() { "public" } else { "private" },
        create_time: gateway.created,
        delete_time: gateway.deleted,
        failure_code: failure.map(|f| f.code.clone()),
        failure_message: failure.map(|f| f.message.clone()),
        nat_gateway_address_set: vec![address],
        tag_set: region.tag_items(&gateway.id),
    }
}

pub(crate) fn create(
    cx: &mut Context<'_>,
    request: CreateNatGateway,
) -> Result<CreatedNatGateway, Ec2Error> {
    let region = &*cx.region;
    let subnet = find(&region.subnets, &request.subnet_id)?;
    let elastic = wanted_elastic(region, &request)?;
    if let Some(private) = request.private_ip_address {
        subnet.check_free(private)?;
    }
    subnet.check_room(1)?;
    let tags = requested(&request.tag_specifications, &["natgateway"], "natgateway")?;
    let failure = elastic.as_ref().and_then(|e| why_not(region, &subnet.vpc, &e.allocation));
    let gateway = NatGateway {
        id: cx.mint.id("nat"),
        key: cx.mint.key(),
        vpc: subnet.vpc.clone(),
        subnet: subnet.id.clone(),
        interface: None,
        private: None,
        elastic,
        created: cx.now,
        failure,
        deleted: None,
    };
    let id = gateway.id.clone();
    let works = gateway.failure.is_none();
    cx.region.nat_gateways.insert(id.clone(), gateway);
    cx.region.set_tags(&id, tags);
    if works {
        set_up(cx, &id, request.private_ip_address);
    }
    let nat_gateway = gateway_item(cx.region, &cx.region.nat_gateways[&id]);
    Ok(CreatedNatGateway { nat_gateway, client_token: request.client_token })
}

/// The elastic address of a public gateway; none for a private one.
fn wanted_elastic(
    region: &Region,
    request: &CreateNatGateway,
) -> Result<Option<Elastic>, Ec2Error> {
    match (request.connectivity_type.as_deref(), &request.allocation_id) {
        (None | Some("public"), Some(id)) => {
            let address = find(&region.addresses, id)?;
            let public = address.public;
            Ok(Some(Elastic { allocation: id.clone(), public, association: None }))
        }
        (None | Some("public"), None) => {
            let message = "The request must include the AllocationId parameter. Add the required \
                           parameter and retry the request.";
            Err(Ec2Error::new("MissingParameter", message))
        }
        (Some("private"), None) => Ok(None),
        (Some("private"), Some(_)) => {
            let message = "The parameter AllocationId cannot be used with a private NAT gateway";
            Err(Ec2Error::new("InvalidParameterCombination", message))
        }
        (Some(other), _) => {
            Err(Ec2Error::value("connectivityType", other, "It is public or private."))
        }
    }
}

/// Why a public gateway with this address would not work. Such a gateway is made and then fails
/// ("Troubleshoot NAT gateways", VPC User Guide).
fn why_not(region: &Region, vpc: &str, allocation: &str) -> Option<Failure> {
    if region.internet_gateway_of(vpc).is_none() {
        return Some(Failure {
            code: "Gateway.NotAttached".into(),
            message: format!("Network {vpc} has no Internet gateway attached"),
        });
    }
    region.addresses[allocation].association.as_ref().map(|_| Failure {
        code: "Resource.AlreadyAssociated".into(),
        message: format!("Elastic IP address [{allocation}] is already associated"),
    })
}

/// Makes the gateway's interface, gives it the elastic address, and tells the fabric.
fn set_up(cx: &mut Context<'_>, id: &str, private: Option<Ipv4Addr>) {
    let gateway = &cx.region.nat_gateways[id];
    let (key, vpc) = (gateway.key, gateway.vpc.clone());
    let new = NewInterface {
        primary: private,
        description: format!("Interface for NAT Gateway {id}"),
        kind: Kind::NatGateway,
        requester: Some(REQUESTER.into()),
        ..NewInterface::in_subnet(gateway.subnet.clone(), Vec::new())
    };
    let eni = interface::make(cx, new);
    let record = cx.region.interfaces.get_mut(&eni).expect("just made");
    record.source_dest_check = false;
    let (number, address) = (record.key, record.primary());
    let allocation = cx.region.nat_gateways[id].elastic.as_ref().map(|e| e.allocation.clone());
    let association = allocation.map(|allocation| address::join(cx, &allocation, &eni, address));
    let gateway = cx.region.nat_gateways.get_mut(id).expect("the caller made it");
    gateway.interface = Some(eni.clone());
    gateway.private = Some(address);
    let mut public = None;
    if let Some(elastic) = &mut gateway.elastic {
        elastic.association = association;
        public = Some(elastic.public);
    }
    let vpc = cx.region.vpcs[&vpc].key;
    cx.effects.push(cx.region.put_interface(&eni));
    cx.effects.push(Effect::PutNatGateway { key, vpc, interface: number, public });
}

/// DeleteNatGateway.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteNatGateway {
    nat_gateway_id: String,
}

/// Answer of DeleteNatGateway.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeletedNatGateway {
    nat_gateway_id: String,
}

pub(crate) fn delete(
    cx: &mut Context<'_>,
    request: DeleteNatGateway,
) -> Result<DeletedNatGateway, Ec2Error> {
    let id = request.nat_gateway_id;
    let gateway = named(cx.region, &id)?;
    let (key, vpc) = (gateway.key, gateway.vpc.clone());
    let now = cx.now;
    let gateway = cx.region.nat_gateways.get_mut(&id).expect("found above");
    gateway.deleted.get_or_insert(now);
    if let Some(eni) = gateway.interface.take() {
        // Routes first: none may lead to a gateway that is gone.
        refresh(cx, &vpc, |target| matches!(target, Target::NatGateway(nat) if *nat == id));
        cx.effects.push(Effect::RemoveNatGateway { key });
        interface::remove(cx, &eni);
    }
    Ok(DeletedNatGateway { nat_gateway_id: id })
}

describe_request!(DescribeNatGateways, "NatGatewayId");

/// Answer of DescribeNatGateways.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NatGatewaySet {
    nat_gateway_set: Vec<NatGatewayItem>,
    next_token: Option<String>,
}

const FILTERS: &[Field<NatGateway>] = &[
    ("nat-gateway-id", |_, g| vec![g.id.clone()]),
    ("state", |_, g| vec![g.state().into()]),
    ("subnet-id", |_, g| vec![g.subnet.clone()]),
    ("vpc-id", |_, g| vec![g.vpc.clone()]),
];

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeNatGateways,
) -> Result<NatGatewaySet, Ec2Error> {
    let region = &*cx.region;
    for id in &request.ids {
        named(region, id)?;
    }
    let (page, next_token) = select(region, &region.nat_gateways, FILTERS, &request.selection())?;
    let nat_gateway_set = page.into_iter().map(|g| gateway_item(region, g)).collect();
    Ok(NatGatewaySet { nat_gateway_set, next_token })
}
