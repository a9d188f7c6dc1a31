//! Which names a VPC knows; pure.
//!
//! "DNS attributes for your VPC" (Amazon VPC User Guide): with `enableDnsSupport` off there is no
//! DNS; instances' names and private hosted zones need `enableDnsHostnames` as well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Found;
use crate::state::instance::primary;
use crate::state::interface::Interface;
use crate::state::rds;
use crate::state::vpc::Vpc;
use crate::state::{Region, State};

/// Resolves to the metadata service inside every VPC, as at EC2.
const INSTANCE_DATA: &str = "instance-data.ec2.internal";
/// Its address.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// What the VPC with key `vpc` knows of `name`, which is in lower case without a dot at its end.
pub fn find(state: &State, vpc: u32, name: &str) -> Found {
    let found = state.regions().find_map(|region| {
        region.vpcs.values().find(|known| known.key == vpc).map(|vpc| (region, vpc))
    });
    match found {
        Some((_, vpc)) if !vpc.dns_support => Found::Off,
        Some((region, vpc)) => in_zones(region, vpc, name)
            .or_else(|| of_instance(region, vpc, name))
            .or_else(|| of_public_address(region, vpc, name))
            .or_else(|| of_database(region, vpc, name))
            .or_else(|| of_cluster(region, vpc, name))
            .or_else(|| backwards(region, vpc, name))
            .or_else(|| backwards_v6(region, vpc, name))
            .unwrap_or(Found::Elsewhere),
        None => Found::Off,
    }
}

/// From the private zones that the VPC sees; the longest zone that ends the name decides.
fn in_zones(region: &Region, vpc: &Vpc, name: &str) -> Option<Found> {
    let covers = |zone: &str| {
        name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
    };
    let zone = region
        .zones
        .values()
        .filter(|zone| zone.vpcs.is_empty() || (vpc.dns_hostnames && zone.vpcs.contains(&vpc.id)))
        .filter(|zone| covers(&zone.name))
        .max_by_key(|zone| zone.name.len())?;
    Some(match zone.addresses(name) {
        Some(addresses) => Found::Addresses(addresses.to_vec()),
        None => Found::Absent { zone: zone.name.clone() },
    })
}

/// `ip-10-0-0-5.DOMAIN`, and `i-….DOMAIN` if the instance's `PrivateDnsNameOptions` say so.
fn of_instance(region: &Region, vpc: &Vpc, name: &str) -> Option<Found> {
    if name == INSTANCE_DATA {
        return Some(one(METADATA));
    }
    let domain = domain(region);
    let label = match name.strip_suffix(domain.as_str()) {
        Some("") => return Some(Found::Absent { zone: domain }),
        Some(rest) => rest.strip_suffix('.')?,
        None => return None,
    };
    let addresses: Vec<IpAddr> = if !vpc.dns_hostnames {
        Vec::new()
    } else if label.starts_with("ip-") {
        let address = address_of_label("ip-", label).filter(|ip| taken(region, vpc, *ip));
        address.map(IpAddr::from).into_iter().collect()
    } else {
        of_resource(region, vpc, label)
    };
    Some(match addresses.is_empty() {
        false => Found::Addresses(addresses),
        true => Found::Absent { zone: domain },
    })
}

/// What the name made of an instance's id leads to: `EnableResourceNameDnsARecord` and
/// `EnableResourceNameDnsAAAARecord` switch its records on, one by one.
fn of_resource(region: &Region, vpc: &Vpc, id: &str) -> Vec<IpAddr> {
    let instance = region.instances.get(id).filter(|instance| instance.vpc == vpc.id);
    let Some((instance, eth0)) = instance.and_then(|i| Some((i, primary(region, i)?))) else {
        return Vec::new();
    };
    let four = instance.names.a_record.then(|| eth0.primary().into());
    let six = eth0.ipv6.first().filter(|_| instance.names.aaaa_record);
    four.into_iter().chain(six.map(|address| IpAddr::from(*address))).collect()
}

fn one(address: Ipv4Addr) -> Found {
    Found::Addresses(vec![address.into()])
}

/// `ec2-203-0-113-25.us-west-2.compute.amazonaws.com`: inside of the VPC of the interface that has the
/// address its private address, elsewhere the address itself. The name is the owner's: its VPC must
/// have host names.
fn of_public_address(region: &Region, vpc: &Vpc, name: &str) -> Option<Found> {
    let domain = region.public_domain();
    let label = match name.strip_suffix(domain.as_str())? {
        "" => return Some(Found::Absent { zone: domain }),
        rest => rest.strip_suffix('.')?,
    };
    let public = address_of_label("ec2-", label);
    let owner = public.and_then(|public| public_owner(region, public));
    Some(match (public, owner) {
        (Some(_), Some((owner, private))) if owner.vpc == vpc.id => one(private),
        (Some(public), Some(_)) => one(public),
        _ => Found::Absent { zone: domain },
    })
}

/// The interface with this public address and the private address that it stands for, if its VPC
/// gives host names.
fn public_owner(region: &Region, public: Ipv4Addr) -> Option<(&Interface, Ipv4Addr)> {
    let elastic = region.addresses.values().filter(|address| address.public == public);
    let elastic = elastic.filter_map(|address| Some(&address.association.as_ref()?.interface));
    let launched = region.launch_addresses.iter().filter(|(_, own)| **own == Some(public));
    let owners = elastic.chain(launched.map(|(interface, _)| interface));
    let mut owners = owners.filter_map(|id| region.interfaces.get(id));
    // An interface with an elastic address does not show the one from its launch.
    let (owner, private) = owners.find_map(|owner| {
        let mut publics = region.publics_of(owner).into_iter();
        publics.find_map(|(private, known)| (known == public).then_some((owner, private)))
    })?;
    region.vpcs.get(&owner.vpc).filter(|vpc| vpc.dns_hostnames).map(|_| (owner, private))
}

/// Names of databases, which every VPC of the region can resolve. That of a public one is its public
/// address outside of its VPC.
fn of_database(region: &Region, vpc: &Vpc, name: &str) -> Option<Found> {
    let zone = rds::zone(region.name());
    let label = name.strip_suffix(zone.as_str())?.strip_suffix('.')?;
    let id = label.split('.').next().unwrap_or_default();
    let found = region.databases.get(id).filter(|_| rds::endpoint(region.name(), id) == name);
    let interface = found.and_then(|database| region.interfaces.get(&database.interface));
    Some(match interface {
        Some(interface) => {
            let public = region.public_of(interface).filter(|_| interface.vpc != vpc.id);
            one(public.unwrap_or(interface.primary()))
        }
        None => Found::Absent { zone },
    })
}

/// The endpoint of a cluster of EKS.
fn of_cluster(region: &Region, vpc: &Vpc, name: &str) -> Option<Found> {
    let zone = format!("{}.eks.amazonaws.com", region.name());
    name.strip_suffix(zone.as_str())?.strip_suffix('.')?;
    let address = region.clusters.values().find_map(|cluster| cluster.resolve(vpc, name));
    Some(address.map_or(Found::Absent { zone }, one))
}

/// What instances' names in the region end with; us-east-1 is older than regional names.
fn domain(region: &Region) -> String {
    match region.name() {
        "us-east-1" => "ec2.internal".to_owned(),
        name => format!("{name}.compute.internal"),
    }
}

/// `5.0.0.10.in-addr.arpa`, for addresses in the VPC's blocks.
fn backwards(region: &Region, vpc: &Vpc, name: &str) -> Option<Found> {
    let octets = name.strip_suffix(".in-addr.arpa")?;
    let octets: Vec<u8> = octets.split('.').rev().map(octet).collect::<Option<_>>()?;
    let [a, b, c, d] = octets[..] else { return None };
    let address = Ipv4Addr::new(a, b, c, d);
    if !vpc.view().blocks.iter().any(|block| block.contains(address)) {
        // A public address is that of whoever has it, in whichever VPC.
        return public_owner(region, address).map(|_| Found::Host(region.public_dns_name(address)));
    }
    Some(if vpc.dns_hostnames && taken(region, vpc, address) {
        Found::Host(region.private_dns_name(address))
    } else {
        Found::Absent { zone: format!("{b}.{a}.in-addr.arpa") }
    })
}

/// `….ip6.arpa`, for addresses in the VPC's subnets: the resource name of the instance that has it, if
/// that name has such a record.
fn backwards_v6(region: &Region, vpc: &Vpc, name: &str) -> Option<Found> {
    let nibbles = name.strip_suffix(".ip6.arpa")?;
    let address = address_of_nibbles(nibbles)?;
    let mut subnets = region.subnets.values().filter(|subnet| subnet.vpc == vpc.id);
    let own = subnets
        .find_map(|subnet| subnet.ipv6.as_ref().filter(|own| own.block.contains(address)))?;
    let owner = own.owner(address).filter(|_| vpc.dns_hostnames);
    let attached = owner.and_then(|id| region.interfaces.get(id)?.attachment.as_ref());
    let instance = attached.and_then(|attached| region.instances.get(&attached.instance));
    Some(match instance.filter(|instance| instance.names.aaaa_record) {
        Some(instance) => Found::Host(format!("{}.{}", instance.id, domain(region))),
        // The zone is that of a /64: sixteen labels and the root's two.
        None => Found::Absent { zone: name.splitn(17, '.').last().unwrap_or(name).to_owned() },
    })
}

/// The address of 32 hexadecimal digits, the last one first, with dots between them.
fn address_of_nibbles(text: &str) -> Option<Ipv6Addr> {
    let mut bits = 0_u128;
    let mut count = 0;
    for label in text.rsplit('.') {
        let digit = label.chars().next().filter(|_| label.len() == 1)?;
        bits = bits << 4 | u128::from(digit.to_digit(16)?);
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from(bits))
}

/// Whether an interface in the VPC has the address.
fn taken(region: &Region, vpc: &Vpc, address: Ipv4Addr) -> bool {
    let mut subnets = region.subnets.values().filter(|subnet| subnet.vpc == vpc.id);
    subnets.any(|subnet| subnet.taken.contains_key(&address))
}

/// The address of `ip-10-0-0-5` or `ec2-203-0-113-25`, by its prefix.
fn address_of_label(prefix: &str, label: &str) -> Option<Ipv4Addr> {
    let octets = label.strip_prefix(prefix)?.split('-').map(octet).collect::<Option<Vec<u8>>>()?;
    <[u8; 4]>::try_from(octets).ok().map(Ipv4Addr::from)
}

/// A number from 0 to 255 without needless zeros.
fn octet(text: &str) -> Option<u8> {
    text.parse().ok().filter(|number: &u8| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nibbles() {
        let text = "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2";
        assert_eq!(address_of_nibbles(text), "2001:db8::5".parse().ok());
        for wrong in [&text[2..], "", "5", &text.replace('b', "bb"), &text.replace('b', "g")] {
            assert_eq!(address_of_nibbles(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn labels() {
        let five = Some(Ipv4Addr::new(10, 0, 0, 5));
        for (label, want) in [
            ("ip-10-0-0-5", five),
            ("ip-10-0-0-05", None),
            ("ip-10-0-0", None),
            ("ip-10-0-0-5-1", None),
            ("ip-10-0-0-256", None),
            ("ip-10-0-0-+5", None),
            ("ip-", None),
        ] {
            assert_eq!(address_of_label("ip-", label), want, "{label}");
        }
    }
}
