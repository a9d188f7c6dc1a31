//! What is set on instances and elastic addresses with actions of their own.

use crate::scenario::Scenario;

const RUN: &str = "RunInstances ImageId=ami-1 InstanceType=m5.large MinCount=1 MaxCount=1";

#[test]
fn monitoring() {
    Scenario::with_instance("m5.large")
        .fails("MissingParameter", "MonitorInstances")
        .fails("InvalidInstanceID.NotFound", "MonitorInstances InstanceId.1=i-1")
        .fails("InvalidInstanceID.NotFound", "UnmonitorInstances InstanceId.1=i-1")
        .fails("DryRunOperation", "MonitorInstances InstanceId.1={i} DryRun=true")
        .shows("MonitorInstances InstanceId.1={i}", "state", "pending")
        .ok("DescribeInstances Filter.1.Name=monitoring-state Filter.1.Value.1=enabled")
        .name("i", "instanceId")
        .shows("UnmonitorInstances InstanceId.1={i}", "state", "disabling")
        .shows(
            "DescribeInstances Filter.1.Name=monitoring-state Filter.1.Value.1=enabled",
            "instanceId",
            "",
        )
        .ok("TerminateInstances InstanceId.1={i}")
        .fails("IncorrectInstanceState", "MonitorInstances InstanceId.1={i}");
}

#[test]
fn the_console_is_empty() {
    let scenario = Scenario::with_instance("m5.large")
        .fails("InvalidInstanceID.NotFound", "GetConsoleOutput InstanceId=i-1")
        .fails("DryRunOperation", "GetConsoleOutput InstanceId={i} DryRun=true")
        .shows("GetConsoleOutput InstanceId={i}", "timestamp", "2027-01-15T08:00:00.000Z")
        .ok("GetConsoleOutput InstanceId={i} Latest=true");
    assert!(scenario.body().contains("<output></output>"), "{}", scenario.body());
}

#[test]
fn names() {
    let modify = "ModifyPrivateDnsNameOptions InstanceId={i}";
    let of = "DescribeInstances InstanceId.1={i}";
    Scenario::with_instance("m5.large")
        .fails(
            "InvalidInstanceID.NotFound",
            "ModifyPrivateDnsNameOptions InstanceId=i-1 EnableResourceNameDnsARecord=true",
        )
        .fails("InvalidParameterValue", &format!("{modify} PrivateDnsHostnameType=castle"))
        .fails("IncorrectInstanceState", &format!("{modify} PrivateDnsHostnameType=resource-name"))
        .fails(
            "DryRunOperation",
            &format!("{modify} EnableResourceNameDnsARecord=true DryRun=true"),
        )
        .ok(&format!("{modify} EnableResourceNameDnsARecord=true"))
        .shows(of, "enableResourceNameDnsARecord", "true")
        .shows(of, "enableResourceNameDnsAAAARecord", "false")
        .ok("StopInstances InstanceId.1={i}")
        .ok(&format!("{modify} PrivateDnsHostnameType=resource-name"))
        .shows(of, "hostnameType", "resource-name")
        .shows(
            "DescribeInstances Filter.1.Name=private-dns-name \
             Filter.1.Value.1={i}.us-west-2.compute.internal",
            "instanceId",
            "{i}",
        )
        // A launch is called as its subnet says, unless it says otherwise.
        .ok("ModifySubnetAttribute SubnetId={subnet} PrivateDnsHostnameTypeOnLaunch=resource-name")
        .shows(&format!("{RUN} SubnetId={{subnet}}"), "hostnameType", "resource-name")
        .shows(
            &format!("{RUN} SubnetId={{subnet}} PrivateDnsNameOptions.HostnameType=ip-name"),
            "hostnameType",
            "ip-name",
        )
        .fails(
            "InvalidParameterValue",
            &format!("{RUN} SubnetId={{subnet}} PrivateDnsNameOptions.HostnameType=castle"),
        );
}

#[test]
fn maintenance() {
    let modify = "ModifyInstanceMaintenanceOptions InstanceId={i}";
    Scenario::with_instance("m5.large")
        .shows(&format!("{modify} AutoRecovery=default"), "autoRecovery", "default")
        .fails("UnsupportedOperation", &format!("{modify} AutoRecovery=disabled"))
        .fails("InvalidParameterValue", &format!("{modify} RebootMigration=castle"))
        .fails("DryRunOperation", &format!("{modify} DryRun=true"))
        .fails("InvalidInstanceID.NotFound", "ModifyInstanceMaintenanceOptions InstanceId=i-1");
}

#[test]
fn credits() {
    let describe = "DescribeInstanceCreditSpecifications";
    let run =
        "RunInstances ImageId=ami-1 MinCount=1 MaxCount=1 SubnetId={subnet} InstanceType=t3.micro";
    Scenario::with_instance("m5.large")
        .make("t", "instanceId", run)
        .make("standard", "instanceId", &format!("{run} CreditSpecification.CpuCredits=standard"))
        .shows(describe, "instanceId", "{t}")
        .shows(&format!("{describe} InstanceId.1={{standard}}"), "cpuCredits", "standard")
        .fails("InvalidParameterCombination", &format!("{describe} InstanceId.1={{i}}"))
        .fails("InvalidInstanceID.NotFound", &format!("{describe} InstanceId.1=i-1"))
        .fails("InvalidParameterValue", &format!("{describe} Filter.1.Name=x Filter.1.Value.1=x"));
}

#[test]
fn metadata_defaults() {
    let modify = "ModifyInstanceMetadataDefaults";
    let run = format!("{RUN} SubnetId={{subnet}}");
    Scenario::with_subnet()
        .shows("GetInstanceMetadataDefaults", "httpTokens", "")
        .shows("GetInstanceMetadataDefaults", "managedBy", "account")
        .fails("InvalidParameterValue", &format!("{modify} HttpTokens=castle"))
        .fails("InvalidParameterValue", &format!("{modify} HttpPutResponseHopLimit=65"))
        .fails("InvalidParameterValue", &format!("{modify} HttpTokensEnforced=castle"))
        .fails("DryRunOperation", &format!("{modify} HttpTokens=required DryRun=true"))
        .ok(&format!("{modify} HttpTokens=required HttpPutResponseHopLimit=3"))
        .shows("GetInstanceMetadataDefaults", "httpPutResponseHopLimit", "3")
        .shows(&run, "httpTokens", "required")
        .shows(&run, "httpPutResponseHopLimit", "3")
        .shows(&format!("{run} MetadataOptions.HttpTokens=optional"), "httpTokens", "optional")
        .ok(&format!("{modify} HttpTokensEnforced=enabled"))
        .shows("GetInstanceMetadataDefaults", "httpTokensEnforced", "enabled")
        .fails("UnsupportedOperation", &format!("{run} MetadataOptions.HttpTokens=optional"))
        .ok(&format!("{modify} HttpTokens=no-preference HttpPutResponseHopLimit=-1"))
        .ok(&format!("{modify} HttpTokensEnforced=no-preference"))
        .shows(&run, "httpTokens", "optional")
        .shows(&run, "httpPutResponseHopLimit", "1");
}

#[test]
fn reverse_names_of_addresses() {
    let modify = "ModifyAddressAttribute AllocationId={eip}";
    Scenario::empty()
        .make("eip", "allocationId", "AllocateAddress")
        .fails("MissingParameter", modify)
        .fails("InvalidParameterValue", &format!("{modify} DomainName=a..b"))
        .fails(
            "InvalidAllocationID.NotFound",
            "ModifyAddressAttribute AllocationId=eipalloc-1 DomainName=a.b",
        )
        .fails("DryRunOperation", &format!("{modify} DomainName=mail.example.com DryRun=true"))
        .shows(&format!("{modify} DomainName=Mail.example.com"), "ptrRecord", "mail.example.com.")
        .shows("DescribeAddressesAttribute Attribute=domain-name", "ptrRecord", "mail.example.com.")
        .fails("InvalidParameterValue", "DescribeAddressesAttribute Attribute=castle")
        .fails(
            "InvalidAllocationID.NotFound",
            "DescribeAddressesAttribute AllocationId.1=eipalloc-1",
        )
        .fails("InvalidParameterValue", "ResetAddressAttribute AllocationId={eip} Attribute=castle")
        .fails(
            "InvalidAllocationID.NotFound",
            "ResetAddressAttribute AllocationId=eipalloc-1 Attribute=domain-name",
        )
        .shows("ResetAddressAttribute AllocationId={eip} Attribute=domain-name", "ptrRecord", "")
        .shows("DescribeAddressesAttribute AllocationId.1={eip}", "ptrRecord", "");
}

#[test]
fn an_address_that_was_released_can_be_had_again() {
    Scenario::empty()
        .make("eip", "allocationId", "AllocateAddress")
        .name("ip", "publicIp")
        .fails("InvalidAddress.NotFound", "AllocateAddress Address={ip}")
        .fails("InvalidAddress.NotFound", "AllocateAddress Address=203.0.113.1")
        .fails("UnsupportedOperation", "AllocateAddress IpamPoolId=ipam-pool-1")
        .ok("ReleaseAddress AllocationId={eip}")
        .shows("AllocateAddress Address={ip}", "publicIp", "{ip}");
}

#[test]
fn tags_that_metadata_shows_have_plain_keys() {
    let tag = |key: &str| format!("CreateTags ResourceId.1={{i}} Tag.1.Key={key}");
    let show = |yes: &str| {
        format!("ModifyInstanceMetadataOptions InstanceId={{i}} InstanceMetadataTags={yes}")
    };
    let launch = |key: &str| {
        format!(
            "{RUN} MetadataOptions.InstanceMetadataTags=enabled \
             TagSpecification.1.ResourceType=instance TagSpecification.1.Tag.1.Key={key}"
        )
    };
    let message = "'k8s.io/role' is not a valid tag key. Tag keys must match pattern \
                   ([0-9a-zA-Z\\-_+=,.@:]{1,255}), and must not be a reserved name ('.', '..', \
                   '_index')";
    Scenario::with_instance("m5.large")
        .ok(&tag("k8s.io/role"))
        .fails("InvalidParameterValue", &show("enabled"))
        .says(message, &show("enabled"))
        .ok(&show("disabled"))
        .ok("DeleteTags ResourceId.1={i}")
        .ok(&show("enabled"))
        .says(message, &tag("k8s.io/role"))
        .fails("InvalidParameterValue", &tag("_index"))
        .ok(&tag("team:a-b_c.d@e=f,g"))
        .ok("CreateTags ResourceId.1={vpc} Tag.1.Key=k8s.io/role")
        .says(message, &launch("k8s.io/role"))
        .ok(&launch("role"));
}
