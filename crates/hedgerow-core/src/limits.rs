//! What an instance type can carry: interfaces, addresses, branch interfaces.
//!
//! The table is the project's own (`data/instance-types.csv`); `max_enis` and `ipv4_per_eni` are
//! what DescribeInstanceTypes returns, `branch_enis` has no formula.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct InstanceType {
    /// `m5.xlarge`.
    #[serde(rename = "instance_type")]
    pub name: String,
    /// `nitro`, `xen`, or empty for bare metal.
    pub hypervisor: String,
    /// Whether it is bare metal.
    #[serde(deserialize_with = "flag")]
    pub bare_metal: bool,
    /// Interfaces an instance can have, the trunk included. 0, as in the next three columns: not
    /// known (three types that DescribeInstanceTypes no longer lists).
    #[serde(deserialize_with = "number")]
    pub max_enis: u32,
    /// IPv4 addresses an interface can have, its primary one included.
    #[serde(deserialize_with = "number")]
    pub ipv4_per_eni: u32,
    /// Virtual CPUs.
    #[serde(deserialize_with = "number")]
    pub vcpus: u32,
    /// Memory, MiB.
    #[serde(deserialize_with = "number")]
    pub memory_mib: u64,
    /// Branch interfaces a trunk of this type carries; `None`: no trunk as far as is known.
    pub branch_enis: Option<u32>,
}

impl InstanceType {
    /// How many pods the kubelet should accept, those with branch interfaces not counted:
    /// interfaces × (addresses − 1) + 2 (the two host-network DaemonSets of a node).
    pub fn max_pods(&self) -> u32 {
        self.max_enis * self.ipv4_per_eni.saturating_sub(1) + 2
    }

    /// IPv6 addresses an interface can have: as many as IPv4 addresses, and none on the families that
    /// were there before IPv6 ("Maximum IP addresses per network interface", Amazon EC2 User Guide).
    pub fn ipv6_per_eni(&self) -> u32 {
        let family = self.name.split('.').next().unwrap_or_default();
        if WITHOUT_IPV6.contains(&family) { 0 } else { self.ipv4_per_eni }
    }

    /// Whether the type can have a trunk.
    pub fn supports_trunk(&self) -> bool {
        self.branch_enis.is_some_and(|n| n > 0)
    }
}

/// Families that know IPv4 only.
const WITHOUT_IPV6: &[&str] = &["c1", "cc2", "cr1", "g2", "hs1", "m1", "m2", "m3", "t1"];

fn flag<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(u8::deserialize(deserializer)? != 0)
}

fn number<'de, D, N>(deserializer: D) -> Result<N, D::Error>
where
    D: serde::Deserializer<'de>,
    N: Deserialize<'de> + Default,
{
    Ok(Option::<N>::deserialize(deserializer)?.unwrap_or_default())
}

static TABLE: LazyLock<BTreeMap<String, InstanceType>> = LazyLock::new(|| {
    csv::Reader::from_reader(include_bytes!("../data/instance-types.csv").as_slice())
        .deserialize()
        .map(|row: Result<InstanceType, _>| row.expect("the embedded table parses (unit-tested)"))
        .map(|row| (row.name.clone(), row))
        .collect()
});

/// The type's row, if the table has it.
pub fn instance_type(name: &str) -> Option<&'static InstanceType> {
    TABLE.get(name)
}

/// Every type, by name.
pub fn instance_types() -> impl Iterator<Item = &'static InstanceType> {
    TABLE.values()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table_parses() {
        assert_eq!(instance_types().count(), 1398);
    }

    #[test]
    fn known_types() {
        for (name, pods, branches) in [
            ("m5.large", 29, Some(9)),
            ("m5.xlarge", 58, Some(18)),
            ("c5.4xlarge", 234, Some(54)),
            ("t3.medium", 17, None),
        ] {
            let row = instance_type(name).expect(name);
            assert_eq!((row.max_pods(), row.branch_enis), (pods, branches), "{name}");
        }
    }
}
