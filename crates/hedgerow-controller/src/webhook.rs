//! Keeps the webhook's certificate (a Secret) and configuration (in the API server) as they must
//! be: once at start, then every half minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use hedgerow_core::names::{ENFORCED, NAMESPACE_LABEL};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};

use crate::admission::server::Served;
use crate::certificate::{Material, renew};
use crate::context::Context;

/// Name of the webhook configurations.
pub const CONFIGURATION: &str = "hedgerow";
const PERIOD: Duration = Duration::from_secs(30);
/// How long the API server may take to trust a new bundle.
const TRUST_DELAY: Duration = Duration::from_secs(2);

/// For ever. `ready` is set once all stands.
pub async fn run(context: Arc<Context>, served: Arc<Served>, ready: Arc<AtomicBool>) {
    let mut current = None;
    loop {
        let wait = match keep(&context, &served, &mut current).await {
            Ok(()) => {
                ready.store(true, Ordering::Relaxed);
                PERIOD
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "webhook not as it should be");
                Duration::from_secs(1)
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// `current`: the material being served.
async fn keep(
    context: &Context,
    served: &Served,
    current: &mut Option<Material>,
) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let secrets = Api::<Secret>::namespaced(context.client.clone(), &context.args.namespace);
    let name = &context.args.service;
    let secret = secrets.get_opt(name).await.context("reading the webhook's Secret")?;
    let stored = secret.and_then(|s| Material::from_secret(&s.data?));
    let wanted = renew(stored.clone(), &service_names(context), now)?;
    if stored.as_ref() != Some(&wanted) {
        let patch = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
                           "data": wanted.to_secret()});
        secrets
            .patch(name, &manager(), &Patch::Apply(patch))
            .await
            .context("writing the webhook's Secret")?;
        tracing::info!(secret = %name, "webhook certificate issued");
    }
    let key = certified_key(&wanted)?;
    // Trust first, then serve: a handshake in between must not fail. At start nothing is served.
    configure(context, &wanted.bundle).await?;
    if current.as_ref().is_some_and(|c| c.bundle != wanted.bundle) {
        tokio::time::sleep(TRUST_DELAY).await;
    }
    if current.as_ref() != Some(&wanted) {
        served.swap(key);
        context.metrics.certificate_expiry.set(i64::try_from(wanted.expires).unwrap_or(i64::MAX));
        *current = Some(wanted);
    }
    Ok(())
}

fn service_names(context: &Context) -> Vec<String> {
    let host = format!("{}.{}.svc", context.args.service, context.args.namespace);
    vec![host.clone(), format!("{host}.cluster.local")]
}

/// The server's certificate and key as rustls wants them.
pub fn certified_key(material: &Material) -> anyhow::Result<CertifiedKey> {
    let chain = CertificateDer::pem_slice_iter(material.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .context("reading the server certificate")?;
    let key = PrivateKeyDer::from_pem_slice(material.key.as_bytes())
        .context("reading the server certificate's key")?;
    CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())
        .context("server certificate and key do not fit together")
}

fn manager() -> PatchParams {
    PatchParams::apply("hedgerow-controller").force()
}

async fn configure(context: &Context, bundle: &str) -> anyhow::Result<()> {
    let client = |path: &str| {
        json!({
            "caBundle": ByteString(bundle.as_bytes().to_vec()),
            "service": {"namespace": context.args.namespace, "name": context.args.service,
                        "path": path, "port": 443},
        })
    };
    Api::<MutatingWebhookConfiguration>::all(context.client.clone())
        .patch(CONFIGURATION, &manager(), &Patch::Apply(mutating(client("/pods"))))
        .await
        .context("writing the MutatingWebhookConfiguration")?;
    Api::<ValidatingWebhookConfiguration>::all(context.client.clone())
        .patch(CONFIGURATION, &manager(), &Patch::Apply(validating(client("/policies"))))
        .await
        .context("writing the ValidatingWebhookConfiguration")?;
    Ok(())
}

/// Asked for every pod of a labelled namespace. Pods on the host's network are never touched, so
/// they are not asked about: the controller itself starts though its webhook is down.
fn mutating(client: Value) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": CONFIGURATION},
        "webhooks": [{
            "name": "pods.hedgerow.dev",
            "clientConfig": client,
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
                       "resources": ["pods"], "scope": "Namespaced"}],
            "namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: ENFORCED}},
            "matchConditions": [{
                "name": "not-on-the-host-network",
                "expression": "!has(object.spec.hostNetwork) || !object.spec.hostNetwork",
            }],
            "failurePolicy": "Fail", "matchPolicy": "Equivalent", "sideEffects": "None",
            "reinvocationPolicy": "Never", "timeoutSeconds": 10,
            "admissionReviewVersions": ["v1"],
        }],
    })
}

/// Asked when a policy is created: its namespace is labelled first. Policies may be applied while
/// the controller is down (it labels their namespaces when it is back); until then the node agent
/// refuses the pods that they select.
fn validating(client: Value) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": CONFIGURATION},
        "webhooks": [{
            "name": "policies.hedgerow.dev",
            "clientConfig": client,
            "rules": [{"operations": ["CREATE"], "apiGroups": ["vpcresources.k8s.aws"],
                       "apiVersions": ["*"], "resources": ["securitygrouppolicies"],
                       "scope": "Namespaced"}],
            "failurePolicy": "Ignore", "matchPolicy": "Equivalent", "sideEffects": "NoneOnDryRun",
            "timeoutSeconds": 5, "admissionReviewVersions": ["v1"],
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_what_the_api_knows() {
        let client = || {
            json!({"caBundle": ByteString(b"x".to_vec()),
                               "service": {"namespace": "kube-system", "name": "w"}})
        };
        let config: MutatingWebhookConfiguration =
            serde_json::from_value(mutating(client())).unwrap();
        let hook = &config.webhooks.unwrap()[0];
        assert_eq!(hook.failure_policy.as_deref(), Some("Fail"));
        assert_eq!(hook.match_conditions.as_ref().unwrap().len(), 1);
        let selector = hook.namespace_selector.as_ref().unwrap().match_labels.as_ref().unwrap();
        assert_eq!(selector[NAMESPACE_LABEL], ENFORCED);
        serde_json::from_value::<ValidatingWebhookConfiguration>(validating(client())).unwrap();
    }
}
