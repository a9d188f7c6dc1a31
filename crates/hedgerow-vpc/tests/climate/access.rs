use base64::Engine;

use super::client::{ADMIN, Vpc};

const USER: &str = "AKIAUSER";

/// A furnished VPC with the user bound to these statements.
fn bound(statements: &str) -> Vpc {
    let mut vpc = Vpc::start();
    vpc.furnish();
    bind(&vpc, statements);
    vpc
}

fn bind(vpc: &Vpc, statements: &str) {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    vpc.admin("PUT", &format!("iam/{USER}"), &text);
}

#[test]
fn a_bound_key_may_do_what_is_allowed_and_others_everything() {
    let vpc = bound(r#"{"Effect":"Allow","Action":"ec2:Describe*","Resource":"*"}"#);
    vpc.ok(USER, "DescribeVpcs");
    vpc.ok(ADMIN, "CreateVpc CidrBlock=10.9.0.0/16");
    let refused = vpc.fails(USER, "UnauthorizedOperation", "DeleteVpc VpcId={vpc}");
    assert_eq!(refused.status, 403);
    let identity = vpc.ok(USER, "GetCallerIdentity");
    let arn = identity.text("Arn").expect("an ARN");
    let message = refused.text("Message").expect("a message");
    let start = format!(
        "You are not authorized to perform this operation. User: {arn} is not authorized to \
         perform: ec2:DeleteVpc on resource: arn:aws:ec2:us-west-2:123456789012:vpc/vpc-"
    );
    assert!(message.starts_with(&start), "{message}");
    let (text, encoded) =
        message.split_once(" Encoded authorization failure message: ").expect("an encoded message");
    assert!(
        text.ends_with("because no identity-based policy allows the ec2:DeleteVpc action."),
        "{text}"
    );
    let decoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(encoded);
    let decoded: serde_json::Value =
        serde_json::from_slice(&decoded.expect("base64")).expect("JSON");
    assert_eq!(decoded["context"]["action"], "ec2:DeleteVpc");
    assert_eq!(decoded["explicitDeny"], false);
    vpc.admin("DELETE", &format!("iam/{USER}"), "");
    vpc.fails(USER, "DependencyViolation", "DeleteVpc VpcId={vpc}");
}

#[test]
fn a_dry_run_says_which() {
    let vpc =
        bound(r#"{"Effect":"Allow","Action":["ec2:CreateVpc","ec2:Describe*"],"Resource":"*"}"#);
    let allowed = vpc.fails(USER, "DryRunOperation", "CreateVpc CidrBlock=10.8.0.0/16 DryRun=true");
    assert_eq!(allowed.status, 412);
    let denied = vpc.fails(USER, "UnauthorizedOperation", "DeleteVpc VpcId={vpc} DryRun=true");
    assert_eq!(denied.status, 403);
    vpc.fails(USER, "InvalidAction", "MakeCoffee");
}

#[test]
fn a_describe_without_resources_has_no_encoded_message() {
    let vpc = bound(r#"{"Effect":"Allow","Action":"ec2:CreateVpc","Resource":"*"}"#);
    let refused = vpc.fails(USER, "UnauthorizedOperation", "DescribeVpcs");
    let message = refused.text("Message").expect("a message");
    assert!(
        message.ends_with(
            "is not authorized to perform: ec2:DescribeVpcs because no identity-based policy \
             allows the ec2:DescribeVpcs action"
        ),
        "{message}"
    );
}

#[test]
fn a_deny_wins_and_is_called_explicit() {
    let vpc = bound(
        r#"{"Effect":"Allow","Action":"*","Resource":"*"},
           {"Effect":"Deny","Action":"ec2:Terminate*","Resource":"*"}"#,
    );
    vpc.ok(USER, "CreateVpc CidrBlock=10.9.0.0/16");
    let refused =
        vpc.fails(USER, "UnauthorizedOperation", "TerminateInstances InstanceId.1={instance}");
    assert!(refused.body.contains("with an explicit deny in an identity-based policy"));
}

#[test]
fn tags_on_resources_and_in_requests() {
    let vpc = bound(
        r#"{"Effect":"Allow","Action":["ec2:DeleteNetworkInterface"],"Resource":"*",
            "Condition":{"StringEquals":{"ec2:ResourceTag/team":"red"}}},
           {"Effect":"Allow","Action":"ec2:CreateTags","Resource":"*",
            "Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":["team","name"]},
                         "StringEqualsIfExists":{"aws:RequestTag/team":"red"}}}"#,
    );
    vpc.fails(USER, "UnauthorizedOperation", "DeleteNetworkInterface NetworkInterfaceId={other}");
    let tag = |tags: &str| format!("CreateTags ResourceId.1={{other}} {tags}");
    for refused in ["Tag.1.Key=cost Tag.1.Value=1", "Tag.1.Key=team Tag.1.Value=blue"] {
        vpc.fails(USER, "UnauthorizedOperation", &tag(refused));
    }
    vpc.ok(USER, &tag("Tag.1.Key=team Tag.1.Value=red Tag.2.Key=name Tag.2.Value=x"));
    vpc.ok(USER, "DeleteNetworkInterface NetworkInterfaceId={other}");
}

#[test]
fn tags_at_creation_need_create_tags() {
    let create = r#"{"Effect":"Allow","Action":"ec2:CreateNetworkInterface","Resource":"*"}"#;
    let vpc = bound(create);
    let tagged = "CreateNetworkInterface SubnetId={subnet} \
                  TagSpecification.1.ResourceType=network-interface \
                  TagSpecification.1.Tag.1.Key=team TagSpecification.1.Tag.1.Value=red";
    vpc.ok(USER, "CreateNetworkInterface SubnetId={subnet}");
    let refused = vpc.fails(USER, "UnauthorizedOperation", tagged);
    assert!(refused.body.contains("perform: ec2:CreateTags on resource: "), "{}", refused.body);
    for (action, code) in
        [("RunInstances", "UnauthorizedOperation"), ("CreateNetworkInterface", "")]
    {
        bind(
            &vpc,
            &format!(
                r#"{create},{{"Effect":"Allow","Action":"ec2:CreateTags","Resource":"*",
                   "Condition":{{"StringEquals":{{"ec2:CreateAction":"{action}"}}}}}}"#
            ),
        );
        assert_eq!(vpc.ask(USER, tagged).code(), code, "{action}");
    }
}

#[test]
fn only_in_one_vpc() {
    let mut vpc = bound(r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#);
    vpc.make(ADMIN, "vpc2", "vpcId", "CreateVpc CidrBlock=10.7.0.0/16");
    vpc.make(ADMIN, "subnet2", "subnetId", "CreateSubnet VpcId={vpc2} CidrBlock=10.7.1.0/24");
    let found = vpc.ok(ADMIN, "DescribeSubnets SubnetId.1={subnet}");
    let id = found.text("vpcId").expect("a VPC").to_owned();
    bind(
        &vpc,
        &format!(
            r#"{{"Effect":"Allow","Action":"ec2:CreateNetworkInterface","Resource":"*",
                "Condition":{{"ArnEquals":{{"ec2:Vpc":"arn:aws:ec2:*:*:vpc/{id}"}}}}}}"#
        ),
    );
    vpc.ok(USER, "CreateNetworkInterface SubnetId={subnet} SecurityGroupId.1={group}");
    let elsewhere = "CreateNetworkInterface SubnetId={subnet2}";
    vpc.fails(USER, "UnauthorizedOperation", elsewhere);
}

#[test]
fn the_admin_endpoint_refuses_what_is_no_policy() {
    let vpc = Vpc::start();
    let put = |path: &str, body: &str| vpc.http("PUT", path, "", body).expect("an answer");
    let answer = put("/_hedgerow/iam/AKIA1", r#"{"Statement":[{"Effect":"Maybe"}]}"#);
    assert!(answer.status == 400 && answer.body.contains("Statement 1, Effect"), "{answer:?}");
    assert_eq!(put("/_hedgerow/iam/AKIA-1", "{}").status, 400);
    let missing = vpc.http("GET", "/_hedgerow/iam/AKIA1", "", "").expect("an answer");
    assert_eq!(missing.status, 404);
    bind(&vpc, r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#);
    assert!(vpc.admin("GET", &format!("iam/{USER}"), "").contains("2012-10-17"));
    assert!(vpc.admin("GET", "iam", "").contains(USER));
}

/// A pod that reaches the API must not change what the API server's relay lets in.
#[test]
fn what_is_the_labs_own_is_not_for_forms() {
    let vpc = Vpc::start();
    for (action, version) in [
        ("PutLabCluster", "2017-11-01"),
        ("DeleteLabCluster", "2017-11-01"),
        ("DescribeLabClusterAccess", "2017-11-01"),
        ("PutLabZone", "2016-11-15"),
        ("PutLabDatabaseStatus", "2014-10-31"),
    ] {
        for form in [
            format!("Action={action}&Version={version}&name=x"),
            format!("Action=DescribeVpcs&Action={action}&Version={version}"),
        ] {
            let answer = vpc.http("POST", "/", "", &form).expect("an answer");
            assert!(answer.body.contains("InvalidAction"), "{form}: {answer:?}");
        }
    }
}
