//! One call of the plugin: from environment and stdin to what goes to stdout.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::answer::{self, CniError, Code};
use crate::invocation::{self, Command, Invocation};
use crate::message::{self, MessageError, Request, Response};

/// How long ADD may take: the agent waits up to 30 s for a branch interface, and the kubelet gives
/// a sandbox two minutes.
const ADD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long DEL and CHECK may take.
const OTHER_TIMEOUT: Duration = Duration::from_secs(20);

/// What the process must do: print this (if anything) and exit with 0, or 1 for an error.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    /// JSON for stdout; DEL and CHECK print nothing when they succeed.
    pub stdout: Option<Value>,
    /// Whether it is an error.
    pub failed: bool,
}

/// Does what the environment and stdin ask for.
pub fn run(env: &dyn Fn(&str) -> Option<String>, stdin: &[u8]) -> Outcome {
    // Errors are answered in the version asked for, when it can be read at all.
    let asked = serde_json::from_slice::<Value>(stdin)
        .ok()
        .and_then(|v| v.get("cniVersion")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| "1.0.0".to_owned());
    match answer(env, stdin, &asked) {
        Ok(stdout) => Outcome { stdout, failed: false },
        Err(error) => Outcome { stdout: Some(error.to_json(&asked)), failed: true },
    }
}

fn answer(
    env: &dyn Fn(&str) -> Option<String>,
    stdin: &[u8],
    asked: &str,
) -> Result<Option<Value>, CniError> {
    let command = invocation::command(env)?;
    if command == Command::Version {
        return Ok(Some(answer::versions(asked)));
    }
    let config = invocation::config(stdin)?;
    let call = invocation::invocation(command, env)?;
    let sandbox = call.netns.clone().unwrap_or_default();
    match ask(&config.socket, command, call)? {
        Response::Added(attachment) => Ok(Some(answer::result(asked, &attachment, &sandbox))),
        Response::Done => Ok(None),
        Response::Failed(error) => Err(error),
    }
}

fn request(command: Command, call: Invocation) -> Request {
    let Invocation { container_id, netns, ifname, pod } = call;
    let netns = netns.unwrap_or_default();
    match command {
        Command::Add => Request::Add { container_id, netns, ifname, pod },
        Command::Check => Request::Check { container_id, netns, ifname },
        Command::Del | Command::Version => Request::Del { container_id, ifname },
    }
}

/// One exchange with the agent. DEL with nobody listening is done (see the crate's docs).
fn ask(socket: &str, command: Command, call: Invocation) -> Result<Response, CniError> {
    let timeout = if command == Command::Add { ADD_TIMEOUT } else { OTHER_TIMEOUT };
    let unavailable = |what: String| {
        CniError::new(
            Code::TryAgain,
            format!("the node agent at {socket} {what}"),
            "see the pod aws-node of this node: kubectl -n kube-system logs ds/aws-node",
        )
    };
    let mut stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(e) if command == Command::Del && nobody_listens(e.kind()) => return Ok(Response::Done),
        Err(e) => return Err(unavailable(format!("is not reachable: {e}"))),
    };
    let exchange = || -> Result<Response, MessageError> {
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(OTHER_TIMEOUT))?;
        message::write(&mut stream, &request(command, call))?;
        message::read(&mut stream)
    };
    exchange().map_err(|e| unavailable(format!("did not answer: {e}")))
}

fn nobody_listens(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use serde_json::json;

    use super::*;
    use crate::message::Attachment;

    fn call(command: &str, socket: &str, version: &str) -> Outcome {
        let env = |key: &str| {
            match key {
                "CNI_COMMAND" => Some(command),
                "CNI_CONTAINERID" => Some("abc"),
                "CNI_IFNAME" => Some("eth0"),
                "CNI_NETNS" => Some("/var/run/netns/x"),
                "CNI_ARGS" => Some("IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web"),
                _ => None,
            }
            .map(str::to_owned)
        };
        let config = json!({"cniVersion": version, "name": "n", "socket": socket}).to_string();
        run(&env, config.as_bytes())
    }

    fn agent(answer: Response) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s").to_str().unwrap().to_owned();
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            message::read::<Request>(&mut stream).unwrap();
            message::write(&mut stream, &answer).unwrap();
        });
        (dir, path)
    }

    #[test]
    fn add_prints_the_agents_attachment() {
        let (_dir, socket) = agent(Response::Added(Attachment {
            host_name: "eni1".to_owned(),
            host_mac: "a".to_owned(),
            pod_name: "eth0".to_owned(),
            pod_mac: "b".to_owned(),
            address: "10.0.0.7".parse().unwrap(),
            gateway: "169.254.1.1".parse().unwrap(),
        }));
        let outcome = call("ADD", &socket, "0.4.0");
        assert!(!outcome.failed, "{outcome:?}");
        assert_eq!(outcome.stdout.unwrap()["ips"][0]["address"], "10.0.0.7/32");
    }

    #[test]
    fn the_agents_refusal_reaches_the_runtime() {
        let (_dir, socket) = agent(Response::Failed(CniError::new(Code::Refused, "no", "why")));
        let outcome = call("ADD", &socket, "1.0.0");
        let expected = json!({"cniVersion": "1.0.0", "code": 100, "msg": "no", "details": "why"});
        assert_eq!(outcome, Outcome { stdout: Some(expected), failed: true });
    }

    #[test]
    fn without_an_agent_add_and_check_try_again_and_del_is_done() {
        for command in ["ADD", "CHECK"] {
            let outcome = call(command, "/nonexistent/s", "1.0.0");
            assert_eq!((outcome.failed, &outcome.stdout.unwrap()["code"]), (true, &json!(11)));
        }
        assert_eq!(call("DEL", "/nonexistent/s", "1.0.0"), Outcome { stdout: None, failed: false });
    }

    #[test]
    fn an_agent_that_hangs_up_makes_del_fail() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || drop(listener.accept()));
        let outcome = call("DEL", path.to_str().unwrap(), "1.0.0");
        assert_eq!(outcome.stdout.unwrap()["code"], 11);
    }

    #[test]
    fn version_and_unknown_commands() {
        let outcome = call("VERSION", "/s", "0.4.0");
        let value = outcome.stdout.unwrap();
        assert_eq!(value["cniVersion"], "0.4.0");
        assert_eq!(value["supportedVersions"], json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0"]));
        assert_eq!(call("GC", "/s", "1.0.0").stdout.unwrap()["code"], 4);
        assert_eq!(call("ADD", "/s", "1.1.0").stdout.unwrap()["code"], 1);
    }
}
