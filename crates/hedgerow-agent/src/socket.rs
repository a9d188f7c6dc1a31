//! The agent's unix socket: one request and one answer per connection, root only.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_cni::message::{self, MessageError, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::service::Service;

/// How long a caller may take to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Requests worked on at once; more wait in the socket's queue.
const AT_ONCE: usize = 64;

/// Listens at `path`, which is replaced if it is left over from an earlier agent.
pub fn listen(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    // From its first moment nobody but root can connect.
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    nix::sys::stat::umask(before);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener
}

/// Serves until the task is dropped.
pub async fn serve(listener: UnixListener, service: Arc<Service>) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = Arc::clone(&service);
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, &service).await {
                        tracing::debug!(%error, "a conversation with the plugin ended early");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(mut stream: UnixStream, service: &Service) -> Result<(), MessageError> {
    let request = match tokio::time::timeout(PATIENCE, read(&mut stream)).await {
        Ok(request) => request,
        Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
    };
    let request = match request {
        Ok(request) => request,
        Err(error) => {
            use hedgerow_cni::answer::{CniError, Code};
            let advice = "plugin and agent must be of one release";
            let failed = Response::Failed(CniError::new(Code::Decode, error.to_string(), advice));
            stream.write_all(&message::encode(&failed)?).await?;
            return Err(error);
        }
    };
    let added = match &request {
        Request::Add { container_id, ifname, .. } => Some((container_id.clone(), ifname.clone())),
        _ => None,
    };
    let response = service.handle(request).await;
    let bytes = message::encode(&response)?;
    let written = tokio::time::timeout(PATIENCE, stream.write_all(&bytes)).await;
    let written = written.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    if let (Err(_), Some((container_id, ifname)), Response::Added(_)) = (&written, added, &response)
    {
        service.abandon(&container_id, &ifname).await;
    }
    Ok(written?)
}

async fn read(stream: &mut UnixStream) -> Result<Request, MessageError> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await?;
    let mut json = vec![0; message::body_len(header)?];
    stream.read_exact(&mut json).await?;
    message::decode(&json)
}
