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
fn one_attribute_at_a_time() {
    let modify = "ModifyNetworkInterfaceAttribute NetworkInterfaceId={eth0}";
    Scenario::with_instance("m5.large")
        .says("No attributes specified.", modify)
        .says(
            "Fields for multiple attribute types specified: description, sourceDestCheck",
            &format!("{modify} Description.Value=a SourceDestCheck.Value=false"),
        )
        .ok(&format!("{modify} SourceDestCheck.Value=false"))
        .shows(
            "DescribeNetworkInterfaceAttribute NetworkInterfaceId={eth0} Attribute=sourceDestCheck",
            "value",
            "false",
        )
        .fails("InvalidParameterCombination", "ResetNetworkInterfaceAttribute NetworkInterfaceId={eth0}")
        .fails(
            "DryRunOperation",
            "ResetNetworkInterfaceAttribute NetworkInterfaceId={eth0} SourceDestCheck=x DryRun=true",
        )
        .ok("ResetNetworkInterfaceAttribute NetworkInterfaceId={eth0} SourceDestCheck=x")
        .interface(|view| assert!(view.source_dest_check))
        .fails(
            "UnsupportedOperation",
            &format!("{modify} EnaSrdSpecification.EnaSrdEnabled=true"),
        )
        .fails("InvalidParameterValue", "DescribeNetworkInterfaceAttribute NetworkInterfaceId={eth0} Attribute=castle")
        .fails("InvalidNetworkInterfaceID.NotFound", "ResetNetworkInterfaceAttribute NetworkInterfaceId=eni-1 SourceDestCheck=x");
}

#[test]
fn timeouts_of_tracked_flows() {
    let spec = |field: &str, seconds: u32| {
        format!(
            "CreateNetworkInterface SubnetId={{subnet}} \
             ConnectionTrackingSpecification.{field}={seconds}"
        )
    };
    let modify = "ModifyNetworkInterfaceAttribute NetworkInterfaceId={eni} \
                  ConnectionTrackingSpecification";
    Scenario::with_subnet()
        .fails("InvalidParameterValue", &spec("TcpEstablishedTimeout", 59))
        .fails("InvalidParameterValue", &spec("TcpEstablishedTimeout", 432_001))
        .fails("InvalidParameterValue", &spec("UdpStreamTimeout", 59))
        .fails("InvalidParameterValue", &spec("UdpStreamTimeout", 181))
        .fails("InvalidParameterValue", &spec("UdpTimeout", 29))
        .fails("InvalidParameterValue", &spec("UdpTimeout", 61))
        .fails("UnknownParameter", &spec("CastleTimeout", 60))
        .ok("CreateNetworkInterface SubnetId={subnet}")
        .interface(|view| assert_eq!(view.timeouts, None, "EC2's defaults"))
        .make("eni", "networkInterfaceId", &spec("UdpTimeout", 45))
        .interface(|view| {
            let timeouts = view.timeouts.expect("set");
            assert_eq!((timeouts.tcp_established, timeouts.udp_stream), (432_000, 180));
            assert_eq!(timeouts.udp, 45);
        })
        .ok(&format!("{modify}.TcpEstablishedTimeout=600"))
        .interface(|view| {
            let timeouts = view.timeouts.expect("set");
            assert_eq!((timeouts.tcp_established, timeouts.udp), (600, 45));
        })
        .shows("DescribeNetworkInterfaces", "tcpEstablishedTimeout", "600")
        .shows("DescribeNetworkInterfaces", "udpTimeout", "45")
        .shows("DescribeNetworkInterfaces", "udpStreamTimeout", "")
        .ok("RunInstances ImageId=ami-1 InstanceType=m5.large MinCount=1 MaxCount=1 \
             NetworkInterface.1.DeviceIndex=0 NetworkInterface.1.SubnetId={subnet} \
             NetworkInterface.1.ConnectionTrackingSpecification.UdpStreamTimeout=90")
        .interface(|view| assert_eq!(view.timeouts.expect("set").udp_stream, 90));
}

#[test]
fn prefixes() {
    let create = "CreateNetworkInterface SubnetId={subnet}";
    let assign = "AssignPrivateIpAddresses NetworkInterfaceId={eni}";
    Scenario::with_subnet()
        .make("eni", "networkInterfaceId", &format!("{create} Ipv4PrefixCount=2"))
        .interface(|view| assert_eq!(view.addresses.len(), 1 + 32, "a prefix is all its addresses"))
        .shows("DescribeNetworkInterfaces", "ipv4Prefix", "10.0.1.16/28 10.0.1.32/28")
        .shows("DescribeNetworkInterfaces", "privateIpAddress", "10.0.1.4 10.0.1.4")
        .shows(
            "DescribeSubnets SubnetId.1={subnet}",
            "availableIpAddressCount",
            &(251 - 33).to_string(),
        )
        .shows(&format!("{assign} Ipv4Prefix.1=10.0.1.64/28"), "ipv4Prefix", "10.0.1.64/28")
        .fails("InvalidIPAddress.InUse", &format!("{create} PrivateIpAddress=10.0.1.20"))
        .fails("InvalidIPAddress.InUse", &format!("{create} Ipv4Prefix.1.Ipv4Prefix=10.0.1.64/28"))
        .fails("InvalidParameterValue", &format!("{create} Ipv4Prefix.1.Ipv4Prefix=10.0.1.0/28"))
        .fails("InvalidParameterValue", &format!("{create} Ipv4Prefix.1.Ipv4Prefix=10.0.1.65/28"))
        .fails("InvalidParameterValue", &format!("{create} Ipv4Prefix.1.Ipv4Prefix=10.0.1.64/27"))
        .fails("InvalidParameterValue", &format!("{create} Ipv4Prefix.1.Ipv4Prefix=10.0.2.16/28"))
        .fails(
            "InvalidParameterCombination",
            &format!("{create} Ipv4Prefix.1.Ipv4Prefix=10.0.1.96/28 Ipv4PrefixCount=1"),
        )
        .fails(
            "InvalidParameterValue",
            &format!("{create} Ipv4Prefix.1.Ipv4Prefix=10.0.1.96/28 PrivateIpAddress=10.0.1.97"),
        )
        .ok("UnassignPrivateIpAddresses NetworkInterfaceId={eni} Ipv4Prefix.1=10.0.1.16/28")
        .interface(|view| assert_eq!(view.addresses.len(), 1 + 32))
        .fails(
            "InvalidParameterValue",
            "UnassignPrivateIpAddresses NetworkInterfaceId={eni} Ipv4Prefix.1=10.0.1.16/28",
        )
        .make("other", "networkInterfaceId", create)
        .fails(
            "InvalidParameterValue",
            "AssignPrivateIpAddresses NetworkInterfaceId={other} PrivateIpAddress.1=10.0.1.33 \
             AllowReassignment=true",
        )
        .ok("DeleteNetworkInterface NetworkInterfaceId={eni}")
        .ok("DeleteNetworkInterface NetworkInterfaceId={other}")
        .shows("DescribeSubnets SubnetId.1={subnet}", "availableIpAddressCount", "251")
        .fails("InsufficientCidrBlocks", &format!("{create} Ipv4PrefixCount=15"))
        .ok(&format!("{create} Ipv4PrefixCount=14"));
}

#[test]
fn prefixes_count_against_the_types_limit() {
    let run = |least: u32, prefixes: u32| {
        format!(
            "RunInstances ImageId=ami-1 InstanceType=m5.large MinCount={least} MaxCount=9 \
             NetworkInterface.1.DeviceIndex=0 NetworkInterface.1.SubnetId={{subnet}} \
             NetworkInterface.1.Ipv4PrefixCount={prefixes}"
        )
    };
    Scenario::with_subnet()
        .fails("PrivateIpAddressLimitExceeded", &run(1, 10))
        .fails("InsufficientCidrBlocks", &run(2, 9))
        .shows(&run(1, 4), "amiLaunchIndex", "0 1 2")
        .name("eni", "networkInterfaceId")
        .ok("AssignPrivateIpAddresses NetworkInterfaceId={eni} SecondaryPrivateIpAddressCount=5")
        .fails(
            "PrivateIpAddressLimitExceeded",
            "AssignPrivateIpAddresses NetworkInterfaceId={eni} SecondaryPrivateIpAddressCount=1",
        );
}

#[test]
fn every_documented_filter_is_known() {
    let mut scenario = Scenario::with_instance("m5.large");
    for (name, value) in [
        ("availability-zone-id", "usw2-az1"),
        ("addresses.primary", "true"),
        ("addresses.private-ip-address", "10.0.1.*"),
        ("attachment.attach-time", "20*"),
        ("attachment.delete-on-termination", "true"),
        ("attachment.device-index", "0"),
        ("attachment.instance-id", "i-?*"),
        ("attachment.instance-owner-id", "123456789012"),
        ("attachment.status", "attached"),
        ("availability-zone", "us-west-2a"),
        ("group-name", "app"),
        ("interface-type", "interface"),
        ("mac-address", "02:*"),
        ("operator.managed", "false"),
        ("owner-id", "123456789012"),
        ("private-dns-name", "ip-10-0-1-4.us-west-2.compute.internal"),
        ("requester-managed", "false"),
        ("source-dest-check", "true"),
        ("status", "in-use"),
    ] {
        scenario = scenario.shows(
            &format!("DescribeNetworkInterfaces Filter.1.Name={name} Filter.1.Value.1={value}"),
            "networkInterfaceId",
            "{eth0}",
        );
    }
    for name in ["ipv6-addresses.ipv6-address", "requester-id", "operator.principal"] {
        scenario = scenario.shows(
            &format!("DescribeNetworkInterfaces Filter.1.Name={name} Filter.1.Value.1=*"),
            "networkInterfaceId",
            "",
        );
    }
}

#[test]
fn elastic_fabric_is_not_built() {
    Scenario::with_subnet().fails(
        "UnsupportedOperation",
        "CreateNetworkInterface SubnetId={subnet} InterfaceType=efa",
    );
}

#[test]
fn permissions() {
    let permit = "CreateNetworkInterfacePermission NetworkInterfaceId={eth0}";
    let describe = "DescribeNetworkInterfacePermissions";
    Scenario::with_instance("m5.large")
        .make(
            "perm",
            "networkInterfacePermissionId",
            &format!("{permit} AwsService=castle Permission=EIP-ASSOCIATE"),
        )
        .shows(
            &format!(
                "{describe} Filter.1.Name=network-interface-permission.aws-service \
                 Filter.1.Value.1=cas*"
            ),
            "networkInterfacePermissionId",
            "{perm}",
        )
        .fails("InvalidParameterValue", &format!("{describe} Filter.1.Name=x Filter.1.Value.1=x"))
        .fails(
            "InvalidPermissionID.NotFound",
            &format!("{describe} NetworkInterfacePermissionId.1=eni-perm-1"),
        )
        .fails(
            "DryRunOperation",
            "DeleteNetworkInterfacePermission NetworkInterfacePermissionId={perm} DryRun=true",
        )
        .ok("DeleteNetworkInterfacePermission NetworkInterfacePermissionId={perm} Force=true")
        .fails(
            "InvalidPermissionID.NotFound",
            "DeleteNetworkInterfacePermission NetworkInterfacePermissionId={perm}",
        )
        .fails(
            "InvalidParameterCombination",
            &format!("{permit} AwsAccountId=1 AwsService=a Permission=INSTANCE-ATTACH"),
        )
        .shows(&format!("{permit} AwsAccountId=1 Permission=INSTANCE-ATTACH"), "state", "granted")
        .fails("InvalidParameterValue", &format!("{permit} AwsAccountId=1 Permission=CASTLE"))
        .fails("MissingParameter", &format!("{permit} Permission=INSTANCE-ATTACH"));
}

#[test]
fn what_a_service_manages_is_not_its_owners_to_change() {
    let managed = "DescribeNetworkInterfaces Filter.1.Name=requester-managed Filter.1.Value.1=true";
    Scenario::with_subnet()
        .ok("CreateNatGateway SubnetId={subnet} ConnectivityType=private")
        .make("eni", "networkInterfaceId", managed)
        .fails("AuthFailure", "DeleteNetworkInterface NetworkInterfaceId={eni}")
        .fails(
            "AuthFailure",
            "ModifyNetworkInterfaceAttribute NetworkInterfaceId={eni} Description.Value=mine",
        )
        .fails(
            "AuthFailure",
            "AssignPrivateIpAddresses NetworkInterfaceId={eni} SecondaryPrivateIpAddressCount=1",
        )
        .fails(
            "AuthFailure",
            "RunInstances ImageId=ami-1 InstanceType=m5.large MinCount=1 MaxCount=1 \
             NetworkInterface.1.DeviceIndex=0 NetworkInterface.1.NetworkInterfaceId={eni}",
        )
        .ok("CreateTags ResourceId.1={eni} Tag.1.Key=a Tag.1.Value=b");
}
