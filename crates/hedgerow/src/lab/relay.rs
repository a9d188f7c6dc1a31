//! Carries TCP connections from a loopback port of the machine into an instance, so that `kubectl`
//! on the machine reaches an API server that only the VPC knows: the cluster's public endpoint. The same
//! endpoint has an address in the Internet of the VPC, for who comes from a VPC by a gateway.
//!
//! ```text
//!   kubectl ──► accept ── may this address come in? ──► hedgerow-vpc (the cluster's EKS record)
//!                  └── yes ──► a socket made in the instance's namespace ──► API server
//! ```

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use serde::Deserialize;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::process::open_netns;

/// How long the VPC may take to say whether a client may come in.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves until killed; `gate` is the URL that says who may come in, and `public` another address to
/// listen on, in another network namespace.
pub fn run(
    (listen, public): (SocketAddr, Option<(SocketAddr, &Path)>),
    netns: &Path,
    to: SocketAddr,
    gate: String,
) -> Result<()> {
    let netns = open_netns(netns)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the async runtime")?
        .block_on(async {
            let listener = TcpListener::bind(listen)
                .await
                .with_context(|| format!("listening on {listen} of the machine"))?;
            let (gate, sockets) = (Arc::new(Gate::new(gate)?), Arc::new(Sockets::of(netns)?));
            let outside = match public {
                Some((address, netns)) => Some(listen_in(netns, address).await?),
                None => None,
            };
            if let Some(outside) = outside {
                tokio::spawn(serve(outside, Arc::clone(&gate), Arc::clone(&sockets), to));
            }
            serve(listener, gate, sockets, to).await
        })
}

/// Listens in another network namespace.
async fn listen_in(netns: &Path, address: SocketAddr) -> Result<TcpListener> {
    let socket = Sockets::of(open_netns(netns)?)?.make().await?;
    let bound = socket.set_reuseaddr(true).and_then(|()| socket.bind(address));
    bound
        .and_then(|()| socket.listen(1_024))
        .with_context(|| format!("listening on {address} in {}", netns.display()))
}

async fn serve(
    listener: TcpListener,
    gate: Arc<Gate>,
    sockets: Arc<Sockets>,
    to: SocketAddr,
) -> Result<()> {
    loop {
        let (client, from) = listener.accept().await.context("accepting a connection")?;
        let (gate, sockets) = (Arc::clone(&gate), Arc::clone(&sockets));
        tokio::spawn(async move {
            if let Err(error) = admit(client, from.ip(), &gate, &sockets, to).await {
                eprintln!("connection from {from} to {to}: {error:#}");
            }
        });
    }
}

/// Carries the connection if the cluster's access configuration lets the client in; else it is
/// closed, also where nobody can say.
async fn admit(
    client: TcpStream,
    from: IpAddr,
    gate: &Gate,
    sockets: &Sockets,
    to: SocketAddr,
) -> Result<()> {
    if !gate.admits(from).await? {
        bail!(
            "refused: the cluster's endpointPublicAccess or publicAccessCidrs do not admit it (see \
             aws eks describe-cluster, change with aws eks update-cluster-config)"
        );
    }
    let server = sockets.make().await?.connect(to).await.context("connecting")?;
    carry(client, server).await.context("carrying")
}

async fn carry(mut client: TcpStream, mut server: TcpStream) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// Asks the VPC who may come in. Asked for every connection: a change acts on the next one.
struct Gate {
    http: reqwest::Client,
    url: String,
}

/// The part of the answer that counts.
#[derive(Deserialize)]
struct Access {
    admitted: bool,
}

impl Gate {
    fn new(url: String) -> Result<Gate> {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        Ok(Gate { http: http.context("making an HTTP client")?, url })
    }

    async fn admits(&self, client: IpAddr) -> Result<bool> {
        let asking = || format!("asking {} about {client}", self.url);
        let separator = if self.url.contains('?') { '&' } else { '?' };
        let url = format!("{}{separator}client={client}", self.url);
        let answer = self.http.get(url).send().await.with_context(asking)?;
        let answer = answer.error_for_status().with_context(asking)?;
        let body = answer.bytes().await.with_context(asking)?;
        let access: Access = serde_json::from_slice(&body).with_context(asking)?;
        Ok(access.admitted)
    }
}

/// Where a socket is asked for, and where it goes.
type Order = oneshot::Sender<std::io::Result<TcpSocket>>;

/// Makes sockets in another network namespace: a socket belongs to the namespace that its maker's
/// thread was in, wherever it is used.
struct Sockets(mpsc::UnboundedSender<Order>);

impl Sockets {
    /// Starts the thread that makes them; it alone is in the namespace.
    fn of(netns: File) -> Result<Sockets> {
        let (orders, mut inbox) = mpsc::unbounded_channel::<Order>();
        let (ready, entered) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("sockets".to_owned())
            .spawn(move || {
                let result = setns(netns, CloneFlags::CLONE_NEWNET);
                let serves = result.is_ok();
                let _starter_gone = ready.send(result);
                while serves && let Some(order) = inbox.blocking_recv() {
                    let _client_gone = order.send(TcpSocket::new_v4());
                }
            })
            .context("starting a thread")?;
        entered.recv().context("starting a thread")?.context("entering the instance's network")?;
        Ok(Sockets(orders))
    }

    async fn make(&self) -> Result<TcpSocket> {
        let (order, socket) = oneshot::channel();
        self.0.send(order).ok().context("the thread that makes sockets ended")?;
        socket.await.context("the thread that makes sockets ended")?.context("making a socket")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU8, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Serves one-shot connections with the text that `answer` gives.
    async fn server(answer: impl Fn(&str) -> String + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("address");
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.expect("accept");
                let mut asked = [0; 1024];
                let length = client.read(&mut asked).await.expect("read");
                let text = answer(&String::from_utf8_lossy(&asked[..length]));
                client.write_all(text.as_bytes()).await.expect("write");
            }
        });
        address
    }

    /// What a client of the relay gets to read; nothing if it is turned away.
    async fn talk(relay: SocketAddr) -> String {
        let mut stream = TcpStream::connect(relay).await.expect("connect");
        let _turned_away = stream.write_all(b"hello").await;
        let mut heard = String::new();
        let _turned_away = stream.read_to_string(&mut heard).await;
        heard
    }

    #[tokio::test]
    async fn the_clusters_access_decides_each_connection() {
        static ANSWER: AtomicU8 = AtomicU8::new(0);
        let vpc = server(|asked| {
            assert!(asked.starts_with("GET /access?region=x&client=127.0.0.1 "), "{asked}");
            let (status, body) = match ANSWER.load(Ordering::Relaxed) {
                0 => ("200 OK", r#"{"admitted":true,"endpointPublicAccess":true}"#),
                1 => ("200 OK", r#"{"admitted":false}"#),
                _ => ("404 Not Found", r#"{"__type":"ResourceNotFoundException"}"#),
            };
            let length = body.len();
            format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            )
        });
        let api = server(|asked| format!("{asked} yourself")).await;
        let gate = Gate::new(format!("http://{}/access?region=x", vpc.await)).expect("a gate");
        let here = File::open("/proc/self/ns/net").expect("our namespace");
        let sockets = Sockets::of(here).expect("entering our own namespace (root?)");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let relay = listener.local_addr().expect("address");
        tokio::spawn(serve(listener, Arc::new(gate), Arc::new(sockets), api));

        assert_eq!(talk(relay).await, "hello yourself");
        ANSWER.store(1, Ordering::Relaxed);
        assert_eq!(talk(relay).await, "", "not admitted");
        ANSWER.store(2, Ordering::Relaxed);
        assert_eq!(talk(relay).await, "", "nobody knows the cluster");
        ANSWER.store(0, Ordering::Relaxed);
        assert_eq!(talk(relay).await, "hello yourself");
    }
}
