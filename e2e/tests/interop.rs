//! gRPC's own interop client and server with the sidecar between them: every case that needs no cloud credentials.

use evenkeel_e2e::stand::certificate::Certificate;
use evenkeel_e2e::stand::process::{Process, free_ports, local};
use evenkeel_e2e::stand::programs::cached;
use evenkeel_e2e::stand::sidecar::{Setup, Sidecar};
use std::path::Path;
use std::process::Command;

/// The cases of google.golang.org/grpc/interop/client 1.85, as gRPC's own script for them runs them. They need an account in a
/// cloud: compute_engine_creds, service_account_creds, jwt_token_creds, per_rpc_creds, oauth2_auth_token,
/// google_default_credentials, compute_engine_channel_credentials. And pick_first_unary needs a server that says who it is, which
/// this one doesn't: it fails without a proxy, too.
const CASES: [&str; 18] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "orca_per_rpc",
    "orca_oob",
    "rpc_soak",
    "channel_soak",
];

/// What the cases on load reports need at the client.
const LOAD_REPORTS: &str = r#"{"loadBalancingConfig": [{"test_backend_metrics_load_balancer": {}}]}"#;

/// Runs all cases; what went wrong.
fn failures(listener: &str, arguments: &[&str], spec: &str, folder: &Path) -> Vec<String> {
    let [port] = free_ports().expect("a port");
    let mut command = Command::new(cached("grpc-interop-server").expect("the server"));
    command.args(["-port", &port.to_string()]);
    let mut server = Process::start("interop-server", command, folder).expect("starts");
    server.wait_for_port(port).expect("listens");
    let setup = Setup::listening(listener, &[local(port)]).with(spec);
    let sidecar = Sidecar::start(&setup, folder).expect("starts");
    let mut failed = Vec::new();
    for case in CASES {
        let mut command = Command::new("timeout");
        command.arg("60").arg(cached("grpc-interop-client").expect("the client")).args(arguments);
        command.args(["-server_host", "127.0.0.1", "-server_port", &sidecar.port.to_string(), "-test_case", case]);
        if case.starts_with("orca") {
            command.args(["-service_config_json", LOAD_REPORTS]);
        }
        let output = command.output().expect("runs");
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            failed.push(format!("{case}: {}", said.lines().last().unwrap_or_default()));
        }
    }
    failed
}

#[test]
fn every_case_passes_in_the_clear_and_grpc_goes_upstream_as_http2_unasked() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(failures("protocol: HTTP", &[], "", folder.path()), [""; 0]);
}

#[test]
fn every_case_passes_over_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::make(folder.path(), "localhost", 2).expect("a certificate");
    let ca = certificate.certificate.display().to_string();
    let arguments = ["-use_tls", "-use_test_ca", "-ca_file", &ca, "-server_host_override", "localhost"];
    assert_eq!(failures(&certificate.listener(), &arguments, "  upstream: {protocol: HTTP2}\n", folder.path()), [""; 0]);
}
