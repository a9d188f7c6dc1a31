//! Whose an address is, of either family, and since when.

use hedgerow_core::sg::IpPrefix;

use super::interface::{Known, vlan_key};
use super::layout::{AddressKey, AddressOwner, AddressOwnerV6};
use super::{Fabric, FabricError};

impl Fabric {
    /// Brings addresses and tags of a changed interface up to date.
    pub(super) fn follow(&mut self, key: u32, old: Option<&Known>) -> Result<(), FabricError> {
        let Some(new) = self.interfaces.get(&key) else { return Ok(()) };
        let (vpc, vlan, since) = (new.view.vpc, vlan_key(&new.view), new.since.clone());
        if let Some(vlan) = vlan {
            self.maps.vlans.put(vlan, key)?;
        }
        for (held, since) in &since {
            self.put_address(vpc, *held, key, *since)?;
        }
        let Some(old) = old else { return Ok(()) };
        for held in old.view.holds().filter(|held| !since.contains_key(held)) {
            self.remove_address(old.view.vpc, held, key)?;
        }
        match vlan_key(&old.view) {
            Some(before) if Some(before) != vlan => self.maps.vlans.remove(&before),
            _ => Ok(()),
        }
    }

    fn put_address(
        &mut self,
        vpc: u32,
        held: IpPrefix,
        interface: u32,
        since: u32,
    ) -> Result<(), FabricError> {
        match held {
            IpPrefix::V4(one) => {
                let address = one.address.to_bits().to_be();
                let owner = AddressOwner { interface, vpc, address, since };
                self.maps.addresses.put(AddressKey { vpc, address }, owner)
            }
            IpPrefix::V6(prefix) => {
                let owner = AddressOwnerV6 { interface, since };
                self.maps.addresses_v6.put_v6(vpc, prefix, owner)
            }
        }
    }

    /// Removes an address unless it went over to another interface meanwhile.
    pub(super) fn remove_address(
        &mut self,
        vpc: u32,
        held: IpPrefix,
        key: u32,
    ) -> Result<(), FabricError> {
        let moved = self.interfaces.values().any(|known| {
            known.view.key != key && known.view.vpc == vpc && known.since.contains_key(&held)
        });
        if moved {
            return Ok(());
        }
        match held {
            IpPrefix::V4(one) => {
                let address = one.address.to_bits().to_be();
                self.maps.addresses.remove(&AddressKey { vpc, address })
            }
            IpPrefix::V6(prefix) => self.maps.addresses_v6.remove_v6(vpc, prefix),
        }
    }
}
