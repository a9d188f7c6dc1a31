//! Branches whose pods are gone: rest, then disassociate, delete, free the VLAN. And the sweep for
//! interfaces that nobody knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hedgerow_cloud::{Interface, InterfaceQuery};
use hedgerow_core::names;
use hedgerow_k8s::node::managed_instance;

use crate::context::{Context, client_token, lock};
use crate::trunk::{Departure, Trunk};

const TICK: Duration = Duration::from_secs(1);

/// Once a second: what needs rest rests, what has rested goes.
pub async fn run(context: Arc<Context>) {
    context.pods_known().await;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let period = *context.cooldown.borrow();
        let (mut held, mut resting) = (0, 0);
        for trunk in context.trunks() {
            let departures = {
                let mut state = lock(&trunk);
                state.rest_unneeded(|pod| context.pod_needs_branch(pod), context.now());
                let departures = state.take_rested(context.now(), period);
                let (h, r) = state.counts();
                held += h;
                resting += r;
                departures
            };
            for departure in departures {
                tokio::spawn(release(departure, trunk.clone(), context.clone()));
            }
        }
        context.metrics.set_branches(held, resting);
        lock(&context.failures).retain(|pod| context.pod_needs_branch(pod));
    }
}

async fn release(branch: Departure, trunk: Arc<Mutex<Trunk>>, context: Arc<Context>) {
    let eni = branch.eni.as_str();
    match remove_branch(eni, branch.association.as_deref(), &context).await {
        Ok(()) => {
            tracing::info!(eni, "branch deleted");
            context.metrics.released(true);
            lock(&trunk).gone(eni);
        }
        Err(error) => {
            tracing::warn!(eni, %error, "branch not deleted, tried again after the cool-down");
            context.metrics.released(false);
            lock(&trunk).put_back(eni, context.now());
        }
    }
}

/// Disassociates and deletes; what is not there any more is as good as deleted.
pub async fn remove_branch(
    eni: &str,
    association: Option<&str>,
    context: &Context,
) -> hedgerow_cloud::Result<()> {
    if let Some(association) = association {
        match context.cloud.disassociate_trunk(association, &client_token()).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    match context.cloud.delete_interface(eni).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// Now and then: interfaces with our tags that nobody needs are deleted at their second sighting.
pub async fn sweep(context: Arc<Context>) {
    let mut seen = BTreeSet::new();
    let mut tick = tokio::time::interval(Duration::from_secs(context.args.sweep.max(5)));
    loop {
        tick.tick().await;
        if context.nodes.is_empty() {
            // Not listed yet: every interface would look like that of a node gone.
            continue;
        }
        let query = InterfaceQuery { tags: context.owner_tags(), ..Default::default() };
        let found = match context.cloud.describe_interfaces(&query).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "sweep skipped");
                continue;
            }
        };
        let leaks = leaks(&found, &context);
        for eni in leaks.intersection(&seen) {
            match remove_branch(eni, None, &context).await {
                Ok(()) => tracing::info!(eni, "leaked interface deleted"),
                Err(error) => tracing::warn!(eni, %error, "leaked interface not deleted"),
            }
        }
        seen = leaks;
    }
}

fn leaks(found: &[Interface], context: &Context) -> BTreeSet<String> {
    let nodes = context.nodes.state();
    let instances: BTreeSet<&str> = nodes.iter().filter_map(|n| managed_instance(n)).collect();
    let trunks = context.trunks();
    let trunks: BTreeMap<String, &Arc<Mutex<Trunk>>> =
        trunks.iter().map(|t| (lock(t).id.clone(), t)).collect();
    found
        .iter()
        .filter(|i| {
            is_leak(i, &instances, |trunk, eni| trunks.get(trunk).map(|t| lock(t).knows(eni)))
        })
        .map(|i| i.id.clone())
        .collect()
}

/// Whether nobody needs the interface. `knows` tells whether a trunk that is up knows a branch;
/// `None`: no such trunk is up.
fn is_leak(
    interface: &Interface,
    instances: &BTreeSet<&str>,
    knows: impl Fn(&str, &str) -> Option<bool>,
) -> bool {
    let tag = |key| interface.tags.get(key).map(String::as_str).unwrap_or_default();
    let node_is_there = instances.contains(tag(names::TAG_INSTANCE));
    match interface.description.as_str() {
        names::BRANCH_DESCRIPTION => match knows(tag(names::TAG_TRUNK), &interface.id) {
            Some(known) => !known,
            // A node whose trunk is not up yet, or a trunk that is another cluster's business.
            None => !node_is_there && interface.attachment.is_none(),
        },
        names::TRUNK_DESCRIPTION => !node_is_there && interface.status == "available",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hedgerow_cloud::InterfaceKind;

    fn interface(description: &str, trunk: &str, instance: &str, status: &str) -> Interface {
        Interface {
            id: "eni-1".into(),
            mac: "02:00:00:00:00:01".parse().unwrap(),
            kind: InterfaceKind::Branch,
            subnet: String::new(),
            vpc: String::new(),
            description: description.into(),
            addresses: vec![],
            groups: vec![],
            tags: [(names::TAG_TRUNK, trunk), (names::TAG_INSTANCE, instance)]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            status: status.into(),
            attachment: None,
        }
    }

    #[test]
    fn what_leaks() {
        let instances = BTreeSet::from(["i-here"]);
        let knows = |trunk: &str, _: &str| match trunk {
            "eni-knows" => Some(true),
            "eni-up" => Some(false),
            _ => None,
        };
        for (description, trunk, instance, status, leak, why) in [
            (names::BRANCH_DESCRIPTION, "eni-up", "i-here", "in-use", true, "trunk knows it not"),
            (names::BRANCH_DESCRIPTION, "eni-knows", "i-here", "in-use", false, "known"),
            (names::BRANCH_DESCRIPTION, "eni-other", "i-here", "in-use", false, "trunk not up yet"),
            (names::BRANCH_DESCRIPTION, "eni-other", "i-gone", "available", true, "node is gone"),
            (names::TRUNK_DESCRIPTION, "", "i-gone", "available", true, "trunk of a node gone"),
            (names::TRUNK_DESCRIPTION, "", "i-gone", "in-use", false, "still attached"),
            (names::TRUNK_DESCRIPTION, "", "i-here", "available", false, "about to be attached"),
            ("somebody's", "eni-up", "i-gone", "available", false, "not ours"),
        ] {
            let interface = interface(description, trunk, instance, status);
            assert_eq!(is_leak(&interface, &instances, knows), leak, "{why}");
        }
    }
}
