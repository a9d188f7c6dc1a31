//! Nodes that are gone: their branches and trunk are deleted, then the CNINode may go.

use std::sync::Arc;
use std::time::Duration;

use hedgerow_cloud::{InterfaceKind, InterfaceQuery};
use hedgerow_core::names;
use hedgerow_k8s::CNINode;
use hedgerow_k8s::node::managed_instance;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use serde_json::json;

use crate::context::Context;
use crate::nodes::{INSTANCE_ANNOTATION, NodeError};
use crate::plan::{PodStep, plan_pod};
use crate::release::remove_branch;

/// How long to wait for pods of a node that is gone to be seen gone.
const PODS_WAIT: Duration = Duration::from_secs(5);

/// Looks at one CNINode; only one that is being deleted needs anything.
pub async fn reconcile(cninode: Arc<CNINode>, context: Arc<Context>) -> Result<Action, NodeError> {
    let ours = cninode.finalizers().iter().any(|f| f == names::CNINODE_FINALIZER);
    if cninode.metadata.deletion_timestamp.is_none() || !ours {
        return Ok(Action::await_change());
    }
    let name = cninode.name_any();
    let failed = |what| {
        let node = name.clone();
        move |e: kube::Error| NodeError::Kube { what, node, source: Box::new(e) }
    };
    let node = Api::<Node>::all(context.client.clone())
        .get_opt(&name)
        .await
        .map_err(failed("reading the Node"))?;
    let current = node.as_ref().and_then(managed_instance);
    let instance = cninode.annotations().get(INSTANCE_ANNOTATION).map(String::as_str);
    // A CNINode that somebody deleted by hand while its node lives takes nothing with it.
    if let Some(instance) = instance.filter(|i| Some(*i) != current) {
        if node.is_none() && pods_hold_branches(&name, &context) {
            return Ok(Action::requeue(PODS_WAIT));
        }
        context.drop_trunk(&name, instance);
        delete_interfaces(instance, &context).await?;
        tracing::info!(node = %name, instance, "interfaces of the gone node deleted");
    }
    let rest: Vec<&String> =
        cninode.finalizers().iter().filter(|f| *f != names::CNINODE_FINALIZER).collect();
    let patch = json!({"metadata": {
        "resourceVersion": cninode.metadata.resource_version, "finalizers": rest}});
    Api::<CNINode>::all(context.client.clone())
        .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map_err(failed("removing the finalizer"))?;
    Ok(Action::await_change())
}

/// Tries again after a pause.
pub fn failed(cninode: Arc<CNINode>, error: &NodeError, _: Arc<Context>) -> Action {
    tracing::warn!(node = %cninode.name_any(), %error, "node not cleaned up");
    Action::requeue(Duration::from_secs(5))
}

fn pods_hold_branches(node: &str, context: &Context) -> bool {
    context.pods.state().iter().any(|pod| {
        pod.spec.as_ref().is_some_and(|s| s.node_name.as_deref() == Some(node))
            && matches!(plan_pod(pod), PodStep::Adopt(_))
    })
}

/// Branches first, then the trunk: detached where its instance still runs.
async fn delete_interfaces(instance: &str, context: &Context) -> Result<(), NodeError> {
    let query = InterfaceQuery { tags: context.tags(instance), ..Default::default() };
    let mut found = context.cloud.describe_interfaces(&query).await?;
    found.sort_by_key(|i| i.kind == InterfaceKind::Trunk);
    for interface in found {
        let ours = [names::BRANCH_DESCRIPTION, names::TRUNK_DESCRIPTION];
        if !ours.contains(&interface.description.as_str()) {
            continue;
        }
        if let Some(attachment) = &interface.attachment {
            match context.cloud.detach_interface(&attachment.id).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        remove_branch(&interface.id, None, context).await?;
    }
    Ok(())
}
