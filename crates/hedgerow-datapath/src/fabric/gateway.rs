//! What internet gateways and NAT gateways translate, and whose addresses need not be.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use hedgerow_core::sg::Ipv6Prefix;

use super::layout::{AddressKey, Nat, Port, Public};
use super::{Fabric, FabricError};

/// `HR_PORT_INTERNET`.
const INTERNET: u32 = u32::MAX;

/// `HR_SLICE_LOOPBACK`.
const LOOPBACK: u32 = 1;

/// `HR_NAT_ADDRESSES`: most addresses of a NAT gateway.
pub const NAT_ADDRESSES: usize = 8;

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

/// A NAT gateway, which works at a pair of devices in the fabric's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatGateway {
    /// Key of its interface.
    pub interface: u32,
    /// VPC key.
    pub vpc: u32,
    /// What packets of new flows come from, the primary address first. Those that drain and these
    /// are at most [`NAT_ADDRESSES`]; what is beyond has no flows.
    pub addresses: Vec<Ipv4Addr>,
    /// Addresses that serve the flows that they have.
    pub draining: Vec<Ipv4Addr>,
    /// Ports that each address gives to flows.
    pub ports: RangeInclusive<u16>,
    /// The device that is its interface's port, by ifindex.
    pub near: u32,
    /// The device where packets are translated.
    pub far: u32,
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
        self.maps.put_port(ifindex, Port { interface: INTERNET, vpc: 0 })
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

    /// The addresses of the block are those of interfaces in this VPC, also outside.
    pub fn put_public_block(&mut self, block: Ipv6Prefix, vpc: u32) -> Result<(), FabricError> {
        self.maps.publics_v6.put_v6(0, block, vpc)
    }

    /// The block is nobody's any more; absent is fine.
    pub fn remove_public_block(&mut self, block: Ipv6Prefix) -> Result<(), FabricError> {
        self.maps.publics_v6.remove_v6(0, block)
    }

    /// The gateway translates from now on what the fabric sends to its interface. While it does, only
    /// its addresses may change: flows of those that are not named any more end.
    pub fn put_nat(&mut self, gateway: &NatGateway) -> Result<(), FabricError> {
        let NatGateway { interface, vpc, ref ports, near, far, .. } = *gateway;
        let ports = u32::from(*ports.start()) | u32::from(*ports.end()) << 16;
        let fresh = gateway.addresses.len().min(NAT_ADDRESSES) as u32;
        let mut addresses = [0; NAT_ADDRESSES];
        let all = gateway.addresses.iter().chain(&gateway.draining);
        addresses.iter_mut().zip(all).for_each(|(place, address)| *place = word(*address));
        let value = Nat { far, near, interface, vpc, ports, fresh, addresses };
        self.maps.nats.put(near, value)?;
        self.maps.nats.put(far, value)
    }

    /// Attaches the program that translates to the gateway's far device, as [`Fabric::attach`] does
    /// the fabric's to its port.
    pub fn attach_nat(&mut self, name: &str, ifindex: u32) -> Result<(), FabricError> {
        self.attach_program("nat", name, ifindex)
    }

    /// Attaches the program that fragments packets to the loopback device of the fabric's namespace,
    /// which must be up.
    pub fn attach_slice(&mut self) -> Result<(), FabricError> {
        self.attach_program("slice", "lo", LOOPBACK)
    }

    /// Forgets a gateway by its devices; absent is fine.
    pub fn remove_nat(&mut self, near: u32, far: u32) -> Result<(), FabricError> {
        for ifindex in [near, far] {
            self.maps.nats.remove(&ifindex)?;
            self.remove_port(ifindex)?;
        }
        Ok(())
    }
}
