//! What stands on the machine for the VPC: instances' namespaces, service namespaces, ports.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Instant;

use hedgerow_core::sg::{GroupId, Ipv6Prefix};
use hedgerow_datapath::fabric::{Fabric, Interface, Kind, Place, ROUTER_LINK_LOCAL, ROUTER_MAC};
use hedgerow_datapath::sys::Netns;

use super::adopt::Adoption;
use super::gateways::{Gateways, NatAddresses};
use super::link::{FarEnd, MTU, Netlink, index_of};
use super::{WireError, convert, netns};
use crate::effect::{Attachment, Effect, InterfaceKey, InterfaceView, SubnetView, VpcView};

/// Metadata, DNS, EC2 endpoint: the same three as in `hr_forward_is_service`.
const SERVICES: [Ipv4Addr; 3] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 169, 253),
    Ipv4Addr::new(169, 254, 169, 250),
];
/// Metadata and DNS in IPv6.
const IPV6_SERVICES: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253),
];
/// What the service namespace takes for its router; nothing answers there but its neighbour entry.
const SERVICE_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 1);
/// MAC of every VPC's service port.
const SERVICE_MAC: [u8; 6] = [0x02, 0x68, 0x72, 0x00, 0x00, 0x02];

/// An interface that is plugged into an instance.
struct Plug {
    instance: String,
    device_index: u8,
    ifindex: u32,
}

/// A VPC's services.
struct Vpc {
    view: VpcView,
    services: Netns,
    ifindex: u32,
}

/// Everything that was made, so that it can be changed and removed.
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) home: Netns,
    pub(super) net: Netlink,
    pub(super) fabric: Fabric,
    /// Until [`Machine::go_live`], where the machine outlives its process.
    pub(super) adopting: Option<Adoption>,
    instances: HashMap<String, Netns>,
    vpcs: HashMap<u32, Vpc>,
    plugs: HashMap<InterfaceKey, Plug>,
    pub(super) interfaces: HashMap<InterfaceKey, InterfaceView>,
    subnets: HashMap<String, SubnetView>,
    pub(super) gateways: Gateways,
}

pub(super) fn unknown(effect: &'static str, what: &'static str, key: impl ToString) -> WireError {
    WireError::Unknown { effect, what, key: key.to_string() }
}

impl Machine {
    /// `home` is the fabric's namespace; the calling thread is in it. With a place for pins, the
    /// machine outlives its process, and what an earlier one left there is taken up.
    pub(super) fn new(name: String, home: Netns, pins: Option<&Path>) -> Result<Self, WireError> {
        let net = Netlink::open(&netns::full_name(&name, "fabric"))?;
        let fabric = pins.map_or_else(Fabric::load, Fabric::open)?;
        let adopting = pins.map(Adoption::new);
        let (instances, vpcs) = Default::default();
        let (plugs, interfaces, subnets) = Default::default();
        Ok(Self {
            name,
            home,
            net,
            fabric,
            adopting,
            instances,
            vpcs,
            plugs,
            interfaces,
            subnets,
            gateways: Gateways::default(),
        })
    }

    /// What follows `hr.NAME.` in the names of the namespaces that effects made.
    pub(super) fn parts(&self) -> impl Iterator<Item = &str> {
        let instances = self.instances.keys().map(String::as_str);
        let vpcs = self.vpcs.values().map(|vpc| vpc.view.id.as_str());
        instances.chain(vpcs).chain(self.gateways.namespaces())
    }

    /// Indices of the ports.
    pub(super) fn ports(&self) -> impl Iterator<Item = u32> {
        let plugs = self.plugs.values().map(|plug| plug.ifindex);
        let services = self.vpcs.values().map(|vpc| vpc.ifindex);
        plugs.chain(services).chain(self.gateways.ports())
    }

    /// `vpc-…` of a VPC key.
    pub(super) fn vpc_id(&self, key: u32) -> Option<&str> {
        self.vpcs.get(&key).map(|vpc| vpc.view.id.as_str())
    }

    /// `eni-…` and groups of an interface.
    pub(super) fn interface(&self, key: InterfaceKey) -> Option<(&str, Vec<GroupId>)> {
        let view = self.interfaces.get(&key)?;
        Some((view.id.as_str(), view.groups.iter().cloned().collect()))
    }

    /// Carries out one effect.
    pub(super) async fn apply(&mut self, effect: Effect) -> Result<(), WireError> {
        let now = Instant::now();
        match effect {
            Effect::PutVpc(view) => self.put_vpc(view).await,
            Effect::RemoveVpc(key) => self.remove_vpc(key).await,
            Effect::PutSubnet(view) => self.put_subnet(view, now),
            Effect::RemoveSubnet(view) => {
                self.subnets.remove(&view.id);
                Ok(())
            }
            // `crate::rds` runs databases; here they are namespaces and interfaces.
            Effect::StartDatabase(_) | Effect::StopDatabase { .. } => Ok(()),
            Effect::StartInstance { instance } => self.start_instance(instance).await,
            Effect::RemoveInstance { instance } => self.remove_instance(&instance).await,
            Effect::PutInterface(view) => self.put_interface(view, now).await,
            Effect::RemoveInterface(key) => self.remove_interface(key, now).await,
            Effect::PutGroup { vpc, group } => Ok(self.fabric.put_group(vpc, group, now)?),
            Effect::RemoveGroup { vpc, group } => Ok(self.fabric.remove_group(vpc, &group, now)?),
            Effect::PutRouteTable { vpc, table } => {
                let target = |target: &_| convert::target(&self.gateways, vpc, target);
                let routes = table.routes.iter().map(|(prefix, to)| (*prefix, target(to)));
                let routes = routes.collect();
                Ok(self.fabric.put_routes(table.key, routes, now)?)
            }
            Effect::RemoveRouteTable { key, .. } => Ok(self.fabric.remove_routes(key, now)?),
            Effect::PutNetworkAcl { acl, .. } => {
                Ok(self.fabric.put_acl(acl.key, convert::acl(&acl), now)?)
            }
            Effect::RemoveNetworkAcl { key, .. } => Ok(self.fabric.remove_acl(key, now)?),
            Effect::PutInternetGateway { vpc, .. } => self.put_internet_gateway(vpc, now).await,
            Effect::RemoveInternetGateway { vpc, .. } => self.remove_internet_gateway(vpc, now),
            Effect::PutEgressGateway { id, vpc } => self.put_egress_gateway(id, vpc, now).await,
            Effect::RemoveEgressGateway { id, vpc } => self.remove_egress_gateway(&id, vpc, now),
            Effect::PutNatGateway { key, interface, addresses, draining, .. } => {
                let addresses = NatAddresses { fresh: addresses, draining };
                self.put_nat_gateway(key, interface, addresses, now).await
            }
            Effect::RemoveNatGateway { key } => self.remove_nat_gateway(key, now).await,
        }
    }

    /// The frame as the program would forward it from the port of an interface; `None`: dropped.
    pub(super) fn rehearse(
        &self,
        port: Option<InterfaceKey>,
        frame: &[u8],
    ) -> Result<Option<Vec<u8>>, WireError> {
        let ifindex = match port {
            Some(port) => self.plugs.get(&port).map(|plug| plug.ifindex),
            None => self.gateways.internet_port(),
        };
        let missing = || unknown("rehearse", "plugged interface", port.unwrap_or_default());
        Ok(self.fabric.rehearse(ifindex.ok_or_else(missing)?, frame)?)
    }

    /// Runs `f` in the service namespace of a VPC.
    pub(super) fn in_services<T: Send>(
        &self,
        vpc: u32,
        operation: &'static str,
        f: impl FnOnce() -> io::Result<T> + Send,
    ) -> Result<T, WireError> {
        let known = self.vpcs.get(&vpc).ok_or_else(|| unknown(operation, "VPC", vpc))?;
        known.services.run(f).and_then(|result| result).map_err(|source| WireError::Machine {
            operation,
            object: known.view.id.clone(),
            source,
        })
    }

    /// Takes everything away. Links and programs go with the namespaces.
    pub(super) fn teardown(self) {
        for part in self.parts().chain(["fabric"]) {
            netns::remove(&netns::full_name(&self.name, part));
        }
    }

    /// A netlink socket and a link's index in another namespace; this thread is there meanwhile.
    pub(super) fn visit(
        &self,
        there: &Netns,
        name: &str,
        link: &str,
    ) -> Result<(Netlink, u32), WireError> {
        let failed = |source| WireError::Machine {
            operation: "enter network namespace",
            object: name.to_owned(),
            source,
        };
        there.enter().map_err(failed)?;
        let opened = Netlink::open(name).and_then(|net| Ok((net, index_of(link)?)));
        self.home.enter().map_err(failed)?;
        opened
    }

    async fn start_instance(&mut self, instance: String) -> Result<(), WireError> {
        if self.instances.contains_key(&instance) {
            return Ok(());
        }
        let full = netns::full_name(&self.name, &instance);
        let namespace = self.take_namespace(&full, false)?;
        let up = async {
            let (net, lo) = self.visit(&namespace, &full, "lo")?;
            net.set_up(lo).await
        };
        if let Err(error) = up.await {
            self.give_up(&full);
            return Err(error);
        }
        self.instances.insert(instance, namespace);
        Ok(())
    }

    async fn remove_instance(&mut self, instance: &str) -> Result<(), WireError> {
        let on_instance =
            |(key, plug): (&InterfaceKey, &Plug)| (plug.instance == instance).then_some(*key);
        let keys: Vec<InterfaceKey> = self.plugs.iter().filter_map(on_instance).collect();
        for key in keys {
            self.unplug(key).await?;
        }
        if self.instances.remove(instance).is_some() {
            netns::remove(&netns::full_name(&self.name, instance));
        }
        Ok(())
    }

    async fn put_vpc(&mut self, view: VpcView) -> Result<(), WireError> {
        let (key, after) = (view.key, view.blocks_v6.clone());
        let before = match self.vpcs.get_mut(&key) {
            Some(known) => std::mem::replace(&mut known.view, view).blocks_v6,
            None => {
                self.add_vpc(view).await?;
                Vec::new()
            }
        };
        self.follow_blocks(key, &before, &after)
    }

    async fn add_vpc(&mut self, view: VpcView) -> Result<(), WireError> {
        let full = netns::full_name(&self.name, &view.id);
        let services = self.take_namespace(&full, true)?;
        match self.add_service_port(&view, &full, &services).await {
            Ok(ifindex) => {
                self.vpcs.insert(view.key, Vpc { view, services, ifindex });
                Ok(())
            }
            Err(error) => {
                self.give_up(&full);
                Err(error)
            }
        }
    }

    /// Removes a namespace that could not be made ready, but not one that was taken up.
    pub(super) fn give_up(&self, full: &str) {
        if self.adopting.is_none() {
            netns::remove(full);
        }
    }

    async fn add_service_port(
        &mut self,
        view: &VpcView,
        full: &str,
        services: &Netns,
    ) -> Result<u32, WireError> {
        let port = format!("s{}", view.key);
        let ifindex = match self.standing(&port, full).await? {
            Some(ifindex) => ifindex,
            None => {
                let far = FarEnd { namespace: services, name: "eth0", mac: SERVICE_MAC, mtu: MTU };
                self.net.add_veth(&port, &far).await?;
                index_of(&port)?
            }
        };
        self.fabric.attach(&port, ifindex)?;
        let dns = view.dns();
        let in_fabric = dns.unwrap_or(Ipv4Addr::UNSPECIFIED);
        self.fabric.put_service(view.key, ifindex, SERVICE_MAC, in_fabric)?;
        self.net.set_up(ifindex).await?;
        let (net, lo) = self.visit(services, full, "lo")?;
        net.set_up(lo).await?;
        netns::allow_ipv6(full, services, &["eth0"])?;
        let (net, eth0) = self.visit(services, full, "eth0")?;
        net.set_up(eth0).await?;
        for (position, address) in SERVICES.into_iter().chain(dns).enumerate() {
            // The first brings the link-local /24, on which the gateway is.
            net.add_address(eth0, address, if position == 0 { 24 } else { 32 }).await?;
        }
        net.add_neighbour(eth0, SERVICE_GATEWAY.into(), ROUTER_MAC).await?;
        net.add_default_route(eth0, SERVICE_GATEWAY).await?;
        for address in IPV6_SERVICES {
            net.add_ipv6(eth0, address).await?;
        }
        net.add_neighbour(eth0, ROUTER_LINK_LOCAL.into(), ROUTER_MAC).await?;
        net.add_ipv6_default_route(eth0, ROUTER_LINK_LOCAL).await?;
        Ok(ifindex)
    }

    async fn remove_vpc(&mut self, key: u32) -> Result<(), WireError> {
        let Some(gone) = self.vpcs.remove(&key) else { return Ok(()) };
        self.follow_blocks(key, &gone.view.blocks_v6, &[])?;
        self.fabric.remove_service(key)?;
        self.net.delete(gone.ifindex).await?;
        self.fabric.remove_port(gone.ifindex)?;
        netns::remove(&netns::full_name(&self.name, &gone.view.id));
        Ok(())
    }

    async fn put_interface(&mut self, view: InterfaceView, now: Instant) -> Result<(), WireError> {
        let wanted = match &view.attachment {
            Some(Attachment::Instance { instance, device_index }) => {
                Some((instance.clone(), *device_index))
            }
            _ => None,
        };
        let stays = self.plugs.get(&view.key).is_some_and(|plug| {
            wanted.as_ref().is_some_and(|(i, d)| *i == plug.instance && *d == plug.device_index)
        });
        if !stays {
            self.unplug(view.key).await?;
        }
        match wanted {
            Some((instance, device_index)) if !stays => {
                self.plug(&view, instance, device_index, now).await?;
            }
            _ => {
                self.fabric.put_interface(self.fabric_view(&view), now)?;
                self.follow_ipv6(&view).await?;
            }
        }
        self.follow_publics(&view)?;
        self.interfaces.insert(view.key, view);
        Ok(())
    }

    async fn remove_interface(&mut self, key: InterfaceKey, now: Instant) -> Result<(), WireError> {
        self.set_publics(key, Vec::new())?;
        self.fabric.remove_interface(key, now)?;
        self.unplug(key).await?;
        self.interfaces.remove(&key);
        Ok(())
    }

    /// Interfaces in the subnet go by its new route table and network ACL.
    fn put_subnet(&mut self, view: SubnetView, now: Instant) -> Result<(), WireError> {
        let id = view.id.clone();
        if self.subnets.insert(id.clone(), view.clone()) == Some(view) {
            return Ok(());
        }
        let inside = self.interfaces.values().filter(|interface| interface.subnet_id == id);
        let inside: Vec<Interface> = inside.map(|interface| self.fabric_view(interface)).collect();
        inside
            .into_iter()
            .try_for_each(|interface| Ok(self.fabric.put_interface(interface, now)?))
    }

    /// The IPv6 block of a subnet, if it has one.
    pub(super) fn subnet_block_v6(&self, id: &str) -> Option<Ipv6Prefix> {
        self.subnets.get(id).and_then(|subnet| subnet.block_v6)
    }

    pub(super) fn fabric_view(&self, view: &InterfaceView) -> Interface {
        let nat = self.gateways.nat_port(view.key);
        let place = match &view.attachment {
            None => nat.map_or(Place::Detached, Place::Port),
            Some(Attachment::Trunk { trunk, vlan }) => Place::Branch { trunk: *trunk, vlan: *vlan },
            Some(Attachment::Instance { .. }) => match self.plugs.get(&view.key) {
                Some(plug) => Place::Port(plug.ifindex),
                None => Place::Detached,
            },
        };
        let subnet = self.subnets.get(&view.subnet_id);
        let v4 = view.addresses.iter().copied().map(IpAddr::V4);
        let v6 = view.ipv6.iter().copied().map(IpAddr::V6);
        Interface {
            key: view.key,
            vpc: view.vpc,
            subnet: view.subnet,
            subnet_v6: self.subnet_block_v6(&view.subnet_id),
            mac: view.mac,
            addresses: v4.chain(v6).collect(),
            prefixes_v6: view.ipv6_prefixes.clone(),
            groups: view.groups.clone(),
            source_dest_check: view.source_dest_check,
            routes: subnet.map(|subnet| subnet.route_table),
            acl: subnet.map(|subnet| subnet.acl),
            timeouts: convert::timeouts(view.timeouts),
            place,
            kind: if nat.is_some() { Kind::Nat } else { Kind::Instance },
            logged: view.logged,
        }
    }

    /// Hot-plugs an interface. Program and maps are ready before the fabric's end comes up, and
    /// that is before the instance's: the end that comes up last can send at once, while the other
    /// waits until the kernel notices (linkwatch).
    async fn plug(
        &mut self,
        view: &InterfaceView,
        instance: String,
        device_index: u8,
        now: Instant,
    ) -> Result<(), WireError> {
        let full = netns::full_name(&self.name, &instance);
        let (near, far) = (format!("p{}", view.key), format!("eth{device_index}"));
        let standing = self.standing(&near, &full).await?;
        let primary = device_index == 0 && standing.is_none();
        let ifindex = match standing {
            Some(ifindex) => ifindex,
            None => {
                let namespace = self.instance(&instance)?;
                let end = FarEnd { namespace, name: &far, mac: view.mac, mtu: MTU };
                self.net.add_veth(&near, &end).await?;
                index_of(&near)?
            }
        };
        self.plugs.insert(view.key, Plug { instance: instance.clone(), device_index, ifindex });
        let ready = self.connect(view, &near, ifindex, now).await;
        let configured = match ready {
            Ok(()) if primary => self.configure_primary(view, &full, &instance).await,
            Ok(()) if device_index == 0 => self.adopt_ipv6(view, &full, &instance).await,
            result => result,
        };
        if configured.is_err() {
            self.unplug(view.key).await?;
        }
        configured
    }

    pub(super) fn instance(&self, instance: &str) -> Result<&Netns, WireError> {
        let missing = || unknown("put interface", "instance", instance);
        self.instances.get(instance).ok_or_else(missing)
    }

    async fn connect(
        &mut self,
        view: &InterfaceView,
        near: &str,
        ifindex: u32,
        now: Instant,
    ) -> Result<(), WireError> {
        self.fabric.attach(near, ifindex)?;
        self.fabric.put_port(ifindex, view.key, view.vpc)?;
        self.fabric.put_interface(self.fabric_view(view), now)?;
        self.net.set_up(ifindex).await
    }

    async fn configure_primary(
        &self,
        view: &InterfaceView,
        full: &str,
        instance: &str,
    ) -> Result<(), WireError> {
        let (net, eth0) = self.visit(self.instance(instance)?, full, "eth0")?;
        if let Some(address) = view.addresses.first() {
            net.configure_primary(eth0, *address, view.subnet).await?;
        }
        match view.ipv6.first() {
            Some(address) => Self::configure_ipv6(&net, eth0, *address).await,
            None => Ok(()),
        }
    }

    /// As a DHCPv6 client would: one address, and the router's link-local one as it announces it.
    pub(super) async fn configure_ipv6(
        net: &Netlink,
        link: u32,
        address: Ipv6Addr,
    ) -> Result<(), WireError> {
        net.add_ipv6(link, address).await?;
        net.add_ipv6_default_route(link, ROUTER_LINK_LOCAL).await
    }

    /// Gives an instance that runs the IPv6 address that its primary interface was given, and takes
    /// the one away that it lost, as its DHCPv6 lease would.
    async fn follow_ipv6(&self, view: &InterfaceView) -> Result<(), WireError> {
        let Some(Plug { instance, device_index: 0, .. }) = self.plugs.get(&view.key) else {
            return Ok(());
        };
        let before = self.interfaces.get(&view.key).and_then(|known| known.ipv6.first());
        let after = view.ipv6.first();
        if before == after || self.adopting.is_some() {
            return Ok(());
        }
        let full = netns::full_name(&self.name, instance);
        let (net, eth0) = self.visit(self.instance(instance)?, &full, "eth0")?;
        if let Some(gone) = before {
            net.remove_ipv6(eth0, *gone).await?;
        }
        match after {
            Some(address) => Self::configure_ipv6(&net, eth0, *address).await,
            None => Ok(()),
        }
    }

    /// Takes an interface out of its instance; not plugged in is fine.
    async fn unplug(&mut self, key: InterfaceKey) -> Result<(), WireError> {
        let Some(gone) = self.plugs.remove(&key) else { return Ok(()) };
        self.net.delete(gone.ifindex).await?;
        Ok(self.fabric.remove_port(gone.ifindex)?)
    }
}
