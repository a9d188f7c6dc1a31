//! Network interfaces: addresses, groups, attachments.

use hedgerow_vpc::effect::{Attachment, Effect};

use crate::scenario::Scenario;

#[test]
fn making_and_deleting() {
    Scenario::with_subnet()
        .make("eni", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .interface(|view| {
            assert_eq!(view.addresses, ["10.0.1.4".parse::<std::net::Ipv4Addr>().expect("v4")]);
            assert_eq!((view.groups.len(), view.attachment.is_none()), (1, true));
            assert!(view.source_dest_check && view.mac[0] == 2);
        })
        .shows("DescribeNetworkInterfaces NetworkInterfaceId.1={eni}", "status", "available")
        .fails("InvalidSubnetID.NotFound", "CreateNetworkInterface SubnetId=subnet-1")
        .fails(
            "InvalidSecurityGroupID.NotFound",
            "CreateNetworkInterface SubnetId={subnet} SecurityGroupId.1=sg-1",
        )
        .says(
            "The securityGroup ID 'sg-1' does not exist",
            "CreateNetworkInterface SubnetId={subnet} SecurityGroupId.1=sg-1",
        )
        .fails("InvalidParameterValue", "CreateNetworkInterface SubnetId={subnet} InterfaceType=x")
        .ok("DeleteNetworkInterface NetworkInterfaceId={eni}")
        .effects(|effects| assert!(matches!(effects, [Effect::RemoveInterface(_)])))
        .fails(
            "InvalidNetworkInterfaceID.NotFound",
            "DeleteNetworkInterface NetworkInterfaceId={eni}",
        )
        .fails(
            "InvalidNetworkInterfaceID.NotFound",
            "DescribeNetworkInterfaces NetworkInterfaceId.1={eni}",
        );
}

#[test]
fn addresses_are_the_subnets_and_nobody_elses() {
    let create = |address: &str| {
        format!("CreateNetworkInterface SubnetId={{subnet}} PrivateIpAddress={address}")
    };
    Scenario::with_subnet()
        .fails("InvalidParameterValue", &create("10.0.1.3"))
        .fails("InvalidParameterValue", &create("10.0.1.255"))
        .fails("InvalidParameterValue", &create("10.0.2.4"))
        .fails("InvalidParameterValue", &create("banana"))
        .ok(&create("10.0.1.4"))
        .fails("InvalidIPAddress.InUse", &create("10.0.1.4"))
        .shows("CreateNetworkInterface SubnetId={subnet}", "privateIpAddress", "10.0.1.5 10.0.1.5")
        .make("small", "subnetId", "CreateSubnet VpcId={vpc} CidrBlock=10.0.2.0/28")
        .ok("CreateNetworkInterface SubnetId={small} SecondaryPrivateIpAddressCount=9")
        .fails(
            "InsufficientFreeAddressesInSubnet",
            "CreateNetworkInterface SubnetId={small} SecondaryPrivateIpAddressCount=1",
        )
        .ok("CreateNetworkInterface SubnetId={small}")
        .fails("InsufficientFreeAddressesInSubnet", "CreateNetworkInterface SubnetId={small}")
        .fails(
            "InsufficientFreeAddressesInSubnet",
            "RunInstances ImageId=ami-1 MinCount=1 MaxCount=1 InstanceType=m5.large SubnetId={small}",
        );
}

#[test]
fn an_address_rests_before_it_comes_back() {
    Scenario::with_subnet()
        .make("eni", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .ok("DeleteNetworkInterface NetworkInterfaceId={eni}")
        .shows("CreateNetworkInterface SubnetId={subnet}", "privateIpAddress", "10.0.1.5 10.0.1.5");
}

#[test]
fn secondary_addresses() {
    let assign = "AssignPrivateIpAddresses NetworkInterfaceId={eth0}";
    Scenario::with_instance("m5.large")
        .shows(
            &format!("{assign} SecondaryPrivateIpAddressCount=2"),
            "privateIpAddress",
            "10.0.1.5 10.0.1.6",
        )
        .interface(|view| assert_eq!(view.addresses.len(), 3))
        .ok(&format!("{assign} PrivateIpAddress.1=10.0.1.100"))
        .fails(
            "PrivateIpAddressLimitExceeded",
            &format!("{assign} SecondaryPrivateIpAddressCount=7"),
        )
        .ok(&format!("{assign} SecondaryPrivateIpAddressCount=6"))
        .fails(
            "PrivateIpAddressLimitExceeded",
            &format!("{assign} SecondaryPrivateIpAddressCount=1"),
        )
        .fails(
            "InvalidParameterValue",
            "UnassignPrivateIpAddresses NetworkInterfaceId={eth0} PrivateIpAddress.1=10.0.1.4",
        )
        .fails(
            "InvalidParameterValue",
            "UnassignPrivateIpAddresses NetworkInterfaceId={eth0} PrivateIpAddress.1=10.0.1.200",
        )
        .ok("UnassignPrivateIpAddresses NetworkInterfaceId={eth0} PrivateIpAddress.1=10.0.1.100")
        .interface(|view| assert_eq!(view.addresses.len(), 9))
        .make("eni", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .fails(
            "InvalidIPAddress.InUse",
            "AssignPrivateIpAddresses NetworkInterfaceId={eni} PrivateIpAddress.1=10.0.1.5",
        )
        .ok("AssignPrivateIpAddresses NetworkInterfaceId={eni} PrivateIpAddress.1=10.0.1.5 \
             AllowReassignment=true")
        .effects(|effects| assert_eq!(effects.len(), 2, "who lost it, who got it"));
}

#[test]
fn attaching() {
    let attach = "AttachNetworkInterface NetworkInterfaceId={eni} InstanceId={i}";
    Scenario::with_instance("m5.large")
        .make("eni", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .fails("InvalidParameterValue", &format!("{attach} DeviceIndex=0"))
        .fails(
            "InvalidInstanceID.NotFound",
            "AttachNetworkInterface NetworkInterfaceId={eni} InstanceId=i-1 DeviceIndex=1",
        )
        .make("attachment", "attachmentId", &format!("{attach} DeviceIndex=1"))
        .interface(|view| {
            let Some(Attachment::Instance { device_index, .. }) = view.attachment else {
                panic!("{view:?}")
            };
            assert_eq!(device_index, 1);
        })
        .shows(
            "DescribeNetworkInterfaces Filter.1.Name=attachment.instance-id Filter.1.Value.1={i}",
            "networkInterfaceId",
            "{eth0} {eni}",
        )
        .fails("InvalidNetworkInterface.InUse", &format!("{attach} DeviceIndex=2"))
        .fails("InvalidNetworkInterface.InUse", "DeleteNetworkInterface NetworkInterfaceId={eni}")
        .make("two", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .make("three", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .ok("AttachNetworkInterface NetworkInterfaceId={two} InstanceId={i} DeviceIndex=2")
        .fails(
            "AttachmentLimitExceeded",
            "AttachNetworkInterface NetworkInterfaceId={three} InstanceId={i} DeviceIndex=3",
        )
        .ok("DetachNetworkInterface AttachmentId={attachment}")
        .interface(|view| assert_eq!(view.attachment, None))
        .fails("InvalidAttachmentID.NotFound", "DetachNetworkInterface AttachmentId={attachment}")
        .ok("DeleteNetworkInterface NetworkInterfaceId={eni}");
}

#[test]
fn the_primary_interface_stays_on() {
    Scenario::with_instance("m5.large")
        .ok("DescribeNetworkInterfaces NetworkInterfaceId.1={eth0}")
        .name("attachment", "attachmentId")
        .fails("OperationNotPermitted", "DetachNetworkInterface AttachmentId={attachment}");
}

#[test]
fn changing() {
    let modify = "ModifyNetworkInterfaceAttribute NetworkInterfaceId={eth0}";
    let mut scenario = Scenario::with_instance("m5.large")
        .make("db", "groupId", "CreateSecurityGroup GroupName=db GroupDescription=d VpcId={vpc}")
        .ok(&format!("{modify} SecurityGroupId.1={{db}} SecurityGroupId.2={{app}}"))
        .interface(|view| assert_eq!(view.groups.len(), 2))
        .shows(
            "DescribeNetworkInterfaceAttribute NetworkInterfaceId={eth0} Attribute=groupSet",
            "groupId",
            "{db} {app}",
        )
        .fails("InvalidGroup.NotFound", &format!("{modify} SecurityGroupId.1=sg-1"))
        .ok(&format!("{modify} SourceDestCheck.Value=false"))
        .interface(|view| assert!(!view.source_dest_check))
        .ok(&format!("{modify} Description.Value=new~words"))
        .effects(|effects| assert!(effects.is_empty()))
        .fails("InvalidParameterCombination", modify)
        .fails(
            "InvalidAttachmentID.NotFound",
            &format!(
                "{modify} Attachment.AttachmentId=eni-attach-1 Attachment.DeleteOnTermination=true"
            ),
        );
    let mut groups = String::new();
    for n in 0..6 {
        let create = format!("CreateSecurityGroup GroupName=g{n} GroupDescription=d VpcId={{vpc}}");
        scenario = scenario.make(&format!("g{n}"), "groupId", &create);
        groups.push_str(&format!(" SecurityGroupId.{}={{g{n}}}", n + 1));
    }
    scenario.fails("SecurityGroupsPerInterfaceLimitExceeded", &format!("{modify}{groups}"));
}

#[test]
fn groups_of_another_vpc() {
    Scenario::with_subnet()
        .make("other", "vpcId", "CreateVpc CidrBlock=10.1.0.0/16")
        .make("sg", "groupId", "CreateSecurityGroup GroupName=x GroupDescription=d VpcId={other}")
        .fails(
            "InvalidParameter",
            "CreateNetworkInterface SubnetId={subnet} SecurityGroupId.1={sg}",
        );
}

#[test]
fn permissions() {
    let permit = "CreateNetworkInterfacePermission NetworkInterfaceId={eth0}";
    Scenario::with_instance("m5.large")
        .shows(&format!("{permit} AwsAccountId=1 Permission=INSTANCE-ATTACH"), "state", "granted")
        .fails("InvalidParameterValue", &format!("{permit} AwsAccountId=1 Permission=CASTLE"))
        .fails("MissingParameter", &format!("{permit} Permission=INSTANCE-ATTACH"));
}
