//! The webhook's certificates: an authority of our own and a short-lived server certificate.
//!
//! Everything is a function of the time given (seconds since 1970). A new authority is trusted
//! beside the old one until the old one ends, so that rotation never leaves the API server with a
//! bundle that does not know the certificate served.

use std::time::Duration;

use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::collections::BTreeMap;

const DAY: u64 = 24 * 3600;
/// Life of the authority.
const AUTHORITY_LIFE: u64 = 3650 * DAY;
/// A new authority is made when the old one has less left than this.
const AUTHORITY_MARGIN: u64 = 365 * DAY;
/// Life of the server certificate.
const SERVER_LIFE: u64 = 90 * DAY;
/// A new server certificate is made when the old one has less left than this.
const SERVER_MARGIN: u64 = 30 * DAY;
/// Certificates start this much in the past, for clocks that are behind.
const SKEW: u64 = 3600;

/// What the Secret holds. Texts are PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Material {
    /// The authority's certificate, followed by its predecessor where one is still trusted.
    pub bundle: String,
    /// The authority's key.
    pub authority_key: String,
    /// The server's certificate.
    pub certificate: String,
    /// The server's key.
    pub key: String,
    /// When the authority ends.
    pub authority_expires: u64,
    /// When the server certificate ends.
    pub expires: u64,
}

/// What must be done about the material.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Nothing.
    Keep,
    /// A new server certificate by the same authority.
    Server,
    /// A new authority and a new server certificate.
    Authority,
}

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
#[error("issuing the webhook's certificate for {names:?}: {source}")]
pub struct IssueError {
    names: Vec<String>,
    source: rcgen::Error,
}

/// Whether the material must be renewed at `now`.
pub fn renewal(material: Option<&Material>, now: u64) -> Renewal {
    match material {
        None => Renewal::Authority,
        Some(m) if m.authority_expires < now + AUTHORITY_MARGIN => Renewal::Authority,
        Some(m) if m.expires < now + SERVER_MARGIN => Renewal::Server,
        Some(_) => Renewal::Keep,
    }
}

/// The material as it should be at `now`: the old one where it is still good.
pub fn renew(old: Option<Material>, names: &[String], now: u64) -> Result<Material, IssueError> {
    let step = renewal(old.as_ref(), now);
    let failed = |source| IssueError { names: names.to_vec(), source };
    match (step, old) {
        (Renewal::Keep, Some(old)) => Ok(old),
        (Renewal::Server, Some(old)) => server(old, names, now).map_err(failed),
        (_, old) => {
            authority(old.as_ref(), now).and_then(|fresh| server(fresh, names, now)).map_err(failed)
        }
    }
}

/// A new authority, its predecessor (the first certificate of the old bundle) still trusted.
fn authority(old: Option<&Material>, now: u64) -> Result<Material, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    // The name differs between authorities, or a verifier would mix them up.
    params.distinguished_name.push(DnType::CommonName, format!("hedgerow webhook authority {now}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params, now, AUTHORITY_LIFE);
    let mut bundle = params.self_signed(&key)?.pem();
    const END: &str = "-----END CERTIFICATE-----\n";
    if let Some(old) = old.filter(|o| o.authority_expires > now)
        && let Some(end) = old.bundle.find(END)
    {
        bundle.push_str(&old.bundle[..end + END.len()]);
    }
    Ok(Material {
        bundle,
        authority_key: key.serialize_pem(),
        certificate: String::new(),
        key: String::new(),
        authority_expires: now + AUTHORITY_LIFE,
        expires: 0,
    })
}

fn server(from: Material, names: &[String], now: u64) -> Result<Material, rcgen::Error> {
    let issuer = Issuer::from_ca_cert_pem(&from.bundle, KeyPair::from_pem(&from.authority_key)?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, names[0].as_str());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, now, SERVER_LIFE);
    Ok(Material {
        certificate: params.signed_by(&key, &issuer)?.pem(),
        key: key.serialize_pem(),
        expires: now + SERVER_LIFE,
        ..from
    })
}

fn valid(params: &mut CertificateParams, now: u64, life: u64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now.saturating_sub(SKEW));
    params.not_after = epoch + Duration::from_secs(now + life);
}

impl Material {
    /// The data of the Secret.
    pub fn to_secret(&self) -> BTreeMap<String, ByteString> {
        [
            ("ca.crt", self.bundle.clone()),
            ("ca.key", self.authority_key.clone()),
            ("tls.crt", self.certificate.clone()),
            ("tls.key", self.key.clone()),
            ("ca-expires", self.authority_expires.to_string()),
            ("tls-expires", self.expires.to_string()),
        ]
        .map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())))
        .into()
    }

    /// Reads the data of the Secret; `None` where anything is missing or unreadable (then new
    /// material is made).
    pub fn from_secret(data: &BTreeMap<String, ByteString>) -> Option<Self> {
        let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
        let material = Self {
            bundle: text("ca.crt")?,
            authority_key: text("ca.key")?,
            certificate: text("tls.crt")?,
            key: text("tls.key")?,
            authority_expires: text("ca-expires")?.parse().ok()?,
            expires: text("tls-expires")?.parse().ok()?,
        };
        let key = KeyPair::from_pem(&material.authority_key).ok()?;
        Issuer::from_ca_cert_pem(&material.bundle, key).ok()?;
        KeyPair::from_pem(&material.key).ok()?;
        Some(material)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn names() -> Vec<String> {
        vec!["hedgerow-webhook.kube-system.svc".into()]
    }

    #[test]
    fn kept_while_good_and_read_back_from_the_secret() {
        let first = renew(None, &names(), NOW).unwrap();
        let read = Material::from_secret(&first.to_secret()).unwrap();
        assert_eq!(read, first);
        assert_eq!(renew(Some(read), &names(), NOW + 59 * DAY).unwrap(), first);
    }

    #[test]
    fn the_server_certificate_changes_under_the_same_authority() {
        let first = renew(None, &names(), NOW).unwrap();
        let later = renew(Some(first.clone()), &names(), NOW + 61 * DAY).unwrap();
        assert_eq!(later.bundle, first.bundle);
        assert_ne!(later.certificate, first.certificate);
        assert_eq!(later.expires, NOW + 151 * DAY);
    }

    #[test]
    fn a_new_authority_is_trusted_beside_the_old_one() {
        let first = renew(None, &names(), NOW).unwrap();
        let later = renew(Some(first.clone()), &names(), NOW + 3300 * DAY).unwrap();
        assert!(later.bundle.ends_with(&first.bundle) && later.bundle != first.bundle);
        assert_eq!(later.bundle.matches("BEGIN CERTIFICATE").count(), 2);
        let again = renew(Some(later.clone()), &names(), NOW + 6600 * DAY).unwrap();
        assert_eq!(again.bundle.matches("BEGIN CERTIFICATE").count(), 2);
    }

    #[test]
    fn a_spoilt_secret_is_replaced() {
        let mut data = renew(None, &names(), NOW).unwrap().to_secret();
        data.insert("tls.key".into(), ByteString(b"garbage".to_vec()));
        assert_eq!(Material::from_secret(&data), None);
        assert_eq!(Material::from_secret(&BTreeMap::new()), None);
        assert_eq!(renewal(None, NOW), Renewal::Authority);
    }
}
