//! ModifyManagedPrefixList and RestoreManagedPrefixListVersion: new versions, which reach packets.

use hedgerow_core::sg::Direction;
use serde::Deserialize;

use super::prefix_list::{
    ChangedList, Entries, EntryRequest, PrefixList, check_block, check_count,
    check_entry_description, check_name, check_room, check_size, named_own,
};
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

/// The groups that would have too many rules if the list had this size.
fn without_room(region: &Region, quotas: &Quotas, list: &PrefixList, size: usize) -> Vec<String> {
    let weights = |peer: &RulePeer| match (peer, list.family) {
        (RulePeer::PrefixList(id), Family::V4) if *id == list.id => (size, 0),
        (RulePeer::PrefixList(id), Family::V6) if *id == list.id => (0, size),
        _ => peer.weights(region),
    };
    let full = |id: &String| {
        let group = &region.groups[id];
        let over =
            |direction| over_quota(quotas, group.rules(direction).map(|rule| weights(&rule.peer)));
        over(Direction::Ingress) || over(Direction::Egress)
    };
    region.prefix_list_users(&list.id).into_iter().filter(full).collect()
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
