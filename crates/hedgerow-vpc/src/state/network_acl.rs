//! Network ACLs: which list guards a subnet; the entries are in [`super::network_acl_entry`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::network_acl_entry::{Entry, EntryItem, entry_items};
use super::region::{Resource, find};
use super::select::{Field, describe_request, select};
use super::tags::{TagItem, TagMap, TagSpecification, requested};
use super::{ACCOUNT, Context, Region, quota};
use crate::api::Done;
use crate::api::error::Ec2Error;
use crate::effect::{AclView, Effect};

/// A network ACL. Every subnet has exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAcl {
    pub(crate) id: String,
    /// Number in the fabric.
    pub(crate) key: u32,
    pub(crate) vpc: String,
    /// Whether it came with the VPC and new subnets get it.
    pub(crate) is_default: bool,
    /// By number; what none matches is denied.
    pub(crate) ingress: BTreeMap<u16, Entry>,
    /// By number; what none matches is denied.
    pub(crate) egress: BTreeMap<u16, Entry>,
    /// Association id to subnet.
    pub(crate) associations: BTreeMap<String, String>,
}

impl Resource for NetworkAcl {
    const NOT_FOUND: &'static str = "InvalidNetworkAclID.NotFound";
    const NOUN: &'static str = "networkAcl ID";

    fn id(&self) -> &str {
        &self.id
    }
}

impl NetworkAcl {
    /// The entries of one direction.
    pub(crate) fn entries_mut(&mut self, egress: bool) -> &mut BTreeMap<u16, Entry> {
        if egress { &mut self.egress } else { &mut self.ingress }
    }

    /// The entries of one direction.
    pub(crate) fn entries(&self, egress: bool) -> &BTreeMap<u16, Entry> {
        if egress { &self.egress } else { &self.ingress }
    }

    fn view(&self) -> AclView {
        let view = |entries: &BTreeMap<u16, Entry>| {
            entries.iter().map(|(number, entry)| entry.view(*number)).collect()
        };
        AclView {
            key: self.key,
            id: self.id.clone(),
            ingress: view(&self.ingress),
            egress: view(&self.egress),
        }
    }
}

impl Region {
    /// The effect that tells the fabric of the list as it is now.
    pub(crate) fn put_network_acl(&self, id: &str) -> Effect {
        let acl = &self.network_acls[id];
        Effect::PutNetworkAcl { vpc: self.vpcs[&acl.vpc].key, acl: acl.view() }
    }

    /// The list that guards a subnet.
    pub(crate) fn network_acl_of(&self, subnet: &str) -> &NetworkAcl {
        self.network_acls
            .values()
            .find(|acl| acl.associations.values().any(|of| of == subnet))
            .expect("a subnet has a network ACL as long as it lives")
    }

    /// The list that came with the VPC.
    pub(crate) fn default_acl(&self, vpc: &str) -> &NetworkAcl {
        self.network_acls
            .values()
            .find(|acl| acl.vpc == vpc && acl.is_default)
            .expect("a VPC has a default network ACL as long as it lives")
    }
}

/// Makes a list without associations; cannot fail.
fn make(cx: &mut Context<'_>, vpc: &str, is_default: bool, tags: TagMap) -> String {
    let id = cx.mint.id("acl");
    let entries = || is_default.then(|| (100, Entry::allow_all())).into_iter().collect();
    let acl = NetworkAcl {
        id: id.clone(),
        key: cx.mint.key(),
        vpc: vpc.to_owned(),
        is_default,
        ingress: entries(),
        egress: entries(),
        associations: BTreeMap::new(),
    };
    cx.region.network_acls.insert(id.clone(), acl);
    cx.region.set_tags(&id, tags);
    cx.effects.push(cx.region.put_network_acl(&id));
    id
}

/// Makes a new VPC's default list, which lets everything pass.
pub(crate) fn make_default(cx: &mut Context<'_>, vpc: &str) {
    make(cx, vpc, true, TagMap::new());
}

/// Lets everything pass the VPC's default list in IPv6 too, in each direction whose entries are as
/// they were made: what EC2 does where a VPC gets its first IPv6 block ("Default network ACL", VPC
/// User Guide).
pub(crate) fn open_ipv6(cx: &mut Context<'_>, vpc: &str) {
    let id = cx.region.default_acl(vpc).id.clone();
    let acl = cx.region.network_acls.get_mut(&id).expect("found above");
    let made: BTreeMap<u16, Entry> = BTreeMap::from([(100, Entry::allow_all())]);
    for egress in [false, true] {
        let entries = acl.entries_mut(egress);
        if *entries == made {
            entries.insert(101, Entry::allow_all_ipv6());
        }
    }
    cx.effects.push(cx.region.put_network_acl(&id));
}

/// Gives a new subnet its VPC's default list.
pub(crate) fn adopt_subnet(cx: &mut Context<'_>, vpc: &str, subnet: &str) {
    let association = cx.mint.id("aclassoc");
    let acl = cx.region.default_acl(vpc).id.clone();
    let acl = cx.region.network_acls.get_mut(&acl).expect("found above");
    acl.associations.insert(association, subnet.to_owned());
}

/// Ends the association of a subnet that goes.
pub(crate) fn forget_subnet(region: &mut Region, subnet: &str) {
    let has = |acl: &NetworkAcl| acl.associations.values().any(|of| of == subnet);
    for acl in region.network_acls.select_mut(has) {
        acl.associations.retain(|_, of| of != subnet);
    }
}

/// CreateNetworkAcl.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateNetworkAcl {
    vpc_id: String,
    #[serde(default, rename = "TagSpecification")]
    tag_specifications: Vec<TagSpecification>,
    client_token: Option<String>,
}

/// Answer of CreateNetworkAcl.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedAcl {
    network_acl: AclItem,
    client_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AclItem {
    network_acl_id: String,
    vpc_id: String,
    owner_id: &'static str,
    default: bool,
    entry_set: Vec<EntryItem>,
    association_set: Vec<AssociationItem>,
    tag_set: Vec<TagItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AssociationItem {
    network_acl_association_id: String,
    network_acl_id: String,
    subnet_id: String,
}

fn acl_item(region: &Region, acl: &NetworkAcl) -> AclItem {
    let association = |(id, subnet): (&String, &String)| AssociationItem {
        network_acl_association_id: id.clone(),
        network_acl_id: acl.id.clone(),
        subnet_id: subnet.clone(),
    };
    AclItem {
        network_acl_id: acl.id.clone(),
        vpc_id: acl.vpc.clone(),
        owner_id: ACCOUNT,
        default: acl.is_default,
        entry_set: entry_items(region, acl),
        association_set: acl.associations.iter().map(association).collect(),
        tag_set: region.tag_items(&acl.id),
    }
}

pub(crate) fn create(
    cx: &mut Context<'_>,
    request: CreateNetworkAcl,
) -> Result<CreatedAcl, Ec2Error> {
    let vpc = find(&cx.region.vpcs, &request.vpc_id)?.id.clone();
    let tags = requested(&request.tag_specifications, &["network-acl"], "network-acl")?;
    let present = cx.region.network_acls.values().filter(|acl| acl.vpc == vpc).count();
    let quota = cx.quotas.network_acls_per_vpc;
    quota::room(present, quota, "NetworkAclLimitExceeded", "network ACLs")?;
    let id = make(cx, &vpc, false, tags);
    Ok(CreatedAcl {
        network_acl: acl_item(cx.region, &cx.region.network_acls[&id]),
        client_token: request.client_token,
    })
}

/// DeleteNetworkAcl.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteNetworkAcl {
    network_acl_id: String,
}

pub(crate) fn delete(cx: &mut Context<'_>, request: DeleteNetworkAcl) -> Result<Done, Ec2Error> {
    let acl = find(&cx.region.network_acls, &request.network_acl_id)?;
    let id = acl.id.clone();
    if acl.is_default {
        let message = format!("cannot delete default network ACL {id}");
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    if !acl.associations.is_empty() {
        let message = format!("The networkAcl '{id}' has dependencies and cannot be deleted.");
        return Err(Ec2Error::new("DependencyViolation", message));
    }
    remove(cx, &id);
    Ok(Done::new())
}

/// Removes a list that no subnet has.
pub(crate) fn remove(cx: &mut Context<'_>, id: &str) {
    let Some(acl) = cx.region.network_acls.remove(id) else { return };
    cx.region.tags.remove(id);
    let vpc = cx.region.vpcs[&acl.vpc].key;
    cx.effects.push(Effect::RemoveNetworkAcl { vpc, key: acl.key });
}

/// ReplaceNetworkAclAssociation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ReplaceNetworkAclAssociation {
    association_id: String,
    network_acl_id: String,
}

/// Answer of ReplaceNetworkAclAssociation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplacedAssociation {
    new_association_id: String,
}

pub(crate) fn replace_association(
    cx: &mut Context<'_>,
    request: ReplaceNetworkAclAssociation,
) -> Result<ReplacedAssociation, Ec2Error> {
    let region = &*cx.region;
    let id = &request.association_id;
    let old = region.network_acls.values().find(|acl| acl.associations.contains_key(id));
    let old = old.ok_or_else(|| {
        let message = format!("The association ID '{id}' does not exist");
        Ec2Error::new("InvalidAssociationID.NotFound", message)
    })?;
    let new = find(&region.network_acls, &request.network_acl_id)?;
    let subnet = old.associations[id].clone();
    if old.vpc != new.vpc {
        let message =
            format!("network acl {} and subnet {subnet} belong to different networks", new.id);
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    let (old, new) = (old.id.clone(), new.id.clone());
    let new_association_id = cx.mint.id("aclassoc");
    let acls = &mut cx.region.network_acls;
    acls.get_mut(&old).expect("found above").associations.remove(id);
    let new = acls.get_mut(&new).expect("found above");
    new.associations.insert(new_association_id.clone(), subnet.clone());
    cx.effects.push(cx.region.put_subnet(&subnet));
    Ok(ReplacedAssociation { new_association_id })
}

describe_request!(DescribeNetworkAcls, "NetworkAclId");

/// Answer of DescribeNetworkAcls.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AclSet {
    network_acl_set: Vec<AclItem>,
    next_token: Option<String>,
}

macro_rules! entry_field {
    ($read:expr) => {
        |region, acl| {
            let read: fn(&EntryItem) -> Option<String> = $read;
            entry_items(region, acl).iter().filter_map(read).collect()
        }
    };
}

const FILTERS: &[Field<NetworkAcl>] = &[
    ("network-acl-id", |_, a| vec![a.id.clone()]),
    ("vpc-id", |_, a| vec![a.vpc.clone()]),
    ("owner-id", |_, _| vec![ACCOUNT.into()]),
    ("default", |_, a| vec![a.is_default.to_string()]),
    ("association.association-id", |_, a| a.associations.keys().cloned().collect()),
    ("association.network-acl-id", |_, a| a.associations.keys().map(|_| a.id.clone()).collect()),
    ("association.subnet-id", |_, a| a.associations.values().cloned().collect()),
    ("entry.cidr", entry_field!(|e| e.cidr_block.clone())),
    ("entry.ipv6-cidr", entry_field!(|e| e.ipv6_cidr_block.clone())),
    ("entry.egress", entry_field!(|e| Some(e.egress.to_string()))),
    ("entry.protocol", entry_field!(|e| Some(e.protocol.clone()))),
    ("entry.rule-action", entry_field!(|e| Some(e.rule_action.to_owned()))),
    ("entry.rule-number", entry_field!(|e| Some(e.rule_number.to_string()))),
    ("entry.icmp.code", entry_field!(|e| e.icmp_type_code.map(|i| i.code.to_string()))),
    ("entry.icmp.type", entry_field!(|e| e.icmp_type_code.map(|i| i.r#type.to_string()))),
    ("entry.port-range.from", entry_field!(|e| e.port_range.map(|p| p.from.to_string()))),
    ("entry.port-range.to", entry_field!(|e| e.port_range.map(|p| p.to.to_string()))),
];

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeNetworkAcls,
) -> Result<AclSet, Ec2Error> {
    let region = &*cx.region;
    let (page, next_token) = select(region, &region.network_acls, FILTERS, &request.selection())?;
    let network_acl_set = page.into_iter().map(|acl| acl_item(region, acl)).collect();
    Ok(AclSet { network_acl_set, next_token })
}
