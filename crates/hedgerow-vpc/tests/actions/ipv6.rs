//! IPv6: blocks of VPCs and subnets, addresses and prefixes of interfaces.

use crate::scenario::Scenario;

/// A VPC `{vpc}` with block `3fff:23:0:100::/56` and a subnet `{subnet}` with `3fff:23:0:101::/64`.
fn dual() -> Scenario {
    Scenario::empty()
        .make("vpc", "vpcId", "CreateVpc CidrBlock=10.0.0.0/16 AmazonProvidedIpv6CidrBlock=true")
        .make(
            "subnet",
            "subnetId",
            "CreateSubnet VpcId={vpc} CidrBlock=10.0.1.0/24 Ipv6CidrBlock=3fff:23:0:101::/64",
        )
}

const CREATE: &str = "CreateNetworkInterface SubnetId={subnet}";
const RUN: &str = "RunInstances ImageId=ami-1 InstanceType=m5.large MinCount=1 MaxCount=1";

/// A Describe request with one filter.
fn filtered(action: &str, name: &str, value: &str) -> String {
    format!("{action} Filter.1.Name={name} Filter.1.Value.1={value}")
}

#[test]
fn a_vpc_gets_a_block_with_routes_rules_and_entries() {
    let associate = "AssociateVpcCidrBlock VpcId={vpc} AmazonProvidedIpv6CidrBlock=true";
    Scenario::empty()
        .make("vpc", "vpcId", "CreateVpc CidrBlock=10.0.0.0/16")
        .make("old", "groupId", "CreateSecurityGroup GroupName=a GroupDescription=a VpcId={vpc}")
        .make("shut", "groupId", "CreateSecurityGroup GroupName=s GroupDescription=s VpcId={vpc}")
        .ok("RevokeSecurityGroupEgress GroupId={shut} IpPermissions.1.IpProtocol=-1 \
             IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0")
        .fails("DryRunOperation", &format!("{associate} DryRun=true"))
        .fails(
            "InvalidVpcID.NotFound",
            "AssociateVpcCidrBlock VpcId=vpc-1 AmazonProvidedIpv6CidrBlock=true",
        )
        .fails("MissingParameter", "AssociateVpcCidrBlock VpcId={vpc}")
        .fails("InvalidParameterCombination", &format!("{associate} CidrBlock=10.1.0.0/16"))
        .fails("UnsupportedOperation", &format!("{associate} Ipv6Pool=ipv6pool-ec2-1"))
        .fails(
            "UnsupportedOperation",
            "CreateVpc CidrBlock=10.0.0.0/16 Ipv6CidrBlock=2001:db8::/56",
        )
        .fails(
            "InvalidParameterValue",
            &format!("{associate} Ipv6CidrBlockNetworkBorderGroup=eu-west-1"),
        )
        .fails(
            "InvalidParameterCombination",
            "AssociateVpcCidrBlock VpcId={vpc} CidrBlock=10.1.0.0/16 \
             Ipv6CidrBlockNetworkBorderGroup=us-west-2",
        )
        .make(
            "assoc",
            "associationId",
            &format!("{associate} Ipv6CidrBlockNetworkBorderGroup=us-west-2"),
        )
        .shows(
            &filtered("DescribeVpcs", "ipv6-cidr-block-association.ipv6-pool", "Amazon"),
            "ipv6CidrBlock",
            "3fff:23:0:100::/56",
        )
        .shows(
            &filtered("DescribeRouteTables", "vpc-id", "{vpc}"),
            "destinationIpv6CidrBlock",
            "3fff:23:0:100::/56",
        )
        // Groups whose egress was as EC2 made it, the default one among them, are open in IPv6 too.
        .shows(
            &filtered("DescribeSecurityGroups", "egress.ip-permission.ipv6-cidr", "::/0"),
            "groupName",
            "a default",
        )
        .make("new", "groupId", "CreateSecurityGroup GroupName=n GroupDescription=n VpcId={vpc}")
        .shows("DescribeSecurityGroups GroupId.1={new}", "cidrIpv6", "::/0")
        .shows("DescribeSecurityGroups GroupId.1={shut}", "cidrIpv6", "")
        .shows(
            &filtered("DescribeNetworkAcls", "vpc-id", "{vpc}"),
            "ruleNumber",
            "100 101 32767 32768 100 101 32767 32768",
        )
        .ok(associate)
        .ok(associate)
        .ok(associate)
        .ok(associate)
        .fails("CidrLimitExceeded", associate)
        .shows("DisassociateVpcCidrBlock AssociationId={assoc}", "state", "disassociating")
        .fails(
            "InvalidVpcCidrBlockAssociationID.NotFound",
            "DisassociateVpcCidrBlock AssociationId={assoc}",
        )
        .ok(associate)
        .shows(
            "DescribeVpcs VpcId.1={vpc}",
            "ipv6CidrBlock",
            "3fff:23:0:200::/56 3fff:23:0:300::/56 3fff:23:0:400::/56 3fff:23:0:500::/56 \
             3fff:23:0:600::/56",
        );
}

#[test]
fn entries_that_were_changed_stay_as_they_are() {
    Scenario::empty()
        .make("vpc", "vpcId", "CreateVpc CidrBlock=10.0.0.0/16")
        .make("acl", "networkAclId", &filtered("DescribeNetworkAcls", "vpc-id", "{vpc}"))
        .ok("DeleteNetworkAclEntry NetworkAclId={acl} RuleNumber=100 Egress=false")
        .ok("AssociateVpcCidrBlock VpcId={vpc} AmazonProvidedIpv6CidrBlock=true")
        .shows(
            "DescribeNetworkAcls NetworkAclId.1={acl}",
            "ruleNumber",
            "100 101 32767 32768 32767 32768",
        );
}

#[test]
fn routes_in_ipv6() {
    let create = "CreateRoute RouteTableId={rtb}";
    dual()
        .make("rtb", "routeTableId", "CreateRouteTable VpcId={vpc}")
        .make("igw", "internetGatewayId", "CreateInternetGateway")
        .ok("AttachInternetGateway InternetGatewayId={igw} VpcId={vpc}")
        .ok(&format!("{create} DestinationIpv6CidrBlock=::/0 GatewayId={{igw}}"))
        .fails(
            "InvalidParameterValue",
            &format!("{create} DestinationIpv6CidrBlock=3fff:23:0:101::/64 GatewayId={{igw}}"),
        )
        .fails(
            "InvalidParameterValue",
            &format!("{create} DestinationIpv6CidrBlock=fd00:ec2::254/128 GatewayId={{igw}}"),
        )
        .fails(
            "InvalidParameterValue",
            "DeleteRoute RouteTableId={rtb} DestinationIpv6CidrBlock=3fff:23:0:100::/56",
        )
        .shows(
            "DescribeRouteTables RouteTableId.1={rtb}",
            "destinationIpv6CidrBlock",
            "3fff:23:0:100::/56 ::/0",
        );
}

#[test]
fn a_subnet_gets_a_block() {
    let associate = "AssociateSubnetCidrBlock SubnetId={plain}";
    dual()
        .make("plain", "subnetId", "CreateSubnet VpcId={vpc} CidrBlock=10.0.2.0/24")
        .fails("MissingParameter", associate)
        .fails("InvalidParameterValue", &format!("{associate} Ipv6CidrBlock=castle"))
        .fails("InvalidSubnet.Range", &format!("{associate} Ipv6CidrBlock=3fff:23:0:102::/65"))
        .fails("InvalidSubnet.Range", &format!("{associate} Ipv6CidrBlock=3fff:23:0:102::/63"))
        .fails("InvalidSubnet.Range", &format!("{associate} Ipv6CidrBlock=3fff:23:0:200::/64"))
        .fails("InvalidSubnet.Conflict", &format!("{associate} Ipv6CidrBlock=3fff:23:0:101::/64"))
        .fails("InvalidSubnet.Conflict", &format!("{associate} Ipv6CidrBlock=3fff:23:0:100::/60"))
        .fails("UnsupportedOperation", &format!("{associate} Ipv6IpamPoolId=ipam-pool-1"))
        .fails(
            "InvalidSubnetID.NotFound",
            "AssociateSubnetCidrBlock SubnetId=subnet-1 Ipv6CidrBlock=3fff:23:0:102::/64",
        )
        .fails(
            "DryRunOperation",
            &format!("{associate} Ipv6CidrBlock=3fff:23:0:102::/64 DryRun=true"),
        )
        .shows(&format!("{associate} Ipv6CidrBlock=3fff:23:0:102::/64"), "state", "associating")
        .name("assoc", "associationId")
        .fails("CidrLimitExceeded", &format!("{associate} Ipv6CidrBlock=3fff:23:0:103::/64"))
        .shows(
            &filtered("DescribeSubnets", "ipv6-cidr-block-association.association-id", "{assoc}"),
            "ipv6CidrBlock",
            "3fff:23:0:102::/64",
        )
        .shows(
            &filtered(
                "DescribeSubnets",
                "ipv6-cidr-block-association.ipv6-cidr-block",
                "*101::/64",
            ),
            "subnetId",
            "{subnet}",
        )
        .make(
            "eni",
            "networkInterfaceId",
            "CreateNetworkInterface SubnetId={plain} Ipv6AddressCount=1",
        )
        .fails("InvalidCidrBlock.InUse", "DisassociateSubnetCidrBlock AssociationId={assoc}")
        .ok("DeleteNetworkInterface NetworkInterfaceId={eni}")
        .fails("DryRunOperation", "DisassociateSubnetCidrBlock AssociationId={assoc} DryRun=true")
        .shows("DisassociateSubnetCidrBlock AssociationId={assoc}", "state", "disassociating")
        .fails(
            "InvalidSubnetCidrBlockAssociationID.NotFound",
            "DisassociateSubnetCidrBlock AssociationId={assoc}",
        )
        .make("block", "associationId", &filtered("DescribeVpcs", "vpc-id", "{vpc}"))
        .ok("DescribeVpcs VpcId.1={vpc}")
        .fails(
            "UnsupportedOperation",
            "CreateSubnet VpcId={vpc} CidrBlock=10.0.3.0/24 Ipv6Native=true",
        )
        .fails(
            "InvalidSubnet.Range",
            "CreateSubnet VpcId={vpc} CidrBlock=10.0.3.0/24 Ipv6CidrBlock=2001:db8::/64",
        );
}

#[test]
fn a_vpcs_block_stays_while_a_subnet_has_part_of_it() {
    let scenario = dual().ok("DescribeVpcs VpcId.1={vpc}");
    let body = scenario.body().to_owned();
    let after = body.split("<ipv6CidrBlockAssociationSet>").nth(1).expect("the set");
    let id = after.split("<associationId>").nth(1).and_then(|t| t.split('<').next()).expect("id");
    scenario
        .fails("InvalidCidrBlock.InUse", &format!("DisassociateVpcCidrBlock AssociationId={id}"))
        .ok("DeleteSubnet SubnetId={subnet}")
        .ok(&format!("DisassociateVpcCidrBlock AssociationId={id}"))
        .shows("DescribeVpcs VpcId.1={vpc}", "ipv6CidrBlock", "");
}

#[test]
fn attributes_of_a_subnet() {
    let modify = "ModifySubnetAttribute SubnetId={subnet}";
    dual()
        .fails("InvalidParameterCombination", modify)
        .fails(
            "InvalidParameterCombination",
            &format!(
                "{modify} MapPublicIpOnLaunch.Value=true AssignIpv6AddressOnCreation.Value=true"
            ),
        )
        .fails(
            "InvalidSubnetID.NotFound",
            "ModifySubnetAttribute SubnetId=subnet-1 EnableDns64.Value=false",
        )
        .fails("UnsupportedOperation", &format!("{modify} EnableDns64.Value=true"))
        .fails("InvalidParameterValue", &format!("{modify} PrivateDnsHostnameTypeOnLaunch=castle"))
        .fails("DryRunOperation", &format!("{modify} MapPublicIpOnLaunch.Value=true DryRun=true"))
        .ok(&format!("{modify} AssignIpv6AddressOnCreation.Value=true"))
        .shows("DescribeSubnets SubnetId.1={subnet}", "assignIpv6AddressOnCreation", "true")
        .shows(CREATE, "ipv6Address", "3fff:23:0:101::4 3fff:23:0:101::4")
        .shows(&format!("{CREATE} Ipv6AddressCount=0"), "ipv6Address", "")
        .shows(&format!("{CREATE} Ipv6PrefixCount=1"), "ipv6Address", "")
        .shows(
            &format!("{RUN} SubnetId={{subnet}}"),
            "ipv6Address",
            // Of the instance, and in its interface's list.
            "3fff:23:0:101::5 3fff:23:0:101::5",
        )
        .ok(&format!("{modify} PrivateDnsHostnameTypeOnLaunch=resource-name"))
        .ok(&format!("{modify} EnableResourceNameDnsARecordOnLaunch.Value=true"))
        .ok(&format!("{modify} EnableResourceNameDnsAAAARecordOnLaunch.Value=true"))
        .shows("DescribeSubnets SubnetId.1={subnet}", "hostnameType", "resource-name")
        .shows("DescribeSubnets SubnetId.1={subnet}", "enableResourceNameDnsARecord", "true")
        .shows("DescribeSubnets SubnetId.1={subnet}", "enableResourceNameDnsAAAARecord", "true")
        .make("plain", "subnetId", "CreateSubnet VpcId={vpc} CidrBlock=10.0.2.0/24")
        .fails(
            "InvalidParameterValue",
            "ModifySubnetAttribute SubnetId={plain} AssignIpv6AddressOnCreation.Value=true",
        );
}

#[test]
fn interfaces_made_with_addresses() {
    dual()
        .make("plain", "subnetId", "CreateSubnet VpcId={vpc} CidrBlock=10.0.2.0/24")
        .fails("InvalidParameterValue", "CreateNetworkInterface SubnetId={plain} Ipv6AddressCount=1")
        .fails("InvalidParameterValue", &format!("{CREATE} Ipv6Addresses.1.Ipv6Address=3fff:23:0:101::3"))
        .fails("InvalidParameterValue", &format!("{CREATE} Ipv6Addresses.1.Ipv6Address=3fff:23:0:101:ffff:ffff:ffff:ffff"))
        .fails("InvalidParameterValue", &format!("{CREATE} Ipv6Addresses.1.Ipv6Address=3fff:23:0:102::9"))
        .fails("InvalidParameterValue", &format!("{CREATE} Ipv6Addresses.1.Ipv6Address=castle"))
        .fails(
            "InvalidParameterCombination",
            &format!("{CREATE} Ipv6Addresses.1.Ipv6Address=3fff:23:0:101::9 Ipv6AddressCount=1"),
        )
        .fails(
            "InvalidParameterValue",
            &format!("{CREATE} Ipv6Addresses.1.Ipv6Address=3fff:23:0:101::9 Ipv6Addresses.2.Ipv6Address=3fff:23:0:101::9"),
        )
        .fails("PrivateIpAddressLimitExceeded", &format!("{CREATE} Ipv6AddressCount=51"))
        .fails("PrivateIpAddressLimitExceeded", &format!("{CREATE} InterfaceType=branch Ipv6AddressCount=2"))
        .ok(&format!("{CREATE} InterfaceType=branch Ipv6AddressCount=1"))
        .make("eni", "networkInterfaceId", &format!("{CREATE} Ipv6Addresses.1.Ipv6Address=3fff:23:0:101::9 Ipv6PrefixCount=1"))
        .shows("DescribeNetworkInterfaces NetworkInterfaceId.1={eni}", "ipv6Prefix", "3fff:23:0:101:1::/80")
        .fails("InvalidIPAddress.InUse", &format!("{CREATE} Ipv6Addresses.1.Ipv6Address=3fff:23:0:101::9"))
        .fails("InvalidIPAddress.InUse", &format!("{CREATE} Ipv6Addresses.1.Ipv6Address=3fff:23:0:101:1::7"))
        .fails("InvalidIPAddress.InUse", &format!("{CREATE} Ipv6Prefix.1.Ipv6Prefix=3fff:23:0:101:1::/80"))
        .fails("InvalidParameterValue", &format!("{CREATE} Ipv6Prefix.1.Ipv6Prefix=3fff:23:0:101::/80"))
        .fails("InvalidParameterValue", &format!("{CREATE} Ipv6Prefix.1.Ipv6Prefix=3fff:23:0:101:2::1/80"))
        .fails("InvalidParameterValue", &format!("{CREATE} Ipv6Prefix.1.Ipv6Prefix=3fff:23:0:101:2::/96"))
        .shows(
            &filtered("DescribeNetworkInterfaces", "ipv6-addresses.ipv6-address", "*::9"),
            "networkInterfaceId",
            "{eni}",
        )
        .shows(
            &filtered("DescribeNetworkInterfaces", "ipv6-addresses.ipv6-address", "2001:*"),
            "networkInterfaceId",
            "",
        );
}

#[test]
fn a_primary_address_stays() {
    let modify = "ModifyNetworkInterfaceAttribute NetworkInterfaceId={eni}";
    let unassign = "UnassignIpv6Addresses NetworkInterfaceId={eni}";
    dual()
        .fails("InvalidParameterCombination", &format!("{CREATE} EnablePrimaryIpv6=true"))
        .make(
            "eni",
            "networkInterfaceId",
            &format!(
                "{CREATE} Ipv6Addresses.1.Ipv6Address=3fff:23:0:101::8 \
                 Ipv6Addresses.2.Ipv6Address=3fff:23:0:101::9 Ipv6Addresses.2.IsPrimaryIpv6=true"
            ),
        )
        .shows(
            "DescribeNetworkInterfaces NetworkInterfaceId.1={eni}",
            "isPrimaryIpv6",
            "true false",
        )
        .fails("InvalidParameterValue", &format!("{unassign} Ipv6Addresses.1=3fff:23:0:101::9"))
        .ok(&format!("{unassign} Ipv6Addresses.1=3fff:23:0:101::8"))
        .fails("OperationNotPermitted", &format!("{modify} EnablePrimaryIpv6=false"))
        .make("eni", "networkInterfaceId", CREATE)
        .fails("InvalidParameterValue", &format!("{modify} EnablePrimaryIpv6=true"))
        .ok("AssignIpv6Addresses NetworkInterfaceId={eni} Ipv6AddressCount=2")
        .ok(&format!("{modify} EnablePrimaryIpv6=false"))
        .ok(&format!("{modify} EnablePrimaryIpv6=true"))
        .shows(
            "DescribeNetworkInterfaces NetworkInterfaceId.1={eni}",
            "isPrimaryIpv6",
            "true false",
        );
}

#[test]
fn assigning_and_unassigning() {
    let assign = "AssignIpv6Addresses NetworkInterfaceId={eth0}";
    let unassign = "UnassignIpv6Addresses NetworkInterfaceId={eth0}";
    dual()
        .make("i", "instanceId", &format!("{RUN} SubnetId={{subnet}}"))
        .name("eth0", "networkInterfaceId")
        .fails("MissingParameter", assign)
        .fails("MissingParameter", unassign)
        .fails(
            "InvalidNetworkInterfaceID.NotFound",
            "AssignIpv6Addresses NetworkInterfaceId=eni-1 Ipv6AddressCount=1",
        )
        .fails(
            "InvalidNetworkInterfaceID.NotFound",
            "UnassignIpv6Addresses NetworkInterfaceId=eni-1 Ipv6Addresses.1=::1",
        )
        .fails("DryRunOperation", &format!("{assign} Ipv6AddressCount=1 DryRun=true"))
        .ok(&format!("{assign} Ipv6Addresses.1=3fff:23:0:101::a"))
        .shows("DescribeInstances", "ipv6Address", "3fff:23:0:101::a 3fff:23:0:101::a")
        .ok(&format!("{assign} Ipv6Addresses.1=3fff:23:0:101::a"))
        .shows("DescribeInstances", "ipv6Address", "3fff:23:0:101::a 3fff:23:0:101::a")
        .fails(
            "InvalidParameterCombination",
            &format!("{assign} Ipv6Addresses.1=3fff:23:0:101::b Ipv6AddressCount=1"),
        )
        .fails("InvalidParameterValue", &format!("{assign} Ipv6Addresses.1=10.0.0.1"))
        // An m5.large has ten places in each family; prefixes take one each.
        .fails("PrivateIpAddressLimitExceeded", &format!("{assign} Ipv6AddressCount=10"))
        .ok(&format!("{assign} Ipv6AddressCount=7 Ipv6PrefixCount=2"))
        .fails("PrivateIpAddressLimitExceeded", &format!("{assign} Ipv6AddressCount=1"))
        .make("eni", "networkInterfaceId", CREATE)
        .fails(
            "InvalidIPAddress.InUse",
            "AssignIpv6Addresses NetworkInterfaceId={eni} Ipv6Addresses.1=3fff:23:0:101::a",
        )
        .fails("InvalidParameterValue", &format!("{unassign} Ipv6Addresses.1=3fff:23:0:101::ffff"))
        .fails("InvalidParameterValue", &format!("{unassign} Ipv6Prefix.1=3fff:23:0:101:9::/80"))
        .fails(
            "DryRunOperation",
            &format!("{unassign} Ipv6Addresses.1=3fff:23:0:101::a DryRun=true"),
        )
        .ok(&format!(
            "{unassign} Ipv6Addresses.1=3fff:23:0:101::a Ipv6Prefix.1=3fff:23:0:101:2::/80"
        ))
        .shows(
            "DescribeNetworkInterfaces NetworkInterfaceId.1={eth0}",
            "ipv6Prefix",
            "3fff:23:0:101:1::/80",
        )
        .ok("AssignIpv6Addresses NetworkInterfaceId={eni} Ipv6Addresses.1=3fff:23:0:101::a \
             Ipv6Prefix.1=3fff:23:0:101:2::/80")
        .ok("CreateNatGateway SubnetId={subnet} ConnectivityType=private")
        .make(
            "managed",
            "networkInterfaceId",
            &filtered("DescribeNetworkInterfaces", "requester-managed", "true"),
        )
        .fails("AuthFailure", "AssignIpv6Addresses NetworkInterfaceId={managed} Ipv6AddressCount=1")
        .fails(
            "AuthFailure",
            "UnassignIpv6Addresses NetworkInterfaceId={managed} Ipv6Addresses.1=::1",
        );
}

#[test]
fn launches_with_addresses() {
    let spec = "NetworkInterface.1.DeviceIndex=0 NetworkInterface.1.SubnetId={subnet}";
    let by_filter = |name: &str, value: &str| filtered("DescribeInstances", name, value);
    let mut scenario = dual()
        .fails(
            "PrivateIpAddressLimitExceeded",
            &format!("{RUN} SubnetId={{subnet}} Ipv6AddressCount=11"),
        )
        .fails(
            "PrivateIpAddressLimitExceeded",
            "RunInstances ImageId=ami-1 InstanceType=m3.large MinCount=1 MaxCount=1 \
             SubnetId={subnet} Ipv6AddressCount=1",
        )
        .fails("InvalidParameterCombination", &format!("{RUN} {spec} Ipv6AddressCount=1"))
        .fails(
            "InvalidParameterCombination",
            &format!(
                "RunInstances ImageId=ami-1 InstanceType=m5.large MinCount=1 MaxCount=2 {spec} \
                 NetworkInterface.1.Ipv6Addresses.1.Ipv6Address=3fff:23:0:101::9"
            ),
        )
        .fails(
            "InvalidIPAddress.InUse",
            &format!(
                "{RUN} {spec} NetworkInterface.1.Ipv6Addresses.1.Ipv6Address=3fff:23:0:101:7::9 \
                 NetworkInterface.2.DeviceIndex=1 NetworkInterface.2.SubnetId={{subnet}} \
                 NetworkInterface.2.Ipv6Prefix.1.Ipv6Prefix=3fff:23:0:101:7::/80"
            ),
        )
        .make(
            "i",
            "instanceId",
            &format!(
                "{RUN} {spec} NetworkInterface.1.Ipv6Addresses.1.Ipv6Address=3fff:23:0:101::9 \
                 NetworkInterface.1.PrimaryIpv6=true NetworkInterface.1.Ipv6PrefixCount=1"
            ),
        )
        .shows("DescribeInstances", "isPrimaryIpv6", "true");
    for (name, value) in [
        ("ipv6-address", "*101::9"),
        ("network-interface.ipv6-address", "*101::9"),
        ("network-interface.ipv6-addresses.ipv6-address", "*101::9"),
        ("network-interface.ipv6-addresses.is-primary-ipv6", "true"),
        ("network-interface.ipv6-prefixes.ipv6-prefix", "*/80"),
        ("network-interface.ipv6-native", "false"),
    ] {
        scenario = scenario.shows(&by_filter(name, value), "instanceId", "{i}");
        scenario = scenario.shows(&by_filter(name, "castle"), "instanceId", "");
    }
    scenario
        .shows("DescribeInstanceTypes InstanceType.1=m5.large", "ipv6AddressesPerInterface", "10")
        .shows("DescribeInstanceTypes InstanceType.1=m3.large", "ipv6Supported", "false")
        .ok("TerminateInstances InstanceId.1={i}")
        .ok(&format!("{CREATE} Ipv6Addresses.1.Ipv6Address=3fff:23:0:101::9"));
}

#[test]
fn limits_hold_where_interfaces_are_plugged_in() {
    dual()
        .make("i", "instanceId", &format!("{RUN} SubnetId={{subnet}}"))
        .make("eni", "networkInterfaceId", &format!("{CREATE} Ipv6AddressCount=11"))
        .fails(
            "PrivateIpAddressLimitExceeded",
            "AttachNetworkInterface NetworkInterfaceId={eni} InstanceId={i} DeviceIndex=1",
        )
        .make("trunk", "networkInterfaceId", &format!("{CREATE} InterfaceType=trunk"))
        .ok("AttachNetworkInterface NetworkInterfaceId={trunk} InstanceId={i} DeviceIndex=1")
        .fails(
            "InvalidParameterValue",
            "AssociateTrunkInterface TrunkInterfaceId={trunk} BranchInterfaceId={eni} VlanId=1",
        )
        .make("branch", "networkInterfaceId", &format!("{CREATE} Ipv6AddressCount=1"))
        .ok("AssociateTrunkInterface TrunkInterfaceId={trunk} BranchInterfaceId={branch} VlanId=1")
        .fails(
            "PrivateIpAddressLimitExceeded",
            "AssignIpv6Addresses NetworkInterfaceId={branch} Ipv6AddressCount=1",
        );
}
