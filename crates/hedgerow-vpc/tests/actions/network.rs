//! VPCs and subnets.

use hedgerow_vpc::effect::{Effect, InterfaceView};

use crate::scenario::Scenario;
use hedgerow_vpc::state::Quotas;

#[test]
fn vpcs() {
    Scenario::empty()
        .fails("InvalidVpc.Range", "CreateVpc CidrBlock=10.0.0.0/8")
        .fails("InvalidVpc.Range", "CreateVpc CidrBlock=10.0.0.0/29")
        .make("vpc", "vpcId", "CreateVpc CidrBlock=10.0.0.0/16")
        .effects(|effects| {
            let [
                Effect::PutVpc(_),
                Effect::PutRouteTable { .. },
                Effect::PutNetworkAcl { .. },
                Effect::PutGroup { .. },
            ] = effects
            else {
                panic!("{effects:?}")
            };
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
            let [
                Effect::RemoveGroup { .. },
                Effect::RemoveRouteTable { .. },
                Effect::RemoveNetworkAcl { .. },
                Effect::RemoveVpc(_),
            ] = effects
            else {
                panic!("{effects:?}")
            };
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
fn what_is_set_aside_is_not_chosen() {
    let reserve = "CreateSubnetCidrReservation SubnetId={small}";
    let interface = "CreateNetworkInterface SubnetId={small}";
    let first = |view: &InterfaceView| view.addresses[0].octets()[3];
    Scenario::with_subnet()
        .make("small", "subnetId", "CreateSubnet VpcId={vpc} CidrBlock=10.0.2.0/26")
        .make(
            "explicit",
            "subnetCidrReservationId",
            &format!("{reserve} ReservationType=explicit Cidr=10.0.2.0/28 Description=kept"),
        )
        .make(
            "prefix",
            "subnetCidrReservationId",
            &format!("{reserve} ReservationType=prefix Cidr=10.0.2.32/28"),
        )
        .says(
            "Reservation CIDR 10.0.2.0/27 has overlap with existing reserved CIDR block",
            &format!("{reserve} ReservationType=prefix Cidr=10.0.2.0/27"),
        )
        .shows("GetSubnetCidrReservations SubnetId={small}", "cidr", "10.0.2.0/28 10.0.2.32/28")
        .ok(interface)
        .interface(|view| assert_eq!(first(view), 16, "behind what is set aside"))
        .ok(&format!("{interface} PrivateIpAddress=10.0.2.5"))
        .interface(|view| assert_eq!(first(view), 5, "as named"))
        .ok(&format!("{interface} Ipv4PrefixCount=1"))
        .interface(|view| {
            assert_eq!(first(view), 17);
            assert_eq!(view.addresses[1].octets()[3], 32, "of what is set aside for prefixes");
        })
        .fails("InsufficientCidrBlocks", &format!("{interface} Ipv4PrefixCount=1"))
        // 63 is the broadcast address: 18 to 31 and 48 to 62 are left to choose.
        .ok(&format!("{interface} SecondaryPrivateIpAddressCount=28"))
        .fails("InsufficientFreeAddressesInSubnet", interface)
        .fails(
            "InsufficientFreeAddressesInSubnet",
            &format!("{interface} PrivateIpAddress=10.0.2.6 SecondaryPrivateIpAddressCount=1"),
        )
        .ok(&format!("{interface} PrivateIpAddress=10.0.2.6"))
        .shows(
            "DeleteSubnetCidrReservation SubnetCidrReservationId={explicit}",
            "description",
            "kept",
        )
        .ok(interface)
        .interface(|view| assert_eq!(first(view), 4, "free to be chosen again"))
        .fails(
            "InvalidSubnetCidrReservationID.NotFound",
            "DeleteSubnetCidrReservation SubnetCidrReservationId={explicit}",
        );
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

#[test]
fn secondary_blocks() {
    let routes = "DescribeRouteTables Filter.1.Name=vpc-id Filter.1.Value.1={vpc}";
    let associate = "AssociateVpcCidrBlock VpcId={vpc} CidrBlock";
    Scenario::with_subnet()
        .fails("CidrConflict", &format!("{associate}=10.0.128.0/20"))
        .fails("InvalidVpc.Range", &format!("{associate}=10.1.0.0/8"))
        .fails("InvalidVpcID.NotFound", "AssociateVpcCidrBlock VpcId=vpc-1 CidrBlock=10.1.0.0/16")
        .fails("MissingParameter", "AssociateVpcCidrBlock VpcId={vpc}")
        .make("assoc", "associationId", &format!("{associate}=10.1.0.0/16"))
        .effects(|effects| {
            let [Effect::PutVpc(view), Effect::PutRouteTable { table, .. }] = effects else {
                panic!("{effects:?}")
            };
            assert_eq!((view.blocks.len(), table.routes.len()), (2, 2));
        })
        .shows(routes, "destinationCidrBlock", "10.0.0.0/16 10.1.0.0/16")
        .make("second", "subnetId", "CreateSubnet VpcId={vpc} CidrBlock=10.1.1.0/24")
        .fails("InvalidCidrBlock.InUse", "DisassociateVpcCidrBlock AssociationId={assoc}")
        .ok("DeleteSubnet SubnetId={second}")
        .ok("DisassociateVpcCidrBlock AssociationId={assoc}")
        .shows(routes, "destinationCidrBlock", "10.0.0.0/16")
        .fails(
            "InvalidVpcCidrBlockAssociationID.NotFound",
            "DisassociateVpcCidrBlock AssociationId={assoc}",
        )
        .make("first", "associationId", "DescribeVpcs VpcId.1={vpc}")
        .fails("OperationNotPermitted", "DisassociateVpcCidrBlock AssociationId={first}")
        .ok(&format!("{associate}=10.2.0.0/16"))
        .ok(&format!("{associate}=10.3.0.0/16"))
        .ok(&format!("{associate}=10.4.0.0/16"))
        .ok(&format!("{associate}=10.5.0.0/16"))
        .fails("CidrLimitExceeded", &format!("{associate}=10.6.0.0/16"))
        .shows(
            "DescribeVpcs Filter.1.Name=cidr-block-association.cidr-block Filter.1.Value.1=10.5.*",
            "vpcId",
            "{vpc}",
        );
}

#[test]
fn default_vpc_and_subnets_can_be_made_again() {
    let gone = |scenario: Scenario, name: &str| {
        let first = format!(
            "DescribeSubnets Filter.1.Name=availability-zone Filter.1.Value.1=us-west-2{name}"
        );
        scenario.make("one", "subnetId", &first).ok("DeleteSubnet SubnetId={one}")
    };
    let scenario = Scenario::empty()
        .fails("DefaultVpcAlreadyExists", "CreateDefaultVpc")
        .fails(
            "DefaultSubnetAlreadyExistsInAvailabilityZone",
            "CreateDefaultSubnet AvailabilityZone=us-west-2a",
        )
        .fails("InvalidParameterValue", "CreateDefaultSubnet AvailabilityZone=us-west-9a");
    let scenario = gone(scenario, "b").shows(
        "CreateDefaultSubnet AvailabilityZone=us-west-2b",
        "cidrBlock",
        "172.31.16.0/20",
    );
    let scenario = gone(scenario, "b")
        .fails("MissingParameter", "CreateDefaultSubnet")
        .fails(
            "InvalidParameterCombination",
            "CreateDefaultSubnet AvailabilityZone=us-west-2b AvailabilityZoneId=usw2-az2",
        )
        .shows("CreateDefaultSubnet AvailabilityZoneId=usw2-az2", "availabilityZone", "us-west-2b");
    let scenario = ["a", "b", "c", "d"].into_iter().fold(scenario, gone);
    scenario
        .make("vpc", "vpcId", "DescribeVpcs")
        .make("igw", "internetGatewayId", "DescribeInternetGateways")
        .ok("DetachInternetGateway InternetGatewayId={igw} VpcId={vpc}")
        .ok("DeleteVpc VpcId={vpc}")
        .shows("DescribeAccountAttributes AttributeName.1=default-vpc", "attributeValue", "none")
        .fails("VPCIdNotSpecified", "CreateSecurityGroup GroupName=a GroupDescription=a")
        .fails("DefaultVpcDoesNotExist", "CreateDefaultSubnet AvailabilityZone=us-west-2a")
        .make("again", "vpcId", "CreateDefaultVpc")
        .shows("DescribeSubnets", "defaultForAz", "true true true true")
        .shows("DescribeAccountAttributes AttributeName.1=default-vpc", "attributeValue", "{again}")
        .shows("DescribeAccountAttributes AttributeName.1=max-elastic-ips", "attributeValue", "5")
        .fails("InvalidParameterValue", "DescribeAccountAttributes AttributeName.1=x");
}

#[test]
fn tenancy_is_kept() {
    Scenario::empty()
        .fails("InvalidParameterValue", "CreateVpc CidrBlock=10.0.0.0/16 InstanceTenancy=host")
        .make("vpc", "vpcId", "CreateVpc CidrBlock=10.0.0.0/16 InstanceTenancy=dedicated")
        .shows("DescribeVpcs VpcId.1={vpc}", "instanceTenancy", "dedicated")
        .fails("InvalidParameterValue", "ModifyVpcTenancy VpcId={vpc} InstanceTenancy=dedicated")
        .fails("InvalidVpcID.NotFound", "ModifyVpcTenancy VpcId=vpc-1 InstanceTenancy=default")
        .shows("ModifyVpcTenancy VpcId={vpc} InstanceTenancy=default", "return", "true")
        .shows("DescribeVpcs VpcId.1={vpc}", "instanceTenancy", "default");
}

#[test]
fn quotas() {
    let two = Quotas {
        vpcs: 2,
        subnets_per_vpc: 1,
        groups: 3,
        route_tables_per_vpc: 2,
        routes_per_table: 1,
        network_acls_per_vpc: 2,
        entries_per_acl: 1,
        internet_gateways: 2,
        blocks_per_vpc: 1,
        ..Quotas::default()
    };
    let entry = "CreateNetworkAclEntry NetworkAclId={acl} Protocol=-1 RuleAction=allow \
                 CidrBlock=10.0.0.0/8";
    let route = "CreateRoute RouteTableId={rtb} GatewayId={igw}";
    Scenario::with_subnet()
        .quotas(two)
        .fails("VpcLimitExceeded", "CreateVpc CidrBlock=10.1.0.0/16")
        .says("The maximum number of VPCs has been reached.", "CreateVpc CidrBlock=10.1.0.0/16")
        .fails("SubnetLimitExceeded", "CreateSubnet VpcId={vpc} CidrBlock=10.0.2.0/24")
        .fails("CidrLimitExceeded", "AssociateVpcCidrBlock VpcId={vpc} CidrBlock=10.1.0.0/16")
        .ok("CreateSecurityGroup GroupName=a GroupDescription=a VpcId={vpc}")
        .fails(
            "SecurityGroupLimitExceeded",
            "CreateSecurityGroup GroupName=b GroupDescription=b VpcId={vpc}",
        )
        .make("igw", "internetGatewayId", "CreateInternetGateway")
        .ok("AttachInternetGateway InternetGatewayId={igw} VpcId={vpc}")
        .fails("InternetGatewayLimitExceeded", "CreateInternetGateway")
        .make("rtb", "routeTableId", "CreateRouteTable VpcId={vpc}")
        .fails("RouteTableLimitExceeded", "CreateRouteTable VpcId={vpc}")
        .ok(&format!("{route} DestinationCidrBlock=0.0.0.0/0"))
        .fails("RouteLimitExceeded", &format!("{route} DestinationCidrBlock=192.0.2.0/24"))
        .ok(&format!("{route} DestinationIpv6CidrBlock=::/0"))
        .make("acl", "networkAclId", "CreateNetworkAcl VpcId={vpc}")
        .fails("NetworkAclLimitExceeded", "CreateNetworkAcl VpcId={vpc}")
        .ok(&format!("{entry} RuleNumber=1 Egress=true"))
        .ok(&format!("{entry} RuleNumber=1 Egress=false"))
        .fails("NetworkAclEntryLimitExceeded", &format!("{entry} RuleNumber=2 Egress=true"));
}
