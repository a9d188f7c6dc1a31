//! Sends one form body to a server of the EC2 API again and again: `make bench` measures with it.
//!
//! A client in Python is slower than the server it would measure. This one is a single thread that
//! keeps one request in flight on each of its connections and takes their answers in turn, so it
//! costs a few microseconds per request, the same with every server.
//!
//! `load ADDRESS CONNECTIONS COUNT BODY` prints `SECONDS MEDIAN BEST`: how long all requests took,
//! and milliseconds of one request, from its first byte sent to its answer's last byte read.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A signature as clients send it; nobody checks it here.
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=any/20260101/us-west-2/ec2/aws4_request, \
                      SignedHeaders=host, Signature=0";
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(120);

type Failure = Box<dyn Error>;

/// A kept connection with at most one request in flight.
struct Client {
    address: String,
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
    sent: Instant,
}

impl Client {
    fn connect(address: &str, body: &str) -> Result<Self, Failure> {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {address}\r\nAuthorization: {SIGNED}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (buffer, sent) = (vec![0; 1 << 16], Instant::now());
        let stream = open(address)?;
        Ok(Self { address: address.to_owned(), stream, request: request.into(), buffer, sent })
    }

    fn send(&mut self) -> Result<(), Failure> {
        self.sent = Instant::now();
        Ok(self.stream.write_all(&self.request)?)
    }

    /// Reads the answer to the request in flight; how long it took.
    fn receive(&mut self) -> Result<Duration, Failure> {
        let mut filled = 0;
        let (head, length) = loop {
            filled += self.more(filled)?;
            if let Some(head) = find(&self.buffer[..filled], b"\r\n\r\n") {
                let text = std::str::from_utf8(&self.buffer[..head])?.to_ascii_lowercase();
                let length = header(&text, "content-length").ok_or("an answer without length")?;
                let length = head + 4 + length.parse::<usize>()?;
                break (text, length);
            }
        };
        while filled < length {
            filled += self.more(filled)?;
        }
        let took = self.sent.elapsed();
        let status = head.split(' ').nth(1);
        if status != Some("200") {
            return Err(String::from_utf8_lossy(&self.buffer[..length]).into());
        }
        if header(&head, "connection") == Some("close") {
            self.stream = open(&self.address)?;
        }
        Ok(took)
    }

    fn more(&mut self, filled: usize) -> Result<usize, Failure> {
        if filled == self.buffer.len() {
            self.buffer.resize(2 * filled, 0);
        }
        match self.stream.read(&mut self.buffer[filled..])? {
            0 => Err("the server closed the connection within an answer".into()),
            read => Ok(read),
        }
    }
}

fn open(address: &str) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// The value of a header in a lower-case head.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    headers.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, connections, count, body] = arguments.as_slice() else {
        return Err("usage: load ADDRESS CONNECTIONS COUNT BODY".into());
    };
    let (connections, count): (usize, usize) = (connections.parse()?, count.parse()?);
    let clients = (0..connections.min(count)).map(|_| Client::connect(address, body));
    let mut clients = clients.collect::<Result<Vec<_>, _>>()?;
    let started = Instant::now();
    for client in &mut clients {
        client.send()?;
    }
    let mut took = Vec::with_capacity(count);
    for (received, turn) in (0..clients.len()).cycle().take(count).enumerate() {
        took.push(clients[turn].receive()?);
        if received + clients.len() < count {
            clients[turn].send()?;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    took.sort_unstable();
    let millis = |duration: Option<&Duration>| duration.map_or(0.0, |d| d.as_secs_f64() * 1e3);
    println!("{seconds:.6} {:.4} {:.4}", millis(took.get(count / 2)), millis(took.first()));
    Ok(())
}
