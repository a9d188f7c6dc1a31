//! Interfaces, instances, trunks, addresses and NAT gateways: their part of the world, their happy
//! requests, their filters.

use super::happy::{Happy, happy};
use super::selects::Select;
use crate::scenario::Scenario;

/// Their part of the world.
pub fn build(scenario: Scenario) -> Scenario {
    scenario
        .make(
            "i",
            "instanceId",
            "RunInstances ImageId=ami-1 InstanceType=m5.xlarge MinCount=1 MaxCount=1 \
             SubnetId={subnet} SecurityGroupId.1={app} KeyName=one ClientToken=i",
        )
        .name("eth0", "networkInterfaceId")
        .make(
            "i2",
            "instanceId",
            "RunInstances ImageId=ami-2 InstanceType=t3.micro MinCount=1 MaxCount=1 \
             SubnetId={subnet2}",
        )
        .ok("StopInstances InstanceId.1={i2}")
        .make(
            "eni",
            "networkInterfaceId",
            "CreateNetworkInterface SubnetId={subnet} SecurityGroupId.1={app} Description=one",
        )
        .ok("AssignPrivateIpAddresses NetworkInterfaceId={eni} PrivateIpAddress.1=10.0.1.200")
        .make(
            "eni2",
            "networkInterfaceId",
            "CreateNetworkInterface SubnetId={subnet2} Description=two",
        )
        .make("eni3", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .make(
            "attach",
            "attachmentId",
            "AttachNetworkInterface NetworkInterfaceId={eni3} InstanceId={i} DeviceIndex=1",
        )
        .make(
            "trunk",
            "networkInterfaceId",
            "CreateNetworkInterface SubnetId={subnet} InterfaceType=trunk",
        )
        .ok("AttachNetworkInterface NetworkInterfaceId={trunk} InstanceId={i} DeviceIndex=2")
        .make("branch", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .make(
            "assoc",
            "associationId",
            "AssociateTrunkInterface TrunkInterfaceId={trunk} BranchInterfaceId={branch} VlanId=7",
        )
        .make("branch2", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .make(
            "assoc2",
            "associationId",
            "AssociateTrunkInterface TrunkInterfaceId={trunk} BranchInterfaceId={branch2} VlanId=8",
        )
        .make("branch3", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .make(
            "perm",
            "networkInterfacePermissionId",
            "CreateNetworkInterfacePermission NetworkInterfaceId={eni} \
             AwsAccountId=111111111111 Permission=INSTANCE-ATTACH",
        )
        .make(
            "perm2",
            "networkInterfacePermissionId",
            "CreateNetworkInterfacePermission NetworkInterfaceId={eni2} \
             AwsAccountId=222222222222 Permission=EIP-ASSOCIATE",
        )
        .make("eip2", "allocationId", "AllocateAddress Domain=vpc")
        .make("eip3", "allocationId", "AllocateAddress Domain=vpc")
        .make(
            "eipassoc",
            "associationId",
            "AssociateAddress AllocationId={eip3} NetworkInterfaceId={eni3}",
        )
        .ok("CreateRoute RouteTableId={rtb} DestinationCidrBlock=198.51.100.0/24 \
             NetworkInterfaceId={eth0}")
        .later(60)
}

/// One request per action that succeeds.
pub fn happy() -> Vec<Happy> {
    happy! {
        "AllocateAddress Domain=vpc" => "elastic-ip";
        "AssignPrivateIpAddresses NetworkInterfaceId={eni} SecondaryPrivateIpAddressCount=1";
        "AssociateAddress AllocationId={eip2} NetworkInterfaceId={eth0}";
        "AssociateTrunkInterface TrunkInterfaceId={trunk} BranchInterfaceId={branch3} VlanId=20";
        "AttachNetworkInterface NetworkInterfaceId={eni} InstanceId={i} DeviceIndex=3";
        "CreateNatGateway SubnetId={subnet} AllocationId={eip2}" => "natgateway";
        "CreateNetworkInterface SubnetId={subnet}" => "network-interface";
        "CreateNetworkInterfacePermission NetworkInterfaceId={eni} AwsAccountId=333333333333 \
         Permission=INSTANCE-ATTACH";
        "DeleteNatGateway NatGatewayId={nat}";
        "DeleteNetworkInterface NetworkInterfaceId={eni}";
        "DeleteNetworkInterfacePermission NetworkInterfacePermissionId={perm}";
        "DescribeAddresses";
        "DescribeInstanceAttribute InstanceId={i} Attribute=instanceType";
        "DescribeInstanceStatus";
        "DescribeInstanceTypeOfferings";
        "DescribeInstanceTypes";
        "DescribeInstances";
        "DescribeNatGateways";
        "DescribeNetworkInterfaceAttribute NetworkInterfaceId={eni} Attribute=description";
        "DescribeNetworkInterfacePermissions";
        "DescribeNetworkInterfaces";
        "DescribeTrunkInterfaceAssociations";
        "DetachNetworkInterface AttachmentId={attach}";
        "DisassociateAddress AssociationId={eipassoc}";
        "DisassociateTrunkInterface AssociationId={assoc}";
        "ModifyInstanceAttribute InstanceId={i} DisableApiTermination.Value=true";
        "ModifyInstanceMetadataOptions InstanceId={i} HttpTokens=required";
        "ModifyNetworkInterfaceAttribute NetworkInterfaceId={eni} Description.Value=other";
        "RebootInstances InstanceId.1={i}";
        "ReleaseAddress AllocationId={eip2}";
        "ResetInstanceAttribute InstanceId={i2} Attribute=sourceDestCheck";
        "ResetNetworkInterfaceAttribute NetworkInterfaceId={eni} SourceDestCheck=";
        "RunInstances ImageId=ami-1 InstanceType=t3.micro MinCount=1 MaxCount=1 \
         SubnetId={subnet}" => "instance";
        "StartInstances InstanceId.1={i2}";
        "StopInstances InstanceId.1={i}";
        "TerminateInstances InstanceId.1={i}";
        "UnassignPrivateIpAddresses NetworkInterfaceId={eni} PrivateIpAddress.1=10.0.1.200";
    }
}

/// Describing actions whose filters are not tried with values yet.
pub const UNTRIED: &[&str] = &[
    "DescribeAddresses",
    "DescribeInstanceStatus",
    "DescribeInstanceTypeOfferings",
    "DescribeInstanceTypes",
    "DescribeInstances",
    "DescribeNatGateways",
    "DescribeNetworkInterfacePermissions",
    "DescribeNetworkInterfaces",
    "DescribeTrunkInterfaceAssociations",
];

/// Their filters.
pub const SELECTS: &[Select] = &[];
