//! The node's own interfaces: ENIs and the trunk, from EC2's list to links that carry frames.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use hedgerow_core::mac::Mac;
use hedgerow_core::sg::Ipv4Prefix;
use hedgerow_datapath::node::{MARK_MASK, MARK_TO_POD, MARK_TO_WIRE, TABLE_TO_POD, TABLE_TO_WIRE};

use super::{Node, Result, lock};
use crate::arp::{self, Question};
use crate::netlink::{Link, Netlink, Route};
use crate::pod_net::SandboxKey;
use crate::sysctl;

/// Priorities of the two mark rules and of the `local` table after them: a strict pod's packet to a
/// Service whose backend is this very node crosses the VPC like any other.
const RULE_TO_POD: u32 = 10;
const RULE_TO_WIRE: u32 = 11;
const RULE_LOCAL: u32 = 100;

/// An ENI or trunk of this node whose link is up and whose router is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carrier {
    /// `eni-…`.
    pub id: String,
    /// MAC.
    pub mac: Mac,
    /// Whether it is a trunk.
    pub trunk: bool,
    /// Interface index.
    pub link: u32,
    /// Interface name.
    pub name: String,
    /// Its subnet; base + 1 is the router.
    pub subnet: Ipv4Prefix,
    /// MAC of the router.
    pub gateway_mac: Mac,
}

/// An interface to bring up.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// `eni-…`.
    pub id: String,
    /// MAC.
    pub mac: Mac,
    /// Whether it is a trunk.
    pub trunk: bool,
    /// Whether it is the instance's first interface, which has the node's own address.
    pub first: bool,
    /// Its subnet.
    pub subnet: Ipv4Prefix,
    /// Its primary address.
    pub primary: Ipv4Addr,
}

impl Node {
    /// Brings the wanted interfaces up and forgets all others. An interface whose link has not
    /// appeared yet, or whose router does not answer, is left for the next time: then the answer
    /// is false.
    pub fn put_interfaces(&self, wanted: &[Wanted]) -> Result<bool> {
        let mut netlink = Netlink::open()?;
        let links = netlink.links()?;
        let before = lock(&self.carriers).clone();
        let mut after = BTreeMap::new();
        for want in wanted {
            let link = links
                .iter()
                .find(|l| l.mac == Some(want.mac) && SandboxKey::of_link(&l.name).is_none());
            let Some(link) = link else {
                tracing::info!(interface = want.id, mac = %want.mac, "no link with this MAC yet");
                continue;
            };
            let known = before.get(&want.id).filter(|c| c.link == link.index && link.up);
            let carrier = match known {
                Some(carrier) => carrier.clone(),
                None => match self.bring_up(&mut netlink, want, link) {
                    Ok(carrier) => carrier,
                    Err(error) => {
                        tracing::warn!(%error, interface = want.id, link = link.name, "not ready");
                        continue;
                    }
                },
            };
            after.insert(want.id.clone(), carrier);
        }
        for gone in before.values().filter(|c| !after.contains_key(&c.id)) {
            if links.iter().any(|l| l.index == gone.link) {
                self.datapath().detach_uplink(&gone.name)?;
            }
        }
        let complete = after.len() == wanted.len();
        *lock(&self.carriers) = after;
        Ok(complete)
    }

    fn bring_up(&self, netlink: &mut Netlink, want: &Wanted, link: &Link) -> Result<Carrier> {
        if want.trunk {
            sysctl::prepare_trunk(&link.name)?;
        } else {
            sysctl::prepare_uplink(&link.name)?;
        }
        netlink.set_up(link.index, (link.mtu != self.mtu).then_some(self.mtu))?;
        self.datapath().attach_uplink(&link.name)?;
        let gateway = want.subnet.nth(1);
        let question = Question {
            link: link.index,
            vlan: None,
            source_mac: want.mac,
            source: want.primary,
            gateway,
        };
        let gateway_mac = arp::resolve(&question, Duration::from_secs(3))?;
        if want.first {
            // What the stack sends to a Service for a strict pod leaves by the node's own interface
            // when kube-proxy masqueraded it; otherwise the datapath makes it the pod's own frame.
            netlink.put_neighbour(link.index, gateway, gateway_mac)?;
            netlink.put_route(&Route {
                destination: (Ipv4Addr::UNSPECIFIED, 0),
                gateway: Some(gateway),
                link: link.index,
                table: TABLE_TO_WIRE,
            })?;
        }
        if want.trunk {
            netlink.put_mark_rule(RULE_TO_POD, MARK_TO_POD, MARK_MASK, TABLE_TO_POD)?;
            netlink.put_mark_rule(RULE_TO_WIRE, MARK_TO_WIRE, MARK_MASK, TABLE_TO_WIRE)?;
            netlink.move_local_rule(RULE_LOCAL)?;
        }
        let Wanted { id, mac, trunk, subnet, .. } = want.clone();
        tracing::info!(interface = id, link = link.name, %mac, trunk, %gateway_mac, "up");
        Ok(Carrier {
            id,
            mac,
            trunk,
            link: link.index,
            name: link.name.clone(),
            subnet,
            gateway_mac,
        })
    }

    /// Indexes of the links that could be ENIs: pods' veths and loopback are not among them.
    pub fn candidate_links(&self) -> Result<BTreeSet<u32>> {
        let links = Netlink::open()?.links()?;
        let could =
            |l: &&Link| l.name != "lo" && l.mac.is_some() && SandboxKey::of_link(&l.name).is_none();
        Ok(links.iter().filter(could).map(|l| l.index).collect())
    }

    /// Whether an interface is up and its router known.
    pub fn is_ready(&self, eni: &str) -> bool {
        lock(&self.carriers).contains_key(eni)
    }
}
