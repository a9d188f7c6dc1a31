//! Instances: the record, and terminating them; [`super::launch`] makes them.

use std::collections::BTreeMap;

use hedgerow_core::limits::{InstanceType, instance_type};
use serde::{Deserialize, Serialize};

use super::catalog::Zone;
use super::interface::{self, Interface};
use super::region::{Resource, find};
use super::time::Timestamp;
use super::{ACCOUNT, Context, Region, attachment, trunk};
use crate::api::error::Ec2Error;
use crate::effect::Effect;

/// Id of every instance profile: there is no IAM that would know them apart.
pub(crate) const PROFILE_ID: &str = "AIPAHEDGEROWEXAMPLE00";

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub(crate) id: String,
    pub(crate) reservation: String,
    /// Position in the launch.
    pub(crate) launch_index: u32,
    pub(crate) image: String,
    pub(crate) type_name: String,
    pub(crate) key_name: Option<String>,
    pub(crate) user_data: Option<String>,
    pub(crate) zone: Zone,
    pub(crate) vpc: String,
    pub(crate) subnet: String,
    pub(crate) metadata: MetadataOptions,
    /// Name of its instance profile, and of the profile's role.
    pub(crate) profile: Option<String>,
    pub(crate) client_token: Option<String>,
    pub(crate) launched: Timestamp,
    /// When it was terminated; running if absent.
    pub(crate) terminated: Option<Timestamp>,
    /// Device index to interface id.
    pub(crate) interfaces: BTreeMap<u8, String>,
}

/// How the instance may use its metadata service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MetadataOptions {
    /// Whether requests must carry a session token.
    pub token_required: bool,
    /// IP TTL of the answer to a token request, 1 to 64.
    pub hop_limit: u8,
    /// Whether there is a metadata service at all.
    pub enabled: bool,
    /// Whether the instance's tags can be read there.
    pub tags: bool,
}

impl Resource for Instance {
    const NOT_FOUND: &'static str = "InvalidInstanceID.NotFound";
    const NOUN: &'static str = "instance ID";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Instance {
    /// What its type can carry.
    pub(crate) fn limits(&self) -> &'static InstanceType {
        instance_type(&self.type_name).expect("the type was checked at launch")
    }

    /// ARN of its instance profile.
    pub(crate) fn profile_arn(&self) -> Option<String> {
        let name = self.profile.as_ref()?;
        Some(format!("arn:aws:iam::{ACCOUNT}:instance-profile/{name}"))
    }

    /// The state as it is now.
    pub(crate) fn state(&self) -> StateItem {
        if self.terminated.is_some() { StateItem::TERMINATED } else { StateItem::RUNNING }
    }
}

/// The running instance with this id.
///
/// # Errors
/// `InvalidInstanceID.NotFound`; `IncorrectInstanceState` if it was terminated.
pub(crate) fn running<'r>(region: &'r Region, id: &str) -> Result<&'r Instance, Ec2Error> {
    let instance = find(&region.instances, id)?;
    if instance.terminated.is_some() {
        let message = format!("Instance '{id}' is not 'running' or 'stopped'.");
        return Err(Ec2Error::new("IncorrectInstanceState", message));
    }
    Ok(instance)
}

/// An instance's state in answers.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct StateItem {
    pub code: u16,
    pub name: &'static str,
}

impl StateItem {
    const RUNNING: StateItem = StateItem { code: 16, name: "running" };
    const TERMINATED: StateItem = StateItem { code: 48, name: "terminated" };
}

/// The interface at device index 0; none once terminated.
pub(crate) fn primary<'r>(region: &'r Region, instance: &Instance) -> Option<&'r Interface> {
    region.interfaces.get(instance.interfaces.get(&0)?)
}

/// TerminateInstances.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct TerminateInstances {
    #[serde(default, rename = "InstanceId")]
    ids: Vec<String>,
}

/// Answer of TerminateInstances.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StateChangeSet {
    instances_set: Vec<StateChange>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StateChange {
    instance_id: String,
    current_state: StateItem,
    previous_state: StateItem,
}

pub(crate) fn terminate(
    cx: &mut Context<'_>,
    request: TerminateInstances,
) -> Result<StateChangeSet, Ec2Error> {
    if request.ids.is_empty() {
        return Err(Ec2Error::missing("instancesSet"));
    }
    for id in &request.ids {
        find(&cx.region.instances, id)?;
    }
    let mut changes = Vec::new();
    for id in request.ids {
        let previous_state = cx.region.instances[&id].state();
        end(cx, &id);
        changes.push(StateChange {
            instance_id: id,
            current_state: StateItem::TERMINATED,
            previous_state,
        });
    }
    Ok(StateChangeSet { instances_set: changes })
}

/// Ends an instance: interfaces go or come free, branches of its trunk come free.
fn end(cx: &mut Context<'_>, id: &str) {
    let now = cx.now;
    let record = cx.region.instances.get_mut(id).expect("checked");
    if record.terminated.is_some() {
        return;
    }
    record.terminated = Some(now);
    let interfaces: Vec<String> = record.interfaces.values().cloned().collect();
    for eni in &interfaces {
        trunk::release_branches(cx, eni);
        let attached = cx.region.interfaces[eni].attachment.as_ref();
        if attached.is_some_and(|attached| attached.delete_on_termination) {
            interface::remove(cx, eni);
        } else {
            attachment::take_off(cx, eni);
        }
    }
    let record = cx.region.instances.get_mut(id).expect("checked");
    record.interfaces.clear();
    cx.effects.push(Effect::RemoveInstance { instance: id.to_owned() });
}
