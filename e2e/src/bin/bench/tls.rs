//! The certificate of the TLS rows: ECDSA on P-256, made by `openssl` for each proxy.

use crate::process::Programs;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// Files in PEM.
pub(crate) struct Certificate {
    /// The certificate.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
    /// Both in one file.
    pub(crate) pem: PathBuf,
}

impl Certificate {
    /// Makes it anew.
    pub(crate) fn make(programs: &Programs) -> Result<Self> {
        let [certificate, key, pem] = ["tls.crt", "tls.key", "tls.pem"].map(|name| programs.folder.join(name));
        let made = Self { certificate, key, pem };
        let mut openssl = Command::new(programs.host("openssl")?);
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]);
        // A client may trust it by itself: as an authority it couldn't be a server's.
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
        openssl.arg("-out").arg(&made.certificate).arg("-keyout").arg(&made.key);
        let output = openssl.output().context("cannot run openssl")?;
        if !output.status.success() {
            bail!("openssl: {}", String::from_utf8_lossy(&output.stderr));
        }
        let both = [std::fs::read(&made.certificate)?, std::fs::read(&made.key)?].concat();
        std::fs::write(&made.pem, both)?;
        Ok(made)
    }
}
