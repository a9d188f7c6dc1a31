//! Routes: where a destination leads, and whether its target is still there.

use hedgerow_core::sg::{IpPrefix, Ipv4Prefix, Ipv6Prefix};
use serde::{Deserialize, Serialize};

use super::gateway::{EgressGateway, InternetGateway};
use super::interface::Interface;
use super::region::{Resource, find};
use super::route_destination::{Destination, named as destination};
use super::route_table::RouteTable;
use super::{Context, Region, instance, quota};
use crate::api::Done;
use crate::api::error::Ec2Error;
use crate::effect::RouteTarget;

/// Where instances find their services; no route can lead there ("Route tables", VPC User Guide).
const SERVICES: Ipv4Prefix =
    Ipv4Prefix { address: std::net::Ipv4Addr::new(169, 254, 168, 0), len: 22 };

/// The same in IPv6.
const SERVICES_IPV6: Ipv6Prefix =
    Ipv6Prefix { address: std::net::Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), len: 32 };

/// Where a route leads; all but `Local` by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Target {
    Local,
    InternetGateway(String),
    EgressGateway(String),
    NatGateway(String),
    Interface(String),
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Route {
    pub destination: Destination,
    pub target: Target,
    /// Whether the table had it from the start, as one of the VPC's own blocks.
    pub original: bool,
}

impl Route {
    /// The route of one of the VPC's blocks.
    pub fn local(block: IpPrefix) -> Self {
        Route { destination: Destination::Block(block), target: Target::Local, original: true }
    }

    /// Whether the target is there and can take packets from `vpc`.
    pub fn is_active(&self, region: &Region, vpc: &str) -> bool {
        match &self.target {
            Target::Local => true,
            Target::InternetGateway(id) => {
                region.internet_gateways.get(id).is_some_and(|g| g.vpc.as_deref() == Some(vpc))
            }
            Target::EgressGateway(id) => region.egress_gateways.contains_key(id),
            Target::NatGateway(id) => {
                region.nat_gateways.get(id).is_some_and(|gateway| gateway.is_available())
            }
            Target::Interface(id) => {
                region.interfaces.get(id).is_some_and(|eni| match &eni.attachment {
                    Some(attached) => region.runs(&attached.instance),
                    None => eni.status() == "in-use",
                })
            }
        }
    }

    /// The target as the fabric needs it.
    pub fn view(&self, region: &Region, vpc: &str) -> RouteTarget {
        if !self.is_active(region, vpc) {
            return RouteTarget::Blackhole;
        }
        match &self.target {
            Target::Local => RouteTarget::Local,
            Target::InternetGateway(id) => RouteTarget::InternetGateway(id.clone()),
            Target::NatGateway(id) => RouteTarget::NatGateway(region.nat_gateways[id].key),
            Target::Interface(id) => RouteTarget::Interface(region.interfaces[id].key),
            Target::EgressGateway(id) => RouteTarget::EgressOnlyInternetGateway(id.clone()),
        }
    }
}

/// CreateRoute and ReplaceRoute.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct SetRoute {
    route_table_id: String,
    destination_cidr_block: Option<String>,
    destination_ipv6_cidr_block: Option<String>,
    destination_prefix_list_id: Option<String>,
    gateway_id: Option<String>,
    egress_only_internet_gateway_id: Option<String>,
    nat_gateway_id: Option<String>,
    network_interface_id: Option<String>,
    instance_id: Option<String>,
    local_target: Option<bool>,
}

/// The one target that a request names; it exists and belongs to the table's VPC.
fn target(region: &Region, table: &RouteTable, request: &SetRoute) -> Result<Target, Ec2Error> {
    let local = request.local_target.filter(|local| *local).map(|_| Ok(Target::Local));
    let named = [
        local,
        request.gateway_id.as_ref().map(|id| gateway(region, table, id)),
        request.egress_only_internet_gateway_id.as_ref().map(|id| egress(region, table, id)),
        request.nat_gateway_id.as_ref().map(|id| nat(region, table, id)),
        request.network_interface_id.as_ref().map(|id| {
            let eni = find(&region.interfaces, id)?;
            interface(table, eni)
        }),
        request.instance_id.as_ref().map(|id| {
            let eni = only_interface(region, id)?;
            interface(table, eni)
        }),
    ];
    let mut named = named.into_iter().flatten();
    let choices = "The request must contain exactly one of gatewayId, natGatewayId, \
                   egressOnlyInternetGatewayId, networkInterfaceId or instanceId";
    match (named.next(), named.next()) {
        (Some(target), None) => target,
        (None, _) => Err(Ec2Error::new("MissingParameter", choices)),
        (Some(_), Some(_)) => Err(Ec2Error::new("InvalidParameterCombination", choices)),
    }
}

/// `InvalidParameterValue` unless `vpc` is the table's.
fn same(table: &RouteTable, vpc: Option<&str>, kind: &str, id: &str) -> Result<(), Ec2Error> {
    if vpc == Some(table.vpc.as_str()) {
        return Ok(());
    }
    let message = format!("route table {} and {kind} {id} belong to different networks", table.id);
    Err(Ec2Error::new("InvalidParameterValue", message))
}

fn gateway(region: &Region, table: &RouteTable, id: &str) -> Result<Target, Ec2Error> {
    if id == "local" {
        return Ok(Target::Local);
    }
    let gateway: &InternetGateway = region.internet_gateways.get(id).ok_or_else(|| {
        let message = format!("The gateway ID '{id}' does not exist");
        Ec2Error::new("InvalidGatewayID.NotFound", message)
    })?;
    same(table, gateway.vpc.as_deref(), "network gateway", id)?;
    Ok(Target::InternetGateway(id.to_owned()))
}

fn egress(region: &Region, table: &RouteTable, id: &str) -> Result<Target, Ec2Error> {
    let gateway: &EgressGateway = find(&region.egress_gateways, id)?;
    same(table, Some(&gateway.vpc), "egress only internet gateway", id)?;
    Ok(Target::EgressGateway(id.to_owned()))
}

fn nat(region: &Region, table: &RouteTable, id: &str) -> Result<Target, Ec2Error> {
    let gateway = region.nat_gateways.get(id).filter(|gateway| gateway.is_available());
    let gateway = gateway.ok_or_else(|| {
        let message = format!("The natGateway ID '{id}' does not exist");
        Ec2Error::new("InvalidNatGatewayID.NotFound", message)
    })?;
    same(table, Some(&gateway.vpc), "nat gateway", id)?;
    Ok(Target::NatGateway(id.to_owned()))
}

fn interface(table: &RouteTable, eni: &Interface) -> Result<Target, Ec2Error> {
    same(table, Some(&eni.vpc), "interface", &eni.id)?;
    Ok(Target::Interface(eni.id.clone()))
}

/// The interface of an instance that has one only.
///
/// # Errors
/// `InvalidInstanceID.NotFound`, `IncorrectInstanceState`, and `InvalidInstanceID` where there are
/// several.
pub(crate) fn only_interface<'r>(region: &'r Region, id: &str) -> Result<&'r Interface, Ec2Error> {
    let instance = instance::alive(region, id)?;
    let mut interfaces = instance.interfaces.values().map(|eni| &region.interfaces[eni]);
    match (interfaces.next(), interfaces.next()) {
        (Some(eni), None) => Ok(eni),
        _ => {
            let message = format!(
                "There are multiple interfaces attached to instance '{id}'. Please specify an \
                 interface ID for the operation instead."
            );
            Err(Ec2Error::new("InvalidInstanceID", message))
        }
    }
}

/// What no target of this kind can be given.
fn check_fit(
    region: &Region,
    table: &RouteTable,
    to: IpPrefix,
    target: &Target,
) -> Result<(), Ec2Error> {
    let refuse = |message: String| Err(Ec2Error::new("InvalidParameterValue", message));
    match (to, target) {
        (IpPrefix::V4(_), Target::EgressGateway(id)) => {
            refuse(format!("An egress-only internet gateway ({id}) takes IPv6 destinations only"))
        }
        (IpPrefix::V4(block), _) if SERVICES.covers(&block) => {
            refuse(format!("The destination CIDR block {block} is reserved for AWS services"))
        }
        (IpPrefix::V4(block), target) => {
            let inside = region.vpcs[&table.vpc].blocks().any(|own| own.covers(&block));
            match target {
                Target::InternetGateway(_) if inside => refuse(format!(
                    "The destination CIDR block {block} is equal to or more specific than one of \
                     this VPC's CIDR blocks. This route can target only an interface or an instance."
                )),
                Target::Local if !region.vpcs[&table.vpc].blocks().any(|own| own == block) => {
                    refuse(format!(
                        "{block} is no block of the VPC; only those have the target local"
                    ))
                }
                _ => Ok(()),
            }
        }
        (IpPrefix::V6(block), _) if SERVICES_IPV6.covers(&block) => {
            refuse(format!("The destination CIDR block {block} is reserved for AWS services"))
        }
        (IpPrefix::V6(block), target) => {
            let own = &region.vpcs[&table.vpc].ipv6;
            let inside = own.iter().any(|own| own.block.covers(&block));
            match target {
                Target::NatGateway(_) | Target::InternetGateway(_) | Target::EgressGateway(_)
                    if inside =>
                {
                    refuse(format!(
                        "The destination CIDR block {block} is equal to or more specific than one \
                         of this VPC's CIDR blocks. This route can target only an interface or an \
                         instance."
                    ))
                }
                Target::Local if !own.iter().any(|own| own.block == block) => refuse(format!(
                    "{block} is no block of the VPC; only those have the target local"
                )),
                _ => Ok(()),
            }
        }
    }
}

pub(crate) fn create(cx: &mut Context<'_>, request: SetRoute) -> Result<Done, Ec2Error> {
    let region = &*cx.region;
    let table = find(&region.route_tables, &request.route_table_id)?;
    let to = destination(
        cx.region,
        request.destination_cidr_block.as_deref(),
        request.destination_ipv6_cidr_block.as_deref(),
        request.destination_prefix_list_id.as_deref(),
    )?;
    if request.local_target.is_some() {
        return Err(Ec2Error::new(
            "UnknownParameter",
            "The parameter LocalTarget is not recognized",
        ));
    }
    let target = target(region, table, &request)?;
    if let Some(present) = table.routes.iter().find(|route| route.destination == to) {
        // The same request again is answered the same; anything else is a conflict.
        if present.target == target && !present.original {
            return Ok(Done::new());
        }
        let message = format!("The route identified by {to} already exists.");
        return Err(Ec2Error::new("RouteAlreadyExists", message));
    }
    to.blocks(region).into_iter().try_for_each(|to| check_fit(region, table, to, &target))?;
    let own = table.routes.iter().filter(|route| !route.original).map(|route| &route.destination);
    let weights = own.chain([&to]).map(|to| to.weights(region));
    let (v4, v6) = weights.fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1));
    let quota = cx.quotas.routes_per_table;
    quota::room(v4.max(v6), quota + 1, "RouteLimitExceeded", "routes")?;
    let id = table.id.clone();
    let table = cx.region.route_tables.get_mut(&id).expect("found above");
    table.routes.push(Route { destination: to, target, original: false });
    cx.effects.push(cx.region.put_route_table(&id));
    Ok(Done::new())
}

pub(crate) fn replace(cx: &mut Context<'_>, request: SetRoute) -> Result<Done, Ec2Error> {
    let region = &*cx.region;
    let table = find(&region.route_tables, &request.route_table_id)?;
    let to = destination(
        cx.region,
        request.destination_cidr_block.as_deref(),
        request.destination_ipv6_cidr_block.as_deref(),
        request.destination_prefix_list_id.as_deref(),
    )?;
    let target = target(region, table, &request)?;
    let Some(at) = table.routes.iter().position(|route| route.destination == to) else {
        let message = format!(
            "There is no route defined for '{to}' in the route table. Use CreateRoute instead."
        );
        return Err(Ec2Error::new("InvalidParameterValue", message));
    };
    to.blocks(region).into_iter().try_for_each(|to| check_fit(region, table, to, &target))?;
    let id = table.id.clone();
    cx.region.route_tables.get_mut(&id).expect("found above").routes[at].target = target;
    cx.effects.push(cx.region.put_route_table(&id));
    Ok(Done::new())
}

/// DeleteRoute.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteRoute {
    route_table_id: String,
    destination_cidr_block: Option<String>,
    destination_ipv6_cidr_block: Option<String>,
    destination_prefix_list_id: Option<String>,
}

pub(crate) fn delete(cx: &mut Context<'_>, request: DeleteRoute) -> Result<Done, Ec2Error> {
    let table = find(&cx.region.route_tables, &request.route_table_id)?;
    let to = destination(
        cx.region,
        request.destination_cidr_block.as_deref(),
        request.destination_ipv6_cidr_block.as_deref(),
        request.destination_prefix_list_id.as_deref(),
    )?;
    let id = table.id().to_owned();
    let Some(at) = table.routes.iter().position(|route| route.destination == to) else {
        let message = format!("no route with destination-cidr-block {to} in route table {id}");
        return Err(Ec2Error::new("InvalidRoute.NotFound", message));
    };
    if table.routes[at].original {
        let message = format!("cannot remove local route {to} in route table {id}");
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    cx.region.route_tables.get_mut(&id).expect("found above").routes.remove(at);
    cx.effects.push(cx.region.put_route_table(&id));
    Ok(Done::new())
}
