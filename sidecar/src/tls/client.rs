//! TLS that begins here: from the authorities that are believed to a connector, and from a socket to an endpoint's stream.

use super::files::Pem;
use super::refusal::TlsRefusal;
use super::session::Session;
use super::stream::{Alpn, Broken, TlsStream};
use super::{Offer, provider};
use crate::proxy::turned_away::Said;
use arc_swap::ArcSwap;
use evenkeel_wire::Verification;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{UnbufferedClientConnection, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, version};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpStream;

/// Begins TLS to the endpoints of one pool. The authorities may be exchanged while it is used.
pub(crate) struct Connector {
    configs: ArcSwap<Configs>,
    shape: Shape,
}

/// One belief, and what is offered by it.
struct Configs {
    http: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    nothing: Arc<ClientConfig>,
}

/// All but the authorities.
pub(super) struct Shape {
    verification: Verification,
    /// What is asked for; absent: the endpoint's address, which isn't sent.
    name: Option<ServerName<'static>>,
}

/// Why there is no TLS with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsFailure {
    /// Its certificate isn't believed: another name, an unknown authority, or its life is over.
    Certificate,
    /// It refused: nothing in common, or an alert of its own.
    Refused,
    /// It speaks something else.
    NoTls,
    /// It ended the connection instead.
    Closed,
}

impl TlsFailure {
    /// The word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "Certificate",
            Self::Refused => "Refused",
            Self::NoTls => "NoTls",
            Self::Closed => "Closed",
        }
    }

    /// What is wrong and what to do, for people.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Certificate => "the endpoint's certificate isn't believed; see spec.upstream.tls of the pool",
            Self::Refused => "the endpoint refuses TLS as it is offered; see spec.upstream of the pool",
            Self::NoTls => "the endpoint speaks no TLS; see spec.upstream.tls of the pool",
            Self::Closed => "the endpoint ends the connection in the midst of the TLS handshake",
        }
    }

    fn of(broken: &Broken) -> Self {
        match broken {
            Broken::NoTls(_) => Self::NoTls,
            Broken::Ended { .. } | Broken::Socket(_) => Self::Closed,
            Broken::Tls(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => Self::Certificate,
            Broken::Tls(_) => Self::Refused,
        }
    }
}

impl Shape {
    pub(super) fn new(verification: Verification, hostname: Option<&str>) -> Result<Self, TlsRefusal> {
        let parse = |name: &str| ServerName::try_from(name.to_owned()).map_err(|_| TlsRefusal::BadName(name.into()));
        let name = hostname.map(parse).transpose()?;
        if name.is_none() && verification == Verification::Full {
            return Err(TlsRefusal::NoName);
        }
        Ok(Self { verification, name })
    }

    /// Whether anything is believed because of an authority.
    pub(super) fn needs_roots(&self) -> bool {
        self.verification != Verification::Off
    }

    fn configs(&self, authorities: Option<&Pem>) -> Result<Configs, TlsRefusal> {
        let roots = authorities.map(roots).transpose()?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| TlsRefusal::Unusable(error.to_string()))?;
        let verifier: Arc<dyn ServerCertVerifier> = match (self.verification, roots) {
            (Verification::Off, _) => Arc::new(Nameless { roots: None, provider: provider() }),
            (_, None) => return Err(TlsRefusal::NoSystemRoots),
            (Verification::ChainOnly, roots) => Arc::new(Nameless { roots, provider: provider() }),
            (Verification::Full, Some(roots)) => WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
                .build()
                .map_err(|error| TlsRefusal::Unusable(error.to_string()))?,
        };
        let nothing = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        let offering = |offer: Offer| {
            let mut config = nothing.clone();
            config.alpn_protocols = offer.alpn();
            Arc::new(config)
        };
        Ok(Configs {
            http: offering(Offer::Http),
            http1: offering(Offer::Http1),
            http2: offering(Offer::Http2),
            nothing: offering(Offer::Nothing),
        })
    }
}

/// Certificates that others are believed by. One that isn't to be understood is left out where there are others: systems' bundles
/// have some that are too old.
fn roots(authorities: &Pem) -> Result<RootCertStore, TlsRefusal> {
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(authorities.certificates()?);
    match (added, ignored) {
        (0, 0) => Err(TlsRefusal::NoCertificate { path: authorities.path.clone() }),
        (0, _) => {
            Err(TlsRefusal::BadCertificate { path: authorities.path.clone(), detail: "no authority can be made of it".into() })
        }
        _ => Ok(roots),
    }
}

impl Connector {
    pub(super) fn new(shape: Shape, authorities: Option<&Pem>) -> Result<Self, TlsRefusal> {
        Ok(Self { configs: ArcSwap::from_pointee(shape.configs(authorities)?), shape })
    }

    /// Handshakes that begin from here on believe these authorities.
    pub(super) fn exchange(&self, authorities: &Pem) -> Result<(), TlsRefusal> {
        self.configs.store(Arc::new(self.shape.configs(Some(authorities))?));
        Ok(())
    }

    /// The handshake with an endpoint; how long it may take is the caller's affair. The library's words on a failure are logged,
    /// as they may tell what to do, unless much has been `said` lately.
    pub(crate) async fn connect(&self, socket: TcpStream, offer: Offer, said: &Said) -> Result<Box<TlsStream>, TlsFailure> {
        let endpoint = socket.peer_addr().map_err(|_| TlsFailure::Closed)?;
        let name = self.shape.name.clone().unwrap_or_else(|| ServerName::from(endpoint.ip()));
        let configs = self.configs.load_full();
        let config = match offer {
            Offer::Http => &configs.http,
            Offer::Http1 => &configs.http1,
            Offer::Http2 => &configs.http2,
            Offer::Nothing | Offer::Tls => &configs.nothing,
        };
        let shaken = match UnbufferedClientConnection::new(config.clone(), name) {
            Ok(connection) => shake(socket, connection).await,
            Err(error) => Err(Broken::Tls(error)),
        };
        let shaken = match shaken {
            // Without ALPN an endpoint may still speak HTTP/1.1, but not HTTP/2 (RFC 9113, section 3.2).
            Ok(stream) if offer == Offer::Http2 && stream.alpn() != Alpn::Http2 => Err(Broken::Tls(Error::NoApplicationProtocol)),
            shaken => shaken,
        };
        shaken.map_err(|broken| {
            let reason = TlsFailure::of(&broken);
            let detail = std::io::Error::from(broken);
            if let Some(unsaid) = said.admit(Instant::now()) {
                tracing::warn!(%endpoint, reason = reason.as_str(), %detail, unsaid, "no TLS with the endpoint");
            }
            reason
        })
    }
}

async fn shake(socket: TcpStream, connection: UnbufferedClientConnection) -> Result<Box<TlsStream>, Broken> {
    let mut stream = Box::new(TlsStream::new(socket, Session::Client(connection)));
    stream.begin()?;
    let shaken = poll_fn(|cx| stream.poll_handshake(cx)).await;
    if shaken.is_err() {
        // The endpoint may hear why; nobody waits for that.
        stream.try_send();
    }
    shaken.map(|()| stream)
}

/// Believes a certificate whatever its name: if authorities are there by them, else any. That the endpoint has its key is
/// verified all the same.
#[derive(Debug)]
struct Nameless {
    roots: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Nameless {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&ParsedCertificate::try_from(own)?, roots, chain, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
