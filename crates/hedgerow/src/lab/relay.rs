//! Carries TCP connections from a loopback port of the machine into an instance, so that `kubectl`
//! on the machine reaches an API server that only the VPC knows.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use super::process::open_netns;

/// Serves until killed.
///
/// A socket belongs to the namespace its thread was in when it was made: the listener is made
/// first, in the machine's; then the only thread moves, and makes every connection in the other.
pub fn run(listen: SocketAddr, netns: &Path, to: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen)
        .with_context(|| format!("listening on {listen} of the machine"))?;
    listener.set_nonblocking(true).context("making the listener non-blocking")?;
    setns(open_netns(netns)?, CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("entering {}", netns.display()))?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the async runtime")?
        .block_on(serve(listener, to))
}

async fn serve(listener: TcpListener, to: SocketAddr) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener).context("polling the listener")?;
    loop {
        let (client, from) = listener.accept().await.context("accepting a connection")?;
        tokio::spawn(async move {
            if let Err(error) = carry(client, to).await {
                eprintln!("connection from {from} to {to}: {error}");
            }
        });
    }
}

async fn carry(mut client: TcpStream, to: SocketAddr) -> std::io::Result<()> {
    let mut server = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}
