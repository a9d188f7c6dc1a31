//! The sockets. One client's slowness is its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::{Forwarder, Reply, Transport};
use crate::server::{Open, Place, Seat, Seats};

/// Questions of one VPC that wait for the other resolver at a time; more get SERVFAIL.
const WAITING: usize = 256;
/// TCP connections of one VPC at a time; for more, others must leave.
const CONNECTIONS: usize = 512;
/// TCP connections of one address at a time.
const PER_INSTANCE: usize = 16;
/// How long a TCP connection may be idle or take over a message.
const IDLE: Duration = Duration::from_secs(10);

/// A request's bytes to what to do with it.
type Decide = dyn Fn(&[u8], Transport) -> Reply + Send + Sync;

/// The DNS of one VPC. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Service {
    decide: Arc<Decide>,
    forwarder: Option<Forwarder>,
    waiting: Arc<Semaphore>,
}

impl Service {
    /// DNS that answers by `decide`; that must not ask to forward without a `forwarder`.
    pub fn new(
        decide: impl Fn(&[u8], Transport) -> Reply + Send + Sync + 'static,
        forwarder: Option<Forwarder>,
    ) -> Self {
        let waiting = Arc::new(Semaphore::new(WAITING));
        Self { decide: Arc::new(decide), forwarder, waiting }
    }

    /// The other resolver's answer, or `otherwise`.
    async fn forward(&self, request: &[u8], transport: Transport, otherwise: Vec<u8>) -> Vec<u8> {
        let (Some(forwarder), Ok(_place)) = (self.forwarder, self.waiting.try_acquire()) else {
            return otherwise;
        };
        forwarder.ask(request, transport).await.unwrap_or_else(|error| {
            tracing::debug!(%error, resolver = %forwarder.0, "ask the other resolver");
            otherwise
        })
    }
}

/// Answers datagrams for ever.
pub(crate) async fn serve_udp(socket: UdpSocket, service: Service) {
    let socket = Arc::new(socket);
    let mut request = vec![0; usize::from(u16::MAX)];
    loop {
        let (length, client) = match socket.recv_from(&mut request).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "receive a question");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        match (service.decide)(&request[..length], Transport::Udp) {
            Reply::Silence => {}
            Reply::Answer(answer) => send(&socket, &answer, client).await,
            Reply::Forward { otherwise } => {
                let (socket, service) = (Arc::clone(&socket), service.clone());
                let request = request[..length].to_vec();
                tokio::spawn(async move {
                    let answer = service.forward(&request, Transport::Udp, otherwise).await;
                    send(&socket, &answer, client).await;
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(answer, client).await {
        tracing::debug!(%error, %client, "send an answer");
    }
}

/// Answers connections for ever.
pub(crate) async fn serve_tcp(listener: TcpListener, service: Service) {
    let seats = Seats::new(CONNECTIONS);
    let open = Open::default();
    loop {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(place) = Place::take(&open, client.ip(), PER_INSTANCE) else { continue };
        let (taken, service) = (seats.take().await, service.clone());
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = converse(stream, service, &taken.seat) => ended,
                () = taken.seat.left() => Err(std::io::Error::other("others needed its seat")),
            };
            if let Err(error) = ended {
                tracing::debug!(%error, %client, "connection ended");
            }
            drop((place, taken));
        });
    }
}

/// One question after the other, each behind its length (RFC 1035 §4.2.2).
async fn converse(mut stream: TcpStream, service: Service, seat: &Seat) -> std::io::Result<()> {
    loop {
        let read = async {
            let mut request = vec![0; stream.read_u16().await?.into()];
            stream.read_exact(&mut request).await.map(|_| request)
        };
        let request = tokio::time::timeout(IDLE, read).await??;
        if !seat.begin() {
            return Ok(());
        }
        let answer = match (service.decide)(&request, Transport::Tcp) {
            Reply::Silence => return Ok(()),
            Reply::Answer(answer) => answer,
            Reply::Forward { otherwise } => {
                service.forward(&request, Transport::Tcp, otherwise).await
            }
        };
        let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
        let message = [&length.to_be_bytes()[..], &answer].concat();
        tokio::time::timeout(IDLE, stream.write_all(&message)).await??;
        seat.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpSocket;

    /// A connection from the n-th loopback address, on which nothing but this was sent.
    async fn connection(to: SocketAddr, from: usize, sent: &[u8]) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 1, from as u8], 0).into()).expect("bind");
        let mut stream = socket.connect(to).await.expect("connect");
        stream.write_all(sent).await.expect("send");
        stream
    }

    #[tokio::test]
    async fn more_connections_than_seats_keep_nobody_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let to = listener.local_addr().expect("an address");
        let answer = |request: &[u8], _| Reply::Answer(request.to_vec());
        tokio::spawn(serve_tcp(listener, Service::new(answer, None)));
        let mut hanging = Vec::new();
        for n in 0..CONNECTIONS {
            hanging.push(connection(to, n / PER_INSTANCE, b"\0\x04do").await);
        }
        let asked = async {
            let mut stream = connection(to, 255, b"\0\x02hi").await;
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await.map(|_| answer)
        };
        let answer = tokio::time::timeout(IDLE / 2, asked).await.expect("in time");
        assert_eq!(&answer.expect("an answer"), b"\0\x02hi");
        let ended = hanging[0].read(&mut [0]).await;
        assert!(matches!(ended, Ok(0) | Err(_)), "the first had to leave");
    }
}
