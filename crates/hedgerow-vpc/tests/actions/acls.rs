//! Network ACLs.

use hedgerow_vpc::effect::{AclEntry, AclView, Effect};

use crate::scenario::Scenario;

/// `{vpc}`, `{subnet}`, its default list `{default}` and a new one `{acl}`.
fn with_acl() -> Scenario {
    Scenario::with_subnet()
        .make(
            "default",
            "networkAclId",
            "DescribeNetworkAcls Filter.1.Name=vpc-id Filter.1.Value.1={vpc}",
        )
        .name("assoc", "networkAclAssociationId")
        .make("acl", "networkAclId", "CreateNetworkAcl VpcId={vpc}")
}

fn acl(effects: &[Effect]) -> &AclView {
    match effects {
        [Effect::PutNetworkAcl { acl, .. }] => acl,
        other => panic!("not one ACL in {other:?}"),
    }
}

#[test]
fn the_default_list_lets_everything_pass() {
    let all = "DescribeNetworkAcls Filter.1.Name=vpc-id Filter.1.Value.1={vpc}";
    Scenario::empty()
        .make("vpc", "vpcId", "CreateVpc CidrBlock=10.0.0.0/16")
        .effects(|effects| {
            let acls = effects.iter().filter_map(|effect| match effect {
                Effect::PutNetworkAcl { acl, .. } => Some(acl),
                _ => None,
            });
            let acls: Vec<&AclView> = acls.collect();
            assert_eq!((acls[0].ingress.len(), acls[0].egress.len()), (1, 1));
            assert!(acls[0].ingress[0].allow && acls[0].ingress[0].protocol.is_none());
        })
        .shows(all, "default", "true")
        .shows(all, "ruleNumber", "100 32767 100 32767")
        .shows(all, "ruleAction", "allow deny allow deny")
        .name("default", "networkAclId")
        .fails("InvalidParameterValue", "DeleteNetworkAcl NetworkAclId={default}")
        .make("subnet", "subnetId", "CreateSubnet VpcId={vpc} CidrBlock=10.0.1.0/24")
        .shows(all, "subnetId", "{subnet}")
        .ok("DeleteSubnet SubnetId={subnet}")
        .shows(all, "subnetId", "")
        .ok("DeleteVpc VpcId={vpc}");
}

#[test]
fn entries() {
    let entry = |number: &str, rest: &str| {
        format!(
            "CreateNetworkAclEntry NetworkAclId={{acl}} Egress=false RuleNumber={number} {rest}"
        )
    };
    let http = "Protocol=6 RuleAction=allow CidrBlock=10.0.0.0/8 PortRange.From=80 PortRange.To=81";
    with_acl()
        .effects(|effects| assert!(acl(effects).ingress.is_empty()))
        .ok(&entry("200", http))
        .ok(&entry(
            "100",
            "Protocol=icmp RuleAction=deny CidrBlock=0.0.0.0/0 Icmp.Type=8 Icmp.Code=-1",
        ))
        .effects(|effects| {
            let ingress = &acl(effects).ingress;
            let numbers: Vec<u16> = ingress.iter().map(|entry| entry.number).collect();
            assert_eq!(numbers, [100, 200]);
            let cidr = "10.0.0.0/8".parse().expect("prefix");
            let ports = Some((80, 81));
            let http =
                AclEntry { number: 200, allow: true, protocol: Some(6), ports, icmp: None, cidr };
            assert_eq!((ingress[0].icmp, &ingress[1]), (Some((Some(8), None)), &http));
        })
        .ok(&entry("300", "Protocol=-1 RuleAction=allow Ipv6CidrBlock=::/0"))
        .effects(|effects| {
            let all = acl(effects).ingress.last().map(|entry| entry.cidr.to_string());
            assert_eq!(all.as_deref(), Some("::/0"));
        })
        .fails("NetworkAclEntryAlreadyExists", &entry("200", http))
        .fails("InvalidParameterValue", &entry("0", http))
        .fails("InvalidParameterValue", &entry("32767", http))
        .fails("MissingParameter", &entry("1", "Protocol=6 RuleAction=allow CidrBlock=0.0.0.0/0"))
        .fails("MissingParameter", &entry("1", "Protocol=1 RuleAction=allow CidrBlock=0.0.0.0/0"))
        .fails("MissingParameter", &entry("1", "Protocol=-1 RuleAction=allow"))
        .fails(
            "InvalidParameterValue",
            &entry("1", "Protocol=x RuleAction=allow CidrBlock=0.0.0.0/0"),
        )
        .fails(
            "InvalidParameterValue",
            &entry("1", "Protocol=-1 RuleAction=ask CidrBlock=0.0.0.0/0"),
        )
        .fails("DryRunOperation", &entry("1", &format!("{http} DryRun=true")))
        .fails(
            "InvalidNetworkAclID.NotFound",
            &format!("CreateNetworkAclEntry NetworkAclId=acl-1 Egress=true RuleNumber=1 {http}"),
        )
        .ok(&format!(
            "ReplaceNetworkAclEntry NetworkAclId={{acl}} Egress=false RuleNumber=100 {http}"
        ))
        .effects(|effects| assert_eq!(acl(effects).ingress[0].protocol, Some(6)))
        .fails(
            "InvalidNetworkAclEntry.NotFound",
            &format!(
                "ReplaceNetworkAclEntry NetworkAclId={{acl}} Egress=true RuleNumber=100 {http}"
            ),
        )
        .shows(
            "DescribeNetworkAcls Filter.1.Name=entry.port-range.to Filter.1.Value.1=81",
            "networkAclId",
            "{acl}",
        )
        .ok("DeleteNetworkAclEntry NetworkAclId={acl} Egress=false RuleNumber=100")
        .effects(|effects| assert_eq!(acl(effects).ingress.len(), 2))
        .fails(
            "InvalidNetworkAclEntry.NotFound",
            "DeleteNetworkAclEntry NetworkAclId={acl} Egress=false RuleNumber=100",
        );
}

#[test]
fn twenty_entries_per_direction() {
    let entry = |number: u16| {
        format!(
            "CreateNetworkAclEntry NetworkAclId={{acl}} Egress=true RuleNumber={number} \
             Protocol=-1 RuleAction=allow CidrBlock=0.0.0.0/0"
        )
    };
    let scenario = (1..=20).fold(with_acl(), |scenario, number| scenario.ok(&entry(number)));
    scenario.fails("NetworkAclEntryLimitExceeded", &entry(21));
}

#[test]
fn a_subnet_changes_its_list() {
    let mut key = 0;
    with_acl()
        .effects(|effects| key = acl(effects).key)
        .fails(
            "InvalidNetworkAclID.NotFound",
            "ReplaceNetworkAclAssociation AssociationId={assoc} NetworkAclId=acl-1",
        )
        .fails(
            "InvalidAssociationID.NotFound",
            "ReplaceNetworkAclAssociation AssociationId=aclassoc-1 NetworkAclId={acl}",
        )
        .make(
            "assoc2",
            "newAssociationId",
            "ReplaceNetworkAclAssociation AssociationId={assoc} NetworkAclId={acl}",
        )
        .effects(|effects| {
            let [Effect::PutSubnet(view)] = effects else { panic!("{effects:?}") };
            assert_eq!(view.acl, key);
        })
        .shows(
            "DescribeNetworkAcls Filter.1.Name=association.subnet-id Filter.1.Value.1={subnet}",
            "vpcId",
            "{vpc}",
        )
        .fails("DependencyViolation", "DeleteNetworkAcl NetworkAclId={acl}")
        .ok("ReplaceNetworkAclAssociation AssociationId={assoc2} NetworkAclId={default}")
        .fails("DependencyViolation", "DeleteVpc VpcId={vpc}")
        .ok("DeleteNetworkAcl NetworkAclId={acl}")
        .effects(|effects| assert!(matches!(effects, [Effect::RemoveNetworkAcl { .. }])));
}

#[test]
fn lists_by_tag_and_page() {
    let tags = "TagSpecification.1.ResourceType=network-acl \
                TagSpecification.1.Tag.1.Key=a TagSpecification.1.Tag.1.Value=b";
    let mut scenario = Scenario::with_subnet();
    for _ in 0..5 {
        scenario = scenario.ok(&format!("CreateNetworkAcl VpcId={{vpc}} {tags}"));
    }
    scenario
        .make("token", "nextToken", "DescribeNetworkAcls MaxResults=5")
        // Five with the tag and the default ones of two VPCs.
        .shows(
            "DescribeNetworkAcls MaxResults=5 NextToken={token}",
            "ownerId",
            "123456789012 123456789012",
        )
        .shows(
            "DescribeNetworkAcls Filter.1.Name=tag:a Filter.1.Value.1=b",
            "default",
            "false false false false false",
        )
        .fails("InvalidParameterValue", "DescribeNetworkAcls Filter.1.Name=x Filter.1.Value.1=y");
}
