//! The binary killed with SIGKILL, under load and again and again: what it answered is there.
//! Journals cut and damaged at any byte are in `src/journal/tests.rs`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const BINARY: &str = env!("CARGO_BIN_EXE_hedgerow-vpc");

/// A directory of our own, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hedgerow-{name}-{}", std::process::id()));
        let _absent = std::fs::remove_dir_all(&path);
        Self(path)
    }

    /// Names of the journal's files and snapshots.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("the directory");
        let names = entries.map(|e| e.expect("an entry").file_name().into_string().expect("text"));
        let mut names: Vec<String> = names.filter(|name| name.contains('-')).collect();
        names.sort();
        names
    }

    /// Until the newest journal has that many bytes, which it may be cut short of by a snapshot: then
    /// a tenth of a second.
    fn wait_for_journal(&self, length: u64) {
        let deadline = Instant::now() + Duration::from_millis(100);
        while Instant::now() < deadline {
            let newest = self.files().into_iter().rfind(|name| name.starts_with("journal-"));
            let there = newest.and_then(|name| std::fs::metadata(self.0.join(name)).ok());
            if there.is_some_and(|file| file.len() >= length) {
                return;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running server; killed at the end whatever happens.
struct Running {
    child: Child,
    endpoint: SocketAddr,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(directory: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["run", "--listen", "127.0.0.1:0", "--seed", "7", "--state"]);
    command.arg(directory).args(more).env("RUST_LOG", "warn").stdout(Stdio::piped());
    command
}

impl Running {
    fn start(directory: &Path, more: &[&str]) -> Self {
        let mut child = command(directory, more).spawn().expect("start hedgerow-vpc");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("the endpoint's line");
        let address = line.trim().strip_prefix("http://").expect("it started");
        Running { endpoint: address.parse().expect("an address"), child }
    }

    fn ask(&self, body: &str) -> Option<String> {
        Client::connect(self.endpoint)?.ask(body)
    }

    fn end(mut self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("signal our child");
        let _status = self.child.wait().expect("wait for our child");
    }
}

/// A connection that is kept.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(endpoint: SocketAddr) -> Option<Client> {
        let stream = TcpStream::connect(endpoint).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        Some(Client(BufReader::new(stream)))
    }

    /// The body of a whole answer with status 200.
    fn ask(&mut self, body: &str) -> Option<String> {
        let request =
            format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.0.get_mut().write_all(request.as_bytes()).ok()?;
        let (mut status, mut length) = (String::new(), 0);
        self.0.read_line(&mut status).ok()?;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer).ok()?;
        assert!(status.contains(" 200 "), "{body}: {}", String::from_utf8_lossy(&answer));
        String::from_utf8(answer).ok()
    }
}

fn element<'t>(text: &'t str, name: &str) -> &'t str {
    let rest = text.split(&format!("<{name}>")).nth(1).unwrap_or_default();
    rest.split('<').next().unwrap_or_default()
}

/// What one client was told.
#[derive(Default)]
struct Told {
    /// Group ids that were made and not deleted.
    live: BTreeSet<String>,
    /// Group ids that were deleted.
    gone: BTreeSet<String>,
    answers: usize,
}

impl Told {
    /// Makes groups, and deletes the oldest when there are more than three, until the server goes.
    fn press(&mut self, endpoint: SocketAddr, prefix: &str, stop: &AtomicBool) {
        let Some(mut client) = Client::connect(endpoint) else { return };
        for n in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let oldest = self.live.first().filter(|_| self.live.len() > 3).cloned();
            let body = match &oldest {
                Some(id) => format!("Action=DeleteSecurityGroup&GroupId={id}"),
                None => {
                    format!("Action=CreateSecurityGroup&GroupDescription=d&GroupName={prefix}-{n}")
                }
            };
            if let Some(id) = &oldest {
                // From now on nobody knows.
                self.live.remove(id);
            }
            let Some(answer) = client.ask(&body) else { return };
            self.answers += 1;
            match oldest {
                Some(id) => self.gone.insert(id),
                None => self.live.insert(element(&answer, "groupId").to_owned()),
            };
        }
    }

    fn check(&self, groups: &str, round: usize) {
        let there = |id: &String| groups.contains(&format!("<groupId>{id}</groupId>"));
        let lost: Vec<_> = self.live.iter().filter(|id| !there(id)).collect();
        let back: Vec<_> = self.gone.iter().filter(|id| there(id)).collect();
        assert!(lost.is_empty() && back.is_empty(), "round {round}: lost {lost:?}, back {back:?}");
    }
}

#[test]
fn nothing_answered_is_lost_by_kill_9_under_load() {
    const ROUNDS: usize = 200;
    let directory = Directory::new("kill");
    let mut told: Vec<Told> = (0..4).map(|_| Told::default()).collect();
    for round in 0..ROUNDS {
        // Snapshots come in the middle of it all.
        let server = Running::start(&directory.0, &["--records-only", "--snapshot-every", "60"]);
        if round > 0 {
            let groups = server.ask("Action=DescribeSecurityGroups").expect("an answer");
            told.iter().for_each(|told| told.check(&groups, round));
        }
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (client, told) in told.iter_mut().enumerate() {
                let (endpoint, prefix, stop) =
                    (server.endpoint, format!("r{round}-c{client}"), &stop);
                scope.spawn(move || told.press(endpoint, &prefix, stop));
            }
            // Another moment, or another offset of the journal, in each round.
            match round % 2 {
                0 => std::thread::sleep(Duration::from_micros(
                    8_000 + (round as u64 * 7_919) % 40_000,
                )),
                _ => directory.wait_for_journal(20 + (round as u64 * 7_919) % 8_192),
            }
            server.end(Signal::SIGKILL);
            stop.store(true, Ordering::Relaxed);
        });
    }
    let answers: usize = told.iter().map(|told| told.answers).sum();
    assert!(answers > ROUNDS, "there was a load: {answers} answers");
    println!("{answers} answers in {ROUNDS} rounds, none lost");
}

#[test]
fn a_clean_end_leaves_a_snapshot_and_a_repeated_token_gets_its_first_answer() {
    let directory = Directory::new("clean");
    let body = "Action=RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1\
                &ClientToken=once";
    let server = Running::start(&directory.0, &["--records-only"]);
    let first = server.ask(body).expect("an answer");
    server.end(Signal::SIGTERM);
    let files = directory.files();
    let [journal, snapshot] = &files[..] else { panic!("{files:?}") };
    assert!(snapshot.starts_with("snapshot-"), "{files:?}");
    let length = std::fs::metadata(directory.0.join(journal)).expect("the journal").len();
    assert_eq!(length, 20, "a header and no entry");
    let server = Running::start(&directory.0, &["--records-only", "--no-sync"]);
    let again = server.ask(body).expect("an answer");
    assert_eq!(element(&again, "instanceId"), element(&first, "instanceId"));
    let all = server.ask("Action=DescribeInstances").expect("an answer");
    assert_eq!(all.matches("<instanceId>").count(), 1);
}

#[test]
fn a_directory_has_one_process_and_one_mode() {
    let directory = Directory::new("shared");
    let server = Running::start(&directory.0, &["--records-only"]);
    let refused = |more: &[&str]| {
        let output = command(&directory.0, more).stderr(Stdio::piped()).output().expect("run");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = refused(&["--records-only"]);
    assert!(said.contains(&format!("in use by process {}", server.child.id())), "{said}");
    server.end(Signal::SIGKILL);
    let said = refused(&["--name", "crash-mode"]);
    assert!(said.contains("was made with --records-only: start it so"), "{said}");
}

/// Sends a request as it stands; status and body of the answer.
fn raw(endpoint: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(endpoint).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\
         {headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    (status.expect("a status"), body.unwrap_or_default())
}

#[test]
fn a_key_stays_bound_and_the_weather_stays_over_kill_9() {
    const READS: &str = r#"{"Version": "2012-10-17", "Statement":
        {"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}}"#;
    let directory = Directory::new("bound");
    let flags = directory.0.with_extension("json");
    std::fs::write(&flags, format!(r#"{{"AKIAFLAG": {READS}}}"#)).expect("a file of keys");
    let path = flags.to_str().expect("a path").to_owned();
    let creates = |server: &Running, key: &str| {
        let header = format!(
            "Authorization: AWS4-HMAC-SHA256 Credential={key}/20260101/us-west-2/ec2/aws4_request, \
             SignedHeaders=host, Signature=0\r\n"
        );
        let (status, body) =
            raw(server.endpoint, "POST", "/", &header, "Action=CreateVpc&CidrBlock=10.0.0.0/16");
        (status, element(&body, "Code").to_owned())
    };
    let admin = |server: &Running, method: &str, path: &str, body: &str| {
        raw(server.endpoint, method, path, "", body)
    };
    let server = Running::start(&directory.0, &["--records-only", "--iam", &path]);
    assert_eq!(admin(&server, "PUT", "/_hedgerow/iam/AKIAPUT", READS).0, 204);
    assert_eq!(admin(&server, "PUT", "/_hedgerow/iam/AKIAGONE", READS).0, 204);
    assert_eq!(admin(&server, "DELETE", "/_hedgerow/iam/AKIAGONE", "").0, 204);
    let weather = r#"{"seed": 3, "failures": [{"action": "DescribeVpcs", "code": "Unavailable"}]}"#;
    assert_eq!(admin(&server, "PUT", "/_hedgerow/weather", weather).0, 204);
    server.end(Signal::SIGKILL);

    let server = Running::start(&directory.0, &["--records-only"]);
    let refused = (403, "UnauthorizedOperation".to_owned());
    for key in ["AKIAPUT", "AKIAFLAG"] {
        assert_eq!(creates(&server, key), refused, "{key} is bound still");
    }
    assert_eq!(creates(&server, "AKIAGONE").0, 200, "an unbound key may do everything");
    let (status, body) = raw(server.endpoint, "POST", "/", "", "Action=DescribeVpcs");
    assert_eq!((status, element(&body, "Code")), (503, "Unavailable"), "{body}");
    assert_eq!(admin(&server, "DELETE", "/_hedgerow/weather", "").0, 204);
    assert_eq!(admin(&server, "DELETE", "/_hedgerow/iam/AKIAPUT", "").0, 204);
    server.end(Signal::SIGKILL);

    let server = Running::start(&directory.0, &["--records-only"]);
    assert_eq!(creates(&server, "AKIAPUT").0, 200);
    assert_eq!(creates(&server, "AKIAFLAG"), refused);
    let (status, _) = raw(server.endpoint, "POST", "/", "", "Action=DescribeVpcs");
    assert_eq!(status, 200, "fair weather");
    server.end(Signal::SIGKILL);
    std::fs::write(directory.0.join("settings"), "{").expect("damage");
    let mut broken = command(&directory.0, &["--records-only"]);
    let output = broken.stderr(Stdio::piped()).output().expect("run");
    assert!(!output.status.success(), "no key becomes powerful by damage");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("It says what access keys may do"), "{said}");
    std::fs::remove_file(flags).expect("remove the file of keys");
}
