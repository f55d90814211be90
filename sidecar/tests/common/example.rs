//! A file of `examples/`, served as it stands but for its ports and files.

use super::{Sidecar, config};
use evenkeel_sidecar::app::Source;
use std::path::Path;
use tempfile::TempDir;

/// An example that is being served.
pub(crate) struct Example {
    pub(crate) sidecar: Sidecar,
    _folder: TempDir,
}

impl Example {
    /// Each of the changes must have something to change.
    pub(crate) async fn start(name: &str, changes: &[(String, String)]) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../examples/{name}.yaml"));
        let mut text = std::fs::read_to_string(path).expect("an example");
        for (from, to) in changes {
            assert!(text.contains(from), "{name} has `{from}`");
            text = text.replace(from, to);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pools.yaml");
        std::fs::write(&file, text).expect("writes");
        let sidecar = Sidecar::start(config(Source::Files(vec![file]))).await.expect("starts");
        Self { sidecar, _folder: folder }
    }
}

/// Another port in place of this one.
pub(crate) fn port(from: u16, to: u16) -> (String, String) {
    (format!("port: {from}"), format!("port: {to}"))
}

/// These four in place of the backends 9001 to 9004.
pub(crate) fn backends(ports: [u16; 4]) -> Vec<(String, String)> {
    (9001..).zip(ports).map(|(from, to)| port(from, to)).collect()
}
