//! Trunks and branches (REFERENCE §5): an association gives a branch a VLAN on a trunk.

use hedgerow_core::names::MAX_VLAN;
use serde::{Deserialize, Serialize};

use super::interface::{Association, Interface, Kind};
use super::region::{Resource, find, not_found};
use super::select::{Field, describe_request, select_within};
use super::tags::TagItem;
use super::unsupported::{Given, refuse};
use super::{Context, Region};
use crate::api::error::Ec2Error;

/// An association as answers list it; made for one answer.
#[derive(Debug, Clone)]
struct Entry {
    id: String,
    trunk: String,
    branch: String,
    vlan: u16,
}

impl Resource for Entry {
    const NOT_FOUND: &'static str = "InvalidAssociationID.NotFound";
    const NOUN: &'static str = "association ID";

    fn id(&self) -> &str {
        &self.id
    }
}

/// AssociateTrunkInterface.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AssociateTrunkInterface {
    branch_interface_id: String,
    trunk_interface_id: String,
    vlan_id: Option<u16>,
    gre_key: Given,
    client_token: Option<String>,
}

/// Answer of AssociateTrunkInterface.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Associated {
    interface_association: AssociationItem,
    client_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AssociationItem {
    association_id: String,
    branch_interface_id: String,
    trunk_interface_id: String,
    interface_protocol: &'static str,
    vlan_id: u16,
    tag_set: Vec<TagItem>,
}

pub(crate) fn associate(
    cx: &mut Context<'_>,
    request: AssociateTrunkInterface,
) -> Result<Associated, Ec2Error> {
    let region = &*cx.region;
    refuse(&[("GreKey", request.gre_key.is_some())])?;
    let vlan = request.vlan_id.ok_or_else(|| Ec2Error::missing("VlanId"))?;
    let trunk = find(&region.interfaces, &request.trunk_interface_id)?;
    let branch = find(&region.interfaces, &request.branch_interface_id)?;
    check(region, trunk, branch, vlan)?;
    let (trunk, branch) = (trunk.id.clone(), branch.id.clone());
    let id = cx.mint.id("trunk-assoc");
    cx.region.associations.insert(id.clone(), branch.clone());
    let record = cx.region.interfaces.get_mut(&trunk).expect("found above");
    record.branches.insert(vlan, branch.clone());
    let record = cx.region.interfaces.get_mut(&branch).expect("found above");
    record.kind = Kind::Branch;
    record.association = Some(Association { id: id.clone(), trunk: trunk.clone(), vlan });
    cx.effects.push(cx.region.put_interface(&branch));
    let entry = Entry { id, trunk, branch, vlan };
    let interface_association = association_item(cx.region, &entry);
    Ok(Associated { interface_association, client_token: request.client_token })
}

/// Whether the branch can have that VLAN of the trunk.
fn check(
    region: &Region,
    trunk: &Interface,
    branch: &Interface,
    vlan: u16,
) -> Result<(), Ec2Error> {
    let refuse = |message: String| Err(Ec2Error::new("InvalidParameterValue", message));
    if trunk.kind != Kind::Trunk {
        return refuse(format!("Interface {} is not a trunk interface", trunk.id));
    }
    if branch.kind == Kind::Trunk {
        return refuse(format!("Interface {} is a trunk interface", branch.id));
    }
    if !(1..=4094).contains(&vlan) {
        return refuse(format!("VLAN id {vlan} is not from 1 to 4094"));
    }
    if branch.status() != "available" {
        let message = format!("Interface: [{}] in use.", branch.id);
        return Err(Ec2Error::new("InvalidNetworkInterface.InUse", message));
    }
    let Some(attached) = &trunk.attachment else {
        return refuse(format!("Trunk interface {} is not attached to an instance", trunk.id));
    };
    branch.check_own()?;
    if branch.places().max(branch.ipv6_places()) > 1 {
        return refuse(format!("Branch interface {} has secondary addresses", branch.id));
    }
    if branch.vpc != trunk.vpc
        || region.subnets[&branch.subnet].zone != region.subnets[&trunk.subnet].zone
    {
        return refuse(format!(
            "Branch interface {} and trunk interface {} are not in the same VPC and availability \
             zone",
            branch.id, trunk.id
        ));
    }
    if let Some(other) = trunk.branches.get(&vlan) {
        return refuse(format!("VLAN id {vlan} of trunk {} belongs to {other}", trunk.id));
    }
    let limits = region.instances[&attached.instance].limits();
    let limit = limits.branch_enis.unwrap_or(0).min(MAX_VLAN.into()) as usize;
    if trunk.branches.len() >= limit {
        let message =
            format!("Branch interface count {} exceeds the limit for {}", limit + 1, limits.name);
        return Err(Ec2Error::new("AttachmentLimitExceeded", message));
    }
    Ok(())
}

fn association_item(region: &Region, entry: &Entry) -> AssociationItem {
    AssociationItem {
        association_id: entry.id.clone(),
        branch_interface_id: entry.branch.clone(),
        trunk_interface_id: entry.trunk.clone(),
        interface_protocol: "VLAN",
        vlan_id: entry.vlan,
        tag_set: region.tag_items(&entry.id),
    }
}

/// DisassociateTrunkInterface.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DisassociateTrunkInterface {
    association_id: String,
    client_token: Option<String>,
}

/// Answer of DisassociateTrunkInterface.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Disassociated {
    r#return: bool,
    client_token: Option<String>,
}

pub(crate) fn disassociate(
    cx: &mut Context<'_>,
    request: DisassociateTrunkInterface,
) -> Result<Disassociated, Ec2Error> {
    let id = &request.association_id;
    let branch = cx.region.associations.get(id).ok_or_else(|| not_found::<Entry>(id))?.clone();
    release(cx, &branch);
    Ok(Disassociated { r#return: true, client_token: request.client_token })
}

/// Ends the association of a branch, if it has one, and tells the fabric.
pub(crate) fn release(cx: &mut Context<'_>, branch: &str) {
    let Some(record) = cx.region.interfaces.get_mut(branch) else { return };
    let Some(association) = record.association.take() else { return };
    cx.region.associations.remove(&association.id);
    if let Some(trunk) = cx.region.interfaces.get_mut(&association.trunk) {
        trunk.branches.remove(&association.vlan);
    }
    cx.effects.push(cx.region.put_interface(branch));
}

/// Ends the associations of all branches of a trunk; the branches stay.
pub(crate) fn release_branches(cx: &mut Context<'_>, trunk: &str) {
    let Some(record) = cx.region.interfaces.get(trunk) else { return };
    for branch in record.branches.values().cloned().collect::<Vec<_>>() {
        release(cx, &branch);
    }
}

describe_request!(DescribeTrunkInterfaceAssociations, "AssociationId");

/// Answer of DescribeTrunkInterfaceAssociations.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AssociationSet {
    interface_association_set: Vec<AssociationItem>,
    next_token: Option<String>,
}

const FILTERS: &[Field<Entry>] = &[
    ("association-id", |_, a| vec![a.id.clone()]),
    ("trunk-interface-association.trunk-interface-id", |_, a| vec![a.trunk.clone()]),
    ("trunk-interface-association.branch-interface-id", |_, a| vec![a.branch.clone()]),
    ("trunk-interface-id", |_, a| vec![a.trunk.clone()]),
    ("branch-interface-id", |_, a| vec![a.branch.clone()]),
    ("vlan-id", |_, a| vec![a.vlan.to_string()]),
    ("gre-key", |_, _| Vec::new()),
    ("interface-protocol", |_, _| vec!["VLAN".into()]),
];

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeTrunkInterfaceAssociations,
) -> Result<AssociationSet, Ec2Error> {
    let region = &*cx.region;
    let entry = |(id, branch): (&String, &String)| {
        let association = region.interfaces.get(branch)?.association.as_ref()?;
        let (id, branch) = (id.clone(), branch.clone());
        let trunk = association.trunk.clone();
        Some((id.clone(), Entry { id, trunk, branch, vlan: association.vlan }))
    };
    let entries = region.associations.iter().filter_map(entry).collect();
    let (page, next_token) =
        select_within(region, &entries, FILTERS, &request.selection(), 5..=255)?;
    let items = page.into_iter().map(|entry| association_item(region, entry)).collect();
    Ok(AssociationSet { interface_association_set: items, next_token })
}
