//! One connection to the operator: address, TLS with a pinned CA, HTTP/2, one request. The token and the CA are read anew
//! each time, since both are rotated.

use super::{FeedError, Settings};
use bytes::Bytes;
use evenkeel_wire::MAX_LINE;
use h2::client::SendRequest;
use h2::{PingPong, RecvStream, SendStream};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// All of it, from the name to the response's head.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest token or CA file.
const MAX_SECRET: u64 = 256 * 1024;
/// The most of a refusal's body that is read.
const MAX_REFUSAL: usize = 1024;
const WINDOW: u32 = 256 * 1024;

/// Where the CA's certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ca {
    /// In PEM, right here.
    Pem(String),
    /// In a file, read at each connect.
    File(std::path::PathBuf),
}

/// An open feed.
pub(super) struct Connection {
    pub(super) lines: RecvStream,
    pub(super) answers: SendStream<Bytes>,
    pub(super) ping: PingPong,
    _driver: Driver,
}

/// Drives the connection until dropped.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects and sends `hello`, the first line.
pub(super) async fn connect(settings: &Settings, hello: Vec<u8>) -> Result<Connection, FeedError> {
    match tokio::time::timeout(PATIENCE, open(settings, hello)).await {
        Ok(result) => result,
        Err(_) => Err(FeedError::NoAnswer(PATIENCE.as_secs())),
    }
}

async fn open(settings: &Settings, hello: Vec<u8>) -> Result<Connection, FeedError> {
    let token = token(&settings.token_file)?;
    let connector = TlsConnector::from(Arc::new(tls(&settings.ca)?));
    let stream = dial(&settings.host, settings.port).await?;
    let _ = stream.set_nodelay(true);
    let name = ServerName::try_from(settings.host.clone()).map_err(|_| FeedError::Host(settings.host.clone()))?;
    let stream = connector.connect(name, stream).await.map_err(FeedError::Tls)?;
    let (requests, mut connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(16 * 1024)
        .max_concurrent_streams(0)
        .enable_push(false)
        .handshake::<_, Bytes>(stream)
        .await?;
    let ping = connection.ping_pong().ok_or(FeedError::Ended)?;
    let driver = Driver(tokio::spawn(async move {
        // Its errors show on the stream too.
        let _ = connection.await;
    }));
    let (lines, answers) = request(requests, settings, token, hello).await?;
    Ok(Connection { lines, answers, ping, _driver: driver })
}

async fn request(
    requests: SendRequest<Bytes>,
    settings: &Settings,
    token: HeaderValue,
    hello: Vec<u8>,
) -> Result<(RecvStream, SendStream<Bytes>), FeedError> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(settings.uri.clone())
        .header(AUTHORIZATION, token)
        .header(CONTENT_TYPE, "application/jsonl")
        .body(())
        .map_err(|_| FeedError::Host(settings.host.clone()))?;
    let (answer, mut answers) = requests.ready().await?.send_request(request, false)?;
    answers.send_data(hello.into(), false)?;
    let (head, mut body) = answer.await?.into_parts();
    if head.status == StatusCode::OK {
        return Ok((body, answers));
    }
    let mut text = Vec::new();
    while let Some(Ok(part)) = body.data().await {
        let _ = body.flow_control().release_capacity(part.len());
        text.extend_from_slice(&part);
        if text.len() >= MAX_REFUSAL {
            break;
        }
    }
    text.truncate(MAX_REFUSAL);
    let text = String::from_utf8_lossy(&text).trim().replace(char::is_control, " ");
    Err(FeedError::Refused { status: head.status, text })
}

/// The first of the host's addresses that answers.
async fn dial(host: &str, port: u16) -> Result<TcpStream, FeedError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let resolve = |source| FeedError::Resolve { host: host.into(), source };
    let addresses = tokio::net::lookup_host((bare, port)).await.map_err(resolve)?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(source) => last = Some(FeedError::Connect { address, source }),
        }
    }
    Err(last.unwrap_or_else(|| resolve(std::io::Error::other("the name has no address"))))
}

fn token(path: &Path) -> Result<HeaderValue, FeedError> {
    let token = read(path).map_err(|source| FeedError::Token { path: path.into(), source })?;
    let bad = || FeedError::Token { path: path.into(), source: std::io::Error::other("it holds no token") };
    if token.trim().is_empty() {
        return Err(bad());
    }
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| bad())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Trusts these CAs and no other.
fn tls(ca: &Ca) -> Result<ClientConfig, FeedError> {
    let pem = match ca {
        Ca::Pem(pem) => pem.clone(),
        Ca::File(path) => read(path).map_err(|source| FeedError::Ca(format!("{}: {source}", path.display())))?,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| FeedError::Ca(error.to_string()))?;
        roots.add(certificate).map_err(|error| FeedError::Ca(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(FeedError::Ca("it holds no certificate in PEM".into()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let mut config =
        versions.map_err(|error| FeedError::Ca(error.to_string()))?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_SECRET).read_to_string(&mut text)?;
    Ok(text)
}

impl Connection {
    /// Sends a line when the operator has room for it; a reader that makes no room isn't waited for long.
    pub(super) async fn answer(&mut self, line: Vec<u8>) -> Result<(), FeedError> {
        debug_assert!(line.len() <= MAX_LINE);
        let sending = async {
            self.answers.reserve_capacity(line.len());
            while self.answers.capacity() < line.len() {
                std::future::poll_fn(|cx| self.answers.poll_capacity(cx)).await.ok_or(FeedError::Ended)??;
            }
            self.answers.send_data(line.into(), false).map_err(FeedError::from)
        };
        tokio::time::timeout(PATIENCE, sending).await.map_err(|_| FeedError::NoAnswer(PATIENCE.as_secs()))?
    }
}
