//! A protocol on the wrong listener, certificates that don't fit, endpoints that speak something else: a typed reason in metric and
//! log, and in an answer where one can be sent; other connections go on.

use evenkeel_e2e::stand::PATIENCE;
use evenkeel_e2e::stand::certificate::Certificate;
use evenkeel_e2e::stand::client::{Heard, Say, has_answers, say};
use evenkeel_e2e::stand::process::{Process, free_ports, local};
use evenkeel_e2e::stand::recorder::{Answer, Recorder};
use evenkeel_e2e::stand::request::contains;
use evenkeel_e2e::stand::server2::{Conversation, Server};
use evenkeel_e2e::stand::sidecar::{Setup, Sidecar};
use rcgen::{CertificateParams, KeyPair};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A sidecar in front of a recorder.
struct Scene {
    backend: Recorder,
    sidecar: Sidecar,
    folder: TempDir,
}

impl Scene {
    fn new(listener: impl FnOnce(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let backend = Recorder::start().expect("a backend");
        let setup = Setup::listening(&listener(folder.path()), &[backend.address]);
        let sidecar = Sidecar::start(&setup, folder.path()).expect("starts");
        Self { backend, sidecar, folder }
    }

    /// What comes back until the sidecar ends the connection.
    fn hear(&self, bytes: &[u8]) -> Heard {
        let heard = say(self.sidecar.port, &Say { bytes, cuts: &[] }, PATIENCE, |_| false).expect("connects");
        assert!(heard.ended, "left open: {}", heard.bytes.escape_ascii());
        heard
    }

    /// That it is counted and logged under this reason, and nothing went upstream.
    fn was_turned_away(&self, reason: &str) {
        self.sidecar.wait_for_metric("evenkeel_connections_refused_total", &[("reason", reason)], 1.0).expect("is counted");
        let log = self.sidecar.process.log();
        assert!(log.contains("connection turned away") && log.contains(reason), "{log}");
        assert_eq!(self.backend.take().expect("is quiet"), [], "after {reason}");
    }
}

/// curl's exit and what it printed.
fn curl(arguments: &[&str]) -> (bool, String) {
    let output =
        Command::new("curl").args(["--silent", "--show-error", "--max-time", "20"]).args(arguments).output().expect("curl");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// That a good client of a TLS listener is served.
fn serves_tls(scene: &Scene) {
    let ca = scene.folder.path().join("localhost.crt").display().to_string();
    assert_eq!(curl(&["--cacert", &ca, &format!("https://localhost:{}/", scene.sidecar.port)]), (true, "ok".into()));
    scene.backend.take().expect("is quiet");
}

fn tls_listener(folder: &Path) -> String {
    Certificate::make(folder, "localhost", 2).expect("a certificate").listener()
}

#[test]
fn plain_http_on_a_tls_listener_is_told_so_in_plain_http() {
    let scene = Scene::new(tls_listener);
    let heard = scene.hear(GET);
    assert_eq!(heard.status(), 400, "{}", heard.bytes.escape_ascii());
    scene.was_turned_away("PlainHttp");
    serves_tls(&scene);
}

#[test]
fn what_is_no_tls_on_a_tls_listener_is_turned_away() {
    let scene = Scene::new(tls_listener);
    scene.hear(b"*1\r\n$4\r\nPING\r\n");
    scene.was_turned_away("TlsExpected");
    serves_tls(&scene);
}

#[test]
fn tls_on_a_plain_listener_is_turned_away_with_an_alert() {
    let scene = Scene::new(|_| "protocol: HTTP".into());
    let (served, said) = curl(&["--insecure", &format!("https://localhost:{}/", scene.sidecar.port)]);
    assert!(!served && said.contains("alert"), "{said}");
    scene.was_turned_away("TlsUnexpected");
    let good = say(scene.sidecar.port, &Say { bytes: GET, cuts: &[] }, PATIENCE, |heard| has_answers(heard, &[], 1));
    assert_eq!(good.expect("connects").status(), 200);
}

#[test]
fn versions_and_protocols_that_the_listener_does_not_speak_are_turned_away() {
    let scene = Scene::new(tls_listener);
    let at = format!("127.0.0.1:{}", scene.sidecar.port);
    let client = |arguments: &[&str]| {
        let output = Command::new("timeout").args(["20", "openssl", "s_client", "-connect", &at]).args(arguments).output();
        assert!(!output.expect("openssl").status.success(), "{arguments:?} was let in");
    };
    client(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    scene.was_turned_away("TlsVersion");
    client(&["-alpn", "imap"]);
    scene.was_turned_away("TlsProtocol");
    serves_tls(&scene);
}

#[test]
fn proxy_headers_are_asked_for_by_those_who_are_trusted_and_taken_from_no_one_else() {
    let scene = Scene::new(|_| "protocol: HTTP, proxyProtocol: {trusted: [127.0.0.0/8]}".into());
    scene.hear(GET);
    scene.was_turned_away("ProxyHeaderMissing");
    scene.hear(b"PROXY TCP4 10.0.0.1 10.0.0.2 1 70000\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    scene.was_turned_away("ProxyHeaderBad");
    let good = [b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", GET].concat();
    let good = say(scene.sidecar.port, &Say { bytes: &good, cuts: &[] }, PATIENCE, |heard| has_answers(heard, &[], 1));
    assert_eq!(good.expect("connects").status(), 200);
    let scene = Scene::new(|_| "protocol: HTTP, proxyProtocol: {trusted: [10.0.0.0/8]}".into());
    scene.hear(&[b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", GET].concat());
    scene.was_turned_away("ProxyHeaderForbidden");
}

#[test]
fn names_that_no_pool_has_are_turned_away() {
    let scene = Scene::new(|_| "protocol: TLS, hostnames: [db.example.com]".into());
    let at = format!("127.0.0.1:{}", scene.sidecar.port);
    let client = |arguments: &[&str]| {
        let output = Command::new("timeout").args(["20", "openssl", "s_client", "-connect", &at]).args(arguments).output();
        assert!(!output.expect("openssl").status.success(), "{arguments:?} was let in");
    };
    client(&["-servername", "other.example.com"]);
    scene.was_turned_away("UnknownServerName");
    client(&["-noservername"]);
    scene.was_turned_away("NoServerName");
}

#[test]
fn certificates_that_cannot_serve_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = Certificate::make(folder.path(), "localhost", 2).expect("a certificate");
    let other = Certificate::make(folder.path(), "other", 2).expect("a certificate");
    let expired = expired(folder.path());
    let mixed = Certificate { key: other.key, certificate: good.certificate };
    for (certificate, reason) in [(mixed, "isn't the key of"), (expired, "the certificate was valid until")] {
        let setup = Setup::listening(&certificate.listener(), &[local(1)]);
        let refused = Sidecar::start(&setup, folder.path()).map(drop).expect_err("must not start").to_string();
        assert!(refused.contains(reason), "{refused}");
    }
}

#[test]
fn a_key_that_stops_fitting_is_named_and_the_certificate_before_stays() {
    let scene = Scene::new(tls_listener);
    let other = Certificate::make(scene.folder.path(), "other", 2).expect("a certificate");
    std::fs::copy(&other.key, scene.folder.path().join("localhost.key")).expect("copies");
    let deadline = std::time::Instant::now() + PATIENCE * 2;
    while !scene.sidecar.process.log().contains("isn't the key of") {
        assert!(std::time::Instant::now() < deadline, "not noticed\n{}", scene.sidecar.process.log());
        std::thread::sleep(std::time::Duration::from_millis(50)); // between two looks
    }
    serves_tls(&scene);
}

/// A certificate whose life is over, and its key.
fn expired(folder: &Path) -> Certificate {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let certificate = params.self_signed(&key).expect("signs");
    let made = Certificate { certificate: folder.join("expired.crt"), key: folder.join("expired.key") };
    std::fs::write(&made.certificate, certificate.pem()).expect("writes");
    std::fs::write(&made.key, key.serialize_pem()).expect("writes");
    made
}

/// What a request gets from a pool with this endpoint and this `upstream`; and that it is the endpoint's own fault by these words.
fn upstream_fails(endpoint: SocketAddr, upstream: &str, statuses: &[u16], words: &str, flag: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = format!("  upstream: {upstream}\n");
    let sidecar = Sidecar::start(&Setup::http(&[endpoint]).with(&spec), folder.path()).expect("starts");
    for _ in 0..2 {
        let heard =
            say(sidecar.port, &Say { bytes: GET, cuts: &[] }, PATIENCE, |heard| has_answers(heard, &[], 1)).expect("connects");
        let text = heard.bytes.escape_ascii();
        assert!(statuses.contains(&heard.status()) && contains(&heard.bytes, words.as_bytes()), "{upstream}: {text}");
    }
    sidecar.wait_for_metric("evenkeel_requests_total", &[("flags", flag)], 2.0).expect("is counted");
}

/// An HTTPS server with this certificate.
fn s_server(certificate: &Certificate, folder: &Path) -> (Process, SocketAddr) {
    let [port] = free_ports().expect("a port");
    let mut command = Command::new("openssl");
    command.args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}"), "-cert"]).arg(&certificate.certificate);
    command.arg("-key").arg(&certificate.key);
    let mut server = Process::start("s_server", command, folder).expect("starts");
    server.wait_for_port(port).expect("listens");
    (server, local(port))
}

#[test]
fn endpoints_that_speak_something_else_or_cannot_be_believed_are_said_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let refuse =
        |c: &mut Conversation| c.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").map(|()| drop(c.until_end()));
    let plain = Server::start(usize::MAX, refuse).expect("a backend");
    upstream_fails(plain.address, "{tls: {verification: None}}", &[502, 503], "speaks no TLS", "UpstreamTls");
    upstream_fails(plain.address, "{protocol: HTTP2}", &[502, 503], "http2", "UpstreamProtocol");
    let expired = expired(folder.path());
    let (_server, address) = s_server(&expired, folder.path());
    let ca = expired.certificate.display();
    let full = format!("{{tls: {{hostname: localhost, caFile: {ca}}}}}");
    upstream_fails(address, &full, &[502, 503], "isn't believed", "UpstreamTls");
    let good = Certificate::make(folder.path(), "localhost", 2).expect("a certificate");
    let (_server, address) = s_server(&good, folder.path());
    let ca = good.certificate.display();
    let other = format!("{{tls: {{hostname: other, caFile: {ca}}}}}");
    upstream_fails(address, &other, &[502, 503], "isn't believed", "UpstreamTls");
    let talks = Recorder::start().expect("a backend");
    talks.set_answer(Answer::of(b"SSH-2.0-OpenSSH_9.9\r\n"));
    upstream_fails(talks.address, "{protocol: HTTP1}", &[502], "status_line", "UpstreamProtocol");
}
