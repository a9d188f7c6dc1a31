//! Which resources the actions of EKS and RDS touch (Service Authorization Reference).

use std::collections::BTreeMap;

use super::request::{Facts, Resource};
use super::touched::add_request_tags;
use crate::query::params::Node;
use crate::state::{ACCOUNT, Region};

/// What every PostgreSQL database of this version has without being asked.
const DEFAULT_GROUPS: [&str; 2] = ["og:default:postgres-15", "pg:default.postgres15"];

fn given<'n>(node: &'n Node, name: &str) -> Option<&'n str> {
    node.children.get(name).and_then(|child| child.value.as_deref())
}

/// The cluster that a call names, or every cluster.
pub(super) fn of_eks(region: Option<&Region>, name: &str, node: &Node) -> Vec<Resource> {
    let cluster = given(node, "name").unwrap_or("*");
    let arn = format!("arn:aws:eks:{name}:{ACCOUNT}:cluster/{cluster}");
    let known = region.and_then(|region| region.clusters.get(cluster));
    vec![Resource { arn, facts: tag_facts(known.map(|cluster| &cluster.tags), &[]) }]
}

/// The databases and subnet groups that a call names, or every one.
pub(super) fn of_rds(
    region: Option<&Region>,
    name: &str,
    action: &str,
    node: &Node,
) -> Vec<Resource> {
    let mut resources = Vec::new();
    if !action.contains("SubnetGroup") {
        resources.push(database(region, name, node));
    }
    if action.contains("SubnetGroup") || action == "CreateDBInstance" {
        let usual = if action == "CreateDBInstance" { "default" } else { "*" };
        let id = given(node, "DBSubnetGroupName").unwrap_or(usual).to_ascii_lowercase();
        let known = region.and_then(|region| region.subnet_groups.get(&id));
        let facts = tag_facts(known.map(|group| &group.tags), &["rds:subgrp-tag"]);
        resources.push(Resource { arn: arn(name, &format!("subgrp:{id}")), facts });
    }
    if action == "CreateDBInstance" {
        let groups = DEFAULT_GROUPS.iter().map(|id| arn(name, id));
        resources.extend(groups.map(|arn| Resource { arn, facts: Facts::default() }));
    }
    let tags = node.children.get("Tags").into_iter().flat_map(|tags| tags.children.values());
    let tags: Vec<&Node> = tags.flat_map(|list| list.children.values()).collect();
    for resource in &mut resources {
        add_request_tags(&mut resource.facts, tags.iter().copied());
    }
    resources
}

fn database(region: Option<&Region>, name: &str, node: &Node) -> Resource {
    let id = given(node, "DBInstanceIdentifier").unwrap_or("*").to_ascii_lowercase();
    let known = region.and_then(|region| region.databases.get(&id));
    let mut facts = tag_facts(known.map(|database| &database.tags), &["rds:db-tag"]);
    let class = given(node, "DBInstanceClass").or(known.map(|database| database.class.as_str()));
    let engine = given(node, "Engine").or(known.map(|_| "postgres"));
    for (key, value) in [("rds:DatabaseClass", class), ("rds:DatabaseEngine", engine)] {
        if let Some(value) = value {
            facts.add(key, value);
        }
    }
    Resource { arn: arn(name, &format!("db:{id}")), facts }
}

fn arn(region: &str, resource: &str) -> String {
    format!("arn:aws:rds:{region}:{ACCOUNT}:{resource}")
}

/// Tags as `aws:ResourceTag/…` and by the service's own names of that.
fn tag_facts(tags: Option<&BTreeMap<String, String>>, more: &[&str]) -> Facts {
    let mut facts = Facts::default();
    for (key, value) in tags.into_iter().flatten() {
        for prefix in ["aws:ResourceTag"].iter().chain(more) {
            facts.add(&format!("{prefix}/{key}"), value);
        }
    }
    facts
}
