//! IPv6 addresses and delegated prefixes of interfaces, which come and go.

use hedgerow_core::prefix::IpPrefix;

use super::addresses::{FIRST_SECONDARY, FIXED, HOSTS, SHARED, delegated, is_six, nth};
use super::edit::borrowed;
use super::generate::Six;
use super::model::Id;
use super::world::World;

impl World {
    /// What a new interface may have of its subnet's block: the first from there on that is free.
    pub fn free_six(&self, subnet: usize, six: Six) -> IpPrefix {
        let block = self.model.subnets[subnet].blocks[1];
        let all = |n: u32| match six {
            Six::Address(host) => one(block, 4 + (host.of(HOSTS) as u32 + n) % 40),
            Six::Prefix(number) => delegated(block, 1 + (number.of(3) as u8 + n as u8) % 40),
        };
        let taken =
            |held: &IpPrefix| self.model.interfaces.iter().any(|interface| interface.meets(*held));
        (0..).map(all).find(|held| !taken(held)).expect("few interfaces")
    }

    /// Gives an interface something of its subnet's block, which another one may lose; or takes it.
    pub fn toggle_six(&mut self, id: Id, six: Six) {
        let interface = &self.model.interfaces[id];
        if !interface.exists || interface.gateway {
            return;
        }
        let fixed = id < self.ports.len();
        let block = self.model.subnets[interface.subnet].blocks[1];
        let held = match six {
            Six::Address(pick) if fixed => {
                one(block, u32::from(FIRST_SECONDARY) + (FIXED + pick.of(SHARED)) as u32)
            }
            Six::Address(pick) => one(block, 4 + pick.of(HOSTS) as u32),
            Six::Prefix(pick) => delegated(block, 1 + pick.of(3) as u8),
        };
        match interface.addresses.iter().any(|(own, _)| *own == held) {
            true => self.unassign_six(id, &[held]),
            false => self.assign_six(id, held),
        }
    }

    /// An interface that may be a branch has no more than one of them.
    pub fn assign_six(&mut self, id: Id, held: IpPrefix) {
        for other in 0..self.model.interfaces.len() {
            let only_one = other == id && id >= self.ports.len();
            let interface = &self.model.interfaces[other];
            let all = interface.addresses.iter().map(|(own, _)| *own).filter(|own| is_six(*own));
            let lost: Vec<IpPrefix> =
                all.filter(|own| only_one || (interface.exists && own.overlaps(&held))).collect();
            self.unassign_six(other, &lost);
        }
        self.ask_six("AssignIpv6Addresses", id, &[held]);
        self.hold(id, held);
    }

    pub fn unassign_six(&mut self, id: Id, lost: &[IpPrefix]) {
        if !lost.is_empty() {
            self.ask_six("UnassignIpv6Addresses", id, lost);
            self.model.interfaces[id].addresses.retain(|(own, _)| !lost.contains(own));
        }
    }

    fn ask_six(&mut self, action: &str, id: Id, held: &[IpPrefix]) {
        let fields: Vec<(String, String)> =
            (1..).zip(held).map(|(n, held)| field_of(*held, n, "Ipv6Addresses.N")).collect();
        let mut request =
            vec![("NetworkInterfaceId", self.model.interfaces[id].eni.as_str().to_owned())];
        request.extend(fields.iter().map(|(name, value)| (name.as_str(), value.clone())));
        self.cloud.ok(action, &borrowed(&request));
    }
}

/// One address as a prefix.
fn one(block: IpPrefix, host: u32) -> IpPrefix {
    IpPrefix::new(nth(block, host), 128)
}

/// The field of a request that names the address, whose name has an N for the number, or the prefix.
pub fn field_of(held: IpPrefix, number: usize, address: &str) -> (String, String) {
    match held {
        IpPrefix::V6(block) if block.len == 128 => {
            (address.replace('N', &number.to_string()), block.address.to_string())
        }
        held => (format!("Ipv6Prefix.{number}"), held.to_string()),
    }
}
