//! The operator's feed as a stranger meets it: curl over HTTP/2 through a port-forward, with tokens of every kind.

use super::cluster::Cluster;
use super::command::{self, Running};
use super::install::{NAMESPACE, OPERATOR};
use super::wait::{self, Look};
use crate::echo::now_ns;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PORT: u16 = 16443;
/// How long the stream is listened to.
const LISTEN: &str = "2";
/// curl's code for a stream that was still open when that time was over.
const STILL_OPEN: i32 = 28;

/// A way to the feed.
pub struct Feed {
    authority: String,
    local: SocketAddr,
    folder: PathBuf,
    _forward: Running,
}

/// What the feed answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The lines.
    pub lines: Vec<Value>,
}

impl Answer {
    /// The pools whose content was told.
    pub fn pools(&self) -> Vec<&str> {
        self.lines.iter().filter(|line| line["type"] == "pool").filter_map(|line| line["pool"].as_str()).collect()
    }

    /// Whether the feed said that it had told all.
    pub fn is_synced(&self) -> bool {
        self.lines.iter().any(|line| line["type"] == "synced")
    }
}

impl Feed {
    /// Forwards a port to the operator. `sidecar` is an injected container: it says where the feed is and what CA it has.
    pub fn open(cluster: &Cluster, sidecar: &Value) -> Result<Self> {
        let setting = |name: &str| {
            let mut all = sidecar["env"].as_array().into_iter().flatten();
            all.find(|entry| entry["name"] == name).and_then(|entry| entry["value"].as_str()).map(str::to_owned)
        };
        let ca = setting("EVENKEEL_FEED_CA").context("the sidecar has no EVENKEEL_FEED_CA")?;
        let words = sidecar["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let url = words.filter_map(|word| word.split_once("https://")).map(|(_, rest)| rest.to_owned()).next();
        let url = url.or_else(|| setting("EVENKEEL_FEED")?.strip_prefix("https://").map(str::to_owned));
        let authority = url.context("the sidecar has no feed URL")?.split('/').next().unwrap_or_default().to_owned();
        let local = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let ports = format!("{}:{PORT}", local.port());
        let target = format!("deployment/{OPERATOR}");
        let forward = cluster.start_kubectl(&["--namespace", NAMESPACE, "port-forward", &target, &ports])?;
        wait::until("the forwarded port", Duration::from_secs(10), || {
            Ok(Look::from(TcpStream::connect(local).ok().map(drop), || "refused".into()))
        })?;
        let folder = std::env::temp_dir().join(format!("evenkeel-feed-{}-{}", std::process::id(), now_ns()));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("ca.pem"), ca)?;
        Ok(Self { authority, local, folder, _forward: forward })
    }

    /// Says hello with this token and listens for 2 s.
    pub fn ask(&self, token: Option<&str>, pools: &[&str]) -> Result<Answer> {
        let hello = json!({"type": "hello", "body": {"versions": [1], "pools": pools}});
        let mut curl = Command::new("curl");
        curl.args(["--http2", "--silent", "--show-error", "--no-buffer", "--noproxy", "*", "--max-time", LISTEN]);
        curl.arg("--cacert").arg(self.folder.join("ca.pem"));
        curl.args(["--connect-to", &format!("::{}", self.local), "--data-binary", "@-", "--write-out", "\n%{http_code}"]);
        if let Some(token) = token {
            curl.args(["--header", &format!("authorization: Bearer {token}")]);
        }
        curl.arg(format!("https://{}/v1/feed", self.authority));
        let said = command::run(&mut curl, format!("{hello}\n").as_bytes(), Duration::from_secs(10))?;
        if !said.status.success() && said.status.code() != Some(STILL_OPEN) {
            bail!("curl: {}: {}{}", said.status, said.out, said.err);
        }
        let (body, status) = said.out.rsplit_once('\n').context("curl said nothing")?;
        let lines = body.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok(Answer { status: status.parse()?, lines })
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A token as the API server would sign it for a pod, signed with the cluster's own key; `ends_in` may be negative.
pub fn sign_token(cluster: &Cluster, pod: &Value, account: &Value, audience: &str, ends_in: i64) -> Result<String> {
    let key = cluster.state()?.join("pki/service-account.key");
    let now = i64::try_from(now_ns() / 1_000_000_000)?;
    let namespace = &pod["metadata"]["namespace"];
    let claims = json!({
        "iss": "https://kubernetes.default.svc.cluster.local", "aud": [audience],
        "sub": format!("system:serviceaccount:{}:default", namespace.as_str().unwrap_or_default()),
        "iat": now - 7200, "nbf": now - 7200, "exp": now + ends_in,
        "kubernetes.io": {
            "namespace": namespace,
            "pod": {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]},
            "serviceaccount": {"name": "default", "uid": account["metadata"]["uid"]},
        },
    });
    let head = json!({"alg": "RS256", "typ": "JWT"});
    let signed = format!("{}.{}", base64(head.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
    let signature = signature(&key, signed.as_bytes())?;
    Ok(format!("{signed}.{}", base64(&signature)))
}

// Through a file: a signature is no text.
fn signature(key: &Path, bytes: &[u8]) -> Result<Vec<u8>> {
    let out = std::env::temp_dir().join(format!("evenkeel-signature-{}-{}", std::process::id(), now_ns()));
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-sign"]).arg(key).arg("-out").arg(&out);
    command::run(&mut openssl, bytes, Duration::from_secs(10))?.successful("openssl")?;
    let signature = std::fs::read(&out)?;
    std::fs::remove_file(out)?;
    Ok(signature)
}

/// URL-safe base64 without padding (RFC 4648 §5).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - three.len()));
        for digit in 0..=three.len() {
            text.push(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize].into());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_has_no_padding() {
        let texts = ["", "f", "fo", "foo", "foob", "\u{3ff}\u{3ff}"].map(|text| base64(text.as_bytes()));
        assert_eq!(texts, ["", "Zg", "Zm8", "Zm9v", "Zm9vYg", "z7_Pvw"]);
    }
}
