//! What the metadata service says of an instance, as a tree of paths; pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use base64::Engine;

use crate::state::instance::{Instance, MetadataOptions};
use crate::state::interface::Interface;
use crate::state::mint::format_mac;
use crate::state::{ACCOUNT, Region, State};

/// The instance behind an address of a VPC, and what it may ask.
pub(super) struct Asker {
    pub instance: String,
    pub options: MetadataOptions,
    /// Path below `/latest/` to text.
    tree: BTreeMap<String, String>,
}

impl Asker {
    /// The instance that has `address` in the VPC with key `vpc`. A branch's address belongs to the
    /// instance of its trunk.
    pub fn find(state: &State, vpc: u32, address: Ipv4Addr) -> Option<Asker> {
        let (region, vpc) = state.regions().find_map(|region| {
            region.vpcs.values().find(|v| v.key == vpc).map(|vpc| (region, &vpc.id))
        })?;
        let owner = region
            .subnets
            .values()
            .filter(|subnet| subnet.vpc == *vpc)
            .find_map(|subnet| subnet.taken.get(&address))?;
        let mut interface = region.interfaces.get(owner)?;
        if let Some(association) = &interface.association {
            interface = region.interfaces.get(&association.trunk)?;
        }
        let instance = region.instances.get(&interface.attachment.as_ref()?.instance)?;
        Some(Asker {
            instance: instance.id.clone(),
            options: instance.metadata.clone(),
            tree: tree(region, instance)?,
        })
    }

    /// The text at `path` below `/latest/`, or the names in that directory.
    pub fn get(&self, path: &str) -> Option<String> {
        let path = path.trim_matches('/');
        if let Some(text) = self.tree.get(path) {
            return Some(text.clone());
        }
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let mut names: Vec<String> = Vec::new();
        for rest in self.tree.keys().filter_map(|key| key.strip_prefix(&prefix)) {
            let name = match rest.split_once('/') {
                // The two roots are listed without a slash, as EC2 does.
                Some((name, _)) if prefix.is_empty() => name.to_owned(),
                Some((name, _)) => format!("{name}/"),
                None => rest.to_owned(),
            };
            if names.last() != Some(&name) {
                names.push(name);
            }
        }
        (!names.is_empty()).then(|| names.join("\n"))
    }
}

fn tree(region: &Region, instance: &Instance) -> Option<BTreeMap<String, String>> {
    let primary = crate::state::instance::primary(region, instance)?;
    let address = primary.primary();
    let name = region.private_dns_name(address);
    let mut tree = BTreeMap::new();
    let mut put = |path: &str, text: &str| tree.insert(path.to_owned(), text.to_owned());
    put("meta-data/ami-id", &instance.image);
    put("meta-data/ami-launch-index", &instance.launch_index.to_string());
    put("meta-data/hostname", &name);
    put("meta-data/instance-id", &instance.id);
    put("meta-data/instance-life-cycle", "on-demand");
    put("meta-data/instance-type", &instance.type_name);
    put("meta-data/local-hostname", &name);
    put("meta-data/local-ipv4", &address.to_string());
    put("meta-data/mac", &format_mac(primary.mac));
    put("meta-data/placement/availability-zone", &instance.zone.name);
    put("meta-data/placement/availability-zone-id", &instance.zone.id);
    put("meta-data/placement/region", region.name());
    put("meta-data/reservation-id", &instance.reservation);
    put("meta-data/security-groups", &group_names(region, primary));
    put("meta-data/services/domain", "amazonaws.com");
    put("meta-data/services/partition", "aws");
    put("dynamic/instance-identity/document", &identity(region, instance, address));
    let user_data = instance.user_data.as_ref();
    let decoded = user_data.and_then(|t| base64::engine::general_purpose::STANDARD.decode(t).ok());
    if let Some(text) = decoded.and_then(|bytes| String::from_utf8(bytes).ok()) {
        put("user-data", &text);
    }
    for (index, id) in &instance.interfaces {
        let interface = region.interfaces.get(id)?;
        let mac = format_mac(interface.mac);
        for (field, text) in interface_fields(region, *index, interface) {
            tree.insert(format!("meta-data/network/interfaces/macs/{mac}/{field}"), text);
        }
    }
    Some(tree)
}

fn group_names(region: &Region, interface: &Interface) -> String {
    let groups = interface.groups.iter().filter_map(|id| region.groups.get(id));
    groups.map(|group| group.name.as_str()).collect::<Vec<_>>().join("\n")
}

fn interface_fields(
    region: &Region,
    device_index: u8,
    interface: &Interface,
) -> Vec<(&'static str, String)> {
    let subnet = &region.subnets[&interface.subnet];
    let vpc = &region.vpcs[&interface.vpc];
    let addresses: Vec<String> = interface.addresses.iter().map(Ipv4Addr::to_string).collect();
    vec![
        ("device-number", device_index.to_string()),
        ("interface-id", interface.id.clone()),
        ("local-hostname", region.private_dns_name(interface.primary())),
        ("local-ipv4s", addresses.join("\n")),
        ("mac", format_mac(interface.mac)),
        ("owner-id", ACCOUNT.to_owned()),
        ("security-group-ids", interface.groups.join("\n")),
        ("security-groups", group_names(region, interface)),
        ("subnet-id", subnet.id.clone()),
        ("subnet-ipv4-cidr-block", subnet.block.to_string()),
        ("vpc-id", vpc.id.clone()),
        ("vpc-ipv4-cidr-block", vpc.block.to_string()),
        ("vpc-ipv4-cidr-blocks", vpc.block.to_string()),
    ]
}

/// The instance identity document; unsigned, as there is nobody to sign it.
fn identity(region: &Region, instance: &Instance, address: Ipv4Addr) -> String {
    let document = serde_json::json!({
        "accountId": ACCOUNT,
        "architecture": "x86_64",
        "availabilityZone": instance.zone.name,
        "imageId": instance.image,
        "instanceId": instance.id,
        "instanceType": instance.type_name,
        "pendingTime": instance.launched.to_string(),
        "privateIp": address.to_string(),
        "region": region.name(),
        "version": "2017-09-30",
    });
    format!("{document:#}")
}
