//! Asks another resolver, from the host's network, for names that no zone here has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::{PORT, Transport};

/// How long the other resolver may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// Resolvers of the host.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// A resolver to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forwarder(pub SocketAddr);

/// Reads `--dns-forward`: `ADDRESS`, `ADDRESS:PORT`, or `host` for the machine's own resolver,
/// which must be at a loopback address: traffic of the VPC does not leave the machine unasked.
///
/// # Errors
/// A sentence that says what to write instead.
pub(crate) fn parse(text: &str) -> Result<Forwarder, String> {
    if text == "host" {
        let file = std::fs::read_to_string(RESOLV_CONF)
            .map_err(|error| format!("--dns-forward host: read {RESOLV_CONF}: {error}"))?;
        return local_resolver(&file).map(Forwarder).ok_or_else(|| {
            format!(
                "--dns-forward host: {RESOLV_CONF} names no resolver at a loopback address; name \
                 one by its address"
            )
        });
    }
    let address = text.parse().map(|address: IpAddr| SocketAddr::new(address, PORT));
    address
        .or_else(|_| text.parse())
        .map(Forwarder)
        .map_err(|_| format!("--dns-forward {text}: write host, ADDRESS or ADDRESS:PORT"))
}

/// The first loopback resolver of a resolv.conf.
fn local_resolver(file: &str) -> Option<SocketAddr> {
    let servers = file.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = servers.filter_map(|server| server.trim().parse::<IpAddr>().ok());
    addresses.into_iter().find(IpAddr::is_loopback).map(|address| SocketAddr::new(address, PORT))
}

impl Forwarder {
    /// The resolver's answer to `request`.
    pub async fn ask(self, request: &[u8], transport: Transport) -> std::io::Result<Vec<u8>> {
        let exchange = async {
            match transport {
                Transport::Udp => self.ask_udp(request).await,
                Transport::Tcp => self.ask_tcp(request).await,
            }
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await;
        answer.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }

    async fn ask_udp(self, request: &[u8]) -> std::io::Result<Vec<u8>> {
        let any: IpAddr = match self.0 {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(self.0).await?;
        socket.send(request).await?;
        let mut answer = vec![0; usize::from(u16::MAX)];
        loop {
            let length = socket.recv(&mut answer).await?;
            // Anything else on our port is not the answer to this.
            if length >= 12 && answer[..2] == request[..2] && answer[2] & 0x80 != 0 {
                answer.truncate(length);
                return Ok(answer);
            }
        }
    }

    async fn ask_tcp(self, request: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.0).await?;
        let length = u16::try_from(request.len()).map_err(std::io::Error::other)?;
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(request).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; length.into()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers() {
        let file = "# x\nsearch a\nnameserver 10.0.0.2\nnameserver 127.0.0.53\n";
        assert_eq!(local_resolver(file), Some(([127, 0, 0, 53], 53).into()));
        assert_eq!(local_resolver("nameserver 10.0.0.2\n"), None);
        assert_eq!(parse("127.0.0.1"), Ok(Forwarder(([127, 0, 0, 1], 53).into())));
        assert_eq!(parse("127.0.0.1:5353"), Ok(Forwarder(([127, 0, 0, 1], 5353).into())));
        assert!(parse("resolver").is_err());
    }
}
