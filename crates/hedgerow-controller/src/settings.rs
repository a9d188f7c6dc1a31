//! The ConfigMap `kube-system/amazon-vpc-cni`, followed while the controller runs.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use hedgerow_core::names::{COOLDOWN_KEY, SETTINGS_CONFIGMAP};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};

use crate::context::{Context, lock};

/// The shortest rest: before it, something on the node may still hold the address.
const SHORTEST: u64 = 30;

/// The cool-down that the ConfigMap asks for, at least 30 seconds; `default` seconds where it says
/// nothing or nothing readable.
pub fn cooldown(text: Option<&str>, default: u64) -> Duration {
    let seconds = text.and_then(|t| t.trim().parse().ok()).unwrap_or(default);
    Duration::from_secs(seconds.max(SHORTEST))
}

/// Follows the ConfigMap for ever.
pub async fn run(context: Arc<Context>) {
    let api = Api::<ConfigMap>::namespaced(context.client.clone(), &context.args.namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={SETTINGS_CONFIGMAP}"));
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        let map = match event {
            Ok(watcher::Event::Apply(map) | watcher::Event::InitApply(map)) => Some(map),
            Ok(watcher::Event::Delete(_)) => None,
            Ok(watcher::Event::Init | watcher::Event::InitDone) => continue,
            Err(error) => {
                tracing::warn!(%error, "watching the ConfigMap {SETTINGS_CONFIGMAP}");
                continue;
            }
        };
        let text = map.and_then(|m| m.data?.remove(COOLDOWN_KEY));
        set(cooldown(text.as_deref(), context.args.cooldown), &context).await;
    }
}

async fn set(period: Duration, context: &Context) {
    if *context.cooldown.borrow() == period {
        return;
    }
    context.cooldown.send_replace(period);
    let seconds = period.as_secs();
    tracing::info!(seconds, "branch cool-down changed");
    let trunks = context.trunks();
    for node in context.nodes.state() {
        let instance = hedgerow_k8s::node::managed_instance(&node);
        if trunks.iter().any(|t| Some(lock(t).instance.as_str()) == instance) {
            let note = format!("Branch ENI cool down period has been updated to {seconds}s");
            context.events.normal(&*node, "BranchENICoolDownPeriodUpdated", note).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_thirty_seconds_and_sixty_by_default() {
        for (text, seconds) in [
            (None, 60),
            (Some("90"), 90),
            (Some(" 45 "), 45),
            (Some("5"), 30),
            (Some("-5"), 60),
            (Some("soon"), 60),
            (Some(""), 60),
        ] {
            assert_eq!(cooldown(text, 60).as_secs(), seconds, "{text:?}");
        }
    }
}
