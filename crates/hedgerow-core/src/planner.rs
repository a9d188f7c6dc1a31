//! Which ordinary interfaces and secondary addresses a node should have for its regular pods.
//!
//! [`plan`] is a function from what the node has to what should be done next. It speaks of counts,
//! not of addresses: which address is free, used or resting is the pool's business.
//!
//! Precedence, as in the Amazon VPC CNI ("ENI and IP target" in its documentation):
//! 1. more interfaces than the node may keep (the trunk's slot): an idle one goes;
//! 2. `WARM_IP_TARGET` / `MINIMUM_IP_TARGET` where either is set, counted in addresses;
//! 3. otherwise `WARM_ENI_TARGET`, counted in whole interfaces.

use std::time::Duration;

/// An interface younger than this is not given back: pods are probably on their way.
pub const MIN_ENI_AGE: Duration = Duration::from_secs(60);

/// One ordinary interface of the node. Secondary addresses only: the primary one is never a pod's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eni {
    /// `eni-…`.
    pub id: String,
    /// Device index; 0 is the node's own and stays.
    pub device_index: u8,
    /// Addresses that a pod could have now.
    pub free: u32,
    /// Addresses that rest after use.
    pub cooling: u32,
    /// Addresses that pods have.
    pub used: u32,
    /// Time since it was attached, as far as the agent knows.
    pub age: Duration,
}

impl Eni {
    fn total(&self) -> u32 {
        self.free + self.cooling + self.used
    }

    fn idle(&self) -> bool {
        self.device_index != 0 && self.used + self.cooling == 0
    }
}

/// What the node's type carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Interfaces, the trunk included.
    pub max_enis: u32,
    /// Addresses per interface, the primary one included.
    pub ipv4_per_eni: u32,
}

/// Whether one interface slot belongs to a trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrunkSlot {
    /// The type has no trunk: all slots are for ordinary interfaces.
    None,
    /// Trunking is off but may be turned on: the slot is used only by pods, never for warmth.
    Soft,
    /// Trunking is on: the slot stays free, or the trunk is in it.
    Hard,
}

/// The operator's wishes; `None` where the variable is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Targets {
    /// `WARM_ENI_TARGET`: interfaces' worth of free addresses.
    pub warm_enis: u32,
    /// `WARM_IP_TARGET`: free addresses.
    pub warm_ips: Option<u32>,
    /// `MINIMUM_IP_TARGET`: addresses in all, used ones included.
    pub minimum_ips: Option<u32>,
}

/// What the node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Ordinary interfaces; the trunk is not among them.
    pub enis: Vec<Eni>,
    /// See [`Limits`].
    pub limits: Limits,
    /// See [`TrunkSlot`].
    pub trunk: TrunkSlot,
    /// See [`Targets`].
    pub targets: Targets,
}

/// One thing to do. After any of them the state is read anew and planned again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Assign this many more secondary addresses to the interface.
    Assign {
        /// `eni-…`.
        eni: String,
        /// How many.
        count: u32,
    },
    /// Create an interface with this many secondary addresses and attach it.
    Attach {
        /// How many.
        addresses: u32,
    },
    /// Take this many free addresses away from the interface.
    Unassign {
        /// `eni-…`.
        eni: String,
        /// How many.
        count: u32,
    },
    /// Detach and delete an interface without pods.
    Release {
        /// `eni-…`.
        eni: String,
    },
}

/// What to do next; empty when the node is as it should be.
pub fn plan(node: &Node) -> Vec<Action> {
    if let Some(release) = over_limit(node) {
        return vec![release];
    }
    let (short, surplus) = need(node);
    if short > 0 { grow(node, short) } else { shrink(node, surplus) }
}

fn slots(node: &Node, for_pods: bool) -> u32 {
    let kept = match node.trunk {
        TrunkSlot::None => 0,
        TrunkSlot::Soft => u32::from(!for_pods),
        TrunkSlot::Hard => 1,
    };
    node.limits.max_enis.saturating_sub(kept).max(1)
}

fn per_eni(node: &Node) -> u32 {
    node.limits.ipv4_per_eni.saturating_sub(1)
}

fn count(node: &Node, what: impl Fn(&Eni) -> u32) -> u32 {
    node.enis.iter().map(what).sum()
}

/// Rule 1: the trunk's slot is taken by an ordinary interface, and one of them is idle.
fn over_limit(node: &Node) -> Option<Action> {
    let too_many = node.enis.len() as u32 > slots(node, true);
    let idle = node.enis.iter().filter(|e| e.idle()).max_by_key(|e| e.device_index);
    idle.filter(|_| too_many).map(|e| Action::Release { eni: e.id.clone() })
}

/// Rules 2 and 3: how many addresses are missing, and how many free ones are too many.
fn need(node: &Node) -> (u32, u32) {
    let free = count(node, |e| e.free);
    let total = count(node, Eni::total);
    let Targets { warm_enis, warm_ips, minimum_ips } = node.targets;
    if warm_ips.is_some() || minimum_ips.is_some() {
        // With only a minimum set, one address stays warm, so that ADD does not wait for EC2.
        let warm = warm_ips.unwrap_or(1);
        let minimum = minimum_ips.unwrap_or(0);
        let short = warm.saturating_sub(free).max(minimum.saturating_sub(total));
        let surplus = free.saturating_sub(warm).min(total.saturating_sub(minimum));
        return (short, surplus);
    }
    // One address at least: with WARM_ENI_TARGET=0 the next pod would wait for EC2.
    let warm = (warm_enis * per_eni(node)).max(1);
    (warm.saturating_sub(free), free.saturating_sub(warm))
}

/// Fills what is attached, lowest device index first; then one more interface. A new interface
/// comes with all its addresses where interfaces are counted, with the missing ones otherwise.
fn grow(node: &Node, short: u32) -> Vec<Action> {
    let by_address = node.targets.warm_ips.is_some() || node.targets.minimum_ips.is_some();
    let per_eni = per_eni(node);
    let mut missing = if by_address { short } else { u32::MAX };
    let mut enis: Vec<&Eni> = node.enis.iter().collect();
    enis.sort_by_key(|e| e.device_index);
    let mut actions = Vec::new();
    for eni in enis {
        let room = per_eni.saturating_sub(eni.total()).min(missing);
        if room > 0 {
            missing -= room;
            actions.push(Action::Assign { eni: eni.id.clone(), count: room });
        }
    }
    let starving = count(node, |e| e.free) == 0;
    if actions.is_empty() && (node.enis.len() as u32) < slots(node, starving) {
        actions.push(Action::Attach { addresses: per_eni.min(missing) });
    }
    actions
}

/// An idle interface whose addresses are all surplus goes, the highest device index first;
/// otherwise, where addresses are counted, surplus ones are unassigned.
fn shrink(node: &Node, surplus: u32) -> Vec<Action> {
    let idle = node
        .enis
        .iter()
        .filter(|e| e.idle() && e.free <= surplus && e.age >= MIN_ENI_AGE)
        .max_by_key(|e| e.device_index);
    if let Some(eni) = idle {
        return vec![Action::Release { eni: eni.id.clone() }];
    }
    if node.targets.warm_ips.is_none() {
        return Vec::new();
    }
    let mut surplus = surplus;
    let mut enis: Vec<&Eni> = node.enis.iter().filter(|e| e.age >= MIN_ENI_AGE).collect();
    enis.sort_by_key(|e| std::cmp::Reverse(e.device_index));
    let mut actions = Vec::new();
    for eni in enis {
        let count = eni.free.min(surplus);
        if count > 0 {
            surplus -= count;
            actions.push(Action::Unassign { eni: eni.id.clone(), count });
        }
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Duration = Duration::from_secs(600);
    const YOUNG: Duration = Duration::from_secs(5);

    fn eni(device_index: u8, free: u32, cooling: u32, used: u32, age: Duration) -> Eni {
        Eni { id: format!("eni-{device_index}"), device_index, free, cooling, used, age }
    }

    /// m5.xlarge: 4 interfaces, 14 secondary addresses each; EKS's default targets.
    fn node(enis: Vec<Eni>, trunk: TrunkSlot) -> Node {
        Node {
            enis,
            limits: Limits { max_enis: 4, ipv4_per_eni: 15 },
            trunk,
            targets: Targets { warm_enis: 1, warm_ips: None, minimum_ips: None },
        }
    }

    fn assign(index: u8, count: u32) -> Action {
        Action::Assign { eni: format!("eni-{index}"), count }
    }

    fn release(index: u8) -> Action {
        Action::Release { eni: format!("eni-{index}") }
    }

    #[test]
    fn whole_interfaces() {
        use TrunkSlot::{Hard, None, Soft};
        let full = |index| eni(index, 0, 0, 14, OLD);
        for (what, enis, trunk, expected) in [
            (
                "a new node fills eth0 in one call",
                vec![eni(0, 0, 0, 0, OLD)],
                Hard,
                vec![assign(0, 14)],
            ),
            ("warm enough", vec![eni(0, 14, 0, 0, OLD)], Hard, vec![]),
            (
                "one pod: another interface's worth is missing",
                vec![eni(0, 13, 0, 1, OLD)],
                Hard,
                vec![Action::Attach { addresses: 14 }],
            ),
            (
                "the trunk's slot stays free",
                vec![full(0), full(1), eni(2, 3, 0, 11, OLD)],
                Hard,
                vec![],
            ),
            (
                "soft slot: not for warmth",
                vec![full(0), full(1), eni(2, 3, 0, 11, OLD)],
                Soft,
                vec![],
            ),
            (
                "soft slot: for a pod",
                vec![full(0), full(1), full(2)],
                Soft,
                vec![Action::Attach { addresses: 14 }],
            ),
            (
                "no trunk here: all slots",
                vec![full(0), full(1), eni(2, 3, 0, 11, OLD)],
                None,
                vec![Action::Attach { addresses: 14 }],
            ),
            ("all full", vec![full(0), full(1), full(2), full(3)], None, vec![]),
            (
                "trunking turned on, slot taken: an idle interface goes, however young",
                vec![full(0), full(1), eni(2, 14, 0, 0, OLD), eni(3, 14, 0, 0, YOUNG)],
                Hard,
                vec![release(3)],
            ),
            (
                "slot taken and nothing idle: nothing to do",
                vec![full(0), full(1), eni(2, 13, 1, 0, OLD), eni(3, 13, 0, 1, OLD)],
                Hard,
                vec![],
            ),
            (
                "surplus interface goes",
                vec![eni(0, 14, 0, 0, OLD), eni(1, 14, 0, 0, OLD)],
                Hard,
                vec![release(1)],
            ),
            ("not while young", vec![eni(0, 14, 0, 0, OLD), eni(1, 14, 0, 0, YOUNG)], Hard, vec![]),
            (
                "not while an address rests",
                vec![eni(0, 14, 0, 0, OLD), eni(1, 13, 1, 0, OLD)],
                Hard,
                vec![],
            ),
            ("eth0 never goes", vec![eni(0, 14, 0, 0, OLD), eni(1, 5, 0, 9, OLD)], Hard, vec![]),
        ] {
            assert_eq!(plan(&node(enis, trunk)), expected, "{what}");
        }
    }

    #[test]
    fn single_addresses() {
        let targets =
            |warm, minimum| Targets { warm_enis: 1, warm_ips: warm, minimum_ips: minimum };
        let unassign = |i: u8, count| Action::Unassign { eni: format!("eni-{i}"), count };
        for (what, enis, targets, expected) in [
            ("a few", vec![eni(0, 0, 0, 0, OLD)], targets(Some(3), None), vec![assign(0, 3)]),
            ("minimum", vec![eni(0, 0, 0, 0, OLD)], targets(Some(2), Some(9)), vec![assign(0, 9)]),
            (
                "minimum alone keeps one warm",
                vec![eni(0, 0, 0, 9, OLD)],
                targets(None, Some(9)),
                vec![assign(0, 1)],
            ),
            (
                "across interfaces",
                vec![eni(0, 0, 0, 12, OLD), eni(1, 0, 0, 13, OLD)],
                targets(Some(5), None),
                vec![assign(0, 2), assign(1, 1)],
            ),
            (
                "another interface with only what is missing",
                vec![eni(0, 0, 0, 14, OLD)],
                targets(Some(2), None),
                vec![Action::Attach { addresses: 2 }],
            ),
            (
                "surplus goes back",
                vec![eni(0, 9, 0, 1, OLD)],
                targets(Some(2), None),
                vec![unassign(0, 7)],
            ),
            (
                "down to the minimum",
                vec![eni(0, 9, 0, 1, OLD)],
                targets(Some(2), Some(8)),
                vec![unassign(0, 2)],
            ),
            ("as wished", vec![eni(0, 2, 0, 1, OLD)], targets(Some(2), None), vec![]),
        ] {
            let mut node = node(enis, TrunkSlot::Hard);
            node.targets = targets;
            assert_eq!(plan(&node), expected, "{what}");
        }
    }

    #[test]
    fn zero_warm_interfaces_keeps_one_address() {
        let mut node = node(vec![eni(0, 0, 0, 14, OLD)], TrunkSlot::Hard);
        node.targets.warm_enis = 0;
        assert_eq!(plan(&node), vec![Action::Attach { addresses: 14 }]);
        node.enis[0].free = 1;
        node.enis[0].used = 13;
        assert_eq!(plan(&node), vec![]);
    }
}
