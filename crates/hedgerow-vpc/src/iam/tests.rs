use proptest::prelude::*;

use super::*;
use crate::state::Principal;

fn document(statements: &str) -> Document {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    Document::parse(&text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn facts(text: &str) -> Facts {
    let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs.fold(Facts::default(), |facts, (key, value)| facts.with(key, value))
}

/// A request in us-west-2 on one resource with these facts.
fn request(action: &str, arn: &str, text: &str) -> Request {
    let arn = match arn {
        "*" => "*".to_owned(),
        id => format!("arn:aws:ec2:us-west-2:123456789012:{id}"),
    };
    Request {
        action: action.to_owned(),
        resources: vec![Resource { arn, facts: facts(text) }],
        facts: facts("aws:RequestedRegion=us-west-2"),
    }
}

const ALLOW: &str = "allowed";
const DENY: &str = "explicitly denied";
const NOTHING: &str = "denied";

fn verdict(document: &Document, request: &Request) -> &'static str {
    match decide(document, request) {
        Decision::Allowed => ALLOW,
        Decision::Denied { explicit: true, .. } => DENY,
        Decision::Denied { explicit: false, .. } => NOTHING,
    }
}

#[test]
fn actions_and_resources() {
    const ALL: &str = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
    let arn = |part: &str| format!("arn:aws:ec2:us-west-2:123456789012:{part}");
    let allow = |action: &str, resource: &str| {
        format!(r#"{{"Effect":"Allow","Action":"{action}","Resource":"{resource}"}}"#)
    };
    let interfaces = arn("network-interface/*");
    for (statements, action, resource, want) in [
        (ALL.to_owned(), "ec2:DeleteVpc", "vpc/vpc-1", ALLOW),
        (allow("ec2:Describe*", "*"), "ec2:DescribeVpcs", "*", ALLOW),
        (allow("ec2:describevpc?", "*"), "ec2:DescribeVpcs", "*", ALLOW),
        (allow("ec2:Describe*", "*"), "ec2:DeleteVpc", "vpc/vpc-1", NOTHING),
        (allow("s3:*", "*"), "ec2:DescribeVpcs", "*", NOTHING),
        (allow("ec2:*", &interfaces), "ec2:DescribeVpcs", "*", NOTHING),
        (
            allow("ec2:*", &interfaces),
            "ec2:DeleteNetworkInterface",
            "network-interface/eni-1",
            ALLOW,
        ),
        (allow("ec2:*", &interfaces), "ec2:TerminateInstances", "instance/i-1", NOTHING),
        (allow("ec2:*", "arn:*:ec2:*:*:instance/*"), "ec2:StopInstances", "instance/i-1", ALLOW),
        (
            allow("ec2:*", "arn:aws:ec2:eu-west-1:*:instance/*"),
            "ec2:StopInstances",
            "instance/i-1",
            NOTHING,
        ),
        (allow("ec2:*", "arn:*:*:*:*:vpc/vpc-1"), "ec2:DeleteVpc", "vpc/vpc-1", ALLOW),
        (
            format!(r#"{ALL},{{"Effect":"Deny","Action":["ec2:DeleteVpc"],"Resource":"*"}}"#),
            "ec2:DeleteVpc",
            "vpc/vpc-1",
            DENY,
        ),
        (
            r#"{"Effect":"Allow","NotAction":"ec2:Delete*","Resource":"*"}"#.to_owned(),
            "ec2:DeleteVpc",
            "vpc/vpc-1",
            NOTHING,
        ),
        (
            format!(r#"{{"Effect":"Allow","Action":"ec2:*","NotResource":"{}"}}"#, arn("vpc/*")),
            "ec2:DeleteVpc",
            "vpc/vpc-1",
            NOTHING,
        ),
    ] {
        let request = request(action, resource, "");
        assert_eq!(verdict(&document(&statements), &request), want, "{statements} {action}");
    }
}

#[test]
fn conditions() {
    const OWN: &str = "aws:ResourceTag/owner=me";
    for (condition, given, holds) in [
        (r#""StringEquals":{"aws:ResourceTag/owner":"me"}"#, OWN, true),
        (r#""StringEquals":{"aws:resourcetag/OWNER":["you","me"]}"#, OWN, true),
        (r#""StringEquals":{"aws:ResourceTag/owner":"you"}"#, OWN, false),
        (r#""StringEquals":{"aws:ResourceTag/owner":"me"}"#, "", false),
        (r#""StringEquals":{"aws:ResourceTag/owner":"m*"}"#, OWN, false),
        (r#""StringEqualsIfExists":{"aws:ResourceTag/owner":"me"}"#, "", true),
        (r#""StringEqualsIgnoreCase":{"aws:ResourceTag/owner":"ME"}"#, OWN, true),
        (r#""StringNotEquals":{"aws:ResourceTag/owner":["you","me"]}"#, OWN, false),
        (r#""StringNotEquals":{"aws:ResourceTag/owner":"you"}"#, OWN, true),
        (r#""StringNotEquals":{"aws:ResourceTag/owner":"you"}"#, "", true),
        (r#""StringLike":{"aws:ResourceTag/owner":"m?"}"#, OWN, true),
        (r#""StringLike":{"aws:ResourceTag/owner":"${*}e"}"#, OWN, false),
        (r#""StringNotLike":{"aws:ResourceTag/owner":"y*"}"#, OWN, true),
        (
            r#""ArnLike":{"ec2:Vpc":"arn:aws:ec2:*:*:vpc/vpc-1"}"#,
            "ec2:Vpc=arn:aws:ec2:us-west-2:1:vpc/vpc-1",
            true,
        ),
        (
            r#""ArnEquals":{"ec2:Vpc":"arn:aws:ec2:*:*:vpc/vpc-2"}"#,
            "ec2:Vpc=arn:aws:ec2:us-west-2:1:vpc/vpc-1",
            false,
        ),
        (r#""Null":{"aws:RequestTag/owner":"true"}"#, "", true),
        (r#""Null":{"aws:RequestTag/owner":"true"}"#, "aws:RequestTag/owner=me", false),
        (r#""Null":{"aws:RequestTag/owner":false}"#, "aws:RequestTag/owner=me", true),
        (r#""Bool":{"aws:SecureTransport":false}"#, "aws:SecureTransport=false", true),
        (r#""Bool":{"aws:SecureTransport":"true"}"#, "aws:SecureTransport=false", false),
        (r#""BoolIfExists":{"aws:SecureTransport":"true"}"#, "", true),
        (r#""NumericLessThanEquals":{"ec2:Hops":"2"}"#, "ec2:Hops=2", true),
        (r#""NumericGreaterThan":{"ec2:Hops":2}"#, "ec2:Hops=2", false),
        (
            r#""ForAllValues:StringEquals":{"aws:TagKeys":["a","b"]}"#,
            "aws:TagKeys=a aws:TagKeys=b",
            true,
        ),
        (
            r#""ForAllValues:StringEquals":{"aws:TagKeys":["a"]}"#,
            "aws:TagKeys=a aws:TagKeys=b",
            false,
        ),
        (r#""ForAllValues:StringEquals":{"aws:TagKeys":["a"]}"#, "", true),
        (
            r#""ForAnyValue:StringEquals":{"aws:TagKeys":["a"]}"#,
            "aws:TagKeys=a aws:TagKeys=b",
            true,
        ),
        (
            r#""ForAnyValue:StringEquals":{"aws:TagKeys":["c"]}"#,
            "aws:TagKeys=a aws:TagKeys=b",
            false,
        ),
        (r#""ForAnyValue:StringLike":{"aws:TagKeys":["*"]}"#, "", false),
        (r#""StringEquals":{"aws:RequestedRegion":"us-west-2"}"#, "", true),
        (r#""StringEquals":{"aws:RequestedRegion":"us-west-2","ec2:X":"y"}"#, "", false),
    ] {
        let text = format!(
            r#"{{"Effect":"Allow","Action":"ec2:*","Resource":"*","Condition":{{{condition}}}}}"#
        );
        let request = request("ec2:CreateTags", "vpc/vpc-1", given);
        assert_eq!(verdict(&document(&text), &request) == ALLOW, holds, "{condition} {given}");
    }
}

#[test]
fn every_resource_must_be_allowed() {
    let one = document(
        r#"{"Effect":"Allow","Action":"ec2:*","Resource":"arn:aws:ec2:*:*:instance/i-1"}"#,
    );
    let mut request = request("ec2:StopInstances", "instance/i-1", "");
    assert_eq!(decide(&one, &request), Decision::Allowed);
    let arn = "arn:aws:ec2:us-west-2:123456789012:instance/i-2".to_owned();
    request.resources.push(Resource { arn: arn.clone(), facts: Facts::default() });
    assert_eq!(decide(&one, &request), Decision::Denied { resource: arn, explicit: false });
}

#[test]
fn mistakes_are_named() {
    let statement = |text: &str| format!(r#"{{"Statement":{{{text}}}}}"#);
    let condition = |text: &str| {
        statement(&format!(r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{text}"#))
    };
    for (text, want) in [
        ("".to_owned(), "not JSON"),
        ("[]".to_owned(), "the document: expected an object"),
        ("{}".to_owned(), "Statement: expected a statement"),
        (r#"{"Statement":[]}"#.to_owned(), "Statement: expected a statement"),
        (r#"{"Version":"2020","Statement":{}}"#.to_owned(), "Version: expected \"2012-10-17\""),
        (statement(""), "Statement 1, Effect: expected"),
        (statement(r#""Effect":"allow""#), "Statement 1, Effect: expected"),
        (statement(r#""Effect":"Allow","Resource":"*""#), "either Action or NotAction"),
        (
            statement(r#""Effect":"Allow","Action":"ec2","Resource":"*""#),
            "'ec2': expected service:Action",
        ),
        (statement(r#""Effect":"Allow","Action":[],"Resource":"*""#), "Action: the list is empty"),
        (statement(r#""Effect":"Allow","Action":{},"Resource":"*""#), "expected a text or a list"),
        (
            statement(r#""Effect":"Allow","Action":"*","Resource":"vpc-1""#),
            "'vpc-1': expected an ARN",
        ),
        (
            statement(r#""Effect":"Allow","Action":"*","Resource":"arn:aws:ec2:*""#),
            "expected an ARN",
        ),
        (
            statement(r#""Effect":"Allow","Action":"*","Resource":"arn:a:b:c:d:${aws:username}""#),
            "variable ${aws:username} is not known",
        ),
        (
            statement(r#""Effect":"Allow","Principal":"*""#),
            "Principal belongs in resource policies",
        ),
        (statement(r#""Effect":"Allow","Actions":"*""#), "'Actions' is none of"),
        (condition(r#"{"StringIs":{"aws:TagKeys":"a"}}"#), "operator 'StringIs' is not known"),
        (condition(r#"{"ForSome:Bool":{"aws:TagKeys":"a"}}"#), "'ForSome' is neither"),
        (condition(r#"{"Bool":{"aws:SecureTransport":"perhaps"}}"#), "expected true or false"),
        (condition(r#"{"NumericEquals":{"ec2:X":"many"}}"#), "expected a number"),
        (condition(r#"{"StringEquals":{"owner":"a"}}"#), "expected a key such as"),
        (condition(r#"{"StringEquals":"a"}"#), "expected keys with values"),
        (
            r#"{"Statement":[{"Sid":"A","Effect":"Allow","Action":"*","Resource":"*"},
               {"Sid":"A","Effect":"Deny","Action":"*","Resource":"*"}]}"#
                .to_owned(),
            "Statement 2: Sid 'A' is that of another",
        ),
        (format!("{{\"Id\":\"{}\"}}", "x".repeat(7_000)), "at most 6144"),
        (format!("{{{}}}", " ".repeat(70_000)), "at most 6144"),
    ] {
        let error = Document::parse(&text).expect_err(&text).to_string();
        assert!(error.contains(want), "{text}\n  {error}\n  does not say: {want}");
    }
}

#[test]
fn keys_are_checked() {
    let mut keys = Keys::default();
    let all = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
    assert!(keys.bind("AKIA/1", all).expect_err("no key").to_string().contains("no access key id"));
    assert!(keys.bind("AKIA1", "{}").expect_err("no policy").to_string().contains("AKIA1"));
    keys.bind("AKIA1", all).expect("bound");
    assert!(keys.unbind("AKIA1") && !keys.unbind("AKIA1"));
    let text = format!(r#"{{"AKIA1":{all},"AKIA2":{all}}}"#);
    assert_eq!(Keys::parse(&text).expect("a file").iter().count(), 2);
    assert!(Keys::parse("[1]").expect_err("no object").to_string().contains("JSON object"));
}

/// Policy-like JSON: the right words in any places.
fn words() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let names = [
        "Version",
        "Statement",
        "Effect",
        "Allow",
        "Deny",
        "Action",
        "NotAction",
        "Resource",
        "*",
        "NotResource",
        "Condition",
        "StringLike",
        "ForAllValues:StringEquals",
        "Null",
        "true",
        "aws:TagKeys",
        "ec2:*",
        "arn:aws:ec2:*:*:vpc/*",
        "2012-10-17",
        "a*b?${*}",
        "${x",
    ];
    let text = proptest::sample::select(names.to_vec()).prop_map(str::to_owned);
    let leaf = prop_oneof![
        text.clone().prop_map(Value::String),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            proptest::collection::vec((text.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = Document::parse(&text);
        let _ = touched::requests(None, "us-west-2", &Principal::User, &bytes);
        let _ = pattern::wildcard(&text, "network-interface/eni-1");
        let _ = pattern::resource("arn:*:ec2:*:*:vpc/*", &text);
    }

    #[test]
    fn json_never_panics(value in words()) {
        if let Ok(document) = Document::parse(&value.to_string()) {
            let _ = decide(&document, &request("ec2:CreateTags", "vpc/vpc-1", "aws:TagKeys=a"));
        }
        let statement = serde_json::json!({ "Statement": [value] });
        if let Ok(document) = Document::parse(&statement.to_string()) {
            let _ = decide(&document, &request("ec2:CreateTags", "*", ""));
        }
    }

    #[test]
    fn wildcards_agree_with_the_definition(
        pattern in "[ab*?]{0,6}",
        text in "[ab]{0,6}",
    ) {
        prop_assert_eq!(pattern::wildcard(&pattern, &text), by_definition(pattern.as_bytes(), text.as_bytes()));
    }
}

fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, rest) => rest.is_none(),
        (Some((b'*', more)), _) => {
            (0..=text.len()).any(|taken| by_definition(more, &text[taken..]))
        }
        (Some((b'?', more)), Some((_, rest))) => by_definition(more, rest),
        (Some((c, more)), Some((t, rest))) => c == t && by_definition(more, rest),
        (Some(_), None) => false,
    }
}
