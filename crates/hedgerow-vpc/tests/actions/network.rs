//! VPCs and subnets.

use hedgerow_vpc::effect::Effect;

use crate::scenario::Scenario;

#[test]
fn vpcs() {
    Scenario::empty()
        .fails("InvalidVpc.Range", "CreateVpc CidrBlock=10.0.0.0/8")
        .fails("InvalidVpc.Range", "CreateVpc CidrBlock=10.0.0.0/29")
        .make("vpc", "vpcId", "CreateVpc CidrBlock=10.0.0.0/16")
        .effects(|effects| {
            assert!(matches!(effects, [Effect::PutVpc(_), Effect::PutGroup { .. }]));
        })
        .shows("DescribeVpcs VpcId.1={vpc}", "cidrBlock", "10.0.0.0/16 10.0.0.0/16")
        .shows("DescribeVpcs Filter.1.Name=is-default Filter.1.Value.1=false", "vpcId", "{vpc}")
        .fails("InvalidVpcID.NotFound", "DescribeVpcs VpcId.1=vpc-1")
        .shows("DescribeVpcAttribute VpcId={vpc} Attribute=enableDnsHostnames", "value", "false")
        .ok("ModifyVpcAttribute VpcId={vpc} EnableDnsHostnames.Value=true")
        .shows("DescribeVpcAttribute VpcId={vpc} Attribute=enableDnsHostnames", "value", "true")
        .ok("CreateSubnet VpcId={vpc} CidrBlock=10.0.0.0/24")
        .name("subnet", "subnetId")
        .fails("DependencyViolation", "DeleteVpc VpcId={vpc}")
        .ok("DeleteSubnet SubnetId={subnet}")
        .ok("DeleteVpc VpcId={vpc}")
        .effects(|effects| {
            assert!(matches!(effects, [Effect::RemoveGroup { .. }, Effect::RemoveVpc(_)]));
        })
        .fails("InvalidVpcID.NotFound", "DeleteVpc VpcId={vpc}");
}

#[test]
fn subnets() {
    Scenario::with_subnet()
        .fails("InvalidSubnet.Conflict", "CreateSubnet VpcId={vpc} CidrBlock=10.0.1.128/25")
        .fails("InvalidSubnet.Range", "CreateSubnet VpcId={vpc} CidrBlock=10.1.0.0/24")
        .fails("InvalidSubnet.Range", "CreateSubnet VpcId={vpc} CidrBlock=10.0.2.0/29")
        .fails("InvalidVpcID.NotFound", "CreateSubnet VpcId=vpc-1 CidrBlock=10.0.2.0/24")
        .fails(
            "InvalidParameterValue",
            "CreateSubnet VpcId={vpc} CidrBlock=10.0.2.0/24 AvailabilityZone=us-west-2z",
        )
        .shows(
            "CreateSubnet VpcId={vpc} CidrBlock=10.0.2.0/24 AvailabilityZone=us-west-2c",
            "availabilityZoneId",
            "usw2-az3",
        )
        .shows("DescribeSubnets SubnetId.1={subnet}", "availableIpAddressCount", "251")
        .ok("CreateNetworkInterface SubnetId={subnet}")
        .shows("DescribeSubnets SubnetId.1={subnet}", "availableIpAddressCount", "250")
        .fails("DependencyViolation", "DeleteSubnet SubnetId={subnet}");
}

#[test]
fn the_default_vpc_takes_what_names_no_subnet() {
    Scenario::empty()
        .shows(
            "DescribeSubnets",
            "cidrBlock",
            "172.31.0.0/20 172.31.16.0/20 172.31.32.0/20 172.31.48.0/20",
        )
        .ok("RunInstances ImageId=ami-1 InstanceType=t3.micro MinCount=1 MaxCount=1 \
             Placement.AvailabilityZone=us-west-2b")
        .shows("DescribeInstances", "availabilityZone", "us-west-2b");
}
