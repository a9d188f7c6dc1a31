//! Both directions of the protocol, on types that no action has.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::de::{QueryError, from_node};
use super::params::Node;
use super::xml;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Range {
    cidr_ip: String,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Permission {
    from_port: Option<i32>,
    #[serde(default)]
    ip_ranges: Vec<Range>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Authorize {
    group_id: String,
    egress: Option<bool>,
    #[serde(default)]
    ip_permissions: Vec<Permission>,
}

fn read(body: &str) -> Result<Authorize, QueryError> {
    from_node(&Node::parse(body.as_bytes()).expect("a tree"))
}

#[test]
fn nested_lists_come_in_number_order() {
    let ranges: String =
        (1..=11).map(|n| format!("&IpPermissions.1.IpRanges.{n}.CidrIp=10.0.0.{n}%2F32")).collect();
    let got = read(&format!("GroupId=sg-1&Egress=true&IpPermissions.1.FromPort=-1{ranges}"));
    let got = got.expect("valid");
    assert_eq!((got.group_id.as_str(), got.egress), ("sg-1", Some(true)));
    assert_eq!(got.ip_permissions[0].from_port, Some(-1));
    let last = &got.ip_permissions[0].ip_ranges[10];
    assert_eq!(last.cidr_ip, "10.0.0.11/32", "10 comes after 2");
}

#[test]
fn mistakes_name_the_parameter_as_written() {
    let unknown = |name: &str| Err(QueryError::Unknown(name.into()));
    let missing = |name: &str| Err(QueryError::Missing(name.into()));
    for (body, want) in [
        ("GroupId=a&Foo=1", unknown("Foo")),
        ("GroupId=a&IpPermissions.1.Foo=1", unknown("IpPermissions.1.Foo")),
        ("GroupId=a&IpPermissions.x.FromPort=1", unknown("IpPermissions.x")),
        ("GroupId.1=a", unknown("GroupId.1")),
        ("", missing("GroupId")),
        ("GroupId=a&IpPermissions.2.IpRanges.1.Foo=", unknown("IpPermissions.2.IpRanges.1.Foo")),
    ] {
        assert_eq!(read(body), want, "{body}");
    }
    let error = read("GroupId=a&IpPermissions.1.FromPort=x").expect_err("not a number");
    assert_eq!(
        error.to_string(),
        "Value (x) for parameter IpPermissions.1.FromPort is invalid. Expected an integer in range."
    );
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    group_name: String,
    absent: Option<u32>,
    port_set: Vec<u16>,
    empty_set: Vec<u16>,
}

#[test]
fn answers_are_ec2_xml() {
    let answer = Answer {
        group_name: "a<b>&\"\u{1}".into(),
        absent: None,
        port_set: vec![1, 2],
        empty_set: vec![],
    };
    assert_eq!(
        xml::to_string(&answer).expect("writable"),
        "<groupName>a&lt;b&gt;&amp;&quot;\u{fffd}</groupName>\
         <portSet><item>1</item><item>2</item></portSet><emptySet></emptySet>"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(node) = Node::parse(&body) {
            let _ = from_node::<Authorize>(&node);
        }
    }

    #[test]
    fn no_likely_body_makes_the_reader_panic(
        parts in proptest::collection::vec(
            "(GroupId|IpPermissions|Egress)(\\.(1|2|0|x|IpRanges|FromPort|CidrIp|)){0,4}=[a-z0-9%]{0,3}",
            0..8)
    ) {
        if let Ok(node) = Node::parse(parts.join("&").as_bytes()) {
            let _ = from_node::<Authorize>(&node);
        }
    }
}
