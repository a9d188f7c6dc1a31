//! Route tables: which table decides for a subnet; the routes are in [`super::route_table_routes`].

use std::collections::{BTreeMap, BTreeSet};

use hedgerow_core::sg::IpPrefix;
use serde::{Deserialize, Serialize};

use super::region::{Resource, find};
use super::route_destination::Destination;
use super::route_table_describe::{RouteTableItem, table_item};
use super::route_table_routes::{Route, Target};
use super::subnet::Subnet;
use super::tags::{TagMap, TagSpecification, requested};
use super::{Context, Region, quota};
use crate::api::Done;
use crate::api::error::Ec2Error;
use crate::effect::{Effect, RouteTableView};

/// A route table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    pub(crate) id: String,
    /// Number in the fabric.
    pub(crate) key: u32,
    pub(crate) vpc: String,
    /// One per destination, the local ones first.
    pub(crate) routes: Vec<Route>,
    /// Association id to subnet; `None` makes this the VPC's main table.
    pub(crate) associations: BTreeMap<String, Option<String>>,
}

impl Resource for RouteTable {
    const NOT_FOUND: &'static str = "InvalidRouteTableID.NotFound";
    const NOUN: &'static str = "routeTable ID";

    fn id(&self) -> &str {
        &self.id
    }
}

impl RouteTable {
    /// Whether subnets without a table of their own have this one.
    pub(crate) fn is_main(&self) -> bool {
        self.associations.values().any(Option::is_none)
    }

    /// The table as the fabric needs it.
    fn view(&self, region: &Region) -> RouteTableView {
        let mut routes = Vec::new();
        for route in &self.routes {
            if let Destination::Block(block) = route.destination {
                routes.push((block, route.view(region, &self.vpc)));
            }
        }
        // A route of its own goes before a prefix list's; of two lists with one block, the first.
        let mut taken: BTreeSet<IpPrefix> = routes.iter().map(|(block, _)| *block).collect();
        for route in &self.routes {
            let blocks = route.destination.blocks(region).into_iter();
            let target = route.view(region, &self.vpc);
            routes.extend(blocks.filter(|to| taken.insert(*to)).map(|to| (to, target.clone())));
        }
        RouteTableView { key: self.key, id: self.id.clone(), routes }
    }
}

impl Region {
    /// The effect that tells the fabric of the table as it is now.
    pub(crate) fn put_route_table(&self, id: &str) -> Effect {
        let table = &self.route_tables[id];
        Effect::PutRouteTable { vpc: self.vpcs[&table.vpc].key, table: table.view(self) }
    }

    /// The table that a subnet has: its own, else its VPC's main one.
    pub(crate) fn route_table_of(&self, vpc: &str, subnet: &str) -> &RouteTable {
        let of_vpc = || self.route_tables.values().filter(|table| table.vpc == vpc);
        of_vpc()
            .find(|table| table.associations.values().any(|s| s.as_deref() == Some(subnet)))
            .or_else(|| of_vpc().find(|table| table.is_main()))
            .expect("a VPC has a main route table as long as it lives")
    }

    /// The table with an association of this id.
    fn associated(&self, association: &str) -> Result<(&RouteTable, Option<&String>), Ec2Error> {
        self.route_tables
            .values()
            .find_map(|t| Some((t, t.associations.get(association)?.as_ref())))
            .ok_or_else(|| {
                let message = format!("The association ID '{association}' does not exist");
                Ec2Error::new("InvalidAssociationID.NotFound", message)
            })
    }
}

/// Tells the fabric anew of the VPC's tables with a route for which `concerned` says so: its target
/// came or went.
pub(crate) fn refresh(cx: &mut Context<'_>, vpc: &str, concerned: impl Fn(&Target) -> bool) {
    let region = &*cx.region;
    let tables = region.route_tables.values().filter(|table| table.vpc == vpc);
    let touched: Vec<Effect> = tables
        .filter(|table| table.routes.iter().any(|route| concerned(&route.target)))
        .map(|table| region.put_route_table(&table.id))
        .collect();
    cx.effects.extend(touched);
}

/// Tells the fabric anew of the tables whose routes lead to an interface that this action made,
/// changed or removed: attaching and starting make such a route active, their opposites a blackhole.
pub(crate) fn follow_interfaces(cx: &mut Context<'_>) {
    let region = &*cx.region;
    let mut changed = BTreeSet::new();
    let mut removed = false;
    for effect in &cx.effects {
        match effect {
            Effect::PutInterface(view) => {
                changed.insert(view.id.as_str());
            }
            Effect::RemoveInterface(_) => removed = true,
            _ => {}
        }
    }
    if changed.is_empty() && !removed {
        return;
    }
    let concerned = |route: &Route| match &route.target {
        Target::Interface(id) => {
            changed.contains(id.as_str()) || (removed && !region.interfaces.contains_key(id))
        }
        _ => false,
    };
    let tables = region.route_tables.values().filter(|table| table.routes.iter().any(concerned));
    let effects: Vec<Effect> = tables.map(|table| region.put_route_table(&table.id)).collect();
    cx.effects.extend(effects);
}

/// Makes a table with the VPC's local routes, without associations; cannot fail.
fn make(cx: &mut Context<'_>, vpc: &str, tags: TagMap) -> String {
    let id = cx.mint.id("rtb");
    let record = &cx.region.vpcs[vpc];
    let v4 = record.blocks().map(IpPrefix::V4);
    let v6 = record.ipv6.iter().map(|own| IpPrefix::V6(own.block));
    let locals = v4.chain(v6).map(Route::local).collect();
    let table = RouteTable {
        id: id.clone(),
        key: cx.mint.key(),
        vpc: vpc.to_owned(),
        routes: locals,
        associations: BTreeMap::new(),
    };
    cx.region.route_tables.insert(id.clone(), table);
    cx.region.set_tags(&id, tags);
    id
}

/// Makes a new VPC's main table.
pub(crate) fn make_main(cx: &mut Context<'_>, vpc: &str) {
    let id = make(cx, vpc, TagMap::new());
    let association = cx.mint.id("rtbassoc");
    let table = cx.region.route_tables.get_mut(&id).expect("just made");
    table.associations.insert(association, None);
    cx.effects.push(cx.region.put_route_table(&id));
}

/// CreateRouteTable.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateRouteTable {
    vpc_id: String,
    #[serde(default, rename = "TagSpecification")]
    tag_specifications: Vec<TagSpecification>,
    client_token: Option<String>,
}

/// Answer of CreateRouteTable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedTable {
    route_table: RouteTableItem,
    client_token: Option<String>,
}

pub(crate) fn create(
    cx: &mut Context<'_>,
    request: CreateRouteTable,
) -> Result<CreatedTable, Ec2Error> {
    let vpc = find(&cx.region.vpcs, &request.vpc_id)?.id.clone();
    let tags = requested(&request.tag_specifications, &["route-table"], "route-table")?;
    let present = cx.region.route_tables.values().filter(|table| table.vpc == vpc).count();
    let quota = cx.quotas.route_tables_per_vpc;
    quota::room(present, quota, "RouteTableLimitExceeded", "route tables")?;
    let id = make(cx, &vpc, tags);
    cx.effects.push(cx.region.put_route_table(&id));
    Ok(CreatedTable {
        route_table: table_item(cx.region, &cx.region.route_tables[&id]),
        client_token: request.client_token,
    })
}

/// DeleteRouteTable.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteRouteTable {
    route_table_id: String,
}

pub(crate) fn delete(cx: &mut Context<'_>, request: DeleteRouteTable) -> Result<Done, Ec2Error> {
    let table = find(&cx.region.route_tables, &request.route_table_id)?;
    if !table.associations.is_empty() {
        let message =
            format!("The routeTable '{}' has dependencies and cannot be deleted.", table.id);
        return Err(Ec2Error::new("DependencyViolation", message));
    }
    let id = table.id.clone();
    remove(cx, &id);
    Ok(Done::new())
}

/// Removes a table that no subnet has.
pub(crate) fn remove(cx: &mut Context<'_>, id: &str) {
    let Some(table) = cx.region.route_tables.remove(id) else { return };
    cx.region.tags.remove(id);
    let vpc = cx.region.vpcs[&table.vpc].key;
    cx.effects.push(Effect::RemoveRouteTable { vpc, key: table.key });
}

/// The state of an association; here it is reached at once.
#[derive(Debug, Serialize)]
pub(crate) struct AssociationState {
    state: &'static str,
}

impl AssociationState {
    /// The only state of an association that can be seen.
    pub const ASSOCIATED: AssociationState = AssociationState { state: "associated" };
}

/// AssociateRouteTable.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AssociateRouteTable {
    route_table_id: String,
    subnet_id: String,
}

/// Answer of AssociateRouteTable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AssociatedTable {
    association_id: String,
    association_state: AssociationState,
}

pub(crate) fn associate(
    cx: &mut Context<'_>,
    request: AssociateRouteTable,
) -> Result<AssociatedTable, Ec2Error> {
    let region = &*cx.region;
    let table = find(&region.route_tables, &request.route_table_id)?;
    let subnet = find(&region.subnets, &request.subnet_id)?;
    check_same_network(table, subnet)?;
    let current = region.route_table_of(&subnet.vpc, &subnet.id);
    if current.associations.values().any(|s| s.as_deref() == Some(subnet.id.as_str())) {
        let message = format!(
            "the specified association for route table {} conflicts with an existing association",
            table.id
        );
        return Err(Ec2Error::new("Resource.AlreadyAssociated", message));
    }
    let (table, subnet) = (table.id.clone(), subnet.id.clone());
    let association_id = join(cx, &table, Some(subnet));
    Ok(AssociatedTable { association_id, association_state: AssociationState::ASSOCIATED })
}

fn check_same_network(table: &RouteTable, subnet: &Subnet) -> Result<(), Ec2Error> {
    if table.vpc == subnet.vpc {
        return Ok(());
    }
    let (table, subnet) = (&table.id, &subnet.id);
    let message = format!("Route table {table} and subnet {subnet} belong to different networks");
    Err(Ec2Error::new("InvalidParameterValue", message))
}

/// Gives the table to a subnet, or to all subnets without one, and tells the fabric.
fn join(cx: &mut Context<'_>, table: &str, subnet: Option<String>) -> String {
    let association = cx.mint.id("rtbassoc");
    let record = cx.region.route_tables.get_mut(table).expect("the table was checked");
    record.associations.insert(association.clone(), subnet.clone());
    let vpc = record.vpc.clone();
    tell_subnets(cx, &vpc, subnet.as_deref());
    association
}

/// Tells the fabric of the subnet, or of every subnet of the VPC that the main table decides for.
fn tell_subnets(cx: &mut Context<'_>, vpc: &str, subnet: Option<&str>) {
    let region = &*cx.region;
    let concerned = |one: &&Subnet| match subnet {
        Some(id) => one.id == id,
        None => one.vpc == vpc && region.route_table_of(vpc, &one.id).is_main(),
    };
    let effects: Vec<Effect> =
        region.subnets.values().filter(concerned).map(|s| region.put_subnet(&s.id)).collect();
    cx.effects.extend(effects);
}

/// DisassociateRouteTable.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DisassociateRouteTable {
    association_id: String,
}

pub(crate) fn disassociate(
    cx: &mut Context<'_>,
    request: DisassociateRouteTable,
) -> Result<Done, Ec2Error> {
    let id = &request.association_id;
    let (table, subnet) = cx.region.associated(id)?;
    let Some(subnet) = subnet.cloned() else {
        let message = format!("cannot disassociate the main route table association {id}");
        return Err(Ec2Error::new("InvalidParameterValue", message));
    };
    let (table, vpc) = (table.id.clone(), table.vpc.clone());
    leave(cx, &table, id);
    tell_subnets(cx, &vpc, Some(&subnet));
    Ok(Done::new())
}

fn leave(cx: &mut Context<'_>, table: &str, association: &str) {
    let record = cx.region.route_tables.get_mut(table).expect("the table was found");
    record.associations.remove(association);
}

/// Ends the association of a subnet that goes.
pub(crate) fn forget_subnet(region: &mut Region, subnet: &str) {
    let has =
        |table: &RouteTable| table.associations.values().any(|of| of.as_deref() == Some(subnet));
    for table in region.route_tables.select_mut(has) {
        table.associations.retain(|_, of| of.as_deref() != Some(subnet));
    }
}

/// ReplaceRouteTableAssociation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ReplaceRouteTableAssociation {
    association_id: String,
    route_table_id: String,
}

/// Answer of ReplaceRouteTableAssociation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplacedAssociation {
    new_association_id: String,
    association_state: AssociationState,
}

pub(crate) fn replace_association(
    cx: &mut Context<'_>,
    request: ReplaceRouteTableAssociation,
) -> Result<ReplacedAssociation, Ec2Error> {
    let region = &*cx.region;
    let (old, subnet) = region.associated(&request.association_id)?;
    let new = find(&region.route_tables, &request.route_table_id)?;
    if old.vpc != new.vpc {
        let message = format!(
            "Route table {} and route table {} belong to different networks",
            new.id, old.id
        );
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    let (old, new, subnet) = (old.id.clone(), new.id.clone(), subnet.cloned());
    leave(cx, &old, &request.association_id);
    let new_association_id = join(cx, &new, subnet);
    Ok(ReplacedAssociation { new_association_id, association_state: AssociationState::ASSOCIATED })
}
