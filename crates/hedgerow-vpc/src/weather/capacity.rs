//! Instance types that are short.

use super::config::Capacity;
use crate::api::error::Ec2Error;
use crate::query::params::Node;
use crate::state::{Region, catalog};

/// EC2's `InsufficientInstanceCapacity` for a RunInstances that finds no room, by the state before.
/// A request that names nothing definite is left to the action itself.
///
/// # Errors
/// The first shortage that the launch meets.
pub fn shortage(rules: &[Capacity], region: &Region, body: &[u8]) -> Result<(), Ec2Error> {
    if rules.is_empty() {
        return Ok(());
    }
    let Ok(node) = Node::parse(body) else { return Ok(()) };
    let text = |path: &[&str]| {
        let end = path.iter().try_fold(&node, |node, part| node.children.get(*part));
        end.and_then(|node| node.value.as_deref())
    };
    if text(&["Action"]) != Some("RunInstances") {
        return Ok(());
    }
    let subnet = text(&["SubnetId"]).or_else(|| text(&["NetworkInterface", "1", "SubnetId"]));
    let from_subnet = subnet.and_then(|id| region.subnets.get(id)).map(|s| s.zone.name.as_str());
    // Without a place EC2 chooses one; the subnets of the default VPC are tried in order.
    let default = || {
        let vpc = region.default_vpc()?;
        let mut subnets = region.subnets.values().filter(|subnet| subnet.vpc == vpc.id);
        subnets.next().map(|subnet| subnet.zone.name.as_str())
    };
    let place = from_subnet.or_else(|| text(&["Placement", "AvailabilityZone"])).or_else(default);
    let (Some(kind), Some(zone)) = (text(&["InstanceType"]), place) else { return Ok(()) };
    let count = text(&["MinCount"]).and_then(|count| count.parse::<usize>().ok()).unwrap_or(1);
    for rule in rules.iter().filter(|r| r.instance_type.fits(kind) && r.zone.fits(zone)) {
        let running = region.instances.values().filter(|instance| {
            instance.terminated.is_none()
                && rule.instance_type.fits(&instance.type_name)
                && instance.zone.name == zone
        });
        if running.count() + count > rule.available {
            return Err(error(rules, region, kind, zone));
        }
    }
    Ok(())
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
