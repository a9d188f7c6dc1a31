//! The address pool and the sandboxes that have addresses: a state machine with a checkpoint.
//!
//! An address is free, used by one sandbox, or resting: for [`COOLDOWN`] after use nobody gets it,
//! so that what still goes to the old pod does not reach a new one. Time is an argument: seconds
//! since the epoch, because rests outlive the process in the checkpoint.

mod checkpoint;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use hedgerow_cni::message::PodRef;
use hedgerow_core::mac::Mac;
use hedgerow_core::planner;
use serde::{Deserialize, Serialize};

pub use checkpoint::CheckpointError;

use crate::pod_net::SandboxKey;

/// How long an address rests after use (as in the Amazon VPC CNI).
pub const COOLDOWN: u64 = 30;

/// What a sandbox has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Container id; empty when the checkpoint was lost and only the link told of it.
    pub container_id: String,
    /// Interface in the sandbox.
    pub ifname: String,
    /// Path of its network namespace.
    pub netns: String,
    /// The pod.
    pub pod: Option<PodRef>,
    /// Its address.
    pub address: Ipv4Addr,
    /// The branch's VLAN id; `None` for a regular pod.
    pub vlan: Option<u16>,
    /// Index of the veth's host end; 0 until it is made.
    #[serde(default)]
    pub host_ifindex: u32,
    /// How its frames are dressed; `None` until that is known.
    #[serde(default)]
    pub wire: Option<Wire>,
}

/// How a pod's frames enter the VPC, as far as it outlives a restart of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// MAC of the ENI or trunk of this node that carries them.
    pub carrier: Mac,
    /// MAC of the ENI or branch they come from.
    pub source: Mac,
    /// MAC of the subnet's router.
    pub gateway: Mac,
}

/// An address of a branch pod is in use by another sandbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("VLAN {vlan} or address {address} still belongs to the sandbox of {holder}")]
pub struct Conflict {
    vlan: u16,
    address: Ipv4Addr,
    holder: String,
}

#[derive(Debug, Clone)]
struct Eni {
    device_index: u8,
    since: u64,
    addresses: BTreeSet<Ipv4Addr>,
}

/// Addresses, rests and sandboxes of the node.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    enis: BTreeMap<String, Eni>,
    sandboxes: BTreeMap<SandboxKey, Sandbox>,
    /// Until when an address rests, seconds since the epoch.
    resting: BTreeMap<Ipv4Addr, u64>,
    /// When an address was last given back; the longest unused one is given out first.
    last_used: BTreeMap<Ipv4Addr, u64>,
}

impl Pool {
    /// Makes an interface's secondary addresses exactly these (as EC2 says). A sandbox keeps its
    /// address even where EC2 no longer lists it.
    pub fn put_eni(&mut self, id: &str, device_index: u8, addresses: &[Ipv4Addr], now: u64) {
        let since = self.enis.get(id).map_or(now, |e| e.since);
        let addresses = addresses.iter().copied().collect();
        self.enis.insert(id.to_owned(), Eni { device_index, since, addresses });
    }

    /// Forgets interfaces that are not among `ids`.
    pub fn retain_enis(&mut self, ids: &BTreeSet<String>) {
        self.enis.retain(|id, _| ids.contains(id));
    }

    /// Gives a sandbox a free address: of the lowest device index that has one, the one that was
    /// unused longest. `None` when all are used or resting.
    pub fn allocate(
        &mut self,
        key: &SandboxKey,
        mut sandbox: Sandbox,
        now: u64,
    ) -> Option<Sandbox> {
        let used = self.used();
        let mut enis: Vec<&Eni> = self.enis.values().collect();
        enis.sort_by_key(|e| e.device_index);
        let address = enis.iter().find_map(|eni| {
            eni.addresses
                .iter()
                .filter(|a| !used.contains(a) && !self.rests(**a, now))
                .min_by_key(|a| (self.last_used.get(a).copied().unwrap_or(0), **a))
                .copied()
        })?;
        sandbox.address = address;
        sandbox.vlan = None;
        self.sandboxes.insert(key.clone(), sandbox.clone());
        Some(sandbox)
    }

    /// Notes a branch pod's sandbox, unless another one has its VLAN or address still.
    pub fn claim_branch(&mut self, key: &SandboxKey, sandbox: Sandbox) -> Result<(), Conflict> {
        let vlan = sandbox.vlan.unwrap_or(0);
        let same = |s: &Sandbox| s.address == sandbox.address || s.vlan == sandbox.vlan;
        if let Some((_, holder)) = self.sandboxes.iter().find(|(k, s)| *k != key && same(s)) {
            let holder =
                holder.pod.as_ref().map_or_else(|| "an unknown pod".to_owned(), |p| p.to_string());
            return Err(Conflict { vlan, address: sandbox.address, holder });
        }
        self.sandboxes.insert(key.clone(), sandbox);
        Ok(())
    }

    /// Takes a sandbox out; a regular pod's address rests from now on.
    pub fn release(&mut self, key: &SandboxKey, now: u64) -> Option<Sandbox> {
        let sandbox = self.sandboxes.remove(key)?;
        self.resting.retain(|_, until| *until > now);
        if sandbox.vlan.is_none() {
            self.resting.insert(sandbox.address, now + COOLDOWN);
            self.last_used.insert(sandbox.address, now);
        }
        Some(sandbox)
    }

    /// The sandbox, if it is known.
    pub fn sandbox(&self, key: &SandboxKey) -> Option<&Sandbox> {
        self.sandboxes.get(key)
    }

    /// Every sandbox.
    pub fn sandboxes(&self) -> impl Iterator<Item = (&SandboxKey, &Sandbox)> {
        self.sandboxes.iter()
    }

    /// Notes a sandbox of which only its link and endpoint are left.
    pub fn adopt(&mut self, key: SandboxKey, sandbox: Sandbox) {
        self.sandboxes.entry(key).or_insert(sandbox);
    }

    /// The interface that has a secondary address.
    pub fn eni_of(&self, address: Ipv4Addr) -> Option<&str> {
        self.enis.iter().find(|(_, e)| e.addresses.contains(&address)).map(|(id, _)| id.as_str())
    }

    /// Up to `count` addresses of an interface that nobody uses or used lately.
    pub fn idle_addresses(&self, eni: &str, count: usize, now: u64) -> Vec<Ipv4Addr> {
        let used = self.used();
        let addresses = self.enis.get(eni).map(|e| &e.addresses).into_iter().flatten();
        addresses
            .filter(|a| !used.contains(a) && !self.rests(**a, now))
            .rev()
            .take(count)
            .copied()
            .collect()
    }

    /// Adds addresses that EC2 just assigned.
    pub fn add_addresses(&mut self, eni: &str, addresses: &[Ipv4Addr]) {
        if let Some(eni) = self.enis.get_mut(eni) {
            eni.addresses.extend(addresses);
        }
    }

    /// Notes what became known of a sandbox while it was set up.
    pub fn update(&mut self, key: &SandboxKey, sandbox: &Sandbox) {
        if let Some(known) = self.sandboxes.get_mut(key) {
            known.clone_from(sandbox);
        }
    }

    /// Takes addresses out so that nobody gets them while EC2 takes them away.
    pub fn withdraw(&mut self, eni: &str, addresses: &[Ipv4Addr]) {
        if let Some(eni) = self.enis.get_mut(eni) {
            eni.addresses.retain(|a| !addresses.contains(a));
        }
    }

    /// The interfaces as the planner counts them.
    pub fn enis(&self, now: u64) -> Vec<planner::Eni> {
        let used = self.used();
        let count = |(id, eni): (&String, &Eni)| {
            let used_here = eni.addresses.intersection(&used).count() as u32;
            let idle = eni.addresses.iter().filter(|a| !used.contains(a));
            let cooling = idle.filter(|a| self.rests(**a, now)).count() as u32;
            planner::Eni {
                id: id.clone(),
                device_index: eni.device_index,
                free: eni.addresses.len() as u32 - used_here - cooling,
                cooling,
                used: used_here,
                age: Duration::from_secs(now.saturating_sub(eni.since)),
            }
        };
        self.enis.iter().map(count).collect()
    }

    fn used(&self) -> BTreeSet<Ipv4Addr> {
        self.sandboxes.values().map(|s| s.address).collect()
    }

    fn rests(&self, address: Ipv4Addr, now: u64) -> bool {
        // A clock that was set back must not make an address rest for hours.
        self.resting.get(&address).is_some_and(|until| *until > now && *until <= now + COOLDOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    fn key(id: &str) -> SandboxKey {
        SandboxKey::new(id, "eth0")
    }

    fn sandbox(id: &str) -> Sandbox {
        Sandbox {
            container_id: id.to_owned(),
            ifname: "eth0".to_owned(),
            netns: "/n".to_owned(),
            pod: None,
            address: Ipv4Addr::UNSPECIFIED,
            vlan: None,
            host_ifindex: 0,
            wire: None,
        }
    }

    fn pool() -> Pool {
        let mut pool = Pool::default();
        pool.put_eni("eni-1", 1, &[address(20)], 0);
        pool.put_eni("eni-0", 0, &[address(10), address(11)], 0);
        pool
    }

    fn take(pool: &mut Pool, id: &str, now: u64) -> Option<u8> {
        pool.allocate(&key(id), sandbox(id), now).map(|s| s.address.octets()[3])
    }

    #[test]
    fn addresses_rest_and_the_longest_unused_is_next() {
        let mut pool = pool();
        assert_eq!(take(&mut pool, "a", 0), Some(10));
        assert_eq!(take(&mut pool, "b", 0), Some(11));
        assert_eq!(take(&mut pool, "c", 0), Some(20), "the next interface");
        assert_eq!(take(&mut pool, "d", 0), None);
        assert!(pool.release(&key("b"), 100).is_some());
        assert!(pool.release(&key("b"), 100).is_none(), "twice");
        assert_eq!(take(&mut pool, "d", 129), None, "still resting");
        pool.release(&key("a"), 101);
        assert_eq!(take(&mut pool, "d", 140), Some(11), "released before 10");
        assert_eq!(take(&mut pool, "e", 140), Some(10));
    }

    #[test]
    fn counts_for_the_planner() {
        let mut pool = pool();
        take(&mut pool, "a", 0);
        take(&mut pool, "b", 0);
        pool.release(&key("b"), 50);
        let enis = pool.enis(60);
        assert_eq!((enis[0].free, enis[0].cooling, enis[0].used), (0, 1, 1));
        assert_eq!((enis[1].free, enis[1].age), (1, Duration::from_secs(60)));
        assert_eq!(pool.enis(80)[0].free, 1);
        assert!(pool.idle_addresses("eni-0", 5, 60).is_empty());
        assert_eq!(pool.idle_addresses("eni-0", 5, 80), vec![address(11)]);
    }

    #[test]
    fn a_branch_is_not_given_twice() {
        let mut pool = pool();
        let branch = |id: &str, last, vlan| {
            let (address, vlan) = (address(last), Some(vlan));
            Sandbox { address, vlan, ..sandbox(id) }
        };
        pool.claim_branch(&key("a"), branch("a", 30, 1)).unwrap();
        assert!(pool.claim_branch(&key("b"), branch("b", 31, 1)).is_err());
        assert!(pool.claim_branch(&key("b"), branch("b", 30, 2)).is_err());
        pool.claim_branch(&key("a"), branch("a", 30, 1)).unwrap();
        pool.release(&key("a"), 0);
        pool.claim_branch(&key("b"), branch("b", 30, 1)).unwrap();
    }

    #[test]
    fn a_checkpoint_keeps_sandboxes_and_rests() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ipam.json");
        assert_eq!(Pool::load(&path).unwrap().sandboxes().count(), 0, "no file yet");
        let mut before = pool();
        take(&mut before, "a", 0);
        take(&mut before, "b", 0);
        before.release(&key("b"), 100);
        before.save(&path).unwrap();
        let mut after = Pool::load(&path).unwrap();
        after.put_eni("eni-0", 0, &[address(10), address(11)], 105);
        assert_eq!(after.sandbox(&key("a")).unwrap().address, address(10));
        assert_eq!(take(&mut after, "c", 110), None, "10 is used, 11 rests");
        assert_eq!(take(&mut after, "c", 131), Some(11));
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(Pool::load(&path), Err(CheckpointError::Parse { .. })));
        std::fs::write(&path, r#"{"version":9,"sandboxes":{},"resting":{}}"#).unwrap();
        assert!(matches!(Pool::load(&path), Err(CheckpointError::Version { version: 9, .. })));
    }

    #[test]
    fn a_clock_set_back_does_not_lock_addresses_up() {
        let mut pool = pool();
        take(&mut pool, "a", 10_000);
        pool.release(&key("a"), 10_000);
        assert_eq!(pool.enis(100)[0].cooling, 0);
    }
}
