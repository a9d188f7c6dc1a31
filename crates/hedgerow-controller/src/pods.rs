//! Pods: one branch each for those that ask, from creation to annotation.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hedgerow_cloud::{CloudError, CreateInterface, InterfaceKind};
use hedgerow_core::names;
use hedgerow_core::sg::GroupId;
use hedgerow_k8s::PodEni;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use serde_json::json;

use crate::context::{Context, client_token, lock};
use crate::plan::{PodStep, plan_pod};
use crate::policies::{self, PolicyError};
use crate::trunk::{Full, PodKey, Trunk};

/// How long to wait for a node's trunk.
const TRUNK_WAIT: Duration = Duration::from_secs(1);

/// How long to wait for a branch of a full trunk: nothing is wrong, one comes free by itself.
const FULL_WAIT: Duration = Duration::from_secs(5);

/// Why a pod has no branch yet.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// Its groups cannot be told.
    #[error(transparent)]
    Policies(#[from] PolicyError),
    /// No policy selects it, though it asks for a branch.
    #[error(
        "the pod requests vpc.amazonaws.com/pod-eni but no SecurityGroupPolicy of its namespace \
         selects it"
    )]
    NotSelected,
    /// No branch is free on the node.
    #[error(transparent)]
    Full(#[from] Full),
    /// EC2 said no.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The annotation could not be written.
    #[error("writing the annotation vpc.amazonaws.com/pod-eni of the pod: {0}")]
    Annotate(#[source] Box<kube::Error>),
}

/// Never fails: what went wrong is told in an event and tried again after a pause.
#[derive(Debug, thiserror::Error)]
#[error("unreachable")]
pub enum Never {}

/// Looks at one pod.
pub async fn reconcile(pod: Arc<Pod>, context: Arc<Context>) -> Result<Action, Never> {
    let Some(key) = key_of(&pod) else { return Ok(Action::await_change()) };
    Ok(match plan_pod(&pod) {
        PodStep::Nothing => Action::await_change(),
        PodStep::Adopt(eni) => adopt(&pod, &key, &eni, &context),
        PodStep::Refuse(error) => {
            context.events.warning(&*pod, "BranchENIAnnotationFailed", error.to_string()).await;
            Action::await_change()
        }
        PodStep::Allocate { node } => allocate(&pod, &key, &node, &context).await,
    })
}

/// A pod's key; a pod from the API server has all three.
pub fn key_of(pod: &Pod) -> Option<PodKey> {
    Some(PodKey { namespace: pod.namespace()?, name: pod.name_any(), uid: pod.uid()? })
}

fn adopt(pod: &Pod, key: &PodKey, eni: &PodEni, context: &Context) -> Action {
    lock(&context.failures).succeeded(key);
    let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default();
    let Some(trunk) = context.trunk(node) else { return Action::requeue(TRUNK_WAIT) };
    let news = lock(&trunk).adopt(&eni.eni_id, eni.vlan, &eni.association_id, key.clone());
    if news {
        tracing::info!(pod = %key.name, namespace = %key.namespace, eni = %eni.eni_id, "adopted");
    }
    Action::await_change()
}

async fn allocate(pod: &Pod, key: &PodKey, node: &str, context: &Context) -> Action {
    if let Some(wait) = lock(&context.failures).wait(key, context.now()) {
        return Action::requeue(wait);
    }
    let Some(trunk) = context.trunk(node) else { return Action::requeue(TRUNK_WAIT) };
    let known = lock(&trunk).branch_of(key).map(|unwritten| unwritten.cloned());
    let given = match known {
        // Annotated a moment ago; the watch has not shown it yet.
        Some(None) => return Action::await_change(),
        Some(Some(made)) => write_annotation(pod, key, &made, &trunk, context).await,
        None => give_branch(pod, key, &trunk, context).await,
    };
    match given {
        Ok(()) => {
            context.metrics.allocated(true);
            lock(&context.failures).succeeded(key);
            Action::await_change()
        }
        Err(PodError::Annotate(error)) if is_gone(&error) => Action::await_change(),
        Err(error) => {
            context.metrics.allocated(false);
            let wait = match error {
                PodError::Full(_) => FULL_WAIT,
                _ => lock(&context.failures).failed(key.clone(), context.now()),
            };
            let reason = match error {
                PodError::Annotate(_) => "BranchENIAnnotationFailed",
                _ => "BranchAllocationFailed",
            };
            tracing::warn!(pod = %key.name, namespace = %key.namespace, %error, ?wait, "no branch");
            context.events.warning(pod, reason, user_text(&error)).await;
            Action::requeue(wait)
        }
    }
}

/// The event's text: EC2's own, or EKS's sentence for missing rights.
fn user_text(error: &PodError) -> String {
    match error {
        PodError::Cloud(e) if e.is_unauthorized() => {
            "Insufficient permissions: Unable to create Elastic Network Interface.".to_owned()
        }
        other => other.to_string(),
    }
}

/// The pod is gone, or another pod has its name.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(s) if s.is_not_found() || s.is_conflict())
}

/// Policies → groups → interface → association → annotation; each step undone when a later fails.
async fn give_branch(
    pod: &Pod,
    key: &PodKey,
    trunk: &Mutex<Trunk>,
    context: &Context,
) -> Result<(), PodError> {
    let selection = policies::selection(&context.client, &key.namespace, pod).await?;
    if !selection.is_selected() {
        return Err(PodError::NotSelected);
    }
    let note = format!("Pod will get the following Security Groups {}", listed(&selection.groups));
    context.events.normal(pod, "SecurityGroupRequested", note).await;
    let vlan = lock(trunk).reserve()?;
    let made = match make_branch(&selection.groups, vlan, trunk, context).await {
        Ok(made) => made,
        Err(error) => {
            lock(trunk).cancel(vlan);
            return Err(error.into());
        }
    };
    // From here on the branch is the pod's: whatever fails now, the annotation is tried again, and
    // once the pod is gone the branch is released.
    lock(trunk).put(made.clone(), key.clone());
    write_annotation(pod, key, &made, trunk, context).await
}

/// Tells the pod of its branch. Only the API server's clear "no such pod" takes the branch back;
/// after anything else (a lost answer, say) the annotation may stand, and is written again.
async fn write_annotation(
    pod: &Pod,
    key: &PodKey,
    made: &PodEni,
    trunk: &Mutex<Trunk>,
    context: &Context,
) -> Result<(), PodError> {
    let text = PodEni::encode(std::slice::from_ref(made));
    match annotate(key, &text, context).await {
        Ok(()) => lock(trunk).written(&made.eni_id),
        Err(error) => {
            if is_gone(&error) {
                undo(&made.eni_id, trunk, context).await;
            }
            return Err(PodError::Annotate(Box::new(error)));
        }
    }
    let eni = &made.eni_id;
    tracing::info!(pod = %key.name, namespace = %key.namespace, %eni, vlan = made.vlan, "branch");
    context.events.normal(pod, "ResourceAllocated", format!("Allocated {text} to the pod")).await;
    Ok(())
}

/// Groups as EKS's event shows them: `[sg-1 sg-2]`.
fn listed(groups: &[GroupId]) -> String {
    let ids: Vec<&str> = groups.iter().map(|g| g.0.as_str()).collect();
    format!("[{}]", ids.join(" "))
}

async fn make_branch(
    groups: &[GroupId],
    vlan: u16,
    trunk: &Mutex<Trunk>,
    context: &Context,
) -> Result<PodEni, CloudError> {
    let (trunk_id, instance, subnet) = {
        let trunk = lock(trunk);
        (trunk.id.clone(), trunk.instance.clone(), trunk.subnet.clone())
    };
    let mut tags = context.tags(&instance);
    tags.insert(names::TAG_VLAN.into(), vlan.to_string());
    tags.insert(names::TAG_TRUNK.into(), trunk_id.clone());
    let request = CreateInterface {
        subnet: subnet.id,
        groups: groups.to_vec(),
        description: names::BRANCH_DESCRIPTION.into(),
        kind: InterfaceKind::Branch,
        tags,
        secondary_addresses: 0,
        client_token: client_token(),
    };
    let branch = context.cloud.create_interface(&request).await?;
    let association = match associate(&trunk_id, &branch.id, vlan, context).await {
        Ok(association) => association,
        Err(error) => {
            delete_quietly(&branch.id, context).await;
            return Err(error);
        }
    };
    let private_ip = branch.addresses.first().copied().ok_or(CloudError::Incomplete {
        operation: "CreateNetworkInterface",
        field: "privateIpAddress",
    })?;
    Ok(PodEni {
        eni_id: branch.id,
        mac: branch.mac,
        private_ip,
        ipv6: String::new(),
        vlan,
        subnet: subnet.block,
        subnet_v6: String::new(),
        association_id: association,
    })
}

async fn associate(
    trunk: &str,
    branch: &str,
    vlan: u16,
    context: &Context,
) -> Result<String, CloudError> {
    if let Some(account) = &context.args.permission_account {
        context.cloud.create_permission(branch, account).await?;
    }
    context.cloud.associate_trunk(trunk, branch, vlan, &client_token()).await
}

/// Deletes a branch that no pod ever saw. A failure leaves it to the sweep.
async fn delete_quietly(eni: &str, context: &Context) -> bool {
    match context.cloud.delete_interface(eni).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(eni, %error, "left to the sweep");
            error.is_not_found()
        }
    }
}

/// Takes back a branch whose pod is gone before it knew of it.
async fn undo(eni: &str, trunk: &Mutex<Trunk>, context: &Context) {
    if delete_quietly(eni, context).await {
        lock(trunk).gone(eni);
    } else {
        // It may still be associated: its VLAN stays taken until the release deletes it.
        tracing::warn!(eni, "half-made branch rests before it is deleted");
        lock(trunk).put_back(eni, context.now());
    }
}

/// The UID in the patch is a precondition: a namesake is a conflict, not a victim.
async fn annotate(key: &PodKey, text: &str, context: &Context) -> Result<(), kube::Error> {
    let patch = json!({"metadata": {"uid": key.uid, "annotations": {names::POD_ENI: text}}});
    Api::<Pod>::namespaced(context.client.clone(), &key.namespace)
        .patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_speak_as_eks_and_ec2_do() {
        assert_eq!(listed(&["sg-1".into(), "sg-2".into()]), "[sg-1 sg-2]");
        let refused = |code: &str| {
            PodError::Cloud(CloudError::Refused {
                operation: "CreateNetworkInterface",
                code: code.into(),
                message: "The securityGroup ID 'sg-0' does not exist".into(),
            })
        };
        assert_eq!(
            user_text(&refused("InvalidSecurityGroupID.NotFound")),
            "An error occurred (InvalidSecurityGroupID.NotFound) when calling the \
             CreateNetworkInterface operation: The securityGroup ID 'sg-0' does not exist"
        );
        assert_eq!(
            user_text(&refused("UnauthorizedOperation")),
            "Insufficient permissions: Unable to create Elastic Network Interface."
        );
    }
}
