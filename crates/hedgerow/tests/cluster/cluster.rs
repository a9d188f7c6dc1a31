//! The lab under test, and the commands a user would type at it.

use std::io::Write;
use std::process::{Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::Lab;

/// Python 3 from Debian, in an image that the build makes anyway for the demo.
pub const PYTHON_IMAGE: &str = "hedgerow/postgres-test:0.1.0";

/// A lab with one node that can carry a trunk; it goes down when this is dropped.
pub struct Cluster {
    pub lab: Lab,
    /// The cluster security group, on the control plane, the node and, by policy, most pods here.
    pub cluster_group: String,
}

/// What a command printed.
pub struct Said {
    /// Whether it exited with 0.
    pub ok: bool,
    /// Standard output, trimmed.
    pub out: String,
    /// Standard error, trimmed.
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        Said { ok: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Cluster {
    /// Starts the lab with the images that the scenarios need.
    ///
    /// # Panics
    /// When it does not come up; what was started is stopped.
    pub fn up() -> Cluster {
        let lab = Lab::up("cluster", &["--nodes", "1", "--instance-type", "m5.xlarge"]);
        let cache = std::env::var("HEDGEROW_CACHE").unwrap_or("/var/cache/hedgerow".to_owned());
        lab.hedgerow(&["load-image", &format!("{cache}/images/demo/postgres-test.tar")]);
        let cluster_group = lab.run("echo $CLUSTER_SECURITY_GROUP_ID");
        Cluster { lab, cluster_group }
    }

    /// Takes the lab down and looks for what it left.
    pub fn down(self) {
        self.lab.down();
        assert_eq!(self.lab.remains(), Vec::<String>::new());
    }

    fn run(&self, program: &str, arguments: &[&str], input: Option<&str>) -> Said {
        let mut child = self
            .lab
            .command(program, arguments)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {program}: {error}"));
        if let Some(text) = input {
            let mut stdin = child.stdin.take().expect("piped");
            stdin.write_all(text.as_bytes()).expect("feed the command");
        }
        child.wait_with_output().expect("wait for the command").into()
    }

    /// `kubectl …`, whatever it says.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Said {
        self.run("kubectl", arguments, None)
    }

    /// `kubectl …`, which must succeed; its output.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let said = self.try_kubectl(arguments);
        assert!(said.ok, "kubectl {}: {}", arguments.join(" "), said.err);
        said.out
    }

    /// `kubectl apply -f -`, whatever it says.
    pub fn try_apply(&self, manifest: &str) -> Said {
        self.run("kubectl", &["apply", "-f", "-"], Some(manifest))
    }

    /// `kubectl apply -f -`, which must succeed.
    pub fn apply(&self, manifest: &str) {
        let said = self.try_apply(manifest);
        assert!(said.ok, "kubectl apply: {}\n{manifest}", said.err);
    }

    /// An object as JSON.
    pub fn get(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["get", "-o", "json"];
        all.extend(arguments);
        serde_json::from_str(&self.kubectl(&all)).expect("kubectl prints JSON")
    }

    /// `aws …`, which must succeed; its answer.
    pub fn aws(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["--output", "json"]);
        let said = self.run("aws", &all, None);
        assert!(said.ok, "aws {}: {}", arguments.join(" "), said.err);
        if said.out.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&said.out).expect("aws prints JSON")
    }

    /// `hedgerow lab exec NODE -- …` on the only node.
    pub fn on_node(&self, arguments: &[&str]) -> Said {
        let node = self.node();
        let words = [&["exec", node.as_str(), "--"], arguments].concat();
        self.lab.try_hedgerow(&words).into()
    }

    /// The only node's name.
    pub fn node(&self) -> String {
        self.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])
    }

    /// The only node's address.
    pub fn node_address(&self) -> String {
        self.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}"])
    }

    /// Makes a namespace.
    pub fn namespace(&self, name: &str) {
        self.kubectl(&["create", "namespace", name]);
        self.eventually("its default service account", || {
            self.try_kubectl(&["get", "serviceaccount", "default", "-n", name]).ok.then_some(())
        });
    }

    /// A security group in the cluster's VPC with no ingress rule; its id.
    pub fn group(&self, name: &str) -> String {
        let vpc = self.lab.run("echo $VPC_ID");
        let answer = self.aws(&[
            "ec2",
            "create-security-group",
            "--group-name",
            name,
            "--description",
            name,
            "--vpc-id",
            &vpc,
        ]);
        answer["GroupId"].as_str().expect("GroupId").to_owned()
    }

    /// The group of this name in the cluster's VPC, if there is one.
    pub fn find_group(&self, name: &str) -> Option<String> {
        let filter = format!("Name=group-name,Values={name}");
        let answer = self.aws(&["ec2", "describe-security-groups", "--filters", &filter]);
        answer["SecurityGroups"][0]["GroupId"].as_str().map(str::to_owned)
    }

    /// Tries until there is a value, for at most 60 s.
    pub fn eventually<T>(&self, what: &str, attempt: impl FnMut() -> Option<T>) -> T {
        self.within(Duration::from_secs(60), what, attempt)
    }

    /// Tries until there is a value, for at most `limit`.
    ///
    /// # Panics
    /// When there is none by then.
    pub fn within<T>(
        &self,
        limit: Duration,
        what: &str,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(value) = attempt() {
                return value;
            }
            assert!(Instant::now() < deadline, "waited {limit:?} for {what}");
            sleep(Duration::from_millis(250));
        }
    }

    /// Waits until the pod is Ready.
    pub fn ready(&self, namespace: &str, pod: &str) {
        let said = self.try_kubectl(&[
            "wait",
            "-n",
            namespace,
            "--for=condition=Ready",
            "--timeout=60s",
            &format!("pod/{pod}"),
        ]);
        assert!(
            said.ok,
            "{namespace}/{pod} is not ready: {}\n{}",
            said.err,
            self.try_kubectl(&["describe", "pod", "-n", namespace, pod]).out
        );
    }

    /// Waits for an event of the pod with this reason; its message.
    pub fn event(&self, namespace: &str, pod: &str, reason: &str) -> String {
        let selector = format!("involvedObject.name={pod},reason={reason}");
        self.eventually(&format!("event {reason} of {namespace}/{pod}"), || {
            let out = self.kubectl(&[
                "get",
                "events",
                "-n",
                namespace,
                "--field-selector",
                &selector,
                "-o",
                "jsonpath={.items[*].message}",
            ]);
            (!out.is_empty()).then_some(out)
        })
    }

    /// The pod's `vpc.amazonaws.com/pod-eni` annotation, parsed.
    pub fn branch(&self, namespace: &str, pod: &str) -> Option<Value> {
        let text = self.kubectl(&[
            "get",
            "pod",
            "-n",
            namespace,
            pod,
            "-o",
            r"jsonpath={.metadata.annotations.vpc\.amazonaws\.com/pod-eni}",
        ]);
        (!text.is_empty()).then(|| serde_json::from_str(&text).expect("the annotation is JSON"))
    }

    /// The pod's address.
    pub fn address(&self, namespace: &str, pod: &str) -> String {
        self.kubectl(&["get", "pod", "-n", namespace, pod, "-o", "jsonpath={.status.podIP}"])
    }

    /// Whether Python in the pod gets an answer from `host:8080` within 3 s.
    pub fn reaches(&self, namespace: &str, pod: &str, host: &str) -> bool {
        let program = format!(
            "import socket; s = socket.create_connection(('{host}', 8080), 3); \
             s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); assert s.recv(99).startswith(b'HTTP/1.0 200')"
        );
        self.try_kubectl(&["exec", "-n", namespace, pod, "--", "python3", "-c", &program]).ok
    }

    /// Throws the switch as the EKS guide says and waits until the node has capacity for branches.
    pub fn enable_pod_eni(&self) {
        self.kubectl(&[
            "set",
            "env",
            "daemonset",
            "-n",
            "kube-system",
            "aws-node",
            "ENABLE_POD_ENI=true",
        ]);
        self.eventually("branch capacity on the node", || (self.capacity() == "18").then_some(()));
    }

    /// The node's allocatable branch interfaces; empty where it has none.
    pub fn capacity(&self) -> String {
        self.kubectl(&[
            "get",
            "nodes",
            "-o",
            r"jsonpath={.items[0].status.allocatable.vpc\.amazonaws\.com/pod-eni}",
        ])
    }

    /// What the lab's components wrote last.
    pub fn print_logs(&self) {
        for line in [
            "logs -n kube-system deployment/hedgerow-controller --tail=60",
            "logs -n kube-system daemonset/aws-node --tail=60",
            "get pods -A -o wide",
            "get events -A --sort-by=.lastTimestamp",
        ] {
            let said = self.try_kubectl(&line.split(' ').collect::<Vec<_>>());
            eprintln!("--- kubectl {line}\n{}{}", said.out, said.err);
        }
    }
}

/// A pod that answers HTTP on 8080 with the client's address, with a readiness probe.
pub fn server(namespace: &str, name: &str, labels: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}{labels}}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: python
    image: {PYTHON_IMAGE}
    command: [python3, -u, -c]
    args:
    - |
      import socket
      listener = socket.create_server(("", 8080))
      while True:
          client, address = listener.accept()
          client.recv(1000)
          body = address[0].encode()
          client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
          client.close()
    ports: [{{containerPort: 8080}}]
    readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
"#
    )
}

/// A SecurityGroupPolicy for pods labelled `role: ROLE`.
pub fn policy(namespace: &str, name: &str, role: &str, groups: &[&str]) -> String {
    format!(
        r"
apiVersion: vpcresources.k8s.aws/v1beta1
kind: SecurityGroupPolicy
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  podSelector: {{matchLabels: {{role: {role}}}}}
  securityGroups: {{groupIds: [{}]}}
",
        groups.join(", ")
    )
}

/// Waits until the webhook's fail-closed configuration covers the namespace.
pub fn enforced(cluster: &Cluster, namespace: &str) {
    cluster.eventually("the namespace's label", || {
        let label = cluster.kubectl(&[
            "get",
            "namespace",
            namespace,
            "-o",
            r"jsonpath={.metadata.labels.hedgerow\.dev/pod-security-groups}",
        ]);
        (label == "enforced").then_some(())
    });
}
