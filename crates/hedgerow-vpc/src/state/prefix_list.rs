//! Managed prefix lists: the record, creation, deletion; what AWS owns is in
//! [`super::prefix_list_owned`].

use std::collections::BTreeMap;

use hedgerow_core::sg::IpPrefix;
use serde::{Deserialize, Serialize};

use super::group::SecurityGroup;
use super::region::{Resource, find};
use super::route_destination::Destination;
use super::route_table::RouteTable;
use super::rule_peer::{Family, RulePeer};
use super::tags::{TagItem, TagSpecification, requested};
use super::{ACCOUNT, Context, Region};
use crate::api::error::Ec2Error;
use crate::effect::Effect;

/// Owner of the lists that come with a region.
pub(super) const AWS: &str = "AWS";

/// Most entries that one request adds or removes ("Array Members", EC2 API Reference).
const ENTRIES_PER_REQUEST: usize = 100;

/// Largest size of a list ("Amazon VPC quotas", Amazon VPC User Guide).
const MAX_SIZE: usize = 1_000;

/// Versions kept; an older one is forgotten for a new one (the same page).
const VERSIONS: usize = 1_000;

/// Block in canonical form to its description.
pub(crate) type Entries = BTreeMap<String, Option<String>>;

/// A prefix list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixList {
    /// `pl-…`.
    pub(crate) id: String,
    /// [`ACCOUNT`] or [`AWS`].
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) family: Family,
    /// How many entries it may have; what a rule with it counts as.
    pub(crate) size: usize,
    /// `create-complete`, `modify-complete`, `modify-failed` or `restore-complete`.
    pub(crate) state: String,
    /// Why the last modification failed.
    pub(crate) state_message: Option<String>,
    /// Entries by version; the last is the current one, and there is one.
    pub(crate) versions: BTreeMap<u64, Entries>,
}

impl Resource for PrefixList {
    const NOT_FOUND: &'static str = "InvalidPrefixListID.NotFound";
    const NOUN: &'static str = "prefix list ID";

    fn id(&self) -> &str {
        &self.id
    }
}

impl PrefixList {
    /// The current version.
    pub(crate) fn version(&self) -> u64 {
        *self.versions.last_key_value().expect("a list has a version").0
    }

    /// Entries at the current version.
    pub(crate) fn entries(&self) -> &Entries {
        self.versions.last_key_value().expect("a list has a version").1
    }

    /// Blocks at the current version.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = IpPrefix> {
        self.entries().keys().filter_map(|block| block.parse().ok())
    }

    /// How many rules a rule with this list counts as.
    pub(crate) fn weight(&self) -> usize {
        self.size
    }

    /// Whether AWS owns it, so that nobody here changes it.
    pub(crate) fn is_owned_by_aws(&self) -> bool {
        self.owner == AWS
    }

    /// Makes `entries` the current version, the next number.
    pub(super) fn push_version(&mut self, entries: Entries) {
        let next = self.version() + 1;
        self.versions.insert(next, entries);
        if self.versions.len() > VERSIONS {
            self.versions.pop_first();
        }
    }
}

/// A prefix list in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PrefixListItem {
    prefix_list_id: String,
    address_family: &'static str,
    state: String,
    state_message: Option<String>,
    prefix_list_arn: String,
    prefix_list_name: String,
    max_entries: Option<usize>,
    version: Option<u64>,
    tag_set: Vec<TagItem>,
    owner_id: String,
}

/// Answer of the actions that change a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangedList {
    prefix_list: PrefixListItem,
}

impl ChangedList {
    /// The list as it is, but in the state that EC2 names while it works.
    pub(super) fn new(region: &Region, list: &PrefixList, state: &str) -> Self {
        let item =
            PrefixListItem { state: state.into(), state_message: None, ..item(region, list) };
        ChangedList { prefix_list: item }
    }
}

/// A list for an answer; of AWS's lists size and version are not told.
pub(super) fn item(region: &Region, list: &PrefixList) -> PrefixListItem {
    let ours = !list.is_owned_by_aws();
    let owner = if ours { ACCOUNT } else { "aws" };
    PrefixListItem {
        prefix_list_id: list.id.clone(),
        address_family: list.family.name(),
        state: list.state.clone(),
        state_message: list.state_message.clone(),
        prefix_list_arn: format!("arn:aws:ec2:{}:{owner}:prefix-list/{}", region.name, list.id),
        prefix_list_name: list.name.clone(),
        max_entries: ours.then_some(list.size),
        version: ours.then(|| list.version()),
        tag_set: region.tag_items(&list.id),
        owner_id: list.owner.clone(),
    }
}

impl Region {
    /// Ids of what refers to the list: groups, then route tables.
    pub(crate) fn prefix_list_users(&self, id: &str) -> Vec<String> {
        let groups = self.groups_with_list(id).map(|group| group.id.clone());
        groups.chain(self.tables_with_list(id).map(|table| table.id.clone())).collect()
    }

    /// Groups with a rule that names the list.
    pub(super) fn groups_with_list(&self, id: &str) -> impl Iterator<Item = &SecurityGroup> {
        let peer = RulePeer::PrefixList(id.to_owned());
        self.groups.values().filter(move |group| group.refers_to(&peer))
    }

    /// Tables with a route for the list.
    pub(super) fn tables_with_list(&self, id: &str) -> impl Iterator<Item = &RouteTable> {
        let list = Destination::List(id.to_owned());
        let has = move |table: &&RouteTable| table.routes.iter().any(|r| r.destination == list);
        self.route_tables.values().filter(has)
    }

    /// The effects that bring a changed list to packets.
    pub(super) fn put_prefix_list_users(&self, id: &str) -> Vec<Effect> {
        let groups = self.groups_with_list(id).flat_map(|group| self.put_group(&group.id));
        groups.chain(self.tables_with_list(id).map(|t| self.put_route_table(&t.id))).collect()
    }
}

/// The list with this id.
///
/// # Errors
/// `InvalidPrefixListID.NotFound`, `InvalidPrefixListId.Malformed`
pub(crate) fn named<'r>(region: &'r Region, id: &str) -> Result<&'r PrefixList, Ec2Error> {
    if !id.starts_with("pl-") {
        let message = format!("Invalid id: \"{id}\" (expecting \"pl-...\")");
        return Err(Ec2Error::new("InvalidPrefixListId.Malformed", message));
    }
    find(&region.prefix_lists, id)
}

/// The list with this id, to change.
///
/// # Errors
/// Those of [`named`]; `UnauthorizedOperation` for AWS's.
pub(super) fn named_own<'r>(region: &'r Region, id: &str) -> Result<&'r PrefixList, Ec2Error> {
    let list = named(region, id)?;
    if list.is_owned_by_aws() {
        let message = format!(
            "You are not authorized to perform this operation. The prefix list '{id}' is owned by \
             AWS."
        );
        return Err(Ec2Error::new("UnauthorizedOperation", message));
    }
    Ok(list)
}

/// An entry in requests.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct EntryRequest {
    pub cidr: String,
    pub description: Option<String>,
}

/// CreateManagedPrefixList.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateManagedPrefixList {
    prefix_list_name: String,
    address_family: String,
    max_entries: i64,
    #[serde(default, rename = "Entry")]
    entries: Vec<EntryRequest>,
    #[serde(default, rename = "TagSpecification")]
    tag_specifications: Vec<TagSpecification>,
    #[serde(rename = "ClientToken")]
    _client_token: Option<String>,
}

pub(crate) fn create(
    cx: &mut Context<'_>,
    request: CreateManagedPrefixList,
) -> Result<ChangedList, Ec2Error> {
    check_name(&request.prefix_list_name)?;
    let family = match request.address_family.to_ascii_lowercase().as_str() {
        "ipv4" => Family::V4,
        "ipv6" => Family::V6,
        _ => {
            let why = "Valid values are IPv4 and IPv6.";
            return Err(Ec2Error::value("AddressFamily", request.address_family, why));
        }
    };
    let size = check_size(request.max_entries)?;
    check_count(request.entries.len())?;
    let mut entries = Entries::new();
    for EntryRequest { cidr, description } in &request.entries {
        let block = check_block(family, cidr)?;
        check_entry_description(description)?;
        if entries.insert(block, description.clone()).is_some() {
            return Err(Ec2Error::value("Cidr", cidr, "The entry is given twice."));
        }
    }
    check_room(entries.len(), size)?;
    let tags = requested(&request.tag_specifications, &["prefix-list"], "prefix-list")?;

    let id = cx.mint.id("pl");
    let list = PrefixList {
        id: id.clone(),
        owner: ACCOUNT.to_owned(),
        name: request.prefix_list_name,
        family,
        size,
        state: "create-complete".to_owned(),
        state_message: None,
        versions: BTreeMap::from([(1, entries)]),
    };
    cx.region.set_tags(&id, tags);
    cx.region.prefix_lists.insert(id.clone(), list);
    Ok(ChangedList::new(cx.region, &cx.region.prefix_lists[&id], "create-in-progress"))
}

/// Names: 1 to 255 characters, not AWS's.
pub(super) fn check_name(name: &str) -> Result<(), Ec2Error> {
    if name.is_empty() || name.chars().count() > 255 {
        let why = "A prefix list's name has 1 to 255 characters.";
        return Err(Ec2Error::value("PrefixListName", name, why));
    }
    if name.to_ascii_lowercase().starts_with("com.amazonaws") {
        let why = "The name cannot start with com.amazonaws.";
        return Err(Ec2Error::value("PrefixListName", name, why));
    }
    Ok(())
}

/// A list's size.
pub(super) fn check_size(size: i64) -> Result<usize, Ec2Error> {
    usize::try_from(size).ok().filter(|size| (1..=MAX_SIZE).contains(size)).ok_or_else(|| {
        let message = format!("Must specify a max size between 1 and {MAX_SIZE}");
        Ec2Error::new("InvalidParameterValue", message)
    })
}

/// How many entries a request adds or removes.
pub(super) fn check_count(count: usize) -> Result<(), Ec2Error> {
    if count > ENTRIES_PER_REQUEST {
        let message = format!(
            "The number of entries per request cannot exceeds limit ({ENTRIES_PER_REQUEST})."
        );
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    Ok(())
}

/// Whether `count` entries fit a list of this size.
pub(super) fn check_room(count: usize, size: usize) -> Result<(), Ec2Error> {
    if count > size {
        let message = format!(
            "You've reached the maximum number of entries for the prefix list: {count} entries, \
             at most {size}."
        );
        return Err(Ec2Error::new("PrefixListMaxEntriesExceeded", message));
    }
    Ok(())
}

/// An entry's block in canonical form.
pub(super) fn check_block(family: Family, cidr: &str) -> Result<String, Ec2Error> {
    family.canonical(cidr).map_err(|_| {
        let message = format!("The CIDR '{cidr}' is not a valid {} CIDR", family.name());
        Ec2Error::new("InvalidParameterValue", message)
    })
}

/// An entry's description.
pub(super) fn check_entry_description(text: &Option<String>) -> Result<(), Ec2Error> {
    match text.as_ref().filter(|text| text.chars().count() > 255) {
        None => Ok(()),
        Some(text) => {
            let why = "An entry's description has at most 255 characters.";
            Err(Ec2Error::value("Description", text, why))
        }
    }
}

/// DeleteManagedPrefixList.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteManagedPrefixList {
    prefix_list_id: String,
}

pub(crate) fn delete(
    cx: &mut Context<'_>,
    request: DeleteManagedPrefixList,
) -> Result<ChangedList, Ec2Error> {
    let list = named_own(cx.region, &request.prefix_list_id)?;
    let users = cx.region.prefix_list_users(&list.id);
    if !users.is_empty() {
        let message = format!(
            "The prefix list '{}' is in use by {} and cannot be deleted.",
            list.id,
            users.join(", ")
        );
        return Err(Ec2Error::new("DependencyViolation", message));
    }
    let answer = ChangedList::new(cx.region, list, "delete-in-progress");
    let id = list.id.clone();
    cx.region.prefix_lists.remove(&id);
    cx.region.tags.remove(&id);
    Ok(answer)
}
