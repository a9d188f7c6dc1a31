//! Parameters that EC2 knows and this VPC cannot honour.
//!
//! A parameter that EC2 does not know is `UnknownParameter`. Of those it knows, each is one of:
//!
//! - **honoured**: what it says happens, or is kept, shown, and guards later calls (termination
//!   protection, metadata options, user data, timeouts, …);
//! - **kept only**: RunInstances' `EbsOptimized`, `Monitoring`, `IamInstanceProfile`, `KeyName`,
//!   `CreditSpecification`: described as given, though there is no disk, CloudWatch, IAM, login or
//!   CPU credit behind it, because nothing that this VPC promises depends on it;
//! - **accepted and dropped**: RunInstances' `BlockDeviceMapping` and tags for volumes (an instance
//!   here has no disks), `Force` of DetachNetworkInterface and of StopInstances and
//!   `SkipOsShutdown` (both are immediate here), and values that ask for EC2's default (`Tenancy`
//!   `default`, `HibernationOptions.Configured` `false`, …);
//! - **refused** with `UnsupportedOperation` by [`refuse`]: everything else.

use serde::de::IgnoredAny;

use crate::api::error::Ec2Error;

/// A parameter of which only matters whether it was given.
pub(crate) type Given = Option<IgnoredAny>;

/// `UnsupportedOperation` for the first of these parameters that was given.
pub(crate) fn refuse(parameters: &[(&str, bool)]) -> Result<(), Ec2Error> {
    match parameters.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((name, _)) => {
            let message =
                format!("The parameter {name} cannot be honoured by this VPC; leave it out");
            Err(Ec2Error::new("UnsupportedOperation", message))
        }
    }
}
