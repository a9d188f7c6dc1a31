//! A region where everything exists in pairs that are unlike each other.
//!
//! `{vpc}` is described with every filter of [`selects`](super::selects), `{vpc2}` is the one that
//! must not be found; so it is for `{subnet}`, `{rtb}` and the others. What belongs together is in
//! `{vpc}`. What has the plain name has the tag `world=one`.

use std::sync::OnceLock;

use hedgerow_vpc::state::Quotas;

use super::instances;
use crate::scenario::Scenario;

/// A copy of the world.
pub fn world() -> Scenario {
    static WORLD: OnceLock<Scenario> = OnceLock::new();
    let build = || tagged(instances::build(groups(gateways(network(empty())))));
    WORLD.get_or_init(build).clone()
}

/// With room for more elastic addresses and NAT gateways than there is by default.
fn empty() -> Scenario {
    let quotas = Quotas {
        elastic_addresses: 10,
        elastic_addresses_per_nat_gateway: 8,
        nat_gateways_per_zone: 20,
        ..Quotas::default()
    };
    Scenario::empty().quotas(quotas)
}

fn network(scenario: Scenario) -> Scenario {
    let scenario = scenario.make("default", "vpcId", "DescribeVpcs").make(
        "default-igw",
        "internetGatewayId",
        "DescribeInternetGateways",
    );
    let by_zone = |scenario: Scenario, zone: &str| {
        let request = format!(
            "DescribeSubnets Filter.1.Name=availability-zone Filter.1.Value.1=us-west-2{zone}"
        );
        scenario.make(&format!("default-{zone}"), "subnetId", &request)
    };
    ["a", "b", "c", "d"]
        .into_iter()
        .fold(scenario, by_zone)
        .ok("DeleteSubnet SubnetId={default-d}")
        .make("vpc", "vpcId", "CreateVpc CidrBlock=10.0.0.0/16")
        .make("block", "associationId", "AssociateVpcCidrBlock VpcId={vpc} CidrBlock=10.20.0.0/16")
        .ok("ModifyVpcAttribute VpcId={vpc} EnableDnsHostnames.Value=true")
        .make(
            "block6",
            "associationId",
            "AssociateVpcCidrBlock VpcId={vpc} AmazonProvidedIpv6CidrBlock=true",
        )
        .make("vpc2", "vpcId", "CreateVpc CidrBlock=10.1.0.0/16 InstanceTenancy=dedicated")
        .make("bare", "vpcId", "CreateVpc CidrBlock=10.2.0.0/16")
        .make(
            "subnet",
            "subnetId",
            "CreateSubnet VpcId={vpc} CidrBlock=10.0.1.0/24 AvailabilityZone=us-west-2a",
        )
        .ok("ModifySubnetAttribute SubnetId={subnet} MapPublicIpOnLaunch.Value=true")
        .make(
            "subnet6",
            "associationId",
            "AssociateSubnetCidrBlock SubnetId={subnet} Ipv6CidrBlock=3fff:23:0:100::/64",
        )
        .make(
            "spare",
            "subnetId",
            "CreateSubnet VpcId={vpc} CidrBlock=10.0.2.0/24 AvailabilityZone=us-west-2a",
        )
        .make(
            "subnet2",
            "subnetId",
            "CreateSubnet VpcId={vpc2} CidrBlock=10.1.1.0/24 AvailabilityZone=us-west-2b",
        )
        .make(
            "scr",
            "subnetCidrReservationId",
            "CreateSubnetCidrReservation SubnetId={spare} Cidr=10.0.2.240/28 ReservationType=prefix",
        )
        .make(
            "scr2",
            "subnetCidrReservationId",
            "CreateSubnetCidrReservation SubnetId={spare} Cidr=10.0.2.224/28 \
             ReservationType=explicit",
        )
        .make("acl", "networkAclId", "CreateNetworkAcl VpcId={vpc}")
        .make("acl2", "networkAclId", "CreateNetworkAcl VpcId={vpc2}")
        .make("acl3", "networkAclId", "CreateNetworkAcl VpcId={vpc}")
        .ok("CreateNetworkAclEntry NetworkAclId={acl} RuleNumber=100 Protocol=6 RuleAction=allow \
             Egress=false CidrBlock=10.9.0.0/16 PortRange.From=80 PortRange.To=81")
        .ok("CreateNetworkAclEntry NetworkAclId={acl} RuleNumber=110 Protocol=1 RuleAction=allow \
             Egress=false CidrBlock=10.9.0.0/16 Icmp.Type=8 Icmp.Code=0")
        .ok("CreateNetworkAclEntry NetworkAclId={acl} RuleNumber=120 Protocol=17 RuleAction=allow \
             Egress=true Ipv6CidrBlock=2001:db8::/32 PortRange.From=53 PortRange.To=53")
        .make(
            "born",
            "networkAclAssociationId",
            "DescribeNetworkAcls Filter.1.Name=association.subnet-id Filter.1.Value.1={subnet}",
        )
        .make(
            "aclassoc",
            "newAssociationId",
            "ReplaceNetworkAclAssociation AssociationId={born} NetworkAclId={acl}",
        )
        .make(
            "fl",
            "item",
            "CreateFlowLogs ResourceType=VPC ResourceId.1={vpc} TrafficType=ALL \
             LogGroupName=flows DeliverLogsPermissionArn=arn:aws:iam::123456789012:role/logs",
        )
        .make(
            "fl2",
            "item",
            "CreateFlowLogs ResourceType=Subnet ResourceId.1={subnet2} TrafficType=REJECT \
             LogDestinationType=s3 LogDestination=arn:aws:s3:::flows",
        )
}

fn gateways(scenario: Scenario) -> Scenario {
    scenario
        .make("igw", "internetGatewayId", "CreateInternetGateway")
        .ok("AttachInternetGateway InternetGatewayId={igw} VpcId={vpc}")
        .make("igw2", "internetGatewayId", "CreateInternetGateway")
        .make("eigw", "egressOnlyInternetGatewayId", "CreateEgressOnlyInternetGateway VpcId={vpc}")
        .make(
            "eigw2",
            "egressOnlyInternetGatewayId",
            "CreateEgressOnlyInternetGateway VpcId={vpc2}",
        )
        .make("eip", "allocationId", "AllocateAddress Domain=vpc")
        .make("nat", "natGatewayId", "CreateNatGateway SubnetId={subnet} AllocationId={eip}")
        .make("eip4", "allocationId", "AllocateAddress")
        .make(
            "natassoc",
            "associationId",
            "AssociateNatGatewayAddress NatGatewayId={nat} AllocationId.1={eip4}",
        )
        .make(
            "nat3",
            "natGatewayId",
            "CreateNatGateway SubnetId={subnet2} ConnectivityType=private \
             SecondaryPrivateIpAddress.1=10.1.1.70",
        )
        .later(60)
        .make("rtb", "routeTableId", "CreateRouteTable VpcId={vpc}")
        .make("rtb2", "routeTableId", "CreateRouteTable VpcId={vpc2}")
        .make("rtb3", "routeTableId", "CreateRouteTable VpcId={vpc}")
        .make(
            "routed",
            "prefixListId",
            "CreateManagedPrefixList PrefixListName=routed AddressFamily=IPv4 MaxEntries=2 \
             Entry.1.Cidr=203.0.113.0/25",
        )
        .ok("CreateRoute RouteTableId={rtb} DestinationPrefixListId={routed} GatewayId={igw}")
        .make(
            "rtbassoc",
            "associationId",
            "AssociateRouteTable RouteTableId={rtb} SubnetId={subnet}",
        )
        .ok("CreateRoute RouteTableId={rtb} DestinationCidrBlock=0.0.0.0/0 GatewayId={igw}")
        .ok("CreateRoute RouteTableId={rtb} DestinationCidrBlock=192.0.2.0/24 NatGatewayId={nat}")
        .ok("CreateRoute RouteTableId={rtb} DestinationIpv6CidrBlock=::/0 \
             EgressOnlyInternetGatewayId={eigw}")
}

fn groups(scenario: Scenario) -> Scenario {
    let rule = |action: &str, peer: &str, port: u16| {
        format!(
            "AuthorizeSecurityGroup{action} GroupId={{app}} IpPermissions.1.IpProtocol=tcp \
             IpPermissions.1.FromPort={port} IpPermissions.1.ToPort={} IpPermissions.1.{peer}",
            port + 1
        )
    };
    scenario
        .make(
            "pl",
            "prefixListId",
            "CreateManagedPrefixList PrefixListName=one AddressFamily=IPv4 MaxEntries=5 \
             Entry.1.Cidr=10.7.0.0/16",
        )
        .ok("ModifyManagedPrefixList PrefixListId={pl} CurrentVersion=1 \
             AddEntry.1.Cidr=10.8.0.0/16")
        .make(
            "pl2",
            "prefixListId",
            "CreateManagedPrefixList PrefixListName=two AddressFamily=IPv6 MaxEntries=5",
        )
        .make(
            "many",
            "prefixListId",
            "CreateManagedPrefixList PrefixListName=many AddressFamily=IPv4 MaxEntries=9 \
             Entry.1.Cidr=10.1.0.0/16 Entry.2.Cidr=10.2.0.0/16 Entry.3.Cidr=10.3.0.0/16 \
             Entry.4.Cidr=10.4.0.0/16 Entry.5.Cidr=10.5.0.0/16 Entry.6.Cidr=10.6.0.0/16",
        )
        .make("app", "groupId", "CreateSecurityGroup GroupName=app GroupDescription=a VpcId={vpc}")
        .make("web", "groupId", "CreateSecurityGroup GroupName=web GroupDescription=w VpcId={vpc}")
        .make(
            "app2",
            "groupId",
            "CreateSecurityGroup GroupName=app2 GroupDescription=a2 VpcId={vpc2}",
        )
        .make("sgr", "securityGroupRuleId", &rule("Ingress", "IpRanges.1.CidrIp=10.5.0.0/16", 80))
        .ok(&rule("Ingress", "Ipv6Ranges.1.CidrIpv6=2001:db8::/32", 80))
        .ok(&rule("Ingress", "PrefixListIds.1.PrefixListId={pl}", 80))
        .ok(&rule("Ingress", "Groups.1.GroupId={web}", 80))
        .make(
            "sgr-out",
            "securityGroupRuleId",
            &rule("Egress", "IpRanges.1.CidrIp=10.6.0.0/16", 53),
        )
        .ok(&rule("Egress", "Ipv6Ranges.1.CidrIpv6=2001:db8:1::/48", 53))
        .ok(&rule("Egress", "PrefixListIds.1.PrefixListId={pl}", 53))
        .ok(&rule("Egress", "Groups.1.GroupId={web}", 53))
        .ok("AssociateSecurityGroupVpc GroupId={web} VpcId={vpc2}")
        .make("other", "groupId", "CreateSecurityGroup GroupName=o GroupDescription=o VpcId={vpc}")
        .ok("AssociateSecurityGroupVpc GroupId={other} VpcId={bare}")
        .make(
            "sgr2",
            "securityGroupRuleId",
            "DescribeSecurityGroupRules Filter.1.Name=group-id Filter.1.Value.1={app2}",
        )
}

/// The names of the world's first halves that can have tags.
const TAGGED: &[&str] = &[
    "vpc", "subnet", "scr", "acl", "fl", "igw", "eigw", "nat", "rtb", "pl", "app", "sgr", "eip",
    "i", "eni",
];

fn tagged(scenario: Scenario) -> Scenario {
    let scenario = scenario
        .ok("CreateTags ResourceId.1={spare} Tag.1.Key=other Tag.1.Value=two")
        .make("free", "availableIpAddressCount", "DescribeSubnets SubnetId.1={subnet}");
    TAGGED.iter().fold(scenario, |scenario, name| {
        scenario.ok(&format!("CreateTags ResourceId.1={{{name}}} Tag.1.Key=world Tag.1.Value=one"))
    })
}
