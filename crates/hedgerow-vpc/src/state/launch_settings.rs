//! What a launch says of its instances beside their network: settings, names, metadata, profile.

use hedgerow_core::limits::InstanceType;

use super::Region;
use super::instance::{MetadataOptions, Settings};
use super::instance_attribute::MetadataSpec;
use super::launch::{DnsNames, Placement, ProfileSpec, RunInstances};
use super::subnet::Subnet;
use super::subnet_attribute::LaunchNames;
use super::unsupported::refuse;
use crate::api::error::Ec2Error;

/// `UnsupportedOperation` for what this VPC cannot honour; values that ask for what an instance has
/// anyway pass.
pub(super) fn refuse_what_cannot_be(request: &RunInstances) -> Result<(), Ec2Error> {
    let other = |given: Option<&String>, usual: &str| given.is_some_and(|text| text != usual);
    let capacity = request.capacity_reservation_specification.as_ref();
    let maintenance = request.maintenance_options.as_ref();
    let performance = request.network_performance_options.as_ref();
    if let Some(placement) = &request.placement {
        check_placement(placement)?;
    }
    refuse(&[
        ("CpuOptions", request.cpu_options.is_some()),
        ("LaunchTemplate", request.launch_template.is_some()),
        ("InstanceMarketOptions", request.instance_market_options.is_some()),
        ("LicenseSpecification", request.licenses.is_some()),
        ("SecondaryInterface", request.secondary_interfaces.is_some()),
        ("ElasticGpuSpecification", request.elastic_gpu_specification.is_some()),
        ("ElasticInferenceAccelerator", request.elastic_inference_accelerator.is_some()),
        ("KernelId", request.kernel_id.is_some()),
        ("RamdiskId", request.ramdisk_id.is_some()),
        ("Operator", request.operator.is_some()),
        ("AdditionalInfo", request.additional_info.is_some()),
        (
            "HibernationOptions.Configured",
            request.hibernation_options.as_ref().is_some_and(|options| options.configured),
        ),
        (
            "EnclaveOptions.Enabled",
            request.enclave_options.as_ref().is_some_and(|options| options.enabled),
        ),
        (
            "MaintenanceOptions.AutoRecovery",
            other(maintenance.and_then(|m| m.auto_recovery.as_ref()), "default"),
        ),
        (
            "NetworkPerformanceOptions.BandwidthWeighting",
            other(performance.and_then(|p| p.bandwidth_weighting.as_ref()), "default"),
        ),
        (
            "CapacityReservationSpecification",
            capacity.is_some_and(|c| {
                c.capacity_reservation_target.is_some()
                    || c.capacity_reservation_preference.as_deref()
                        == Some("capacity-reservations-only")
            }),
        ),
    ])
}

fn check_placement(placement: &Placement) -> Result<(), Ec2Error> {
    refuse(&[
        ("Placement.Tenancy", placement.tenancy.as_ref().is_some_and(|t| t != "default")),
        ("Placement.GroupName", placement.group_name.as_ref().is_some_and(|g| !g.is_empty())),
        ("Placement.GroupId", placement.group_id.is_some()),
        ("Placement.Affinity", placement.affinity.is_some()),
        ("Placement.PartitionNumber", placement.partition_number.is_some()),
        ("Placement.HostId", placement.host_id.is_some()),
        ("Placement.HostResourceGroupArn", placement.host_resource_group_arn.is_some()),
        ("Placement.SpreadDomain", placement.spread_domain.is_some()),
    ])
}

/// What the launch sets beside the network.
pub(super) fn settings(
    request: &RunInstances,
    limits: &InstanceType,
) -> Result<Settings, Ec2Error> {
    let mut settings = Settings {
        termination_protection: request.disable_api_termination == Some(true),
        stop_protection: request.disable_api_stop == Some(true),
        ebs_optimized: request.ebs_optimized == Some(true),
        monitoring: request.monitoring.as_ref().is_some_and(|monitoring| monitoring.enabled),
        ..Settings::default()
    };
    if let Some(name) = &request.instance_initiated_shutdown_behavior {
        settings.set_shutdown_behavior(name)?;
    }
    if let Some(spec) = &request.credit_specification {
        let credits = spec.cpu_credits.as_str();
        if !matches!(credits, "standard" | "unlimited") {
            let why = "It is standard or unlimited.";
            return Err(Ec2Error::value("creditSpecification.cpuCredits", credits, why));
        }
        if !limits.name.starts_with('t') {
            let message = format!("{} has no CPU credits", limits.name);
            return Err(Ec2Error::new("InvalidParameterCombination", message));
        }
        settings.cpu_credits = Some(credits.to_owned());
    }
    Ok(settings)
}

/// How the instances are called: as the request says, and as the subnet says where it does not.
pub(super) fn names(subnet: &Subnet, wanted: Option<&DnsNames>) -> Result<LaunchNames, Ec2Error> {
    let mut names = subnet.names;
    let Some(wanted) = wanted else { return Ok(names) };
    if let Some(name) = &wanted.hostname_type {
        names.set_hostname_type("privateDnsNameOptions.hostnameType", name)?;
    }
    names.a_record = wanted.a_record.unwrap_or(names.a_record);
    names.aaaa_record = wanted.aaaa_record.unwrap_or(names.aaaa_record);
    Ok(names)
}

/// Metadata options: as the request says, else as the account's defaults say, else EC2's.
pub(super) fn metadata(
    region: &Region,
    spec: Option<&MetadataSpec>,
) -> Result<MetadataOptions, Ec2Error> {
    let usual = MetadataOptions {
        token_required: false,
        hop_limit: 1,
        enabled: true,
        tags: false,
        ipv6: false,
    };
    let usual = usual.changed(&region.metadata_defaults.spec())?;
    let options = spec.map_or(Ok(usual.clone()), |spec| usual.changed(spec))?;
    region.metadata_defaults.check(&options)?;
    Ok(options)
}

/// The name of a profile. There are no profiles to look it up among: every name is one.
pub(super) fn profile(spec: &ProfileSpec) -> Result<String, Ec2Error> {
    let (parameter, given, name) = match (&spec.name, &spec.arn) {
        (Some(name), None) => ("iamInstanceProfile.name", name, Some(name.as_str())),
        (None, Some(arn)) => {
            let name = arn.split_once(":instance-profile/").map(|(_, path)| path);
            let name = name.map(|path| path.rsplit('/').next().unwrap_or(path));
            ("iamInstanceProfile.arn", arn, name)
        }
        _ => {
            let message = "An instance profile is named by its name or by its ARN";
            return Err(Ec2Error::new("InvalidParameterCombination", message));
        }
    };
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"+=,.@_-".contains(&c);
    let good = |name: &&str| (1..=128).contains(&name.len()) && name.bytes().all(plain);
    let name = name.filter(good).map(str::to_owned);
    name.ok_or_else(|| Ec2Error::value(parameter, given, "Invalid IAM Instance Profile name"))
}
