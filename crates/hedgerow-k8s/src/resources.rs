//! The custom resources, field for field as on EKS (REFERENCE.md §1).

use std::collections::BTreeMap;

use hedgerow_core::select::{Policy, Requirement, Selector};
use hedgerow_core::sg::GroupId;
use kube::{CustomResource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which pods of the namespace get which security groups.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "vpcresources.k8s.aws",
    version = "v1beta1",
    kind = "SecurityGroupPolicy",
    plural = "securitygrouppolicies",
    shortname = "sgp",
    namespaced,
    derive = "PartialEq",
    printcolumn = r#"{"name":"Security-Group-Ids","type":"string","description":"Security groups of the selected pods","jsonPath":".spec.securityGroups.groupIds"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct SecurityGroupPolicySpec {
    /// Tested against the labels of pods. `{}` matches every pod of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// Tested against the labels (not the name) of the pod's ServiceAccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_selector: Option<LabelSelector>,
    /// The groups for the pods selected.
    pub security_groups: GroupIds,
}

/// A list of security groups.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupIds {
    /// `sg-…`, one to sixteen (sixteen is the most that an interface can carry).
    #[schemars(length(min = 1, max = 16))]
    pub group_ids: Vec<String>,
}

/// Kubernetes' label selector. Conditions are joined by and; none means everything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be there with exactly this value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Expression>,
}

/// One condition of a label selector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Expression {
    /// The label's key.
    pub key: String,
    /// How the label is compared.
    pub operator: Operator,
    /// Values for `In` and `NotIn`; must be empty for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl From<&LabelSelector> for Selector {
    fn from(selector: &LabelSelector) -> Self {
        let labels = selector
            .match_labels
            .iter()
            .map(|(key, value)| Requirement::In(key.clone(), vec![value.clone()]));
        let expressions = selector.match_expressions.iter().map(|e| {
            let key = e.key.clone();
            match e.operator {
                Operator::In => Requirement::In(key, e.values.clone()),
                Operator::NotIn => Requirement::NotIn(key, e.values.clone()),
                Operator::Exists => Requirement::Exists(key),
                Operator::DoesNotExist => Requirement::DoesNotExist(key),
            }
        });
        Selector { requirements: labels.chain(expressions).collect() }
    }
}

impl From<&SecurityGroupPolicy> for Policy {
    fn from(policy: &SecurityGroupPolicy) -> Self {
        let spec = &policy.spec;
        Policy {
            name: policy.name_any(),
            pod: spec.pod_selector.as_ref().map(Selector::from),
            service_account: spec.service_account_selector.as_ref().map(Selector::from),
            groups: spec.security_groups.group_ids.iter().map(|g| GroupId(g.clone())).collect(),
        }
    }
}

/// What the agent and the controller tell each other of a node. Its name is the node's.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "vpcresources.k8s.aws",
    version = "v1alpha1",
    kind = "CNINode",
    plural = "cninodes",
    shortname = "cnd",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Features","type":"string","description":"What the node asks for","jsonPath":".spec.features"}"#
)]
pub struct CNINodeSpec {
    /// What the node's agent asks the controller for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<Feature>,
    /// Further tags for the interfaces made for the node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// One thing that a node asks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Feature {
    /// `SecurityGroupsForPods` or `CustomNetworking`; others are ignored.
    pub name: String,
    /// For `CustomNetworking`: the name of the ENIConfig.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
}

impl CNINodeSpec {
    /// The feature's value, if the node asks for it.
    pub fn feature(&self, name: &str) -> Option<&str> {
        self.features.iter().find(|f| f.name == name).map(|f| f.value.as_str())
    }
}

/// Subnet and groups for a node's further interfaces (custom networking).
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "crd.k8s.amazonaws.com",
    version = "v1alpha1",
    kind = "ENIConfig",
    plural = "eniconfigs",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ENIConfigSpec {
    /// `subnet-…`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subnet: String,
    /// `sg-…`; none: the primary interface's groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use hedgerow_core::select::Labels;

    #[test]
    fn a_policy_as_users_write_it_becomes_the_core_policy() {
        let policy: SecurityGroupPolicy = serde_json::from_value(serde_json::json!({
            "apiVersion": "vpcresources.k8s.aws/v1beta1", "kind": "SecurityGroupPolicy",
            "metadata": {"name": "my-policy", "namespace": "default"},
            "spec": {
                "podSelector": {},
                "serviceAccountSelector": {
                    "matchLabels": {"role": "backend"},
                    "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["test"]}]},
                "securityGroups": {"groupIds": ["sg-1", "sg-2"]}}
        }))
        .unwrap();
        let core = Policy::from(&policy);
        assert_eq!((core.name.as_str(), core.groups.len()), ("my-policy", 2));
        let labels = |pairs: &[(&str, &str)]| -> Labels {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        assert!(core.selects(&labels(&[]), &labels(&[("role", "backend")])));
        assert!(!core.selects(&labels(&[]), &labels(&[("role", "backend"), ("tier", "test")])));
    }
}
