//! Launching, describing and terminating instances.

use hedgerow_vpc::effect::{Attachment, Effect};

use crate::scenario::Scenario;

const RUN: &str = "RunInstances ImageId=ami-1 InstanceType=m5.large MinCount=1 MaxCount=1";

#[test]
fn a_launch_makes_the_namespace_then_plugs_in() {
    Scenario::with_instance("m5.xlarge");
    let scenario = Scenario::with_subnet().ok(&format!(
        "{RUN} SubnetId={{subnet}} TagSpecification.1.ResourceType=instance \
         TagSpecification.1.Tag.1.Key=Name TagSpecification.1.Tag.1.Value=node"
    ));
    scenario
        .effects(|effects| {
            let [Effect::StartInstance { instance }, Effect::PutInterface(view)] = effects else {
                panic!("{effects:?}")
            };
            let plugged = Attachment::Instance { instance: instance.clone(), device_index: 0 };
            assert_eq!(view.attachment, Some(plugged));
        })
        .shows("DescribeInstances Filter.1.Name=tag:Name Filter.1.Value.1=node", "name", "running")
        .shows("DescribeInstances", "privateDnsName", "ip-10-0-1-4.us-west-2.compute.internal");
}

#[test]
fn several_interfaces() {
    Scenario::with_subnet()
        .make("eni", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .ok(&format!(
            "{RUN} NetworkInterface.1.DeviceIndex=1 NetworkInterface.1.SubnetId={{subnet}} \
             NetworkInterface.1.SecondaryPrivateIpAddressCount=2 \
             NetworkInterface.2.DeviceIndex=0 NetworkInterface.2.NetworkInterfaceId={{eni}}"
        ))
        .name("i", "instanceId")
        .shows("DescribeInstances", "deviceIndex", "0 1")
        .ok("TerminateInstances InstanceId.1={i}")
        .shows("DescribeNetworkInterfaces", "networkInterfaceId", "{eni}");
}

#[test]
fn impossible_launches() {
    let with = |more: &str| format!("{RUN} {more}");
    let mut scenario = Scenario::with_instance("m5.large");
    let eni = "NetworkInterface.1.DeviceIndex=0 NetworkInterface.1.NetworkInterfaceId={eth0}";
    for (code, request) in [
        ("MissingParameter", "RunInstances MinCount=1 MaxCount=1".to_owned()),
        ("InvalidAMIID.Malformed", "RunInstances ImageId=x MinCount=1 MaxCount=1".to_owned()),
        (
            "InvalidParameterValue",
            "RunInstances ImageId=ami-1 InstanceType=m5.castle MinCount=1 MaxCount=1".to_owned(),
        ),
        ("InvalidParameterValue", "RunInstances ImageId=ami-1 MinCount=0 MaxCount=1".to_owned()),
        ("InvalidParameterValue", "RunInstances ImageId=ami-1 MinCount=2 MaxCount=1".to_owned()),
        ("InvalidSubnetID.NotFound", with("SubnetId=subnet-1")),
        ("InvalidGroup.NotFound", with("SubnetId={subnet} SecurityGroupId.1=sg-1")),
        ("InvalidNetworkInterface.InUse", with(eni)),
        ("InvalidParameterCombination", with(&format!("{eni} SubnetId={{subnet}}"))),
        (
            "InvalidParameterCombination",
            with("NetworkInterface.1.DeviceIndex=1 NetworkInterface.1.SubnetId={subnet}"),
        ),
        (
            "InvalidParameterCombination",
            with("SubnetId={subnet} Placement.AvailabilityZone=us-west-2b"),
        ),
        (
            "PrivateIpAddressLimitExceeded",
            with(
                "NetworkInterface.1.DeviceIndex=0 NetworkInterface.1.SubnetId={subnet} \
                  NetworkInterface.1.SecondaryPrivateIpAddressCount=10",
            ),
        ),
        (
            "UnsupportedOperation",
            with(
                "NetworkInterface.1.DeviceIndex=0 \
                 NetworkInterface.1.AssociateCarrierIpAddress=true",
            ),
        ),
        (
            "InvalidParameterValue",
            with("SubnetId={subnet} MetadataOptions.HttpPutResponseHopLimit=65"),
        ),
    ] {
        scenario = scenario.fails(code, &request);
    }
}

#[test]
fn named_addresses_are_not_given_to_others_of_the_launch() {
    Scenario::with_subnet()
        .ok(&format!(
            "{RUN} NetworkInterface.1.DeviceIndex=0 NetworkInterface.1.SubnetId={{subnet}} \
             NetworkInterface.2.DeviceIndex=1 NetworkInterface.2.SubnetId={{subnet}} \
             NetworkInterface.2.PrivateIpAddress=10.0.1.4"
        ))
        .shows(
            "DescribeNetworkInterfaces Filter.1.Name=attachment.device-index Filter.1.Value.1=1",
            "privateIpAddress",
            "10.0.1.4 10.0.1.4",
        );
}

#[test]
fn as_many_as_fit() {
    Scenario::with_subnet()
        .make("small", "subnetId", "CreateSubnet VpcId={vpc} CidrBlock=10.0.2.0/28")
        .ok("RunInstances ImageId=ami-1 InstanceType=m5.large MinCount=2 MaxCount=100 SubnetId={small}")
        .shows("DescribeInstances", "amiLaunchIndex", "0 1 2 3 4 5 6 7 8 9 10");
}

#[test]
fn terminating() {
    Scenario::with_instance("m5.large")
        .shows("TerminateInstances InstanceId.1={i}", "code", "48 16")
        .effects(|effects| {
            assert!(matches!(effects, [Effect::RemoveInterface(_), Effect::RemoveInstance { .. }]));
        })
        .shows("TerminateInstances InstanceId.1={i}", "code", "48 48")
        .shows("DescribeInstances InstanceId.1={i}", "name", "terminated")
        .shows("DescribeInstanceStatus", "instanceId", "")
        .shows("DescribeInstanceStatus IncludeAllInstances=true", "instanceId", "{i}")
        .shows(
            "DescribeInstances Filter.1.Name=instance-state-name Filter.1.Value.1=running",
            "instanceId",
            "",
        )
        .make("eni", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .fails(
            "IncorrectInstanceState",
            "AttachNetworkInterface NetworkInterfaceId={eni} InstanceId={i} DeviceIndex=1",
        )
        .later(3_601)
        .ok("DescribeRegions")
        .fails("InvalidInstanceID.NotFound", "DescribeInstances InstanceId.1={i}");
}

#[test]
fn a_stopped_instance_keeps_its_interfaces_and_loses_its_namespace() {
    Scenario::with_instance("m5.large")
        .make("eni", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .ok("AttachNetworkInterface NetworkInterfaceId={eni} InstanceId={i} DeviceIndex=1")
        .fails("DryRunOperation", "StopInstances InstanceId.1={i} DryRun=true")
        .shows("StopInstances InstanceId.1={i} InstanceId.2={i}", "code", "80 16")
        .effects(|effects| {
            let [Effect::PutInterface(a), Effect::PutInterface(b), Effect::RemoveInstance { .. }] =
                effects
            else {
                panic!("{effects:?}")
            };
            assert!(a.attachment.is_none() && b.attachment.is_none(), "unplugged first");
        })
        .shows("StopInstances InstanceId.1={i}", "code", "80 80")
        .effects(|effects| assert!(effects.is_empty()))
        .shows("DescribeInstances InstanceId.1={i}", "networkInterfaceId", "{eth0} {eni}")
        .shows("DescribeInstances InstanceId.1={i}", "code", "80 Client.UserInitiatedShutdown")
        .shows("DescribeNetworkInterfaces", "status", "in-use attached in-use attached")
        .shows("DescribeInstanceStatus", "instanceId", "")
        .shows("DescribeInstanceStatus IncludeAllInstances=true", "instanceId", "{i}")
        .ok("ModifyNetworkInterfaceAttribute NetworkInterfaceId={eth0} SourceDestCheck.Value=false")
        .interface(|view| assert_eq!(view.attachment, None, "nothing to plug it into"))
        .make("cold", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .ok("AttachNetworkInterface NetworkInterfaceId={cold} InstanceId={i} DeviceIndex=2")
        .interface(|view| assert_eq!(view.attachment, None, "a cold attach"))
        .fails("IncorrectInstanceState", "RebootInstances InstanceId.1={i}")
        .later(60)
        .shows("StartInstances InstanceId.1={i}", "code", "16 80")
        .effects(|effects| {
            let [Effect::StartInstance { .. }, rest @ ..] = effects else { panic!("{effects:?}") };
            let plugged = |effect: &Effect| {
                matches!(effect, Effect::PutInterface(view)
                    if matches!(view.attachment, Some(Attachment::Instance { .. })))
            };
            assert!(rest.len() == 3 && rest.iter().all(plugged), "{rest:?}");
        })
        .shows("DescribeInstances InstanceId.1={i}", "name", "running")
        .shows("StartInstances InstanceId.1={i}", "code", "16 16")
        .effects(|effects| assert!(effects.is_empty()))
        .ok("RebootInstances InstanceId.1={i}")
        .effects(|effects| assert!(effects.is_empty()))
        .fails("UnsupportedOperation", "StopInstances InstanceId.1={i} Hibernate=true")
        .fails("InvalidInstanceID.NotFound", "StopInstances InstanceId.1=i-1")
        .fails("MissingParameter", "StopInstances")
        .ok("StopInstances InstanceId.1={i}")
        .ok("TerminateInstances InstanceId.1={i}")
        .fails("IncorrectInstanceState", "StopInstances InstanceId.1={i}")
        .fails("IncorrectInstanceState", "StartInstances InstanceId.1={i}")
        .shows("DescribeNetworkInterfaces", "networkInterfaceId", "{eni} {cold}");
}

#[test]
fn protection() {
    let modify = "ModifyInstanceAttribute InstanceId={i}";
    Scenario::with_subnet()
        .make(
            "i",
            "instanceId",
            &format!("{RUN} SubnetId={{subnet}} DisableApiTermination=true DisableApiStop=true"),
        )
        .says(
            "The instance '{i}' may not be terminated. Modify its 'disableApiTermination' instance \
             attribute and try again.",
            "TerminateInstances InstanceId.1={i}",
        )
        .fails("OperationNotPermitted", "TerminateInstances InstanceId.1={i}")
        .fails("OperationNotPermitted", "StopInstances InstanceId.1={i}")
        .ok(&format!("{modify} DisableApiStop.Value=false"))
        .ok("StopInstances InstanceId.1={i}")
        .fails("OperationNotPermitted", "TerminateInstances InstanceId.1={i}")
        .ok(&format!("{modify} Attribute=disableApiTermination Value=false"))
        .ok("TerminateInstances InstanceId.1={i}");
}

#[test]
fn attributes() {
    let modify = "ModifyInstanceAttribute InstanceId={i}";
    let mut scenario = Scenario::with_instance("m5.large")
        .make("db", "groupId", "CreateSecurityGroup GroupName=db GroupDescription=d VpcId={vpc}")
        .ok(&format!("{modify} GroupId.1={{db}}"))
        .interface(|view| assert_eq!(view.groups.len(), 1))
        .ok(&format!("{modify} SourceDestCheck.Value=false"))
        .interface(|view| assert!(!view.source_dest_check))
        .ok("ResetInstanceAttribute InstanceId={i} Attribute=sourceDestCheck")
        .interface(|view| assert!(view.source_dest_check))
        .ok(&format!("{modify} InstanceInitiatedShutdownBehavior.Value=terminate"))
        .fails("IncorrectInstanceState", &format!("{modify} InstanceType.Value=m5.xlarge"))
        .fails("IncorrectInstanceState", &format!("{modify} UserData.Value=aGk="))
        .fails("InvalidParameterCombination", modify)
        .fails("UnsupportedOperation", &format!("{modify} Kernel.Value=aki-1"))
        .fails("UnsupportedOperation", &format!("{modify} EnaSupport.Value=false"))
        .fails("InvalidParameterValue", &format!("{modify} Attribute=castle Value=x"))
        .fails("MissingParameter", &format!("{modify} Attribute=instanceType"))
        .fails("InvalidGroup.NotFound", &format!("{modify} GroupId.1=sg-1"))
        .fails(
            "InvalidParameterValue",
            &format!("{modify} InstanceInitiatedShutdownBehavior.Value=castle"),
        )
        .fails("InvalidParameterValue", "ResetInstanceAttribute InstanceId={i} Attribute=userData")
        .ok("StopInstances InstanceId.1={i}")
        .ok(&format!("{modify} UserData.Value=aGk="))
        .fails("InvalidUserData.Malformed", &format!("{modify} UserData.Value=?"))
        .fails("InvalidParameterValue", &format!("{modify} InstanceType.Value=m5.castle"))
        .ok(&format!("{modify} Attribute=instanceType Value=m5.xlarge"));
    for (attribute, value) in [
        ("instanceType", "m5.xlarge"),
        ("userData", "aGk="),
        ("disableApiTermination", "false"),
        ("disableApiStop", "false"),
        ("instanceInitiatedShutdownBehavior", "terminate"),
        ("sourceDestCheck", "true"),
        ("ebsOptimized", "false"),
        ("enaSupport", "true"),
        ("kernel", ""),
    ] {
        let describe = format!("DescribeInstanceAttribute InstanceId={{i}} Attribute={attribute}");
        scenario = scenario.shows(&describe, "value", value);
    }
    scenario
        .shows("DescribeInstanceAttribute InstanceId={i} Attribute=groupSet", "groupId", "{db}")
        .fails("InvalidParameterValue", "DescribeInstanceAttribute InstanceId={i} Attribute=castle")
        .make("eni", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .ok("AttachNetworkInterface NetworkInterfaceId={eni} InstanceId={i} DeviceIndex=1")
        .fails("InvalidInstanceID", &format!("{modify} GroupId.1={{app}}"))
        .ok("AssignPrivateIpAddresses NetworkInterfaceId={eni} SecondaryPrivateIpAddressCount=12")
        .fails("PrivateIpAddressLimitExceeded", &format!("{modify} InstanceType.Value=m5.large"));
}

#[test]
fn metadata_options() {
    let modify = "ModifyInstanceMetadataOptions InstanceId={i}";
    Scenario::with_instance("m5.large")
        .shows(
            &format!("{modify} HttpTokens=required HttpPutResponseHopLimit=2"),
            "httpTokens",
            "required",
        )
        .shows("DescribeInstances", "httpPutResponseHopLimit", "2")
        .ok(&format!("{modify} InstanceMetadataTags=enabled"))
        .shows("DescribeInstances", "instanceMetadataTags", "enabled")
        .shows("DescribeInstances", "httpTokens", "required")
        .fails("InvalidParameterValue", &format!("{modify} HttpTokens=castle"))
        .fails("InvalidParameterValue", &format!("{modify} HttpPutResponseHopLimit=0"))
        .fails("DryRunOperation", &format!("{modify} HttpEndpoint=disabled DryRun=true"))
        .fails(
            "InvalidInstanceID.NotFound",
            "ModifyInstanceMetadataOptions InstanceId=i-1 HttpTokens=required",
        );
}

#[test]
fn what_cannot_be_honoured_is_refused_and_not_ignored() {
    let mut scenario = Scenario::with_subnet();
    let run = format!("{RUN} SubnetId={{subnet}}");
    for parameter in [
        "CpuOptions.CoreCount=1",
        "LaunchTemplate.LaunchTemplateName=x",
        "InstanceMarketOptions.MarketType=spot",
        "LicenseSpecification.1.LicenseConfigurationArn=x",
        "KernelId=aki-1",
        "RamdiskId=ari-1",
        "HibernationOptions.Configured=true",
        "EnclaveOptions.Enabled=true",
        "Placement.Tenancy=dedicated",
        "Placement.GroupName=x",
        "Placement.HostId=h-1",
        "MaintenanceOptions.AutoRecovery=disabled",
        "CapacityReservationSpecification.CapacityReservationPreference=capacity-reservations-only",
    ] {
        scenario = scenario.fails("UnsupportedOperation", &format!("{run} {parameter}"));
    }
    scenario
        .fails("UnknownParameter", &format!("{run} Castle=1"))
        .fails("InvalidUserData.Malformed", &format!("{run} UserData=?"))
        .fails(
            "InvalidParameterCombination",
            &format!("{run} CreditSpecification.CpuCredits=standard"),
        )
        .ok(&format!(
            "{run} BlockDeviceMapping.1.DeviceName=/dev/xvda BlockDeviceMapping.1.Ebs.VolumeSize=8 \
             Monitoring.Enabled=true EbsOptimized=true HibernationOptions.Configured=false \
             EnclaveOptions.Enabled=false Placement.Tenancy=default Placement.GroupName= \
             MaintenanceOptions.AutoRecovery=default UserData=aGk= \
             InstanceInitiatedShutdownBehavior=terminate \
             CapacityReservationSpecification.CapacityReservationPreference=open"
        ))
        .shows(
            "DescribeInstances Filter.1.Name=monitoring-state Filter.1.Value.1=enabled",
            "ebsOptimized",
            "true",
        );
}

#[test]
fn places_of_a_launch() {
    Scenario::empty()
        .make("sg", "groupId", "CreateSecurityGroup GroupName=web GroupDescription=d")
        .shows(
            &format!("{RUN} SecurityGroup.1=web Placement.AvailabilityZoneId=usw2-az2"),
            "availabilityZone",
            "us-west-2b",
        )
        .shows("DescribeInstances", "groupId", "{sg} {sg}")
        .fails("InvalidGroup.NotFound", &format!("{RUN} SecurityGroup.1=castle"))
        .fails(
            "MissingInput",
            &format!(
                "{RUN} Placement.AvailabilityZone=us-west-2b Placement.AvailabilityZoneId=usw2-az1"
            ),
        )
        .make("vpc", "vpcId", "CreateVpc CidrBlock=10.0.0.0/16")
        .make("subnet", "subnetId", "CreateSubnet VpcId={vpc} CidrBlock=10.0.1.0/24")
        .fails(
            "InvalidParameterCombination",
            &format!("{RUN} SubnetId={{subnet}} SecurityGroup.1=web"),
        )
        .make("eni", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .fails(
            "InvalidParameterCombination",
            &format!(
                "{RUN} NetworkInterface.1.DeviceIndex=0 \
                 NetworkInterface.1.NetworkInterfaceId={{eni}} \
                 NetworkInterface.1.PrivateIpAddress=10.0.1.9"
            ),
        );
}

#[test]
fn filters_and_pages() {
    let mut scenario = Scenario::with_instance("m6g.large");
    for (name, value) in [
        ("architecture", "arm64"),
        ("availability-zone-id", "usw2-az?"),
        ("instance.group-name", "app"),
        ("launch-index", "0"),
        ("metadata-options.http-tokens", "optional"),
        ("network-interface.addresses.primary", "true"),
        ("network-interface.attachment.device-index", "0"),
        ("network-interface.status", "in-use"),
        ("source-dest-check", "true"),
        ("tenancy", "default"),
        ("virtualization-type", "hvm"),
    ] {
        scenario = scenario.shows(
            &format!("DescribeInstances Filter.1.Name={name} Filter.1.Value.1={value}"),
            "instanceId",
            "{i}",
        );
    }
    scenario
        .shows("DescribeInstances Filter.1.Name=platform Filter.1.Value.1=*", "instanceId", "")
        .fails("InvalidParameterValue", "DescribeInstances Filter.1.Name=x Filter.1.Value.1=x")
        .shows(
            "DescribeInstanceStatus Filter.1.Name=instance-status.reachability \
             Filter.1.Value.1=passed",
            "instanceId",
            "{i}",
        )
        .fails(
            "InvalidParameterValue",
            "DescribeInstanceStatus Filter.1.Name=tag:x Filter.2.Name=image-id Filter.1.Value.1=x \
             Filter.2.Value.1=x",
        )
        .ok("RunInstances ImageId=ami-1 InstanceType=m5.large MinCount=7 MaxCount=7 SubnetId={subnet}")
        .ok("StopInstances InstanceId.1={i}")
        .ok("DescribeInstanceStatus MaxResults=5")
        .name("next", "nextToken")
        .ok("DescribeInstanceStatus MaxResults=5 NextToken={next}")
        .effects(|_| {});
}

#[test]
fn types_and_their_offerings() {
    let offerings = "DescribeInstanceTypeOfferings";
    let m5 = "Filter.1.Name=instance-type Filter.1.Value.1=m5.large";
    Scenario::empty()
        .shows(&format!("{offerings} {m5}"), "location", "us-west-2")
        .shows(
            &format!("{offerings} LocationType=availability-zone {m5}"),
            "location",
            "us-west-2a us-west-2b us-west-2c us-west-2d",
        )
        .shows(
            &format!(
                "{offerings} LocationType=availability-zone-id {m5} Filter.2.Name=location \
                 Filter.2.Value.1=*az2"
            ),
            "location",
            "usw2-az2",
        )
        .shows(&format!("{offerings} LocationType=outpost"), "instanceType", "")
        .fails("InvalidParameterValue", &format!("{offerings} LocationType=castle"))
        .ok(&format!("{offerings} MaxResults=5"))
        .name("next", "nextToken")
        .ok(&format!("{offerings} MaxResults=5 NextToken={{next}}"))
        .shows(
            "DescribeInstanceTypes Filter.1.Name=instance-type Filter.1.Value.1=t?.nano \
             Filter.2.Name=processor-info.supported-architecture Filter.2.Value.1=x86_64",
            "instanceType",
            "t2.nano t3.nano",
        )
        .fails(
            "UnsupportedOperation",
            "DescribeInstanceTypes Filter.1.Name=current-generation Filter.1.Value.1=true",
        )
        .fails(
            "InvalidParameterValue",
            "DescribeInstanceTypes Filter.1.Name=castle Filter.1.Value.1=true",
        )
        .fails("InvalidParameterValue", "DescribeInstanceTypes MaxResults=101");
}
