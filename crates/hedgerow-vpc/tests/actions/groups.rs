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
        .fails("MissingParameter", "CreateSecurityGroup GroupName=x VpcId={vpc}")
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
            "UnsupportedOperation",
            "IpPermissions.1.IpProtocol=-1 IpPermissions.1.Ipv6Ranges.1.CidrIpv6=::/0",
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
