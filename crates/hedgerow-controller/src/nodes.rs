//! Nodes: CNINode, trunk, capacity, label.

use std::sync::Arc;
use std::time::Duration;

use hedgerow_cloud::CloudError;
use hedgerow_core::limits::instance_type;
use hedgerow_core::names;
use hedgerow_k8s::CNINode;
use hedgerow_k8s::node::managed_instance;
use hedgerow_k8s::resources::CNINodeSpec;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use serde_json::json;

use crate::context::{Context, lock};
use crate::plan::{NodeFacts, NodeStep, plan_node};
use crate::trunk_start::{self, TrunkError};

/// Annotation on a CNINode: the node's instance, so that clean-up needs no Node object.
pub const INSTANCE_ANNOTATION: &str = "hedgerow.dev/instance-id";

/// Why a node is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The API server said no.
    #[error("{what} of node {node}: {source}")]
    Kube {
        /// What was done.
        what: &'static str,
        /// To which node.
        node: String,
        /// The API server's words.
        source: Box<kube::Error>,
    },
    /// EC2 said no.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The trunk could not be made.
    #[error(transparent)]
    Trunk(#[from] TrunkError),
}

/// Looks at one node.
pub async fn reconcile(node: Arc<Node>, context: Arc<Context>) -> Result<Action, NodeError> {
    let Some(instance) = managed_instance(&node) else { return Ok(Action::await_change()) };
    if node.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let name = node.name_any();
    let failed = |what| {
        let node = name.clone();
        move |e: kube::Error| NodeError::Kube { what, node, source: Box::new(e) }
    };
    let cninode = Api::<CNINode>::all(context.client.clone())
        .get_opt(&name)
        .await
        .map_err(failed("reading the CNINode"))?;
    let type_name = context.instance_type(instance).await?;
    let limit = instance_type(&type_name).and_then(|t| t.branch_enis);
    let steps = plan_node(&facts(&node, instance, cninode.as_ref(), limit, &context));
    for step in &steps {
        match step {
            NodeStep::CreateCniNode => {
                create_cninode(&node, instance, &context)
                    .await
                    .map_err(failed("creating the CNINode"))?;
            }
            NodeStep::TellUnsupported => {
                let note =
                    format!("The instance type {type_name} does not support trunk interfaces");
                context.events.warning(&*node, "Unsupported", note).await;
            }
            NodeStep::StartTrunk { limit } => {
                start_trunk(&node, instance, cninode.as_ref(), *limit, &context).await?;
                return Ok(Action::requeue(Duration::ZERO));
            }
            NodeStep::WriteCapacity(count) => write_capacity(&name, *count, &context)
                .await
                .map_err(failed("writing the capacity"))?,
            NodeStep::Label(value) => {
                write_label(&name, *value, &context).await.map_err(failed("writing the label"))?;
            }
        }
    }
    Ok(Action::await_change())
}

/// Tries again after a pause; the reason is in the log and, for trunks, in the node's events.
pub fn failed(node: Arc<Node>, error: &NodeError, _: Arc<Context>) -> Action {
    tracing::warn!(node = %node.name_any(), %error, "node not reconciled");
    Action::requeue(Duration::from_secs(5))
}

fn facts<'a>(
    node: &'a Node,
    instance: &str,
    cninode: Option<&CNINode>,
    branch_limit: Option<u32>,
    context: &Context,
) -> NodeFacts<'a> {
    let name = node.name_any();
    let label = node.labels().get(names::HAS_TRUNK).map(String::as_str);
    let asked =
        cninode.is_some_and(|c| c.spec.feature(names::FEATURE_POD_SECURITY_GROUPS).is_some());
    let status = node.status.as_ref();
    let quantity = |list: Option<&'a std::collections::BTreeMap<String, _>>| -> Option<&'a str> {
        list?
            .get(names::POD_ENI)
            .map(|q: &k8s_openapi::apimachinery::pkg::api::resource::Quantity| q.0.as_str())
    };
    NodeFacts {
        // One that is being deleted is as good as gone: it is made anew once it is.
        has_cninode: cninode.is_some(),
        asks_for_trunk: asked || label == Some("true"),
        branch_limit,
        trunk_is_up: context.trunk(&name).is_some_and(|t| lock(&t).instance == instance),
        label,
        capacity: quantity(status.and_then(|s| s.capacity.as_ref())),
        allocatable: quantity(status.and_then(|s| s.allocatable.as_ref())),
    }
}

async fn create_cninode(node: &Node, instance: &str, context: &Context) -> Result<(), kube::Error> {
    let mut cninode = CNINode::new(&node.name_any(), CNINodeSpec::default());
    cninode.metadata.owner_references = node.owner_ref(&()).map(|owner| vec![owner]);
    cninode.metadata.finalizers = Some(vec![names::CNINODE_FINALIZER.into()]);
    cninode.annotations_mut().insert(INSTANCE_ANNOTATION.into(), instance.into());
    match Api::all(context.client.clone()).create(&PostParams::default(), &cninode).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        other => other.map(drop),
    }
}

async fn start_trunk(
    node: &Node,
    instance: &str,
    cninode: Option<&CNINode>,
    limit: u32,
    context: &Context,
) -> Result<(), NodeError> {
    match trunk_start::start(node, instance, cninode, limit, context).await {
        Ok(trunk) => {
            let note = format!("The node has trunk interface {}", trunk.id);
            tracing::info!(node = %node.name_any(), trunk = %trunk.id, "trunk is up");
            context.put_trunk(&node.name_any(), trunk);
            context.events.normal(node, "NodeTrunkInitiated", note).await;
            Ok(())
        }
        Err(error) => {
            context.events.warning(node, error.reason(), error.to_string()).await;
            Err(error.into())
        }
    }
}

/// Allocatable too: the kubelet would copy it from the capacity, but only at its next update.
async fn write_capacity(node: &str, count: u32, context: &Context) -> Result<(), kube::Error> {
    let list = json!({names::POD_ENI: count.to_string()});
    let patch = json!({"status": {"capacity": list, "allocatable": list}});
    Api::<Node>::all(context.client.clone())
        .patch_status(node, &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .map(drop)
}

async fn write_label(node: &str, value: bool, context: &Context) -> Result<(), kube::Error> {
    let patch = json!({"metadata": {"labels": {names::HAS_TRUNK: value.to_string()}}});
    Api::<Node>::all(context.client.clone())
        .patch(node, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map(drop)
}
