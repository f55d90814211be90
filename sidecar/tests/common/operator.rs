//! An operator's feed in this process: TLS, HTTP/2, and a stream that the test writes line by line.

use bytes::Bytes;
use evenkeel_plan::Mode;
use evenkeel_sidecar::control::feed::{Ca, Settings};
use evenkeel_wire::{
    Algorithm, ClientFrame, ClientHello, Endpoint, Health, Listener, MAX_LINE, Policy, PoolName, Protocol, Retry, RetryOn,
    ServerFrame, ServerHello,
};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::net::SocketAddr;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::PATIENCE;

/// The only good token.
pub(crate) const TOKEN: &str = "the-token";

/// A feed that waits for sidecars.
pub(crate) struct Operator {
    pub(crate) address: SocketAddr,
    pub(crate) ca: String,
    streams: mpsc::UnboundedReceiver<Stream>,
    serving: JoinHandle<()>,
    folder: TempDir,
}

/// One sidecar's stream.
pub(crate) struct Stream {
    pub(crate) hello: ClientHello,
    answers: RecvStream,
    lines: SendStream<Bytes>,
    buffer: Vec<u8>,
}

impl Operator {
    pub(crate) async fn start() -> Self {
        let (ca, tls) = certificates();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("has an address");
        let (sender, streams) = mpsc::unbounded_channel();
        let serving = tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(tls));
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((request, response))) = connection.accept().await {
                        tokio::spawn(answer(request, response, sender.clone()));
                    }
                });
            }
        });
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("token"), TOKEN).expect("writes");
        Self { address, ca, streams, serving, folder }
    }

    /// How a sidecar finds this operator.
    pub(crate) fn settings(&self, pools: &[&str]) -> Settings {
        let port = self.address.port();
        Settings {
            uri: format!("https://localhost:{port}/v1/feed").parse().expect("a URL"),
            host: "localhost".into(),
            port,
            ca: Ca::Pem(self.ca.clone()),
            token_file: self.folder.path().join("token"),
            pools: pools.iter().map(|pool| (*pool).to_owned()).collect(),
            addresses: Mode::Embedded,
        }
    }

    pub(crate) fn set_token(&self, token: &str) {
        std::fs::write(self.folder.path().join("token"), token).expect("writes");
    }

    /// The next stream that a sidecar opens.
    pub(crate) async fn stream(&mut self) -> Stream {
        timeout(PATIENCE, self.streams.recv()).await.expect("a sidecar connects").expect("serves")
    }

    /// The same, greeted.
    pub(crate) async fn greeted(&mut self, lineage: &str) -> Stream {
        let mut stream = self.stream().await;
        stream.greet(lineage, None);
        stream
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(request: http::Request<RecvStream>, mut response: SendResponse<Bytes>, sender: mpsc::UnboundedSender<Stream>) {
    let good =
        request.headers().get("authorization").is_some_and(|value| value.as_bytes() == format!("Bearer {TOKEN}").as_bytes());
    let status = if good { 200 } else { 401 };
    let head = http::Response::builder().status(status).body(()).expect("a head");
    let mut lines = response.send_response(head, false).expect("sends");
    if !good {
        let _ = lines.send_data("who are you?".into(), true);
        return;
    }
    let nobody = ClientHello { versions: Vec::new(), lineage: None, pools: Vec::new(), have: Default::default() };
    let mut stream = Stream { hello: nobody, answers: request.into_body(), lines, buffer: Vec::new() };
    if let Some(ClientFrame::Hello(hello)) = stream.read().await {
        stream.hello = hello;
        let _ = sender.send(stream);
    }
}

impl Stream {
    pub(crate) fn send(&mut self, frame: ServerFrame) {
        self.write(frame.encode());
    }

    /// The first line.
    pub(crate) fn greet(&mut self, lineage: &str, zone: Option<&str>) {
        let (lineage, zone) = (lineage.into(), zone.map(str::to_owned));
        self.send(ServerFrame::Hello(ServerHello { version: 1, lineage, zone }));
    }

    /// Any bytes.
    pub(crate) fn write(&mut self, bytes: Vec<u8>) {
        self.lines.send_data(bytes.into(), false).expect("is open");
    }

    /// A whole pool.
    pub(crate) fn pool(&mut self, name: &str, revision: u64, policy: &Policy, endpoints: &[Endpoint]) {
        self.write(ServerFrame::encode_pool(&pool_name(name), revision, policy, endpoints));
    }

    /// The sidecar's next line.
    pub(crate) async fn answer(&mut self) -> ClientFrame {
        timeout(PATIENCE, self.read()).await.expect("is answered").expect("is open")
    }

    pub(crate) async fn expect_ack(&mut self, name: &str, revision: u64) {
        assert_eq!(self.answer().await, ClientFrame::Ack { pool: pool_name(name), revision });
    }

    /// The reason of the nack that must come.
    pub(crate) async fn expect_nack(&mut self, name: &str) -> String {
        match self.answer().await {
            ClientFrame::Nack(nack) if nack.pool == pool_name(name) => nack.reason,
            other => panic!("no nack of {name}: {other:?}"),
        }
    }

    /// Whether the sidecar has ended the stream.
    pub(crate) async fn is_ended(&mut self) -> bool {
        timeout(PATIENCE, self.read()).await.expect("ends").is_none()
    }

    async fn read(&mut self) -> Option<ClientFrame> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=at).collect();
                return Some(ClientFrame::decode(&line).expect("a frame"));
            }
            let bytes = self.answers.data().await?.ok()?;
            let _ = self.answers.flow_control().release_capacity(bytes.len());
            self.buffer.extend_from_slice(&bytes);
            assert!(self.buffer.len() <= MAX_LINE);
        }
    }
}

pub(crate) fn pool_name(name: &str) -> PoolName {
    name.parse().expect("a pool's name")
}

/// A policy with one TCP listener.
pub(crate) fn policy(port: u16) -> Policy {
    Policy {
        requires: Vec::new(),
        generation: 1,
        listeners: vec![Listener::new("tcp", port, Protocol::Tcp)],
        algorithm: Algorithm::LeastConnections { choice_count: 2 },
        slow_start: None,
        zone_aware: false,
        subset: None,
        active: None,
        passive: None,
        panic_threshold: 50,
        retry: Retry { max_retries: 1, on: vec![RetryOn::ConnectFailure] },
        connect_timeout_ms: 1000,
        upstream: Default::default(),
        client_connections: Default::default(),
        limits: Default::default(),
        timeouts: Default::default(),
    }
}

/// An endpoint as a pod would be: its identity isn't its address.
pub(crate) fn endpoint(uid: &str, address: SocketAddr) -> Endpoint {
    let id = format!("{uid}:{}", address.port());
    Endpoint {
        ring_key: id.clone(),
        id,
        address: address.ip(),
        port: address.port(),
        weight: 100,
        priority: 0,
        zone: None,
        node: None,
        target: None,
        health: Health::Usable,
    }
}

/// A CA of its own, and a server that it vouches for.
fn certificates() -> (String, ServerConfig) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters").signed_by(&key, &ca).expect("signs");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).expect("a key"))
        .expect("a certificate");
    config.alpn_protocols = vec![b"h2".to_vec()];
    (ca.pem(), config)
}
