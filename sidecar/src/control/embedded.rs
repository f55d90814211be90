//! The embedded control plane: pools from files, checked by this process. SIGHUP reads the files again; files that aren't
//! right then leave everything as it is.

use super::checks::Checks;
use super::refusal::Refusal;
use super::{Control, Incoming};
use evenkeel_crds::pool::Source;
use evenkeel_plan::document::{self, Document, DocumentError, MAX_BYTES};
use evenkeel_plan::{Found, Mode, Rejection, assemble, compile, remarks, static_candidates};
use evenkeel_wire::PoolName;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc::Receiver;

/// Why pool files aren't used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: {source}; give a readable file of BalancerPool documents", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file isn't understood.
    #[error("{}: {source}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// What isn't understood.
        source: Box<DocumentError>,
    },
    /// Two files have the same pool.
    #[error("{}: pool {name} is in an earlier file too; keep one of them", path.display())]
    Twice {
        /// The later file.
        path: PathBuf,
        /// The pool.
        name: PoolName,
    },
    /// The pool's spec means nothing that can be served here.
    #[error("{}: pool {name}: {source}", path.display())]
    Rejected {
        /// The file.
        path: PathBuf,
        /// The pool.
        name: PoolName,
        /// Why.
        source: Box<Rejection>,
    },
}

/// The pools of all files, compiled; `generation` counts the readings.
pub(crate) fn load(files: &[PathBuf], generation: u32) -> Result<Vec<Incoming>, LoadError> {
    let mut pools = BTreeMap::new();
    for path in files {
        let text = read(path).map_err(|source| LoadError::Read { path: path.clone(), source })?;
        let documents =
            document::read(&text).map_err(|source| LoadError::Document { path: path.clone(), source: source.into() })?;
        for document in documents {
            let name = document.name.clone();
            let incoming = incoming(document, generation).map_err(|source| LoadError::Rejected {
                path: path.clone(),
                name: name.clone(),
                source: source.into(),
            })?;
            if pools.insert(name.clone(), incoming).is_some() {
                return Err(LoadError::Twice { path: path.clone(), name });
            }
        }
    }
    Ok(pools.into_values().collect())
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    // One byte more than allowed, so that a file that is too long is refused as such.
    std::fs::File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn incoming(document: Document, generation: u32) -> Result<Incoming, Rejection> {
    let Document { name, spec } = document;
    let compiled = compile(&spec, generation.into(), Mode::Embedded)?;
    let found = |source: &Source| Found {
        priority: source.priority,
        candidates: source.fixed.as_ref().map(static_candidates).unwrap_or_default(),
    };
    let endpoints = assemble(spec.sources.iter().map(found).collect());
    for warning in [compiled.warnings, remarks(&compiled.policy, &endpoints)].concat() {
        tracing::warn!(pool = %name, warning, "pool");
    }
    Ok(Incoming { name, revision: generation.into(), policy: compiled.policy, endpoints })
}

/// Puts the pools of the first reading into use; the first refusal ends it.
pub(crate) fn begin(control: &mut Control, pools: Vec<Incoming>) -> Result<(), (PoolName, Box<Refusal>)> {
    note_no_zone(control, &pools);
    for pool in pools {
        control.apply(&pool).map_err(|refusal| (pool.name, refusal.into()))?;
    }
    Ok(())
}

fn note_no_zone(control: &Control, pools: &[Incoming]) {
    for pool in pools.iter().filter(|pool| pool.policy.zone_aware && control.rules.zone.is_none()) {
        tracing::warn!(pool = %pool.name, "spec.zoneAware has no effect: this process has no zone; give it with --zone");
    }
}

/// Follows the checks, and the files at each signal, until dropped.
pub(crate) async fn run(mut control: Control, files: Vec<PathBuf>, seed: u64, mut reload: Receiver<()>) {
    let mut checks = Checks::new(seed);
    checks.follow(&control);
    let mut generation = 1;
    loop {
        tokio::select! {
            verdict = checks.next() => checks.heed(&mut control, &verdict),
            Some(()) = reload.recv() => {
                generation += 1;
                match load(&files, generation) {
                    Ok(pools) => {
                        note_no_zone(&control, &pools);
                        for (name, refusal) in converge(&mut control, pools) {
                            tracing::error!(pool = %name, error = %refusal, "pool refused; it stays as it was");
                        }
                    }
                    Err(error) => tracing::error!(%error, "files not used; the pools stay as they are"),
                }
                checks.follow(&control);
            }
        }
    }
}

/// Removes what is gone, then applies the rest; a pool that is refused stays as it was. A port may go from one pool to
/// another: so what is refused for its port is tried again while others succeed. Each pool that is refused in the end, and why.
fn converge(control: &mut Control, mut pools: Vec<Incoming>) -> Vec<(PoolName, Refusal)> {
    let kept: BTreeSet<_> = pools.iter().map(|pool| pool.name.clone()).collect();
    for name in control.revisions().into_keys().filter(|name| !kept.contains(name)) {
        control.remove(&name, "not in the files any more");
    }
    let mut refused = Vec::new();
    loop {
        let before = pools.len();
        let mut waiting = Vec::new();
        pools.retain(|pool| match control.apply(pool) {
            Ok(()) => false,
            Err(refusal) => {
                let may_pass = refusal.may_pass();
                if may_pass { &mut waiting } else { &mut refused }.push((pool.name.clone(), refusal));
                may_pass
            }
        });
        if pools.is_empty() || pools.len() == before {
            refused.append(&mut waiting);
            return refused;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::{control, free_port, listening};
    use std::io::Write;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// What is logged.
    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("whole").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn that_there_is_no_zone_to_prefer_is_said_of_a_file_read_again() {
        let (said, folder) = (Said::default(), tempfile::tempdir().expect("a folder"));
        let to = said.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || to.clone()).finish();
        let _logged = tracing::subscriber::set_default(subscriber);
        let file = folder.path().join("pools.yaml");
        let source = "{name: s, static: {endpoints: [{address: 127.0.0.1, port: 9001, zone: a}]}}";
        let head = "apiVersion: evenkeel.dev/v1alpha1\nkind: BalancerPool\nmetadata: {name: zoned}";
        std::fs::write(&file, format!("{head}\nspec:\n  sources: [{source}]\n  zoneAware: {{}}\n")).expect("writes");
        let (control, table) = control();
        let (reload, reloads) = tokio::sync::mpsc::channel(1);
        reload.send(()).await.expect("waits");
        let in_use = async {
            while table.load().pools().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = run(control, vec![file], 1, reloads) => {}
            done = tokio::time::timeout(Duration::from_secs(20), in_use) => done.expect("the file is read"),
        }
        let said = String::from_utf8(said.0.lock().expect("whole").clone()).expect("text");
        assert!(said.contains("this process has no zone"), "{said}");
    }

    #[test]
    fn a_refusal_for_good_is_told_even_if_others_are_tried_again() {
        let (mut control, _) = control();
        let [first, second] = [free_port(), free_port()];
        control.apply(&listening("shop/z", first)).expect("is applied");
        let mut bad = listening("shop/b", free_port());
        bad.policy.connect_timeout_ms = 0;
        let refused = converge(&mut control, vec![listening("shop/a", first), bad, listening("shop/z", second)]);
        let [(name, refusal)] = refused.try_into().expect("one refusal");
        assert_eq!(name.to_string(), "shop/b");
        assert!(matches!(refusal, Refusal::OutOfRange { .. }), "{refusal}");
        assert_eq!(control.revisions().len(), 2, "the port went from one pool to another");
    }
}
