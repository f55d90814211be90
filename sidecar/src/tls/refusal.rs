//! Why files don't make TLS. The text goes to people: it names the file and what to do.

use super::certificate::Moment;
use std::path::PathBuf;

/// Why one listener's or one pool's files aren't used.
#[derive(Debug, thiserror::Error)]
pub enum TlsRefusal {
    /// The file cannot be read.
    #[error("{}: {source}; mount it into the sidecar, readable for its user", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is longer than any certificate or key.
    #[error("{}: over {} KiB; give a file with certificates alone", path.display(), super::files::MAX_FILE / 1024)]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file holds no certificate.
    #[error("{}: it holds no certificate in PEM", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate isn't to be understood.
    #[error("{}: a certificate isn't to be understood ({detail}); export it again", path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The file holds no key that is usable.
    #[error("{}: no usable private key in PEM ({detail}); give one without a password: ECDSA, RSA or Ed25519", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The key belongs to another certificate.
    #[error("{} isn't the key of {}; its first certificate must be the server's own", key.display(), certificate.display())]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The certificate's life is over.
    #[error("{}: the certificate was valid until {until}; renew it", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// Its last moment.
        until: Until,
    },
    /// The certificate's life hasn't begun.
    #[error("{}: the certificate is not valid before {from}; check the clock, or use the one before", path.display())]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// Its first moment.
        from: Until,
    },
    /// The system has no authorities.
    #[error("this host has no file of certificate authorities; name one with spec.upstream.tls.caFile")]
    NoSystemRoots,
    /// The name that is to be asked for is none.
    #[error("`{0}` is no host name that TLS can ask for; give a DNS name or an address")]
    BadName(String),
    /// Verification of the name without a name.
    #[error("verification Full needs spec.upstream.tls.hostname")]
    NoName,
    /// The library takes it in no other way.
    #[error("not usable: {0}")]
    Unusable(String),
}

/// A moment as it is written in a refusal.
#[derive(Debug, Clone, Copy)]
pub struct Until(pub(crate) Moment);

impl std::fmt::Display for Until {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl TlsRefusal {
    /// All labels, for counting.
    pub(crate) const LABELS: [&str; 12] = [
        "Unreadable",
        "TooLong",
        "NoCertificate",
        "BadCertificate",
        "BadKey",
        "KeyMismatch",
        "Expired",
        "NotYetValid",
        "NoSystemRoots",
        "BadName",
        "NoName",
        "Unusable",
    ];

    /// Its place in [`Self::LABELS`].
    pub(crate) fn index(&self) -> usize {
        match self {
            Self::Unreadable { .. } => 0,
            Self::TooLong { .. } => 1,
            Self::NoCertificate { .. } => 2,
            Self::BadCertificate { .. } => 3,
            Self::BadKey { .. } => 4,
            Self::KeyMismatch { .. } => 5,
            Self::Expired { .. } => 6,
            Self::NotYetValid { .. } => 7,
            Self::NoSystemRoots => 8,
            Self::BadName(_) => 9,
            Self::NoName => 10,
            Self::Unusable(_) => 11,
        }
    }
}
