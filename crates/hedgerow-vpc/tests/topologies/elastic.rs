//! Internet gateways, and the elastic addresses that stand for private ones.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::addresses::{ELASTICS, FIXED};
use super::cloud::texts;
use super::generate::Pick;
use super::model::{Id, Interface, Place};
use super::packet::OUTSIDE;
use super::world::World;

/// An elastic address; for what it stands is in the model.
pub struct Elastic {
    allocation: String,
    association: String,
    pub public: IpAddr,
}

/// The MAC of the Internet's end of its port.
const INTERNET_MAC: [u8; 6] = [0x02, 0x68, 0x72, 0x00, 0x00, 0x03];

impl World {
    /// A gateway for each VPC, and elastic addresses that stand for nothing yet.
    pub fn make_gateways(&mut self) {
        for vpc in 0..self.vpcs.len() {
            let id = self.cloud.make("internetGatewayId", "CreateInternetGateway", &[]);
            let request = [("InternetGatewayId", id.as_str()), ("VpcId", &self.vpcs[vpc].id)];
            self.cloud.ok("AttachInternetGateway", &request);
            self.vpcs[vpc].gateway = id;
            self.model.gateways.push(self.model.interfaces.len());
            self.model.interfaces.push(Interface {
                eni: "-".to_owned(),
                mac: INTERNET_MAC,
                vpc,
                subnet: usize::MAX,
                addresses: Vec::new(),
                groups: BTreeSet::new(),
                check: false,
                place: Place::Port(OUTSIDE),
                exists: true,
                gateway: true,
            });
        }
        for _ in 0..ELASTICS {
            let xml = self.cloud.ok("AllocateAddress", &[]);
            let text = |element| texts(&xml, element).next().expect("an element").to_owned();
            let public = text("publicIp").parse().expect("an address");
            let allocation = text("allocationId");
            self.elastics.push(Elastic { allocation, association: String::new(), public });
        }
    }

    /// An elastic address stands for one of the interface's; if it did, or the interface has none, for
    /// none any more. One that is there in every case is taken for a gateway.
    pub fn associate(&mut self, which: usize, id: Id, address: Pick) {
        let interface = &self.model.interfaces[id];
        let id = if interface.gateway { id % FIXED } else { id };
        let exists = self.model.interfaces[id].exists;
        let mut privates = if exists { self.usable(id) } else { Vec::new() };
        privates.retain(IpAddr::is_ipv4);
        let private = privates.get(address.of(privates.len())).copied();
        let wanted = private.map(|private| (self.model.interfaces[id].vpc, private));
        let known = self.model.publics.get(&self.elastics[which].public).copied();
        self.disassociate(which);
        let Some((vpc, private)) = wanted.filter(|_| known != wanted) else { return };
        let standing =
            |elastic: &Elastic| self.model.publics.get(&elastic.public) == Some(&(vpc, private));
        if let Some(other) = self.elastics.iter().position(standing) {
            self.disassociate(other);
        }
        let text = private.to_string();
        let request = [
            ("AllocationId", self.elastics[which].allocation.as_str()),
            ("NetworkInterfaceId", &self.model.interfaces[id].eni),
            ("PrivateIpAddress", &text),
        ];
        let association = self.cloud.make("associationId", "AssociateAddress", &request);
        self.elastics[which].association = association;
        self.model.publics.insert(self.elastics[which].public, (vpc, private));
    }

    pub fn disassociate(&mut self, which: usize) {
        if self.model.publics.remove(&self.elastics[which].public).is_some() {
            let request = [("AssociationId", self.elastics[which].association.as_str())];
            self.cloud.ok("DisassociateAddress", &request);
        }
    }
}
