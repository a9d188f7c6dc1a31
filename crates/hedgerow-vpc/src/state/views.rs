//! Records as the fabric needs them.

use super::instance::Instance;
use super::{Region, prefix};
use crate::effect::{Attachment, Effect, InterfaceView};

impl Region {
    /// Whether an instance of this id has a namespace: it was not stopped or terminated.
    pub(crate) fn runs(&self, instance: &str) -> bool {
        self.instances.get(instance).is_some_and(Instance::is_running) || self.is_database(instance)
    }

    /// The effect that tells the fabric of the interface as it is now.
    pub(crate) fn put_interface(&self, id: &str) -> Effect {
        let interface = &self.interfaces[id];
        let attachment = match (&interface.attachment, &interface.association) {
            // A stopped instance has no namespace to be plugged into.
            (Some(attached), _) if attached.attaching => None,
            (Some(attached), _) => self.runs(&attached.instance).then(|| Attachment::Instance {
                instance: attached.instance.clone(),
                device_index: attached.device_index,
            }),
            (None, Some(association)) => Some(Attachment::Trunk {
                trunk: self.interfaces[&association.trunk].key,
                vlan: association.vlan,
            }),
            (None, None) => None,
        };
        Effect::PutInterface(InterfaceView {
            key: interface.key,
            id: interface.id.clone(),
            vpc: self.vpcs[&interface.vpc].key,
            subnet: self.subnets[&interface.subnet].block,
            mac: interface.mac,
            subnet_id: interface.subnet.clone(),
            addresses: interface
                .addresses
                .iter()
                .copied()
                .chain(interface.prefixes.iter().flat_map(prefix::addresses))
                .collect(),
            ipv6: interface.ipv6.clone(),
            ipv6_prefixes: interface.ipv6_prefixes.clone(),
            publics: self.publics_of(interface),
            groups: interface.groups.iter().map(|id| id.as_str().into()).collect(),
            source_dest_check: interface.source_dest_check,
            timeouts: interface.timeouts.view(),
            attachment,
            logged: self.flow_logs.values().any(|log| log.covers(interface)),
        })
    }
}
