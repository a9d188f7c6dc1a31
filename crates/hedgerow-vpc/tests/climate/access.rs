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
    let decode = format!("DecodeAuthorizationMessage EncodedMessage={encoded}");
    let answer = vpc.other(ADMIN, "sts", &decode);
    let text = answer.text("DecodedMessage").expect("a message").replace("&quot;", "\"");
    let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(read, decoded);
    let wrong = vpc.other(ADMIN, "sts", "DecodeAuthorizationMessage EncodedMessage=x");
    assert_eq!(wrong.code(), "InvalidAuthorizationMessageException");
    assert_eq!(vpc.other(USER, "sts", &decode).code(), "AccessDenied");
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
fn what_belongs_to_one_vpc_is_known_by_it_and_by_its_id() {
    let mut vpc = bound(r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#);
    vpc.make(ADMIN, "vpc2", "vpcId", "CreateVpc CidrBlock=10.7.0.0/16");
    for which in ["", "2"] {
        let create = |what: &str| format!("{what} VpcId={{vpc{which}}}");
        vpc.make(ADMIN, &format!("rtb{which}"), "routeTableId", &create("CreateRouteTable"));
        vpc.make(ADMIN, &format!("acl{which}"), "networkAclId", &create("CreateNetworkAcl"));
    }
    let found = vpc.ok(ADMIN, "DescribeVpcs Filter.1.Name=cidr Filter.1.Value.1=10.7.*");
    let id = found.text("vpcId").expect("a VPC").to_owned();
    bind(
        &vpc,
        &format!(
            r#"{{"Effect":"Allow","Action":["ec2:DeleteRouteTable","ec2:DeleteNetworkAcl"],
                "Resource":"*","Condition":{{"ArnLike":{{"ec2:Vpc":"arn:aws:ec2:*:*:vpc/{id}"}}}}}},
               {{"Effect":"Allow","Action":["ec2:ModifyVpcAttribute","ec2:CreateSubnet"],
                "Resource":"*","Condition":{{"StringEqualsIfExists":{{"ec2:VpcID":"{id}"}}}}}}"#
        ),
    );
    for request in [
        "DeleteRouteTable RouteTableId={rtb@}",
        "DeleteNetworkAcl NetworkAclId={acl@}",
        "ModifyVpcAttribute VpcId={vpc@} EnableDnsSupport.Value=true",
        "CreateSubnet VpcId={vpc@} CidrBlock=10.7.1.0/24",
    ] {
        vpc.fails(USER, "UnauthorizedOperation", &request.replace('@', ""));
        vpc.ok(USER, &request.replace('@', "2"));
    }
}

/// A cluster of EKS and the subnet group of a database.
fn slices(vpc: &mut Vpc) {
    vpc.make(ADMIN, "other_zone", "subnetId", "CreateSubnet VpcId={vpc} CidrBlock=10.0.2.0/24");
    let id = |request: &str, element: &str| {
        vpc.ok(ADMIN, request).text(element).expect("an id").to_owned()
    };
    let subnet = id("DescribeSubnets SubnetId.1={subnet}", "subnetId");
    let group = id("DescribeSecurityGroups GroupId.1={group}", "groupId");
    for (name, team) in [("red", "red"), ("blue", "blue")] {
        let cluster = serde_json::json!({
            "version": "1.34", "endpoint": "https://127.0.0.1:6443", "certificateAuthority": "QQ==",
            "subnetIds": [subnet], "clusterSecurityGroupId": group,
            "serviceIpv4Cidr": "172.20.0.0/16", "tags": {"team": team},
        });
        vpc.admin("PUT", &format!("eks/clusters/{name}"), &cluster.to_string());
    }
}

#[test]
fn eks_and_rds_are_judged_too() {
    let mut vpc = bound(
        r#"{"Effect":"Allow","Action":"eks:Describe*","Resource":"*",
            "Condition":{"StringEquals":{"aws:ResourceTag/team":"red"}}},
           {"Effect":"Allow","Action":"rds:CreateDBInstance",
            "Resource":["arn:aws:rds:*:123456789012:db:test*","arn:aws:rds:*:*:og:default*",
                        "arn:aws:rds:*:*:pg:default*","arn:aws:rds:*:*:subgrp:default"]},
           {"Effect":"Allow","Action":"rds:DescribeDBInstances","Resource":"*"},
           {"Effect":"Deny","Action":"rds:DeleteDBInstance","Resource":"*"}"#,
    );
    slices(&mut vpc);
    let eks = |key: &str, request: &str| {
        let answer = vpc.other(key, "eks", request);
        let body: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        (answer.status, text("__type"), text("message"))
    };
    assert_eq!(eks(USER, "GET /clusters/red").0, 200);
    assert_eq!(eks(ADMIN, "GET /clusters").0, 200);
    let (status, code, message) = eks(USER, "GET /clusters/blue");
    assert_eq!((status, code.as_str()), (403, "AccessDeniedException"));
    assert_eq!(
        message,
        "User: arn:aws:iam::123456789012:user/hedgerow is not authorized to perform: \
         eks:DescribeCluster on resource: arn:aws:eks:us-west-2:123456789012:cluster/blue because \
         no identity-based policy allows the eks:DescribeCluster action"
    );
    assert_eq!(eks(USER, "GET /clusters").1, "AccessDeniedException");

    let create = |id: &str| {
        format!(
            "CreateDBInstance DBInstanceIdentifier={id} DBInstanceClass=db.t3.micro \
             Engine=postgres MasterUsername=keeper MasterUserPassword=hedge-row-1"
        )
    };
    let rds = |key: &str, request: &str| vpc.other(key, "rds", request);
    assert_eq!(rds(USER, &create("test1")).status, 200);
    assert_eq!(rds(USER, "DescribeDBInstances").status, 200);
    let refused = rds(USER, &create("other"));
    assert_eq!((refused.status, refused.code()), (403, "AccessDenied"));
    let on = "perform: rds:CreateDBInstance on resource: \
              arn:aws:rds:us-west-2:123456789012:db:other because no identity-based policy allows";
    assert!(refused.body.contains(on), "{}", refused.body);
    let delete = "DeleteDBInstance DBInstanceIdentifier=test1 SkipFinalSnapshot=true";
    assert!(rds(USER, delete).body.contains("with an explicit deny in an identity-based policy"));
    assert_eq!(rds(ADMIN, delete).status, 200);
    assert_eq!(rds(USER, "DescribeDBSubnetGroups").code(), "AccessDenied");
}

#[test]
fn a_role_is_bound_by_its_name_or_arn() {
    let vpc = Vpc::start();
    let policy = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
    vpc.admin("PUT", "iam/arn:aws:iam::123456789012:role/node", policy);
    assert!(vpc.admin("GET", "iam", "").contains("role/node"));
    vpc.admin("DELETE", "iam/role/node", "");
    assert_eq!(vpc.http("GET", "/_hedgerow/iam/role/node", "", "").expect("an answer").status, 404);
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
        ("IssueLabRoleKeys", "2016-11-15"),
        ("PutLabDatabaseStatus", "2014-10-31"),
    ] {
        for form in [
            format!("Action={action}&Version={version}&name=x"),
            format!("Action=DescribeVpcs&Action={action}&Version={version}"),
        ] {
            for (method, path, body) in
                [("POST", "/", form.as_str()), ("GET", &*format!("/?{form}"), "")]
            {
                let answer = vpc.http(method, path, "", body).expect("an answer");
                assert!(answer.body.contains("InvalidAction"), "{method} {form}: {answer:?}");
            }
        }
    }
}

#[test]
fn a_query_in_the_uri_is_a_call_as_any_other() {
    let vpc = bound(r#"{"Effect":"Allow","Action":"ec2:Describe*","Resource":"*"}"#);
    let header = |key: &str| {
        format!(
            "Authorization: AWS4-HMAC-SHA256 Credential={key}/20260101/eu-west-1/ec2/aws4_request, \
             SignedHeaders=host, Signature=0\r\n"
        )
    };
    let get = |headers: &str, query: &str| {
        let path = format!("/?Version=2016-11-15&Action={query}");
        vpc.http("GET", &path, headers, "").expect("an answer")
    };
    let signed = "&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260101T000000Z&X-Amz-Signature=0\
                  &X-Amz-SignedHeaders=host&X-Amz-Credential";
    let scope = "%2F20260101%2Feu-west-1%2Fec2%2Faws4_request";
    let create = "CreateVpc&CidrBlock=10.0.0.0%2F16";
    let refused = |answer: super::client::Answer| answer.code() == "UnauthorizedOperation";
    assert!(refused(get(&header(USER), create)));
    assert!(refused(get("", &format!("{create}{signed}={USER}{scope}"))));
    let both = format!("{create}{signed}={ADMIN}{scope}");
    assert!(refused(get(&header(USER), &both)), "the header comes first");
    assert_eq!(get("", &format!("{create}{signed}={ADMIN}{scope}")).status, 200);
    assert_eq!(get(&header(ADMIN), create).status, 200);
    let temporary = format!("DescribeVpcs{signed}=ASIANOBODY{scope}&X-Amz-Security-Token=x");
    assert_eq!(get("", &temporary).code(), "AuthFailure");
    let there = get(&header(USER), "DescribeVpcs");
    assert_eq!(there.body.matches("<vpcId>").count(), 3, "in the signature's region: {there:?}");
    assert_eq!(vpc.http("GET", "/", "", "").expect("an answer").code(), "MissingAction");
    let head = format!("/?Version=2016-11-15&Action={create}");
    assert_eq!(vpc.http("HEAD", &head, &header(ADMIN), "").expect("an answer").status, 405);
    let long = format!("DescribeVpcs&VpcId.1={}", "x".repeat(70_000));
    assert_eq!(get(&header(USER), &long).status, 414);
    assert_eq!(get(&header(USER), "DescribeVpcs").body.matches("<vpcId>").count(), 3);
}
