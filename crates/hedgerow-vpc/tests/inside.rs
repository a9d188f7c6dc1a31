//! What instances find besides the API: DNS, metadata, and what flow logs say of them. The binary
//! with its wire; needs root.

#[path = "harness/raw.rs"]
mod raw;
mod running;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use running::{TIMEOUT, Vpc, body, exchange, metadata};

const DNS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(169, 254, 169, 253)), 53);

/// A VPC 10.0.0.0/16 with DNS names, a subnet 10.0.1.0/24, and a group that lets nothing out.
#[derive(Clone)]
struct Network {
    vpc: String,
    subnet: String,
    closed: String,
}

fn network(vpc: &Vpc) -> Network {
    let id = vpc.ask("CreateVpc&CidrBlock=10.0.0.0/16", "vpcId");
    vpc.ask(&format!("ModifyVpcAttribute&VpcId={id}&EnableDnsHostnames.Value=true"), "return");
    let subnet = vpc.ask(&format!("CreateSubnet&VpcId={id}&CidrBlock=10.0.1.0/24"), "subnetId");
    let closed = group(vpc, &id, "closed");
    vpc.ask(
        &format!(
            "RevokeSecurityGroupEgress&GroupId={closed}&IpPermissions.1.IpProtocol=-1\
             &IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0/0"
        ),
        "return",
    );
    Network { vpc: id, subnet, closed }
}

fn group(vpc: &Vpc, id: &str, name: &str) -> String {
    let request = format!("CreateSecurityGroup&VpcId={id}&GroupName={name}&GroupDescription=x");
    vpc.ask(&request, "groupId")
}

fn instance(vpc: &Vpc, network: &Network, group: &str, address: &str, more: &str) -> String {
    let request = format!(
        "RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1&SubnetId={}\
         &SecurityGroupId.1={group}&PrivateIpAddress={address}{more}",
        network.subnet
    );
    vpc.ask(&request, "instanceId")
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message.to_vec().expect("bytes")
}

fn by_udp(to: SocketAddr, name: &str, kind: RecordType) -> Message {
    let answer = ask_udp(to, name, kind, Duration::from_secs(8));
    let bytes = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
    Message::from_vec(&bytes).expect("an answer")
}

fn ask_udp(
    to: SocketAddr,
    name: &str,
    kind: RecordType,
    patience: Duration,
) -> std::io::Result<Vec<u8>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(patience))?;
    socket.send(&question(name, kind))?;
    let mut answer = [0; 4_096];
    let length = socket.recv(&mut answer)?;
    Ok(answer[..length].to_vec())
}

fn by_tcp(name: &str, kind: RecordType) -> Message {
    let mut stream = TcpStream::connect_timeout(&DNS, TIMEOUT).expect("connect");
    let question = question(name, kind);
    stream.write_all(&(question.len() as u16).to_be_bytes()).expect("ask");
    stream.write_all(&question).expect("ask");
    let mut length = [0; 2];
    stream.read_exact(&mut length).expect("an answer");
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer).expect("an answer");
    Message::from_vec(&answer).expect("an answer")
}

/// The records of an answer as text, or its code.
fn said(answer: &Message) -> String {
    let texts: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
    match answer.metadata.response_code {
        ResponseCode::NoError => texts.join(" "),
        code => format!("{code:?}"),
    }
}

/// A resolver on the machine that says 192.0.2.1 to everything.
fn other_resolver() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("its address");
    std::thread::spawn(move || {
        let mut request = [0; 4_096];
        while let Ok((length, client)) = socket.recv_from(&mut request) {
            let Ok(mut message) = Message::from_vec(&request[..length]) else { continue };
            message.metadata.message_type = MessageType::Response;
            let name = message.queries[0].name().clone();
            let data = RData::A(A::new(192, 0, 2, 1));
            message.add_answer(Record::from_rdata(name, 5, data));
            let _ = socket.send_to(&message.to_vec().expect("bytes"), client);
        }
    });
    address
}

/// PUT of a zone from this machine.
fn put_zone(vpc: &Vpc, zone: &str, contents: &str) {
    let request = format!(
        "PUT /_hedgerow/dns/{zone} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: \
         {}\r\n\r\n{contents}",
        contents.len()
    );
    let answer = exchange(vpc.endpoint, &request).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn dns_inside_an_instance() {
    let resolver = other_resolver();
    let vpc = Vpc::start(&["--dns-forward", &resolver.to_string()]);
    let network = network(&vpc);
    let more = "&PrivateDnsNameOptions.EnableResourceNameDnsARecord=true";
    let i = instance(&vpc, &network, &network.closed, "10.0.1.10", more);
    let ask = |name: &str, kind| vpc.inside(&i, || said(&by_udp(DNS, name, kind)));
    let own = "ip-10-0-1-10.us-west-2.compute.internal.";
    let base = SocketAddr::from(([10, 0, 0, 2], 53));
    let at_base = |i: &str| vpc.inside(i, || said(&by_udp(base, own, RecordType::A)));
    assert_eq!(at_base(&i), "10.0.1.10", "at the VPC's base + 2, behind the router");
    assert_eq!(ask(own, RecordType::A), "10.0.1.10", "though its group lets nothing out");
    assert_eq!(ask(&format!("{i}.us-west-2.compute.internal."), RecordType::A), "10.0.1.10");
    assert_eq!(ask("10.1.0.10.in-addr.arpa.", RecordType::PTR), own);
    assert_eq!(ask("11.1.0.10.in-addr.arpa.", RecordType::PTR), "NXDomain");
    assert_eq!(ask("ip-10-0-1-11.us-west-2.compute.internal.", RecordType::A), "NXDomain");
    assert_eq!(ask(own, RecordType::AAAA), "", "there, but without an IPv6 address");
    assert_eq!(ask("example.org.", RecordType::A), "192.0.2.1", "from the other resolver");

    // In the VPC's first subnet the address is a neighbour, which the VPC answers for.
    let first = format!("CreateSubnet&VpcId={}&CidrBlock=10.0.0.0/24", network.vpc);
    let first = Network { subnet: vpc.ask(&first, "subnetId"), ..network.clone() };
    let neighbour = instance(&vpc, &first, &first.closed, "10.0.0.10", "");
    assert_eq!(at_base(&neighbour), "10.0.1.10");
    let run = "RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1";
    let elsewhere = vpc.ask(run, "instanceId");
    let asked = vpc.inside(&elsewhere, || ask_udp(base, own, RecordType::A, TIMEOUT));
    assert!(asked.is_err(), "another VPC's: {asked:?}");

    let many: Vec<String> = (1..=100).map(|n| format!("\"10.0.9.{n}\"")).collect();
    let contents =
        format!("{{\"names\": {{\"@\": [\"10.0.9.9\"], \"many\": [{}]}}}}", many.join(","));
    put_zone(&vpc, "Db.Example", &contents);
    assert_eq!(ask("db.example.", RecordType::A), "10.0.9.9");
    assert_eq!(ask("x.db.example.", RecordType::A), "NXDomain");
    let cut = vpc.inside(&i, || by_udp(DNS, "many.db.example.", RecordType::A));
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let whole = vpc.inside(&i, || by_tcp("many.db.example.", RecordType::A));
    assert_eq!(whole.answers.len(), 100);
    put_zone(&vpc, "db.example", "{\"names\": {\"@\": [\"10.0.9.9\"]}, \"vpcs\": []}");
    assert_eq!(ask("many.db.example.", RecordType::A), "NXDomain");

    let set = |attribute: &str| {
        vpc.ask(&format!("ModifyVpcAttribute&VpcId={}&{attribute}", network.vpc), "return");
    };
    set("EnableDnsHostnames.Value=false");
    assert_eq!(ask(own, RecordType::A), "NXDomain", "names need both attributes");
    assert_eq!(ask("db.example.", RecordType::A), "10.0.9.9");
    set("EnableDnsSupport.Value=false");
    assert_eq!(ask("db.example.", RecordType::A), "Refused");
}

/// A public name is the private address in its own VPC, and the public one in others.
#[test]
fn public_names_and_ipv6_addresses_resolve() {
    let vpc = Vpc::start(&[]);
    let network = network(&vpc);
    let i = instance(&vpc, &network, &network.closed, "10.0.1.10", "");
    let eth0 = vpc.ask(
        "DescribeNetworkInterfaces&Filter.1.Name=private-ip-address&Filter.1.Value.1=10.0.1.10",
        "networkInterfaceId",
    );
    let gateway = vpc.ask("CreateInternetGateway", "internetGatewayId");
    let attach = format!("AttachInternetGateway&InternetGatewayId={gateway}&VpcId={}", network.vpc);
    vpc.ask(&attach, "return");
    let allocated = vpc.ask("AllocateAddress&Domain=vpc", "allocationId");
    let public = vpc.ask(&format!("DescribeAddresses&AllocationId.1={allocated}"), "publicIp");
    let associate = format!("AssociateAddress&AllocationId={allocated}&NetworkInterfaceId={eth0}");
    vpc.ask(&associate, "associationId");
    let name = vpc.ask(&format!("DescribeInstances&InstanceId.1={i}"), "dnsName");
    let label = public.replace('.', "-");
    assert_eq!(name, format!("ec2-{label}.us-west-2.compute.amazonaws.com"));
    let ask = |name: &str, kind| vpc.inside(&i, || said(&by_udp(DNS, name, kind)));
    assert_eq!(ask(&format!("{name}."), RecordType::A), "10.0.1.10");
    let nobody = "ec2-198-51-100-1.us-west-2.compute.amazonaws.com.";
    assert_eq!(ask(nobody, RecordType::A), "NXDomain");
    let octets: Vec<&str> = public.split('.').rev().collect();
    let backwards = format!("{}.in-addr.arpa.", octets.join("."));
    assert_eq!(ask(&backwards, RecordType::PTR), format!("{name}."));
    let hostname = vpc.inside(&i, || {
        let token = metadata("PUT", "api/token", "x-aws-ec2-metadata-token-ttl-seconds: 60\r\n");
        let header = format!("x-aws-ec2-metadata-token: {}\r\n", body(&token));
        metadata("GET", "meta-data/public-hostname", &header)
    });
    assert_eq!(body(&hostname), name);

    let run = "RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1";
    let elsewhere = vpc.ask(run, "instanceId");
    let other = vpc.inside(&elsewhere, || said(&by_udp(DNS, &format!("{name}."), RecordType::A)));
    assert_eq!(other, public, "in the default VPC");

    let six =
        format!("AssociateVpcCidrBlock&VpcId={}&AmazonProvidedIpv6CidrBlock=true", network.vpc);
    vpc.ask(&six, "associationId");
    let block = vpc.ask(&format!("DescribeVpcs&VpcId.1={}", network.vpc), "ipv6CidrBlock");
    let block = block.replace("::/56", "::/64");
    let give =
        format!("AssociateSubnetCidrBlock&SubnetId={}&Ipv6CidrBlock={block}", network.subnet);
    vpc.ask(&give, "associationId");
    let assign = format!("AssignIpv6Addresses&NetworkInterfaceId={eth0}&Ipv6AddressCount=1");
    vpc.ask(&assign, "networkInterfaceId");
    let address =
        vpc.ask(&format!("DescribeNetworkInterfaces&NetworkInterfaceId.1={eth0}"), "ipv6Address");
    let own = format!("{i}.us-west-2.compute.internal.");
    let nibbles: std::net::Ipv6Addr = address.parse().expect("an address");
    let nibbles = format!("{:032x}", nibbles.to_bits());
    let nibbles: Vec<String> = nibbles.chars().rev().map(String::from).collect();
    let backwards = format!("{}.ip6.arpa.", nibbles.join("."));
    // What its name made of its id has, as the instance's switches say.
    for (four, six, want) in [
        (false, false, ["NXDomain", "NXDomain", "NXDomain"]),
        (true, false, ["10.0.1.10", "", "NXDomain"]),
        (false, true, ["", &address, &own]),
        (true, true, ["10.0.1.10", &address, &own]),
    ] {
        let switch = format!(
            "ModifyPrivateDnsNameOptions&InstanceId={i}&EnableResourceNameDnsARecord={four}\
             &EnableResourceNameDnsAAAARecord={six}"
        );
        vpc.ask(&switch, "return");
        let seen = [(&own, RecordType::A), (&own, RecordType::AAAA), (&backwards, RecordType::PTR)]
            .map(|(name, kind)| ask(name, kind));
        assert_eq!(seen, want, "A {four}, AAAA {six}");
    }
    let hosts =
        |on| format!("ModifyVpcAttribute&VpcId={}&EnableDnsHostnames.Value={on}", network.vpc);
    vpc.ask(&hosts(false), "return");
    assert_eq!(ask(&own, RecordType::A), "NXDomain", "names need the VPC's attribute, too");
    assert_eq!(ask(&format!("{name}."), RecordType::A), "NXDomain", "public ones as well");
    vpc.ask(&hosts(true), "return");
    let launches = format!(
        "ModifySubnetAttribute&SubnetId={}&EnableResourceNameDnsARecordOnLaunch.Value=true",
        network.subnet
    );
    vpc.ask(&launches, "return");
    let later = instance(&vpc, &network, &network.closed, "10.0.1.11", "");
    let later = format!("{later}.us-west-2.compute.internal.");
    assert_eq!(ask(&later, RecordType::A), "10.0.1.11", "as the subnet says");

    put_zone(&vpc, "six.example", r#"{"names": {"@": ["10.0.9.9", "2001:db8::9"]}}"#);
    assert_eq!(ask("six.example.", RecordType::A), "10.0.9.9");
    assert_eq!(ask("six.example.", RecordType::AAAA), "2001:db8::9");
}

/// The endpoint of a cluster is private in its VPC with private access, else public.
#[test]
fn an_endpoint_follows_the_clusters_access() {
    let vpc = Vpc::start(&[]);
    let network = network(&vpc);
    let i = instance(&vpc, &network, &network.closed, "10.0.1.10", "");
    let run = "RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1";
    let elsewhere = vpc.ask(run, "instanceId");
    let name = "ABC.gr7.us-west-2.eks.amazonaws.com";
    let cluster = |private: bool, public: bool| {
        let document = serde_json::json!({
            "version": "1.34", "endpoint": "https://127.0.0.1:6443", "certificateAuthority": "QQ==",
            "subnetIds": [network.subnet], "clusterSecurityGroupId": network.closed,
            "serviceIpv4Cidr": "172.20.0.0/16", "endpointPublicAccess": public,
            "endpointPrivateAccess": private,
            "endpointName": {"name": name, "privateAddress": "10.0.1.9",
                             "publicAddress": "203.0.113.10"},
        });
        admin(&vpc, "eks/clusters/lab?region=us-west-2", &document.to_string());
        [&i, &elsewhere]
            .map(|from| vpc.inside(from, || said(&by_udp(DNS, &format!("{name}."), RecordType::A))))
    };
    assert_eq!(cluster(true, true), ["10.0.1.9", "203.0.113.10"]);
    assert_eq!(cluster(false, true), ["203.0.113.10", "203.0.113.10"]);
    assert_eq!(cluster(true, false), ["10.0.1.9", "10.0.1.9"]);
    let nobody = "DEF.gr7.us-west-2.eks.amazonaws.com.";
    assert_eq!(vpc.inside(&i, || said(&by_udp(DNS, nobody, RecordType::A))), "NXDomain");
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn metadata_inside_an_instance() {
    let vpc = Vpc::start(&[]);
    let network = network(&vpc);
    // "#!/bin/sh\n" and a byte that is no UTF-8.
    let more = "&IamInstanceProfile.Name=node&UserData=IyEvYmluL3NoCv8%3D\
                &MetadataOptions.InstanceMetadataTags=enabled&MetadataOptions.HttpTokens=optional\
                &TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name\
                &TagSpecification.1.Tag.1.Value=web";
    let i = instance(&vpc, &network, &network.closed, "10.0.1.10", more);
    let get = |path: &str| vpc.inside(&i, || metadata("GET", path, ""));
    for (path, want) in [
        ("", "dynamic\nmeta-data\nuser-data"),
        ("meta-data/tags/instance", "Name"),
        ("meta-data/tags/instance/Name", "web"),
        ("meta-data/iam/", "info\nsecurity-credentials/"),
        ("meta-data/iam/security-credentials/", "node"),
        ("meta-data/services/", "domain\npartition"),
        ("meta-data/events/maintenance/scheduled", "[]"),
    ] {
        assert_eq!(body(&get(path)), want, "{path}");
    }
    let dated =
        "GET /2021-07-15/meta-data/instance-id HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let service = SocketAddr::from(([169, 254, 169, 254], 80));
    let dated = vpc.inside(&i, || exchange(service, dated).expect("metadata answers"));
    assert_eq!(body(&dated), i);
    let listing = get("meta-data/");
    for line in ["ami-id", "iam/", "network/", "placement/", "security-groups", "tags/"] {
        assert!(body(&listing).lines().any(|l| l == line), "{line} in {listing}");
    }
    let missing = get("meta-data/nothing");
    assert!(status(&missing) == "404" && body(&missing).contains("<h1>404 - Not Found</h1>"));
    assert_eq!(status(&get("meta-data/spot/instance-action")), "404");
    let first = get("meta-data/iam/security-credentials/node");
    assert!(body(&first).contains("\"AccessKeyId\": \"ASIA"), "{first}");
    assert_eq!(body(&get("meta-data/iam/security-credentials/node")), body(&first));
    let document = get("dynamic/instance-identity/document");
    assert!(body(&document).contains(&format!("\"instanceId\": \"{i}\"")), "{document}");
    check_tokens(&vpc, &i);
}

/// A PUT from this machine that succeeds.
fn admin(vpc: &Vpc, path: &str, contents: &str) {
    let request = format!(
        "PUT /_hedgerow/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: \
         {}\r\n\r\n{contents}",
        contents.len()
    );
    let answer = exchange(vpc.endpoint, &request).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
}

/// botocore in an instance finds the role's keys, and the API knows whose they are.
#[test]
fn an_instances_keys_are_judged_by_its_role() {
    let vpc = Vpc::start(&[]);
    let network = network(&vpc);
    let i = instance(&vpc, &network, &network.closed, "10.0.1.10", "&IamInstanceProfile.Name=node");
    let said = |i: &str| {
        let script = format!("{}/tests/role.py", env!("CARGO_MANIFEST_DIR"));
        let run = vpc.inside(i, || running::python().arg(script).output().expect("run Python"));
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8_lossy(&run.stdout).into_owned()
    };
    let arn = format!("arn:aws:sts::123456789012:assumed-role/node/{i} {i}\n");
    assert_eq!(said(&i), format!("{arn}ok ok ok ok\n"), "an unbound role may do everything");
    let policy = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow",
        "Action":["ec2:DescribeVpcs","rds:*"],"Resource":"*"}}"#;
    admin(&vpc, "iam/role/node", policy);
    let bound = format!("{arn}ok UnauthorizedOperation AccessDeniedException ok\n");
    assert_eq!(said(&i), bound);

    let keys = vpc.inside(&i, || {
        let token = "x-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
        let token = metadata("PUT", "api/token", token);
        let header = format!("x-aws-ec2-metadata-token: {}\r\n", body(&token));
        metadata("GET", "meta-data/iam/security-credentials/node", &header)
    });
    let keys: serde_json::Value = serde_json::from_str(body(&keys)).expect("JSON");
    let ask = |key: &str, token: &str| {
        let body = "Action=DescribeVpcs";
        let request = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential={key}/20260101/us-west-2/ec2/aws4_request\r\n\
             X-Amz-Security-Token: {token}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(vpc.endpoint, &request).expect("an answer");
        let code = answer.split("<Code>").nth(1).and_then(|rest| rest.split('<').next());
        (status(&answer).to_owned(), code.unwrap_or_default().to_owned())
    };
    let (key, token) = (keys["AccessKeyId"].as_str(), keys["Token"].as_str());
    let (key, token) = (key.expect("a key"), token.expect("a token"));
    let pair = |status: &str, code: &str| (status.to_owned(), code.to_owned());
    assert_eq!(ask(key, token), pair("200", ""));
    assert_eq!(ask(key, "another"), pair("401", "AuthFailure"));
    assert_eq!(ask("ASIANEVERISSUED", token), pair("401", "AuthFailure"));
}

fn check_tokens(vpc: &Vpc, i: &str) {
    let put = |headers: &str| vpc.inside(i, || metadata("PUT", "api/token", headers));
    let life = |seconds: &str| format!("x-aws-ec2-metadata-token-ttl-seconds: {seconds}\r\n");
    for bad in ["0", "21601", "x", ""] {
        assert_eq!(status(&put(&life(bad))), "400", "{bad}");
    }
    assert_eq!(status(&put("")), "400");
    assert_eq!(status(&put(&(life("60") + "X-Forwarded-For: 10.0.0.1\r\n"))), "403");
    let short = put(&life("1"));
    let token = |answer: &str| format!("x-aws-ec2-metadata-token: {}\r\n", body(answer));
    let read = |header: &str| {
        let answer = vpc.inside(i, || metadata("GET", "meta-data/instance-id", header));
        status(&answer).to_owned()
    };
    assert_eq!(read(&token(&put(&life("21600")))), "200");
    assert_eq!(read("x-aws-ec2-metadata-token: made-up\r\n"), "401");
    std::thread::sleep(Duration::from_millis(2_100));
    assert_eq!(read(&token(&short)), "401", "its second is over");
    assert_eq!(status(&vpc.inside(i, || metadata("POST", "api/token", ""))), "405");
    let (of_put, of_get) = vpc.inside(i, || {
        let tap = raw::Tap::open("eth0").expect("a packet socket");
        metadata("PUT", "api/token", &life("60"));
        let of_put = time_to_live(&tap);
        metadata("GET", "meta-data/instance-id", "");
        (of_put, time_to_live(&tap))
    });
    assert_eq!((of_put, of_get), (1, 64), "the answer with a token crosses no further hop");
}

/// IP TTL of the next packet with an HTTP answer.
fn time_to_live(tap: &raw::Tap) -> u8 {
    let answers = |frame: &raw::Arrived| frame.bytes.windows(8).any(|w| w == b"HTTP/1.1");
    tap.wait(Duration::from_secs(5), answers).expect("an answer on the wire").bytes[22]
}

#[test]
fn flow_logs_of_the_api() {
    let vpc = Vpc::start(&[
        "--flow-log-dir",
        "{dir}/logs",
        "--flow-log-interval",
        "2",
        "--flow-log-json",
        "{dir}/json",
    ]);
    let network = network(&vpc);
    let (app, db) = (group(&vpc, &network.vpc, "app"), group(&vpc, &network.vpc, "db"));
    vpc.ask(
        &format!(
            "AuthorizeSecurityGroupIngress&GroupId={db}&IpPermissions.1.IpProtocol=tcp\
             &IpPermissions.1.FromPort=5432&IpPermissions.1.ToPort=5432\
             &IpPermissions.1.Groups.1.GroupId={app}"
        ),
        "return",
    );
    let client = instance(&vpc, &network, &app, "10.0.1.10", "");
    let server = instance(&vpc, &network, &db, "10.0.1.20", "");
    let of_vpc = format!(
        "CreateFlowLogs&ResourceType=VPC&ResourceId.1={}&TrafficType=ALL&LogGroupName=/aws/vpc\
         &DeliverLogsPermissionArn=arn:aws:iam::1:role/r",
        network.vpc
    );
    vpc.ask(&of_vpc, "item");
    let of_subnet = format!(
        "CreateFlowLogs&ResourceType=Subnet&ResourceId.1={}&TrafficType=REJECT\
         &LogDestinationType=s3&LogDestination=arn:aws:s3:::logs/a&LogFormat=\
         %24%7Bversion%7D%20%24%7Binstance-id%7D%20%24%7Bdstport%7D%20%24%7Bflow-direction%7D%20\
         %24%7Breject-reason%7D%20%24%7Bpackets%7D",
        network.subnet
    );
    let rejects = vpc.ask(&of_subnet, "item");
    let listener = vpc.inside(&server, || TcpListener::bind("10.0.1.20:5432").expect("listen"));
    let reaches = |port: u16| {
        let target = SocketAddr::from(([10, 0, 1, 20], port));
        vpc.inside(&client, || TcpStream::connect_timeout(&target, TIMEOUT).is_ok())
    };
    assert!(reaches(5432) && !reaches(5433));
    drop(listener);
    let directory = vpc.directory.0.join("logs");
    wait(&directory, "the client's", &["10.0.1.10 10.0.1.20", " 5432 6 ", "ACCEPT OK"]);
    wait(&directory, "the refused", &["10.0.1.10 10.0.1.20", " 5433 6 ", "REJECT OK"]);
    wait(&directory, "an idle interval", &[" - - - - - - - ", " - NODATA"]);
    wait(&directory, "the custom", &[&format!("8 {server} 5433 ingress ingress_groups")]);
    let header = "version instance-id dstport flow-direction reject-reason packets";
    wait(&directory, "the header", &[header]);
    let rule = "\"rule\":\"sgr-";
    wait(
        &vpc.directory.0,
        "the rule",
        &["\"destination_port\":5432", "\"gate\":\"ingress\"", rule],
    );
    let gate = "\"gate\":\"ingress\"";
    wait(&vpc.directory.0, "the gate", &["\"reason\":\"ingress_groups\"", "5433", gate, &db]);
    vpc.ask(&format!("DeleteFlowLogs&FlowLogId.1={rejects}"), "return");
}

/// Waits for a line with all of `words` in a file below the directory.
fn wait(directory: &Path, what: &str, words: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let mut text = String::new();
        read_all(directory, &mut text);
        if text.lines().any(|line| words.iter().all(|word| line.contains(word))) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: no {words:?} in:\n{text}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn read_all(directory: &Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            read_all(&path, text);
        } else {
            text.push_str(&std::fs::read_to_string(path).unwrap_or_default());
        }
    }
}
