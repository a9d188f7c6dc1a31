//! What exists without being made: regions and zones.

use serde::{Deserialize, Serialize};

use super::select::{Field, Filter, check_filters, matches_all};
use super::{Context, Region};
use crate::api::error::Ec2Error;

/// Regions of the partitions `aws` and `aws-us-gov`, with how many zones each has.
const REGIONS: &[(&str, u8)] = &[
    ("af-south-1", 3),
    ("ap-east-1", 3),
    ("ap-east-2", 3),
    ("ap-northeast-1", 3),
    ("ap-northeast-2", 4),
    ("ap-northeast-3", 3),
    ("ap-south-1", 3),
    ("ap-south-2", 3),
    ("ap-southeast-1", 3),
    ("ap-southeast-2", 3),
    ("ap-southeast-3", 3),
    ("ap-southeast-4", 3),
    ("ap-southeast-5", 3),
    ("ap-southeast-6", 3),
    ("ap-southeast-7", 3),
    ("ca-central-1", 3),
    ("ca-west-1", 3),
    ("eu-central-1", 3),
    ("eu-central-2", 3),
    ("eu-north-1", 3),
    ("eu-south-1", 3),
    ("eu-south-2", 3),
    ("eu-west-1", 3),
    ("eu-west-2", 3),
    ("eu-west-3", 3),
    ("il-central-1", 3),
    ("me-central-1", 3),
    ("me-south-1", 3),
    ("mx-central-1", 3),
    ("sa-east-1", 3),
    ("us-east-1", 6),
    ("us-east-2", 3),
    ("us-gov-east-1", 3),
    ("us-gov-west-1", 3),
    ("us-west-1", 3),
    ("us-west-2", 4),
];

/// Regions that an account has only when it asked for them (those since March 2019); here it did.
const OPTED_IN: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-south-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-west-1",
    "eu-central-2",
    "eu-south-1",
    "eu-south-2",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
];

fn opt_in_status(region: &str) -> &'static str {
    if OPTED_IN.contains(&region) { "opted-in" } else { "opt-in-not-required" }
}

/// Whether a region of this name exists.
pub(crate) fn region_exists(name: &str) -> bool {
    REGIONS.iter().any(|(region, _)| *region == name)
}

/// The region's place in the list of regions, from 0.
pub(crate) fn region_number(name: &str) -> u32 {
    (0..).zip(REGIONS).find(|(_, (region, _))| *region == name).map_or(0, |(number, _)| number)
}

/// An availability zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// `us-west-2a`.
    pub(crate) name: String,
    /// `usw2-az1`.
    pub(crate) id: String,
}

/// A region's zones, by name.
pub(crate) fn zones(region: &str) -> Vec<Zone> {
    let count = REGIONS.iter().find(|(name, _)| *name == region).map_or(0, |(_, count)| *count);
    let short = short_name(region);
    (0..count)
        .map(|n| Zone {
            name: format!("{region}{}", char::from(b'a' + n)),
            id: format!("{short}-az{}", n + 1),
        })
        .collect()
}

/// `ap-southeast-1` → `apse1`: the first part, the initials of the direction, the number.
fn short_name(region: &str) -> String {
    let mut parts: Vec<&str> = region.split('-').collect();
    let number = parts.pop().unwrap_or_default();
    let mut short = parts.first().copied().unwrap_or_default().to_owned();
    for part in parts.iter().skip(1) {
        let rest = ["north", "south"].iter().find_map(|first| part.strip_prefix(first));
        short.push_str(&part[..1]);
        short.push_str(rest.map_or("", |rest| &rest[..rest.len().min(1)]));
    }
    short + number
}

/// DescribeAvailabilityZones.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeAvailabilityZones {
    #[serde(default, rename = "ZoneName")]
    names: Vec<String>,
    #[serde(default, rename = "ZoneId")]
    ids: Vec<String>,
    #[serde(default, rename = "Filter")]
    filters: Vec<Filter>,
    /// Zones here are all enabled, so there are no more to list.
    #[serde(rename = "AllAvailabilityZones")]
    _all: Option<bool>,
}

/// Answer of DescribeAvailabilityZones.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ZoneSet {
    availability_zone_info: Vec<ZoneItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ZoneItem {
    zone_name: String,
    zone_id: String,
    zone_type: &'static str,
    zone_state: &'static str,
    region_name: String,
    group_name: String,
    group_long_name: String,
    network_border_group: String,
    opt_in_status: &'static str,
    message_set: Vec<String>,
}

const ZONE_FILTERS: &[Field<Zone>] = &[
    ("zone-name", |_, z| vec![z.name.clone()]),
    ("zone-id", |_, z| vec![z.id.clone()]),
    ("zone-type", |_, _| vec!["availability-zone".into()]),
    ("group-long-name", |r, _| vec![format!("{} 1", r.name)]),
    // Of local zones, and of zones in trouble: no zone here is either.
    ("message", |_, _| Vec::new()),
    ("parent-zone-id", |_, _| Vec::new()),
    ("parent-zone-name", |_, _| Vec::new()),
    ("region-name", |r, _| vec![r.name.clone()]),
    ("group-name", |r, _| vec![format!("{}-zg-1", r.name)]),
    ("opt-in-status", |_, _| vec!["opt-in-not-required".into()]),
    ("state", |_, _| vec!["available".into()]),
];

pub(crate) fn describe_zones(
    cx: &mut Context<'_>,
    request: DescribeAvailabilityZones,
) -> Result<ZoneSet, Ec2Error> {
    let region = &*cx.region;
    let zones = zones(&region.name);
    for name in &request.names {
        if !zones.iter().any(|zone| zone.name == *name) {
            let message = format!("Invalid availability zone: [{name}]");
            return Err(Ec2Error::new("InvalidParameterValue", message));
        }
    }
    for id in &request.ids {
        if !zones.iter().any(|zone| zone.id == *id) {
            let message = format!("Invalid availability zone-id: [{id}]");
            return Err(Ec2Error::new("InvalidParameterValue", message));
        }
    }
    check_filters(&request.filters, ZONE_FILTERS)?;
    let wanted = |zone: &Zone| {
        (request.names.is_empty() || request.names.contains(&zone.name))
            && (request.ids.is_empty() || request.ids.contains(&zone.id))
            && matches_all(region, zone, "", ZONE_FILTERS, &request.filters)
    };
    let zones = zones.into_iter().filter(wanted).map(|zone| zone_item(region, zone));
    Ok(ZoneSet { availability_zone_info: zones.collect() })
}

fn zone_item(region: &Region, zone: Zone) -> ZoneItem {
    ZoneItem {
        zone_name: zone.name,
        zone_id: zone.id,
        zone_type: "availability-zone",
        zone_state: "available",
        region_name: region.name.clone(),
        group_name: format!("{}-zg-1", region.name),
        group_long_name: format!("{} 1", region.name),
        network_border_group: region.name.clone(),
        opt_in_status: "opt-in-not-required",
        message_set: Vec::new(),
    }
}

/// DescribeRegions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeRegions {
    #[serde(default, rename = "RegionName")]
    names: Vec<String>,
    #[serde(default, rename = "Filter")]
    filters: Vec<Filter>,
    /// Regions here are all enabled, so there are no more to list.
    #[serde(rename = "AllRegions")]
    _all: Option<bool>,
}

/// Answer of DescribeRegions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RegionSet {
    region_info: Vec<RegionItem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RegionItem {
    region_name: &'static str,
    region_endpoint: String,
    opt_in_status: &'static str,
}

const REGION_FILTERS: &[Field<&str>] = &[
    ("region-name", |_, name| vec![(*name).to_owned()]),
    ("endpoint", |_, name| vec![format!("ec2.{name}.amazonaws.com")]),
    ("opt-in-status", |_, name| vec![opt_in_status(name).into()]),
];

pub(crate) fn describe_regions(
    cx: &mut Context<'_>,
    request: DescribeRegions,
) -> Result<RegionSet, Ec2Error> {
    if let Some(name) = request.names.iter().find(|name| !region_exists(name)) {
        let message = format!("Invalid region name: [{name}]");
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    check_filters(&request.filters, REGION_FILTERS)?;
    let regions = REGIONS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| request.names.is_empty() || request.names.iter().any(|n| n == name))
        .filter(|name| matches_all(cx.region, name, "", REGION_FILTERS, &request.filters))
        .map(|name| RegionItem {
            region_name: name,
            region_endpoint: format!("ec2.{name}.amazonaws.com"),
            opt_in_status: opt_in_status(name),
        });
    Ok(RegionSet { region_info: regions.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_ids_are_awss() {
        for (region, id) in [
            ("us-west-2", "usw2-az1"),
            ("ap-southeast-1", "apse1-az1"),
            ("ap-northeast-3", "apne3-az1"),
            ("eu-north-1", "eun1-az1"),
            ("ca-central-1", "cac1-az1"),
            ("us-gov-west-1", "usgw1-az1"),
        ] {
            assert_eq!(zones(region)[0].id, id);
        }
        assert_eq!(REGIONS.len(), 36);
    }
}
