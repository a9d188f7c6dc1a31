//! What tests ask of a `hedgerow-vpc` process, however it was started: calls over HTTP, and what is
//! of it on the machine.
#![allow(dead_code, reason = "each test program uses a part")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

pub const TIMEOUT: Duration = Duration::from_millis(1_500);

/// Sends a request and reads until the other side ends the connection.
pub fn exchange(to: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, TIMEOUT)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Sends an action; the whole answer.
pub fn send(to: SocketAddr, action: &str) -> String {
    let body = format!("Action={action}");
    let length = body.len();
    let head =
        format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}");
    exchange(to, &format!("{head}\r\n\r\n{body}")).expect("an answer")
}

/// Sends an action that succeeds; the text of the first `element` of the answer.
pub fn ask(to: SocketAddr, action: &str, element: &str) -> String {
    let answer = send(to, action);
    assert!(answer.starts_with("HTTP/1.1 200"), "{action}: {answer}");
    let rest = answer.split(&format!("<{element}>")).nth(1).unwrap_or_default();
    rest.split('<').next().unwrap_or_default().to_owned()
}

/// The network namespace of an instance or of another object of the process `name`.
pub fn namespace(name: &str, object: &str) -> PathBuf {
    Path::new("/run/netns").join(format!("hr.{name}.{object}"))
}

/// Runs `work` in a network namespace.
pub fn inside<T: Send>(namespace: &Path, work: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(namespace).expect("the instance's namespace");
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("enter the namespace");
            work()
        });
        thread.join().expect("the work inside")
    })
}

/// Names in `directory` that begin with `prefix`.
pub fn names(directory: &str, prefix: &str) -> Vec<String> {
    let names = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).collect()
}
