//! The policies that ship for AWS, `deploy/iam/`: enough for what the controller and the agent call
//! (the requests of `crates/hedgerow-cloud/src/ec2.rs`), and not more.

use super::client::{ADMIN, Vpc};

/// A furnished VPC with `key` bound to a shipped document.
fn with(key: &str, file: &str) -> Vpc {
    let mut vpc = Vpc::start();
    vpc.furnish();
    let path = format!("{}/../../deploy/iam/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    vpc.admin("PUT", &format!("iam/{key}"), &text);
    vpc
}

/// A CreateNetworkInterface as hedgerow-cloud sends it, tagged with its owner.
fn create(kind: &str, owner: &str) -> String {
    let kind = if kind.is_empty() { String::new() } else { format!(" InterfaceType={kind}") };
    format!(
        "CreateNetworkInterface SubnetId={{subnet}} Description=hedgerow{kind} \
         SecurityGroupId.1={{group}} TagSpecification.1.ResourceType=network-interface \
         TagSpecification.1.Tag.1.Key=eks:eni:owner TagSpecification.1.Tag.1.Value={owner}"
    )
}

const ATTACH: &str =
    "AttachNetworkInterface NetworkInterfaceId={own} InstanceId={instance} DeviceIndex=1";
const DELETE_ON_TERMINATION: &str = "ModifyNetworkInterfaceAttribute NetworkInterfaceId={own} Attachment.AttachmentId={attachment} \
     Attachment.DeleteOnTermination=true";

#[test]
fn the_controllers() {
    const KEY: &str = "AKIACONTROLLER";
    const OWNER: &str = "eks-vpc-resource-controller";
    let mut vpc = with(KEY, "controller.json");
    vpc.ok(KEY, "DescribeInstances InstanceId.1={instance}");
    vpc.ok(KEY, "DescribeSubnets SubnetId.1={subnet}");
    vpc.ok(
        KEY,
        "DescribeNetworkInterfaces Filter.1.Name=tag:eks:eni:owner Filter.1.Value.1=x MaxResults=1000",
    );
    vpc.make(KEY, "own", "networkInterfaceId", &create("trunk", OWNER));
    vpc.make(KEY, "attachment", "attachmentId", ATTACH);
    vpc.ok(KEY, DELETE_ON_TERMINATION);
    vpc.make(KEY, "branch", "networkInterfaceId", &create("branch", OWNER));
    vpc.ok(
        KEY,
        "CreateNetworkInterfacePermission NetworkInterfaceId={branch} AwsAccountId=111122223333 \
         Permission=INSTANCE-ATTACH",
    );
    vpc.make(
        KEY,
        "association",
        "associationId",
        "AssociateTrunkInterface TrunkInterfaceId={own} BranchInterfaceId={branch} VlanId=1 \
         ClientToken=a",
    );
    vpc.ok(KEY, "DisassociateTrunkInterface AssociationId={association} ClientToken=b");
    vpc.ok(KEY, "DeleteNetworkInterface NetworkInterfaceId={branch}");
    vpc.ok(KEY, "DetachNetworkInterface AttachmentId={attachment}");
    vpc.ok(KEY, "DeleteNetworkInterface NetworkInterfaceId={own}");
    vpc.make(ADMIN, "agents", "networkInterfaceId", &create("", "amazon-vpc-cni"));
    for request in [
        "DeleteNetworkInterface NetworkInterfaceId={other}",
        "DeleteNetworkInterface NetworkInterfaceId={agents}",
        "ModifyNetworkInterfaceAttribute NetworkInterfaceId={other} SecurityGroupId.1={group}",
        "AttachNetworkInterface NetworkInterfaceId={other} InstanceId={instance} DeviceIndex=2",
        "CreateTags ResourceId.1={other} Tag.1.Key=eks:eni:owner \
         Tag.1.Value=eks-vpc-resource-controller",
        "DeleteTags ResourceId.1={agents} Tag.1.Key=eks:eni:owner",
        "AuthorizeSecurityGroupIngress GroupId={group} IpPermissions.1.IpProtocol=-1 \
         IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0",
        "TerminateInstances InstanceId.1={instance}",
        "DeleteSecurityGroup GroupId={group}",
        "DeleteSubnet SubnetId={subnet}",
        "DeleteVpc VpcId={vpc}",
        "DeleteVpc VpcId={vpc} DryRun=true",
        "CreateVpc CidrBlock=10.1.0.0/16",
        "RunInstances ImageId=ami-1 InstanceType=m5.large MinCount=1 MaxCount=1 SubnetId={subnet}",
        "DescribeVpcs",
    ] {
        vpc.fails(KEY, "UnauthorizedOperation", request);
    }
}

#[test]
fn the_agents() {
    const KEY: &str = "AKIAAGENT";
    const OWNER: &str = "amazon-vpc-cni";
    let mut vpc = with(KEY, "agent.json");
    vpc.ok(KEY, "DescribeInstances InstanceId.1={instance}");
    vpc.ok(KEY, "DescribeSubnets SubnetId.1={subnet}");
    vpc.make(KEY, "own", "networkInterfaceId", &create("", OWNER));
    vpc.make(KEY, "attachment", "attachmentId", ATTACH);
    vpc.ok(KEY, DELETE_ON_TERMINATION);
    vpc.make(
        KEY,
        "address",
        "privateIpAddress",
        "AssignPrivateIpAddresses NetworkInterfaceId={own} SecondaryPrivateIpAddressCount=1",
    );
    vpc.ok(KEY, "UnassignPrivateIpAddresses NetworkInterfaceId={own} PrivateIpAddress.1={address}");
    vpc.ok(KEY, "DetachNetworkInterface AttachmentId={attachment}");
    vpc.ok(KEY, "DeleteNetworkInterface NetworkInterfaceId={own}");
    vpc.make(ADMIN, "own", "networkInterfaceId", &create("", "eks-vpc-resource-controller"));
    vpc.make(ADMIN, "attachment", "attachmentId", ATTACH);
    for request in [
        "DetachNetworkInterface AttachmentId={attachment}",
        "DeleteNetworkInterface NetworkInterfaceId={own}",
        "DeleteNetworkInterface NetworkInterfaceId={other}",
        "CreateTags ResourceId.1={other} Tag.1.Key=eks:eni:owner Tag.1.Value=amazon-vpc-cni",
        "AssociateTrunkInterface TrunkInterfaceId={own} BranchInterfaceId={other} VlanId=1",
        "CreateNetworkInterfacePermission NetworkInterfaceId={other} AwsAccountId=111122223333 \
         Permission=INSTANCE-ATTACH",
        "RevokeSecurityGroupEgress GroupId={group} IpPermissions.1.IpProtocol=-1",
        "TerminateInstances InstanceId.1={instance}",
        "DeleteVpc VpcId={vpc}",
        "DescribeVpcs",
    ] {
        vpc.fails(KEY, "UnauthorizedOperation", request);
    }
}
