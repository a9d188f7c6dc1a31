//! The instance metadata service inside a VPC: v1, v2, the hop limit.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};

use super::http::Connection;
use super::metadata::{self, Asker, Leaf};
use super::{Server, now};

/// Carries a session token, in requests.
const TOKEN: &str = "x-aws-ec2-metadata-token";
/// How long the token shall live, seconds; in token requests and their answers.
const TOKEN_LIFE: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// TTL of ordinary answers: Linux's default, which crosses a few hops.
const USUAL_TTL: u8 = 64;
/// Where tokens are given out.
const TOKENS: &str = "/latest/api/token";

/// Versions that EC2 lists at `/`; all of them have the same tree here.
const VERSIONS: &[&str] = &[
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    "2021-07-15",
    "2022-09-24",
    "2024-04-11",
    "latest",
];

/// The metadata service of one VPC.
#[derive(Clone)]
struct Service {
    server: Arc<Server>,
    vpc: u32,
}

/// The metadata service of the VPC with this key.
pub(super) fn routes(server: Arc<Server>, vpc: u32) -> Router {
    Router::new().fallback(serve).with_state(Service { server, vpc })
}

async fn serve(
    Shared(service): Shared<Service>,
    Extension(connection): Extension<Connection>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let mut response = match service.answer(&connection, &method, uri.path(), &headers).await {
        Ok(response) => response,
        Err(status) => refusal(status),
    };
    let headers = response.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("EC2ws"));
    response
}

/// The page that EC2 sends with an error.
fn refusal(status: StatusCode) -> Response {
    let text = format!("{} - {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let page = format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n\
         <!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n\
         \t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n\
         <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n \
         <head>\n  <title>{text}</title>\n </head>\n <body>\n  <h1>{text}</h1>\n </body>\n</html>\n"
    );
    let mut response = (status, [(header::CONTENT_TYPE, "text/html")], page).into_response();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, PUT"));
    }
    response
}

fn plain(text: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, "text/plain")], text).into_response()
}

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    /// The list of versions.
    Versions,
    /// A path below a version, without slashes around it.
    Below(&'a str),
}

/// Reads a path; `None` where it names no version.
fn place(path: &str) -> Option<Place<'_>> {
    let path = path.trim_matches('/');
    if path.is_empty() {
        return Some(Place::Versions);
    }
    let (version, rest) = path.split_once('/').unwrap_or((path, ""));
    VERSIONS.contains(&version).then_some(Place::Below(rest.trim_matches('/')))
}

impl Service {
    async fn answer(
        &self,
        connection: &Connection,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Response, StatusCode> {
        connection.set_ttl(USUAL_TTL);
        let asker = Asker::find(&self.server.state(), self.vpc, connection.peer);
        let asker = asker.ok_or(StatusCode::NOT_FOUND)?;
        let in_ipv6 = matches!(connection.peer, IpAddr::V6(_));
        if !asker.options.enabled || (in_ipv6 && !asker.options.ipv6) {
            return Err(StatusCode::FORBIDDEN);
        }
        match (method, path.trim_end_matches('/')) {
            (&Method::PUT, TOKENS) => self.give_token(connection, &asker, headers),
            (&Method::GET | &Method::HEAD, TOKENS) => Err(StatusCode::METHOD_NOT_ALLOWED),
            (&Method::GET | &Method::HEAD, path) => {
                self.check_token(&asker, headers)?;
                self.read(&asker, path).await
            }
            _ => Err(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    async fn read(&self, asker: &Asker, path: &str) -> Result<Response, StatusCode> {
        let below = match place(path).ok_or(StatusCode::NOT_FOUND)? {
            Place::Versions => return Ok(plain(VERSIONS.join("\n"))),
            Place::Below(below) => below,
        };
        match asker.get(below).ok_or(StatusCode::NOT_FOUND)? {
            Leaf::Text(text) => Ok(plain(text)),
            Leaf::UserData(bytes) => {
                Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
            }
            Leaf::Credentials => {
                let role = asker.role.as_deref().ok_or(StatusCode::NOT_FOUND)?;
                let keys = self.server.role_keys(&asker.region, &asker.instance, role).await;
                let keys = keys.ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
                Ok(plain(metadata::credentials(&keys)))
            }
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
        let mut response = plain(token);
        response.headers_mut().insert(HeaderName::from_static(TOKEN_LIFE), life.clone());
        Ok(response)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths() {
        for (path, want) in [
            ("/", Some(Place::Versions)),
            ("", Some(Place::Versions)),
            ("/latest", Some(Place::Below(""))),
            ("/latest/meta-data/", Some(Place::Below("meta-data"))),
            ("/2021-07-15/user-data", Some(Place::Below("user-data"))),
            ("/1999-01-01/user-data", None),
            ("/meta-data", None),
        ] {
            assert_eq!(place(path), want, "{path}");
        }
    }

    proptest! {
        /// No path makes it panic, and what it finds is a part of the path.
        #[test]
        fn any_path(path in "[/a-z0-9.é-]{0,40}|(/latest)?/.{0,40}") {
            if let Some(Place::Below(below)) = place(&path) {
                prop_assert!(path.contains(below));
            }
        }
    }
}
