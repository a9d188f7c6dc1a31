//! A server of our own for one test, and a plain client with an access key.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hedgerow_vpc::server::Server;
use hedgerow_vpc::state::{Quotas, State};
use tokio::runtime::Runtime;

/// The key that is bound to nothing.
pub const ADMIN: &str = "AKIAADMIN";

pub struct Vpc {
    address: SocketAddr,
    /// Texts of earlier answers, for `{name}` in requests.
    names: BTreeMap<String, String>,
    /// Ends the server when dropped.
    _runtime: Runtime,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    pub took: Duration,
}

impl Answer {
    /// The text of the first element.
    pub fn text(&self, element: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("<{element}>"))?;
        rest.split('<').next()
    }

    /// The error's code; empty where there is none.
    pub fn code(&self) -> &str {
        self.text("Code").unwrap_or_default()
    }
}

impl Vpc {
    pub fn start() -> Vpc {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a port of the loopback");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(Server::new(State::new(7, Quotas::default()), None).serve(listener));
        Vpc { address, names: BTreeMap::new(), _runtime: runtime }
    }

    /// One HTTP exchange; `None` where the connection ended without an answer.
    pub fn http(&self, method: &str, path: &str, headers: &str, body: &str) -> Option<Answer> {
        let start = Instant::now();
        let mut stream = TcpStream::connect(self.address).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("send");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let status = answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        Some(Answer { status, body: body.to_owned(), took: start.elapsed() })
    }

    /// An admin request that succeeds.
    pub fn admin(&self, method: &str, path: &str, body: &str) -> String {
        let answer = self.http(method, &format!("/_hedgerow/{path}"), "", body).expect("an answer");
        assert!(answer.status < 300, "{method} {path} {body}: {answer:?}");
        answer.body
    }

    pub fn weather(&self, json: &str) {
        self.admin("PUT", "weather", json);
    }

    /// `"CreateVpc CidrBlock=10.0.0.0/16"` by a key; `None` where the answer is lost.
    pub fn try_ask(&self, key: &str, request: &str) -> Option<Answer> {
        let mut text = request.to_owned();
        for (name, value) in &self.names {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        assert!(!text.contains('{'), "no name for a part of: {text}");
        let body = format!("Action={}&Version=2016-11-15", text.replace(' ', "&"));
        let headers = format!(
            "Authorization: AWS4-HMAC-SHA256 Credential={key}/20260101/us-west-2/ec2/aws4_request, \
             SignedHeaders=host, Signature=0\r\n"
        );
        self.http("POST", "/", &headers, &body)
    }

    /// A request to another API: of RDS, `CreateDBInstance DBInstanceIdentifier=x`; of EKS,
    /// `GET /clusters`.
    pub fn other(&self, key: &str, service: &str, request: &str) -> Answer {
        let headers = format!(
            "Authorization: AWS4-HMAC-SHA256 \
             Credential={key}/20260101/us-west-2/{service}/aws4_request, SignedHeaders=host, \
             Signature=0\r\n"
        );
        let (method, path, body) = match request.split_once(" /") {
            Some((method, path)) => (method, format!("/{path}"), String::new()),
            None => {
                let version = if service == "sts" { "2011-06-15" } else { "2014-10-31" };
                let body = format!("Action={}&Version={version}", request.replace(' ', "&"));
                ("POST", "/".to_owned(), body)
            }
        };
        self.http(method, &path, &headers, &body).expect("an answer")
    }

    pub fn ask(&self, key: &str, request: &str) -> Answer {
        self.try_ask(key, request).unwrap_or_else(|| panic!("no answer to {request}"))
    }

    /// The request succeeds.
    pub fn ok(&self, key: &str, request: &str) -> Answer {
        let answer = self.ask(key, request);
        assert_eq!(answer.status, 200, "{key}: {request}\n{}", answer.body);
        answer
    }

    /// The request succeeds, and `{name}` is the text of `element` from now on.
    pub fn make(&mut self, key: &str, name: &str, element: &str, request: &str) {
        let answer = self.ok(key, request);
        let text = answer.text(element).unwrap_or_else(|| panic!("no <{element}>: {answer:?}"));
        self.names.insert(name.to_owned(), text.to_owned());
    }

    /// The request is refused with this code.
    pub fn fails(&self, key: &str, code: &str, request: &str) -> Answer {
        let answer = self.ask(key, request);
        assert_eq!(answer.code(), code, "{key}: {request}\n{}", answer.body);
        answer
    }

    /// `{vpc}`, `{subnet}`, `{group}`, `{instance}` (an m5.large) and `{other}`, an interface that
    /// is nobody's.
    pub fn furnish(&mut self) {
        self.make(ADMIN, "vpc", "vpcId", "CreateVpc CidrBlock=10.0.0.0/16");
        self.make(ADMIN, "subnet", "subnetId", "CreateSubnet VpcId={vpc} CidrBlock=10.0.1.0/24");
        let group = "CreateSecurityGroup GroupName=app GroupDescription=app VpcId={vpc}";
        self.make(ADMIN, "group", "groupId", group);
        let run = "RunInstances ImageId=ami-1 InstanceType=m5.large MinCount=1 MaxCount=1 \
                   SubnetId={subnet} SecurityGroupId.1={group}";
        self.make(ADMIN, "instance", "instanceId", run);
        self.make(ADMIN, "other", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}");
    }
}
