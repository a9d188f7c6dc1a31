//! Security groups and their rules.

use hedgerow_core::sg::{Direction, Traffic};
use hedgerow_vpc::effect::Effect;

use crate::scenario::Scenario;

const OPEN: &str = "IpPermissions.1.IpProtocol=tcp IpPermissions.1.FromPort=443 \
                    IpPermissions.1.ToPort=443 IpPermissions.1.IpRanges.1.CidrIp=10.0.0.9/8";

fn two_groups() -> Scenario {
    Scenario::with_subnet()
        .make("app", "groupId", "CreateSecurityGroup GroupName=app GroupDescription=a VpcId={vpc}")
        .make("db", "groupId", "CreateSecurityGroup GroupName=db GroupDescription=d VpcId={vpc}")
}

#[test]
fn groups() {
    two_groups()
        .fails(
            "InvalidGroup.Duplicate",
            "CreateSecurityGroup GroupName=app GroupDescription=a VpcId={vpc}",
        )
        .fails(
            "InvalidParameterValue",
            "CreateSecurityGroup GroupName=sg-1 GroupDescription=a VpcId={vpc}",
        )
        .fails(
            "InvalidGroup.Duplicate",
            "CreateSecurityGroup GroupName=APP GroupDescription=a VpcId={vpc}",
        )
        .says(
            "Cannot use reserved security group name: default",
            "CreateSecurityGroup GroupName=Default GroupDescription=a VpcId={vpc}",
        )
        .fails(
            "InvalidVpcID.NotFound",
            "CreateSecurityGroup GroupName=x GroupDescription=a VpcId=vpc-1",
        )
        .fails(
            "DryRunOperation",
            "CreateSecurityGroup GroupName=x GroupDescription=a VpcId={vpc} DryRun=true",
        )
        .fails("MissingParameter", "CreateSecurityGroup GroupName=x VpcId={vpc}")
        .fails("InvalidGroupId.Malformed", "DescribeSecurityGroups GroupId.1=app")
        .fails("InvalidGroup.NotFound", "DescribeSecurityGroups GroupName.1=nobody")
        .fails("DryRunOperation", "DeleteSecurityGroup GroupId={app} DryRun=true")
        .fails("InvalidGroupId.Malformed", "DeleteSecurityGroup GroupId=app")
        .says("The security group 'sg-1' does not exist", "DescribeSecurityGroups GroupId.1=sg-1")
        .shows(
            "DescribeSecurityGroups Filter.1.Name=vpc-id Filter.1.Value.1={vpc}",
            "groupName",
            "app db default",
        )
        .shows(
            "DescribeSecurityGroups Filter.1.Name=group-name Filter.1.Value.1=a* \
             Filter.2.Name=vpc-id Filter.2.Value.1={vpc}",
            "groupId",
            "{app}",
        )
        .ok("DeleteSecurityGroup GroupId={app}")
        .effects(|effects| assert!(matches!(effects, [Effect::RemoveGroup { .. }])))
        .fails("InvalidGroup.NotFound", "DeleteSecurityGroup GroupId={app}");
}

#[test]
fn a_group_in_use_stays() {
    two_groups()
        .make(
            "default",
            "groupId",
            "DescribeSecurityGroups Filter.1.Name=group-name Filter.1.Value.1=default \
             Filter.2.Name=vpc-id Filter.2.Value.1={vpc}",
        )
        .fails("CannotDelete", "DeleteSecurityGroup GroupId={default}")
        .ok("CreateNetworkInterface SubnetId={subnet} SecurityGroupId.1={app}")
        .fails("DependencyViolation", "DeleteSecurityGroup GroupId={app}")
        .ok("AuthorizeSecurityGroupIngress GroupId={app} IpPermissions.1.IpProtocol=-1 \
             IpPermissions.1.Groups.1.GroupId={db}")
        .fails("DependencyViolation", "DeleteSecurityGroup GroupId={db}")
        .fails("DependencyViolation", "DeleteVpc VpcId={vpc}");
}

#[test]
fn rules_come_and_go() {
    let authorize = format!("AuthorizeSecurityGroupIngress GroupId={{app}} {OPEN}");
    let revoke = format!("RevokeSecurityGroupIngress GroupId={{app}} {OPEN}");
    two_groups()
        .shows(&authorize, "cidrIpv4", "10.0.0.0/8")
        .effects(|effects| {
            let [Effect::PutGroup { group, .. }] = effects else { panic!("{effects:?}") };
            let ingress: Vec<_> =
                group.rules.iter().filter(|r| r.direction == Direction::Ingress).collect();
            assert_eq!(ingress[0].traffic, Traffic::Tcp { from: 443, to: 443 });
            assert_eq!(group.rules.len(), 2, "and the allow-all egress rule");
        })
        .fails("InvalidPermission.Duplicate", &authorize)
        .says(
            "the specified rule \"peer: 10.0.0.0/8, TCP, from port: 443, to port: 443, ALLOW\" \
             already exists",
            &authorize,
        )
        .ok(&revoke)
        .fails("InvalidPermission.NotFound", &revoke)
        .make("rule", "securityGroupRuleId", &authorize)
        .shows("DescribeSecurityGroupRules SecurityGroupRuleId.1={rule}", "groupId", "{app}")
        .fails(
            "InvalidSecurityGroupRuleId.NotFound",
            "RevokeSecurityGroupEgress GroupId={app} SecurityGroupRuleId.1={rule}",
        )
        .ok("RevokeSecurityGroupIngress GroupId={app} SecurityGroupRuleId.1={rule}")
        .fails(
            "InvalidSecurityGroupRuleId.NotFound",
            "RevokeSecurityGroupIngress GroupId={app} SecurityGroupRuleId.1={rule}",
        )
        .ok("RevokeSecurityGroupEgress GroupId={app} IpProtocol=-1 CidrIp=0.0.0.0/0")
        .shows(
            "DescribeSecurityGroupRules Filter.1.Name=group-id Filter.1.Value.1={app}",
            "securityGroupRuleId",
            "",
        );
}

#[test]
fn impossible_rules() {
    let rule = |rule: &str| format!("AuthorizeSecurityGroupIngress GroupId={{app}} {rule}");
    let mut scenario = two_groups();
    for (code, words) in [
        ("MissingParameter", ""),
        (
            "MissingParameter",
            "IpPermissions.1.IpProtocol=tcp IpPermissions.1.FromPort=1 IpPermissions.1.ToPort=1",
        ),
        ("InvalidParameterValue", "IpProtocol=tcp CidrIp=0.0.0.0/0"),
        ("InvalidParameterValue", "IpProtocol=tcp FromPort=-1 ToPort=-1 CidrIp=0.0.0.0/0"),
        ("InvalidParameterValue", "IpProtocol=tcp FromPort=2 ToPort=1 CidrIp=0.0.0.0/0"),
        ("InvalidParameterValue", "IpProtocol=udp FromPort=1 ToPort=65536 CidrIp=0.0.0.0/0"),
        ("InvalidParameterValue", "IpProtocol=castle CidrIp=0.0.0.0/0"),
        ("InvalidParameterValue", "IpProtocol=icmp FromPort=-1 ToPort=0 CidrIp=0.0.0.0/0"),
        ("InvalidParameterValue", "IpProtocol=icmp FromPort=256 ToPort=0 CidrIp=0.0.0.0/0"),
        ("InvalidParameterValue", "IpProtocol=-1 CidrIp=10.0.0.0"),
        (
            "InvalidGroup.NotFound",
            "IpPermissions.1.IpProtocol=-1 IpPermissions.1.Groups.1.GroupId=sg-1",
        ),
        (
            "InvalidParameterValue",
            "IpPermissions.1.IpProtocol=-1 IpPermissions.1.Ipv6Ranges.1.CidrIpv6=::/129",
        ),
        (
            "InvalidParameterValue",
            "IpPermissions.1.IpProtocol=-1 IpPermissions.1.Ipv6Ranges.1.CidrIpv6=10.0.0.0/8",
        ),
        (
            "InvalidPrefixListID.NotFound",
            "IpPermissions.1.IpProtocol=-1 IpPermissions.1.PrefixListIds.1.PrefixListId=pl-1",
        ),
        (
            "InvalidPrefixListId.Malformed",
            "IpPermissions.1.IpProtocol=-1 IpPermissions.1.PrefixListIds.1.PrefixListId=list",
        ),
        (
            "InvalidVpcPeeringConnectionID.NotFound",
            "IpPermissions.1.IpProtocol=-1 IpPermissions.1.Groups.1.GroupId=sg-1 \
             IpPermissions.1.Groups.1.VpcPeeringConnectionId=pcx-1",
        ),
    ] {
        scenario = scenario.fails(code, &rule(words));
    }
    scenario.fails(
        "InvalidGroup.NotFound",
        &format!("AuthorizeSecurityGroupIngress GroupId=sg-1 {OPEN}"),
    );
}

#[test]
fn sixty_rules_per_direction() {
    let ranges = |from: usize, to: usize| -> String {
        (from..to)
            .map(|n| format!(" IpPermissions.1.IpRanges.{}.CidrIp=10.0.{n}.0/24", n + 1))
            .collect()
    };
    let rule = |ranges: String| {
        format!(
            "AuthorizeSecurityGroupIngress GroupId={{app}} IpPermissions.1.IpProtocol=-1{ranges}"
        )
    };
    two_groups()
        .fails("RulesPerSecurityGroupLimitExceeded", &rule(ranges(0, 61)))
        .ok(&rule(ranges(0, 60)))
        .fails("RulesPerSecurityGroupLimitExceeded", &rule(ranges(60, 61)))
        .ok("AuthorizeSecurityGroupEgress GroupId={app} IpProtocol=tcp FromPort=1 ToPort=1 \
             CidrIp=10.0.0.0/8");
}

#[test]
fn names_and_descriptions() {
    let mut scenario = Scenario::with_subnet();
    let long = "x".repeat(256);
    let create = |name: &str, description: &str| {
        format!("CreateSecurityGroup GroupName={name} GroupDescription={description} VpcId={{vpc}}")
    };
    for (name, description) in
        [("", "a"), ("x", ""), (&long, "a"), ("x", &long), ("a<b", "a"), ("x", "who's"), ("ä", "a")]
    {
        let code = if name.is_empty() || description.is_empty() {
            "MissingParameter"
        } else {
            "InvalidParameterValue"
        };
        scenario = scenario.fails(code, &create(name, description));
    }
    scenario
        .ok(&create(&long[1..], &long[1..]))
        .ok(&create("._-:/()#,@[]+=&;!$*", "all~that~is~allowed"))
        .says(
            "Value (ä) for parameter GroupName is invalid. Character sets beyond ASCII are not \
             supported.",
            &create("ä", "a"),
        );
}

#[test]
fn groups_by_what_their_rules_say() {
    let peers = "IpPermissions.1.IpProtocol=udp IpPermissions.1.FromPort=53 \
                 IpPermissions.1.ToPort=54 IpPermissions.1.IpRanges.1.CidrIp=10.9.0.0/16 \
                 IpPermissions.1.Ipv6Ranges.1.CidrIpv6=2001:DB8::1/64 \
                 IpPermissions.1.Groups.1.GroupId={db} \
                 IpPermissions.1.PrefixListIds.1.PrefixListId=pl-63a5400a";
    let mut scenario = two_groups()
        .ok(&format!("AuthorizeSecurityGroupIngress GroupId={{app}} {peers}"))
        .ok(&format!("AuthorizeSecurityGroupEgress GroupId={{app}} {peers}"));
    for (field, fits, not) in [
        ("cidr", "10.9.*", "10.8.0.0/16"),
        ("ipv6-cidr", "2001:db8::/64", "::/0"),
        ("prefix-list-id", "pl-63a5400a", "pl-2"),
        ("group-id", "{db}", "{app}"),
        ("group-name", "d?", "d"),
        ("user-id", "123456789012", "1"),
        ("from-port", "53", "54"),
        ("to-port", "54", "53"),
        ("protocol", "udp", "tcp"),
    ] {
        for prefix in ["ip-permission", "egress.ip-permission"] {
            let find = |value: &str| {
                format!(
                    "DescribeSecurityGroups Filter.1.Name={prefix}.{field} Filter.1.Value.1={value} \
                     Filter.2.Name=vpc-id Filter.2.Value.1={{vpc}}"
                )
            };
            let mut request = find(fits);
            // The group that the filter's value names is in the answer too.
            request.push_str(" Filter.3.Name=group-id Filter.3.Value.1={app}");
            scenario = scenario.shows(&request, "groupName", "app").shows(
                &format!("{} Filter.3.Name=group-id Filter.3.Value.1={{app}}", find(not)),
                "groupName",
                "",
            );
        }
    }
    scenario.fails(
        "InvalidParameterValue",
        "DescribeSecurityGroups Filter.1.Name=ip-permission.port Filter.1.Value.1=1",
    );
}

#[test]
fn groups_for_a_vpc() {
    let mut scenario = two_groups()
        .shows("GetSecurityGroupsForVpc VpcId={vpc}", "groupName", "app db default")
        .shows("GetSecurityGroupsForVpc VpcId={vpc}", "primaryVpcId", "{vpc} {vpc} {vpc}")
        .fails("InvalidVpcID.NotFound", "GetSecurityGroupsForVpc VpcId=vpc-1")
        .fails("MissingParameter", "GetSecurityGroupsForVpc")
        .fails("DryRunOperation", "GetSecurityGroupsForVpc VpcId={vpc} DryRun=true")
        .fails("InvalidParameterValue", "GetSecurityGroupsForVpc VpcId={vpc} MaxResults=4")
        .fails(
            "InvalidParameterValue",
            "GetSecurityGroupsForVpc VpcId={vpc} Filter.1.Name=vpc-id Filter.1.Value.1=x",
        );
    for (filter, value) in [
        ("group-id", "{app}"),
        ("group-name", "a*"),
        ("description", "a"),
        ("primary-vpc-id", "{vpc} Filter.2.Name=group-name Filter.2.Value.1=app"),
        ("owner-id", "123456789012 Filter.2.Name=group-name Filter.2.Value.1=app"),
    ] {
        let request = format!(
            "GetSecurityGroupsForVpc VpcId={{vpc}} Filter.1.Name={filter} Filter.1.Value.1={value}"
        );
        scenario = scenario.shows(&request, "groupId", "{app}");
    }
    for n in 0..4 {
        scenario = scenario
            .ok(&format!("CreateSecurityGroup GroupName=g{n} GroupDescription=g VpcId={{vpc}}"));
    }
    let scenario =
        scenario.make("token", "nextToken", "GetSecurityGroupsForVpc VpcId={vpc} MaxResults=5");
    assert_eq!(scenario.body().matches("<groupId>").count(), 5);
    let scenario =
        scenario.ok("GetSecurityGroupsForVpc VpcId={vpc} MaxResults=5 NextToken={token}");
    assert_eq!(scenario.body().matches("<groupId>").count(), 2);
    assert!(!scenario.body().contains("nextToken"));
}

#[test]
fn no_vpc_is_peered() {
    two_groups()
        .shows("DescribeSecurityGroupReferences GroupId.1={app}", "groupId", "")
        .fails("MissingParameter", "DescribeSecurityGroupReferences")
        .fails("InvalidGroup.NotFound", "DescribeSecurityGroupReferences GroupId.1=sg-1")
        .fails("DryRunOperation", "DescribeSecurityGroupReferences GroupId.1={app} DryRun=true")
        .shows("DescribeStaleSecurityGroups VpcId={vpc}", "groupId", "")
        .fails("InvalidVpcID.NotFound", "DescribeStaleSecurityGroups VpcId=vpc-1")
        .fails("InvalidParameterValue", "DescribeStaleSecurityGroups VpcId={vpc} MaxResults=256")
        .fails("DryRunOperation", "DescribeStaleSecurityGroups VpcId={vpc} DryRun=true");
}

#[test]
fn a_group_is_good_in_the_vpcs_that_it_is_associated_with() {
    let associate = "AssociateSecurityGroupVpc GroupId={app}";
    let authorize = "AuthorizeSecurityGroupIngress GroupId={app} IpPermissions.1.IpProtocol=-1 \
                     IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0/8";
    let puts = |effects: &[Effect]| {
        effects.iter().filter(|effect| matches!(effect, Effect::PutGroup { .. })).count()
    };
    Scenario::with_subnet()
        .make("app", "groupId", "CreateSecurityGroup GroupName=app GroupDescription=a VpcId={vpc}")
        .make("default", "vpcId", "DescribeVpcs Filter.1.Name=is-default Filter.1.Value.1=true")
        .make(
            "own",
            "groupId",
            "DescribeSecurityGroups Filter.1.Name=group-name Filter.1.Value.1=default \
             Filter.2.Name=vpc-id Filter.2.Value.1={vpc}",
        )
        .make("vpc2", "vpcId", "CreateVpc CidrBlock=10.1.0.0/16")
        .make("subnet2", "subnetId", "CreateSubnet VpcId={vpc2} CidrBlock=10.1.1.0/24")
        .fails(
            "InvalidParameter",
            "CreateNetworkInterface SubnetId={subnet2} SecurityGroupId.1={app}",
        )
        .fails("InvalidParameterValue", "AssociateSecurityGroupVpc GroupId={own} VpcId={vpc2}")
        .fails("InvalidParameterValue", &format!("{associate} VpcId={{default}}"))
        .fails("InvalidVpcID.NotFound", &format!("{associate} VpcId=vpc-1"))
        .fails("InvalidGroup.NotFound", "AssociateSecurityGroupVpc GroupId=sg-1 VpcId={vpc2}")
        .fails("Resource.AlreadyAssociated", &format!("{associate} VpcId={{vpc}}"))
        .shows(&format!("{associate} VpcId={{vpc2}}"), "state", "associating")
        .effects(|effects| assert_eq!(puts(effects), 2, "{effects:?}"))
        .fails("Resource.AlreadyAssociated", &format!("{associate} VpcId={{vpc2}}"))
        .shows("DescribeSecurityGroupVpcAssociations", "vpcId", "{vpc2}")
        .shows(
            "GetSecurityGroupsForVpc VpcId={vpc2} Filter.1.Name=group-name Filter.1.Value.1=app",
            "primaryVpcId",
            "{vpc}",
        )
        .make(
            "eni",
            "networkInterfaceId",
            "CreateNetworkInterface SubnetId={subnet2} SecurityGroupId.1={app}",
        )
        .ok(authorize)
        .effects(|effects| assert_eq!(puts(effects), 2, "a rule change reaches both VPCs"))
        .fails("DependencyViolation", "DisassociateSecurityGroupVpc GroupId={app} VpcId={vpc2}")
        .ok("DeleteNetworkInterface NetworkInterfaceId={eni}")
        .fails("DependencyViolation", "DeleteSecurityGroup GroupId={app}")
        .shows("DisassociateSecurityGroupVpc GroupId={app} VpcId={vpc2}", "state", "disassociating")
        .effects(|effects| assert!(matches!(effects, [Effect::RemoveGroup { .. }])))
        .fails(
            "InvalidAssociationID.NotFound",
            "DisassociateSecurityGroupVpc GroupId={app} VpcId={vpc2}",
        )
        .ok(&format!("{associate} VpcId={{vpc2}}"))
        .ok("DeleteSubnet SubnetId={subnet2}")
        .ok("DeleteVpc VpcId={vpc2}")
        .shows("DescribeSecurityGroupVpcAssociations", "vpcId", "")
        .ok("DeleteSecurityGroup GroupId={app}");
}
