//! Tags: what requests may not say, and DescribeTags' own filters.

use crate::scenario::Scenario;

#[test]
fn a_tag_filter_of_describe_tags_means_the_tag_itself() {
    Scenario::with_subnet()
        .ok("CreateTags ResourceId.1={vpc} Tag.1.Key=a Tag.1.Value=1 Tag.2.Key=b Tag.2.Value=2")
        .shows("DescribeTags Filter.1.Name=tag:a Filter.1.Value.1=1", "key", "a")
        .shows("DescribeTags Filter.1.Name=tag:a Filter.1.Value.1=2", "key", "")
        .shows("DescribeTags Filter.1.Name=value Filter.1.Value.1=?", "key", "a b")
        .shows("DescribeTags Filter.1.Name=resource-type Filter.1.Value.1=vpc", "key", "a b")
        .fails("InvalidParameterValue", "DescribeTags Filter.1.Name=castle Filter.1.Value.1=x")
        .fails("InvalidParameterValue", "DescribeTags MaxResults=4");
}

#[test]
fn impossible_tags() {
    let long = "k".repeat(129);
    Scenario::with_subnet()
        .fails("InvalidParameterValue", "CreateTags ResourceId.1={vpc} Tag.1.Key=a Tag.2.Key=a")
        .fails(
            "InvalidParameterValue",
            &format!("CreateTags ResourceId.1={{vpc}} Tag.1.Key={long}"),
        )
        .fails("InvalidParameterValue", "DeleteTags ResourceId.1={vpc} Tag.1.Key=aws:a")
        .fails(
            "InvalidParameterValue",
            "CreateNetworkInterface SubnetId={subnet} \
             TagSpecification.1.ResourceType=network-interface TagSpecification.1.Tag.1.Key=a \
             TagSpecification.1.Tag.2.Key=a",
        )
        .fails("DryRunOperation", "CreateTags ResourceId.1={vpc} Tag.1.Key=a DryRun=true")
        .shows("DescribeTags", "key", "");
}

#[test]
fn zones_by_every_filter() {
    let mut scenario = Scenario::empty();
    for (name, value) in [
        ("group-name", "us-west-2-zg-1"),
        ("group-long-name", "us-west-2~1"),
        ("opt-in-status", "opt-in-not-required"),
        ("region-name", "us-west-2"),
        ("state", "available"),
        ("zone-type", "availability-zone"),
    ] {
        let request = format!(
            "DescribeAvailabilityZones Filter.1.Name={name} Filter.1.Value.1={value} \
             Filter.2.Name=zone-id Filter.2.Value.1=*az1"
        );
        scenario = scenario.shows(&request, "zoneName", "us-west-2a");
    }
    for name in ["message", "parent-zone-id", "parent-zone-name"] {
        let request = format!("DescribeAvailabilityZones Filter.1.Name={name} Filter.1.Value.1=*");
        scenario = scenario.shows(&request, "zoneName", "");
    }
    scenario
        .shows(
            "DescribeRegions Filter.1.Name=endpoint Filter.1.Value.1=ec2.eu-west-1.*",
            "regionName",
            "eu-west-1",
        )
        .fails(
            "InvalidParameterValue",
            "DescribeAvailabilityZones Filter.1.Name=castle Filter.1.Value.1=x",
        );
}
