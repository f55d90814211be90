//! The files that TLS is made of: read by the control plane when a pool comes into use, looked at every few seconds after, and
//! put to use anew when they have changed. New files that aren't right leave the old ones in use, and that is said and counted.

use super::certificate::Moment;
use super::client::{self, Connector};
use super::refusal::TlsRefusal;
use super::server::{self, Acceptor, Pair};
use super::{Offer, provider};
use evenkeel_wire::{ListenerTls, Protocol, UpstreamTls};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest file: a system's bundle of authorities has some 250 KiB.
pub(crate) const MAX_FILE: u64 = 1024 * 1024;
/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Where systems have their authorities, if the environment doesn't say.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A file as it was read.
pub(super) struct Pem {
    pub(super) path: PathBuf,
    text: Vec<u8>,
}

impl Pem {
    fn read(path: &Path) -> Result<Self, TlsRefusal> {
        let unreadable = |source| TlsRefusal::Unreadable { path: path.into(), source };
        let mut text = Vec::new();
        // One byte more than allowed, so that a file that is too long is refused as such.
        File::open(path).map_err(unreadable)?.take(MAX_FILE + 1).read_to_end(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MAX_FILE {
            return Err(TlsRefusal::TooLong { path: path.into() });
        }
        Ok(Self { path: path.into(), text })
    }

    /// All its certificates; at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsRefusal> {
        let bad = |error: pem::Error| TlsRefusal::BadCertificate { path: self.path.clone(), detail: error.to_string() };
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&self.text).collect::<Result<_, _>>().map_err(bad)?;
        if certificates.is_empty() {
            return Err(TlsRefusal::NoCertificate { path: self.path.clone() });
        }
        Ok(certificates)
    }

    /// Its first key.
    pub(super) fn signing_key(&self) -> Result<Arc<dyn SigningKey>, TlsRefusal> {
        let bad = |detail| TlsRefusal::BadKey { path: self.path.clone(), detail };
        let key = PrivateKeyDer::from_pem_slice(&self.text).map_err(|error| bad(error.to_string()))?;
        provider().key_provider.load_private_key(key).map_err(|error| bad(error.to_string()))
    }
}

/// What tells one state of a file from another without reading it; that of what links lead to, as mounted secrets are exchanged by
/// theirs. The time of the last change of any kind cannot be set by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        let changed = (found.ctime(), found.ctime_nsec());
        Some(Self { device: found.dev(), inode: found.ino(), size: found.size(), changed })
    }
}

/// All that is made of files and in use, and what became of their changes.
#[derive(Default)]
pub(crate) struct Files(Mutex<State>);

#[derive(Default)]
struct State {
    servers: Vec<Watched<ListenerTls, Acceptor, 2>>,
    clients: Vec<Watched<UpstreamTls, Connector, 1>>,
}

/// One thing in use.
struct Watched<Settings, Made, const FILES: usize> {
    settings: Settings,
    offer: Offer,
    made: Weak<Made>,
    files: [PathBuf; FILES],
    /// As they were when they were last read, whatever came of it.
    seen: [Option<Stamp>; FILES],
    /// The last moment of the certificate in use.
    until: Option<Moment>,
    refused: [u64; TlsRefusal::LABELS.len()],
}

/// What a scrape shows of one file.
pub(crate) struct Shown {
    /// The certificate, or the authorities.
    pub(crate) file: String,
    /// When the certificate in use ends, in seconds since 1970.
    pub(crate) not_after: Option<i64>,
    /// How often its change was refused, by why.
    pub(crate) refused: Vec<(&'static str, u64)>,
}

impl Files {
    /// What ends TLS at a listener: the one in use if there is one.
    pub(crate) fn acceptor(&self, tls: &ListenerTls, protocol: Protocol, now: SystemTime) -> Result<Arc<Acceptor>, TlsRefusal> {
        let offer = if protocol == Protocol::Http { Offer::Http } else { Offer::Nothing };
        let mut state = self.lock();
        if let Some(made) = find(&state.servers, tls, offer) {
            return Ok(made);
        }
        let files = [PathBuf::from(&tls.certificate_file), PathBuf::from(&tls.key_file)];
        // Before the reading: what changes in between is seen as a change.
        let seen = files.each_ref().map(|path| Stamp::of(path));
        let pair = read_pair(&files, moment(now))?;
        let made = Arc::new(Acceptor::new(server::Shape::new(offer, tls.min_version)?, &pair)?);
        let until = Some(pair.until);
        state.servers.push(Watched {
            settings: tls.clone(),
            offer,
            made: Arc::downgrade(&made),
            files,
            seen,
            until,
            refused: [0; _],
        });
        Ok(made)
    }

    /// What begins TLS to endpoints that are spoken to so: the one in use if there is one.
    pub(crate) fn connector(&self, tls: &UpstreamTls) -> Result<Arc<Connector>, TlsRefusal> {
        let mut state = self.lock();
        // What is offered is said with each connection.
        let offer = Offer::Nothing;
        if let Some(made) = find(&state.clients, tls, offer) {
            return Ok(made);
        }
        let shape = client::Shape::new(tls.verification, tls.hostname.as_deref())?;
        if !shape.needs_roots() {
            return Connector::new(shape, None).map(Arc::new);
        }
        let files = [tls.ca_file.as_ref().map(PathBuf::from).or_else(system_roots).ok_or(TlsRefusal::NoSystemRoots)?];
        let seen = files.each_ref().map(|path| Stamp::of(path));
        let made = Arc::new(Connector::new(shape, Some(&Pem::read(&files[0])?))?);
        let watched =
            Watched { settings: tls.clone(), offer, made: Arc::downgrade(&made), files, seen, until: None, refused: [0; _] };
        state.clients.push(watched);
        Ok(made)
    }

    /// Looks at the files of all that is still in use.
    pub(crate) fn look(&self, now: SystemTime) {
        let now = moment(now);
        let mut state = self.lock();
        state.servers.retain_mut(|watched| {
            watched.look(|acceptor, files| {
                let pair = read_pair(files, now)?;
                acceptor.exchange(&pair)?;
                Ok(Some(pair.until))
            })
        });
        state.clients.retain_mut(|watched| {
            watched.look(|connector, [file]| {
                connector.exchange(&Pem::read(file)?)?;
                Ok(None)
            })
        });
    }

    /// Looks every few seconds, until dropped.
    pub(crate) async fn watch(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look(SystemTime::now());
        }
    }

    /// For the metrics page. Files that serve several listeners are shown once, with the sum of what became of them.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        let state = self.lock();
        let servers = state.servers.iter().map(|watched| (&watched.files[0], watched.until, &watched.refused));
        let clients = state.clients.iter().map(|watched| (&watched.files[0], watched.until, &watched.refused));
        let mut files: std::collections::BTreeMap<&PathBuf, (Option<Moment>, [u64; TlsRefusal::LABELS.len()])> =
            Default::default();
        for (file, until, refused) in servers.chain(clients) {
            let shown = files.entry(file).or_insert((until, [0; _]));
            shown.0 = shown.0.or(until);
            shown.1.iter_mut().zip(refused).for_each(|(sum, count)| *sum += count);
        }
        let show = |(file, (until, refused)): (&PathBuf, (Option<Moment>, [u64; _]))| Shown {
            file: file.display().to_string(),
            not_after: until.map(|until| until.0),
            refused: TlsRefusal::LABELS.into_iter().zip(refused).filter(|(_, count)| *count > 0).collect(),
        };
        files.into_iter().map(show).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one in use with these settings.
fn find<Settings: PartialEq, Made, const FILES: usize>(
    all: &[Watched<Settings, Made, FILES>],
    settings: &Settings,
    offer: Offer,
) -> Option<Arc<Made>> {
    all.iter()
        .filter(|watched| watched.offer == offer && watched.settings == *settings)
        .find_map(|watched| watched.made.upgrade())
}

impl<Settings, Made, const FILES: usize> Watched<Settings, Made, FILES> {
    /// Puts changed files to use; whether anybody still uses them.
    fn look(&mut self, renew: impl FnOnce(&Made, &[PathBuf; FILES]) -> Result<Option<Moment>, TlsRefusal>) -> bool {
        let Some(made) = self.made.upgrade() else { return false };
        let seen = self.files.each_ref().map(|path| Stamp::of(path));
        if seen == self.seen {
            return true;
        }
        self.seen = seen;
        let file = self.files[0].display();
        match renew(&made, &self.files) {
            Ok(until) => {
                self.until = until;
                tracing::info!(%file, until = until.map(tracing::field::display), "TLS files read again and in use");
            }
            Err(refusal) => {
                self.refused[refusal.index()] += 1;
                let reason = TlsRefusal::LABELS[refusal.index()];
                tracing::error!(%file, reason, error = %refusal, "TLS files not used; the ones before stay in use");
            }
        }
        true
    }
}

pub(super) fn read_pair([certificate, key]: &[PathBuf; 2], now: Moment) -> Result<Pair, TlsRefusal> {
    Pair::new(&Pem::read(certificate)?, &Pem::read(key)?, now)
}

fn system_roots() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named
        .into_iter()
        .chain(SYSTEM_ROOTS.map(PathBuf::from))
        .find(|path| !matches!(path.metadata(), Err(error) if error.kind() == ErrorKind::NotFound))
}

fn moment(time: SystemTime) -> Moment {
    Moment(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().try_into().unwrap_or(i64::MAX)))
}
