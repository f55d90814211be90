//! h2spec, the HTTP/2 conformance suite, against a real sidecar: each of its 146 cases.

use evenkeel_e2e::stand::certificate::Certificate;
use evenkeel_e2e::stand::programs::cached;
use evenkeel_e2e::stand::recorder::{Answer, Recorder};
use evenkeel_e2e::stand::sidecar::{Setup, Sidecar};
use std::path::Path;
use std::process::Command;

/// The cases of h2spec 2.2.1 with those that `--strict` adds.
const CASES: usize = 146;

/// Runs all cases; the names of those that failed.
fn failures(listener: &str, arguments: &[&str], folder: &Path) -> Vec<String> {
    let backend = Recorder::start().expect("a backend");
    // Windows of a few bytes are only tried where the body is longer.
    backend.set_answer(Answer::of(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world"));
    let sidecar = Sidecar::start(&Setup::listening(listener, &[backend.address]), folder).expect("starts");
    let report = folder.join("h2spec.xml");
    let mut command = Command::new(cached("h2spec").expect("h2spec"));
    command.args(["--strict", "--timeout", "10", "--host", "127.0.0.1", "--port", &sidecar.port.to_string()]).args(arguments);
    let output = command.arg("--junit-report").arg(&report).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(&format!("{CASES} tests, ")), "{said}");
    assert!(said.contains(" 0 skipped, "), "{said}");
    let xml = std::fs::read_to_string(report).expect("a report");
    let cases: Vec<&str> = xml.split("<testcase ").skip(1).collect();
    assert_eq!(cases.len(), CASES);
    let name = |case: &str| case.split("classname=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or(case).to_owned();
    cases.iter().filter(|case| case.contains("<failure") || case.contains("<error")).map(|case| name(case)).collect()
}

#[test]
fn http2_over_tls_passes_all_of_h2spec() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::make(folder.path(), "localhost", 2).expect("a certificate");
    assert_eq!(failures(&certificate.listener(), &["--tls", "--insecure"], folder.path()), [""; 0]);
}

#[test]
fn http2_by_prior_knowledge_passes_all_of_h2spec_but_what_asks_for_http2_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    // The port speaks HTTP/1 too: what isn't HTTP/2's preface is a bad HTTP/1 request, which gets its 400 before the connection is
    // closed. h2spec wants the close alone. Over TLS, where ALPN says which of the two it is, the case passes.
    assert_eq!(failures("protocol: HTTP", &[], folder.path()), ["Sends invalid connection preface"]);
}
