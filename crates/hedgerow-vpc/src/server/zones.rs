//! Private DNS zones of the lab, for clients on this machine only:
//!
//! ```text
//!   PUT    /_hedgerow/dns/ZONE?region=us-west-2   {"names": {"db": ["10.0.0.5"]}, "vpcs": []}
//!   DELETE /_hedgerow/dns/ZONE?region=us-west-2
//! ```
//!
//! Each becomes a form body, so that everything after it is the same as for EC2's actions.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use axum::{Extension, Router};
use form_urlencoded::Serializer;
use serde::Deserialize;

use super::http::{Connection, read_body};
use super::{Server, credential};
use crate::api::envelope::Api;

/// The routes, to be given the server.
pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new().route("/_hedgerow/dns/{zone}", put(put_zone).delete(delete_zone))
}

/// `?region=`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Where {
    region: Option<String>,
}

/// What is in a zone.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    /// Names relative to the zone (`@`: itself, `*`: every other) to addresses.
    names: BTreeMap<String, Vec<IpAddr>>,
    /// The VPCs that see it; all of the region's if empty.
    #[serde(default)]
    vpcs: Vec<String>,
}

async fn put_zone(
    Shared(server): Shared<Arc<Server>>,
    Extension(connection): Extension<Connection>,
    Path(zone): Path<String>,
    Query(place): Query<Where>,
    body: Body,
) -> Response {
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let contents: Contents = match serde_json::from_slice(&body) {
        Ok(contents) => contents,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let mut form = vec![("Action".to_owned(), "PutLabZone".to_owned()), ("Zone".to_owned(), zone)];
    for (vpc, n) in contents.vpcs.into_iter().zip(1..) {
        form.push((format!("VpcId.{n}"), vpc));
    }
    for ((name, addresses), n) in contents.names.into_iter().zip(1..) {
        form.push((format!("Record.{n}.Name"), name));
        for (address, m) in addresses.into_iter().zip(1..) {
            form.push((format!("Record.{n}.Address.{m}"), address.to_string()));
        }
    }
    ask(&server, &connection, place, form).await
}

async fn delete_zone(
    Shared(server): Shared<Arc<Server>>,
    Extension(connection): Extension<Connection>,
    Path(zone): Path<String>,
    Query(place): Query<Where>,
) -> Response {
    let form = vec![("Action".to_owned(), "DeleteLabZone".to_owned()), ("Zone".to_owned(), zone)];
    ask(&server, &connection, place, form).await
}

async fn ask(
    server: &Arc<Server>,
    connection: &Connection,
    place: Where,
    mut form: Vec<(String, String)>,
) -> Response {
    if !connection.peer.is_loopback() {
        return StatusCode::FORBIDDEN.into_response();
    }
    form.push(("Version".to_owned(), Api::Ec2.version().to_owned()));
    let body = Serializer::new(String::new()).extend_pairs(&form).finish();
    let region = place.region.as_deref().unwrap_or(credential::region(None));
    match server.ask(region, body.into()).await {
        Some(answer) => {
            let status = StatusCode::from_u16(answer.status);
            (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), answer.body).into_response()
        }
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
