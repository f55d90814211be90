//! The operator's own authority: a CA and one serving certificate for feed and webhook, made in process and kept in one
//! Secret. A leaf is made anew a month before its end and swapped under the listeners' feet; the CA stays as long as the
//! Secret does, because pods carry it.

use crate::blame::describe;
use arc_swap::ArcSwap;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 3_600);
const LEAF_LIFE: Duration = DAY.saturating_mul(90);
const RENEW_BEFORE: Duration = DAY.saturating_mul(30);
/// Clocks of nodes differ.
const BACKDATE: Duration = Duration::from_secs(3_600);
/// From one look at the Secret to the next.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(3_600);
const MANAGER: &str = "evenkeel-operator";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// The API server refused or couldn't be asked.
    #[error("{what}: {}; the chart creates it and lets the operator use it: is the release installed whole?", describe(.source))]
    Api {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// A certificate couldn't be made.
    #[error("a certificate can't be made: {0}")]
    Make(#[from] rcgen::Error),
    /// What was made isn't usable.
    #[error("the certificate can't be used: {0}")]
    Use(#[from] rustls::Error),
    /// Not PEM.
    #[error("the certificate isn't PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
}

/// What is made of what.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The operator's namespace.
    pub namespace: String,
    /// The Secret that keeps keys and certificates; it must exist.
    pub secret: String,
    /// The Services that the certificate is for.
    pub services: Vec<String>,
}

impl Settings {
    fn names(&self) -> Vec<String> {
        let namespace = &self.namespace;
        let names = |service| [format!("{service}.{namespace}.svc"), format!("{service}.{namespace}.svc.cluster.local")];
        self.services.iter().flat_map(names).collect()
    }
}

/// The Secret's content, all PEM.
#[derive(Clone, PartialEq, Eq)]
struct Material {
    ca_cert: String,
    ca_key: String,
    cert: String,
    key: String,
}

impl Material {
    fn from_secret(secret: &Secret) -> Option<Self> {
        let data = secret.data.as_ref()?;
        let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
        Some(Self { ca_cert: text("ca.crt")?, ca_key: text("ca.key")?, cert: text("tls.crt")?, key: text("tls.key")? })
    }

    fn into_data(self) -> BTreeMap<String, ByteString> {
        let Self { ca_cert, ca_key, cert, key } = self;
        let data = [("ca.crt", ca_cert), ("ca.key", ca_key), ("tls.crt", cert), ("tls.key", key)];
        data.map(|(name, text)| (name.into(), ByteString(text.into_bytes()))).into()
    }

    /// Everything anew.
    fn make(names: &[String], now: SystemTime) -> Result<Self, CertError> {
        let ca_key = KeyPair::generate()?;
        let ca_cert = ca_params().self_signed(&ca_key)?.pem();
        Self::make_leaf(ca_cert, ca_key.serialize_pem(), names, now)
    }

    fn make_leaf(ca_cert: String, ca_key: String, names: &[String], now: SystemTime) -> Result<Self, CertError> {
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = rcgen::date_time_ymd(1970, 1, 1) + since_1970;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, MANAGER);
        params.not_before = now - BACKDATE;
        params.not_after = now + LEAF_LIFE;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let issuer = Issuer::new(ca_params(), KeyPair::from_pem(&ca_key)?);
        let cert = params.signed_by(&key, &issuer)?.pem();
        Ok(Self { ca_cert, ca_key, cert, key: key.serialize_pem() })
    }

    fn certified(&self) -> Result<CertifiedKey, CertError> {
        let cert = CertificateDer::from_pem_slice(self.cert.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())?;
        Ok(CertifiedKey::from_der(vec![cert], key, &aws_lc_rs::default_provider())?)
    }

    /// Whether a client that trusts the CA accepts the leaf for every name at that time.
    fn is_accepted(&self, names: &[String], at: SystemTime) -> Result<bool, CertError> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca_cert.as_bytes())?)?;
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        let verifier = builder.build().map_err(|error| rustls::Error::General(error.to_string()))?;
        let certified = self.certified()?;
        let [leaf] = certified.cert.as_slice() else { return Ok(false) };
        let at = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        Ok(names.iter().all(|name| {
            let name = ServerName::try_from(name.as_str());
            name.is_ok_and(|name| verifier.verify_server_cert(leaf, &[], &name, &[], at).is_ok())
        }))
    }

    /// Keeps what is good: all of it, or the CA, or nothing.
    fn keep_or_make(self, names: &[String], now: SystemTime) -> Result<Self, CertError> {
        if self.is_accepted(names, now).unwrap_or(false) && self.is_accepted(names, now + RENEW_BEFORE).unwrap_or(false) {
            return Ok(self);
        }
        if let Ok(renewed) = Self::make_leaf(self.ca_cert, self.ca_key, names, now)
            && renewed.is_accepted(names, now).unwrap_or(false)
        {
            return Ok(renewed);
        }
        tracing::warn!("the stored CA can't be used; making a new one: pods injected before must be restarted");
        Self::make(names, now)
    }
}

/// The same for every CA of ours, so that a leaf can be signed with the key alone.
fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "evenkeel CA");
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Hands the newest certificate to each handshake.
#[derive(Debug)]
struct Resolver(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// The operator's CA and certificate.
pub struct Certs {
    names: Vec<String>,
    material: ArcSwap<Material>,
    resolver: Arc<Resolver>,
}

impl Certs {
    /// Takes what the Secret holds if it is good, else makes what is missing and stores it.
    pub async fn load(client: &kube::Client, settings: &Settings, now: SystemTime) -> Result<Self, CertError> {
        let names = settings.names();
        let material = store(client, settings, None, &names, now).await?;
        Self::try_new(names, material)
    }

    /// A CA and a certificate that are stored nowhere.
    pub fn make(names: Vec<String>, now: SystemTime) -> Result<Self, CertError> {
        let material = Material::make(&names, now)?;
        Self::try_new(names, material)
    }

    fn try_new(names: Vec<String>, material: Material) -> Result<Self, CertError> {
        let resolver = Arc::new(Resolver(ArcSwap::from_pointee(material.certified()?)));
        Ok(Self { names, material: ArcSwap::from_pointee(material), resolver })
    }

    /// The CA's certificate, PEM.
    pub fn ca_pem(&self) -> String {
        self.material.load().ca_cert.clone()
    }

    /// Serves the newest certificate; `alpn` are the protocols on offer, best first.
    pub fn server_config(&self, alpn: &[&str]) -> Result<Arc<ServerConfig>, CertError> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.resolver.clone());
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// Forever: keeps the leaf young.
    pub async fn maintain(&self, client: &kube::Client, settings: &Settings) {
        loop {
            tokio::time::sleep(RENEWAL_INTERVAL).await;
            if let Err(error) = self.renew(client, settings, SystemTime::now()).await {
                tracing::warn!(%error, "the certificate isn't renewed; trying again in an hour");
            }
        }
    }

    async fn renew(&self, client: &kube::Client, settings: &Settings, now: SystemTime) -> Result<(), CertError> {
        let current = Material::clone(&self.material.load());
        let material = store(client, settings, Some(current.clone()), &self.names, now).await?;
        if material != current {
            tracing::info!("serving a new certificate");
            self.resolver.0.store(Arc::new(material.certified()?));
            self.material.store(Arc::new(material));
        }
        Ok(())
    }
}

/// Reads the Secret, decides what to keep, writes it back if anything is new. A Secret that has lost its content gets
/// back what is in use.
async fn store(
    client: &kube::Client,
    settings: &Settings,
    current: Option<Material>,
    names: &[String],
    now: SystemTime,
) -> Result<Material, CertError> {
    let secrets = Api::<Secret>::namespaced(client.clone(), &settings.namespace);
    let failed = |verb: &str, source| {
        let what = format!("can't {verb} Secret {}/{}", settings.namespace, settings.secret);
        CertError::Api { what, source: Box::new(source) }
    };
    let mut secret = secrets.get(&settings.secret).await.map_err(|error| failed("read", error))?;
    let stored = Material::from_secret(&secret);
    let material = match stored.clone().or(current) {
        Some(material) => material.keep_or_make(names, now)?,
        None => Material::make(names, now)?,
    };
    if stored.as_ref() != Some(&material) {
        secret.data = Some(material.clone().into_data());
        // Refused if another has written meanwhile (its resourceVersion is sent along): then the other's is read next time.
        secrets.replace(&settings.secret, &PostParams::default(), &secret).await.map_err(|error| failed("write", error))?;
        tracing::info!(secret = settings.secret, "stored a new certificate");
    }
    Ok(material)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use axum::routing::get;
    use axum::{Json, Router};

    fn settings() -> Settings {
        Settings {
            namespace: "evenkeel-system".into(),
            secret: "evenkeel-certs".into(),
            services: vec!["evenkeel-operator".into(), "evenkeel-webhook".into()],
        }
    }

    fn names() -> Vec<String> {
        settings().names()
    }

    #[test]
    fn a_stored_certificate_is_kept_while_it_is_young() {
        let now = SystemTime::now();
        let made = Material::make(&names(), now).unwrap();
        assert!(made.is_accepted(&names(), now).unwrap());
        let secret = Secret { data: Some(made.clone().into_data()), ..Secret::default() };
        let read = Material::from_secret(&secret).unwrap();
        assert!(read.clone().keep_or_make(&names(), now + DAY).unwrap() == made);
        let renewed = read.keep_or_make(&names(), now + LEAF_LIFE - DAY).unwrap();
        assert!(renewed.ca_cert == made.ca_cert && renewed.cert != made.cert);
        assert!(renewed.is_accepted(&names(), now + LEAF_LIFE + DAY).unwrap());
        assert!(!made.is_accepted(&names(), now + LEAF_LIFE + DAY).unwrap());
    }

    #[test]
    fn a_new_name_makes_a_new_leaf_and_garbage_a_new_ca() {
        let now = SystemTime::now();
        let made = Material::make(&names()[..2], now).unwrap();
        let wider = made.clone().keep_or_make(&names(), now).unwrap();
        assert!(wider.ca_cert == made.ca_cert && wider.is_accepted(&names(), now).unwrap());
        for garbage in [
            Material { ca_key: "garbage".into(), cert: String::new(), ..made.clone() },
            Material { ca_cert: Material::make(&names(), now).unwrap().ca_cert, ..made.clone() },
        ] {
            let anew = garbage.keep_or_make(&names(), now).unwrap();
            assert!(anew.ca_cert != made.ca_cert && anew.is_accepted(&names(), now).unwrap());
        }
    }

    #[tokio::test]
    async fn the_secret_is_all_that_certificates_need() {
        let empty = async || Json(serde_json::json!({"metadata": {"name": "evenkeel-certs", "resourceVersion": "1"}}));
        let stored = async |Json(secret): Json<Secret>| Json(secret);
        let path = "/api/v1/namespaces/evenkeel-system/secrets/evenkeel-certs";
        let client = kube::Client::new(Router::new().route(path, get(empty).put(stored)), "default");
        let certs = Certs::load(&client, &settings(), SystemTime::now()).await.unwrap();
        assert!(certs.ca_pem().starts_with("-----BEGIN CERTIFICATE-----"));
    }
}
