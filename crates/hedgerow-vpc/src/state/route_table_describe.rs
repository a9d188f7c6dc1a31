//! Route tables in answers.

use hedgerow_core::sg::IpPrefix;
use serde::Serialize;

use super::route_destination::Destination;
use super::route_table::{AssociationState, RouteTable};
use super::route_table_routes::{Route, Target};
use super::select::{Field, describe_request, select_within};
use super::tags::TagItem;
use super::{ACCOUNT, Context, Region};
use crate::api::error::Ec2Error;

/// A route table in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteTableItem {
    route_table_id: String,
    vpc_id: String,
    owner_id: &'static str,
    route_set: Vec<RouteItem>,
    association_set: Vec<AssociationItem>,
    propagating_vgw_set: Vec<String>,
    tag_set: Vec<TagItem>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct RouteItem {
    destination_cidr_block: Option<String>,
    destination_ipv6_cidr_block: Option<String>,
    destination_prefix_list_id: Option<String>,
    gateway_id: Option<String>,
    egress_only_internet_gateway_id: Option<String>,
    nat_gateway_id: Option<String>,
    network_interface_id: Option<String>,
    instance_id: Option<String>,
    instance_owner_id: Option<&'static str>,
    state: &'static str,
    origin: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AssociationItem {
    route_table_association_id: String,
    route_table_id: String,
    subnet_id: Option<String>,
    main: bool,
    association_state: AssociationState,
}

/// A route table for an answer.
pub(crate) fn table_item(region: &Region, table: &RouteTable) -> RouteTableItem {
    let association = |(id, subnet): (&String, &Option<String>)| AssociationItem {
        route_table_association_id: id.clone(),
        route_table_id: table.id.clone(),
        subnet_id: subnet.clone(),
        main: subnet.is_none(),
        association_state: AssociationState::ASSOCIATED,
    };
    RouteTableItem {
        route_table_id: table.id.clone(),
        vpc_id: table.vpc.clone(),
        owner_id: ACCOUNT,
        route_set: table.routes.iter().map(|route| route_item(region, table, route)).collect(),
        association_set: table.associations.iter().map(association).collect(),
        propagating_vgw_set: Vec::new(),
        tag_set: region.tag_items(&table.id),
    }
}

fn route_item(region: &Region, table: &RouteTable, route: &Route) -> RouteItem {
    let mut item = RouteItem {
        state: state(region, table, route),
        origin: origin(route),
        ..Default::default()
    };
    match &route.destination {
        Destination::Block(IpPrefix::V4(to)) => item.destination_cidr_block = Some(to.to_string()),
        Destination::Block(IpPrefix::V6(to)) => {
            item.destination_ipv6_cidr_block = Some(to.to_string());
        }
        Destination::List(id) => item.destination_prefix_list_id = Some(id.clone()),
    }
    match &route.target {
        Target::Local => item.gateway_id = Some("local".into()),
        Target::InternetGateway(id) => item.gateway_id = Some(id.clone()),
        Target::EgressGateway(id) => item.egress_only_internet_gateway_id = Some(id.clone()),
        Target::NatGateway(id) => item.nat_gateway_id = Some(id.clone()),
        Target::Interface(id) => {
            item.network_interface_id = Some(id.clone());
            item.instance_id = instance(region, route);
            item.instance_owner_id = item.instance_id.is_some().then_some(ACCOUNT);
        }
    }
    item
}

fn state(region: &Region, table: &RouteTable, route: &Route) -> &'static str {
    if route.is_active(region, &table.vpc) { "active" } else { "blackhole" }
}

fn origin(route: &Route) -> &'static str {
    if route.original { "CreateRouteTable" } else { "CreateRoute" }
}

/// The instance that a route's interface is attached to.
fn instance(region: &Region, route: &Route) -> Option<String> {
    let Target::Interface(id) = &route.target else { return None };
    region.interfaces.get(id)?.attachment.as_ref().map(|attached| attached.instance.clone())
}

describe_request!(DescribeRouteTables, "RouteTableId");

/// Answer of DescribeRouteTables.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteTableSet {
    route_table_set: Vec<RouteTableItem>,
    next_token: Option<String>,
}

/// What `read` finds in the table's routes.
fn of_routes(table: &RouteTable, read: impl Fn(&Route) -> Option<String>) -> Vec<String> {
    table.routes.iter().filter_map(read).collect()
}

const FILTERS: &[Field<RouteTable>] = &[
    ("route-table-id", |_, t| vec![t.id.clone()]),
    ("vpc-id", |_, t| vec![t.vpc.clone()]),
    ("owner-id", |_, _| vec![ACCOUNT.into()]),
    ("association.route-table-association-id", |_, t| t.associations.keys().cloned().collect()),
    ("association.route-table-id", |_, t| t.associations.keys().map(|_| t.id.clone()).collect()),
    ("association.subnet-id", |_, t| t.associations.values().flatten().cloned().collect()),
    ("association.main", |_, t| {
        t.associations.values().map(|subnet| subnet.is_none().to_string()).collect()
    }),
    // Tables of gateways and routes to these targets do not exist here: nothing matches.
    ("association.gateway-id", |_, _| Vec::new()),
    ("route.transit-gateway-id", |_, _| Vec::new()),
    ("route.vpc-peering-connection-id", |_, _| Vec::new()),
    ("route.destination-cidr-block", |_, t| {
        of_routes(t, |r| match r.destination {
            Destination::Block(IpPrefix::V4(prefix)) => Some(prefix.to_string()),
            _ => None,
        })
    }),
    ("route.destination-ipv6-cidr-block", |_, t| {
        of_routes(t, |r| match r.destination {
            Destination::Block(IpPrefix::V6(prefix)) => Some(prefix.to_string()),
            _ => None,
        })
    }),
    ("route.destination-prefix-list-id", |_, t| {
        of_routes(t, |r| match &r.destination {
            Destination::List(id) => Some(id.clone()),
            Destination::Block(_) => None,
        })
    }),
    ("route.gateway-id", |_, t| {
        of_routes(t, |r| match &r.target {
            Target::Local => Some("local".into()),
            Target::InternetGateway(id) => Some(id.clone()),
            _ => None,
        })
    }),
    ("route.egress-only-internet-gateway-id", |_, t| {
        of_routes(t, |r| match &r.target {
            Target::EgressGateway(id) => Some(id.clone()),
            _ => None,
        })
    }),
    ("route.nat-gateway-id", |_, t| {
        of_routes(t, |r| match &r.target {
            Target::NatGateway(id) => Some(id.clone()),
            _ => None,
        })
    }),
    ("route.instance-id", |region, t| of_routes(t, |r| instance(region, r))),
    ("route.origin", |_, t| of_routes(t, |r| Some(origin(r).into()))),
    ("route.state", |region, t| of_routes(t, |r| Some(state(region, t, r).into()))),
];

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeRouteTables,
) -> Result<RouteTableSet, Ec2Error> {
    let region = &*cx.region;
    let (page, next_token) =
        select_within(region, &region.route_tables, FILTERS, &request.selection(), 5..=100)?;
    let route_table_set = page.into_iter().map(|table| table_item(region, table)).collect();
    Ok(RouteTableSet { route_table_set, next_token })
}
