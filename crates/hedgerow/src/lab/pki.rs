//! Certificates and kubeconfigs of a cluster: one CA, a front-proxy CA, a key for service-account
//! tokens, and a certificate for each component. P-256 throughout.
//!
//! Who each client is (organisation, common name) is fixed by Kubernetes: "PKI certificates and
//! requirements" in its documentation.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};

use super::{KUBERNETES_SERVICE, PUBLIC_ENDPOINT};

/// How long certificates hold. A lab lives for minutes or days.
const VALID: Duration = Duration::from_secs(365 * 24 * 3600);
/// How far the beginning lies in the past, for clocks that were set back.
const BACKDATED: Duration = Duration::from_secs(3600);

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, PEM.
    pub certificate: String,
    /// Its key, PEM.
    pub key: String,
}

/// A certificate and its key, PEM.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key, PKCS #8.
    pub key: String,
}

/// Whom a certificate names.
#[derive(Debug, Default)]
pub struct Subject<'a> {
    /// Common name: the Kubernetes user.
    pub name: &'a str,
    /// Organisation: the Kubernetes group.
    pub group: Option<&'a str>,
    /// DNS names it serves under.
    pub dns: &'a [&'a str],
    /// Addresses it serves at; with `dns` empty too, the certificate is a client's only.
    pub addresses: &'a [Ipv4Addr],
}

impl Authority {
    /// A new self-signed authority.
    pub fn new(name: &str) -> Result<Authority> {
        let mut params = params(name)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = new_key()?;
        let certificate = params
            .self_signed(&key)
            .with_context(|| format!("signing the authority '{name}'"))?
            .pem();
        let key_pem = key.serialize_pem();
        Ok(Authority { issuer: Issuer::new(params, key), certificate, key: key_pem })
    }

    /// Signs a certificate for `subject`; for clients, and for servers if it has names or addresses.
    pub fn sign(&self, subject: &Subject<'_>) -> Result<Pair> {
        let what = || format!("signing the certificate of '{}'", subject.name);
        let mut params = params(subject.name).with_context(what)?;
        if let Some(group) = subject.group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        for name in subject.dns {
            params.subject_alt_names.push(SanType::DnsName((*name).try_into().with_context(what)?));
        }
        for address in subject.addresses {
            params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(*address)));
        }
        if !params.subject_alt_names.is_empty() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let key = new_key()?;
        let certificate = params.signed_by(&key, &self.issuer).with_context(what)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn params(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + VALID).into();
    Ok(params)
}

fn new_key() -> Result<KeyPair> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("generating a P-256 key")
}

/// The authorities of a cluster.
pub struct ClusterPki {
    /// Signs every certificate but the front proxy's.
    pub ca: Authority,
    front_proxy: Authority,
}

impl ClusterPki {
    /// New authorities.
    pub fn new() -> Result<ClusterPki> {
        Ok(ClusterPki {
            ca: Authority::new("kubernetes")?,
            front_proxy: Authority::new("front-proxy-ca")?,
        })
    }

    /// Writes what the control plane at `address` needs into `folder`, and the administrator's
    /// kubeconfig, which names the API server `admin_server`, to `kubeconfig`.
    pub fn write_control_plane(
        &self,
        folder: &Path,
        (address, name): (Ipv4Addr, &str),
        admin_server: &str,
        kubeconfig: &Path,
    ) -> Result<()> {
        write(&folder.join("ca.crt"), &self.ca.certificate)?;
        write(&folder.join("ca.key"), &self.ca.key)?;
        write(&folder.join("front-proxy-ca.crt"), &self.front_proxy.certificate)?;
        let account_key = new_key()?;
        write(&folder.join("sa.key"), &account_key.serialize_pem())?;
        write(&folder.join("sa.pub"), &account_key.public_key_pem())?;
        let server = Subject {
            name: "kube-apiserver",
            dns: &[
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local",
                "localhost",
                name,
            ],
            addresses: &[address, KUBERNETES_SERVICE, PUBLIC_ENDPOINT, Ipv4Addr::LOCALHOST],
            ..Subject::default()
        };
        write_pair(folder, "apiserver", &self.ca.sign(&server)?)?;
        let to_kubelet = client("kube-apiserver-kubelet-client", Some("system:masters"));
        write_pair(folder, "apiserver-kubelet-client", &self.ca.sign(&to_kubelet)?)?;
        let front = self.front_proxy.sign(&client("front-proxy-client", None))?;
        write_pair(folder, "front-proxy-client", &front)?;
        let server = format!("https://{address}");
        for user in ["kube-controller-manager", "kube-scheduler"] {
            let path = folder.join(format!("{user}.kubeconfig"));
            self.write_kubeconfig(&path, &server, &client(&format!("system:{user}"), None))?;
        }
        let admin = client("kubernetes-admin", Some("system:masters"));
        self.write_kubeconfig(kubeconfig, admin_server, &admin)
    }

    /// Writes a kubeconfig for `user`.
    pub fn write_kubeconfig(&self, path: &Path, server: &str, user: &Subject<'_>) -> Result<()> {
        let pair = self.ca.sign(user)?;
        let base64 = |pem: &str| STANDARD.encode(pem);
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: hedgerow\n\
             clusters:\n- name: hedgerow\n  cluster:\n    server: {server}\n    \
             certificate-authority-data: {}\n\
             contexts:\n- name: hedgerow\n  context:\n    cluster: hedgerow\n    user: {user}\n\
             users:\n- name: {user}\n  user:\n    client-certificate-data: {}\n    \
             client-key-data: {}\n",
            base64(&self.ca.certificate),
            base64(&pair.certificate),
            base64(&pair.key),
            user = user.name,
        );
        write(path, &text)
    }
}

/// A subject that only ever is a client.
pub fn client<'a>(name: &'a str, group: Option<&'a str>) -> Subject<'a> {
    Subject { name, group, ..Subject::default() }
}

/// Writes `NAME.crt` and `NAME.key`.
pub fn write_pair(folder: &Path, name: &str, pair: &Pair) -> Result<()> {
    write(&folder.join(format!("{name}.crt")), &pair.certificate)?;
    write(&folder.join(format!("{name}.key")), &pair.key)
}

/// Writes a file that only root may read.
pub fn write(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_is_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kubeconfig");
        let pki = ClusterPki::new().expect("authorities");
        pki.write_kubeconfig(&path, "https://10.0.0.4", &client("someone", Some("group")))
            .expect("written");
        let read = kube::config::Kubeconfig::read_from(&path).expect("parses");
        let cluster = read.clusters[0].cluster.as_ref().expect("a cluster");
        assert_eq!(cluster.server.as_deref(), Some("https://10.0.0.4"));
        assert_eq!(read.auth_infos[0].name, "someone");
    }
}
