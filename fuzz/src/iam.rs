//! Policy documents: written out and read again they decide the same, and an explicit deny always
//! wins.

use hedgerow_vpc::iam::document::Document;
use hedgerow_vpc::iam::request::{Facts, Request, Resource};
use hedgerow_vpc::iam::{Decision, Keys, decide};
use serde_json::Value;

fn requests() -> Vec<Request> {
    let resource = |arn: &str| {
        let facts = Facts::default()
            .with("aws:ResourceTag/team", "a")
            .with("ec2:Vpc", "arn:aws:ec2:us-west-2:123456789012:vpc/vpc-1");
        Resource { arn: arn.to_owned(), facts }
    };
    let facts = Facts::default().with("aws:RequestedRegion", "us-west-2").with("aws:TagKeys", "k");
    let request = |action: &str, arns: &[&str]| Request {
        action: action.to_owned(),
        resources: arns.iter().map(|arn| resource(arn)).collect(),
        facts: facts.clone(),
    };
    let eni = "arn:aws:ec2:us-west-2:123456789012:network-interface/eni-1";
    let subnet = "arn:aws:ec2:us-west-2:123456789012:subnet/subnet-1";
    vec![
        request("ec2:CreateNetworkInterface", &[eni, subnet]),
        request("ec2:DescribeInstances", &["*"]),
        request("ec2:DeleteNetworkInterface", &[eni]),
    ]
}

/// The document with one more statement, which denies everything.
fn with_deny(source: &Value) -> Option<String> {
    let mut source = source.clone();
    let deny = serde_json::json!({"Effect": "Deny", "Action": "*", "Resource": "*"});
    let statements = source.get_mut("Statement")?;
    match statements {
        Value::Array(list) => list.push(deny),
        one => *one = Value::Array(vec![one.take(), deny]),
    }
    Some(source.to_string())
}

pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _keys = Keys::parse(&text);
    let Ok(document) = Document::parse(&text) else { return };
    let again = Document::parse(&document.source().to_string()).expect("its own text");
    let denying = with_deny(document.source()).map(|text| Document::parse(&text));
    let denying = denying.expect("statements").expect("one more statement");
    for request in requests() {
        assert_eq!(decide(&document, &request), decide(&again, &request), "{request:?}");
        let denied = decide(&denying, &request);
        assert!(
            matches!(denied, Decision::Denied { explicit: true, .. }),
            "{denied:?} of {request:?} under a deny of everything"
        );
    }
}
