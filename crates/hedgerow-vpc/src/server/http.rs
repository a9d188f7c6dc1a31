//! HTTP on a listener, and the routes of the API. One client's slowness is its own.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Ipv6Ttl;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::climate::{Caller, Reply};
use super::seats::{Seat, Seats, attend};
use super::{Answer, Server, admin, credential, eks, lock, zones};
use crate::api::{self, envelope::Api};
use crate::state::principal::Credentials;

/// Connections of one listener at a time; for more, others must leave.
const MAX_CONNECTIONS: usize = 2_048;
/// Connections of one address at a time, where all clients are this machine's.
pub(super) const UNLIMITED: usize = usize::MAX;
/// Connections of one address at a time, where addresses are instances' and pods'.
pub(super) const MAX_PER_INSTANCE: usize = 64;
/// How long a connection may be idle or take over a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a request's body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest body: 1,000 rules with descriptions fit several times.
const MAX_BODY: usize = 1 << 20;

/// Listens for the API's clients; as many as can be seated may come at the same moment.
///
/// # Errors
/// What the kernel says of the address.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(MAX_CONNECTIONS as u32)
}

/// The connection that a request came on.
#[derive(Clone)]
pub(super) struct Connection {
    /// Address of the client.
    pub peer: IpAddr,
    /// A second handle on the socket, for its options.
    socket: Arc<std::net::TcpStream>,
}

impl Connection {
    fn of(stream: &TcpStream) -> io::Result<Self> {
        let socket = stream.as_fd().try_clone_to_owned()?;
        Ok(Self { peer: stream.peer_addr()?.ip(), socket: Arc::new(socket.into()) })
    }

    /// Sets the IP TTL of what is sent from now on.
    pub fn set_ttl(&self, ttl: u8) {
        let set = match self.peer {
            IpAddr::V4(_) => self.socket.set_ttl(ttl.into()),
            IpAddr::V6(_) => {
                setsockopt(&self.socket, Ipv6Ttl, &ttl.into()).map_err(io::Error::from)
            }
        };
        if let Err(error) = set {
            tracing::warn!(%error, peer = %self.peer, ttl, "set the IP TTL of a connection");
        }
    }
}

impl Connection {
    /// Closes the connection at once: what is sent from now on reaches nobody.
    fn close(&self) {
        if let Err(error) = self.socket.shutdown(std::net::Shutdown::Both) {
            tracing::debug!(%error, peer = %self.peer, "close a connection");
        }
    }
}

/// Connections now open, by the client's address.
pub(crate) type Open = Arc<Mutex<BTreeMap<IpAddr, usize>>>;

/// A connection's place among those of its address; given back when dropped.
pub(crate) struct Place {
    open: Open,
    peer: IpAddr,
}

impl Place {
    /// A place, unless the address has `limit` of them.
    pub fn take(open: &Open, peer: IpAddr, limit: usize) -> Option<Place> {
        let mut counts = lock(open);
        let count = counts.entry(peer).or_default();
        (*count < limit).then(|| {
            *count += 1;
            Place { open: Arc::clone(open), peer }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.open);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

/// Serves `routes` on `listener` for ever, at most `per_peer` connections of one address at a time;
/// more are closed at once. A client that sends nothing keeps nobody from being served: [`Seats`].
pub(super) async fn serve(listener: TcpListener, routes: Router, per_peer: usize) {
    let seats = Seats::new(MAX_CONNECTIONS);
    let open = Open::default();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or the client is gone already: others may still be served.
                tracing::warn!(%error, "accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(place) = Place::take(&open, peer.ip(), per_peer) else {
            tracing::debug!(%peer, per_peer, "too many connections of one address");
            continue;
        };
        let (taken, routes) = (seats.take().await, routes.clone());
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = serve_one(stream, routes, Arc::clone(&taken.seat)) => ended,
                () = taken.seat.left() => Err("others needed the connection's seat".to_owned()),
            };
            if let Err(error) = ended {
                tracing::debug!(error, %peer, "connection ended");
            }
            drop((place, taken));
        });
    }
}

async fn serve_one(stream: TcpStream, routes: Router, seat: Arc<Seat>) -> Result<(), String> {
    let connection = Connection::of(&stream).map_err(|error| error.to_string())?;
    let _ = stream.set_nodelay(true);
    let routes = TowerToHyperService::new(routes.layer(Extension(connection)));
    let service = service_fn(move |request| attend(Arc::clone(&seat), routes.clone(), request));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // A client that has said all (`shutdown`) still waits for its answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(|error| error.to_string())
}

/// The API at `/`, `/metrics`, `/healthz`.
pub(super) fn api_routes(server: Arc<Server>) -> Router {
    Router::new()
        .route("/", post(by_post).get(by_get).head(async || StatusCode::METHOD_NOT_ALLOWED))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .merge(admin::routes())
        .merge(eks::routes())
        .merge(zones::routes())
        .with_state(server)
}

/// The whole body of a request, or the answer to one that is too long or too slow.
pub(super) async fn read_body(body: Body) -> Result<Bytes, Response> {
    match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            let message = format!("The body is broken or longer than {MAX_BODY} bytes\n");
            Err((StatusCode::PAYLOAD_TOO_LARGE, message).into_response())
        }
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT.into_response()),
    }
}

/// Who asks, by the headers of a request.
pub(super) fn caller(headers: &HeaderMap) -> Caller {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let authorization = text("authorization");
    let credentials = Credentials {
        key: credential::access_key(authorization).map(str::to_owned),
        token: text("x-amz-security-token").map(str::to_owned),
    };
    Caller { region: credential::region(authorization).to_owned(), credentials }
}

/// Who asks, by a query that was signed instead of the headers: `X-Amz-Credential` and
/// `X-Amz-Security-Token` ("Authenticating requests: using query parameters", IAM User Guide).
fn caller_by_query(query: &[u8]) -> Option<Caller> {
    let text = |wanted: &str| form_urlencoded::parse(query).find(|(name, _)| name == wanted);
    let (_, scope) = text("X-Amz-Credential")?;
    let credential = format!("Credential={scope}");
    let credentials = Credentials {
        key: credential::access_key(Some(&credential)).map(str::to_owned),
        token: text("X-Amz-Security-Token").map(|(_, token)| token.into_owned()),
    };
    Some(Caller { region: credential::region(Some(&credential)).to_owned(), credentials })
}

async fn by_post(
    Shared(server): Shared<Arc<Server>>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match read_body(body).await {
        Ok(body) => query(&server, &connection, caller(&headers), body).await,
        Err(refusal) => refusal,
    }
}

/// The same parameters in the URI: "Query requests are HTTP or HTTPS requests that use the HTTP verb
/// GET or POST" (EC2 API Reference).
async fn by_get(
    Shared(server): Shared<Arc<Server>>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
    RawQuery(parameters): RawQuery,
) -> Response {
    let parameters = Bytes::from(parameters.unwrap_or_default());
    let signed = headers.contains_key(header::AUTHORIZATION);
    let by_query = caller_by_query(&parameters).filter(|_| !signed);
    let caller = by_query.unwrap_or_else(|| caller(&headers));
    query(&server, &connection, caller, parameters).await
}

/// Answers a request of the query protocol.
async fn query(
    server: &Arc<Server>,
    connection: &Connection,
    caller: Caller,
    body: Bytes,
) -> Response {
    if let Some(name) = api::names_labs_own(&body) {
        let error = api::invalid_action(name);
        let body = Api::Ec2.error(&error, &server.request_id());
        return (StatusCode::BAD_REQUEST, body).into_response();
    }
    let Answer { status, request, body } = match server.ask_as(caller, body).await {
        Reply::Answer(answer) => answer,
        Reply::Lost => {
            connection.close();
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        Reply::Failed => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml;charset=UTF-8"));
    if let Ok(request) = HeaderValue::from_str(&request) {
        headers.insert("x-amzn-requestid", request);
    }
    response
}

async fn metrics(Shared(server): Shared<Arc<Server>>) -> Response {
    let counters = match &server.wire {
        Some(wire) => wire.counters().await,
        None => Ok(Default::default()),
    };
    match counters {
        Ok(counters) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], server.metrics.text(&counters)).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
