//! The API server's HTTP through one `kubectl proxy`, which does the authentication: cheap enough to poll every few
//! milliseconds, and it tells when a call returned.

use crate::echo::client;
use crate::echo::message::Response;
use crate::echo::text::Url;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(15);

/// A way to the API server.
pub struct Api {
    authority: String,
    // Its shell ends the proxy when our end of its input closes: also when this process dies.
    proxy: Child,
}

impl Api {
    /// Starts the proxy.
    pub fn start(kubectl: &Command) -> Result<Self> {
        let mut words: Vec<_> = vec![kubectl.get_program().to_owned()];
        words.extend(kubectl.get_args().map(Into::into));
        words.extend(["proxy", "--port=0", "--address=127.0.0.1"].map(Into::into));
        let script = r#""$@" & proxy=$!; read -r _; kill "$proxy""#;
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh"]).args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.spawn().context("cannot start kubectl proxy")?;
        let out = child.stdout.take().context("no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let authority = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        if !line.starts_with("Starting to serve on") {
            bail!("kubectl proxy said: {line}");
        }
        Ok(Self { authority, proxy: child })
    }

    /// One call, whatever its status.
    pub fn call(&self, method: &str, path: &str, body: &[u8]) -> Result<Response> {
        let url: Url = format!("http://{}{path}", self.authority).parse()?;
        let kind = match method {
            "PATCH" => "content-type: application/merge-patch+json\r\n",
            _ => "content-type: application/json\r\n",
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let call = client::fetch(method, &url, kind, body, LIMIT);
        runtime.block_on(call).with_context(|| format!("{method} {path}"))
    }

    /// An object or a list.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.find(path)?.with_context(|| format!("{path} does not exist"))
    }

    /// An object, `None` if there is none.
    pub fn find(&self, path: &str) -> Result<Option<Value>> {
        let response = self.call("GET", path, b"")?;
        if response.status == 404 {
            return Ok(None);
        }
        let body = response.successful().with_context(|| path.to_owned())?.body;
        Ok(Some(serde_json::from_slice(&body)?))
    }

    /// The items of a list.
    pub fn list(&self, path: &str) -> Result<Vec<Value>> {
        match self.get(path)?["items"].take() {
            Value::Array(items) => Ok(items),
            _ => bail!("{path} is not a list"),
        }
    }

    /// Deletes an object; the call has returned when this does.
    pub fn delete(&self, path: &str) -> Result<()> {
        self.call("DELETE", path, b"")?.successful().with_context(|| format!("DELETE {path}"))?;
        Ok(())
    }

    /// Merges a patch into an object.
    pub fn patch(&self, path: &str, patch: &Value) -> Result<()> {
        let body = serde_json::to_vec(patch)?;
        self.call("PATCH", path, &body)?.successful().with_context(|| format!("PATCH {path}"))?;
        Ok(())
    }

    /// Asks a port of a pod, from the API server to the pod's address.
    pub fn ask_pod(&self, method: &str, pod: &str, port: u16, path: &str) -> Result<String> {
        let (namespace, name) = pod.split_once('/').context("name the pod as namespace/name")?;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy{path}");
        let body = self.call(method, &path, b"")?.successful().with_context(|| format!("{method} {path}"))?.body;
        Ok(String::from_utf8(body)?)
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        drop(self.proxy.stdin.take());
        let _ = self.proxy.wait();
    }
}
