//! What the controller knows of one trunk: its VLAN ids and the branches on it.
//!
//! ```text
//!   reserve ──► (interface made) ──► put: held by a pod ──► rest ──► leaving ──► gone: VLAN free
//!      └ cancel                        ▲                     ▲  └───── put back on failure
//!                        adopt (annotation)      found in EC2 without a pod
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use hedgerow_cloud::Subnet;
use hedgerow_core::pool::{Cooldown, VlanPool};
use hedgerow_k8s::PodEni;

/// A pod, told from a namesake by its UID.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

/// Who has a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    Pod(PodKey),
    /// Resting after its pod, or found without one.
    Nobody,
    /// Being deleted.
    Leaving,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Branch {
    vlan: u16,
    association: Option<String>,
    holder: Holder,
    /// What the pod's annotation must say, until it is known to say so.
    unwritten: Option<PodEni>,
}

/// A branch to be released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// `eni-…`.
    pub eni: String,
    /// `trunk-assoc-…`, where it is known.
    pub association: Option<String>,
}

/// One trunk.
#[derive(Debug)]
pub struct Trunk {
    /// `eni-…`.
    pub id: String,
    /// `i-…`.
    pub instance: String,
    /// Where its branches are made.
    pub subnet: Subnet,
    /// Branches that its instance type carries.
    pub capacity: u32,
    vlans: VlanPool,
    branches: BTreeMap<String, Branch>,
    resting: Cooldown<String>,
}

/// Every branch interface of the trunk is in use or resting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "all {capacity} branch interfaces of trunk {trunk} are in use or cooling down; \
     one is free again when a pod has been gone for the cool-down period"
)]
pub struct Full {
    trunk: String,
    capacity: u32,
}

impl Trunk {
    /// A trunk without branches.
    pub fn new(id: String, instance: String, subnet: Subnet, capacity: u32) -> Self {
        Self {
            id,
            instance,
            subnet,
            capacity,
            vlans: VlanPool::default(),
            branches: BTreeMap::new(),
            resting: Cooldown::default(),
        }
    }

    /// Takes a VLAN id for a branch that is about to be made.
    pub fn reserve(&mut self) -> Result<u16, Full> {
        let full = || Full { trunk: self.id.clone(), capacity: self.capacity };
        if self.vlans.used() >= self.capacity as usize {
            return Err(full());
        }
        let refusal = full();
        self.vlans.take().ok_or(refusal)
    }

    /// Gives back an id whose branch never came to be or is gone again.
    pub fn cancel(&mut self, vlan: u16) {
        self.vlans.free(vlan);
    }

    /// Notes a branch made under a reserved id; its annotation is still to be written.
    pub fn put(&mut self, made: PodEni, pod: PodKey) {
        let eni = made.eni_id.clone();
        let branch = Branch {
            vlan: made.vlan,
            association: Some(made.association_id.clone()),
            holder: Holder::Pod(pod),
            unwritten: Some(made),
        };
        self.branches.insert(eni, branch);
    }

    /// The annotation of the branch is written.
    pub fn written(&mut self, eni: &str) {
        if let Some(branch) = self.branches.get_mut(eni) {
            branch.unwritten = None;
        }
    }

    /// Notes a branch that a pod's annotation names. True when that was news.
    pub fn adopt(&mut self, eni: &str, vlan: u16, association: &str, pod: PodKey) -> bool {
        self.resting.forget(&eni.to_owned());
        let association = (!association.is_empty()).then(|| association.to_owned());
        let holder = Holder::Pod(pod);
        match self.branches.get_mut(eni) {
            Some(branch) if branch.holder == Holder::Leaving => false,
            Some(branch) => {
                branch.association = association.or(branch.association.take());
                branch.unwritten = None;
                std::mem::replace(&mut branch.holder, holder.clone()) != holder
            }
            None => {
                self.vlans.mark(vlan);
                let branch = Branch { vlan, association, holder, unwritten: None };
                self.branches.insert(eni.to_owned(), branch);
                true
            }
        }
    }

    /// Notes a branch seen in EC2. Unless a pod's annotation claims it, it rests from `now` on and
    /// is released then (that is its second sighting).
    pub fn found(&mut self, eni: String, vlan: u16, now: Duration) {
        if self.branches.contains_key(&eni) {
            return;
        }
        self.vlans.mark(vlan);
        self.resting.rest(eni.clone(), now);
        let holder = Holder::Nobody;
        self.branches.insert(eni, Branch { vlan, association: None, holder, unwritten: None });
    }

    /// Whether the pod has a branch here, and if so, the annotation that is still to be written.
    pub fn branch_of(&self, pod: &PodKey) -> Option<Option<&PodEni>> {
        let held = |b: &&Branch| matches!(&b.holder, Holder::Pod(p) if p == pod);
        self.branches.values().find(held).map(|b| b.unwritten.as_ref())
    }

    /// Lets every branch rest whose pod no longer needs it; returns how many.
    pub fn rest_unneeded(&mut self, needs: impl Fn(&PodKey) -> bool, now: Duration) -> usize {
        let mut count = 0;
        for (eni, branch) in &mut self.branches {
            if matches!(&branch.holder, Holder::Pod(pod) if !needs(pod)) {
                branch.holder = Holder::Nobody;
                self.resting.rest(eni.clone(), now);
                count += 1;
            }
        }
        count
    }

    /// Takes the branches that have rested long enough; each must end in [`Trunk::gone`] or
    /// [`Trunk::put_back`].
    pub fn take_rested(&mut self, now: Duration, period: Duration) -> Vec<Departure> {
        let mut departures = Vec::new();
        for eni in self.resting.take_rested(now, period) {
            if let Some(branch) = self.branches.get_mut(&eni) {
                branch.holder = Holder::Leaving;
                departures.push(Departure { eni, association: branch.association.clone() });
            }
        }
        departures
    }

    /// The interface is gone: its VLAN id is free.
    pub fn gone(&mut self, eni: &str) {
        if let Some(branch) = self.branches.remove(eni) {
            self.vlans.free(branch.vlan);
        }
    }

    /// The interface could not be deleted: it rests again from `now` on.
    pub fn put_back(&mut self, eni: &str, now: Duration) {
        if let Some(branch) = self.branches.get_mut(eni) {
            branch.holder = Holder::Nobody;
            self.resting.rest(eni.to_owned(), now);
        }
    }

    /// Whether the trunk knows this branch.
    pub fn knows(&self, eni: &str) -> bool {
        self.branches.contains_key(eni)
    }

    /// Branches that pods hold, and branches that rest or leave.
    pub fn counts(&self) -> (usize, usize) {
        let held = self.branches.values().filter(|b| matches!(b.holder, Holder::Pod(_))).count();
        (held, self.branches.len() - held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn pod(name: &str) -> PodKey {
        PodKey { namespace: "ns".into(), name: name.into(), uid: format!("uid-{name}") }
    }

    fn trunk(capacity: u32) -> Trunk {
        let subnet = Subnet {
            id: "subnet-1".into(),
            vpc: "vpc-1".into(),
            zone: "a".into(),
            block: "10.0.0.0/24".parse().unwrap(),
        };
        Trunk::new("eni-t".into(), "i-1".into(), subnet, capacity)
    }

    fn with_branch(trunk: &mut Trunk, name: &str) -> u16 {
        let vlan = trunk.reserve().unwrap();
        let made = PodEni {
            eni_id: format!("eni-{name}"),
            mac: "02:00:00:00:00:01".parse().unwrap(),
            private_ip: [10, 0, 0, 9].into(),
            ipv6: String::new(),
            vlan,
            subnet: trunk.subnet.block,
            subnet_v6: String::new(),
            association_id: format!("trunk-assoc-{name}"),
        };
        trunk.put(made, pod(name));
        vlan
    }

    #[test]
    fn a_vlan_is_free_only_after_the_interface_is_gone() {
        let mut trunk = trunk(2);
        assert_eq!((with_branch(&mut trunk, "a"), with_branch(&mut trunk, "b")), (1, 2));
        assert!(trunk.reserve().is_err(), "capacity");
        assert_eq!(trunk.rest_unneeded(|p| p.name == "b", at(10)), 1);
        assert!(trunk.take_rested(at(69), MINUTE).is_empty());
        let leaving = trunk.take_rested(at(70), MINUTE);
        assert_eq!(leaving.len(), 1);
        assert_eq!(leaving[0].association.as_deref(), Some("trunk-assoc-a"));
        assert!(trunk.reserve().is_err(), "leaving is not gone");
        trunk.gone("eni-a");
        assert_eq!(trunk.reserve(), Ok(1));
    }

    #[test]
    fn a_namesake_does_not_keep_the_old_pods_branch() {
        let mut trunk = trunk(2);
        with_branch(&mut trunk, "a");
        let recreated = PodKey { uid: "other".into(), ..pod("a") };
        assert_eq!(trunk.branch_of(&recreated), None);
        assert!(trunk.branch_of(&pod("a")).unwrap().is_some(), "its annotation is unwritten");
        trunk.written("eni-a");
        assert_eq!(trunk.branch_of(&pod("a")), Some(None));
        assert_eq!(trunk.rest_unneeded(|p| *p == recreated, at(0)), 1);
    }

    #[test]
    fn rebuilt_from_ec2_and_annotations() {
        let mut trunk = trunk(9);
        trunk.found("eni-a".into(), 1, at(0));
        trunk.found("eni-lost".into(), 2, at(0));
        assert!(trunk.adopt("eni-a", 1, "trunk-assoc-a", pod("a")));
        assert!(!trunk.adopt("eni-a", 1, "trunk-assoc-a", pod("a")), "no news the second time");
        assert!(trunk.adopt("eni-c", 3, "", pod("c")), "known by its annotation only");
        assert_eq!(trunk.counts(), (2, 1));
        let leaving = trunk.take_rested(at(60), MINUTE);
        assert_eq!(leaving, [Departure { eni: "eni-lost".into(), association: None }]);
        assert_eq!(trunk.reserve(), Ok(4));
    }

    #[test]
    fn a_failed_release_is_tried_again_and_never_adopted_meanwhile() {
        let mut trunk = trunk(9);
        with_branch(&mut trunk, "a");
        trunk.rest_unneeded(|_| false, at(0));
        assert_eq!(trunk.take_rested(at(60), MINUTE).len(), 1);
        assert!(!trunk.adopt("eni-a", 1, "x", pod("a")));
        trunk.put_back("eni-a", at(61));
        assert_eq!(trunk.take_rested(at(121), MINUTE).len(), 1);
    }
}
