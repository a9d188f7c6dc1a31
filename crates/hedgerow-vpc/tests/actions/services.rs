//! Flow logs, private zones, and what a launch says of profiles and metadata.

use crate::scenario::Scenario;

const TO_S3: &str = "LogDestinationType=s3 LogDestination=arn:aws:s3:::logs/a/b";

#[test]
fn flow_logs() {
    let of = |kind: &str, id: &str, more: &str| {
        format!("CreateFlowLogs ResourceType={kind} ResourceId.1={id} TrafficType=ALL {more}")
    };
    Scenario::with_instance("m5.large")
        .make("fl", "item", &of("VPC", "{vpc}", TO_S3))
        .fails("FlowLogAlreadyExists", &of("VPC", "{vpc}", TO_S3))
        .fails("InvalidVpcID.NotFound", &of("VPC", "vpc-1", TO_S3))
        .fails("InvalidSubnetID.NotFound", &of("Subnet", "{vpc}", TO_S3))
        .fails("InvalidParameterValue", &of("TransitGateway", "tgw-1", TO_S3))
        .fails("MissingParameter", &of("VPC", "{vpc}", ""))
        .fails("InvalidParameter", &of("VPC", "{vpc}", "LogGroupName=g"))
        .fails(
            "InvalidParameterValue",
            &of("VPC", "{vpc}", "LogDestinationType=s3 LogDestination=arn:aws:s3:::logs/../x"),
        )
        .fails("InvalidParameterValue", &of("Subnet", "{subnet}", &format!("{TO_S3} LogFormat=x")))
        .fails(
            "InvalidParameterValue",
            &of("Subnet", "{subnet}", &format!("{TO_S3} MaxAggregationInterval=61")),
        )
        .fails("DryRunOperation", &of("Subnet", "{subnet}", &format!("{TO_S3} DryRun=true")))
        .make(
            "group",
            "item",
            &of(
                "NetworkInterface",
                "{eth0}",
                "LogGroupName=g DeliverLogsPermissionArn=arn:aws:iam::1:role/r \
                 MaxAggregationInterval=60 TagSpecification.1.ResourceType=vpc-flow-log \
                 TagSpecification.1.Tag.1.Key=a TagSpecification.1.Tag.1.Value=b",
            ),
        )
        .shows("DescribeFlowLogs", "flowLogId", "{fl} {group}")
        .shows("DescribeFlowLogs Filter.1.Name=tag:a Filter.1.Value.1=b", "flowLogId", "{group}")
        .shows("DescribeFlowLogs FlowLogId.1={fl}", "logDestination", "arn:aws:s3:::logs/a/b")
        .shows("DescribeFlowLogs FlowLogId.1={fl}", "maxAggregationInterval", "600")
        .shows(
            "DescribeFlowLogs Filter.1.Name=resource-id Filter.1.Value.1={eth0}",
            "logGroupName",
            "g",
        )
        .shows("DescribeTags", "resourceType", "vpc-flow-log")
        .fails("InvalidFlowLogId.NotFound", "DeleteFlowLogs FlowLogId.1={fl} FlowLogId.2=fl-1")
        .ok("DeleteFlowLogs FlowLogId.1={fl} FlowLogId.2={group}")
        .shows("DescribeFlowLogs", "flowLogId", "");
}

#[test]
fn private_zones() {
    Scenario::with_subnet()
        .ok("PutLabZone Zone=Db.Example Record.1.Name=@ Record.1.Address.1=10.0.0.1")
        .ok("PutLabZone Zone=other.example VpcId.1={vpc}")
        .fails("InvalidVpcID.NotFound", "PutLabZone Zone=a VpcId.1=vpc-1")
        .fails("InvalidParameterValue", "PutLabZone Zone=a..b")
        .fails("InvalidParameterValue", "PutLabZone Zone=a Record.1.Name=b")
        .fails(
            "InvalidParameterValue",
            "PutLabZone Zone=a Record.1.Name=b Record.1.Address.1=10.0.0.256",
        )
        .ok("DeleteLabZone Zone=db.example.")
        .fails("ResourceNotFoundException", "DeleteLabZone Zone=db.example");
}

#[test]
fn profiles_and_metadata_tags() {
    let run = |more: &str| {
        format!("RunInstances ImageId=ami-1 InstanceType=t3.micro MinCount=1 MaxCount=1 {more}")
    };
    let arn = "arn:aws:iam::123456789012:instance-profile/node";
    Scenario::empty()
        .shows(&run("IamInstanceProfile.Name=node"), "arn", arn)
        .shows(&run(&format!("IamInstanceProfile.Arn={arn}")), "arn", arn)
        .shows(
            &run("MetadataOptions.InstanceMetadataTags=enabled"),
            "instanceMetadataTags",
            "enabled",
        )
        .fails("InvalidParameterValue", &run("IamInstanceProfile.Name=a/b"))
        .fails("InvalidParameterValue", &run("IamInstanceProfile.Arn=node"))
        .fails(
            "InvalidParameterCombination",
            &run(&format!("IamInstanceProfile.Arn={arn} IamInstanceProfile.Name=node")),
        )
        .fails("InvalidParameterValue", &run("MetadataOptions.InstanceMetadataTags=yes"));
}
