//! The operator's settings: environment variables with the names and defaults of the Amazon VPC CNI.

use hedgerow_core::planner::Targets;
use hedgerow_core::sg::Ipv4Prefix;

/// How branch pods' local traffic is treated. Only strict is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcing {
    /// Everything to and from the pod crosses the VPC and is judged there.
    Strict,
    /// Local traffic stays on the node. Not built: the agent runs strict, which refuses more and
    /// never less, and says so.
    Standard,
}

/// Every setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `MY_NODE_NAME`.
    pub node_name: String,
    /// `CLUSTER_NAME`; names interfaces' tags.
    pub cluster_name: String,
    /// `ENABLE_POD_ENI`. While it is off, policies do not apply on this node (as on EKS).
    pub pod_eni: bool,
    /// `POD_SECURITY_GROUP_ENFORCING_MODE`.
    pub enforcing: Enforcing,
    /// `WARM_ENI_TARGET`, `WARM_IP_TARGET`, `MINIMUM_IP_TARGET`.
    pub targets: Targets,
    /// `MAX_ENI`: fewer interfaces than the instance type has.
    pub max_enis: Option<u32>,
    /// `AWS_VPC_ENI_MTU`, of ENIs and pods.
    pub mtu: u32,
    /// `SERVICE_CIDRS` (ours, comma-separated): Service prefixes where the API server has no
    /// ServiceCIDR objects (before Kubernetes 1.33).
    pub service_cidrs: Vec<Ipv4Prefix>,
    /// `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub imds: String,
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Must be set and is not.
    #[error("environment variable {0} is not set (deploy/aws-node.yaml sets it)")]
    Missing(&'static str),
    /// Has a value that does not parse.
    #[error("environment variable {key}: '{value}' is not {expected}")]
    Bad {
        /// The variable.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

/// Default instance metadata endpoint.
fn default_imds() -> String {
    format!("http://{}", hedgerow_core::names::IMDS_V4)
}

impl Settings {
    /// Reads the settings through `env`; an empty value counts as not set.
    pub fn read(env: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let get = |key: &str| env(key).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let number = |key: &'static str| {
            get(key)
                .map(|value| {
                    let bad =
                        SettingsError::Bad { key, value: value.clone(), expected: "a number" };
                    value.parse::<u32>().map_err(|_| bad)
                })
                .transpose()
        };
        let enforcing = match get("POD_SECURITY_GROUP_ENFORCING_MODE").as_deref() {
            None | Some("strict") => Enforcing::Strict,
            Some("standard") => Enforcing::Standard,
            Some(value) => {
                let (key, value) = ("POD_SECURITY_GROUP_ENFORCING_MODE", value.to_owned());
                return Err(SettingsError::Bad { key, value, expected: "strict or standard" });
            }
        };
        let mtu = number("AWS_VPC_ENI_MTU")?.unwrap_or(9001);
        if !(576..=9001).contains(&mtu) {
            let value = mtu.to_string();
            let expected = "between 576 and 9001";
            return Err(SettingsError::Bad { key: "AWS_VPC_ENI_MTU", value, expected });
        }
        Ok(Self {
            node_name: get("MY_NODE_NAME").ok_or(SettingsError::Missing("MY_NODE_NAME"))?,
            cluster_name: get("CLUSTER_NAME").unwrap_or_default(),
            pod_eni: flag("ENABLE_POD_ENI", get("ENABLE_POD_ENI"))?,
            enforcing,
            targets: Targets {
                warm_enis: number("WARM_ENI_TARGET")?.unwrap_or(1),
                warm_ips: number("WARM_IP_TARGET")?.filter(|n| *n > 0),
                minimum_ips: number("MINIMUM_IP_TARGET")?.filter(|n| *n > 0),
            },
            max_enis: number("MAX_ENI")?.filter(|n| *n > 0),
            mtu,
            service_cidrs: prefixes("SERVICE_CIDRS", get("SERVICE_CIDRS"))?,
            imds: get("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(default_imds),
        })
    }
}

fn flag(key: &'static str, value: Option<String>) -> Result<bool, SettingsError> {
    match value.as_deref() {
        None | Some("false" | "False" | "0") => Ok(false),
        Some("true" | "True" | "1") => Ok(true),
        Some(other) => {
            Err(SettingsError::Bad { key, value: other.to_owned(), expected: "true or false" })
        }
    }
}

fn prefixes(key: &'static str, value: Option<String>) -> Result<Vec<Ipv4Prefix>, SettingsError> {
    let value = value.unwrap_or_default();
    let texts = value.split(',').map(str::trim).filter(|t| !t.is_empty());
    let bad = || SettingsError::Bad {
        key,
        value: value.clone(),
        expected: "a comma-separated list of IPv4 prefixes",
    };
    texts.map(|t| t.parse().map_err(|_| bad())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::read(|key| {
            let given = pairs.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned());
            given.or_else(|| (key == "MY_NODE_NAME").then(|| "n1".to_owned()))
        })
    }

    #[test]
    fn defaults_are_those_of_eks() {
        let s = read(&[]).unwrap();
        assert!(!s.pod_eni);
        assert_eq!((s.enforcing, s.mtu), (Enforcing::Strict, 9001));
        assert_eq!(s.targets, Targets { warm_enis: 1, warm_ips: None, minimum_ips: None });
        assert_eq!(s.imds, "http://169.254.169.254");
    }

    #[test]
    fn values() {
        let s = read(&[
            ("ENABLE_POD_ENI", "true"),
            ("WARM_IP_TARGET", "5"),
            ("MINIMUM_IP_TARGET", ""),
            ("SERVICE_CIDRS", "10.100.0.0/16, 10.101.0.0/16"),
        ])
        .unwrap();
        assert!(s.pod_eni);
        assert_eq!((s.targets.warm_ips, s.targets.minimum_ips), (Some(5), None));
        assert_eq!(s.service_cidrs.len(), 2);
    }

    #[test]
    fn nonsense_is_refused() {
        for (key, value) in [
            ("ENABLE_POD_ENI", "yes please"),
            ("WARM_ENI_TARGET", "-1"),
            ("AWS_VPC_ENI_MTU", "20"),
            ("POD_SECURITY_GROUP_ENFORCING_MODE", "lax"),
            ("SERVICE_CIDRS", "10.0.0.0"),
        ] {
            let error = read(&[(key, value)]).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
        assert!(matches!(Settings::read(|_| None), Err(SettingsError::Missing("MY_NODE_NAME"))));
    }
}
