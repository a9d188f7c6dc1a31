//! Pages: none is larger than asked for, and together they hold everything once.

use std::collections::BTreeSet;

use hedgerow_vpc::state::Quotas;

use super::coverage::{happies, ready};
use super::{facts, world};

/// Page size that every action takes.
const SIZE: usize = 5;

/// A describing action, the element that names its records, and what makes ten more of them, where
/// `{n}` is a number from 30 on.
const PAGES: &[(&str, &str, &str)] = &[
    (
        "DescribeEgressOnlyInternetGateways",
        "egressOnlyInternetGatewayId",
        "CreateEgressOnlyInternetGateway VpcId={vpc2}",
    ),
    (
        "DescribeFlowLogs",
        "flowLogId",
        "CreateFlowLogs ResourceType=VPC ResourceId.1={vpc} TrafficType=ALL LogGroupName=g{n} \
         DeliverLogsPermissionArn=arn:aws:iam::123456789012:role/logs",
    ),
    ("DescribeInstanceCreditSpecifications", "instanceId", RUN),
    ("DescribeInstanceStatus", "instanceId", RUN),
    ("DescribeInstanceTypeOfferings", "instanceType", ""),
    ("DescribeInstanceTypes", "instanceType", ""),
    ("DescribeInstances", "instanceId", RUN),
    ("DescribeInternetGateways", "internetGatewayId", "CreateInternetGateway"),
    ("DescribeManagedPrefixLists", "prefixListId", ""),
    (
        "DescribeNatGateways",
        "natGatewayId",
        "CreateNatGateway SubnetId={subnet} ConnectivityType=private",
    ),
    ("DescribeNetworkAcls", "networkAclId", "CreateNetworkAcl VpcId={vpc}"),
    (
        "DescribeNetworkInterfacePermissions",
        "networkInterfacePermissionId",
        "CreateNetworkInterfacePermission NetworkInterfaceId={eni} AwsAccountId=3333333333{n} \
         Permission=INSTANCE-ATTACH",
    ),
    ("DescribeNetworkInterfaces", "networkInterfaceId", CREATE),
    ("DescribeRouteTables", "routeTableId", "CreateRouteTable VpcId={vpc}"),
    ("DescribeSecurityGroupRules", "securityGroupRuleId", ""),
    (
        "DescribeSecurityGroups",
        "securityGroupArn",
        "CreateSecurityGroup GroupName=g{n} GroupDescription=g VpcId={vpc}",
    ),
    (
        "DescribeSecurityGroupVpcAssociations",
        "groupId",
        "CreateSecurityGroup GroupName=g{n} GroupDescription=g VpcId={vpc}; \
         AssociateSecurityGroupVpc GroupId={last} VpcId={vpc2}",
    ),
    ("DescribeSubnets", "subnetId", "CreateSubnet VpcId={vpc} CidrBlock=10.0.{n}.0/24"),
    ("DescribeTags", "resourceId", ""),
    (
        "DescribeTrunkInterfaceAssociations",
        "associationId",
        "CreateNetworkInterface SubnetId={subnet}; \
         AssociateTrunkInterface TrunkInterfaceId={trunk} BranchInterfaceId={last} VlanId={n}",
    ),
    ("DescribeVpcs", "vpcId", "CreateVpc CidrBlock=10.{n}.0.0/16"),
    (
        "GetManagedPrefixListAssociations PrefixListId={pl}",
        "resourceId",
        "CreateSecurityGroup GroupName=g{n} GroupDescription=g VpcId={vpc}; \
         AuthorizeSecurityGroupIngress GroupId={last} IpPermissions.1.IpProtocol=-1 \
         IpPermissions.1.PrefixListIds.1.PrefixListId={pl}",
    ),
    ("GetManagedPrefixListEntries PrefixListId={many}", "cidr", ""),
    (
        "GetSubnetCidrReservations SubnetId={subnet}",
        "subnetCidrReservationId",
        "CreateSubnetCidrReservation SubnetId={subnet} Cidr=10.0.1.{n}/32 ReservationType=explicit",
    ),
    (
        "GetSecurityGroupsForVpc VpcId={vpc}",
        "groupId",
        "CreateSecurityGroup GroupName=g{n} GroupDescription=g VpcId={vpc}",
    ),
];

/// Actions that page, but have too little to say for two pages here.
const SHORT: &[&str] =
    &["DescribeAddressesAttribute", "DescribePrefixLists", "DescribeStaleSecurityGroups"];

const RUN: &str =
    "RunInstances ImageId=ami-1 InstanceType=t3.micro MinCount=1 MaxCount=1 SubnetId={subnet}";
const CREATE: &str = "CreateNetworkInterface SubnetId={subnet}";

#[test]
fn every_action_that_pages_is_tried() {
    let action = |request: &'static str| request.split_whitespace().next().expect("an action");
    let tried: BTreeSet<&str> =
        PAGES.iter().map(|(request, ..)| action(request)).chain(SHORT.iter().copied()).collect();
    let pages = facts().into_iter().filter(|(_, facts)| facts.has("NextToken"));
    assert_eq!(tried, pages.map(|(action, _)| action).collect());
}

#[test]
fn pages_hold_everything_once() {
    for (request, element, more) in PAGES {
        let quotas = Quotas {
            nat_gateways_per_zone: 20,
            vpcs: 20,
            internet_gateways: 20,
            ..Quotas::default()
        };
        let mut scenario = world::world().quotas(quotas);
        for n in 30..40 {
            for one in more.split("; ").filter(|one| !one.is_empty()) {
                scenario = scenario.ok(&one.replace("{n}", &n.to_string()));
                let made = ["networkInterfaceId", "groupId"];
                if let Some(made) = made.into_iter().find(|made| !scenario.all(made).is_empty()) {
                    scenario = scenario.name("last", made);
                }
            }
        }
        scenario = scenario.ok(request);
        let whole: BTreeSet<String> = scenario.all(element).into_iter().collect();
        let (mut seen, mut pages) = (BTreeSet::new(), 0);
        let mut page = format!("{request} MaxResults={SIZE}");
        loop {
            scenario = scenario.ok(&page);
            let ids: BTreeSet<String> = scenario.all(element).into_iter().collect();
            // A resource with several tags may be on two pages.
            let again = ids.intersection(&seen).count();
            assert!(ids.len() <= SIZE && (again == 0 || *element == "resourceId"), "{page}");
            seen.extend(ids);
            pages += 1;
            if !scenario.body().contains("<nextToken>") {
                break;
            }
            scenario = scenario.name("next", "nextToken");
            page = format!("{request} MaxResults={SIZE} NextToken={{next}}");
        }
        assert!(pages > 1, "{request} has one page only");
        assert_eq!(seen, whole, "{request}");
        assert_eq!(scenario.code_of(&format!("{request} NextToken=junk")), "InvalidParameterValue");
    }
}

#[test]
fn pages_are_as_small_and_large_as_ec2s() {
    for (action, facts) in facts() {
        let Some((least, most)) = facts.pages else { continue };
        let (scenario, request) = ready(&happies()[action]);
        let code = |size: usize| scenario.code_of(&format!("{request} MaxResults={size}"));
        for size in [least, most] {
            assert_eq!(code(size), "", "{action} {size}");
        }
        for size in [0, least - 1, most + 1] {
            assert_eq!(code(size), "InvalidParameterValue", "{action} {size}");
        }
    }
}
