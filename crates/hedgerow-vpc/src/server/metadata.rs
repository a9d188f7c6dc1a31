//! What the metadata service says of an instance, as a tree of paths; pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use base64::Engine;

use crate::state::instance::{Instance, MetadataOptions, PROFILE_ID};
use crate::state::instance_types::architecture;
use crate::state::interface::Interface;
use crate::state::mint::format_mac;
use crate::state::role_keys::Issued;
use crate::state::time::Timestamp;
use crate::state::{ACCOUNT, Region, State};

/// Where a role's credentials are, followed by the role's name.
const CREDENTIALS: &str = "meta-data/iam/security-credentials";

/// The instance behind an address of a VPC, and what it may ask.
pub(super) struct Asker {
    pub instance: String,
    /// Where it is.
    pub region: String,
    pub options: MetadataOptions,
    /// The role of its instance profile.
    pub role: Option<String>,
    /// Path below `/latest/` to what is there.
    tree: BTreeMap<String, Leaf>,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leaf {
    Text(String),
    /// As the launch gave them.
    UserData(Vec<u8>),
    /// Credentials of the instance's role, which the server gives out.
    Credentials,
}

impl Asker {
    /// The instance that has `address` in the VPC with key `vpc`. A branch's address belongs to the
    /// instance of its trunk.
    pub fn find(state: &State, vpc: u32, address: IpAddr) -> Option<Asker> {
        let (region, vpc) = state.regions().find_map(|region| {
            region.vpcs.values().find(|v| v.key == vpc).map(|vpc| (region, &vpc.id))
        })?;
        let owner =
            region.subnets.values().filter(|subnet| subnet.vpc == *vpc).find_map(|subnet| {
                match address {
                    IpAddr::V4(address) => subnet.taken.get(&address).map(String::as_str),
                    IpAddr::V6(address) => subnet.ipv6.as_ref()?.owner(address),
                }
            })?;
        let mut interface = region.interfaces.get(owner)?;
        if let Some(association) = &interface.association {
            interface = region.interfaces.get(&association.trunk)?;
        }
        let instance = region.instances.get(&interface.attachment.as_ref()?.instance)?;
        Some(Asker {
            instance: instance.id.clone(),
            region: region.name().to_owned(),
            options: instance.metadata.clone(),
            role: instance.profile.clone(),
            tree: tree(region, instance)?,
        })
    }

    /// What is at `path` below a version, or the names in that directory.
    pub fn get(&self, path: &str) -> Option<Leaf> {
        let path = path.trim_matches('/');
        if let Some(leaf) = self.tree.get(path) {
            return Some(leaf.clone());
        }
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let mut names: Vec<String> = Vec::new();
        for rest in self.tree.keys().filter_map(|key| key.strip_prefix(&prefix)) {
            let name = match rest.split_once('/') {
                // The roots are listed without a slash, as EC2 does.
                Some((name, _)) if prefix.is_empty() => name.to_owned(),
                Some((name, _)) => format!("{name}/"),
                None => rest.to_owned(),
            };
            if names.last() != Some(&name) {
                names.push(name);
            }
        }
        (!names.is_empty()).then(|| Leaf::Text(names.join("\n")))
    }
}

fn tree(region: &Region, instance: &Instance) -> Option<BTreeMap<String, Leaf>> {
    let primary = crate::state::instance::primary(region, instance)?;
    let address = primary.primary();
    let mut tree: BTreeMap<String, Leaf> = BTreeMap::new();
    let mut put = |path: &str, text: String| tree.insert(path.to_owned(), Leaf::Text(text));
    for (name, text) in fields(region, instance, primary) {
        put(&format!("meta-data/{name}"), text);
    }
    put("dynamic/instance-identity/document", identity(region, instance, address));
    if let Some(public) = region.public_of(primary) {
        put("meta-data/public-ipv4", public.to_string());
        if let Some(name) = public_name(region, primary, public) {
            put("meta-data/public-hostname", name);
        }
    }
    if let Some(address) = primary.ipv6.first() {
        put("meta-data/ipv6", address.to_string());
    }
    put("dynamic/fws/instance-monitoring", "disabled".to_owned());
    if let Some(arn) = instance.profile_arn() {
        put("meta-data/iam/info", profile_info(&arn, instance.launched));
    }
    if instance.metadata.tags {
        for (key, value) in region.tags.get(&instance.id).into_iter().flatten() {
            // EC2 refuses other keys for instances whose tags are to be read here.
            if !key.contains(['/', ' ']) {
                put(&format!("meta-data/tags/instance/{key}"), value.clone());
            }
        }
    }
    for (index, id) in &instance.interfaces {
        let interface = region.interfaces.get(id)?;
        let mac = format_mac(interface.mac);
        for (field, text) in interface_fields(region, *index, interface) {
            put(&format!("meta-data/network/interfaces/macs/{mac}/{field}"), text);
        }
        for (field, text) in ipv6_fields(region, interface) {
            put(&format!("meta-data/network/interfaces/macs/{mac}/{field}"), text);
        }
        for (field, text) in public_fields(region, interface) {
            put(&format!("meta-data/network/interfaces/macs/{mac}/{field}"), text);
        }
    }
    if let Some(role) = &instance.profile {
        tree.insert(format!("{CREDENTIALS}/{role}"), Leaf::Credentials);
    }
    let user_data = instance.user_data.as_ref();
    let decoded = user_data.and_then(|t| base64::engine::general_purpose::STANDARD.decode(t).ok());
    if let Some(bytes) = decoded.filter(|bytes| !bytes.is_empty()) {
        tree.insert("user-data".to_owned(), Leaf::UserData(bytes));
    }
    Some(tree)
}

/// The name of an interface's public address, where its VPC gives names.
fn public_name(region: &Region, interface: &Interface, public: Ipv4Addr) -> Option<String> {
    region.vpcs[&interface.vpc].dns_hostnames.then(|| region.public_dns_name(public))
}

/// What every instance has below `meta-data/`.
fn fields(
    region: &Region,
    instance: &Instance,
    primary: &Interface,
) -> Vec<(&'static str, String)> {
    let address = primary.primary();
    let name = region.hostname(instance, address);
    vec![
        ("ami-id", instance.image.clone()),
        ("ami-launch-index", instance.launch_index.to_string()),
        ("ami-manifest-path", "(unknown)".to_owned()),
        ("block-device-mapping/ami", "/dev/xvda".to_owned()),
        ("block-device-mapping/root", "/dev/xvda".to_owned()),
        ("events/maintenance/history", "[]".to_owned()),
        ("events/maintenance/scheduled", "[]".to_owned()),
        ("hibernation/configured", "false".to_owned()),
        ("hostname", name.clone()),
        ("instance-action", "none".to_owned()),
        ("instance-id", instance.id.clone()),
        ("instance-life-cycle", "on-demand".to_owned()),
        ("instance-type", instance.type_name.clone()),
        ("local-hostname", name),
        ("local-ipv4", address.to_string()),
        ("mac", format_mac(primary.mac)),
        ("metrics/vhostmd", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>".to_owned()),
        ("placement/availability-zone", instance.zone.name.clone()),
        ("placement/availability-zone-id", instance.zone.id.clone()),
        ("placement/region", region.name().to_owned()),
        ("profile", "default-hvm".to_owned()),
        ("reservation-id", instance.reservation.clone()),
        ("security-groups", group_names(region, primary)),
        ("services/domain", "amazonaws.com".to_owned()),
        ("services/partition", "aws".to_owned()),
        ("system", "nitro".to_owned()),
    ]
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
    let blocks: Vec<String> = vpc.view().blocks.iter().map(ToString::to_string).collect();
    vec![
        ("device-number", device_index.to_string()),
        ("interface-id", interface.id.clone()),
        ("local-hostname", region.private_dns_name(interface.primary())),
        ("local-ipv4s", addresses.join("\n")),
        ("mac", format_mac(interface.mac)),
        ("network-card", "0".to_owned()),
        ("owner-id", ACCOUNT.to_owned()),
        ("security-group-ids", interface.groups.join("\n")),
        ("security-groups", group_names(region, interface)),
        ("subnet-id", subnet.id.clone()),
        ("subnet-ipv4-cidr-block", subnet.block.to_string()),
        ("vpc-id", vpc.id.clone()),
        ("vpc-ipv4-cidr-block", vpc.block.to_string()),
        ("vpc-ipv4-cidr-blocks", blocks.join("\n")),
    ]
}

/// What an interface has there where it has public addresses.
fn public_fields(region: &Region, interface: &Interface) -> Vec<(String, String)> {
    let publics = region.publics_of(interface);
    let of = |private: &Ipv4Addr| publics.get(private).map(|public| (*private, *public));
    let pairs: Vec<_> = interface.addresses.iter().filter_map(of).collect();
    let Some((_, first)) = pairs.first() else { return Vec::new() };
    let lines: Vec<String> = pairs.iter().map(|(_, public)| public.to_string()).collect();
    let mut fields = vec![("public-ipv4s".to_owned(), lines.join("\n"))];
    let name = public_name(region, interface, *first);
    fields.extend(name.map(|name| ("public-hostname".to_owned(), name)));
    fields.extend(
        pairs
            .iter()
            .map(|(private, public)| (format!("ipv4-associations/{public}"), private.to_string())),
    );
    fields
}

/// What an interface has there where its subnet has IPv6.
fn ipv6_fields(region: &Region, interface: &Interface) -> Vec<(&'static str, String)> {
    let Some(ipv6) = &region.subnets[&interface.subnet].ipv6 else { return Vec::new() };
    let lines = |texts: Vec<String>| texts.join("\n");
    let addresses = interface.ipv6.iter().map(ToString::to_string).collect();
    let prefixes: Vec<String> = interface.ipv6_prefixes.iter().map(ToString::to_string).collect();
    let blocks = region.vpcs[&interface.vpc].ipv6.iter().map(|own| own.block.to_string());
    let mut fields = vec![
        ("subnet-ipv6-cidr-blocks", ipv6.block.to_string()),
        ("vpc-ipv6-cidr-blocks", lines(blocks.collect())),
    ];
    if !interface.ipv6.is_empty() {
        fields.push(("ipv6s", lines(addresses)));
    }
    if !prefixes.is_empty() {
        fields.push(("ipv6-prefix", lines(prefixes)));
    }
    fields
}

/// An instant without fractions, as the documents below write it.
fn whole_seconds(instant: Timestamp) -> String {
    instant.to_string().replace(".000Z", "Z")
}

/// The keys of a role, as instances read them.
pub(super) fn credentials(keys: &Issued) -> String {
    let document = serde_json::json!({
        "Code": "Success",
        "LastUpdated": whole_seconds(keys.begins),
        "Type": "AWS-HMAC",
        "AccessKeyId": keys.key,
        "SecretAccessKey": keys.secret,
        "Token": keys.token,
        "Expiration": whole_seconds(keys.ends),
    });
    format!("{document:#}")
}

fn profile_info(arn: &str, since: Timestamp) -> String {
    let info = serde_json::json!({
        "Code": "Success",
        "LastUpdated": whole_seconds(since),
        "InstanceProfileArn": arn,
        "InstanceProfileId": PROFILE_ID,
    });
    format!("{info:#}")
}

/// The instance identity document; unsigned, as there is nobody to sign it.
fn identity(region: &Region, instance: &Instance, address: Ipv4Addr) -> String {
    let document = serde_json::json!({
        "accountId": ACCOUNT,
        "architecture": architecture(&instance.type_name),
        "availabilityZone": instance.zone.name,
        "billingProducts": null,
        "devpayProductCodes": null,
        "imageId": instance.image,
        "instanceId": instance.id,
        "instanceType": instance.type_name,
        "kernelId": null,
        "marketplaceProductCodes": null,
        "pendingTime": whole_seconds(instance.launched),
        "privateIp": address.to_string(),
        "ramdiskId": null,
        "region": region.name(),
        "version": "2017-09-30",
    });
    format!("{document:#}")
}
