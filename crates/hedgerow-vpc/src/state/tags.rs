//! Tags: on creation (`TagSpecification`) and later (CreateTags, DeleteTags, DescribeTags).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Context;
use super::region::Region;
use super::select::{Field, Filter, Selection, check_filters, fits, matches_all, page};
use crate::api::Done;
use crate::api::error::Ec2Error;

/// Tags a resource can have.
const MAX_TAGS: usize = 50;
/// Resources in one request.
const MAX_RESOURCES: usize = 1_000;

/// A tag as requests write it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Tag {
    pub key: String,
    pub value: Option<String>,
}

/// Tags for the resources of one kind that an action makes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct TagSpecification {
    pub resource_type: String,
    #[serde(default, rename = "Tag")]
    pub tags: Vec<Tag>,
}

/// A tag as answers write it.
#[derive(Debug, Serialize)]
pub(crate) struct TagItem {
    key: String,
    value: String,
}

pub(crate) type TagMap = BTreeMap<String, String>;

/// The tags that `specifications` ask for on a resource of `kind`.
///
/// # Errors
/// `InvalidParameterValue` where a specification names a kind not in `kinds` or a tag is not
/// possible, `TagLimitExceeded` for more than 50.
pub(crate) fn requested(
    specifications: &[TagSpecification],
    kinds: &[&str],
    kind: &str,
) -> Result<TagMap, Ec2Error> {
    let mut tags = TagMap::new();
    for specification in specifications {
        let given = specification.resource_type.as_str();
        if !kinds.contains(&given) {
            let message =
                format!("'{given}' is not a valid taggable resource type for this operation.");
            return Err(Ec2Error::new("InvalidParameterValue", message));
        }
        for tag in &specification.tags {
            check(tag)?;
            if given == kind {
                let value = tag.value.clone().unwrap_or_default();
                if tags.insert(tag.key.clone(), value).is_some() {
                    let message = format!("Duplicate tag key '{}' specified.", tag.key);
                    return Err(Ec2Error::new("InvalidParameterValue", message));
                }
            }
        }
    }
    check_count(tags.len())?;
    Ok(tags)
}

fn check(tag: &Tag) -> Result<(), Ec2Error> {
    let refuse = |message: String| Err(Ec2Error::new("InvalidParameterValue", message));
    if tag.key.is_empty() || tag.key.chars().count() > 128 {
        return refuse("Tag keys must be from 1 to 128 characters long".into());
    }
    if tag.value.as_ref().is_some_and(|v| v.chars().count() > 256) {
        return refuse(format!("The value of tag '{}' is longer than 256 characters", tag.key));
    }
    if tag.key.to_ascii_lowercase().starts_with("aws:") {
        return refuse("Tag keys starting with 'aws:' are reserved for internal use".into());
    }
    Ok(())
}

/// Refuses keys that cannot be names in an instance's metadata, as EC2 does where its tags are read
/// there ("View tags for your EC2 instances using instance metadata").
pub(crate) fn check_readable<'k>(
    keys: impl IntoIterator<Item = &'k String>,
) -> Result<(), Ec2Error> {
    let known = |c: char| c.is_ascii_alphanumeric() || "-_+=,.@:".contains(c);
    let fits = |key: &str| key.chars().all(known) && ![".", "..", "_index"].contains(&key);
    match keys.into_iter().find(|key| !fits(key)) {
        None => Ok(()),
        Some(key) => {
            let message = format!(
                "'{key}' is not a valid tag key. Tag keys must match pattern \
                 ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and must not be a reserved name ('.', '..', \
                 '_index')"
            );
            Err(Ec2Error::new("InvalidParameterValue", message))
        }
    }
}

fn check_resources(ids: &[String]) -> Result<(), Ec2Error> {
    if ids.len() > MAX_RESOURCES {
        let message = format!("More than {MAX_RESOURCES} resources specified in one request");
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    Ok(())
}

fn check_count(count: usize) -> Result<(), Ec2Error> {
    if count > MAX_TAGS {
        let message = format!("More than {MAX_TAGS} tags specified for the resource");
        return Err(Ec2Error::new("TagLimitExceeded", message));
    }
    Ok(())
}

impl Region {
    /// Sets the tags of a new resource.
    pub(crate) fn set_tags(&mut self, id: &str, tags: TagMap) {
        if !tags.is_empty() {
            self.tags.insert(id.to_owned(), tags);
        }
    }

    /// A resource's tags for an answer.
    pub(crate) fn tag_items(&self, id: &str) -> Vec<TagItem> {
        let tags = self.tags.get(id).into_iter().flatten();
        tags.map(|(key, value)| TagItem { key: key.clone(), value: value.clone() }).collect()
    }

    /// The kind of the resource with this id, as tag answers name it.
    ///
    /// # Errors
    /// The kind's own not-found error; `InvalidID` where the id is of no kind.
    fn kind(&self, id: &str) -> Result<&'static str, Ec2Error> {
        use super::region::find;
        match id.split_once('-').map_or("", |(prefix, _)| prefix) {
            "vpc" => find(&self.vpcs, id).map(|_| "vpc"),
            "subnet" => find(&self.subnets, id).map(|_| "subnet"),
            "rtb" => find(&self.route_tables, id).map(|_| "route-table"),
            "acl" => find(&self.network_acls, id).map(|_| "network-acl"),
            "igw" => find(&self.internet_gateways, id).map(|_| "internet-gateway"),
            "eigw" => find(&self.egress_gateways, id).map(|_| "egress-only-internet-gateway"),
            "nat" => find(&self.nat_gateways, id).map(|_| "natgateway"),
            "eipalloc" => find(&self.addresses, id).map(|_| "elastic-ip"),
            "scr" => self.reservation(id).map(|_| "subnet-cidr-reservation"),
            "sg" => find(&self.groups, id).map(|_| "security-group"),
            "sgr" => self.rule(id).map(|_| "security-group-rule"),
            "pl" => find(&self.prefix_lists, id).map(|_| "prefix-list"),
            "eni" => find(&self.interfaces, id).map(|_| "network-interface"),
            "fl" => find(&self.flow_logs, id).map(|_| "vpc-flow-log"),
            "i" => find(&self.instances, id).map(|_| "instance"),
            _ => Err(Ec2Error::new("InvalidID", format!("The ID '{id}' is not valid"))),
        }
    }
}

/// CreateTags.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateTags {
    #[serde(default, rename = "ResourceId")]
    resources: Vec<String>,
    #[serde(default, rename = "Tag")]
    tags: Vec<Tag>,
}

pub(crate) fn create(cx: &mut Context<'_>, request: CreateTags) -> Result<Done, Ec2Error> {
    if request.resources.is_empty() {
        return Err(Ec2Error::missing("resourceIdSet"));
    }
    if request.tags.is_empty() {
        return Err(Ec2Error::missing("tagSet"));
    }
    check_resources(&request.resources)?;
    request.tags.iter().try_for_each(check)?;
    let keys: BTreeSet<&str> = request.tags.iter().map(|tag| tag.key.as_str()).collect();
    if keys.len() < request.tags.len() {
        let message = "A tag key is specified more than once";
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    for id in &request.resources {
        cx.region.kind(id)?;
        if cx.region.instances.get(id).is_some_and(|instance| instance.metadata.tags) {
            check_readable(request.tags.iter().map(|tag| &tag.key))?;
        }
        let present = cx.region.tags.get(id);
        let new =
            request.tags.iter().filter(|t| present.is_none_or(|p| !p.contains_key(&t.key))).count();
        check_count(present.map_or(0, BTreeMap::len) + new)?;
    }
    for id in request.resources {
        if !cx.region.tags.contains_key(&id) {
            cx.region.tags.insert(id.clone(), TagMap::new());
        }
        let tags = cx.region.tags.get_mut(&id).expect("it has some");
        for tag in &request.tags {
            tags.insert(tag.key.clone(), tag.value.clone().unwrap_or_default());
        }
    }
    Ok(Done::new())
}

/// DeleteTags: without tags all of them go; a tag with a value goes only if it has that value.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteTags {
    #[serde(default, rename = "ResourceId")]
    resources: Vec<String>,
    #[serde(default, rename = "Tag")]
    tags: Vec<Tag>,
}

pub(crate) fn delete(cx: &mut Context<'_>, request: DeleteTags) -> Result<Done, Ec2Error> {
    if request.resources.is_empty() {
        return Err(Ec2Error::missing("resourceIdSet"));
    }
    check_resources(&request.resources)?;
    request.tags.iter().try_for_each(check)?;
    for id in &request.resources {
        cx.region.kind(id)?;
    }
    for id in &request.resources {
        let Some(present) = cx.region.tags.get_mut(id) else { continue };
        present.retain(|key, value| {
            let goes = |tag: &Tag| tag.key == *key && tag.value.as_ref().is_none_or(|v| v == value);
            !(request.tags.is_empty() || request.tags.iter().any(goes))
        });
        if present.is_empty() {
            cx.region.tags.remove(id);
        }
    }
    Ok(Done::new())
}

/// DescribeTags.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeTags {
    #[serde(default, rename = "Filter")]
    filters: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// Answer of DescribeTags.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TagSet {
    tag_set: Vec<TagDescription>,
    next_token: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct TagDescription {
    resource_id: String,
    resource_type: &'static str,
    key: String,
    value: String,
    /// Orders the pages: id and key.
    #[serde(skip)]
    position: String,
}

const FILTERS: &[Field<TagDescription>] = &[
    ("key", |_, t| vec![t.key.clone()]),
    ("value", |_, t| vec![t.value.clone()]),
    ("resource-id", |_, t| vec![t.resource_id.clone()]),
    ("resource-type", |_, t| vec![t.resource_type.to_owned()]),
];

pub(crate) fn describe(cx: &mut Context<'_>, request: DescribeTags) -> Result<TagSet, Ec2Error> {
    let region = &*cx.region;
    check_filters(&request.filters, FILTERS)?;
    // Here `tag:KEY` means the tag itself, not a resource that has it.
    let mut of_tags = Vec::new();
    let mut others = Vec::new();
    for filter in &request.filters {
        match filter.name.strip_prefix("tag:") {
            Some(key) => of_tags.push((key, filter)),
            None => others.push(filter.clone()),
        }
    }
    let mut all = Vec::new();
    for (id, tags) in region.tags.iter() {
        let Ok(kind) = region.kind(id) else { continue };
        for (key, value) in tags {
            let tag = TagDescription {
                resource_id: id.clone(),
                resource_type: kind,
                key: key.clone(),
                value: value.clone(),
                position: format!("{id} {key}"),
            };
            let of_tag = of_tags.iter().all(|(name, filter)| name == key && fits(filter, value));
            if of_tag && matches_all(region, &tag, id, FILTERS, &others) {
                all.push(tag);
            }
        }
    }
    let wanted = Selection {
        ids: &[],
        filters: &[],
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
    };
    let (tags, next_token) = page(all.iter(), |tag| &tag.position, &wanted)?;
    Ok(TagSet { tag_set: tags.into_iter().cloned().collect(), next_token })
}
