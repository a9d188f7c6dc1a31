//! Metadata: whatever is sent, nothing about the instance is told without a session token, where one
//! is required; and the service still answers afterwards.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use hedgerow_vpc::server::Server;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use crate::vpc::records;

/// The instance has an address of the loopback block, so that its requests can come from there.
const INSTANCE: [u8; 4] = [127, 0, 0, 10];
const SECRET: &str = "secret-user-data";

struct Service {
    address: SocketAddr,
    instance: String,
    _runtime: tokio::runtime::Runtime,
}

static SERVICE: OnceLock<Service> = OnceLock::new();

fn start() -> Service {
    let records = records("127.0.0.0/16", "127.0.0.10");
    let workers =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = workers.expect("a runtime");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
    let listener = listener.expect("listen");
    let address = listener.local_addr().expect("an address");
    let server = Server::new(records.state, None);
    runtime.spawn(server.serve_metadata(records.vpc, listener));
    Service { address, instance: records.instance, _runtime: runtime }
}

/// Sends the bytes from the instance's address, and maybe that no more will come; everything that came
/// back.
fn exchange(service: &Service, bytes: &[u8], ends: bool) -> Vec<u8> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
    let fd = fd.expect("a socket");
    let [a, b, c, d] = INSTANCE;
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrIn::new(a, b, c, d, 0)).expect("bind");
    let SocketAddr::V4(to) = service.address else { unreachable!("bound to IPv4") };
    connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrIn::from(to)).expect("connect");
    let mut stream = std::net::TcpStream::from(fd);
    stream.set_read_timeout(Some(Duration::from_secs(15))).expect("a timeout");
    // The service may have heard enough before the end.
    let _closed = stream.write_all(bytes);
    if ends {
        let _closed = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let timed_out = read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(!timed_out, "no end after 15 seconds");
    answer
}

pub fn run(bytes: &[u8]) {
    let service = SERVICE.get_or_init(start);
    let answer = String::from_utf8_lossy(&exchange(service, bytes, true)).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1."), "{answer}");
    for secret in [SECRET, &service.instance] {
        assert!(!answer.contains(secret), "told without a token: {answer}");
    }
    let check =
        b"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let refused = exchange(service, check, false);
    assert!(refused.starts_with(b"HTTP/1.1 401"), "{}", String::from_utf8_lossy(&refused));
}
