//! The admin's side of weather and access; answers only clients on this machine.
//!
//! ```text
//!   GET, PUT, DELETE /_hedgerow/weather      the weather as JSON; PUT begins it anew
//!   GET              /_hedgerow/iam          every bound key and role with its policy document
//!   GET, PUT, DELETE /_hedgerow/iam/KEY      one key's policy document; role/NAME for a role's
//! ```
//!
//! With `--state` a change outlives the process: it is durable before it holds.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use serde_json::{Map, Value, json};

use super::Server;
use super::http::{Connection, read_body};
use crate::settings::Settings;
use crate::weather::Config;

/// The routes, to be given the server.
pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/_hedgerow/weather", get(weather).put(set_weather).delete(clear_weather))
        .route("/_hedgerow/iam", get(keys))
        .route("/_hedgerow/iam/{*key}", get(policy).put(bind).delete(unbind))
}

type Answer = Result<Response, Response>;

/// Instances reach the API too, but not this part of it.
fn local(connection: &Connection) -> Result<(), StatusCode> {
    if connection.peer.is_loopback() { Ok(()) } else { Err(StatusCode::FORBIDDEN) }
}

fn document(value: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, format!("{value:#}\n")).into_response()
}

fn bad(error: impl std::fmt::Display) -> Response {
    (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response()
}

/// Answers when the change is durable, where there is a directory for it, and holds.
async fn change(
    server: &Server,
    change: impl FnOnce(&mut Settings) -> Result<bool, Box<Response>>,
) -> Answer {
    match server.administer(change).await {
        Ok(Ok(())) => Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(Err(refused)) => Err(*refused),
        Err(error) => {
            tracing::error!(%error, "what the admin set cannot be kept, and does not hold");
            Err((StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response())
        }
    }
}

async fn text(body: Body) -> Result<String, Response> {
    String::from_utf8(read_body(body).await?.to_vec()).map_err(bad)
}

async fn weather(
    Shared(server): Shared<Arc<Server>>,
    Extension(connection): Extension<Connection>,
) -> Answer {
    local(&connection).map_err(IntoResponse::into_response)?;
    let config = server.climate.config().unwrap_or_default();
    Ok(document(&serde_json::to_value(config).map_err(bad)?))
}

async fn set_weather(
    Shared(server): Shared<Arc<Server>>,
    Extension(connection): Extension<Connection>,
    body: Body,
) -> Answer {
    local(&connection).map_err(IntoResponse::into_response)?;
    let config = Config::parse(&text(body).await?).map_err(bad)?;
    change(&server, |settings| {
        settings.weather = Some(config);
        Ok(true)
    })
    .await
}

async fn clear_weather(
    Shared(server): Shared<Arc<Server>>,
    Extension(connection): Extension<Connection>,
) -> Answer {
    local(&connection).map_err(IntoResponse::into_response)?;
    change(&server, |settings| {
        settings.weather = None;
        Ok(true)
    })
    .await
}

async fn keys(
    Shared(server): Shared<Arc<Server>>,
    Extension(connection): Extension<Connection>,
) -> Answer {
    local(&connection).map_err(IntoResponse::into_response)?;
    let all: Map<String, Value> = server.climate.keys(|keys| {
        keys.iter().map(|(key, policy)| (key.to_owned(), policy.source().clone())).collect()
    });
    Ok(document(&json!(all)))
}

async fn policy(
    Shared(server): Shared<Arc<Server>>,
    Extension(connection): Extension<Connection>,
    Path(key): Path<String>,
) -> Answer {
    local(&connection).map_err(IntoResponse::into_response)?;
    let found = server.climate.keys(|keys| keys.get(&key).map(|policy| policy.source().clone()));
    found.as_ref().map(document).ok_or_else(|| unbound(&key))
}

fn unbound(key: &str) -> Response {
    let message = format!("{key} is bound to no policy; it may do everything\n");
    (StatusCode::NOT_FOUND, message).into_response()
}

async fn bind(
    Shared(server): Shared<Arc<Server>>,
    Extension(connection): Extension<Connection>,
    Path(key): Path<String>,
    body: Body,
) -> Answer {
    local(&connection).map_err(IntoResponse::into_response)?;
    let text = text(body).await?;
    change(&server, |settings| match settings.keys.bind(&key, &text) {
        Ok(()) => Ok(false),
        Err(error) => Err(Box::new(bad(error))),
    })
    .await
}

async fn unbind(
    Shared(server): Shared<Arc<Server>>,
    Extension(connection): Extension<Connection>,
    Path(key): Path<String>,
) -> Answer {
    local(&connection).map_err(IntoResponse::into_response)?;
    change(&server, |settings| match settings.keys.unbind(&key) {
        true => Ok(false),
        false => Err(Box::new(unbound(&key))),
    })
    .await
}
