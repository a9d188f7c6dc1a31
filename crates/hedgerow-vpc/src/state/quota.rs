//! Quotas: what one account may have, with EC2's defaults ("Amazon VPC quotas", Amazon VPC User
//! Guide), each of them adjustable.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::api::error::Ec2Error;

/// Adjustable account limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quotas {
    /// Security groups on one interface; EC2's default is 5 and its maximum 16.
    pub groups_per_interface: usize,
    /// Rules per direction and address family in one security group.
    pub rules_per_group: usize,
    /// Elastic addresses in a region.
    pub elastic_addresses: usize,
    /// Elastic addresses of a public NAT gateway, the primary one too; EC2's maximum is 8.
    pub elastic_addresses_per_nat_gateway: usize,
    /// NAT gateways in an Availability Zone.
    pub nat_gateways_per_zone: usize,
    /// VPCs in a region, the default one too.
    pub vpcs: usize,
    /// IPv4 blocks of a VPC, the first one too.
    pub blocks_per_vpc: usize,
    /// Subnets of a VPC.
    pub subnets_per_vpc: usize,
    /// Security groups in a region.
    pub groups: usize,
    /// Route tables of a VPC, the main one too.
    pub route_tables_per_vpc: usize,
    /// Routes of a table that somebody made, of each address family.
    pub routes_per_table: usize,
    /// Network ACLs of a VPC, the default one too.
    pub network_acls_per_vpc: usize,
    /// Entries per direction of a network ACL.
    pub entries_per_acl: usize,
    /// Internet gateways in a region.
    pub internet_gateways: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            groups_per_interface: 5,
            rules_per_group: 60,
            elastic_addresses: 5,
            elastic_addresses_per_nat_gateway: 2,
            nat_gateways_per_zone: 5,
            vpcs: 5,
            blocks_per_vpc: 5,
            subnets_per_vpc: 200,
            groups: 2_500,
            route_tables_per_vpc: 200,
            routes_per_table: 500,
            network_acls_per_vpc: 200,
            entries_per_acl: 20,
            internet_gateways: 5,
        }
    }
}

/// A name on the command line, and what it sets.
type Named = (&'static str, fn(&mut Quotas) -> &mut usize);

const NAMES: &[Named] = &[
    ("blocks-per-vpc", |q| &mut q.blocks_per_vpc),
    ("elastic-addresses", |q| &mut q.elastic_addresses),
    ("elastic-addresses-per-nat-gateway", |q| &mut q.elastic_addresses_per_nat_gateway),
    ("entries-per-acl", |q| &mut q.entries_per_acl),
    ("groups", |q| &mut q.groups),
    ("groups-per-interface", |q| &mut q.groups_per_interface),
    ("internet-gateways", |q| &mut q.internet_gateways),
    ("nat-gateways-per-zone", |q| &mut q.nat_gateways_per_zone),
    ("network-acls-per-vpc", |q| &mut q.network_acls_per_vpc),
    ("route-tables-per-vpc", |q| &mut q.route_tables_per_vpc),
    ("routes-per-table", |q| &mut q.routes_per_table),
    ("rules-per-group", |q| &mut q.rules_per_group),
    ("subnets-per-vpc", |q| &mut q.subnets_per_vpc),
    ("vpcs", |q| &mut q.vpcs),
];

/// A text that sets no quota.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuota {
    /// It is not `NAME=NUMBER`.
    #[error("'{0}' is not NAME=NUMBER with a number above 0")]
    Form(String),
    /// There is no such quota.
    #[error("no quota has the name '{name}'; there are{names}", names = names())]
    Name {
        /// As it was given.
        name: String,
    },
}

fn names() -> String {
    NAMES.iter().fold(String::new(), |mut text, (name, _)| {
        let _ = write!(text, " {name}");
        text
    })
}

/// Quotas that together are more than EC2 gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{groups} groups per interface times {rules} rules per group is more than {most}; lower one of \
     them",
    most = Quotas::RULES_PER_INTERFACE
)]
pub struct TooManyRulesPerInterface {
    groups: usize,
    rules: usize,
}

impl Quotas {
    /// Most that groups per interface times rules per group can be. What the fabric can compile is a
    /// little more.
    pub const RULES_PER_INTERFACE: usize = 1_000;

    /// Sets the quota that a text `NAME=NUMBER` names.
    ///
    /// # Errors
    /// [`BadQuota`]
    pub fn set(&mut self, text: &str) -> Result<(), BadQuota> {
        let form = || BadQuota::Form(text.to_owned());
        let (name, number) = text.split_once('=').ok_or_else(form)?;
        let number = number.parse().ok().filter(|number| *number > 0).ok_or_else(form)?;
        let (_, field) = NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| BadQuota::Name { name: name.to_owned() })?;
        *field(self) = number;
        Ok(())
    }

    /// Whether the quotas go together.
    ///
    /// # Errors
    /// [`TooManyRulesPerInterface`]
    pub fn check(&self) -> Result<(), TooManyRulesPerInterface> {
        let (groups, rules) = (self.groups_per_interface, self.rules_per_group);
        match groups.saturating_mul(rules) <= Self::RULES_PER_INTERFACE {
            true => Ok(()),
            false => Err(TooManyRulesPerInterface { groups, rules }),
        }
    }
}

/// EC2's error unless there is room for one more of `what` beside those there are.
pub(crate) fn room(
    present: usize,
    quota: usize,
    code: &'static str,
    what: &str,
) -> Result<(), Ec2Error> {
    if present < quota {
        return Ok(());
    }
    Err(Ec2Error::new(code, format!("The maximum number of {what} has been reached.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_rules_per_interface() {
        let quotas = |groups_per_interface, rules_per_group| Quotas {
            groups_per_interface,
            rules_per_group,
            ..Quotas::default()
        };
        assert_eq!(Quotas::default().check(), Ok(()));
        assert_eq!(quotas(16, 60).check(), Ok(()));
        assert_eq!(quotas(1, 1_000).check(), Ok(()));
        let error = quotas(16, 63).check().expect_err("1,008");
        assert_eq!(
            error.to_string(),
            "16 groups per interface times 63 rules per group is more than 1000; lower one of them"
        );
    }

    #[test]
    fn quotas_are_set_by_name() {
        let mut quotas = Quotas::default();
        assert_eq!(quotas.set("vpcs=20"), Ok(()));
        assert_eq!(quotas, Quotas { vpcs: 20, ..Quotas::default() });
        for junk in ["vpcs", "vpcs=", "vpcs=0", "vpcs=-1", "vpcs=x"] {
            assert_eq!(quotas.set(junk), Err(BadQuota::Form(junk.into())), "{junk}");
        }
        let error = quotas.set("castles=1").expect_err("no such quota").to_string();
        assert!(error.starts_with("no quota has the name 'castles'; there are blocks-per-vpc "));
        assert_eq!(quotas.vpcs, 20);
    }

    #[test]
    fn a_snapshot_without_a_quota_gets_its_default() {
        let old = r#"{"groups_per_interface":9,"rules_per_group":60,"elastic_addresses":5}"#;
        let quotas: Quotas = serde_json::from_str(old).expect("read");
        assert_eq!(quotas, Quotas { groups_per_interface: 9, ..Quotas::default() });
    }
}
