//! The webhook over HTTPS: parses AdmissionReviews, asks [`decide`](super::decide), answers.
//!
//! Whatever goes wrong here is an answer of "no" or no answer; both keep the pod from being
//! created (`failurePolicy: Fail`).

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use axum::{Json, Router};
use hedgerow_core::names::{ENFORCED, NAMESPACE_LABEL};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject};
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::decide::{Decision, decide, first_look};
use crate::context::Context;
use crate::{namespaces, policies};

/// An AdmissionReview holds at most two objects of etcd's 1.5 MiB each.
const MAX_BODY: usize = 4 << 20;
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The certificate in use; swapped while connections go on.
#[derive(Debug, Default)]
pub struct Served(RwLock<Option<Arc<CertifiedKey>>>);

impl Served {
    /// From the next handshake on, this one.
    pub fn swap(&self, key: CertifiedKey) {
        *self.0.write().unwrap_or_else(|e| e.into_inner()) = Some(Arc::new(key));
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

/// Connections whose handshake is done; one that dawdles holds up nobody else.
struct TlsListener {
    local: SocketAddr,
    done: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.done.recv().await {
            Some(connection) => connection,
            // The accepting task never ends while the process lives.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.local)
    }
}

fn accept_tls(listener: TcpListener, acceptor: TlsAcceptor) -> std::io::Result<TlsListener> {
    let (sender, done) = mpsc::channel(64);
    let local = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accepting a webhook connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            tokio::spawn(async move {
                match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(tls)) => drop(sender.send((tls, from)).await),
                    Ok(Err(error)) => tracing::debug!(%from, %error, "TLS handshake"),
                    Err(_) => tracing::debug!(%from, "TLS handshake took too long"),
                }
            });
        }
    });
    Ok(TlsListener { local, done })
}

/// Serves `router` over TLS on `listener` for ever.
pub async fn serve_tls(
    listener: TcpListener,
    served: Arc<Served>,
    router: Router,
) -> std::io::Result<()> {
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(served);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let listener = accept_tls(listener, TlsAcceptor::from(Arc::new(config)))?;
    axum::serve(listener, router).await
}

/// `/pods` and `/policies`.
pub fn router(context: Arc<Context>) -> Router {
    Router::new()
        .route("/pods", post(pods))
        .route("/policies", post(policies_created))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(context)
}

type Answer = Json<AdmissionReview<DynamicObject>>;

fn parse<T>(body: &[u8]) -> Result<AdmissionRequest<T>, Box<Answer>>
where
    T: kube::Resource + serde::de::DeserializeOwned,
{
    let invalid = |why: String| {
        tracing::warn!(why, "unreadable AdmissionReview");
        Box::new(Json(AdmissionResponse::invalid(why).into_review()))
    };
    let review: AdmissionReview<T> =
        serde_json::from_slice(body).map_err(|e| invalid(e.to_string()))?;
    review.try_into().map_err(|_| invalid("the AdmissionReview holds no request".into()))
}

async fn pods(State(context): State<Arc<Context>>, body: Bytes) -> Answer {
    let request: AdmissionRequest<Pod> = match parse(&body) {
        Ok(request) => request,
        Err(answer) => return *answer,
    };
    let decision = decide_request(&request, &context).await;
    context.metrics.admitted(decision.name());
    tracing::debug!(namespace = ?request.namespace, name = request.name, ?decision, "pod");
    Json(respond(&request, decision).into_review())
}

async fn decide_request(request: &AdmissionRequest<Pod>, context: &Context) -> Decision {
    let (Some(pod), Some(namespace)) = (&request.object, &request.namespace) else {
        return Decision::Deny("the AdmissionReview holds no pod".into());
    };
    if let Some(decision) = first_look(pod) {
        return decision;
    }
    match policies::selection(&context.client, namespace, pod).await {
        Ok(selection) => decide(pod, &selection),
        Err(error) => {
            tracing::warn!(%error, "pod denied: its groups cannot be told");
            Decision::Deny(format!("its security groups cannot be told: {error}"))
        }
    }
}

fn respond(request: &AdmissionRequest<Pod>, decision: Decision) -> AdmissionResponse {
    let mut response = AdmissionResponse::from(request);
    match decision {
        Decision::Allow => response,
        Decision::Deny(why) => response.deny(why),
        Decision::Warn(text) => {
            response.warnings = Some(vec![text]);
            response
        }
        Decision::Patch(operations) => {
            let refused = AdmissionResponse::from(request);
            let patch = serde_json::from_value(serde_json::Value::Array(operations));
            match patch
                .map_err(|e| e.to_string())
                .and_then(|patch| response.with_patch(patch).map_err(|e| e.to_string()))
            {
                Ok(response) => response,
                Err(why) => refused.deny(format!("building the patch: {why}")),
            }
        }
    }
}

/// The namespace is labelled before its first policy exists, so that no pod slips in between.
async fn policies_created(State(context): State<Arc<Context>>, body: Bytes) -> Answer {
    let request: AdmissionRequest<DynamicObject> = match parse(&body) {
        Ok(request) => request,
        Err(answer) => return *answer,
    };
    let response = AdmissionResponse::from(&request);
    let response = match (&request.namespace, request.dry_run) {
        (Some(namespace), false) => match ensure_label(&context, namespace).await {
            Ok(()) => response,
            Err(error) => response.deny(format!("labelling namespace {namespace}: {error}")),
        },
        _ => response,
    };
    Json(response.into_review())
}

async fn ensure_label(context: &Context, namespace: &str) -> Result<(), kube::Error> {
    let found = Api::<Namespace>::all(context.client.clone()).get(namespace).await?;
    if found.labels().get(NAMESPACE_LABEL).is_some_and(|v| v == ENFORCED) {
        return Ok(());
    }
    namespaces::set_label(&context.client, namespace).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_the_api_server_expects() {
        let review = serde_json::json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"}, "name": "p",
                "namespace": "ns", "operation": "CREATE", "userInfo": {"username": "me"},
                "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                           "spec": {"containers": [{"name": "c"}]}}}
        });
        let request: AdmissionRequest<Pod> = parse(review.to_string().as_bytes()).unwrap();
        let patch = vec![serde_json::json!({"op": "add", "path": "/a", "value": "1"})];
        let answer = respond(&request, Decision::Patch(patch)).into_review();
        let answer = serde_json::to_value(answer).unwrap();
        assert_eq!(answer["response"]["uid"], "u-1");
        assert_eq!(answer["response"]["allowed"], true);
        assert_eq!(answer["response"]["patchType"], "JSONPatch");
        let denied = respond(&request, Decision::Deny("why".into())).into_review();
        let denied = serde_json::to_value(denied).unwrap();
        assert_eq!(denied["response"]["allowed"], false);
        assert_eq!(denied["response"]["status"]["message"], "why");
        assert!(parse::<Pod>(b"{}").is_err() && parse::<Pod>(b"\xff").is_err());
    }
}
