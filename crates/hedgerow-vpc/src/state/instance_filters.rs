//! What instances are filtered by.

use super::address_describe::PublicItem;
use super::instance::{Instance, PROFILE_ID, primary};
use super::instance_describe::{
    BOOT_MODE, PLATFORM, ROOT_DEVICE, STATE_REASON, USAGE_OPERATION, metadata_item, reason,
};
use super::instance_types::architecture;
use super::interface::{Attached, Interface};
use super::mint::format_mac;
use super::select::Field;
use super::vpc::Vpc;
use super::{ACCOUNT, Region};

fn of_interfaces(region: &Region, i: &Instance, read: fn(&Interface) -> String) -> Vec<String> {
    i.interfaces.values().filter_map(|id| region.interfaces.get(id)).map(read).collect()
}

/// As [`of_interfaces`] for what an interface has several of.
fn all_of(region: &Region, i: &Instance, read: fn(&Interface) -> Vec<String>) -> Vec<String> {
    i.interfaces.values().filter_map(|id| region.interfaces.get(id)).flat_map(read).collect()
}

/// As [`of_interfaces`] for the attachment.
fn attached(region: &Region, i: &Instance, read: fn(&Attached) -> String) -> Vec<String> {
    let interfaces = i.interfaces.values().filter_map(|id| region.interfaces.get(id));
    interfaces.filter_map(|eni| eni.attachment.as_ref()).map(read).collect()
}

fn addresses(region: &Region, instance: &Instance) -> Vec<String> {
    let interfaces = instance.interfaces.values().filter_map(|id| region.interfaces.get(id));
    interfaces.flat_map(|eni| &eni.addresses).map(ToString::to_string).collect()
}

fn group_ids(region: &Region, instance: &Instance) -> Vec<String> {
    let interfaces = instance.interfaces.values().filter_map(|id| region.interfaces.get(id));
    interfaces.flat_map(|eni| eni.groups.clone()).collect()
}

fn group_names(region: &Region, instance: &Instance) -> Vec<String> {
    let ids = group_ids(region, instance);
    ids.iter().filter_map(|id| region.groups.get(id)).map(|group| group.name.clone()).collect()
}

/// What `read` finds in the tags of the instance's interfaces.
fn of_tags(
    region: &Region,
    instance: &Instance,
    read: fn((&String, &String)) -> String,
) -> Vec<String> {
    let tags = instance.interfaces.values().filter_map(|id| region.tags.get(id));
    tags.flatten().map(read).collect()
}

fn primary_address(region: &Region, instance: &Instance) -> Vec<String> {
    primary(region, instance).map(|eni| eni.primary().to_string()).into_iter().collect()
}

/// What `read` finds in the public addresses of the primary addresses of the instance's interfaces.
fn of_public(
    region: &Region,
    instance: &Instance,
    read: fn(PublicItem) -> Option<String>,
) -> Vec<String> {
    let interfaces = instance.interfaces.values().filter_map(|id| region.interfaces.get(id));
    interfaces.filter_map(|eni| region.public_item(eni)).filter_map(read).collect()
}

/// What `read` finds in all public addresses of the instance's interfaces.
fn of_publics(
    region: &Region,
    instance: &Instance,
    read: fn(PublicItem) -> Option<String>,
) -> Vec<String> {
    let interfaces = instance.interfaces.values().filter_map(|id| region.interfaces.get(id));
    interfaces.flat_map(|eni| region.public_items(eni).into_values()).filter_map(read).collect()
}

fn primary_name(region: &Region, instance: &Instance) -> Vec<String> {
    primary(region, instance).map(|e| region.hostname(instance, e.primary())).into_iter().collect()
}

fn enabled(yes: bool) -> Vec<String> {
    vec![if yes { "enabled" } else { "disabled" }.into()]
}

/// What EC2 filters by; the last part is about things that no instance here has, and never matches.
pub(super) const FILTERS: &[Field<Instance>] = &[
    ("instance-id", |_, i| vec![i.id.clone()]),
    ("instance-state-name", |_, i| vec![i.state().name.into()]),
    ("instance-state-code", |_, i| vec![i.state().code.to_string()]),
    ("instance-type", |_, i| vec![i.type_name.clone()]),
    ("architecture", |_, i| vec![architecture(&i.type_name).into()]),
    ("image-id", |_, i| vec![i.image.clone()]),
    ("key-name", |_, i| i.key_name.clone().into_iter().collect()),
    ("reservation-id", |_, i| vec![i.reservation.clone()]),
    ("client-token", |_, i| i.client_token.clone().into_iter().collect()),
    ("launch-index", |_, i| vec![i.launch_index.to_string()]),
    ("launch-time", |_, i| vec![i.launched.to_string()]),
    ("reason", |_, i| i.ended().map(reason).into_iter().collect()),
    ("state-reason-code", |_, i| i.ended().map(|_| STATE_REASON.code.into()).into_iter().collect()),
    ("state-reason-message", |_, i| {
        i.ended().map(|_| STATE_REASON.message.into()).into_iter().collect()
    }),
    ("owner-id", |_, _| vec![ACCOUNT.into()]),
    ("vpc-id", |_, i| kept(i, &i.vpc)),
    ("subnet-id", |_, i| kept(i, &i.subnet)),
    ("availability-zone", |_, i| vec![i.zone.name.clone()]),
    ("availability-zone-id", |_, i| vec![i.zone.id.clone()]),
    ("tenancy", |r, i| vec![r.vpcs.get(&i.vpc).map_or("default", Vpc::tenancy).into()]),
    ("ip-address", |r, i| of_public(r, i, |p| Some(p.public_ip))),
    ("dns-name", |r, i| of_public(r, i, |p| Some(p.public_dns_name))),
    ("network-interface.association.public-ip", |r, i| of_public(r, i, |p| Some(p.public_ip))),
    ("network-interface.association.ip-owner-id", |r, i| {
        of_public(r, i, |p| Some(p.ip_owner_id.into()))
    }),
    ("network-interface.association.allocation-id", |r, i| of_public(r, i, |p| p.allocation_id)),
    ("network-interface.association.association-id", |r, i| of_public(r, i, |p| p.association_id)),
    ("network-interface.addresses.association.public-ip", |r, i| {
        of_publics(r, i, |p| Some(p.public_ip))
    }),
    ("network-interface.addresses.association.ip-owner-id", |r, i| {
        of_publics(r, i, |p| Some(p.ip_owner_id.into()))
    }),
    ("private-ip-address", primary_address),
    ("private-dns-name", primary_name),
    ("private-dns-name-options.hostname-type", |_, i| vec![i.names.hostname_type().into()]),
    ("private-dns-name-options.enable-resource-name-dns-a-record", |_, i| {
        vec![i.names.a_record.to_string()]
    }),
    ("private-dns-name-options.enable-resource-name-dns-aaaa-record", |_, i| {
        vec![i.names.aaaa_record.to_string()]
    }),
    ("ipv6-address", |r, i| {
        primary(r, i).and_then(|e| e.ipv6.first()).map(ToString::to_string).into_iter().collect()
    }),
    ("source-dest-check", |r, i| {
        primary(r, i).map(|e| e.source_dest_check.to_string()).into_iter().collect()
    }),
    ("instance.group-id", group_ids),
    ("instance.group-name", group_names),
    ("ebs-optimized", |_, i| vec![i.settings.ebs_optimized.to_string()]),
    ("ena-support", |_, _| vec!["true".into()]),
    ("enclave-options.enabled", |_, _| vec!["false".into()]),
    ("hibernation-options.configured", |_, _| vec!["false".into()]),
    ("hypervisor", |_, _| vec!["xen".into()]),
    ("virtualization-type", |_, _| vec!["hvm".into()]),
    ("iam-instance-profile.arn", |_, i| i.profile_arn().into_iter().collect()),
    ("iam-instance-profile.name", |_, i| i.profile.clone().into_iter().collect()),
    ("iam-instance-profile.id", |_, i| {
        i.profile.as_ref().map(|_| PROFILE_ID.into()).into_iter().collect()
    }),
    ("maintenance-options.auto-recovery", |_, _| vec!["default".into()]),
    ("monitoring-state", |_, i| enabled(i.settings.monitoring)),
    ("metadata-options.state", |_, _| vec!["applied".into()]),
    ("metadata-options.http-tokens", |_, i| vec![metadata_item(&i.metadata).http_tokens.into()]),
    ("metadata-options.http-put-response-hop-limit", |_, i| vec![i.metadata.hop_limit.to_string()]),
    ("metadata-options.http-endpoint", |_, i| enabled(i.metadata.enabled)),
    ("metadata-options.http-protocol-ipv4", |_, _| enabled(true)),
    ("metadata-options.http-protocol-ipv6", |_, i| enabled(i.metadata.ipv6)),
    ("metadata-options.instance-metadata-tags", |_, i| enabled(i.metadata.tags)),
    ("operator.managed", |_, _| vec!["false".into()]),
    ("network-interface.network-interface-id", |r, i| of_interfaces(r, i, |e| e.id.clone())),
    ("network-interface.subnet-id", |r, i| of_interfaces(r, i, |e| e.subnet.clone())),
    ("network-interface.vpc-id", |r, i| of_interfaces(r, i, |e| e.vpc.clone())),
    ("network-interface.availability-zone", |_, i| vec![i.zone.name.clone()]),
    ("network-interface.availability-zone-id", |_, i| vec![i.zone.id.clone()]),
    ("network-interface.mac-address", |r, i| of_interfaces(r, i, |e| format_mac(e.mac))),
    ("network-interface.description", |r, i| of_interfaces(r, i, |e| e.description.clone())),
    ("network-interface.group-id", group_ids),
    ("network-interface.group-name", group_names),
    ("network-interface.owner-id", |r, i| of_interfaces(r, i, |_| ACCOUNT.into())),
    ("network-interface.requester-id", |r, i| {
        all_of(r, i, |e| e.requester.clone().into_iter().collect())
    }),
    ("network-interface.requester-managed", |r, i| {
        of_interfaces(r, i, |e| e.requester.is_some().to_string())
    }),
    ("network-interface.source-dest-check", |r, i| {
        of_interfaces(r, i, |e| e.source_dest_check.to_string())
    }),
    ("network-interface.status", |r, i| of_interfaces(r, i, |e| e.status().into())),
    ("network-interface.private-dns-name", |r, i| {
        let interfaces = i.interfaces.values().filter_map(|id| r.interfaces.get(id));
        interfaces.map(|e| r.private_dns_name(e.primary())).collect()
    }),
    ("network-interface.private-ip-address", |r, i| {
        of_interfaces(r, i, |e| e.primary().to_string())
    }),
    ("network-interface.addresses.private-ip-address", addresses),
    ("network-interface.addresses.primary", |r, i| {
        all_of(r, i, |e| (0..e.addresses.len()).map(|n| (n == 0).to_string()).collect())
    }),
    ("network-interface.ipv6-address", |r, i| {
        all_of(r, i, |e| e.ipv6.first().map(ToString::to_string).into_iter().collect())
    }),
    ("network-interface.ipv6-addresses.ipv6-address", |r, i| {
        all_of(r, i, |e| e.ipv6.iter().map(ToString::to_string).collect())
    }),
    ("network-interface.ipv6-addresses.is-primary-ipv6", |r, i| {
        all_of(r, i, |e| {
            let primary = e.primary_ipv6();
            e.ipv6.iter().map(|address| (primary == Some(*address)).to_string()).collect()
        })
    }),
    ("network-interface.ipv6-native", |r, i| of_interfaces(r, i, |_| "false".into())),
    ("network-interface.ipv6-prefixes.ipv6-prefix", |r, i| {
        all_of(r, i, |e| e.ipv6_prefixes.iter().map(ToString::to_string).collect())
    }),
    ("network-interface.ipv4-prefixes.ipv4-prefix", |r, i| {
        all_of(r, i, |e| e.prefixes.iter().map(ToString::to_string).collect())
    }),
    ("network-interface.attachment.attachment-id", |r, i| attached(r, i, |a| a.id.clone())),
    ("network-interface.attachment.instance-id", |r, i| attached(r, i, |a| a.instance.clone())),
    ("network-interface.attachment.instance-owner-id", |r, i| attached(r, i, |_| ACCOUNT.into())),
    ("network-interface.attachment.device-index", |r, i| {
        attached(r, i, |a| a.device_index.to_string())
    }),
    ("network-interface.attachment.delete-on-termination", |r, i| {
        attached(r, i, |a| a.delete_on_termination.to_string())
    }),
    ("network-interface.attachment.attach-time", |r, i| attached(r, i, |a| a.since.to_string())),
    ("network-interface.attachment.status", |r, i| attached(r, i, |_| "attached".into())),
    ("network-interface.operator.managed", |r, i| of_interfaces(r, i, |_| "false".into())),
    ("boot-mode", |_, _| vec![BOOT_MODE.into()]),
    ("current-instance-boot-mode", |_, _| vec![BOOT_MODE.into()]),
    ("platform-details", |_, _| vec![PLATFORM.into()]),
    ("usage-operation", |_, _| vec![USAGE_OPERATION.into()]),
    ("usage-operation-update-time", |_, i| vec![i.launched.to_string()]),
    ("root-device-type", |_, _| vec![ROOT_DEVICE.into()]),
    ("network-performance-options.bandwidth-weighting", |_, _| vec!["default".into()]),
    ("capacity-reservation-specification.capacity-reservation-preference", |_, _| {
        vec!["open".into()]
    }),
    ("network-interface.addresses.association.allocation-id", |r, i| {
        of_publics(r, i, |p| p.allocation_id)
    }),
    ("network-interface.addresses.association.association-id", |r, i| {
        of_publics(r, i, |p| p.association_id)
    }),
    ("network-interface.addresses.association.public-dns-name", |r, i| {
        of_publics(r, i, |p| Some(p.public_dns_name))
    }),
    ("network-interface.association.public-dns-name", |r, i| {
        of_public(r, i, |p| Some(p.public_dns_name))
    }),
    ("network-interface.public-dns-name", |r, i| of_public(r, i, |p| Some(p.public_dns_name))),
    ("network-interface.addresses.private-dns-name", |r, i| {
        let interfaces = i.interfaces.values().filter_map(|id| r.interfaces.get(id));
        interfaces.flat_map(|e| &e.addresses).map(|a| r.private_dns_name(*a)).collect()
    }),
    ("network-interface.attachment.network-card-index", |r, i| attached(r, i, |_| "0".into())),
    ("network-interface.deny-all-igw-traffic", |r, i| of_interfaces(r, i, |_| "false".into())),
    ("network-interface.tag-key", |r, i| of_tags(r, i, |(key, _)| key.clone())),
    ("network-interface.tag-value", |r, i| of_tags(r, i, |(_, value)| value.clone())),
    ("affinity", |_, _| Vec::new()),
    (
        "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id",
        |_, _| Vec::new(),
    ),
    (
        "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-resource-group-arn",
        |_, _| Vec::new(),
    ),
    ("network-interface.addresses.association.carrier-ip", |_, _| Vec::new()),
    ("network-interface.addresses.association.customer-owned-ip", |_, _| Vec::new()),
    ("network-interface.association.carrier-ip", |_, _| Vec::new()),
    ("network-interface.association.customer-owned-ip", |_, _| Vec::new()),
    ("network-interface.operator.principal", |_, _| Vec::new()),
    ("network-interface.outpost-arn", |_, _| Vec::new()),
    ("tpm-support", |_, _| Vec::new()),
    ("block-device-mapping.attach-time", |_, _| Vec::new()),
    ("block-device-mapping.delete-on-termination", |_, _| Vec::new()),
    ("block-device-mapping.device-name", |_, _| Vec::new()),
    ("block-device-mapping.status", |_, _| Vec::new()),
    ("block-device-mapping.volume-id", |_, _| Vec::new()),
    ("capacity-reservation-id", |_, _| Vec::new()),
    ("host-id", |_, _| Vec::new()),
    ("instance-lifecycle", |_, _| Vec::new()),
    ("kernel-id", |_, _| Vec::new()),
    ("operator.principal", |_, _| Vec::new()),
    ("outpost-arn", |_, _| Vec::new()),
    ("placement-group-name", |_, _| Vec::new()),
    ("placement-partition-number", |_, _| Vec::new()),
    ("platform", |_, _| Vec::new()),
    ("product-code", |_, _| Vec::new()),
    ("product-code.type", |_, _| Vec::new()),
    ("ramdisk-id", |_, _| Vec::new()),
    ("requester-id", |_, _| Vec::new()),
    ("root-device-name", |_, _| Vec::new()),
    ("spot-instance-request-id", |_, _| Vec::new()),
];

/// A place in the network, which a terminated instance no longer has.
fn kept(instance: &Instance, place: &str) -> Vec<String> {
    instance.terminated.is_none().then(|| place.to_owned()).into_iter().collect()
}
