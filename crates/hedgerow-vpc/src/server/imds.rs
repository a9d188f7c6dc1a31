//! The instance metadata service inside a VPC: v1, v2, the hop limit.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};

use super::http::Connection;
use super::metadata::Asker;
use super::{Server, now};

/// Carries a session token, in requests.
const TOKEN: &str = "x-aws-ec2-metadata-token";
/// How long the token shall live, seconds; in token requests and their answers.
const TOKEN_LIFE: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// TTL of ordinary answers: Linux's default, which crosses a few hops.
const USUAL_TTL: u8 = 64;

/// The metadata service of one VPC.
#[derive(Clone)]
struct Service {
    server: Arc<Server>,
    vpc: u32,
}

/// The metadata service of the VPC with this key.
pub(super) fn routes(server: Arc<Server>, vpc: u32) -> Router {
    Router::new().fallback(metadata).with_state(Service { server, vpc })
}

async fn metadata(
    Shared(service): Shared<Service>,
    Extension(connection): Extension<Connection>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let mut response = match service.answer(&connection, &method, uri.path(), &headers) {
        Ok(response) => response,
        Err(status) => refusal(status),
    };
    let headers = response.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("EC2ws"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn refusal(status: StatusCode) -> Response {
    let text = status.canonical_reason().unwrap_or_default();
    (status, format!("{} - {text}\n", status.as_u16())).into_response()
}

impl Service {
    fn answer(
        &self,
        connection: &Connection,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Response, StatusCode> {
        connection.set_ttl(USUAL_TTL);
        let IpAddr::V4(peer) = connection.peer else { return Err(StatusCode::NOT_FOUND) };
        let asker = Asker::find(&self.server.state(), self.vpc, peer);
        let asker = asker.ok_or(StatusCode::NOT_FOUND)?;
        if !asker.options.enabled {
            return Err(StatusCode::FORBIDDEN);
        }
        match (method, path.trim_end_matches('/')) {
            (&Method::PUT, "/latest/api/token") => self.give_token(connection, &asker, headers),
            (&Method::GET | &Method::HEAD, path) => {
                self.check_token(&asker, headers)?;
                let text = match path.strip_prefix("/latest") {
                    None if path.is_empty() => Some("latest".to_owned()),
                    None => None,
                    Some(rest) => asker.get(rest),
                };
                text.map(IntoResponse::into_response).ok_or(StatusCode::NOT_FOUND)
            }
            _ => Err(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn give_token(
        &self,
        connection: &Connection,
        asker: &Asker,
        headers: &HeaderMap,
    ) -> Result<Response, StatusCode> {
        // A proxy that forwards for others must not get a token (IMDSv2's own rule).
        if headers.contains_key("x-forwarded-for") {
            return Err(StatusCode::FORBIDDEN);
        }
        let life = headers.get(TOKEN_LIFE).ok_or(StatusCode::BAD_REQUEST)?;
        let text = life.to_str().map_err(|_| StatusCode::BAD_REQUEST)?;
        let token = self
            .server
            .tokens
            .give(&asker.instance, text, now())
            .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?
            .ok_or(StatusCode::BAD_REQUEST)?;
        connection.set_ttl(asker.options.hop_limit);
        Ok(([(HeaderName::from_static(TOKEN_LIFE), life.clone())], token).into_response())
    }

    /// `UNAUTHORIZED` for a token that is not valid, or none where one is required.
    fn check_token(&self, asker: &Asker, headers: &HeaderMap) -> Result<(), StatusCode> {
        match headers.get(TOKEN).map(HeaderValue::to_str) {
            None if asker.options.token_required => Err(StatusCode::UNAUTHORIZED),
            None => Ok(()),
            Some(Ok(token)) if self.server.tokens.valid(token, &asker.instance, now()) => Ok(()),
            Some(_) => Err(StatusCode::UNAUTHORIZED),
        }
    }
}
