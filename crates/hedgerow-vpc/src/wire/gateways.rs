//! The VPCs' ways out: internet gateways and their public addresses, egress-only ones, the Internet
//! behind them, and NAT gateways.
//!
//! ```text
//!   hr.NAME.fabric                                          hr.NAME.internet
//!     VPC A's gateway ─┐  one port, `inet`                    edge0 ── lo 203.0.113.0/24,
//!     VPC B's gateway ─┴─ public ↔ private in the fabric ═══ (veth)    2001:db8:203:113::/64
//!                                                                   ── whatever is plugged in
//! ```
//!
//! IPv6 addresses are public as they are: a packet from outside finds its VPC by the block, and the
//! gateway that it came by is the one to which the receiver's subnet routes its source.
//!
//! A NAT gateway is a veth pair in the fabric's namespace: `nKEY` is its interface's port, and at
//! `tKEY` a program translates and sends back.
//!
//! The Internet is a namespace of this process, made with the first gateway. It forwards, so that
//! other namespaces can be plugged in behind it, and has no way to the machine's own network.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::Instant;

use hedgerow_core::sg::{Ipv4Prefix, Ipv6Prefix};
use hedgerow_datapath::fabric::{Interface, Kind, NatGateway, Place, PublicAddress, Timeouts};
use hedgerow_datapath::sys::Netns;

use super::link::{FarEnd, MTU, index_of};
use super::machine::{Machine, unknown};
use super::{WireError, netns};
use crate::effect::{InterfaceKey, InterfaceView, PUBLIC_ADDRESSES, PUBLIC_ADDRESSES_V6};

/// Keys of the interfaces that stand for internet gateways: this and the VPC's key. Those of real
/// interfaces are counted from 1 and never come here.
const GATEWAYS: u32 = 0x4000_0000;
/// The same of egress-only ones.
const EGRESS_GATEWAYS: u32 = 0x6000_0000;
/// MAC of the Internet's end of the port.
const INTERNET_MAC: [u8; 6] = [0x02, 0x68, 0x72, 0x00, 0x00, 0x03];
/// Addresses that the Internet's namespace has itself, all of them (RFC 5737, TEST-NET-3).
const SERVERS: Ipv4Prefix = Ipv4Prefix { address: Ipv4Addr::new(203, 0, 113, 0), len: 24 };
/// The same of IPv6 (RFC 3849).
const SERVERS_V6: Ipv6Prefix =
    Ipv6Prefix { address: Ipv6Addr::new(0x2001, 0xdb8, 0x203, 0x113, 0, 0, 0, 0), len: 64 };

/// Ports that a NAT gateway gives to flows ("NAT gateway basics", Amazon VPC User Guide).
const NAT_PORTS: RangeInclusive<u16> = 1024..=u16::MAX;

/// The namespace behind all internet gateways, and the port to it.
struct Internet {
    ifindex: u32,
}

/// What there is of gateways.
#[derive(Default)]
pub(super) struct Gateways {
    /// Whether packets are fragmented at the loopback device.
    slices: bool,
    internet: Option<Internet>,
    /// What each interface's public addresses are.
    publics: HashMap<InterfaceKey, Vec<PublicAddress>>,
    /// Ids of the egress-only gateways of each VPC that has any.
    egress: HashMap<u32, BTreeSet<String>>,
    /// By [`Effect::PutNatGateway`](crate::effect::Effect::PutNatGateway)'s key.
    nats: HashMap<u32, Nat>,
}

/// What a NAT gateway's flows go on from.
pub(super) struct NatAddresses {
    /// For new flows, the primary address first.
    pub fresh: Vec<Ipv4Addr>,
    /// For the flows that they have.
    pub draining: Vec<Ipv4Addr>,
}

/// A NAT gateway's interface and devices.
struct Nat {
    interface: InterfaceKey,
    near: u32,
    far: u32,
}

impl Gateways {
    /// Names of the namespaces that were made for gateways.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.internet.iter().map(|_| "internet")
    }

    /// Indices of the ports that were made for gateways.
    pub(super) fn ports(&self) -> impl Iterator<Item = u32> {
        let nats = self.nats.values().flat_map(|nat| [nat.near, nat.far]);
        self.internet.iter().map(|internet| internet.ifindex).chain(nats)
    }

    /// The port to the Internet, if it was made.
    pub(super) fn internet_port(&self) -> Option<u32> {
        self.internet.as_ref().map(|internet| internet.ifindex)
    }

    /// The interface of a NAT gateway.
    pub(super) fn nat_interface(&self, key: u32) -> Option<InterfaceKey> {
        self.nats.get(&key).map(|nat| nat.interface)
    }

    /// The port of the NAT gateway that works behind this interface.
    pub(super) fn nat_port(&self, interface: InterfaceKey) -> Option<u32> {
        self.nats.values().find(|nat| nat.interface == interface).map(|nat| nat.near)
    }
}

/// The key of the interface that stands for the VPC's internet gateway.
pub(super) fn internet_key(vpc: u32) -> InterfaceKey {
    GATEWAYS | vpc
}

/// The key of the interface that stands for the VPC's egress-only internet gateways.
pub(super) fn egress_key(vpc: u32) -> InterfaceKey {
    EGRESS_GATEWAYS | vpc
}

/// Whether the key is that of an interface that stands for a gateway, which the API does not know.
pub(super) fn is_gateway(key: InterfaceKey) -> bool {
    key & GATEWAYS != 0
}

impl Machine {
    /// The VPC's routes to its internet gateway lead outside from now on.
    pub(super) async fn put_internet_gateway(
        &mut self,
        vpc: u32,
        now: Instant,
    ) -> Result<(), WireError> {
        self.slice().await?;
        let ifindex = self.internet().await?;
        let view = gateway(internet_key(vpc), vpc, Kind::Internet, ifindex);
        Ok(self.fabric.put_interface(view, now)?)
    }

    /// They lead nowhere again.
    pub(super) fn remove_internet_gateway(
        &mut self,
        vpc: u32,
        now: Instant,
    ) -> Result<(), WireError> {
        Ok(self.fabric.remove_interface(internet_key(vpc), now)?)
    }

    /// The VPC's routes to its egress-only gateways lead outside from now on.
    pub(super) async fn put_egress_gateway(
        &mut self,
        id: String,
        vpc: u32,
        now: Instant,
    ) -> Result<(), WireError> {
        let ifindex = self.internet().await?;
        let view = gateway(egress_key(vpc), vpc, Kind::EgressOnly, ifindex);
        self.fabric.put_interface(view, now)?;
        self.gateways.egress.entry(vpc).or_default().insert(id);
        Ok(())
    }

    /// The gateway is gone; with the VPC's last one they lead nowhere again.
    pub(super) fn remove_egress_gateway(
        &mut self,
        id: &str,
        vpc: u32,
        now: Instant,
    ) -> Result<(), WireError> {
        let Some(others) = self.gateways.egress.get_mut(&vpc) else { return Ok(()) };
        others.remove(id);
        if others.is_empty() {
            self.gateways.egress.remove(&vpc);
            self.fabric.remove_interface(egress_key(vpc), now)?;
        }
        Ok(())
    }

    /// From outside, addresses of the blocks that the VPC has now are found in it.
    pub(super) fn follow_blocks(
        &mut self,
        vpc: u32,
        before: &[Ipv6Prefix],
        after: &[Ipv6Prefix],
    ) -> Result<(), WireError> {
        for gone in before.iter().filter(|block| !after.contains(block)) {
            self.fabric.remove_public_block(*gone)?;
        }
        after.iter().try_for_each(|block| Ok(self.fabric.put_public_block(*block, vpc)?))
    }

    /// Packets that are routed to the gateway go on from addresses of its interface.
    pub(super) async fn put_nat_gateway(
        &mut self,
        key: u32,
        interface: InterfaceKey,
        addresses: NatAddresses,
        now: Instant,
    ) -> Result<(), WireError> {
        let missing = || unknown("put NAT gateway", "interface", interface);
        let view = self.interfaces.get(&interface).cloned().ok_or_else(missing)?;
        let gateway = |near, far| NatGateway {
            interface,
            vpc: view.vpc,
            addresses: addresses.fresh,
            draining: addresses.draining,
            ports: NAT_PORTS,
            near,
            far,
        };
        if let Some(nat) = self.gateways.nats.get(&key).filter(|nat| nat.interface == interface) {
            return Ok(self.fabric.put_nat(&gateway(nat.near, nat.far))?);
        }
        self.remove_nat_gateway(key, now).await?;
        self.slice().await?;
        let (near, far) = (format!("n{key}"), format!("t{key}"));
        let home = netns::full_name(&self.name, "fabric");
        if self.standing(&near, &home).await?.is_none() {
            let end = FarEnd { namespace: &self.home, name: &far, mac: view.mac, mtu: MTU };
            self.net.add_veth(&near, &end).await?;
        }
        let nat = Nat { interface, near: index_of(&near)?, far: index_of(&far)? };
        self.fabric.put_nat(&gateway(nat.near, nat.far))?;
        self.fabric.attach(&near, nat.near)?;
        self.fabric.attach_nat(&far, nat.far)?;
        self.fabric.put_port(nat.near, interface, view.vpc)?;
        self.net.set_up(nat.near).await?;
        self.net.set_up(nat.far).await?;
        self.gateways.nats.insert(key, nat);
        Ok(self.fabric.put_interface(self.fabric_view(&view), now)?)
    }

    /// The gateway's flows end; absent is fine.
    pub(super) async fn remove_nat_gateway(
        &mut self,
        key: u32,
        now: Instant,
    ) -> Result<(), WireError> {
        let Some(gone) = self.gateways.nats.remove(&key) else { return Ok(()) };
        if let Some(view) = self.interfaces.get(&gone.interface) {
            self.fabric.put_interface(self.fabric_view(view), now)?;
        }
        self.net.delete(gone.near).await?;
        Ok(self.fabric.remove_nat(gone.near, gone.far)?)
    }

    /// Brings an interface's public addresses up to date.
    pub(super) fn follow_publics(&mut self, view: &InterfaceView) -> Result<(), WireError> {
        let (vpc, gateway) = (view.vpc, internet_key(view.vpc));
        let wanted = view.publics.iter().map(|(private, public)| PublicAddress {
            public: *public,
            private: *private,
            vpc,
            gateway,
        });
        self.set_publics(view.key, wanted.collect())
    }

    /// The interface has these public addresses and no others.
    pub(super) fn set_publics(
        &mut self,
        key: InterfaceKey,
        wanted: Vec<PublicAddress>,
    ) -> Result<(), WireError> {
        let known = self.gateways.publics.remove(&key).unwrap_or_default();
        for address in wanted.iter().filter(|address| !known.contains(address)) {
            self.fabric.put_public(*address)?;
        }
        if !wanted.is_empty() {
            self.gateways.publics.insert(key, wanted);
        }
        // Either address may be another's already: the new owner can be put before the old one.
        let now = |same: &dyn Fn(&PublicAddress) -> bool| {
            self.gateways.publics.values().flatten().any(same)
        };
        for gone in known {
            if !now(&|other| (other.vpc, other.private) == (gone.vpc, gone.private)) {
                self.fabric.remove_private(gone)?;
            }
            if !now(&|other| other.public == gone.public) {
                self.fabric.remove_public(gone.public)?;
            }
        }
        Ok(())
    }

    /// Makes ready to fragment packets: gateways take smaller ones than instances do.
    async fn slice(&mut self) -> Result<(), WireError> {
        if !self.gateways.slices {
            let lo = index_of("lo")?;
            self.net.set_up(lo).await?;
            self.fabric.attach_slice()?;
            self.gateways.slices = true;
        }
        Ok(())
    }

    /// The port to the Internet, made if it is not there yet.
    async fn internet(&mut self) -> Result<u32, WireError> {
        if let Some(known) = &self.gateways.internet {
            return Ok(known.ifindex);
        }
        let full = netns::full_name(&self.name, "internet");
        let namespace = self.take_namespace(&full, false)?;
        match self.add_internet(&full, &namespace).await {
            Ok(ifindex) => {
                self.gateways.internet = Some(Internet { ifindex });
                Ok(ifindex)
            }
            Err(error) => {
                self.give_up(&full);
                Err(error)
            }
        }
    }

    async fn add_internet(&mut self, full: &str, namespace: &Netns) -> Result<u32, WireError> {
        netns::make_router(full, namespace)?;
        let mtu = u32::from(Kind::Internet.mtu());
        let ifindex = match self.standing("inet", full).await? {
            Some(ifindex) => ifindex,
            None => {
                let far = FarEnd { namespace, name: "edge0", mac: INTERNET_MAC, mtu };
                self.net.add_veth("inet", &far).await?;
                index_of("inet")?
            }
        };
        self.fabric.attach("inet", ifindex)?;
        self.fabric.put_internet(ifindex)?;
        self.net.set_up(ifindex).await?;
        netns::allow_ipv6(full, namespace, &["lo", "edge0"])?;
        let (net, lo) = self.visit(namespace, full, "lo")?;
        net.set_up(lo).await?;
        net.add_address(lo, SERVERS.nth(1), SERVERS.len).await?;
        net.add_ipv6(lo, SERVERS_V6.nth(1)).await?;
        net.add_local_ipv6(lo, SERVERS_V6).await?;
        let (net, edge) = self.visit(namespace, full, "edge0")?;
        net.set_up_without_arp(edge).await?;
        net.add_route(edge, PUBLIC_ADDRESSES, SERVERS.nth(1)).await?;
        net.add_ipv6_route(edge, PUBLIC_ADDRESSES_V6, SERVERS_V6.nth(1)).await?;
        Ok(ifindex)
    }
}

fn gateway(key: InterfaceKey, vpc: u32, kind: Kind, ifindex: u32) -> Interface {
    Interface {
        key,
        vpc,
        subnet: Ipv4Prefix::ANY,
        subnet_v6: None,
        mac: INTERNET_MAC,
        addresses: Vec::new(),
        prefixes_v6: Vec::new(),
        groups: Default::default(),
        source_dest_check: false,
        routes: None,
        acl: None,
        timeouts: Timeouts::default(),
        place: Place::Port(ifindex),
        kind,
        logged: false,
    }
}
