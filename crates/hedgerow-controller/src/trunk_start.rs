//! A node's trunk: found again, or made; then its branches from EC2 and the pods' annotations.

use hedgerow_cloud::{
    CloudError, CreateInterface, Instance, Interface, InterfaceKind, InterfaceQuery,
};
use hedgerow_core::limits::instance_type;
use hedgerow_core::names;
use hedgerow_core::sg::GroupId;
use hedgerow_k8s::{CNINode, ENIConfig};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::Api;

use crate::context::{Context, client_token};
use crate::plan::{PodStep, highest_free_index, plan_pod};
use crate::pods::key_of;
use crate::trunk::Trunk;

/// Why a node has no trunk.
#[derive(Debug, thiserror::Error)]
pub enum TrunkError {
    /// EC2 refused to make or attach it.
    #[error("making the trunk of instance {instance}: {source}")]
    Create {
        /// `i-…`.
        instance: String,
        /// EC2's words.
        source: CloudError,
    },
    /// No device index is free.
    #[error(
        "instance {instance} has an interface at each of its {limit} device indexes; the node agent must release one for the trunk"
    )]
    NoIndex {
        /// `i-…`.
        instance: String,
        /// Interfaces that its type carries.
        limit: u32,
    },
    /// Its state could not be read.
    #[error("reading the interfaces of instance {instance}: {source}")]
    Read {
        /// `i-…`.
        instance: String,
        /// EC2's words.
        source: CloudError,
    },
    /// The ENIConfig that the node names is not there.
    #[error("the node names ENIConfig {name}, which cannot be read: {source}")]
    EniConfig {
        /// Name.
        name: String,
        /// The API server's words.
        source: Box<kube::Error>,
    },
}

impl TrunkError {
    /// The event's reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Create { .. } => "TrunkENICreationFailed",
            Self::EniConfig { .. } => "EniConfigNameNotFound",
            Self::NoIndex { .. } | Self::Read { .. } => "NodeTrunkFailedInit",
        }
    }
}

/// Brings the trunk up and rebuilds what is known of its branches.
pub async fn start(
    node: &Node,
    instance_id: &str,
    cninode: Option<&CNINode>,
    limit: u32,
    context: &Context,
) -> Result<Trunk, TrunkError> {
    let read = |source| TrunkError::Read { instance: instance_id.to_owned(), source };
    let instance = context.cloud.describe_instance(instance_id).await.map_err(read)?;
    let attached = instance.interfaces.iter().find(|i| i.kind == InterfaceKind::Trunk).cloned();
    let interface = match attached {
        Some(trunk) => trunk,
        None => make(node, &instance, cninode, context).await?,
    };
    keep_with_instance(&interface, context).await.map_err(read)?;
    let subnet = context.cloud.describe_subnet(&interface.subnet).await.map_err(read)?;
    let mut trunk = Trunk::new(interface.id, instance_id.to_owned(), subnet, limit);
    rebuild(&mut trunk, &node.name_any(), context).await?;
    Ok(trunk)
}

/// DeleteOnTermination, where it is not set already.
async fn keep_with_instance(trunk: &Interface, context: &Context) -> Result<(), CloudError> {
    match &trunk.attachment {
        Some(a) if !a.delete_on_termination => {
            context.cloud.set_delete_on_termination(&trunk.id, &a.id, true).await
        }
        _ => Ok(()),
    }
}

/// Makes and attaches a trunk; one that a dying controller left unattached is used first.
async fn make(
    node: &Node,
    instance: &Instance,
    cninode: Option<&CNINode>,
    context: &Context,
) -> Result<Interface, TrunkError> {
    let limit = instance_type(&instance.instance_type).map_or(0, |t| t.max_enis);
    let taken =
        instance.interfaces.iter().filter_map(|i| i.attachment.as_ref()).map(|a| a.device_index);
    let index = highest_free_index(taken, limit)
        .ok_or_else(|| TrunkError::NoIndex { instance: instance.id.clone(), limit })?;
    let create = |source| TrunkError::Create { instance: instance.id.clone(), source };
    let (trunk, fresh) = match left_over(instance, context).await.map_err(create)? {
        Some(trunk) => (trunk, false),
        None => {
            let request = trunk_request(node, instance, cninode, context).await?;
            (context.cloud.create_interface(&request).await.map_err(create)?, true)
        }
    };
    match context.cloud.attach_interface(&trunk.id, &instance.id, index).await {
        Ok(attachment) => {
            context
                .cloud
                .set_delete_on_termination(&trunk.id, &attachment, true)
                .await
                .map_err(create)?;
            Ok(trunk)
        }
        Err(error) => {
            if fresh && let Err(e) = context.cloud.delete_interface(&trunk.id).await {
                tracing::warn!(trunk = %trunk.id, error = %e, "unattached trunk not deleted");
            }
            Err(create(error))
        }
    }
}

async fn left_over(
    instance: &Instance,
    context: &Context,
) -> Result<Option<Interface>, CloudError> {
    let query = InterfaceQuery {
        tags: context.tags(&instance.id),
        filters: vec![("description".into(), vec![names::TRUNK_DESCRIPTION.into()])],
        ..Default::default()
    };
    let found = context.cloud.describe_interfaces(&query).await?;
    Ok(found.into_iter().find(|i| i.status == "available"))
}

/// The node's subnet and primary groups, or those of the ENIConfig that the node names.
async fn trunk_request(
    node: &Node,
    instance: &Instance,
    cninode: Option<&CNINode>,
    context: &Context,
) -> Result<CreateInterface, TrunkError> {
    let mut subnet = instance.subnet.clone();
    let mut groups: Vec<GroupId> =
        instance.interfaces.first().map(|i| i.groups.clone()).unwrap_or_default();
    if let Some(name) = eni_config_name(node, cninode) {
        let config = Api::<ENIConfig>::all(context.client.clone())
            .get(name)
            .await
            .map_err(|e| TrunkError::EniConfig { name: name.to_owned(), source: Box::new(e) })?;
        if !config.spec.subnet.is_empty() {
            subnet = config.spec.subnet;
        }
        if !config.spec.security_groups.is_empty() {
            groups = config.spec.security_groups.into_iter().map(GroupId).collect();
        }
    }
    let mut tags = context.tags(&instance.id);
    tags.extend(cninode.map(|c| c.spec.tags.clone()).unwrap_or_default());
    Ok(CreateInterface {
        subnet,
        groups,
        description: names::TRUNK_DESCRIPTION.into(),
        kind: InterfaceKind::Trunk,
        tags,
        secondary_addresses: 0,
        client_token: client_token(),
    })
}

fn eni_config_name<'a>(node: &'a Node, cninode: Option<&'a CNINode>) -> Option<&'a str> {
    cninode
        .and_then(|c| c.spec.feature(names::FEATURE_CUSTOM_NETWORKING))
        .or_else(|| node.labels().get(names::ENI_CONFIG_LABEL).map(String::as_str))
        .filter(|name| !name.is_empty())
}

/// Branches of the trunk as EC2 knows them, then the pods that hold them.
async fn rebuild(trunk: &mut Trunk, node: &str, context: &Context) -> Result<(), TrunkError> {
    context.pods_known().await;
    let mut tags = context.owner_tags();
    tags.insert(names::TAG_TRUNK.into(), trunk.id.clone());
    let query = InterfaceQuery { tags, ..Default::default() };
    let found = context
        .cloud
        .describe_interfaces(&query)
        .await
        .map_err(|source| TrunkError::Read { instance: trunk.instance.clone(), source })?;
    for branch in found {
        let vlan = branch.tags.get(names::TAG_VLAN).and_then(|v| v.parse().ok());
        match vlan {
            Some(vlan) => trunk.found(branch.id, vlan, context.now()),
            None => tracing::warn!(eni = %branch.id, "branch without a readable VLAN tag ignored"),
        }
    }
    for pod in context.pods.state() {
        adopt_if_on(trunk, node, &pod);
    }
    Ok(())
}

fn adopt_if_on(trunk: &mut Trunk, node: &str, pod: &Pod) {
    let here = pod.spec.as_ref().is_some_and(|s| s.node_name.as_deref() == Some(node));
    if here && let (Some(key), PodStep::Adopt(eni)) = (key_of(pod), plan_pod(pod)) {
        trunk.adopt(&eni.eni_id, eni.vlan, &eni.association_id, key);
    }
}
