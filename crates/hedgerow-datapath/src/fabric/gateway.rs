//! What internet gateways translate.

use std::net::Ipv4Addr;

use super::layout::{AddressKey, Port, Public};
use super::{Fabric, FabricError};

/// `HR_PORT_INTERNET`.
const INTERNET: u32 = u32::MAX;

/// A public address and what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicAddress {
    /// The address outside.
    pub public: Ipv4Addr,
    /// The address inside.
    pub private: Ipv4Addr,
    /// VPC key.
    pub vpc: u32,
    /// Key of the interface that stands for the VPC's internet gateway.
    pub gateway: u32,
}

fn word(address: Ipv4Addr) -> u32 {
    address.to_bits().to_be()
}

impl PublicAddress {
    fn inside(&self) -> AddressKey {
        AddressKey { vpc: self.vpc, address: word(self.private) }
    }
}

impl Fabric {
    /// Says which port leads to the Internet.
    pub fn put_internet(&mut self, ifindex: u32) -> Result<(), FabricError> {
        self.maps.ports.put(ifindex, Port { interface: INTERNET, vpc: 0 })
    }

    /// The public address stands for the private one from now on, both ways.
    pub fn put_public(&mut self, address: PublicAddress) -> Result<(), FabricError> {
        let PublicAddress { public, private, vpc, gateway } = address;
        let value = Public { public: word(public), private: word(private), vpc, gateway };
        self.maps.privates.put(address.inside(), value)?;
        self.maps.publics.put(word(public), value)
    }

    /// The private address has no public one any more; absent is fine.
    pub fn remove_private(&mut self, address: PublicAddress) -> Result<(), FabricError> {
        self.maps.privates.remove(&address.inside())
    }

    /// The public address is nobody's any more; absent is fine.
    pub fn remove_public(&mut self, public: Ipv4Addr) -> Result<(), FabricError> {
        self.maps.publics.remove(&word(public))
    }
}
