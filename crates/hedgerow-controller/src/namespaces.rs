//! The namespace label that puts pods under the webhook: there while a policy is there.
//!
//! It is set before a policy exists (the webhook is asked about policies too, see
//! `admission::server`), and again by this loop for policies that came while nobody was asked. It
//! goes a while after the last policy has gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hedgerow_core::names::{ENFORCED, NAMESPACE_LABEL};
use hedgerow_k8s::SecurityGroupPolicy;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::context::lock;

/// How long a namespace keeps its label without a policy: longer than a policy's way from the
/// webhook, which sets the label, into the watch.
const LINGER: Duration = Duration::from_secs(10);

/// What this loop needs.
pub struct Namespaces {
    client: Client,
    bare_since: Mutex<HashMap<String, Duration>>,
    started: std::time::Instant,
}

/// What to do about a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Nothing,
    Set,
    /// Look again after this time.
    Wait(Duration),
    Remove,
}

/// `bare_for`: how long the namespace has been seen labelled and without a policy.
fn plan(has_policy: bool, labelled: bool, bare_for: Duration) -> Step {
    match (has_policy, labelled) {
        (true, false) => Step::Set,
        (false, true) if bare_for >= LINGER => Step::Remove,
        (false, true) => Step::Wait(LINGER - bare_for),
        _ => Step::Nothing,
    }
}

/// The API server said no.
#[derive(Debug, thiserror::Error)]
#[error("labelling namespace {namespace}: {source}")]
pub struct LabelError {
    namespace: String,
    source: Box<kube::Error>,
}

impl Namespaces {
    /// Nothing is known yet.
    pub fn new(client: Client) -> Self {
        Self { client, bare_since: Mutex::default(), started: std::time::Instant::now() }
    }

    fn bare_for(&self, namespace: &str, bare: bool) -> Duration {
        let now = self.started.elapsed();
        let mut since = lock(&self.bare_since);
        if bare {
            now.saturating_sub(*since.entry(namespace.to_owned()).or_insert(now))
        } else {
            since.remove(namespace);
            Duration::ZERO
        }
    }
}

/// Looks at one namespace.
pub async fn reconcile(
    namespace: Arc<Namespace>,
    this: Arc<Namespaces>,
) -> Result<Action, LabelError> {
    let name = namespace.name_any();
    let failed = |source| LabelError { namespace: namespace.name_any(), source: Box::new(source) };
    if namespace.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    // Asked live: a cache behind the watch that woke us would leave the label unset.
    let policies = Api::<SecurityGroupPolicy>::namespaced(this.client.clone(), &name)
        .list(&ListParams::default().limit(1))
        .await
        .map_err(failed)?;
    let has_policy = !policies.items.is_empty();
    let labelled = namespace.labels().get(NAMESPACE_LABEL).is_some_and(|v| v == ENFORCED);
    let bare_for = this.bare_for(&name, labelled && !has_policy);
    match plan(has_policy, labelled, bare_for) {
        Step::Nothing => {}
        Step::Wait(time) => return Ok(Action::requeue(time)),
        Step::Set => set_label(&this.client, &name).await.map_err(failed)?,
        Step::Remove => {
            patch_label(&this.client, &name, None).await.map_err(failed)?;
            tracing::info!(namespace = %name, "no policy left, label removed");
        }
    }
    Ok(Action::await_change())
}

/// Tries again soon: a missing label is a hole.
pub fn failed(_: Arc<Namespace>, error: &LabelError, _: Arc<Namespaces>) -> Action {
    tracing::warn!(%error, "namespace not reconciled");
    Action::requeue(Duration::from_secs(1))
}

/// Puts the namespace under the webhook.
pub async fn set_label(client: &Client, namespace: &str) -> Result<(), kube::Error> {
    patch_label(client, namespace, Some(ENFORCED)).await?;
    tracing::info!(namespace, "label set: pods are admitted by the webhook only");
    Ok(())
}

async fn patch_label(
    client: &Client,
    namespace: &str,
    value: Option<&str>,
) -> Result<(), kube::Error> {
    let patch = json!({"metadata": {"labels": {NAMESPACE_LABEL: value}}});
    Api::<Namespace>::all(client.clone())
        .patch(namespace, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_at_once_removed_late() {
        let at = Duration::from_secs;
        assert_eq!(plan(true, false, at(0)), Step::Set);
        assert_eq!(plan(true, true, at(99)), Step::Nothing);
        assert_eq!(plan(false, false, at(0)), Step::Nothing);
        assert_eq!(plan(false, true, at(4)), Step::Wait(at(6)));
        assert_eq!(plan(false, true, at(10)), Step::Remove);
    }
}
