//! Records as the fabric needs them.

use super::Region;
use crate::effect::{Attachment, Effect, InterfaceView};

impl Region {
    /// The effect that tells the fabric of the interface as it is now.
    pub(crate) fn put_interface(&self, id: &str) -> Effect {
        let interface = &self.interfaces[id];
        let attachment = match (&interface.attachment, &interface.association) {
            (Some(attached), _) => Some(Attachment::Instance {
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
            addresses: interface.addresses.clone(),
            groups: interface.groups.iter().map(|id| id.as_str().into()).collect(),
            source_dest_check: interface.source_dest_check,
            attachment,
        })
    }
}
