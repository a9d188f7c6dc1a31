//! NAT gateways. Making one succeeds or fails at once; EC2 takes a minute or two.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::Context;
use super::interface;
use super::region::{Region, Resource};
use super::route_table::refresh;
use super::route_table_routes::Target;
use super::select::{Field, describe_request, select};
use super::tags::TagItem;
use super::time::Timestamp;
use crate::api::error::Ec2Error;
use crate::effect::Effect;

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
    /// Whether it has elastic addresses, one for each private one.
    pub(crate) public: bool,
    /// What it has, or had; the primary one first.
    pub(crate) addresses: Vec<GatewayAddress>,
    pub(crate) created: Timestamp,
    pub(crate) failure: Option<Failure>,
    /// When it was deleted.
    pub(crate) deleted: Option<Timestamp>,
}

/// A private address of a gateway, and the elastic one that stands for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GatewayAddress {
    /// Absent where making the gateway failed.
    pub private: Option<Ipv4Addr>,
    /// Set for a public gateway.
    pub elastic: Option<Elastic>,
    /// Until when it serves the flows that it has; set once it gets no new ones.
    pub drains: Option<Timestamp>,
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
    /// The effect that tells the fabric of the gateway as it is now; it has an interface.
    pub(crate) fn put(&self, region: &Region) -> Effect {
        let privates = |draining: bool| {
            let own = self.addresses.iter().filter(|a| a.drains.is_some() == draining);
            own.filter_map(|a| a.private).collect()
        };
        let interface = self.interface.as_ref().expect("the caller knows that it works");
        Effect::PutNatGateway {
            key: self.key,
            vpc: region.vpcs[&self.vpc].key,
            interface: region.interfaces[interface].key,
            addresses: privates(false),
            draining: privates(true),
        }
    }

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
pub(crate) fn named<'r>(region: &'r Region, id: &str) -> Result<&'r NatGateway, Ec2Error> {
    region.nat_gateways.get(id).ok_or_else(|| {
        Ec2Error::new(NatGateway::NOT_FOUND, format!("NatGateway {id} was not found"))
    })
}

/// A gateway in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NatGatewayItem {
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

/// One of a gateway's addresses in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GatewayAddressItem {
    allocation_id: Option<String>,
    association_id: Option<String>,
    network_interface_id: Option<String>,
    private_ip: Option<String>,
    public_ip: Option<String>,
    is_primary: bool,
    status: &'static str,
}

impl NatGateway {
    /// The addresses that `chosen` names by their places, for an answer.
    pub(crate) fn address_items(&self, chosen: impl Fn(usize) -> bool) -> Vec<GatewayAddressItem> {
        let places = self.addresses.iter().enumerate().filter(|(place, _)| chosen(*place));
        places.map(|(place, address)| self.address_item(place, address)).collect()
    }

    fn address_item(&self, place: usize, address: &GatewayAddress) -> GatewayAddressItem {
        let elastic = address.elastic.as_ref();
        GatewayAddressItem {
            allocation_id: elastic.map(|e| e.allocation.clone()),
            association_id: elastic.and_then(|e| e.association.clone()),
            network_interface_id: self.interface.clone(),
            private_ip: address.private.map(|address| address.to_string()),
            public_ip: elastic.map(|e| e.public.to_string()),
            is_primary: place == 0,
            status: match (&self.failure, address.drains, self.public) {
                (Some(_), ..) => "failed",
                (None, None, _) => "succeeded",
                (None, Some(_), true) => "disassociating",
                (None, Some(_), false) => "unassigning",
            },
        }
    }
}

pub(crate) fn gateway_item(region: &Region, gateway: &NatGateway) -> NatGatewayItem {
    let failure = gateway.failure.as_ref();
    NatGatewayItem {
        nat_gateway_id: gateway.id.clone(),
        vpc_id: gateway.vpc.clone(),
        subnet_id: gateway.subnet.clone(),
        state: gateway.state(),
        connectivity_type: if gateway.public { "public" } else { "private" },
        create_time: gateway.created,
        delete_time: gateway.deleted,
        failure_code: failure.map(|f| f.code.clone()),
        failure_message: failure.map(|f| f.message.clone()),
        nat_gateway_address_set: gateway.address_items(|_| true),
        tag_set: region.tag_items(&gateway.id),
    }
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
    gateway.addresses.iter_mut().for_each(|address| address.drains = None);
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
