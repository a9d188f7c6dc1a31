//! A small client of the EC2 query protocol: what the lab asks of `hedgerow-vpc`.
//!
//! Reference: "Making Query requests to Amazon EC2", API version 2016-11-15.

use std::net::Ipv4Addr;
use std::time::Duration;

use reqwest::header;
use roxmltree::{Document, Node};

use super::REGION;
use super::state::Instance;

const API_VERSION: &str = "2016-11-15";
/// EC2 takes any image id here: an instance is a namespace of this machine.
const IMAGE: &str = "ami-0hedgerow";

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Ec2Error {
    /// No answer.
    #[error("EC2 {action} at {endpoint}: {source} (is hedgerow-vpc up?)")]
    Unreachable {
        /// `RunInstances`.
        action: String,
        /// Where it was sent.
        endpoint: String,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// EC2 refused.
    #[error("EC2 {action}: {code}: {message}")]
    Refused {
        /// `RunInstances`.
        action: String,
        /// EC2's error code.
        code: String,
        /// EC2's words.
        message: String,
    },
    /// An answer that is not what the API describes.
    #[error("EC2 {action} answered without a usable {what}: {body}")]
    Malformed {
        /// `RunInstances`.
        action: String,
        /// The element that was looked for.
        what: &'static str,
        /// The answer.
        body: String,
    },
}

/// The client.
pub struct Ec2 {
    http: reqwest::Client,
    endpoint: String,
}

/// A subnet that was made.
#[derive(Debug, Clone)]
pub struct Subnet {
    /// `subnet-…`.
    pub id: String,
    /// `us-west-2a`.
    pub zone: String,
}

/// Tags, in order.
pub type Tags<'a> = &'a [(&'a str, &'a str)];

type Params = Vec<(String, String)>;

impl Ec2 {
    /// A client for the endpoint `http://127.0.0.1:PORT`.
    pub fn new(endpoint: String) -> Ec2 {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client without TLS has nothing that can fail to load");
        Ec2 { http, endpoint }
    }

    /// Makes a VPC; returns its id.
    pub async fn create_vpc(&self, block: &str, tags: Tags<'_>) -> Result<String, Ec2Error> {
        let mut params = vec![param("CidrBlock", block)];
        tag(&mut params, "vpc", tags);
        self.call("CreateVpc", params).await?.text("vpcId")
    }

    /// Gives instances of a VPC names in its DNS, as EKS requires.
    pub async fn enable_dns_hostnames(&self, vpc: &str) -> Result<(), Ec2Error> {
        let params = vec![param("VpcId", vpc), param("EnableDnsHostnames.Value", "true")];
        self.call("ModifyVpcAttribute", params).await.map(drop)
    }

    /// Gives a VPC an internet gateway.
    pub async fn add_internet_gateway(&self, vpc: &str, tags: Tags<'_>) -> Result<(), Ec2Error> {
        let mut params = Vec::new();
        tag(&mut params, "internet-gateway", tags);
        let id = self.call("CreateInternetGateway", params).await?.text("internetGatewayId")?;
        let params = vec![param("InternetGatewayId", &id), param("VpcId", vpc)];
        self.call("AttachInternetGateway", params).await.map(drop)
    }

    /// Makes a subnet.
    pub async fn create_subnet(
        &self,
        vpc: &str,
        block: &str,
        zone: &str,
        tags: Tags<'_>,
    ) -> Result<Subnet, Ec2Error> {
        let mut params =
            vec![param("VpcId", vpc), param("CidrBlock", block), param("AvailabilityZone", zone)];
        tag(&mut params, "subnet", tags);
        let id = self.call("CreateSubnet", params).await?.text("subnetId")?;
        Ok(Subnet { id, zone: zone.to_owned() })
    }

    /// Makes a security group; returns its id. EC2 gives a new group egress to everywhere.
    pub async fn create_security_group(
        &self,
        vpc: &str,
        name: &str,
        description: &str,
        tags: Tags<'_>,
    ) -> Result<String, Ec2Error> {
        let mut params = vec![
            param("VpcId", vpc),
            param("GroupName", name),
            param("GroupDescription", description),
        ];
        tag(&mut params, "security-group", tags);
        self.call("CreateSecurityGroup", params).await?.text("groupId")
    }

    /// Lets everything into `group` that comes from its own members.
    pub async fn allow_members(&self, group: &str) -> Result<(), Ec2Error> {
        let params = vec![
            param("GroupId", group),
            param("IpPermissions.1.IpProtocol", "-1"),
            param("IpPermissions.1.Groups.1.GroupId", group),
        ];
        self.call("AuthorizeSecurityGroupIngress", params).await.map(drop)
    }

    /// Runs one instance, with an instance profile if one is named.
    pub async fn run_instance(
        &self,
        instance_type: &str,
        subnet: &Subnet,
        group: &str,
        profile: Option<&str>,
        tags: Tags<'_>,
    ) -> Result<Instance, Ec2Error> {
        let mut params = vec![
            param("ImageId", IMAGE),
            param("InstanceType", instance_type),
            param("MinCount", "1"),
            param("MaxCount", "1"),
            param("SubnetId", &subnet.id),
            param("SecurityGroupId.1", group),
        ];
        params.extend(profile.map(|name| param("IamInstanceProfile.Name", name)));
        tag(&mut params, "instance", tags);
        let answer = self.call("RunInstances", params).await?;
        let address = answer.text("privateIpAddress")?;
        let address: Ipv4Addr =
            address.parse().map_err(|_| answer.malformed("privateIpAddress"))?;
        let name = answer.text("privateDnsName").unwrap_or_default();
        Ok(Instance {
            id: answer.text("instanceId")?,
            instance_type: instance_type.to_owned(),
            address,
            zone: subnet.zone.clone(),
            name: if name.is_empty() { private_dns_name(address) } else { name },
        })
    }

    async fn call(&self, action: &str, params: Params) -> Result<Answer, Ec2Error> {
        let unreachable = |source| Ec2Error::Unreachable {
            action: action.to_owned(),
            endpoint: self.endpoint.clone(),
            source,
        };
        let mut body = format!("Action={action}&Version={API_VERSION}");
        for (key, value) in &params {
            body += &format!("&{}={}", encode(key), encode(value));
        }
        let answer = self
            .http
            .post(&self.endpoint)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::AUTHORIZATION, credential_scope())
            .body(body)
            .send()
            .await
            .map_err(unreachable)?;
        let succeeded = answer.status().is_success();
        let body = answer.text().await.map_err(unreachable)?;
        let answer = Answer { action: action.to_owned(), body };
        if succeeded {
            return Ok(answer);
        }
        Err(Ec2Error::Refused {
            action: action.to_owned(),
            code: answer.text("Code")?,
            message: answer.text("Message")?,
        })
    }
}

/// EC2 reads the region from the signature's credential scope; `hedgerow-vpc` takes any
/// credentials and verifies no signature, so none is computed.
fn credential_scope() -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=hedgerow/20260101/{REGION}/ec2/aws4_request, \
         SignedHeaders=host, Signature=unsigned"
    )
}

/// The name EC2 gives an instance by its address ("Amazon EC2 instance hostnames", IP name).
fn private_dns_name(address: Ipv4Addr) -> String {
    format!("ip-{}.{REGION}.compute.internal", address.to_string().replace('.', "-"))
}

fn param(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn tag(params: &mut Params, resource: &str, tags: Tags<'_>) {
    params.push(param("TagSpecification.1.ResourceType", resource));
    for (place, (key, value)) in (1..).zip(tags) {
        params.push((format!("TagSpecification.1.Tag.{place}.Key"), (*key).to_owned()));
        params.push((format!("TagSpecification.1.Tag.{place}.Value"), (*value).to_owned()));
    }
}

/// Percent-encodes for a form body: everything but RFC 3986's unreserved characters.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[derive(Debug)]
struct Answer {
    action: String,
    body: String,
}

impl Answer {
    /// Text of the first element with this name, in document order.
    fn text(&self, element: &'static str) -> Result<String, Ec2Error> {
        Document::parse(&self.body)
            .ok()
            .and_then(|document| {
                let mut nodes = document.descendants();
                let node = nodes.find(|node: &Node<'_, '_>| node.tag_name().name() == element)?;
                Some(node.text().unwrap_or_default().to_owned())
            })
            .ok_or_else(|| self.malformed(element))
    }

    fn malformed(&self, what: &'static str) -> Ec2Error {
        Ec2Error::Malformed { action: self.action.clone(), what, body: self.body.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_values_are_encoded() {
        assert_eq!(encode("10.0.0.0/16"), "10.0.0.0%2F16");
        assert_eq!(encode("a b&c=ü"), "a%20b%26c%3D%C3%BC");
    }

    #[test]
    fn tags_are_numbered() {
        let mut params = Vec::new();
        tag(&mut params, "vpc", &[("Name", "x"), ("k", "v")]);
        let keys: Vec<&str> = params.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "TagSpecification.1.ResourceType",
                "TagSpecification.1.Tag.1.Key",
                "TagSpecification.1.Tag.1.Value",
                "TagSpecification.1.Tag.2.Key",
                "TagSpecification.1.Tag.2.Value"
            ]
        );
    }

    #[test]
    fn answers_are_searched_by_element() {
        let body = r#"<R xmlns="http://ec2"><vpc><vpcId>vpc-1</vpcId></vpc></R>"#.to_owned();
        let answer = Answer { action: "CreateVpc".into(), body };
        assert_eq!(answer.text("vpcId").expect("there"), "vpc-1");
        assert!(matches!(answer.text("subnetId"), Err(Ec2Error::Malformed { .. })));
    }

    #[test]
    fn names_follow_addresses() {
        assert_eq!(
            private_dns_name(Ipv4Addr::new(10, 0, 0, 12)),
            "ip-10-0-0-12.us-west-2.compute.internal"
        );
    }
}
