//! Which SecurityGroupPolicies select a pod, and the groups it gets by them.
//!
//! Rules (REFERENCE.md §1): a policy with both selectors needs both to match; `{}` matches
//! everything in its namespace; a policy with neither selects nothing. The service account's
//! selector is tested against the **labels** of the pod's ServiceAccount. Several policies give
//! the union of their groups; Hedgerow orders it by policy name, then by order in the policy, so
//! that the same cluster always gives the same list.

use std::collections::{BTreeMap, BTreeSet};

use crate::sg::GroupId;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// One condition of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// The label is there with one of the values (none given: never).
    In(String, Vec<String>),
    /// The label is absent, or its value is none of these (Kubernetes counts absence as "not in").
    NotIn(String, Vec<String>),
    /// The label is there.
    Exists(String),
    /// The label is absent.
    DoesNotExist(String),
}

impl Requirement {
    fn holds(&self, labels: &Labels) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|v| values.contains(v)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|v| !values.contains(v)),
            Self::Exists(key) => labels.contains_key(key),
            Self::DoesNotExist(key) => !labels.contains_key(key),
        }
    }
}

/// A label selector: every requirement must hold; with none it matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// `matchLabels` (as one-valued [`Requirement::In`]) and `matchExpressions`.
    pub requirements: Vec<Requirement>,
}

impl Selector {
    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|r| r.holds(labels))
    }
}

/// A SecurityGroupPolicy as selection needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Name in its namespace.
    pub name: String,
    /// Tested against the pod's labels.
    pub pod: Option<Selector>,
    /// Tested against the labels of the pod's ServiceAccount.
    pub service_account: Option<Selector>,
    /// Groups for the pods it selects.
    pub groups: Vec<GroupId>,
}

impl Policy {
    /// Whether the policy selects a pod of its namespace with these labels.
    pub fn selects(&self, pod: &Labels, service_account: &Labels) -> bool {
        match (&self.pod, &self.service_account) {
            (None, None) => false,
            (p, s) => {
                p.as_ref().is_none_or(|p| p.matches(pod))
                    && s.as_ref().is_none_or(|s| s.matches(service_account))
            }
        }
    }
}

/// What selection gives for a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Names of the policies that select it, sorted.
    pub policies: Vec<String>,
    /// Union of their groups without duplicates, in the order of `policies`.
    pub groups: Vec<GroupId>,
}

impl Selection {
    /// Whether any policy selects the pod.
    pub fn is_selected(&self) -> bool {
        !self.policies.is_empty()
    }
}

/// Selects among the policies of the pod's own namespace.
pub fn select<'a>(
    policies: impl IntoIterator<Item = &'a Policy>,
    pod: &Labels,
    service_account: &Labels,
) -> Selection {
    let mut chosen: Vec<&Policy> =
        policies.into_iter().filter(|p| p.selects(pod, service_account)).collect();
    chosen.sort_by(|a, b| a.name.cmp(&b.name));
    let mut seen = BTreeSet::new();
    let groups =
        chosen.iter().flat_map(|p| &p.groups).filter(|g| seen.insert(*g)).cloned().collect();
    Selection { policies: chosen.into_iter().map(|p| p.name.clone()).collect(), groups }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        text.split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    }

    fn is(key: &str, value: &str) -> Selector {
        Selector { requirements: vec![Requirement::In(key.into(), vec![value.into()])] }
    }

    fn policy(name: &str, pod: Option<Selector>, sa: Option<Selector>, groups: &[&str]) -> Policy {
        let groups = groups.iter().map(|g| GroupId::from(*g)).collect();
        Policy { name: name.into(), pod, service_account: sa, groups }
    }

    #[test]
    fn requirements() {
        let key = || "k".to_owned();
        let values = || vec!["a".to_owned(), "b".to_owned()];
        for (requirement, on_a, on_c, on_none) in [
            (Requirement::In(key(), values()), true, false, false),
            (Requirement::NotIn(key(), values()), false, true, true),
            (Requirement::Exists(key()), true, true, false),
            (Requirement::DoesNotExist(key()), false, false, true),
            (Requirement::In(key(), vec![]), false, false, false),
        ] {
            let holds = |text| requirement.holds(&labels(text));
            assert_eq!((holds("k=a"), holds("k=c"), holds("x=a")), (on_a, on_c, on_none));
        }
    }

    #[test]
    fn both_selectors_must_match() {
        let both = policy("p", Some(is("app", "db")), Some(is("role", "backend")), &["sg-1"]);
        assert!(both.selects(&labels("app=db"), &labels("role=backend")));
        assert!(!both.selects(&labels("app=db"), &labels("role=front")));
        assert!(!both.selects(&labels("app=web"), &labels("role=backend")));
    }

    #[test]
    fn one_selector_is_enough_and_labels_are_not_mixed_up() {
        let by_account = policy("p", None, Some(is("role", "backend")), &["sg-1"]);
        assert!(by_account.selects(&labels(""), &labels("role=backend")));
        assert!(!by_account.selects(&labels("role=backend"), &labels("")));
        let by_pod = policy("p", Some(is("role", "backend")), None, &["sg-1"]);
        assert!(by_pod.selects(&labels("role=backend"), &labels("")));
    }

    #[test]
    fn empty_matches_all_and_neither_matches_nothing() {
        assert!(
            policy("p", Some(Selector::default()), None, &[]).selects(&labels(""), &labels(""))
        );
        assert!(!policy("p", None, None, &["sg-1"]).selects(&labels("a=b"), &labels("a=b")));
    }

    #[test]
    fn union_is_stable_and_without_duplicates() {
        let all = Some(Selector::default());
        let policies = [
            policy("zeta", all.clone(), None, &["sg-3", "sg-1"]),
            policy("alpha", all.clone(), None, &["sg-2", "sg-1"]),
            policy("other", Some(is("app", "x")), None, &["sg-9"]),
        ];
        let got = select(&policies, &labels(""), &labels(""));
        assert_eq!(got.policies, ["alpha", "zeta"]);
        assert_eq!(got.groups, ["sg-2", "sg-1", "sg-3"].map(GroupId::from));
        let reversed = select(policies.iter().rev(), &labels(""), &labels(""));
        assert_eq!(reversed, got);
    }
}
