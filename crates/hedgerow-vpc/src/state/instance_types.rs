//! Instance types and where they are offered, from the data file.
//!
//! The file has what matters to the network. EC2 knows more of a type (disks, processors, GPUs);
//! filters about that are `UnsupportedOperation` rather than an empty answer, which would be a lie.

use hedgerow_core::limits::{InstanceType, instance_type, instance_types};
use serde::{Deserialize, Serialize};

use super::Context;
use super::catalog;
use super::select::{Field, Filter, Selection, check_filters, matches_all, page_within};
use crate::api::error::Ec2Error;
use crate::effect::ConnectionTimeouts;

/// The architecture of a type, by its name: Graviton families have a `g` after the generation
/// ("Amazon EC2 instance type naming conventions"), and `a1` is the first of them.
pub(crate) fn architecture(name: &str) -> &'static str {
    let family = name.split('.').next().unwrap_or_default();
    let attributes = family.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let attributes = attributes.trim_start_matches(|c: char| c.is_ascii_digit());
    match family {
        "a1" => "arm64",
        "mac1" => "x86_64_mac",
        family if family.starts_with("mac") => "arm64_mac",
        _ if attributes.contains('g') => "arm64",
        _ => "x86_64",
    }
}

/// Whether instances of the type earn CPU credits: the `t` families.
pub(crate) fn burstable(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next() == Some('t') && letters.next().is_some_and(|c| c.is_ascii_digit())
}

/// How instances of the type can be virtualized: those of some old families also without the
/// processor's help ("Linux AMI virtualization types", Amazon EC2 User Guide).
fn virtualization_types(name: &str) -> Vec<&'static str> {
    let family = name.split('.').next().unwrap_or_default();
    match family {
        "c1" | "c3" | "hs1" | "m1" | "m2" | "m3" | "t1" => vec!["hvm", "paravirtual"],
        _ => vec!["hvm"],
    }
}

/// DescribeInstanceTypes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeInstanceTypes {
    #[serde(default, rename = "InstanceType")]
    types: Vec<String>,
    /// All types are supported in all regions, so there are no more to list.
    #[serde(rename = "IncludeUnsupportedInRegion")]
    _unsupported: Option<bool>,
    #[serde(default, rename = "Filter")]
    filters: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// Answer of DescribeInstanceTypes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InstanceTypeSet {
    instance_type_set: Vec<InstanceTypeItem>,
    next_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InstanceTypeItem {
    instance_type: &'static str,
    bare_metal: bool,
    hypervisor: Option<&'static str>,
    processor_info: ProcessorInfo,
    v_cpu_info: VcpuInfo,
    memory_info: MemoryInfo,
    network_info: NetworkInfo,
    burstable_performance_supported: bool,
    supported_virtualization_types: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessorInfo {
    supported_architectures: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VcpuInfo {
    #[serde(rename = "defaultVCpus")]
    default_vcpus: u32,
}

#[derive(Debug, Serialize)]
struct MemoryInfo {
    #[serde(rename = "sizeInMiB")]
    size_in_mib: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NetworkInfo {
    maximum_network_interfaces: u32,
    maximum_network_cards: u32,
    default_network_card_index: u32,
    network_cards: Vec<NetworkCard>,
    ipv4_addresses_per_interface: u32,
    ipv6_addresses_per_interface: u32,
    ipv6_supported: bool,
    efa_supported: bool,
    ena_srd_supported: bool,
    connection_tracking_configuration: DefaultTimeouts,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NetworkCard {
    network_card_index: u32,
    maximum_network_interfaces: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DefaultTimeouts {
    default_tcp_established_timeout: u32,
    default_udp_stream_timeout: u32,
    default_udp_timeout: u32,
}

const TYPE_FILTERS: &[Field<InstanceType>] = &[
    ("instance-type", |_, t| vec![t.name.clone()]),
    ("bare-metal", |_, t| vec![t.bare_metal.to_string()]),
    ("burstable-performance-supported", |_, t| vec![burstable(&t.name).to_string()]),
    ("hypervisor", |_, t| vec![t.hypervisor.clone()]),
    ("processor-info.supported-architecture", |_, t| vec![architecture(&t.name).into()]),
    ("vcpu-info.default-vcpus", |_, t| vec![t.vcpus.to_string()]),
    ("memory-info.size-in-mib", |_, t| vec![t.memory_mib.to_string()]),
    ("network-info.maximum-network-interfaces", |_, t| vec![t.max_enis.to_string()]),
    ("network-info.maximum-network-cards", |_, _| vec!["1".into()]),
    ("network-info.ipv4-addresses-per-interface", |_, t| vec![t.ipv4_per_eni.to_string()]),
    ("network-info.ipv6-supported", |_, t| vec![(t.ipv6_per_eni() > 0).to_string()]),
    ("network-info.ipv6-addresses-per-interface", |_, t| vec![t.ipv6_per_eni().to_string()]),
    ("network-info.efa-supported", |_, _| vec!["false".into()]),
    ("network-info.ena-srd-supported", |_, _| vec!["false".into()]),
    ("supported-in-region", |_, _| vec!["true".into()]),
    ("supported-virtualization-type", |_, t| {
        virtualization_types(&t.name).into_iter().map(str::to_owned).collect()
    }),
];

/// First parts of the names of filters that EC2 has and the data file cannot answer.
const UNANSWERED: &[&str] = &[
    "auto-recovery-supported",
    "current-generation",
    "dedicated-hosts-supported",
    "ebs-info.",
    "free-tier-eligible",
    "gpu-info.",
    "hibernation-supported",
    "inference-accelerator-info.",
    "instance-storage-info.",
    "instance-storage-supported",
    "media-accelerator-info.",
    "network-info.",
    "neuron-info.",
    "nitro-enclaves-support",
    "nitro-tpm-",
    "placement-group-info.",
    "processor-info.",
    "reboot-migration-support",
    "supported-boot-mode",
    "supported-root-device-type",
    "supported-usage-class",
    "vcpu-info.",
];

fn check_type_filters(filters: &[Filter]) -> Result<(), Ec2Error> {
    for Filter { name, .. } in filters {
        let answered = TYPE_FILTERS.iter().any(|(field, _)| field == name);
        if !answered && UNANSWERED.iter().any(|part| name.starts_with(part)) {
            let message =
                format!("The data about instance types here cannot answer the filter '{name}'");
            return Err(Ec2Error::new("UnsupportedOperation", message));
        }
    }
    check_filters(filters, TYPE_FILTERS)
}

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeInstanceTypes,
) -> Result<InstanceTypeSet, Ec2Error> {
    let unknown: Vec<&str> = request
        .types
        .iter()
        .map(String::as_str)
        .filter(|name| instance_type(name).is_none())
        .collect();
    if !unknown.is_empty() {
        let message =
            format!("The following supplied instance types do not exist: [{}]", unknown.join(", "));
        return Err(Ec2Error::new("InvalidInstanceType", message));
    }
    check_type_filters(&request.filters)?;
    let types = instance_types()
        .filter(|t| request.types.is_empty() || request.types.contains(&t.name))
        .filter(|t| matches_all(cx.region, *t, "", TYPE_FILTERS, &request.filters));
    let wanted = Selection {
        ids: &request.types,
        filters: &[],
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
    };
    let (types, next_token) = page_within(types, |t| &t.name, &wanted, 5..=100)?;
    let instance_type_set = types.into_iter().map(instance_type_item).collect();
    Ok(InstanceTypeSet { instance_type_set, next_token })
}

fn instance_type_item(row: &'static InstanceType) -> InstanceTypeItem {
    let timeouts = ConnectionTimeouts::default();
    InstanceTypeItem {
        instance_type: &row.name,
        bare_metal: row.bare_metal,
        hypervisor: Some(row.hypervisor.as_str()).filter(|h| !h.is_empty()),
        processor_info: ProcessorInfo { supported_architectures: vec![architecture(&row.name)] },
        v_cpu_info: VcpuInfo { default_vcpus: row.vcpus },
        memory_info: MemoryInfo { size_in_mib: row.memory_mib },
        network_info: NetworkInfo {
            maximum_network_interfaces: row.max_enis,
            maximum_network_cards: 1,
            default_network_card_index: 0,
            network_cards: vec![NetworkCard {
                network_card_index: 0,
                maximum_network_interfaces: row.max_enis,
            }],
            ipv4_addresses_per_interface: row.ipv4_per_eni,
            ipv6_addresses_per_interface: row.ipv6_per_eni(),
            ipv6_supported: row.ipv6_per_eni() > 0,
            efa_supported: false,
            ena_srd_supported: false,
            connection_tracking_configuration: DefaultTimeouts {
                default_tcp_established_timeout: timeouts.tcp_established,
                default_udp_stream_timeout: timeouts.udp_stream,
                default_udp_timeout: timeouts.udp,
            },
        },
        burstable_performance_supported: burstable(&row.name),
        supported_virtualization_types: virtualization_types(&row.name),
    }
}

/// DescribeInstanceTypeOfferings.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeInstanceTypeOfferings {
    location_type: Option<String>,
    #[serde(default, rename = "Filter")]
    filters: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// Answer of DescribeInstanceTypeOfferings.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OfferingSet {
    instance_type_offering_set: Vec<OfferingItem>,
    next_token: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct OfferingItem {
    instance_type: &'static str,
    location_type: &'static str,
    location: String,
    /// Orders the pages: type and location.
    #[serde(skip)]
    position: String,
}

const OFFERING_FILTERS: &[Field<OfferingItem>] = &[
    ("instance-type", |_, o| vec![o.instance_type.into()]),
    ("location", |_, o| vec![o.location.clone()]),
];

/// Every type with known limits is offered in every zone: the same ones that can be launched.
pub(crate) fn describe_offerings(
    cx: &mut Context<'_>,
    request: DescribeInstanceTypeOfferings,
) -> Result<OfferingSet, Ec2Error> {
    let region = &*cx.region;
    let zones = catalog::zones(region.name());
    let (location_type, locations): (_, Vec<String>) = match request.location_type.as_deref() {
        None | Some("region") => ("region", vec![region.name().to_owned()]),
        Some("availability-zone") => {
            ("availability-zone", zones.into_iter().map(|zone| zone.name).collect())
        }
        Some("availability-zone-id") => {
            ("availability-zone-id", zones.into_iter().map(|zone| zone.id).collect())
        }
        Some("outpost") => ("outpost", Vec::new()),
        Some(other) => {
            let why = "It is region, availability-zone, availability-zone-id or outpost.";
            return Err(Ec2Error::value("locationType", other, why));
        }
    };
    check_filters(&request.filters, OFFERING_FILTERS)?;
    let mut offerings = Vec::new();
    for row in instance_types().filter(|row| row.max_enis > 0) {
        for location in &locations {
            let offering = OfferingItem {
                instance_type: &row.name,
                location_type,
                location: location.clone(),
                position: format!("{} {location}", row.name),
            };
            if matches_all(region, &offering, "", OFFERING_FILTERS, &request.filters) {
                offerings.push(offering);
            }
        }
    }
    offerings.sort_by(|a, b| a.position.cmp(&b.position));
    let wanted = Selection {
        ids: &[],
        filters: &[],
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
    };
    let (page, next_token) = page_within(offerings.iter(), |o| &o.position, &wanted, 5..=1000)?;
    let instance_type_offering_set = page.into_iter().cloned().collect();
    Ok(OfferingSet { instance_type_offering_set, next_token })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_are_awss() {
        for (name, want) in [
            ("m5.large", "x86_64"),
            ("m6g.large", "arm64"),
            ("c7gn.large", "arm64"),
            ("is4gen.large", "arm64"),
            ("a1.large", "arm64"),
            ("t4g.nano", "arm64"),
            ("g4dn.xlarge", "x86_64"),
            ("g5.xlarge", "x86_64"),
            ("gr6.4xlarge", "x86_64"),
            ("m7i-flex.large", "x86_64"),
            ("u7i-12tb.224xlarge", "x86_64"),
            ("mac2.metal", "arm64_mac"),
        ] {
            assert_eq!(architecture(name), want, "{name}");
        }
        assert!(burstable("t3.nano") && !burstable("trn1.2xlarge") && !burstable("m5.large"));
    }
}
