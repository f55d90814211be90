//! TLS that ends here: from a certificate and its key to an acceptor, and from a client's socket to its stream.

use super::certificate::{Moment, validity};
use super::files::Pem;
use super::refusal::{TlsRefusal, Until};
use super::session::Session;
use super::stream::{Broken, TlsStream};
use super::{Offer, provider};
use crate::http1::status::Canned;
use crate::proxy::turned_away::{self, Caller, TurnedAway};
use crate::table::PoolEntry;
use crate::worker::Worker;
use arc_swap::ArcSwap;
use evenkeel_wire::TlsVersion;
use rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert, UnbufferedServerConnection};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, PeerIncompatible, ServerConfig, SupportedProtocolVersion, version};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// From the first byte to the handshake's end.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long, and for how many bytes, a client that is turned away is listened to: a hard close could take our word from it.
pub(super) const LINGER: (Duration, usize) = (Duration::from_secs(1), 64 * 1024);
/// Tickets that each client gets; one is used for each connection that goes on with a session.
const TICKETS: usize = 2;

/// Ends TLS with one certificate, which may be exchanged while it is used.
pub(crate) struct Acceptor {
    config: ArcSwap<ServerConfig>,
    /// What lasts when the certificate doesn't: a client may go on with its session.
    shape: Shape,
}

/// All but the certificate.
pub(super) struct Shape {
    offer: Offer,
    min_version: TlsVersion,
    tickets: Arc<dyn ProducesTickets>,
}

/// A certificate that is valid now, with its key.
pub(super) struct Pair {
    key: Arc<CertifiedKey>,
    /// The last moment of the certificate.
    pub(super) until: Moment,
}

impl Pair {
    /// From files; `now` must be in the certificate's life.
    pub(super) fn new(certificate: &Pem, key: &Pem, now: Moment) -> Result<Self, TlsRefusal> {
        let chain = certificate.certificates()?;
        let path = || certificate.path.clone();
        let own = chain.first().ok_or_else(|| TlsRefusal::NoCertificate { path: path() })?;
        let unknown = || TlsRefusal::BadCertificate { path: path(), detail: "no life that can be read".into() };
        let valid = validity(own).ok_or_else(unknown)?;
        let until = *valid.end();
        let signing = key.signing_key()?;
        let pair = CertifiedKey::new(chain, signing);
        match pair.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                return Err(TlsRefusal::KeyMismatch { certificate: path(), key: key.path.clone() });
            }
            Err(error) => return Err(TlsRefusal::BadCertificate { path: path(), detail: error.to_string() }),
        }
        if until < now {
            return Err(TlsRefusal::Expired { path: path(), until: Until(until) });
        }
        if now < *valid.start() {
            return Err(TlsRefusal::NotYetValid { path: path(), from: Until(*valid.start()) });
        }
        Ok(Self { key: Arc::new(pair), until })
    }
}

impl Shape {
    pub(super) fn new(offer: Offer, min_version: TlsVersion) -> Result<Self, TlsRefusal> {
        // Sessions are the clients' to keep: nothing here grows with them.
        let tickets = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| TlsRefusal::Unusable(error.to_string()))?;
        Ok(Self { offer, min_version, tickets })
    }

    fn config(&self, pair: &Pair) -> Result<ServerConfig, TlsRefusal> {
        let versions: &[&SupportedProtocolVersion] = match self.min_version {
            TlsVersion::V1_2 => &[&version::TLS13, &version::TLS12],
            TlsVersion::V1_3 => &[&version::TLS13],
        };
        let own: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(pair.key.clone()));
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|error| TlsRefusal::Unusable(error.to_string()))?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(own);
        config.ticketer = self.tickets.clone();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = TICKETS;
        config.alpn_protocols = self.offer.alpn();
        Ok(config)
    }
}

impl Acceptor {
    pub(super) fn new(shape: Shape, pair: &Pair) -> Result<Self, TlsRefusal> {
        Ok(Self { config: ArcSwap::from_pointee(shape.config(pair)?), shape })
    }

    /// Handshakes that begin from here on use this certificate.
    pub(super) fn exchange(&self, pair: &Pair) -> Result<(), TlsRefusal> {
        self.config.store(Arc::new(self.shape.config(pair)?));
        Ok(())
    }

    pub(super) fn begin(&self, socket: TcpStream) -> Result<Box<TlsStream>, Error> {
        let connection = UnbufferedServerConnection::new(self.config.load_full())?;
        Ok(Box::new(TlsStream::new(socket, Session::Server(connection))))
    }
}

/// The handshake alone, for tests of what comes after it.
#[cfg(test)]
pub(super) async fn shake(acceptor: &Acceptor, socket: TcpStream) -> Result<Box<TlsStream>, Broken> {
    let mut stream = acceptor.begin(socket).map_err(Broken::Tls)?;
    let shaken = poll_fn(|cx| stream.poll_handshake(cx)).await;
    stream.try_send();
    shaken.map(|()| stream)
}

/// The handshake with a client. `None`: it was turned away, which is counted for `pool`, said, and told to the client where
/// that is possible.
pub(crate) async fn accept(
    worker: &Worker,
    pool: &PoolEntry,
    acceptor: &Acceptor,
    socket: TcpStream,
    caller: Caller,
) -> Option<Box<TlsStream>> {
    let mut stream = match acceptor.begin(socket) {
        Ok(stream) => stream,
        Err(error) => {
            turned_away::note(worker, pool, caller, TurnedAway::TlsHandshake, error);
            return None;
        }
    };
    let shaken = timeout(HANDSHAKE_TIMEOUT, poll_fn(|cx| stream.poll_handshake(cx))).await;
    let (reason, detail) = match shaken {
        Ok(Ok(())) => return Some(stream),
        Ok(Err(broken)) => (reason(&broken)?, detail(broken)),
        Err(_) => (TurnedAway::TlsTimeout, String::new()),
    };
    turned_away::note(worker, pool, caller, reason, detail);
    // Boxed: no connection that is welcome carries the room for this along.
    let _ = timeout(LINGER.0, Box::pin(farewell(stream, reason))).await;
    None
}

/// Why a handshake ended; nothing to say of who comes and goes without a word, as probes do.
fn reason(broken: &Broken) -> Option<TurnedAway> {
    use rustls::AlertDescription::ProtocolVersion;
    Some(match broken {
        Broken::Ended { silent: true } => return None,
        Broken::Ended { silent: false } | Broken::Socket(_) => TurnedAway::TlsClosed,
        Broken::NoTls(first) if is_http(*first) => TurnedAway::PlainHttp,
        Broken::NoTls(_) => TurnedAway::TlsExpected,
        Broken::Tls(error) => match error {
            Error::AlertReceived(ProtocolVersion) => TurnedAway::TlsVersion,
            Error::AlertReceived(_) => TurnedAway::TlsAlert,
            Error::NoApplicationProtocol => TurnedAway::TlsProtocol,
            // TLS 1.2 brought that extension: who has none of it is older (RFC 5246, section 7.4.1.4.1).
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            ) => TurnedAway::TlsVersion,
            Error::PeerIncompatible(
                PeerIncompatible::NoCipherSuitesInCommon
                | PeerIncompatible::NoKxGroupsInCommon
                | PeerIncompatible::NoSignatureSchemesInCommon
                | PeerIncompatible::NoEcPointFormatsInCommon,
            ) => TurnedAway::TlsCipher,
            _ => TurnedAway::TlsHandshake,
        },
    })
}

/// A method begins with capital letters, and so does the preface of HTTP/2.
pub(super) fn is_http(first: [u8; 4]) -> bool {
    first[0].is_ascii_uppercase() && first.iter().all(|byte| byte.is_ascii_uppercase() || matches!(byte, 0 | b' ' | b'-' | b'_'))
}

fn detail(broken: Broken) -> String {
    match broken {
        // What a client sent is its own affair; that it was no TLS is said by the reason.
        Broken::NoTls(_) | Broken::Ended { .. } => String::new(),
        Broken::Tls(error) => error.to_string(),
        Broken::Socket(error) => error.to_string(),
    }
}

/// What a client is told that speaks plain HTTP.
pub(super) fn told_in_plain() -> Vec<u8> {
    let (reason, advice) = (TurnedAway::PlainHttp.as_str(), "this port speaks TLS; use https");
    let mut answer = Vec::new();
    Canned { status: 400, reason, advice, hint: "", close: true, to_head: false }.write(&mut answer);
    answer
}

/// Sends what the library or this proxy has to say, and waits until the client has had a chance to hear it.
async fn farewell(mut stream: Box<TlsStream>, reason: TurnedAway) {
    if reason == TurnedAway::PlainHttp {
        stream.send_plainly(&told_in_plain());
    }
    let sent = poll_fn(|cx| stream.poll_send(cx)).await;
    linger(stream.into_socket(), sent.is_ok()).await;
}

/// Ends the writing side and reads on until the client has ended its own, within bounds.
pub(super) async fn linger(mut socket: TcpStream, told: bool) {
    if !told || socket2::SockRef::from(&socket).shutdown(std::net::Shutdown::Write).is_err() {
        return;
    }
    let (mut bytes, mut buffer) = (LINGER.1, [0; 1024]);
    while let Ok(count @ 1..) = socket.read(&mut buffer).await {
        bytes = bytes.saturating_sub(count);
        if bytes == 0 {
            return;
        }
    }
}
