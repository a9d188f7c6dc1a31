//! One request per action that succeeds in the [`world`](super::world).

use super::instances;

/// Requests of which the last is the action's.
pub struct Happy {
    pub requests: &'static [&'static str],
    /// What the action makes, as tags name it, if it takes tags.
    pub kind: Option<&'static str>,
}

impl Happy {
    pub fn action(&self) -> &'static str {
        let last = self.requests.last().expect("a request");
        last.split_whitespace().next().expect("an action")
    }
}

/// `"REQUEST"`, `"BEFORE", …, "REQUEST"`, each with `=> KIND` where tags are taken.
macro_rules! happy {
    ($($($request:literal),+ $(=> $kind:literal)?;)*) => {
        vec![$($crate::model::happy::Happy {
            requests: &[$($request),+],
            kind: None $(.or(Some($kind)))?,
        }),*]
    };
}
pub(super) use happy;

/// All of them.
pub fn all() -> Vec<Happy> {
    let mut all = network();
    all.extend(groups());
    all.extend(instances::happy());
    all
}

fn network() -> Vec<Happy> {
    happy! {
        "AssociateRouteTable RouteTableId={rtb} SubnetId={spare}";
        "AssociateVpcCidrBlock VpcId={vpc2} CidrBlock=10.30.0.0/16";
        "AttachInternetGateway InternetGatewayId={igw2} VpcId={vpc2}";
        "AssignPrivateNatGatewayAddress NatGatewayId={nat3} PrivateIpAddress.1=10.1.1.77";
        "AssociateNatGatewayAddress NatGatewayId={nat} AllocationId.1={eip2}";
        "DisassociateNatGatewayAddress NatGatewayId={nat} AssociationId.1={natassoc}";
        "UnassignPrivateNatGatewayAddress NatGatewayId={nat3} PrivateIpAddress.1=10.1.1.70";
        "CreateDefaultSubnet AvailabilityZone=us-west-2d";
        "DeleteSubnet SubnetId={default-a}", "DeleteSubnet SubnetId={default-b}",
        "DeleteSubnet SubnetId={default-c}",
        "DetachInternetGateway InternetGatewayId={default-igw} VpcId={default}",
        "DeleteVpc VpcId={default}", "CreateDefaultVpc";
        "CreateEgressOnlyInternetGateway VpcId={vpc2}" => "egress-only-internet-gateway";
        "CreateFlowLogs ResourceType=VPC ResourceId.1={vpc2} TrafficType=ALL LogGroupName=other \
         DeliverLogsPermissionArn=arn:aws:iam::123456789012:role/logs" => "vpc-flow-log";
        "CreateInternetGateway" => "internet-gateway";
        "CreateNetworkAcl VpcId={vpc}" => "network-acl";
        "CreateNetworkAclEntry NetworkAclId={acl} RuleNumber=7 Protocol=-1 RuleAction=allow \
         Egress=true CidrBlock=10.0.0.0/8";
        "CreateRoute RouteTableId={rtb} DestinationCidrBlock=203.0.113.0/24 GatewayId={igw}";
        "CreateRouteTable VpcId={vpc}" => "route-table";
        "CreateSubnet VpcId={vpc} CidrBlock=10.0.77.0/24" => "subnet";
        "CreateSubnetCidrReservation SubnetId={subnet} Cidr=10.0.1.240/28 ReservationType=prefix"
            => "subnet-cidr-reservation";
        "DeleteSubnetCidrReservation SubnetCidrReservationId={scr}";
        "GetSubnetCidrReservations SubnetId={spare}";
        "CreateTags ResourceId.1={vpc} Tag.1.Key=more Tag.1.Value=1";
        "CreateVpc CidrBlock=10.77.0.0/16" => "vpc";
        "DeleteEgressOnlyInternetGateway EgressOnlyInternetGatewayId={eigw2}";
        "DeleteFlowLogs FlowLogId.1={fl}";
        "DeleteInternetGateway InternetGatewayId={igw2}";
        "DeleteNetworkAcl NetworkAclId={acl2}";
        "DeleteNetworkAclEntry NetworkAclId={acl} RuleNumber=100 Egress=false";
        "DeleteRoute RouteTableId={rtb} DestinationCidrBlock=0.0.0.0/0";
        "DeleteRouteTable RouteTableId={rtb2}";
        "DeleteSubnet SubnetId={spare}";
        "DeleteTags ResourceId.1={vpc} Tag.1.Key=world";
        "DeleteVpc VpcId={bare}";
        "DescribeAccountAttributes";
        "DescribeAvailabilityZones";
        "DescribeEgressOnlyInternetGateways";
        "DescribeFlowLogs";
        "DescribeInternetGateways";
        "DescribeNetworkAcls";
        "DescribeRegions";
        "DescribeRouteTables";
        "DescribeSubnets";
        "DescribeTags";
        "DescribeVpcAttribute VpcId={vpc} Attribute=enableDnsSupport";
        "DescribeVpcs";
        "DetachInternetGateway InternetGatewayId={default-igw} VpcId={default}";
        "DisassociateRouteTable AssociationId={rtbassoc}";
        "DisassociateVpcCidrBlock AssociationId={block}";
        "ModifySubnetAttribute SubnetId={spare} MapPublicIpOnLaunch.Value=true";
        "ModifyVpcAttribute VpcId={vpc} EnableDnsHostnames.Value=true";
        "ModifyVpcTenancy VpcId={vpc2} InstanceTenancy=default";
        "ReplaceNetworkAclAssociation AssociationId={aclassoc} NetworkAclId={acl3}";
        "ReplaceNetworkAclEntry NetworkAclId={acl} RuleNumber=100 Protocol=-1 RuleAction=allow \
         Egress=false CidrBlock=10.0.0.0/8";
        "ReplaceRoute RouteTableId={rtb} DestinationCidrBlock=0.0.0.0/0 NatGatewayId={nat}";
        "ReplaceRouteTableAssociation AssociationId={rtbassoc} RouteTableId={rtb3}";
    }
}

fn groups() -> Vec<Happy> {
    happy! {
        "AuthorizeSecurityGroupEgress GroupId={app} IpPermissions.1.IpProtocol=tcp \
         IpPermissions.1.FromPort=1 IpPermissions.1.ToPort=2 \
         IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0/8" => "security-group-rule";
        "AuthorizeSecurityGroupIngress GroupId={app} IpPermissions.1.IpProtocol=tcp \
         IpPermissions.1.FromPort=1 IpPermissions.1.ToPort=2 \
         IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0/8" => "security-group-rule";
        "AssociateSecurityGroupVpc GroupId={web} VpcId={bare}";
        "DisassociateSecurityGroupVpc GroupId={web} VpcId={vpc2}";
        "DescribeSecurityGroupVpcAssociations";
        "CreateManagedPrefixList PrefixListName=new AddressFamily=IPv4 MaxEntries=3 \
         Entry.1.Cidr=10.0.0.0/8" => "prefix-list";
        "CreateSecurityGroup GroupName=new GroupDescription=new VpcId={vpc}" => "security-group";
        "DeleteManagedPrefixList PrefixListId={pl2}";
        "DeleteSecurityGroup GroupId={app2}";
        "DescribeManagedPrefixLists";
        "DescribePrefixLists";
        "DescribeSecurityGroupReferences GroupId.1={app}";
        "DescribeSecurityGroupRules";
        "DescribeSecurityGroups";
        "DescribeStaleSecurityGroups VpcId={vpc}";
        "GetManagedPrefixListAssociations PrefixListId={pl}";
        "GetManagedPrefixListEntries PrefixListId={pl}";
        "GetSecurityGroupsForVpc VpcId={vpc}";
        "ModifyManagedPrefixList PrefixListId={pl2} PrefixListName=other";
        "ModifySecurityGroupRules GroupId={app} SecurityGroupRule.1.SecurityGroupRuleId={sgr} \
         SecurityGroupRule.1.SecurityGroupRule.IpProtocol=tcp \
         SecurityGroupRule.1.SecurityGroupRule.FromPort=5 \
         SecurityGroupRule.1.SecurityGroupRule.ToPort=6 \
         SecurityGroupRule.1.SecurityGroupRule.CidrIpv4=10.0.0.0/8";
        "RestoreManagedPrefixListVersion PrefixListId={pl} PreviousVersion=1 CurrentVersion=2";
        "RevokeSecurityGroupEgress GroupId={app} SecurityGroupRuleId.1={sgr-out}";
        "RevokeSecurityGroupIngress GroupId={app} SecurityGroupRuleId.1={sgr}";
        "UpdateSecurityGroupRuleDescriptionsEgress GroupId={app} \
         SecurityGroupRuleDescription.1.SecurityGroupRuleId={sgr-out} \
         SecurityGroupRuleDescription.1.Description=out";
        "UpdateSecurityGroupRuleDescriptionsIngress GroupId={app} \
         SecurityGroupRuleDescription.1.SecurityGroupRuleId={sgr} \
         SecurityGroupRuleDescription.1.Description=in";
    }
}
