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

/// Reads `--dns-forward`: `ADDRESS`, `ADDRESS:PORT`, `none`, or `host` for the machine's own resolver.
/// Without it the machine's own is asked, where one is there.
///
/// # Errors
/// A sentence that says what to write instead.
pub(crate) fn parse(text: Option<&str>) -> Result<Option<Forwarder>, String> {
    let Some(text) = text else { return Ok(own()) };
    match text {
        "none" => return Ok(None),
        "host" => {
            return own().map(Some).ok_or_else(|| {
                format!(
                    "--dns-forward host: {RESOLV_CONF} names no resolver at a loopback address; \
                     name one by its address"
                )
            });
        }
        _ => {}
    }
    let address = text.parse().map(|address: IpAddr| SocketAddr::new(address, PORT));
    address
        .or_else(|_| text.parse())
        .map(|address| Some(Forwarder(address)))
        .map_err(|_| format!("--dns-forward {text}: write host, none, ADDRESS or ADDRESS:PORT"))
}

/// The machine's own resolver, if that is at a loopback address: traffic of the VPC does not leave the
/// machine unasked.
fn own() -> Option<Forwarder> {
    local_resolver(&std::fs::read_to_string(RESOLV_CONF).ok()?).map(Forwarder)
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
        let at = |port| Ok(Some(Forwarder(([127, 0, 0, 1], port).into())));
        assert_eq!(parse(Some("127.0.0.1")), at(53));
        assert_eq!(parse(Some("127.0.0.1:5353")), at(5353));
        assert_eq!(parse(Some("none")), Ok(None));
        assert!(parse(Some("resolver")).is_err());
        assert_eq!(parse(None), Ok(own()), "where one is there");
        assert_eq!(parse(Some("host")).is_ok(), own().is_some());
    }
}
