//! ModifyManagedPrefixList and RestoreManagedPrefixListVersion: new versions, which reach packets.

use hedgerow_core::sg::Direction;
use serde::Deserialize;

use super::group::SecurityGroup;
use super::prefix_list::{
    ChangedList, Entries, EntryRequest, PrefixList, check_block, check_count,
    check_entry_description, check_name, check_room, check_size, named_own,
};
use super::route_destination::Destination;
use super::route_table::RouteTable;
use super::rule_actions::over_quota;
use super::rule_peer::{Family, RulePeer};
use super::{Context, Quotas, Region};
use crate::api::error::Ec2Error;

/// Users that a failed change of size names (ModifyManagedPrefixList, EC2 API Reference).
const NAMED_USERS: usize = 10;

/// ModifyManagedPrefixList.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ModifyManagedPrefixList {
    prefix_list_id: String,
    current_version: Option<u64>,
    prefix_list_name: Option<String>,
    #[serde(default, rename = "AddEntry")]
    add: Vec<EntryRequest>,
    #[serde(default, rename = "RemoveEntry")]
    remove: Vec<RemoveEntry>,
    max_entries: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RemoveEntry {
    cidr: String,
}

pub(crate) fn modify(
    cx: &mut Context<'_>,
    request: ModifyManagedPrefixList,
) -> Result<ChangedList, Ec2Error> {
    let list = named_own(cx.region, &request.prefix_list_id)?;
    let changes_entries = !request.add.is_empty() || !request.remove.is_empty();
    if changes_entries && request.max_entries.is_some() {
        let message = "You cannot modify the entries and the maximum entries for the prefix list \
                       in the same request.";
        return Err(Ec2Error::new("InvalidParameterCombination", message));
    }
    if changes_entries && request.current_version.is_none() {
        return Err(Ec2Error::missing("CurrentVersion"));
    }
    check_version(list, request.current_version)?;
    request.prefix_list_name.as_deref().map_or(Ok(()), check_name)?;
    let entries = changes_entries.then(|| changed_entries(list, &request)).transpose()?;
    let size = request.max_entries.map(check_size).transpose()?;
    if let Some(size) = size {
        check_room(list.entries().len(), size)?;
    }

    let too_large_for =
        size.map_or(Vec::new(), |size| without_room(cx.region, cx.quotas, list, size));
    let id = list.id.clone();
    let list = cx.region.prefix_lists.get_mut(&id).expect("found above");
    if let Some(name) = request.prefix_list_name {
        list.name = name;
    }
    (list.state, list.state_message) = ("modify-complete".to_owned(), None);
    if let Some(size) = size {
        resize(list, size, &too_large_for);
    }
    if let Some(entries) = entries {
        list.push_version(entries);
        cx.effects.extend(cx.region.put_prefix_list_users(&id));
    }
    Ok(ChangedList::new(cx.region, &cx.region.prefix_lists[&id], "modify-in-progress"))
}

fn check_version(list: &PrefixList, given: Option<u64>) -> Result<(), Ec2Error> {
    if given.is_some_and(|given| given != list.version()) {
        let message = "The prefix list has the incorrect version number.";
        return Err(Ec2Error::new("PrefixListVersionMismatch", message));
    }
    Ok(())
}

/// The entries as the request wants them.
fn changed_entries(
    list: &PrefixList,
    request: &ModifyManagedPrefixList,
) -> Result<Entries, Ec2Error> {
    check_count(request.add.len())?;
    check_count(request.remove.len())?;
    let refuse = |message: String| Err(Ec2Error::new("InvalidPrefixListModification", message));
    let mut entries = list.entries().clone();
    let mut named = Vec::new();
    for RemoveEntry { cidr } in &request.remove {
        let block = check_block(list.family, cidr)?;
        if entries.remove(&block).is_none() {
            return refuse(format!("Entry to remove with CIDR {cidr} does not exist."));
        }
        named.push(block);
    }
    for EntryRequest { cidr, description } in &request.add {
        let block = check_block(list.family, cidr)?;
        check_entry_description(description)?;
        // A description changes by removing the entry, and adding it in the next request.
        if named.contains(&block) {
            return refuse(format!("The CIDR {cidr} is named more than once in the request."));
        }
        named.push(block.clone());
        if entries.insert(block, description.clone()).is_some() {
            return refuse(format!("Entry to add with CIDR {cidr} already exists."));
        }
    }
    check_room(entries.len(), list.size)?;
    Ok(entries)
}

/// The groups that would have too many rules, and the tables that would have too many routes, if the
/// list had this size.
fn without_room(region: &Region, quotas: &Quotas, list: &PrefixList, size: usize) -> Vec<String> {
    let resized = match list.family {
        Family::V4 => (size, 0),
        Family::V6 => (0, size),
    };
    let of_peer = |peer: &RulePeer| match peer {
        RulePeer::PrefixList(id) if *id == list.id => resized,
        _ => peer.weights(region),
    };
    let full = |group: &&SecurityGroup| {
        let over =
            |direction| over_quota(quotas, group.rules(direction).map(|rule| of_peer(&rule.peer)));
        over(Direction::Ingress) || over(Direction::Egress)
    };
    let of_route = |to: &Destination| match to {
        Destination::List(id) if *id == list.id => resized,
        _ => to.weights(region),
    };
    let crowded = |table: &&RouteTable| {
        let own = table.routes.iter().filter(|route| !route.original);
        let weights = own.map(|route| of_route(&route.destination));
        let (v4, v6) = weights.fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1));
        v4.max(v6) > quotas.routes_per_table
    };
    let groups = region.groups_with_list(&list.id).filter(full).map(|group| group.id.clone());
    let tables = region.tables_with_list(&list.id).filter(crowded).map(|table| table.id.clone());
    groups.chain(tables).collect()
}

/// Gives the list its size, or says in its state which groups do not bear it.
fn resize(list: &mut PrefixList, size: usize, too_large_for: &[String]) {
    if too_large_for.is_empty() {
        list.size = size;
        return;
    }
    let named = &too_large_for[..too_large_for.len().min(NAMED_USERS)];
    list.state = "modify-failed".to_owned();
    list.state_message = Some(format!(
        "The following resources do not support the new maximum size: {}",
        named.join(", ")
    ));
}

/// RestoreManagedPrefixListVersion.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct RestoreVersion {
    prefix_list_id: String,
    previous_version: u64,
    current_version: u64,
}

pub(crate) fn restore(
    cx: &mut Context<'_>,
    request: RestoreVersion,
) -> Result<ChangedList, Ec2Error> {
    let list = named_own(cx.region, &request.prefix_list_id)?;
    check_version(list, Some(request.current_version))?;
    let entries = at_version(list, request.previous_version)?.clone();
    check_room(entries.len(), list.size)?;

    let id = list.id.clone();
    let list = cx.region.prefix_lists.get_mut(&id).expect("found above");
    list.push_version(entries);
    (list.state, list.state_message) = ("restore-complete".to_owned(), None);
    cx.effects.extend(cx.region.put_prefix_list_users(&id));
    Ok(ChangedList::new(cx.region, &cx.region.prefix_lists[&id], "restore-in-progress"))
}

/// The entries of one version.
///
/// # Errors
/// `InvalidParameterValue` for a version that never was or is forgotten.
pub(super) fn at_version(list: &PrefixList, version: u64) -> Result<&Entries, Ec2Error> {
    list.versions.get(&version).ok_or_else(|| {
        let message = format!("The prefix list '{}' has no version {version}.", list.id);
        Ec2Error::new("InvalidParameterValue", message)
    })
}
