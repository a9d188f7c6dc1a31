//! What all actions share.

use hedgerow_vpc::api::{ACTIONS, answer};
use hedgerow_vpc::state::time::Timestamp;
use hedgerow_vpc::state::{Quotas, State};

use crate::scenario::Scenario;

#[test]
fn malformed_requests_get_ec2s_codes() {
    Scenario::with_subnet()
        .fails("InvalidAction", "CreateCastle")
        .says("The action CreateCastle is not valid for this web service.", "CreateCastle")
        .fails("UnknownParameter", "CreateVpc CidrBlock=10.0.0.0/16 Foo=1")
        .fails("UnknownParameter", "CreateVpc CidrBlock=10.0.0.0/16 ClientToken=x")
        .says("The parameter Foo is not recognized", "CreateVpc CidrBlock=10.0.0.0/16 Foo=1")
        .fails("MissingParameter", "CreateVpc")
        .says("The request must contain the parameter CidrBlock", "CreateVpc")
        .fails("InvalidParameterValue", "CreateVpc CidrBlock=banana")
        .fails("InvalidParameterValue", "DescribeVpcs Filter.1.Name=banana Filter.1.Value.1=x")
        .fails("InvalidParameterValue", "DescribeVpcs MaxResults=x")
        .fails("MissingParameter", "DescribeVpcs Filter.1.Value.1=x");
}

#[test]
fn what_no_answer_could_tell_is_refused() {
    let mut state = State::new(1, Quotas::default());
    let mut code = |character: &str| {
        let body = format!(
            "Action=CreateVpc&CidrBlock=10.0.0.0/16&DryRun=true&TagSpecification.1.ResourceType=vpc\
             &TagSpecification.1.Tag.1.Key=k&TagSpecification.1.Tag.1.Value=a{character}b"
        );
        let outcome = answer(&mut state, "us-west-2", body.as_bytes(), Timestamp(1));
        outcome.result.expect_err("a dry run").code
    };
    for refused in ["%00", "%01", "%0B", "%1B", "%1F", "%EF%BF%BE", "%EF%BF%BF"] {
        assert_eq!(code(refused), "InvalidCharacter", "{refused}");
    }
    for told in ["%09", "%0A", "%0D", "+", "%7F", "%C2%85", "%F0%9F%98%80", "%EF%BF%BD"] {
        assert_eq!(code(told), "DryRunOperation", "{told}");
    }
}

#[test]
fn dry_run_decides_and_changes_nothing() {
    Scenario::with_subnet()
        .fails("DryRunOperation", "CreateVpc CidrBlock=10.9.0.0/16 DryRun=true")
        .fails("DryRunOperation", "DeleteSubnet SubnetId={subnet} DryRun=true")
        .fails("DryRunOperation", "DeleteSubnet SubnetId={subnet} DryRun=TRUE")
        .fails("InvalidParameterValue", "DeleteSubnet SubnetId={subnet} DryRun=1")
        .fails("InvalidSubnetID.NotFound", "DeleteSubnet SubnetId=subnet-1 DryRun=true")
        .fails("InvalidParameterValue", "CreateVpc CidrBlock=10.9.0.0/16 DryRun=maybe")
        .ok("CreateVpc CidrBlock=10.9.0.0/16 DryRun=False");
}

#[test]
fn a_repeated_client_token_makes_nothing_new() {
    let create = "CreateNetworkInterface SubnetId={subnet} ClientToken=t1";
    let run = "RunInstances ImageId=ami-1 InstanceType=m5.large MinCount=1 MaxCount=1 \
               SubnetId={subnet} ClientToken=t1";
    Scenario::with_subnet()
        .make("eni", "networkInterfaceId", create)
        .shows(create, "networkInterfaceId", "{eni}")
        .effects(|effects| assert!(effects.is_empty()))
        .fails("IdempotentParameterMismatch", &format!("{create} Description=other"))
        .make("i", "instanceId", run)
        .shows(run, "instanceId", "{i}")
        .shows("DescribeInstances", "instanceId", "{i}")
        .ok("TerminateInstances InstanceId.1={i}")
        .says(
            "The client token you have provided is associated with a terminated instance. Please use \
             a different client token.",
            run,
        )
        .later(2 * 3_600)
        .shows("DescribeInstances", "instanceId", "")
        .fails("IdempotentInstanceTerminated", run)
        .fails(
            "InvalidSubnetID.NotFound",
            "CreateNetworkInterface SubnetId=subnet-1 ClientToken=t2",
        )
        .ok("CreateNetworkInterface SubnetId={subnet} ClientToken=t2");
}

#[test]
fn pages_hold_everything_once() {
    let mut scenario = Scenario::with_subnet();
    for _ in 0..12 {
        scenario = scenario.ok("CreateNetworkInterface SubnetId={subnet}");
    }
    let mut request = "DescribeNetworkInterfaces MaxResults=5".to_owned();
    let mut sizes = Vec::new();
    loop {
        scenario = scenario.ok(&request);
        sizes.push(scenario.body().matches("<networkInterfaceId>").count());
        if !scenario.body().contains("<nextToken>") {
            break;
        }
        scenario = scenario.name("next", "nextToken");
        request = "DescribeNetworkInterfaces MaxResults=5 NextToken={next}".to_owned();
    }
    assert_eq!(sizes, [5, 5, 2]);
    scenario
        .fails("InvalidParameterValue", "DescribeVpcs MaxResults=4")
        .fails("InvalidParameterValue", "DescribeVpcs NextToken=banana")
        .fails("InvalidParameterCombination", "DescribeVpcs MaxResults=5 VpcId.1={vpc}");
}

#[test]
fn regions_are_apart() {
    let mut state = State::new(1, Quotas::default());
    let mut send =
        |region: &str, body: &str| answer(&mut state, region, body.as_bytes(), Timestamp(1)).result;
    send("us-west-2", "Action=CreateVpc&CidrBlock=10.0.0.0/16").expect("made");
    let west = send("us-west-2", "Action=DescribeVpcs").expect("listed");
    let east = send("us-east-1", "Action=DescribeVpcs").expect("listed");
    assert_eq!(west.matches("<vpcId>").count(), 2);
    assert_eq!(east.matches("<vpcId>").count(), 1, "its default VPC");
    let subnets = send("us-east-1", "Action=DescribeSubnets").expect("listed");
    assert_eq!(subnets.matches("<subnetId>").count(), 6, "one per zone");
    assert_eq!(send("atlantis-1", "Action=DescribeVpcs").expect_err("unknown").code, "AuthFailure");
}

#[test]
fn every_action_can_be_asked_and_no_two_have_one_name() {
    let mut names: Vec<&str> = ACTIONS.iter().map(|action| action.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ACTIONS.len());
    let mut state = State::new(1, Quotas::default());
    for action in ACTIONS {
        let body = format!("Action={}", action.name);
        let outcome = answer(&mut state, "us-west-2", body.as_bytes(), Timestamp(1));
        if let Err(error) = outcome.result {
            assert_ne!(error.code, "InternalError", "{}: {error}", action.name);
        }
    }
}

#[test]
fn tags() {
    Scenario::with_subnet()
        .ok("CreateTags ResourceId.1={vpc} ResourceId.2={subnet} Tag.1.Key=team Tag.1.Value=red*")
        .shows("DescribeVpcs Filter.1.Name=tag:team Filter.1.Value.1=red*", "vpcId", "{vpc}")
        .shows("DescribeVpcs Filter.1.Name=tag:team Filter.1.Value.1=r*", "vpcId", "{vpc}")
        .shows("DescribeVpcs Filter.1.Name=tag:team Filter.1.Value.1=red", "vpcId", "")
        .shows(
            "DescribeSubnets Filter.1.Name=tag-key Filter.1.Value.1=team",
            "subnetId",
            "{subnet}",
        )
        .shows("DescribeTags Filter.1.Name=key Filter.1.Value.1=t?am", "resourceType", "vpc subnet")
        .ok("DeleteTags ResourceId.1={vpc} Tag.1.Key=team Tag.1.Value=other")
        .ok("DeleteTags ResourceId.1={subnet} Tag.1.Key=team")
        .shows("DescribeTags", "resourceId", "{vpc}")
        .fails("InvalidVpcID.NotFound", "CreateTags ResourceId.1=vpc-1 Tag.1.Key=a")
        .fails("InvalidID", "CreateTags ResourceId.1=castle Tag.1.Key=a")
        .fails("InvalidParameterValue", "CreateTags ResourceId.1={vpc} Tag.1.Key=aws:a")
        .fails("MissingParameter", "CreateTags ResourceId.1={vpc}")
        .fails(
            "InvalidParameterValue",
            "CreateVpc CidrBlock=10.1.0.0/16 TagSpecification.1.ResourceType=castle",
        );
    let many: String = (0..51).map(|n| format!(" Tag.{}.Key=k{n}", n + 1)).collect();
    Scenario::with_subnet()
        .fails("TagLimitExceeded", &format!("CreateTags ResourceId.1={{vpc}}{many}"));
}

#[test]
fn catalogs() {
    Scenario::empty()
        .shows("DescribeRegions RegionName.1=eu-west-1", "regionName", "eu-west-1")
        .fails("InvalidParameterValue", "DescribeRegions RegionName.1=atlantis-1")
        .shows(
            "DescribeAvailabilityZones",
            "zoneName",
            "us-west-2a us-west-2b us-west-2c us-west-2d",
        )
        .shows("DescribeAvailabilityZones ZoneName.1=us-west-2b", "zoneId", "usw2-az2")
        .shows("DescribeInstanceTypes InstanceType.1=m5.large", "maximumNetworkInterfaces", "3 3")
        .shows("DescribeInstanceTypes InstanceType.1=m5.large", "ipv4AddressesPerInterface", "10")
        .fails("InvalidInstanceType", "DescribeInstanceTypes InstanceType.1=m5.castle")
        .shows("GetCallerIdentity", "Account", "123456789012");
}
