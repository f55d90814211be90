//! Certificates for tests, made by `openssl` itself.

use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A self-signed certificate and its key, as PEM files.
pub struct Certificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Certificate {
    /// For this DNS name and 127.0.0.1, ECDSA on P-256, valid for `days` from now.
    pub fn make(folder: &Path, name: &str, days: u32) -> Result<Self> {
        Self::make_with(folder, name, days, &[])
    }

    /// The same, but no authority: rustls takes no authority for a server.
    pub fn make_leaf(folder: &Path, name: &str, days: u32) -> Result<Self> {
        Self::make_with(folder, name, days, &["-addext", "basicConstraints=critical,CA:FALSE"])
    }

    fn make_with(folder: &Path, name: &str, days: u32, more: &[&str]) -> Result<Self> {
        let (certificate, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj"]);
        command.arg(format!("/CN={name}")).args(["-days", &days.to_string()]);
        command.args(["-addext", &format!("subjectAltName=DNS:{name},IP:127.0.0.1")]).args(more);
        command.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        let output = command.output()?;
        ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self { certificate, key })
    }

    /// What a listener says of it, for [`super::sidecar::Setup::listening`].
    pub fn listener(&self) -> String {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        format!("protocol: HTTP, tls: {{certificateFile: {certificate}, keyFile: {key}}}")
    }
}
