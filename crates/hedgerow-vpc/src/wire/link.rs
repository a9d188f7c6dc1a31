//! veth pairs, addresses and routes, by netlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use futures::TryStreamExt;
use hedgerow_core::sg::{Ipv4Prefix, Ipv6Prefix};
use hedgerow_datapath::sys::Netns;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use netlink_packet_route::route::{RouteScope, RouteType};
use nix::net::if_::if_nametoindex;
use rtnetlink::{
    AddressMessageBuilder, Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};

use super::WireError;

/// EC2's jumbo frames ("Network maximum transmission unit", Amazon EC2 User Guide).
pub(super) const MTU: u32 = 9001;
/// A port takes all that comes: the fabric says what is too large, to its sender.
const PORT_MTU: u32 = 65_535;

/// A netlink socket in one network namespace.
pub(super) struct Netlink {
    handle: Handle,
    driver: tokio::task::JoinHandle<()>,
    namespace: String,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The far end of a new veth pair.
pub(super) struct FarEnd<'a> {
    pub(super) namespace: &'a Netns,
    pub(super) name: &'a str,
    pub(super) mac: [u8; 6],
    pub(super) mtu: u32,
}

fn machine(operation: &'static str, object: String) -> impl FnOnce(io::Error) -> WireError {
    move |source| WireError::Machine { operation, object, source }
}

/// The errno of a netlink refusal; what is none becomes text.
fn kernel_answer(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

fn present_is_fine(result: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    match result {
        Err(rtnetlink::Error::NetlinkError(message))
            if message.to_io().raw_os_error() == Some(libc::EEXIST) =>
        {
            Ok(())
        }
        result => result,
    }
}

impl Netlink {
    /// Opens a socket in the calling thread's namespace, called `namespace` in errors.
    pub(super) fn open(namespace: &str) -> Result<Self, WireError> {
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(machine("open netlink socket in", namespace.to_owned()))?;
        let driver = tokio::spawn(connection);
        Ok(Self { handle, driver, namespace: namespace.to_owned() })
    }

    fn failed(
        &self,
        operation: &'static str,
        object: &str,
    ) -> impl FnOnce(rtnetlink::Error) -> WireError {
        let object = format!("{object} in {}", self.namespace);
        move |error| machine(operation, object)(kernel_answer(error))
    }

    /// Makes a veth pair, both ends down, the far one directly where it belongs.
    pub(super) async fn add_veth(&self, name: &str, far: &FarEnd<'_>) -> Result<(), WireError> {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(far.name)
            .mtu(far.mtu)
            .address(far.mac.to_vec())
            .setns_by_fd(far.namespace.as_fd().as_raw_fd());
        let message = LinkMessageBuilder::<LinkVeth>::new(name, far.name)
            .mtu(PORT_MTU)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())))
            .build();
        let added = self.handle.link().add(message).execute().await;
        added.map_err(self.failed("add veth pair", name))
    }

    /// Sets a link up.
    pub(super) async fn set_up(&self, index: u32) -> Result<(), WireError> {
        let message = LinkUnspec::new_with_index(index).up().build();
        let set = self.handle.link().set(message).execute().await;
        set.map_err(self.failed("set up link", &index.to_string()))
    }

    /// Sets a link up that asks nobody for addresses: what it sends is for its far end.
    pub(super) async fn set_up_without_arp(&self, index: u32) -> Result<(), WireError> {
        let message = LinkUnspec::new_with_index(index).arp(false).up().build();
        let set = self.handle.link().set(message).execute().await;
        set.map_err(self.failed("set up link without ARP", &index.to_string()))
    }

    /// Routes `to` by a link on which nobody need be asked; what starts here comes from `source`.
    /// There already is fine.
    pub(super) async fn add_route(
        &self,
        index: u32,
        to: Ipv4Prefix,
        source: Ipv4Addr,
    ) -> Result<(), WireError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to.address, to.len)
            .output_interface(index)
            .scope(RouteScope::Link)
            .pref_source(source)
            .build();
        let added = self.handle.route().add(route).execute().await;
        present_is_fine(added).map_err(self.failed("add route to", &to.to_string()))
    }

    /// As [`Netlink::add_route`], of IPv6.
    pub(super) async fn add_ipv6_route(
        &self,
        index: u32,
        to: Ipv6Prefix,
        source: Ipv6Addr,
    ) -> Result<(), WireError> {
        let route = RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(to.address, to.len)
            .output_interface(index)
            .pref_source(source)
            .build();
        let added = self.handle.route().add(route).execute().await;
        present_is_fine(added).map_err(self.failed("add route to", &to.to_string()))
    }

    /// Every address of `own` is this host's. There already is fine.
    pub(super) async fn add_local_ipv6(
        &self,
        index: u32,
        own: Ipv6Prefix,
    ) -> Result<(), WireError> {
        let route = RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(own.address, own.len)
            .output_interface(index)
            .kind(RouteType::Local)
            .table_id(libc::RT_TABLE_LOCAL.into())
            .build();
        let added = self.handle.route().add(route).execute().await;
        present_is_fine(added).map_err(self.failed("add local route to", &own.to_string()))
    }

    /// Deletes a link; absent is fine.
    pub(super) async fn delete(&self, index: u32) -> Result<(), WireError> {
        match self.handle.link().del(index).execute().await.map_err(kernel_answer) {
            Err(error) if error.raw_os_error() != Some(libc::ENODEV) => {
                let object = format!("{index} in {}", self.namespace);
                Err(machine("delete link", object)(error))
            }
            _ => Ok(()),
        }
    }

    /// Indices and names of all links.
    pub(super) async fn links(&self) -> Result<Vec<(u32, String)>, WireError> {
        let links: Result<Vec<_>, _> = self.handle.link().get().execute().try_collect().await;
        let named = |link: LinkMessage| {
            let index = link.header.index;
            link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some((index, name)),
                _ => None,
            })
        };
        Ok(links.map_err(self.failed("list", "links"))?.into_iter().filter_map(named).collect())
    }

    /// Gives a link an address; there already is fine.
    pub(super) async fn add_address(
        &self,
        index: u32,
        address: Ipv4Addr,
        prefix_len: u8,
    ) -> Result<(), WireError> {
        let added = self.handle.address().add(index, address.into(), prefix_len).execute().await;
        present_is_fine(added).map_err(self.failed("add address", &address.to_string()))
    }

    /// Routes everything by `gateway`; there already is fine.
    pub(super) async fn add_default_route(
        &self,
        index: u32,
        gateway: Ipv4Addr,
    ) -> Result<(), WireError> {
        let route =
            RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(index).build();
        let added = self.handle.route().add(route).execute().await;
        present_is_fine(added).map_err(self.failed("add default route by", &gateway.to_string()))
    }

    /// Fixes the MAC of a neighbour; there already is fine.
    pub(super) async fn add_neighbour(
        &self,
        index: u32,
        address: IpAddr,
        mac: [u8; 6],
    ) -> Result<(), WireError> {
        let request = self.handle.neighbours().add(index, address);
        let added = request.link_layer_address(&mac).execute().await;
        present_is_fine(added).map_err(self.failed("add neighbour", &address.to_string()))
    }

    /// Gives a link an IPv6 address, alone on it, which is nobody else's: nobody is asked whether it
    /// is. There already is fine.
    pub(super) async fn add_ipv6(&self, index: u32, address: Ipv6Addr) -> Result<(), WireError> {
        let mut request = self.handle.address().add(index, address.into(), Self::ALONE);
        let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
        request.message_mut().attributes.push(AddressAttribute::Flags(flags));
        let added = request.execute().await;
        present_is_fine(added).map_err(self.failed("add address", &address.to_string()))
    }

    /// The IPv6 addresses of all links, of which none is said to be for the link only.
    pub(super) async fn ipv6_addresses(&self) -> Result<Vec<(u32, Ipv6Addr)>, WireError> {
        let all: Result<Vec<_>, _> = self.handle.address().get().execute().try_collect().await;
        let address = |message: AddressMessage| {
            let index = message.header.index;
            message.attributes.into_iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(IpAddr::V6(address)) => Some((index, address)),
                _ => None,
            })
        };
        let all = all.map_err(self.failed("list", "addresses"))?.into_iter().filter_map(address);
        Ok(all.filter(|(_, address)| !address.is_unicast_link_local()).collect())
    }

    /// Takes an IPv6 address from a link; absent is fine.
    pub(super) async fn remove_ipv6(&self, index: u32, address: Ipv6Addr) -> Result<(), WireError> {
        let message = AddressMessageBuilder::<Ipv6Addr>::new();
        let message = message.index(index).address(address, Self::ALONE).build();
        match self.handle.address().del(message).execute().await.map_err(kernel_answer) {
            Err(error) if error.raw_os_error() != Some(libc::EADDRNOTAVAIL) => {
                let object = format!("{address} in {}", self.namespace);
                Err(machine("remove address", object)(error))
            }
            _ => Ok(()),
        }
    }

    /// Length of the prefix of an address that has no neighbours on its link.
    const ALONE: u8 = 128;

    /// Routes everything in IPv6 by `gateway`, a link-local address; there already is fine.
    pub(super) async fn add_ipv6_default_route(
        &self,
        index: u32,
        gateway: Ipv6Addr,
    ) -> Result<(), WireError> {
        let route =
            RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).output_interface(index).build();
        let added = self.handle.route().add(route).execute().await;
        present_is_fine(added).map_err(self.failed("add default route by", &gateway.to_string()))
    }

    /// As a DHCP client would: link up, address, default route by the subnet's router.
    pub(super) async fn configure_primary(
        &self,
        index: u32,
        address: Ipv4Addr,
        subnet: Ipv4Prefix,
    ) -> Result<(), WireError> {
        self.set_up(index).await?;
        self.add_address(index, address, subnet.len).await?;
        self.add_default_route(index, subnet.nth(1)).await
    }
}

/// The index of link `name` in the calling thread's namespace.
pub(super) fn index_of(name: &str) -> Result<u32, WireError> {
    if_nametoindex(name)
        .map_err(|errno| machine("find link", name.to_owned())(io::Error::from(errno)))
}
