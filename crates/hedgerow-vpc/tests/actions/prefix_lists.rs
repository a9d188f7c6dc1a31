//! Managed prefix lists: versions, sizes, who uses them, and the packets they reach.

use hedgerow_core::sg::{Peer, RuleId};
use hedgerow_vpc::effect::Effect;

use crate::scenario::Scenario;

const CREATE: &str = "CreateManagedPrefixList PrefixListName=offices AddressFamily=IPv4 \
                      MaxEntries=5 Entry.1.Cidr=10.1.9.9/16 Entry.1.Description=north \
                      Entry.2.Cidr=10.2.0.0/16";

/// A list `{list}` of 10.1.0.0/16 and 10.2.0.0/16, and a group `{app}` in a VPC.
fn a_list() -> Scenario {
    Scenario::with_subnet()
        .make("app", "groupId", "CreateSecurityGroup GroupName=app GroupDescription=a VpcId={vpc}")
        .make("list", "prefixListId", CREATE)
}

fn modify(words: &str) -> String {
    format!("ModifyManagedPrefixList PrefixListId={{list}} {words}")
}

const USE: &str = "AuthorizeSecurityGroupIngress GroupId={app} IpPermissions.1.IpProtocol=tcp \
                   IpPermissions.1.FromPort=443 IpPermissions.1.ToPort=443 \
                   IpPermissions.1.PrefixListIds.1.PrefixListId={list}";

/// Rule and block of the ingress rules with a block in the only group that effects put.
fn blocks(effects: &[Effect]) -> Vec<(RuleId, String)> {
    let [Effect::PutGroup { group, .. }] = effects else { panic!("{effects:?}") };
    let block = |rule: &hedgerow_core::sg::Rule| match &rule.peer {
        Peer::V4(prefix) if prefix.len > 0 => Some((rule.id.clone(), prefix.to_string())),
        _ => None,
    };
    group.rules.iter().filter_map(block).collect()
}

#[test]
fn lists_are_made_and_described() {
    a_list()
        .shows(CREATE, "state", "create-in-progress")
        .shows("DescribeManagedPrefixLists PrefixListId.1={list}", "state", "create-complete")
        .shows("DescribeManagedPrefixLists PrefixListId.1={list}", "version", "1")
        .shows("DescribeManagedPrefixLists PrefixListId.1={list}", "maxEntries", "5")
        .shows("DescribeManagedPrefixLists PrefixListId.1={list}", "ownerId", "123456789012")
        .shows("DescribeManagedPrefixLists PrefixListId.1={list}", "addressFamily", "IPv4")
        .shows(
            "DescribeManagedPrefixLists PrefixListId.1={list}",
            "prefixListArn",
            "arn:aws:ec2:us-west-2:123456789012:prefix-list/{list}",
        )
        .shows("GetManagedPrefixListEntries PrefixListId={list}", "cidr", "10.1.0.0/16 10.2.0.0/16")
        .shows("GetManagedPrefixListEntries PrefixListId={list}", "description", "north")
        .make("again", "prefixListId", &format!("{CREATE} ClientToken=t"))
        .shows(&format!("{CREATE} ClientToken=t"), "prefixListId", "{again}")
        .fails("DryRunOperation", &format!("{CREATE} DryRun=true"))
        .make(
            "six",
            "prefixListId",
            "CreateManagedPrefixList PrefixListName=six AddressFamily=IPv6 MaxEntries=1 \
             Entry.1.Cidr=2001:DB8::/32 TagSpecification.1.ResourceType=prefix-list \
             TagSpecification.1.Tag.1.Key=a TagSpecification.1.Tag.1.Value=b",
        )
        .shows("GetManagedPrefixListEntries PrefixListId={six}", "cidr", "2001:db8::/32")
        .shows(
            "DescribeTags Filter.1.Name=resource-type Filter.1.Value.1=prefix-list",
            "resourceId",
            "{six}",
        )
        .ok("DeleteTags ResourceId.1={six}")
        .shows("DescribeManagedPrefixLists PrefixListId.1={six}", "key", "");
}

#[test]
fn impossible_lists() {
    let create = |name: &str, family: &str, size: &str, entries: &str| {
        format!(
            "CreateManagedPrefixList PrefixListName={name} AddressFamily={family} \
             MaxEntries={size} {entries}"
        )
    };
    let many: String = (0..101).map(|n| format!(" Entry.{}.Cidr=10.0.{n}.0/24", n + 1)).collect();
    let bad = "InvalidParameterValue";
    Scenario::empty()
        .fails(bad, &create("com.amazonaws.x", "IPv4", "1", ""))
        .fails(bad, &create(&"x".repeat(256), "IPv4", "1", ""))
        .fails(bad, &create("", "IPv4", "1", ""))
        .fails(bad, &create("x", "IPv5", "1", ""))
        .fails(bad, &create("x", "IPv4", "0", ""))
        .says("Must specify a max size between 1 and 1000", &create("x", "IPv4", "1001", ""))
        .fails(bad, &create("x", "IPv4", "1", "Entry.1.Cidr=::/0"))
        .fails(bad, &create("x", "IPv6", "1", "Entry.1.Cidr=10.0.0.0/8"))
        .fails(bad, &create("x", "IPv4", "2", "Entry.1.Cidr=10.0.0.0/8 Entry.2.Cidr=10.0.0.1/8"))
        .says(
            "The number of entries per request cannot exceeds limit (100).",
            &create("x", "IPv4", "1000", &many),
        )
        .fails(
            "PrefixListMaxEntriesExceeded",
            &create("x", "IPv4", "1", "Entry.1.Cidr=10.0.0.0/8 Entry.2.Cidr=11.0.0.0/8"),
        )
        .fails("MissingParameter", "CreateManagedPrefixList PrefixListName=x AddressFamily=IPv4")
        .fails(
            bad,
            &create(
                "x",
                "IPv4",
                "1",
                "TagSpecification.1.ResourceType=vpc TagSpecification.1.Tag.1.Key=a",
            ),
        );
}

#[test]
fn a_list_in_a_rule_reaches_packets() {
    let mut rule = RuleId(String::new());
    a_list()
        .ok(USE)
        .effects(|effects| {
            let got = blocks(effects);
            assert_eq!(got.iter().map(|(_, block)| block.as_str()).collect::<Vec<_>>(), [
                "10.1.0.0/16",
                "10.2.0.0/16"
            ]);
            assert_eq!(got[0].0, got[1].0, "one rule, by its id");
            rule = got[0].0.clone();
        })
        .fails("InvalidPermission.Duplicate", USE)
        .ok(&modify("CurrentVersion=1 AddEntry.1.Cidr=10.3.0.0/16 RemoveEntry.1.Cidr=10.1.0.0/16"))
        .effects(|effects| {
            let want = ["10.2.0.0/16", "10.3.0.0/16"].map(|block| (rule.clone(), block.to_owned()));
            assert_eq!(blocks(effects), want);
        })
        .ok(&modify("PrefixListName=renamed"))
        .effects(|effects| assert!(effects.is_empty(), "packets do not read names"))
        .ok("RestoreManagedPrefixListVersion PrefixListId={list} CurrentVersion=2 PreviousVersion=1")
        .effects(|effects| assert_eq!(blocks(effects)[0].1, "10.1.0.0/16"))
        .ok(&modify("CurrentVersion=3 RemoveEntry.1.Cidr=10.1.0.0/16 RemoveEntry.2.Cidr=10.2.0.0/16"))
        .effects(|effects| assert!(blocks(effects).is_empty(), "an empty list lets nothing in"));
}

#[test]
fn versions() {
    let entries = |version: u64| {
        format!("GetManagedPrefixListEntries PrefixListId={{list}} TargetVersion={version}")
    };
    a_list()
        .shows(&modify("CurrentVersion=1 AddEntry.1.Cidr=10.3.0.0/16"), "version", "2")
        .shows("DescribeManagedPrefixLists PrefixListId.1={list}", "state", "modify-complete")
        .shows(&entries(1), "cidr", "10.1.0.0/16 10.2.0.0/16")
        .shows(&entries(2), "cidr", "10.1.0.0/16 10.2.0.0/16 10.3.0.0/16")
        .fails("InvalidParameterValue", &entries(3))
        .says(
            "The prefix list has the incorrect version number.",
            &modify("CurrentVersion=1 RemoveEntry.1.Cidr=10.3.0.0/16"),
        )
        .fails("PrefixListVersionMismatch", &modify("CurrentVersion=1 RemoveEntry.1.Cidr=10.3.0.0/16"))
        .fails("PrefixListVersionMismatch", &modify("CurrentVersion=3 PrefixListName=x"))
        .fails("MissingParameter", &modify("RemoveEntry.1.Cidr=10.3.0.0/16"))
        .shows(
            "RestoreManagedPrefixListVersion PrefixListId={list} CurrentVersion=2 PreviousVersion=1",
            "version",
            "3",
        )
        .shows(&entries(3), "cidr", "10.1.0.0/16 10.2.0.0/16")
        .shows("DescribeManagedPrefixLists PrefixListId.1={list}", "state", "restore-complete")
        .fails(
            "PrefixListVersionMismatch",
            "RestoreManagedPrefixListVersion PrefixListId={list} CurrentVersion=2 PreviousVersion=1",
        )
        .fails(
            "InvalidParameterValue",
            "RestoreManagedPrefixListVersion PrefixListId={list} CurrentVersion=3 PreviousVersion=9",
        )
        .fails(
            "DryRunOperation",
            "RestoreManagedPrefixListVersion PrefixListId={list} CurrentVersion=3 \
             PreviousVersion=1 DryRun=true",
        )
        .fails("MissingParameter", "RestoreManagedPrefixListVersion PrefixListId={list} CurrentVersion=3")
        .fails(
            "InvalidPrefixListID.NotFound",
            "RestoreManagedPrefixListVersion PrefixListId=pl-1 CurrentVersion=3 PreviousVersion=1",
        );
}

#[test]
fn impossible_changes() {
    let odd = "InvalidPrefixListModification";
    let many: String =
        (0..101).map(|n| format!(" AddEntry.{}.Cidr=10.0.{n}.0/24", n + 1)).collect();
    a_list()
        .fails(odd, &modify("CurrentVersion=1 RemoveEntry.1.Cidr=10.9.0.0/16"))
        .fails(odd, &modify("CurrentVersion=1 AddEntry.1.Cidr=10.1.0.0/16"))
        .fails(
            odd,
            &modify("CurrentVersion=1 AddEntry.1.Cidr=10.1.0.0/16 RemoveEntry.1.Cidr=10.1.0.0/16"),
        )
        .fails("InvalidParameterValue", &modify("CurrentVersion=1 AddEntry.1.Cidr=::/0"))
        .fails("InvalidParameterValue", &modify(&format!("CurrentVersion=1 {many}")))
        .fails(
            "PrefixListMaxEntriesExceeded",
            &modify(
                "CurrentVersion=1 AddEntry.1.Cidr=1.0.0.0/8 AddEntry.2.Cidr=2.0.0.0/8 \
                 AddEntry.3.Cidr=3.0.0.0/8 AddEntry.4.Cidr=4.0.0.0/8",
            ),
        )
        .says(
            "You cannot modify the entries and the maximum entries for the prefix list in the same \
             request.",
            &modify("CurrentVersion=1 AddEntry.1.Cidr=1.0.0.0/8 MaxEntries=9"),
        )
        .fails("InvalidParameterValue", &modify("PrefixListName=com.amazonaws.x"))
        .fails("DryRunOperation", &modify("PrefixListName=x DryRun=true"))
        .fails("InvalidPrefixListID.NotFound", "ModifyManagedPrefixList PrefixListId=pl-1")
        .fails("InvalidPrefixListId.Malformed", "ModifyManagedPrefixList PrefixListId=1");
}

#[test]
fn a_rule_counts_by_the_size_of_its_list() {
    let sized = |size: usize| {
        format!("CreateManagedPrefixList PrefixListName=x AddressFamily=IPv4 MaxEntries={size}")
    };
    a_list()
        .make("list", "prefixListId", &sized(61))
        .fails("RulesPerSecurityGroupLimitExceeded", USE)
        .make("list", "prefixListId", &sized(59))
        .ok(USE)
        .ok("AuthorizeSecurityGroupIngress GroupId={app} IpProtocol=-1 CidrIp=10.0.0.0/8")
        .fails(
            "RulesPerSecurityGroupLimitExceeded",
            "AuthorizeSecurityGroupIngress GroupId={app} IpProtocol=-1 CidrIp=11.0.0.0/8",
        )
        // A size that a group does not bear fails as EC2 does: later, and it says for whom.
        .shows(&modify("MaxEntries=60"), "state", "modify-in-progress")
        .shows("DescribeManagedPrefixLists PrefixListId.1={list}", "state", "modify-failed")
        .shows("DescribeManagedPrefixLists PrefixListId.1={list}", "maxEntries", "59")
        .name("message", "stateMessage")
        .shows(&modify("MaxEntries=10"), "state", "modify-in-progress")
        .shows("DescribeManagedPrefixLists PrefixListId.1={list}", "state", "modify-complete")
        .shows("DescribeManagedPrefixLists PrefixListId.1={list}", "version", "1")
        .ok("AuthorizeSecurityGroupIngress GroupId={app} IpProtocol=-1 CidrIp=11.0.0.0/8")
        .ok(&modify("CurrentVersion=1 AddEntry.1.Cidr=1.0.0.0/8 AddEntry.2.Cidr=2.0.0.0/8"))
        .fails("PrefixListMaxEntriesExceeded", &modify("MaxEntries=1"))
        .fails("InvalidParameterValue", &modify("MaxEntries=1001"));
}

#[test]
fn a_list_in_use_stays() {
    a_list()
        .ok(USE)
        .shows("GetManagedPrefixListAssociations PrefixListId={list}", "resourceId", "{app}")
        .shows(
            "GetManagedPrefixListAssociations PrefixListId={list}",
            "resourceOwner",
            "123456789012",
        )
        .fails("InvalidPrefixListID.NotFound", "GetManagedPrefixListAssociations PrefixListId=pl-1")
        .fails(
            "InvalidParameterValue",
            "GetManagedPrefixListAssociations PrefixListId={list} MaxResults=4",
        )
        .fails(
            "DryRunOperation",
            "GetManagedPrefixListAssociations PrefixListId={list} DryRun=true",
        )
        .fails("DependencyViolation", "DeleteManagedPrefixList PrefixListId={list}")
        .ok("DeleteSecurityGroup GroupId={app}")
        .fails("DryRunOperation", "DeleteManagedPrefixList PrefixListId={list} DryRun=true")
        .shows("DeleteManagedPrefixList PrefixListId={list}", "state", "delete-in-progress")
        .fails("InvalidPrefixListID.NotFound", "DeleteManagedPrefixList PrefixListId={list}")
        .fails("InvalidPrefixListId.Malformed", "DeleteManagedPrefixList PrefixListId=x")
        .fails("InvalidPrefixListID.NotFound", "DescribeManagedPrefixLists PrefixListId.1={list}");
}

#[test]
fn aws_owns_some() {
    let denied = "UnauthorizedOperation";
    a_list()
        .shows(
            "DescribeManagedPrefixLists Filter.1.Name=owner-id Filter.1.Value.1=AWS \
             Filter.2.Name=prefix-list-name Filter.2.Value.1=com.amazonaws.us-west-2.*",
            "prefixListName",
            "com.amazonaws.us-west-2.s3 com.amazonaws.us-west-2.dynamodb \
             com.amazonaws.us-west-2.vpc-lattice",
        )
        .shows("DescribeManagedPrefixLists PrefixListId.1=pl-63a5400a", "maxEntries", "")
        .shows("DescribeManagedPrefixLists PrefixListId.1=pl-63a5400a", "version", "")
        .shows("GetManagedPrefixListEntries PrefixListId=pl-63a5400a", "cidr", "198.18.240.0/24")
        .fails(denied, "ModifyManagedPrefixList PrefixListId=pl-63a5400a PrefixListName=mine")
        .fails(denied, "DeleteManagedPrefixList PrefixListId=pl-63a5400a")
        .fails(
            denied,
            "RestoreManagedPrefixListVersion PrefixListId=pl-63a5400a CurrentVersion=1 PreviousVersion=1",
        )
        .shows(
            "DescribePrefixLists Filter.1.Name=prefix-list-name Filter.1.Value.1=*.dynamodb",
            "prefixListId",
            "pl-02cd2c6b",
        )
        .fails("InvalidPrefixListID.NotFound", "DescribePrefixLists PrefixListId.1=pl-1")
        .fails("InvalidPrefixListID.NotFound", "DescribePrefixLists PrefixListId.1={list}")
        .fails("InvalidParameterValue", "DescribePrefixLists Filter.1.Name=owner-id Filter.1.Value.1=x")
        .fails("InvalidParameterValue", "DescribePrefixLists MaxResults=4")
        .fails("DryRunOperation", "DescribePrefixLists DryRun=true");
    let scenario = Scenario::empty().ok("DescribePrefixLists PrefixListId.1=pl-63a5400a");
    assert!(scenario.body().contains("<cidrSet><item>198.18.240.0/24</item></cidrSet>"));
}

#[test]
fn filters_and_pages() {
    let find = "DescribeManagedPrefixLists";
    a_list()
        .shows(
            &format!("{find} Filter.1.Name=prefix-list-id Filter.1.Value.1={{list}}"),
            "prefixListName",
            "offices",
        )
        .shows(
            &format!("{find} Filter.1.Name=prefix-list-name Filter.1.Value.1=off*"),
            "prefixListId",
            "{list}",
        )
        .ok("CreateTags ResourceId.1={list} Tag.1.Key=a Tag.1.Value=b")
        .shows(&format!("{find} Filter.1.Name=tag:a Filter.1.Value.1=b"), "prefixListId", "{list}")
        .fails("InvalidParameterValue", &format!("{find} Filter.1.Name=name Filter.1.Value.1=x"))
        .fails("InvalidParameterValue", &format!("{find} MaxResults=101"))
        .fails("InvalidPrefixListId.Malformed", &format!("{find} PrefixListId.1=x"))
        .fails("DryRunOperation", &format!("{find} DryRun=true"))
        .shows(
            "GetManagedPrefixListEntries PrefixListId={list} MaxResults=1",
            "cidr",
            "10.1.0.0/16",
        )
        .name("token", "nextToken")
        .shows(
            "GetManagedPrefixListEntries PrefixListId={list} MaxResults=1 NextToken={token}",
            "cidr",
            "10.2.0.0/16",
        )
        .shows(
            "GetManagedPrefixListEntries PrefixListId={list} MaxResults=1 NextToken={token}",
            "nextToken",
            "",
        )
        .fails(
            "InvalidParameterValue",
            "GetManagedPrefixListEntries PrefixListId={list} MaxResults=0",
        )
        .fails("InvalidPrefixListID.NotFound", "GetManagedPrefixListEntries PrefixListId=pl-1")
        .fails("DryRunOperation", "GetManagedPrefixListEntries PrefixListId={list} DryRun=true")
        .make("next", "nextToken", &format!("{find} MaxResults=4"))
        .shows(&format!("{find} MaxResults=4 NextToken={{next}}"), "prefixListId", "pl-63a5400a");
}
