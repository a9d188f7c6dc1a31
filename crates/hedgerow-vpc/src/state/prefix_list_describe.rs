//! What is asked of prefix lists: themselves, their entries, who uses them.

use serde::{Deserialize, Serialize};

use super::prefix_list::{PrefixList, PrefixListItem, item, named};
use super::prefix_list_modify::at_version;
use super::select::{
    Field, Selection, check_filters, describe_request, matches_all, page_within, select,
};
use super::{ACCOUNT, Context, Region};
use crate::api::error::Ec2Error;

/// Page sizes of lists and entries (EC2 API Reference).
const PAGES: std::ops::RangeInclusive<usize> = 1..=100;

describe_request!(DescribeManagedPrefixLists, "PrefixListId");

/// Answer of DescribeManagedPrefixLists.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ManagedSet {
    prefix_list_set: Vec<PrefixListItem>,
    next_token: Option<String>,
}

const FILTERS: &[Field<PrefixList>] = &[
    ("owner-id", |_, list| vec![list.owner.clone()]),
    ("prefix-list-id", |_, list| vec![list.id.clone()]),
    ("prefix-list-name", |_, list| vec![list.name.clone()]),
];

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeManagedPrefixLists,
) -> Result<ManagedSet, Ec2Error> {
    let region = &*cx.region;
    request.ids.iter().try_for_each(|id| named(region, id).map(drop))?;
    let wanted = request.selection();
    check_filters(wanted.filters, FILTERS)?;
    let matching = region.prefix_lists.values().filter(|list| {
        (wanted.ids.is_empty() || wanted.ids.contains(&list.id))
            && matches_all(region, *list, &list.id, FILTERS, wanted.filters)
    });
    let (lists, next_token) = page_within(matching, |list| &list.id, &wanted, PAGES)?;
    let prefix_list_set = lists.into_iter().map(|list| item(region, list)).collect();
    Ok(ManagedSet { prefix_list_set, next_token })
}

/// GetManagedPrefixListEntries.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct GetEntries {
    prefix_list_id: String,
    target_version: Option<u64>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// Answer of GetManagedPrefixListEntries.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EntrySet {
    entry_set: Vec<EntryItem>,
    next_token: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryItem {
    cidr: String,
    description: Option<String>,
}

pub(crate) fn entries(cx: &mut Context<'_>, request: GetEntries) -> Result<EntrySet, Ec2Error> {
    let list = named(cx.region, &request.prefix_list_id)?;
    let entries = match request.target_version {
        Some(version) => at_version(list, version)?,
        None => list.entries(),
    };
    let entry = |(cidr, description): (&String, &Option<String>)| EntryItem {
        cidr: cidr.clone(),
        description: description.clone(),
    };
    let all: Vec<EntryItem> = entries.iter().map(entry).collect();
    let wanted = paging(request.max_results, request.next_token.as_deref());
    let (page, next_token) = page_within(all.iter(), |entry| &entry.cidr, &wanted, PAGES)?;
    Ok(EntrySet { entry_set: page.into_iter().cloned().collect(), next_token })
}

fn paging(max_results: Option<usize>, next_token: Option<&str>) -> Selection<'_> {
    Selection { ids: &[], filters: &[], max_results, next_token }
}

/// GetManagedPrefixListAssociations.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct GetAssociations {
    prefix_list_id: String,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// Answer of GetManagedPrefixListAssociations.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AssociationSet {
    prefix_list_association_set: Vec<AssociationItem>,
    next_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AssociationItem {
    resource_id: String,
    resource_owner: &'static str,
}

pub(crate) fn associations(
    cx: &mut Context<'_>,
    request: GetAssociations,
) -> Result<AssociationSet, Ec2Error> {
    let list = named(cx.region, &request.prefix_list_id)?;
    let users = cx.region.prefix_list_users(&list.id);
    let wanted = paging(request.max_results, request.next_token.as_deref());
    let (page, next_token) = page_within(users.iter(), |id| id, &wanted, 5..=255)?;
    let item = |id: &String| AssociationItem { resource_id: id.clone(), resource_owner: ACCOUNT };
    Ok(AssociationSet {
        prefix_list_association_set: page.into_iter().map(item).collect(),
        next_token,
    })
}

describe_request!(DescribePrefixLists, "PrefixListId");

/// Answer of DescribePrefixLists: AWS's lists with their blocks.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceSet {
    prefix_list_set: Vec<ServiceItem>,
    next_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceItem {
    prefix_list_id: String,
    prefix_list_name: String,
    cidr_set: Vec<String>,
}

const SERVICE_FILTERS: &[Field<PrefixList>] = &[
    ("prefix-list-id", |_, list| vec![list.id.clone()]),
    ("prefix-list-name", |_, list| vec![list.name.clone()]),
];

pub(crate) fn describe_services(
    cx: &mut Context<'_>,
    request: DescribePrefixLists,
) -> Result<ServiceSet, Ec2Error> {
    let region: &Region = cx.region;
    request.ids.iter().try_for_each(|id| named(region, id).map(drop))?;
    let owned = region.prefix_lists.iter().filter(|(_, list)| list.is_owned_by_aws());
    let owned = owned.map(|(id, list)| (id.clone(), list.clone())).collect();
    let (lists, next_token) = select(region, &owned, SERVICE_FILTERS, &request.selection())?;
    let item = |list: &PrefixList| ServiceItem {
        prefix_list_id: list.id.clone(),
        prefix_list_name: list.name.clone(),
        cidr_set: list.entries().keys().cloned().collect(),
    };
    Ok(ServiceSet { prefix_list_set: lists.into_iter().map(item).collect(), next_token })
}
