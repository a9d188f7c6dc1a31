//! The webhook's certificate changes while it serves: real TLS on loopback.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use hedgerow_controller::admission::server::{Served, serve_tls};
use hedgerow_controller::certificate::{Material, renew};
use hedgerow_controller::webhook::certified_key;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const NAME: &str = "hedgerow-webhook.kube-system.svc";
const DAY: u64 = 24 * 3600;

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn issue(old: Option<Material>, at: u64) -> Material {
    renew(old, &[NAME.to_owned()], at).unwrap()
}

/// A client that trusts what the API server would: the bundle.
async fn connect(port: u16, bundle: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from(NAME).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    let request = format!("GET /ping HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = [0; 512];
    let count = stream.read(&mut buffer).await.unwrap();
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

#[tokio::test]
async fn rotation_needs_no_restart_and_breaks_no_connection() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = Arc::new(Served::default());
    let router = Router::new().route("/ping", get(|| async { "pong" }));
    let server = tokio::spawn(serve_tls(listener, served.clone(), router));

    // Issued 61 days ago: due for renewal, still good.
    let first = issue(None, now() - 61 * DAY);
    assert!(connect(port, &first.bundle).await.is_err(), "nothing is served yet");
    served.swap(certified_key(&first).unwrap());
    let mut open = connect(port, &first.bundle).await.unwrap();
    assert!(ask(&mut open).await.ends_with("pong"));

    let second = issue(Some(first.clone()), now());
    assert_ne!(second.certificate, first.certificate);
    served.swap(certified_key(&second).unwrap());
    assert!(ask(&mut open).await.ends_with("pong"), "an open connection goes on");
    let fresh = connect(port, &first.bundle).await.unwrap();
    let seen = fresh.get_ref().1.peer_certificates().unwrap()[0].clone();
    let wanted = CertificateDer::from_pem_slice(second.certificate.as_bytes()).unwrap();
    assert_eq!(seen, wanted, "new handshakes get the new certificate");

    // A new authority: its bundle trusts both, whichever certificate is served at the moment.
    let old = Material { authority_expires: now() + 300 * DAY, ..second };
    let third = issue(Some(old), now());
    assert!(connect(port, &third.bundle).await.is_ok(), "not swapped yet");
    served.swap(certified_key(&third).unwrap());
    assert!(connect(port, &third.bundle).await.is_ok());
    assert!(connect(port, &first.bundle).await.is_err(), "the old bundle alone does not do");
    server.abort();
}
