//! RDS: groups of subnets that databases are put into.
//!
//! Source of shapes and codes: Amazon RDS API Reference, API version 2014-10-31.

use std::collections::{BTreeMap, BTreeSet};

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use super::{ACCOUNT, Context, Region};
use crate::api::error::Ec2Error;

/// The name of the group that RDS makes of the default VPC, and nobody else may use.
const DEFAULT: &str = "default";

/// A DB subnet group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetGroup {
    pub(crate) name: String,
    description: String,
    pub(crate) vpc: String,
    pub(crate) subnets: Vec<String>,
    pub(crate) tags: BTreeMap<String, String>,
}

impl SubnetGroup {
    /// Whether it is the default VPC's own.
    pub(crate) fn is_default(&self) -> bool {
        self.name == DEFAULT
    }
}

/// A list whose elements RDS calls by a name of their own: `<Subnets><Subnet>…</Subnet></Subnets>`.
#[derive(Debug)]
pub(crate) struct Members<T>(pub &'static str, pub Vec<T>);

impl<T: Serialize> Serialize for Members<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_struct("Members", self.1.len())?;
        for item in &self.1 {
            list.serialize_field(self.0, item)?;
        }
        list.end()
    }
}

/// The list `Name.Tag.1.Key` of requests.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tags {
    #[serde(default, rename = "Tag", alias = "member")]
    list: Vec<super::tags::Tag>,
}

impl Tags {
    pub fn map(self) -> BTreeMap<String, String> {
        self.list.into_iter().map(|tag| (tag.key, tag.value.unwrap_or_default())).collect()
    }
}

/// A tag in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TagItem {
    key: String,
    value: String,
}

pub(crate) fn tag_items(tags: &BTreeMap<String, String>) -> Members<TagItem> {
    let item =
        |(key, value): (&String, &String)| TagItem { key: key.clone(), value: value.clone() };
    Members("Tag", tags.iter().map(item).collect())
}

/// A subnet group in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SubnetGroupItem {
    #[serde(rename = "DBSubnetGroupName")]
    name: String,
    #[serde(rename = "DBSubnetGroupDescription")]
    description: String,
    vpc_id: String,
    subnet_group_status: &'static str,
    subnets: Members<SubnetItem>,
    #[serde(rename = "DBSubnetGroupArn")]
    arn: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SubnetItem {
    subnet_identifier: String,
    subnet_availability_zone: ZoneItem,
    subnet_status: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ZoneItem {
    name: String,
}

impl Region {
    /// A subnet group for an answer. Subnets that were deleted since are not shown.
    pub(crate) fn subnet_group_item(&self, group: &SubnetGroup) -> SubnetGroupItem {
        let item = |id: &String| {
            Some(SubnetItem {
                subnet_identifier: id.clone(),
                subnet_availability_zone: ZoneItem {
                    name: self.subnets.get(id)?.zone.name.clone(),
                },
                subnet_status: "Active",
            })
        };
        SubnetGroupItem {
            name: group.name.clone(),
            description: group.description.clone(),
            vpc_id: group.vpc.clone(),
            subnet_group_status: "Complete",
            subnets: Members("Subnet", group.subnets.iter().filter_map(item).collect()),
            arn: format!("arn:aws:rds:{}:{ACCOUNT}:subgrp:{}", self.name, group.name),
        }
    }
}

/// The group of this name.
///
/// # Errors
/// `DBSubnetGroupNotFoundFault`.
pub(crate) fn find<'r>(region: &'r Region, name: &str) -> Result<&'r SubnetGroup, Ec2Error> {
    region.subnet_groups.get(&name.to_ascii_lowercase()).ok_or_else(|| {
        let message = format!("DB subnet group '{name}' does not exist.");
        Ec2Error::new("DBSubnetGroupNotFoundFault", message)
    })
}

/// The group of databases that name none: the default VPC's default subnets.
///
/// # Errors
/// `InvalidSubnet` where there are not enough of them.
pub(crate) fn of_default_vpc(region: &Region) -> Result<SubnetGroup, Ec2Error> {
    if let Some(group) = region.subnet_groups.get(DEFAULT) {
        return Ok(group.clone());
    }
    let missing = || {
        let message = "No default subnet detected in VPC. Please contact AWS Support to recreate \
                       the default Subnets.";
        Ec2Error::new("InvalidSubnet", message)
    };
    let vpc = region.default_vpc().ok_or_else(missing)?;
    let subnets = region.subnets.values();
    let subnets = subnets.filter(|subnet| subnet.vpc == vpc.id && subnet.default_for_zone);
    let subnets: Vec<String> = subnets.map(|subnet| subnet.id.clone()).collect();
    let vpc = check_subnets(region, &subnets).map_err(|_| missing())?;
    let (name, description) = (DEFAULT.to_owned(), DEFAULT.to_owned());
    Ok(SubnetGroup { name, description, vpc, subnets, tags: BTreeMap::new() })
}

/// The list `SubnetIds.SubnetIdentifier.1` of requests.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubnetIds {
    #[serde(default, rename = "SubnetIdentifier", alias = "member")]
    list: Vec<String>,
}

/// CreateDBSubnetGroup.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateSubnetGroup {
    #[serde(rename = "DBSubnetGroupName")]
    name: String,
    #[serde(rename = "DBSubnetGroupDescription")]
    description: String,
    #[serde(default)]
    subnet_ids: SubnetIds,
    #[serde(default)]
    tags: Tags,
}

/// Answer of CreateDBSubnetGroup.
#[derive(Debug, Serialize)]
pub(crate) struct SubnetGroupAnswer {
    #[serde(rename = "DBSubnetGroup")]
    group: SubnetGroupItem,
}

/// Letters, digits, `.`, `_`, `-` and spaces, at most 255, and not `default`.
fn check_name(name: &str) -> Result<(), Ec2Error> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ' ');
    let good = (1..=255).contains(&name.len()) && name.chars().all(fits);
    if good && !name.eq_ignore_ascii_case(DEFAULT) {
        return Ok(());
    }
    let message = format!("The parameter DBSubnetGroupName is not a valid name: '{name}'.");
    Err(Ec2Error::new("InvalidParameterValue", message))
}

/// The subnets' VPC; RDS wants them in two zones or more.
fn check_subnets(region: &Region, ids: &[String]) -> Result<String, Ec2Error> {
    let mut vpcs = BTreeSet::new();
    let mut zones = BTreeSet::new();
    for id in ids {
        let subnet = region.subnets.get(id).ok_or_else(|| {
            let message = format!("Some input subnets in :[{}] are invalid.", ids.join(", "));
            Ec2Error::new("InvalidSubnet", message)
        })?;
        vpcs.insert(&subnet.vpc);
        zones.insert(&subnet.zone.name);
    }
    if zones.len() < 2 {
        let names: Vec<&str> = zones.iter().map(|zone| zone.as_str()).collect();
        let message = format!(
            "The DB subnet group doesn't meet Availability Zone (AZ) coverage requirement. \
             Current AZ coverage: {}. Add subnets to cover at least 2 AZs.",
            names.join(", ")
        );
        return Err(Ec2Error::new("DBSubnetGroupDoesNotCoverEnoughAZs", message));
    }
    match vpcs.len() {
        1 => Ok(vpcs.into_iter().next().cloned().unwrap_or_default()),
        _ => Err(Ec2Error::new("InvalidSubnet", "Subnets are in more than one VPC.")),
    }
}

pub(crate) fn create(
    cx: &mut Context<'_>,
    request: CreateSubnetGroup,
) -> Result<SubnetGroupAnswer, Ec2Error> {
    check_name(&request.name)?;
    let name = request.name.to_ascii_lowercase();
    if cx.region.subnet_groups.contains_key(&name) {
        let message = format!("The DB subnet group '{name}' already exists.");
        return Err(Ec2Error::new("DBSubnetGroupAlreadyExists", message));
    }
    let subnets = request.subnet_ids.list;
    let vpc = check_subnets(cx.region, &subnets)?;
    let (description, tags) = (request.description, request.tags.map());
    let group = SubnetGroup { name: name.clone(), description, vpc, subnets, tags };
    let answer = SubnetGroupAnswer { group: cx.region.subnet_group_item(&group) };
    cx.region.subnet_groups.insert(name, group);
    Ok(answer)
}

/// DescribeDBSubnetGroups.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeSubnetGroups {
    #[serde(rename = "DBSubnetGroupName")]
    name: Option<String>,
    max_records: Option<usize>,
    marker: Option<String>,
}

/// Answer of DescribeDBSubnetGroups.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SubnetGroupSet {
    #[serde(rename = "DBSubnetGroups")]
    groups: Members<SubnetGroupItem>,
    marker: Option<String>,
}

/// A page of `records` by name, and the marker of the next one: the last name of this one.
///
/// # Errors
/// `InvalidParameterValue` where the page is not of 20 to 100.
pub(crate) fn page<'r, R>(
    records: &'r BTreeMap<String, R>,
    max_records: Option<usize>,
    marker: Option<&str>,
) -> Result<(Vec<&'r R>, Option<String>), Ec2Error> {
    let limit = max_records.unwrap_or(100);
    if !(20..=100).contains(&limit) {
        let message = format!("Invalid value {limit} for MaxRecords. Must be between 20 and 100");
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    let after = marker.unwrap_or_default();
    let mut rest = records.iter().filter(|(name, _)| name.as_str() > after);
    let page: Vec<(&String, &R)> = rest.by_ref().take(limit).collect();
    let next = rest.next().and(page.last().map(|(name, _)| (*name).clone()));
    Ok((page.into_iter().map(|(_, record)| record).collect(), next))
}

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeSubnetGroups,
) -> Result<SubnetGroupSet, Ec2Error> {
    let region = &*cx.region;
    let (groups, marker) = match &request.name {
        Some(name) => (vec![find(region, name)?], None),
        None => page(&region.subnet_groups, request.max_records, request.marker.as_deref())?,
    };
    let items = groups.into_iter().map(|group| region.subnet_group_item(group)).collect();
    Ok(SubnetGroupSet { groups: Members("DBSubnetGroup", items), marker })
}

/// DeleteDBSubnetGroup.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteSubnetGroup {
    #[serde(rename = "DBSubnetGroupName")]
    name: String,
}

/// Answer of actions that only say that they were done.
#[derive(Debug, Serialize)]
pub(crate) struct Nothing {}

pub(crate) fn delete(
    cx: &mut Context<'_>,
    request: DeleteSubnetGroup,
) -> Result<Nothing, Ec2Error> {
    let name = find(cx.region, &request.name)?.name.clone();
    if cx.region.databases.values().any(|database| database.subnet_group == name) {
        let message = format!(
            "Cannot delete the subnet group '{name}' because at least one database instance is \
             still using it."
        );
        return Err(Ec2Error::new("InvalidDBSubnetGroupStateFault", message));
    }
    cx.region.subnet_groups.remove(&name);
    Ok(Nothing {})
}
