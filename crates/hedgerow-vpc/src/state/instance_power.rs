//! Stopping, starting, rebooting and terminating instances. All of it is immediate: the answer's
//! current state is the one that EC2 would come to.
//!
//! A stopped instance keeps its interfaces, their addresses and groups; its namespace is gone, so
//! nothing answers there. Starting makes a new namespace and plugs everything in again.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::instance::{Instance, StateItem};
use super::interface;
use super::region::find;
use super::unsupported::{Given, refuse};
use super::{Context, address, attachment, trunk};
use crate::api::Done;
use crate::api::error::Ec2Error;
use crate::effect::Effect;

/// Answer of StopInstances, StartInstances and TerminateInstances.
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

/// Checks every instance first, then changes one after the other.
fn each(
    cx: &mut Context<'_>,
    ids: Vec<String>,
    check: fn(&Instance) -> Result<(), Ec2Error>,
    change: fn(&mut Context<'_>, &str),
) -> Result<StateChangeSet, Ec2Error> {
    if ids.is_empty() {
        return Err(Ec2Error::missing("instancesSet"));
    }
    for id in &ids {
        check(find(&cx.region.instances, id)?)?;
    }
    let mut seen = BTreeSet::new();
    let mut instances_set = Vec::new();
    for id in ids.into_iter().filter(|id| seen.insert(id.clone())) {
        let previous_state = cx.region.instances[&id].state();
        change(cx, &id);
        let current_state = cx.region.instances[&id].state();
        instances_set.push(StateChange { instance_id: id, current_state, previous_state });
    }
    Ok(StateChangeSet { instances_set })
}

fn wrong_state(id: &str, action: &str) -> Ec2Error {
    let message = format!("The instance '{id}' is not in a state from which it can be {action}.");
    Ec2Error::new("IncorrectInstanceState", message)
}

/// `OperationNotPermitted` where the instance is protected by this attribute.
fn protected(id: &str, action: &str, attribute: &str) -> Ec2Error {
    let message = format!(
        "The instance '{id}' may not be {action}. Modify its '{attribute}' instance attribute and \
         try again."
    );
    Ec2Error::new("OperationNotPermitted", message)
}

/// StopInstances.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct StopInstances {
    #[serde(default, rename = "InstanceId")]
    ids: Vec<String>,
    hibernate: Option<bool>,
    #[serde(rename = "Force")]
    _force: Option<bool>,
    #[serde(rename = "SkipOsShutdown")]
    _skip_shutdown: Option<bool>,
}

pub(crate) fn stop(
    cx: &mut Context<'_>,
    request: StopInstances,
) -> Result<StateChangeSet, Ec2Error> {
    refuse(&[("Hibernate", request.hibernate == Some(true))])?;
    let check = |instance: &Instance| match instance {
        Instance { terminated: Some(_), id, .. } => Err(wrong_state(id, "stopped")),
        Instance { id, settings, .. } if settings.stop_protection => {
            Err(protected(id, "stopped", "disableApiStop"))
        }
        _ => Ok(()),
    };
    each(cx, request.ids, check, |cx, id| {
        let now = cx.now;
        let record = cx.region.instances.get_mut(id).expect("checked");
        if record.stopped.is_none() {
            record.stopped = Some(now);
            address::take_at_stop(cx.region, id);
            put_interfaces(cx, id);
            cx.effects.push(Effect::RemoveInstance { instance: id.to_owned() });
        }
    })
}

/// StartInstances.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct StartInstances {
    #[serde(default, rename = "InstanceId")]
    ids: Vec<String>,
    /// Reserved by EC2.
    additional_info: Given,
}

pub(crate) fn start(
    cx: &mut Context<'_>,
    request: StartInstances,
) -> Result<StateChangeSet, Ec2Error> {
    refuse(&[("AdditionalInfo", request.additional_info.is_some())])?;
    let check = |instance: &Instance| match instance.terminated {
        Some(_) => Err(wrong_state(&instance.id, "started")),
        None => Ok(()),
    };
    each(cx, request.ids, check, |cx, id| {
        let now = cx.now;
        let record = cx.region.instances.get_mut(id).expect("checked");
        if record.stopped.take().is_some() {
            record.launched = now;
            address::give_at_start(cx, id);
            cx.effects.push(Effect::StartInstance { instance: id.to_owned() });
            put_interfaces(cx, id);
        }
    })
}

/// Tells the fabric of all interfaces of an instance.
fn put_interfaces(cx: &mut Context<'_>, instance: &str) {
    let interfaces = cx.region.instances[instance].interfaces.values();
    let effects: Vec<Effect> = interfaces.map(|eni| cx.region.put_interface(eni)).collect();
    cx.effects.extend(effects);
}

/// RebootInstances. A reboot keeps everything that the API shows and the network promises, and an
/// instance here has no operating system of its own to restart, so nothing is done.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct RebootInstances {
    #[serde(default, rename = "InstanceId")]
    ids: Vec<String>,
}

pub(crate) fn reboot(cx: &mut Context<'_>, request: RebootInstances) -> Result<Done, Ec2Error> {
    let check = |instance: &Instance| match instance.is_running() {
        true => Ok(()),
        false => Err(wrong_state(&instance.id, "rebooted")),
    };
    each(cx, request.ids, check, |_, _| {}).map(|_| Done::new())
}

/// TerminateInstances.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct TerminateInstances {
    #[serde(default, rename = "InstanceId")]
    ids: Vec<String>,
    #[serde(rename = "Force")]
    _force: Option<bool>,
    #[serde(rename = "SkipOsShutdown")]
    _skip_shutdown: Option<bool>,
}

pub(crate) fn terminate(
    cx: &mut Context<'_>,
    request: TerminateInstances,
) -> Result<StateChangeSet, Ec2Error> {
    let check = |instance: &Instance| {
        let guarded = instance.settings.termination_protection && instance.terminated.is_none();
        match guarded {
            true => Err(protected(&instance.id, "terminated", "disableApiTermination")),
            false => Ok(()),
        }
    };
    each(cx, request.ids, check, end)
}

/// Ends an instance: interfaces go or come free, branches of its trunk come free.
fn end(cx: &mut Context<'_>, id: &str) {
    let now = cx.now;
    let record = cx.region.instances.get_mut(id).expect("checked");
    if record.terminated.is_some() {
        return;
    }
    record.terminated = Some(now);
    cx.region.terminated.insert(id.to_owned(), now);
    let record = &cx.region.instances[id];
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
