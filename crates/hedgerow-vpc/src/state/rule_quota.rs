//! How groups per interface and rules per group bound each other.

use super::Quotas;

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
    /// Most that groups per interface times rules per group can be ("Amazon VPC quotas", Amazon VPC
    /// User Guide). What the fabric can compile is a little more.
    pub const RULES_PER_INTERFACE: usize = 1_000;

    /// Whether the quotas go together.
    ///
    /// # Errors
    /// [`TooManyRulesPerInterface`]
    pub fn check(&self) -> Result<(), TooManyRulesPerInterface> {
        let (groups, rules) = (self.groups_per_interface, self.rules_per_group);
        match groups * rules <= Self::RULES_PER_INTERFACE {
            true => Ok(()),
            false => Err(TooManyRulesPerInterface { groups, rules }),
        }
    }
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
}
