//! TLS over real sockets, with certificates that the tests make: this stream against itself, and against the library's own
//! buffered connection, which is another implementation of everything but the protocol.

mod handshakes;
mod reloads;
mod streams;

use super::*;
use crate::metrics::Registry;
use crate::table::{PoolEntry, Table};
use crate::worker::{Shared, Worker};
use evenkeel_wire::{ListenerTls, Protocol, TlsVersion, Upstream, UpstreamTls, Verification};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

const NAME: &str = "a.example";
/// Longer than anything here takes; a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test on one thread, as a worker does.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    let tested = runtime.expect("a runtime").block_on(async { tokio::time::timeout(PATIENCE, test).await });
    tested.expect("the test hangs");
}

/// An authority, and what it writes into files.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("writes");
        Self { issuer, folder }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn text(&self, file: &str) -> String {
        self.path(file).to_str().expect("text").into()
    }

    /// A certificate for this name, valid from one year to another, and its key, in PEM.
    fn issue(&self, name: &str, years: (i32, i32)) -> (String, String) {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes a pair to `tls.crt` and `tls.key`.
    fn write(&self, (certificate, key): &(String, String)) {
        std::fs::write(self.path("tls.crt"), certificate).expect("writes");
        std::fs::write(self.path("tls.key"), key).expect("writes");
    }

    fn listener(&self, min_version: TlsVersion) -> ListenerTls {
        ListenerTls { certificate_file: self.text("tls.crt"), key_file: self.text("tls.key"), min_version }
    }

    fn upstream(&self, hostname: Option<&str>, verification: Verification) -> Upstream {
        let tls = UpstreamTls { hostname: hostname.map(Into::into), ca_file: Some(self.text("ca.pem")), verification };
        Upstream { tls: Some(tls), ..Upstream::default() }
    }

    /// An acceptor with a good certificate for [`NAME`].
    fn acceptor(&self, protocol: Protocol, min_version: TlsVersion) -> Arc<Acceptor> {
        self.write(&self.issue(NAME, (2020, 2090)));
        Files::default().acceptor(&self.listener(min_version), protocol, SystemTime::now()).expect("good files")
    }

    /// Another good pair for [`NAME`].
    fn pair(&self) -> server::Pair {
        self.write(&self.issue(NAME, (2020, 2090)));
        files::read_pair(&[self.path("tls.crt"), self.path("tls.key")], certificate::Moment(1_800_000_000)).expect("a good pair")
    }

    fn connector(&self, upstream: &Upstream) -> Arc<Connector> {
        Files::default().connector(upstream, Protocol::Http).expect("good files").expect("TLS")
    }

    /// The library's own client.
    fn client(&self, versions: &[&'static rustls::SupportedProtocolVersion], alpn: &[&str]) -> TlsConnector {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).expect("versions");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

fn name() -> ServerName<'static> {
    NAME.try_into().expect("a name")
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().expect("an address")), listener.accept());
    (near.expect("connects"), far.expect("a connection").0)
}
