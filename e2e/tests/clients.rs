//! Real clients and servers with the sidecar between them: curl, a WebSocket client, psql, redis-cli and dig.

use anyhow::{Context, Result, ensure};
use evenkeel_e2e::stand::PATIENCE;
use evenkeel_e2e::stand::certificate::Certificate;
use evenkeel_e2e::stand::process::{Process, free_ports, local};
use evenkeel_e2e::stand::programs::source;
use evenkeel_e2e::stand::recorder::{Answer, Recorder};
use evenkeel_e2e::stand::sidecar::{Setup, Sidecar};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A folder that servers may enter under users of their own.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("is ours");
    folder
}

fn sidecar(listener: &str, endpoint: SocketAddr, folder: &Path) -> Sidecar {
    Sidecar::start(&Setup::listening(listener, &[endpoint]), folder).expect("starts")
}

/// What a program says; its failure is an error with all it said.
fn run(command: &mut Command) -> Result<String> {
    let what = format!("{command:?}");
    let output = command.output().with_context(|| format!("{what}; run `make deps`"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{what}: {}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(said)
}

/// A GET and an upload of 1 MiB with curl: status, protocol, and the body that came back.
fn curl(url: &str, arguments: &[&str], folder: &Path) {
    let upload = folder.join("upload");
    std::fs::write(&upload, vec![b'x'; 1 << 20]).expect("writes");
    let upload = format!("@{}", upload.display());
    for more in [vec![], vec!["--data-binary", &upload]] {
        let backend_answer = "hello world\n200";
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "20", "--write-out", "%{http_code}"]);
        let said = run(command.args(arguments).args(more).arg(url)).expect("curl");
        assert_eq!(said, backend_answer, "{arguments:?}");
    }
}

fn backend() -> Recorder {
    let backend = Recorder::start().expect("a backend");
    backend.set_answer(Answer::of(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello world\n"));
    backend
}

#[test]
fn curl_speaks_every_version_of_http_through_one_port() {
    let (folder, backend) = (folder(), backend());
    let sidecar = sidecar("protocol: HTTP", backend.address, folder.path());
    let url = format!("http://127.0.0.1:{}/x", sidecar.port);
    for version in ["--http1.0", "--http1.1", "--http2", "--http2-prior-knowledge"] {
        curl(&url, &[version], folder.path());
    }
    let seen = backend.take().expect("is quiet");
    assert_eq!(seen.iter().map(|seen| seen.requests).sum::<usize>(), 8);
    assert!(seen.iter().map(|seen| seen.bytes.len()).sum::<usize>() > 4 << 20);
}

#[test]
fn curl_speaks_both_versions_of_tls_and_of_http_through_one_port() {
    let (folder, backend) = (folder(), backend());
    let certificate = Certificate::make(folder.path(), "localhost", 2).expect("a certificate");
    let sidecar = sidecar(&certificate.listener(), backend.address, folder.path());
    let url = format!("https://localhost:{}/x", sidecar.port);
    let ca = certificate.certificate.display().to_string();
    for version in ["--http1.1", "--http2"] {
        for tls in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
            curl(&url, &[&[version, "--cacert", &ca][..], &tls].concat(), folder.path());
        }
    }
    assert_eq!(backend.take().expect("is quiet").iter().map(|seen| seen.requests).sum::<usize>(), 8);
}

#[test]
fn a_websocket_client_talks_to_its_server() {
    let folder = folder();
    let script = source("clients/websocket.py");
    // Debian's own, which has the package.
    let mut command = Command::new("/usr/bin/python3");
    command.arg(&script).arg("server");
    let mut server = Process::start("websocket", command, folder.path()).expect("starts");
    server.wait_until(|| folder_log(&folder, "websocket").ends_with('\n')).expect("listens");
    let port: u16 = server.log().trim().parse().expect("a port");
    let sidecar = sidecar("protocol: HTTP", local(port), folder.path());
    let said = run(Command::new("/usr/bin/python3").arg(&script).arg("client").arg(sidecar.port.to_string())).expect("talks");
    assert_eq!(said, "ok\n");
}

fn folder_log(folder: &TempDir, name: &str) -> String {
    std::fs::read_to_string(folder.path().join(format!("{name}.log"))).unwrap_or_default()
}

#[test]
fn redis_cli_talks_to_redis() {
    let folder = folder();
    let [port] = free_ports().expect("a port");
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(folder.path());
    let mut server = Process::start("redis", command, folder.path()).expect("starts");
    server.wait_for_port(port).expect("listens");
    let sidecar = sidecar("protocol: TCP", local(port), folder.path());
    let redis = |words: &[&str]| {
        run(Command::new("redis-cli").args(["-h", "127.0.0.1", "-p", &sidecar.port.to_string()]).args(words)).expect("redis-cli")
    };
    assert_eq!(redis(&["SET", "key", "value"]), "OK\n");
    assert_eq!(redis(&["GET", "key"]), "value\n");
    assert_eq!(redis(&["SETRANGE", "large", "4194303", "x"]), "4194304\n");
    assert_eq!(redis(&["--no-raw", "GET", "large"]).len(), 4 * 4_194_303 + 1 + 3);
}

#[test]
fn psql_talks_to_postgresql() {
    let folder = folder();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    let [port] = free_ports().expect("a port");
    let programs = postgresql().expect("PostgreSQL; run `make deps`");
    let is_root = run(Command::new("id").arg("-u")).expect("id").trim() == "0";
    if is_root {
        run(Command::new("chown").args(["postgres"]).arg(&data)).expect("chown");
    }
    // It refuses to run as root.
    let command = |program: &str| {
        let program = programs.join(program);
        if !is_root {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
        command
    };
    run(command("initdb").args(["--auth=trust", "--username=evenkeel", "--no-sync", "-D"]).arg(&data)).expect("initdb");
    let mut postgres = command("postgres");
    postgres.args(["-h", "127.0.0.1", "-F", "-p", &port.to_string(), "-k", "", "-D"]).arg(&data);
    let mut server = Process::start("postgres", postgres, folder.path()).expect("starts");
    server.wait_until(|| folder_log(&folder, "postgres").contains("ready to accept connections")).expect("listens");
    let sidecar = sidecar("protocol: TCP", local(port), folder.path());
    let place = format!("host=127.0.0.1 port={} user=evenkeel dbname=postgres", sidecar.port);
    let psql =
        |sql: &str| run(Command::new("psql").args(["-X", "-At", "-v", "ON_ERROR_STOP=1", "-c", sql]).arg(&place)).expect("psql");
    assert_eq!(psql("create table t as select g, repeat('x', 1000) as v from generate_series(1, 5000) g"), "SELECT 5000\n");
    assert_eq!(psql("select sum(g), sum(length(v)) from t"), "12502500|5000000\n");
    assert_eq!(psql("copy t to stdout").len(), 5000 * 1002 + (9 + 90 * 2 + 900 * 3 + 4001 * 4));
}

/// Where Debian keeps the newest PostgreSQL's programs.
fn postgresql() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path().join("bin"));
    versions.filter(|bin| bin.join("postgres").is_file()).max()
}

#[test]
fn dig_asks_a_dns_server_over_udp() {
    let folder = folder();
    let [port] = free_ports().expect("a port");
    let mut command = Command::new("/usr/sbin/dnsmasq");
    command.args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file="]);
    command.args(["--listen-address=127.0.0.1", "--bind-interfaces", "--address=/app.example/192.0.2.7"]);
    command.args(["--txt-record=long.example,".to_owned() + &"x".repeat(200), format!("--port={port}")]);
    let mut server = Process::start("dnsmasq", command, folder.path()).expect("starts");
    server.wait_for_port(port).expect("listens");
    let sidecar = sidecar("protocol: UDP", local(port), folder.path());
    let dig = |words: &[&str]| {
        let at = ["@127.0.0.1", "-p", &sidecar.port.to_string(), "+short", "+tries=1", "+time=10"].map(str::to_owned);
        run(Command::new("dig").args(at).args(words)).expect("dig")
    };
    for _ in 0..20 {
        assert_eq!(dig(&["app.example"]), "192.0.2.7\n");
    }
    assert_eq!(dig(&["long.example", "TXT"]), format!("\"{}\"\n", "x".repeat(200)));
    assert!(PATIENCE > std::time::Duration::from_secs(10), "dig gives up first and says why");
}
