//! What the machine was asked to be: every effect that was carried out, folded.
//!
//! With it the wire can be built from nothing after a restart, and taken back to where it was when
//! an effect fails half-way. Whatever effects there will be, they need a line here and nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::effect::{Attachment, Effect};

/// What an effect is about. The order of the kinds is the order in which they can be made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Vpc(u32),
    Group(u32, String),
    Instance(String),
    InternetGateway(String),
    EgressGateway(String),
    Acl(u32),
    RouteTable(u32),
    Subnet(String),
    Interface(u32),
    NatGateway(u32),
    Database(String),
}

/// Whether the effect makes or changes its subject; otherwise it takes it away.
fn subject(effect: &Effect) -> (Subject, bool) {
    match effect {
        Effect::PutVpc(view) => (Subject::Vpc(view.key), true),
        Effect::RemoveVpc(key) => (Subject::Vpc(*key), false),
        Effect::PutSubnet(view) => (Subject::Subnet(view.id.clone()), true),
        Effect::RemoveSubnet(view) => (Subject::Subnet(view.id.clone()), false),
        Effect::StartInstance { instance } => (Subject::Instance(instance.clone()), true),
        Effect::RemoveInstance { instance } => (Subject::Instance(instance.clone()), false),
        Effect::PutInterface(view) => (Subject::Interface(view.key), true),
        Effect::RemoveInterface(key) => (Subject::Interface(*key), false),
        Effect::PutGroup { vpc, group } => (Subject::Group(*vpc, group.id.0.clone()), true),
        Effect::RemoveGroup { vpc, group } => (Subject::Group(*vpc, group.0.clone()), false),
        Effect::PutRouteTable { table, .. } => (Subject::RouteTable(table.key), true),
        Effect::RemoveRouteTable { key, .. } => (Subject::RouteTable(*key), false),
        Effect::PutNetworkAcl { acl, .. } => (Subject::Acl(acl.key), true),
        Effect::RemoveNetworkAcl { key, .. } => (Subject::Acl(*key), false),
        Effect::PutNatGateway { key, .. } => (Subject::NatGateway(*key), true),
        Effect::RemoveNatGateway { key } => (Subject::NatGateway(*key), false),
        Effect::PutInternetGateway { id, .. } => (Subject::InternetGateway(id.clone()), true),
        Effect::RemoveInternetGateway { id, .. } => (Subject::InternetGateway(id.clone()), false),
        Effect::PutEgressGateway { id, .. } => (Subject::EgressGateway(id.clone()), true),
        Effect::RemoveEgressGateway { id, .. } => (Subject::EgressGateway(id.clone()), false),
        Effect::StartDatabase(view) => (Subject::Database(view.instance.clone()), true),
        Effect::StopDatabase { instance } => (Subject::Database(instance.clone()), false),
    }
}

/// The effect that takes away what `put` made.
fn removal(put: &Effect) -> Effect {
    match put.clone() {
        Effect::PutVpc(view) => Effect::RemoveVpc(view.key),
        Effect::PutSubnet(view) => Effect::RemoveSubnet(view),
        Effect::StartInstance { instance } => Effect::RemoveInstance { instance },
        Effect::PutInterface(view) => Effect::RemoveInterface(view.key),
        Effect::PutGroup { vpc, group } => Effect::RemoveGroup { vpc, group: group.id },
        Effect::PutRouteTable { vpc, table } => Effect::RemoveRouteTable { vpc, key: table.key },
        Effect::PutNetworkAcl { vpc, acl } => Effect::RemoveNetworkAcl { vpc, key: acl.key },
        Effect::PutNatGateway { key, .. } => Effect::RemoveNatGateway { key },
        Effect::PutInternetGateway { id, vpc } => Effect::RemoveInternetGateway { id, vpc },
        Effect::PutEgressGateway { id, vpc } => Effect::RemoveEgressGateway { id, vpc },
        Effect::StartDatabase(view) => Effect::StopDatabase { instance: view.instance },
        removed => removed,
    }
}

/// The machine as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<Effect>", from = "Vec<Effect>")]
pub struct Mirror {
    /// The last effect that put each subject.
    puts: BTreeMap<Subject, Effect>,
}

impl From<Mirror> for Vec<Effect> {
    fn from(mirror: Mirror) -> Self {
        mirror.puts.into_values().collect()
    }
}

impl From<Vec<Effect>> for Mirror {
    fn from(effects: Vec<Effect>) -> Self {
        let mut mirror = Mirror::default();
        mirror.absorb(effects);
        mirror
    }
}

impl Mirror {
    /// Takes note of effects that were carried out, in order.
    pub fn absorb(&mut self, effects: impl IntoIterator<Item = Effect>) {
        for effect in effects {
            match subject(&effect) {
                (subject, true) => {
                    self.puts.insert(subject, effect);
                }
                (subject, false) => {
                    self.puts.remove(&subject);
                    if let Subject::Instance(gone) = subject {
                        self.unplug_all(&gone);
                    }
                }
            }
        }
    }

    /// An instance's interfaces are unplugged when it goes.
    fn unplug_all(&mut self, gone: &str) {
        for effect in self.puts.values_mut() {
            if let Effect::PutInterface(view) = effect
                && let Some(Attachment::Instance { instance, .. }) = &view.attachment
                && instance == gone
            {
                view.attachment = None;
            }
        }
    }

    /// Effects that make the machine from nothing, in an order in which each finds what it needs.
    pub fn rebuild(&self) -> Vec<Effect> {
        let last = |effect: &&Effect| match effect {
            Effect::PutInterface(view) => {
                matches!(view.attachment, Some(Attachment::Trunk { .. }))
            }
            Effect::PutNatGateway { .. } => true,
            _ => false,
        };
        let (late, early): (Vec<_>, Vec<_>) = self.puts.values().partition(last);
        // Subnets need their tables, and routes lead to interfaces and gateways: tables come twice.
        let tables = self.puts.values().filter(|e| matches!(e, Effect::PutRouteTable { .. }));
        early.into_iter().chain(late).chain(tables).cloned().collect()
    }

    /// Effects that take the machine back from `tried`, some of which were carried out, to what it
    /// was; the latest is taken back first.
    pub fn undo(&self, tried: &[Effect]) -> Vec<Effect> {
        let back = tried.iter().rev().filter_map(|effect| {
            let (subject, put) = subject(effect);
            match self.puts.get(&subject) {
                Some(before) => Some(before.clone()),
                None => put.then(|| removal(effect)),
            }
        });
        back.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::VpcView;

    fn vpc(key: u32) -> Effect {
        let (blocks, blocks_v6) = (Vec::new(), Vec::new());
        Effect::PutVpc(VpcView { key, id: format!("vpc-{key}"), blocks, blocks_v6 })
    }

    fn start(id: &str) -> Effect {
        Effect::StartInstance { instance: id.to_owned() }
    }

    #[test]
    fn undo_takes_back_what_is_new_and_restores_what_was_there() {
        let mirror = Mirror::from(vec![vpc(1), start("i-1")]);
        let tried =
            [Effect::RemoveInstance { instance: "i-1".into() }, vpc(2), Effect::RemoveVpc(7)];
        assert_eq!(mirror.undo(&tried), [Effect::RemoveVpc(2), start("i-1")]);
    }

    #[test]
    fn what_was_removed_is_not_rebuilt() {
        let gone = Effect::RemoveInstance { instance: "i-1".into() };
        let mirror = Mirror::from(vec![start("i-1"), vpc(2), vpc(1), gone]);
        assert_eq!(mirror.rebuild(), [vpc(1), vpc(2)]);
    }
}
