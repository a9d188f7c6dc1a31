//! Instance types that are short.

use std::collections::BTreeSet;

use super::config::Capacity;
use crate::api::error::Ec2Error;
use crate::query::params::Node;
use crate::state::instance::Instance;
use crate::state::{Region, catalog};

/// Instances that a request asks for.
struct Wanted<'a> {
    kind: &'a str,
    zone: &'a str,
    /// What it must get.
    least: usize,
    /// What it would take.
    most: usize,
}

/// How many instances a RunInstances may make where that is fewer than it would take, by the state
/// before: "EC2 launches the largest possible number of instances above the specified minimum
/// count" (RunInstances, EC2 API Reference). A request that names nothing definite is left to the
/// action itself, and so is one whose client token is known: it gets its first answer again.
///
/// # Errors
/// `InsufficientInstanceCapacity` for the first shortage that leaves a launch less than it must get,
/// or a StartInstances without room for all.
pub fn shortage(rules: &[Capacity], region: &Region, body: &[u8]) -> Result<Option<u32>, Ec2Error> {
    if rules.is_empty() {
        return Ok(None);
    }
    let Ok(node) = Node::parse(body) else { return Ok(None) };
    let wanted = match text(&node, &["Action"]) {
        Some("RunInstances") => launched(region, &node).into_iter().collect(),
        Some("StartInstances") => started(region, &node),
        _ => Vec::new(),
    };
    let mut fewer = None;
    for Wanted { kind, zone, most, .. } in &wanted {
        for rule in rules.iter().filter(|r| r.instance_type.fits(kind) && r.zone.fits(zone)) {
            let fits = |k: &str, z: &str| rule.instance_type.fits(k) && z == *zone;
            let running = region.instances.values().filter(|instance| {
                instance.terminated.is_none()
                    && instance.stopped.is_none()
                    && fits(&instance.type_name, &instance.zone.name)
            });
            let room = rule.available.saturating_sub(running.count());
            let least = wanted.iter().filter(|w| fits(w.kind, w.zone)).map(|w| w.least);
            if least.sum::<usize>() > room {
                return Err(error(rules, region, kind, zone));
            }
            if *most > room {
                fewer = Some(fewer.map_or(room, |fewer: usize| fewer.min(room)));
            }
        }
    }
    Ok(fewer.and_then(|room| u32::try_from(room).ok()))
}

fn text<'n>(node: &'n Node, path: &[&str]) -> Option<&'n str> {
    let end = path.iter().try_fold(node, |node, part| node.children.get(*part));
    end.and_then(|node| node.value.as_deref())
}

fn launched<'a>(region: &'a Region, node: &'a Node) -> Option<Wanted<'a>> {
    let token = text(node, &["ClientToken"]).filter(|token| !token.is_empty());
    if token.is_some_and(|token| region.tokens.knows("RunInstances", token)) {
        return None;
    }
    let subnet =
        text(node, &["SubnetId"]).or_else(|| text(node, &["NetworkInterface", "1", "SubnetId"]));
    let from_subnet = subnet.and_then(|id| region.subnets.get(id)).map(|s| s.zone.name.as_str());
    // Without a place EC2 chooses one; the subnets of the default VPC are tried in order.
    let default = || {
        let vpc = region.default_vpc()?;
        let mut subnets = region.subnets.values().filter(|subnet| subnet.vpc == vpc.id);
        subnets.next().map(|subnet| subnet.zone.name.as_str())
    };
    let place =
        from_subnet.or_else(|| text(node, &["Placement", "AvailabilityZone"])).or_else(default);
    let count = |name| text(node, &[name]).and_then(|count| count.parse().ok()).unwrap_or(1);
    let (least, most) = (count("MinCount"), count("MaxCount"));
    Some(Wanted { kind: text(node, &["InstanceType"])?, zone: place?, least, most })
}

fn started<'a>(region: &'a Region, node: &'a Node) -> Vec<Wanted<'a>> {
    let ids = node.children.get("InstanceId").into_iter().flat_map(|list| list.children.values());
    let ids: BTreeSet<&str> = ids.filter_map(|id| id.value.as_deref()).collect();
    let instances = ids.into_iter().filter_map(|id| region.instances.get(id));
    let stopped = instances.filter(|instance| instance.stopped.is_some());
    let wanted =
        |i: &'a Instance| Wanted { kind: &i.type_name, zone: &i.zone.name, least: 1, most: 1 };
    stopped.map(wanted).collect()
}

fn error(rules: &[Capacity], region: &Region, kind: &str, zone: &str) -> Ec2Error {
    let short = |name: &str| {
        rules.iter().any(|r| r.available == 0 && r.instance_type.fits(kind) && r.zone.fits(name))
    };
    let zones = catalog::zones(&region.name);
    let others: Vec<&str> =
        zones.iter().map(|z| z.name.as_str()).filter(|n| *n != zone && !short(n)).collect();
    let advice = match others.is_empty() {
        true => String::new(),
        false => format!(
            " You can currently get {kind} capacity by not specifying an Availability Zone in your \
             request or choosing {}.",
            others.join(", ")
        ),
    };
    let message = format!(
        "We currently do not have sufficient {kind} capacity in the Availability Zone you \
         requested ({zone}). Our system will be working on provisioning additional capacity.{advice}"
    );
    Ec2Error::new("InsufficientInstanceCapacity", message)
}
