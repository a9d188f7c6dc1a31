//! EKS's paths, and the admin's for clusters that run here: each becomes a form body, so that
//! everything after it (journal, counters, answers) is the same as for EC2.
//!
//! ```text
//!   GET  /clusters                       ListClusters
//!   GET  /clusters/NAME                  DescribeCluster
//!   POST /clusters/NAME/update-config    UpdateClusterConfig
//!   GET  /clusters/NAME/updates/ID       DescribeUpdate
//!   PUT, DELETE /_hedgerow/eks/clusters/NAME          PutLabCluster, DeleteLabCluster
//!   GET  /_hedgerow/eks/clusters/NAME/access?client=  DescribeLabClusterAccess
//! ```
//!
//! The admin's paths answer only clients on this machine, and take the region from `?region=`.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post, put};
use axum::{Extension, Router};
use form_urlencoded::Serializer;

use super::climate::{Caller, Reply};
use super::http::{Connection, caller, read_body};
use super::{Answer, Server, credential};
use crate::api::envelope::Api;
use crate::state::principal::Credentials;

type Parameters = Vec<(String, String)>;

/// The routes, to be given the server.
pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/clusters", get(list).fallback(unbuilt))
        .route("/clusters/{name}", get(describe).fallback(unbuilt))
        .route("/clusters/{name}/update-config", post(update).fallback(unbuilt))
        .route("/clusters/{name}/updates/{id}", get(describe_update).fallback(unbuilt))
        .route("/clusters/{name}/{*rest}", any(unbuilt))
        .route("/_hedgerow/eks/clusters/{name}", put(put_cluster).delete(delete_cluster))
        .route("/_hedgerow/eks/clusters/{name}/access", get(access))
}

/// A request as the other APIs' clients would write it.
struct Form(Parameters);

impl Form {
    fn new(action: &str) -> Self {
        Self(Vec::new()).with("Action", action).with("Version", Api::Eks.version())
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    fn body(&self) -> Bytes {
        Serializer::new(String::new()).extend_pairs(&self.0).finish().into()
    }

    async fn ask(self, server: &Arc<Server>, caller: Caller) -> Response {
        let Reply::Answer(answer) = server.ask_as(caller, self.body()).await else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let Answer { status, request, body, .. } = answer;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(request) = HeaderValue::from_str(&request) {
            headers.insert("x-amzn-requestid", request);
        }
        response
    }
}

async fn list(
    Shared(server): Shared<Arc<Server>>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let form = parameters
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "Action" | "Version"))
        .fold(Form::new("ListClusters"), |form, (name, value)| form.with(name, value));
    form.ask(&server, caller(&headers)).await
}

async fn describe(
    Shared(server): Shared<Arc<Server>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    Form::new("DescribeCluster").with("name", &name).ask(&server, caller(&headers)).await
}

async fn describe_update(
    Shared(server): Shared<Arc<Server>>,
    Path((name, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let form = Form::new("DescribeUpdate").with("name", &name).with("updateId", &id);
    form.ask(&server, caller(&headers)).await
}

async fn update(
    Shared(server): Shared<Arc<Server>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let form = Form::new("UpdateClusterConfig").with("name", &name);
    with_document(form, body, &server, caller(&headers)).await
}

async fn with_document(form: Form, body: Body, server: &Arc<Server>, caller: Caller) -> Response {
    match read_body(body).await {
        Ok(body) => {
            form.with("document", &String::from_utf8_lossy(&body)).ask(server, caller).await
        }
        Err(refusal) => refusal,
    }
}

/// Operations of EKS that are not built, by method and path.
async fn unbuilt(
    Shared(server): Shared<Arc<Server>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let action = format!("eks:{method} {}", uri.path());
    Form::new(&action).ask(&server, caller(&headers)).await
}

/// The admin, in the region that the request names; nobody if it comes from elsewhere than this
/// machine.
fn admin(connection: &Connection, parameters: &Parameters) -> Option<Caller> {
    let named = parameters.iter().find(|(name, _)| name == "region");
    let region = named.map_or_else(|| credential::region(None), |(_, region)| region);
    let credentials = Credentials::default();
    connection.peer.is_loopback().then(|| Caller { region: region.to_owned(), credentials })
}

/// The answer to an admin's request from elsewhere.
fn forbidden() -> Response {
    let message = "Admin calls are answered on this machine's loopback only\n";
    (StatusCode::FORBIDDEN, message).into_response()
}

async fn put_cluster(
    Shared(server): Shared<Arc<Server>>,
    Extension(connection): Extension<Connection>,
    Path(name): Path<String>,
    Query(parameters): Query<Parameters>,
    body: Body,
) -> Response {
    let form = Form::new("PutLabCluster").with("name", &name);
    match admin(&connection, &parameters) {
        Some(admin) => with_document(form, body, &server, admin).await,
        None => forbidden(),
    }
}

async fn delete_cluster(
    Shared(server): Shared<Arc<Server>>,
    Extension(connection): Extension<Connection>,
    Path(name): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Response {
    let form = Form::new("DeleteLabCluster").with("name", &name);
    match admin(&connection, &parameters) {
        Some(admin) => form.ask(&server, admin).await,
        None => forbidden(),
    }
}

async fn access(
    Shared(server): Shared<Arc<Server>>,
    Extension(connection): Extension<Connection>,
    Path(name): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Response {
    let form = Form::new("DescribeLabClusterAccess").with("name", &name);
    let client = parameters.iter().find(|(name, _)| name == "client");
    let form = client.into_iter().fold(form, |form, (name, value)| form.with(name, value));
    match admin(&connection, &parameters) {
        Some(admin) => form.ask(&server, admin).await,
        None => forbidden(),
    }
}
