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
                 NetworkInterface.1.AssociatePublicIpAddress=true",
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
