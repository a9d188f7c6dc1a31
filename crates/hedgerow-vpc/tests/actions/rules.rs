//! Security-group rules: peers of every kind, duplicates, changes, descriptions, tags, pages.

use hedgerow_core::sg::{Direction, Peer};
use hedgerow_vpc::effect::Effect;

use crate::scenario::Scenario;

const HTTPS: &str = "IpPermissions.1.IpProtocol=tcp IpPermissions.1.FromPort=443 \
                     IpPermissions.1.ToPort=443";

fn two_groups() -> Scenario {
    Scenario::with_subnet()
        .make("app", "groupId", "CreateSecurityGroup GroupName=app GroupDescription=a VpcId={vpc}")
        .make("db", "groupId", "CreateSecurityGroup GroupName=db GroupDescription=d VpcId={vpc}")
}

fn ingress(words: &str) -> String {
    format!("AuthorizeSecurityGroupIngress GroupId={{app}} {words}")
}

/// Peers of the rules that let something in, in the group that an answer's effect puts.
fn peers(effects: &[Effect]) -> Vec<Peer> {
    let [Effect::PutGroup { group, .. }] = effects else { panic!("{effects:?}") };
    let ingress = group.rules.iter().filter(|rule| rule.direction == Direction::Ingress);
    ingress.map(|rule| rule.peer.clone()).collect()
}

#[test]
fn every_kind_of_peer() {
    two_groups()
        .ok(&ingress(&format!(
            "{HTTPS} IpPermissions.1.IpRanges.1.CidrIp=10.1.2.3/16 \
             IpPermissions.1.IpRanges.1.Description=four \
             IpPermissions.1.Ipv6Ranges.1.CidrIpv6=2001:DB8::9/32 \
             IpPermissions.1.Ipv6Ranges.1.Description=six \
             IpPermissions.1.Groups.1.GroupId={{db}} IpPermissions.1.Groups.1.UserId=123456789012 \
             IpPermissions.1.PrefixListIds.1.PrefixListId=pl-63a5400a \
             IpPermissions.1.PrefixListIds.1.Description=list"
        )))
        .effects(|effects| {
            assert_eq!(peers(effects).len(), 4, "one each");
            assert!(peers(effects).contains(&Peer::V6("2001:db8::/32".parse().unwrap())));
            assert!(peers(effects).contains(&Peer::V4("198.18.240.0/24".parse().unwrap())));
        })
        .shows("DescribeSecurityGroups GroupId.1={app}", "cidrIp", "10.1.0.0/16 0.0.0.0/0")
        .shows("DescribeSecurityGroups GroupId.1={app}", "cidrIpv6", "2001:db8::/32")
        .shows("DescribeSecurityGroups GroupId.1={app}", "prefixListId", "pl-63a5400a")
        .shows("DescribeSecurityGroups GroupId.1={app}", "description", "four six list")
        .make(
            "six",
            "securityGroupRuleId",
            &ingress(
                "IpPermissions.1.IpProtocol=icmpv6 \
                 IpPermissions.1.Ipv6Ranges.1.CidrIpv6=::/0",
            ),
        )
        .shows("DescribeSecurityGroupRules SecurityGroupRuleId.1={six}", "cidrIpv6", "::/0")
        .shows("DescribeSecurityGroupRules SecurityGroupRuleId.1={six}", "ipProtocol", "icmpv6")
        .shows("DescribeSecurityGroupRules SecurityGroupRuleId.1={six}", "fromPort", "-1")
        .shows(
            "RevokeSecurityGroupIngress GroupId={app} IpPermissions.1.IpProtocol=58 \
             IpPermissions.1.FromPort=-1 IpPermissions.1.ToPort=-1 \
             IpPermissions.1.Ipv6Ranges.1.CidrIpv6=::1/0",
            "cidrIpv6",
            "::/0",
        )
        .shows(
            &format!(
                "RevokeSecurityGroupIngress GroupId={{app}} {HTTPS} \
                 IpPermissions.1.PrefixListIds.1.PrefixListId=pl-63a5400a"
            ),
            "prefixListId",
            "pl-63a5400a",
        );
}

#[test]
fn duplicates_and_overlaps() {
    let wide = ingress(&format!("{HTTPS} IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0/8"));
    two_groups()
        .ok(&wide)
        // A rule within another is another rule.
        .ok(&ingress(&format!("{HTTPS} IpPermissions.1.IpRanges.1.CidrIp=10.1.0.0/16")))
        .ok(&ingress("IpProtocol=tcp FromPort=0 ToPort=65535 CidrIp=10.0.0.0/8"))
        .ok(&ingress("IpProtocol=-1 CidrIp=10.0.0.0/8"))
        // The same in other words is the same, with another description too.
        .fails(
            "InvalidPermission.Duplicate",
            &ingress("IpProtocol=6 FromPort=443 ToPort=443 CidrIp=10.9.9.9/8"),
        )
        .fails(
            "InvalidPermission.Duplicate",
            &format!("{wide} IpPermissions.1.IpRanges.1.Description=other"),
        )
        .says(
            "The same permission must not appear multiple times",
            &ingress(&format!(
                "{HTTPS} IpPermissions.1.IpRanges.1.CidrIp=10.2.0.0/16 \
                 IpPermissions.1.IpRanges.2.CidrIp=10.2.9.9/16"
            )),
        )
        .ok("AuthorizeSecurityGroupEgress GroupId={app} IpProtocol=tcp FromPort=443 ToPort=443 \
             CidrIp=10.0.0.0/8")
        .fails(
            "DryRunOperation",
            &ingress("IpProtocol=udp FromPort=1 ToPort=1 CidrIp=0.0.0.0/0 DryRun=true"),
        );
}

#[test]
fn groups_by_name_only_in_the_default_vpc() {
    let by_name = "IpPermissions.1.IpProtocol=-1 IpPermissions.1.Groups.1.GroupName";
    two_groups()
        .make("default", "vpcId", "DescribeVpcs Filter.1.Name=is-default Filter.1.Value.1=true")
        .make("web", "groupId", "CreateSecurityGroup GroupName=web GroupDescription=w")
        .make("cache", "groupId", "CreateSecurityGroup GroupName=cache GroupDescription=c")
        .shows(
            &format!("AuthorizeSecurityGroupIngress GroupName=cache {by_name}=web"),
            "groupId",
            "{cache} {web}",
        )
        .says(
            "The security group 'x' does not exist in default VPC '{default}'",
            &format!("AuthorizeSecurityGroupIngress GroupName=cache {by_name}=x"),
        )
        .fails(
            "InvalidGroup.NotFound",
            &format!("AuthorizeSecurityGroupIngress GroupName=cache {by_name}=x"),
        )
        .says(
            "Invalid value 'db' for groupName. You may not reference Amazon VPC security groups by \
             name. Please use the corresponding id for this operation.",
            &ingress(&format!("{by_name}=db")),
        )
        .fails("InvalidParameterValue", &ingress(&format!("{by_name}=db")))
        // A group of another VPC, or of another account, is out of reach.
        .fails(
            "InvalidGroup.NotFound",
            &ingress("IpPermissions.1.IpProtocol=-1 IpPermissions.1.Groups.1.GroupId={web}"),
        )
        .fails(
            "InvalidGroup.NotFound",
            &ingress(
                "IpPermissions.1.IpProtocol=-1 IpPermissions.1.Groups.1.GroupId={db} \
                 IpPermissions.1.Groups.1.UserId=210987654321",
            ),
        );
}

#[test]
fn rules_change() {
    let modify = |words: &str| {
        format!(
            "ModifySecurityGroupRules GroupId={{app}} SecurityGroupRule.1.SecurityGroupRuleId={{rule}} {words}"
        )
    };
    let say = |words: &str| {
        words
            .split_whitespace()
            .map(|word| format!("SecurityGroupRule.1.SecurityGroupRule.{word} "))
            .collect::<String>()
    };
    let full = say("IpProtocol=udp FromPort=53 ToPort=53 CidrIpv4=10.7.0.0/16 Description=dns");
    let show = "DescribeSecurityGroupRules SecurityGroupRuleId.1={rule}";
    two_groups()
        .make(
            "rule",
            "securityGroupRuleId",
            &ingress(&format!("{HTTPS} IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0/8")),
        )
        .ok(&ingress("IpProtocol=tcp FromPort=80 ToPort=80 CidrIp=10.0.0.0/8"))
        .fails("DryRunOperation", &modify(&format!("{full} DryRun=true")))
        .ok(&modify(&full))
        .effects(|effects| {
            assert_eq!(peers(effects)[0], Peer::V4("10.7.0.0/16".parse().unwrap()));
        })
        .shows(show, "cidrIpv4", "10.7.0.0/16")
        .shows(show, "ipProtocol", "udp")
        .shows(show, "description", "dns")
        .shows(show, "isEgress", "false")
        .fails(
            "InvalidPermission.Duplicate",
            &modify(&say("IpProtocol=tcp FromPort=80 ToPort=80 CidrIpv4=10.0.0.0/8")),
        )
        .fails("InvalidParameterValue", &modify(&say("IpProtocol=-1 CidrIpv6=::/0")))
        .fails("InvalidParameterValue", &modify(&say("IpProtocol=x CidrIpv4=10.0.0.0/8")))
        .fails(
            "InvalidParameterCombination",
            &modify(&say("IpProtocol=-1 CidrIpv4=10.0.0.0/8 CidrIpv6=::/0")),
        )
        .fails("InvalidGroup.NotFound", &modify(&say("IpProtocol=-1 ReferencedGroupId=sg-1")))
        .fails("InvalidPrefixListID.NotFound", &modify(&say("IpProtocol=-1 PrefixListId=pl-1")))
        .fails("MissingParameter", &modify(&say("IpProtocol=-1")))
        .fails("MissingParameter", &modify(""))
        .fails("MissingParameter", "ModifySecurityGroupRules GroupId={app}")
        .fails("InvalidGroup.NotFound", "ModifySecurityGroupRules GroupId=sg-1")
        .fails("InvalidSecurityGroupRuleId.NotFound", &modify(&full).replace("{app}", "{db}"))
        .fails("InvalidSecurityGroupRuleId.Malformed", &modify(&full).replace("{rule}", "r"));
}

#[test]
fn descriptions_change() {
    let rule = format!("{HTTPS} IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0/8");
    let update = "UpdateSecurityGroupRuleDescriptionsIngress GroupId={app}";
    let show = "DescribeSecurityGroupRules SecurityGroupRuleId.1={rule}";
    let by_id = |text: &str| {
        format!(
            "{update} SecurityGroupRuleDescription.1.SecurityGroupRuleId={{rule}} \
             SecurityGroupRuleDescription.1.Description={text}"
        )
    };
    let odd = format!("{update} {rule} IpPermissions.1.IpRanges.1.Description=<b>");
    two_groups()
        .make("rule", "securityGroupRuleId", &ingress(&rule))
        .ok(&format!("{update} {rule} IpPermissions.1.IpRanges.1.Description=web"))
        .effects(|effects| assert!(effects.is_empty(), "packets do not read"))
        .shows(show, "description", "web")
        .ok(&by_id("other"))
        .shows(show, "description", "other")
        .ok(&format!("{update} {rule}"))
        .shows(show, "description", "")
        .fails("InvalidParameterValue", &odd)
        .says(
            "Invalid rule description. Valid descriptions are strings less than 256 characters \
             from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*",
            &odd,
        )
        .fails("InvalidParameterValue", &by_id(&"x".repeat(256)))
        .fails("MissingParameter", update)
        .fails("InvalidParameterCombination", &format!("{} {rule}", by_id("x")))
        .fails("DryRunOperation", &format!("{} DryRun=true", by_id("x")))
        .fails("InvalidPermission.NotFound", &format!("{update} {rule}").replace("{app}", "{db}"))
        .fails("InvalidGroup.NotFound", &by_id("x").replace("{app}", "sg-1"))
        .fails("InvalidSecurityGroupRuleId.NotFound", &by_id("x").replace("Ingress", "Egress"))
        .fails(
            "InvalidPermission.NotFound",
            &format!("{update} {rule}").replace("Ingress", "Egress"),
        );
}

#[test]
fn rules_have_ids_and_tags() {
    let rule = ingress(&format!(
        "{HTTPS} IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0/8 \
         TagSpecification.1.ResourceType=security-group-rule TagSpecification.1.Tag.1.Key=team \
         TagSpecification.1.Tag.1.Value=red"
    ));
    two_groups()
        .fails("InvalidParameterValue", &rule.replace("security-group-rule", "instance"))
        .make("rule", "securityGroupRuleId", &rule)
        .ok("CreateTags ResourceId.1={rule} Tag.1.Key=stage Tag.1.Value=test")
        .shows(
            "DescribeSecurityGroupRules Filter.1.Name=tag:team Filter.1.Value.1=r?d \
             Filter.2.Name=tag-key Filter.2.Value.1=st*",
            "securityGroupRuleId",
            "{rule}",
        )
        .shows(
            "DescribeTags Filter.1.Name=resource-type Filter.1.Value.1=security-group-rule",
            "resourceId",
            "{rule} {rule}",
        )
        .ok("RevokeSecurityGroupIngress GroupId={app} SecurityGroupRuleId.1={rule}")
        .shows("DescribeTags Filter.1.Name=resource-id Filter.1.Value.1={rule}", "key", "")
        .fails("InvalidSecurityGroupRuleId.NotFound", "CreateTags ResourceId.1={rule} Tag.1.Key=a");
}

#[test]
fn rules_by_filter_and_page() {
    let ranges: String =
        (1..=6).map(|n| format!(" IpPermissions.1.IpRanges.{n}.CidrIp=10.{n}.0.0/16")).collect();
    let find = "DescribeSecurityGroupRules Filter.1.Name=group-id Filter.1.Value.1={app}";
    let scenario = two_groups()
        .ok("RevokeSecurityGroupEgress GroupId={app} IpProtocol=-1 CidrIp=0.0.0.0/0")
        .make("rule", "securityGroupRuleId", &ingress(&format!("{HTTPS}{ranges}")))
        .shows(
            "DescribeSecurityGroupRules Filter.1.Name=security-group-rule-id \
             Filter.1.Value.1={rule}",
            "groupId",
            "{app}",
        )
        .fails("InvalidParameterValue", &format!("{find} Filter.2.Name=cidr Filter.2.Value.1=x"))
        .fails("InvalidParameterValue", &format!("{find} MaxResults=4"))
        .fails("InvalidParameterValue", &format!("{find} NextToken=x"))
        .fails(
            "InvalidSecurityGroupRuleId.Malformed",
            "DescribeSecurityGroupRules SecurityGroupRuleId.1=x",
        )
        .fails(
            "InvalidSecurityGroupRuleId.NotFound",
            "DescribeSecurityGroupRules SecurityGroupRuleId.1=sgr-1",
        )
        .fails("DryRunOperation", &format!("{find} DryRun=true"))
        .make("token", "nextToken", &format!("{find} MaxResults=5"));
    assert_eq!(scenario.body().matches("<securityGroupRuleId>").count(), 5);
    let scenario = scenario.ok(&format!("{find} MaxResults=5 NextToken={{token}}"));
    assert_eq!(scenario.body().matches("<securityGroupRuleId>").count(), 1);
    assert!(!scenario.body().contains("nextToken"));
}

#[test]
fn the_default_vpc_forgives_what_is_not_there() {
    let scenario = Scenario::empty()
        .make("web", "groupId", "CreateSecurityGroup GroupName=web GroupDescription=w")
        .ok("AuthorizeSecurityGroupIngress GroupName=web IpProtocol=tcp FromPort=80 ToPort=80 \
             CidrIp=10.0.0.0/8")
        .shows(
            "RevokeSecurityGroupIngress GroupId={web} IpPermissions.1.IpProtocol=tcp \
             IpPermissions.1.FromPort=80 IpPermissions.1.ToPort=80 \
             IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0/8 \
             IpPermissions.1.IpRanges.2.CidrIp=10.1.0.0/16",
            "cidrIp",
            "10.1.0.0/16",
        );
    assert!(scenario.body().contains("<unknownIpPermissionSet><item>"));
    scenario
        .shows("DescribeSecurityGroups GroupId.1={web}", "fromPort", "")
        .fails("MissingParameter", "RevokeSecurityGroupIngress GroupId={web}")
        .fails("MissingParameter", "RevokeSecurityGroupIngress IpProtocol=-1 CidrIp=0.0.0.0/0")
        .fails(
            "DryRunOperation",
            "RevokeSecurityGroupEgress GroupId={web} IpProtocol=-1 CidrIp=0.0.0.0/0 DryRun=true",
        );
}

#[test]
fn families_have_a_quota_each() {
    let ranges = |count: usize| -> String {
        (0..count)
            .map(|n| format!(" IpPermissions.1.Ipv6Ranges.{}.CidrIpv6=2001:db8:{n}::/48", n + 1))
            .collect()
    };
    let wide: String = (0..60)
        .map(|n| format!(" IpPermissions.1.IpRanges.{}.CidrIp=10.{n}.0.0/16", n + 1))
        .collect();
    let over = "RulesPerSecurityGroupLimitExceeded";
    two_groups()
        .fails(over, &ingress(&format!("{HTTPS}{}", ranges(61))))
        .ok(&ingress(&format!("{HTTPS}{}", ranges(60))))
        .ok(&ingress(&format!("{HTTPS}{wide}")))
        // A group counts as a rule of both families.
        .fails(over, &ingress(&format!("{HTTPS} IpPermissions.1.Groups.1.GroupId={{db}}")));
}
