//! Instances: the record. [`super::launch`] makes them, [`super::instance_power`] stops, starts and
//! ends them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use hedgerow_core::limits::{InstanceType, instance_type};
use serde::{Deserialize, Serialize};

use super::catalog::Zone;
use super::interface::Interface;
use super::region::{Resource, find};
use super::subnet_attribute::LaunchNames;
use super::time::Timestamp;
use super::{ACCOUNT, Region};
use crate::api::error::Ec2Error;

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
    /// When it was terminated.
    pub(crate) terminated: Option<Timestamp>,
    /// When it was stopped; running if neither this nor `terminated` is there.
    pub(crate) stopped: Option<Timestamp>,
    pub(crate) settings: Settings,
    /// How it is called inside its VPC.
    #[serde(default)]
    pub(crate) names: LaunchNames,
    /// Device index to interface id.
    pub(crate) interfaces: BTreeMap<u8, String>,
}

/// What can be set on an instance beside its place in the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// `DisableApiTermination`.
    pub termination_protection: bool,
    /// `DisableApiStop`.
    pub stop_protection: bool,
    /// Whether a shutdown from inside terminates the instance; it stops it otherwise.
    pub shutdown_terminates: bool,
    pub ebs_optimized: bool,
    pub monitoring: bool,
    /// `standard` or `unlimited`, if the launch said so.
    pub cpu_credits: Option<String>,
}

impl Settings {
    /// EC2's name of what a shutdown from inside does.
    pub(crate) fn shutdown_behavior(&self) -> &'static str {
        if self.shutdown_terminates { "terminate" } else { "stop" }
    }

    /// Sets it by EC2's name.
    pub(crate) fn set_shutdown_behavior(&mut self, name: &str) -> Result<(), Ec2Error> {
        self.shutdown_terminates = match name {
            "stop" => false,
            "terminate" => true,
            other => {
                let why = "It is stop or terminate.";
                return Err(Ec2Error::value("instanceInitiatedShutdownBehavior", other, why));
            }
        };
        Ok(())
    }
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
    /// Whether it was asked to have an IPv6 endpoint.
    pub ipv6: bool,
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
        match (self.terminated, self.stopped) {
            (Some(_), _) => StateItem::TERMINATED,
            (None, Some(_)) => StateItem::STOPPED,
            (None, None) => StateItem::RUNNING,
        }
    }

    /// Whether it was neither stopped nor terminated.
    pub(crate) fn is_running(&self) -> bool {
        self.terminated.is_none() && self.stopped.is_none()
    }

    /// When its owner stopped or terminated it.
    pub(crate) fn ended(&self) -> Option<Timestamp> {
        self.terminated.or(self.stopped)
    }
}

/// The running or stopped instance with this id.
///
/// # Errors
/// `InvalidInstanceID.NotFound`; `IncorrectInstanceState` if it was terminated.
pub(crate) fn alive<'r>(region: &'r Region, id: &str) -> Result<&'r Instance, Ec2Error> {
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
    /// It has a namespace, and its interfaces are plugged in.
    pub const RUNNING: StateItem = StateItem { code: 16, name: "running" };
    /// Its interfaces and addresses are kept for it, and nothing answers there.
    pub const STOPPED: StateItem = StateItem { code: 80, name: "stopped" };
    /// It is gone for good.
    pub const TERMINATED: StateItem = StateItem { code: 48, name: "terminated" };
}

/// The interface at device index 0; none once terminated.
pub(crate) fn primary<'r>(region: &'r Region, instance: &Instance) -> Option<&'r Interface> {
    region.interfaces.get(instance.interfaces.get(&0)?)
}

impl Region {
    /// The hostname of an instance with this primary private address.
    pub(crate) fn hostname(&self, instance: &Instance, address: Ipv4Addr) -> String {
        let name = self.private_dns_name(address);
        match name.split_once('.') {
            Some((_, domain)) if instance.names.resource_name => {
                format!("{}.{domain}", instance.id)
            }
            _ => name,
        }
    }
}
