//! The pools of `examples/` as frames, byte for byte: a change of the feed's language or of a default shows here first.
//! `UPDATE_GOLDEN=1 cargo test -p evenkeel-plan --test golden` writes them anew; look at the difference before you commit.

use evenkeel_crds::pool::{Listener, PoolSpec, Source};
use evenkeel_plan::document::{self, Document};
use evenkeel_plan::{Candidate, Found, Mode, Pod, assemble, compile, remarks, static_candidates, transport_port};
use evenkeel_wire::{Health, ServerFrame};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The pools of a file, other kinds of resource left out, and the comment on top.
fn pools(path: &Path) -> Vec<Document> {
    let text = std::fs::read_to_string(path).expect("an example");
    assert!(text.starts_with("# "), "{}: an example says on top what it shows", path.display());
    let own: Vec<&str> = text.split("\n---\n").filter(|part| part.contains("kind: BalancerPool")).collect();
    document::read(&own.join("\n---\n")).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn examples(directory: &str) -> Vec<Document> {
    let entries = std::fs::read_dir(root().join(directory)).expect("the examples");
    let files = entries.map(|e| e.expect("an entry").path()).filter(|p| p.extension().is_some_and(|e| e == "yaml"));
    let mut documents: Vec<Document> = files.flat_map(|path| pools(&path)).collect();
    documents.sort_by(|a, b| a.name.cmp(&b.name));
    documents
}

/// What a Service of that name might have: a StatefulSet's pod, a Deployment's, one that isn't ready, one that drains.
fn service_candidates(service: &str) -> Vec<Candidate> {
    let pod = |n: u8, stateful, ready, terminating| Candidate {
        address: [10, 1, 0, n].into(),
        port: 8080,
        weight: 100,
        zone: Some("a".into()),
        node: Some(format!("node-{n}")),
        pod: Some(Pod {
            namespace: "default".into(),
            name: format!("{service}-{n}"),
            uid: format!("00000000-0000-4000-8000-{:012}", usize::from(n) + 1000 * service.len()),
            stateful,
        }),
        ready,
        serving: true,
        terminating,
    };
    vec![pod(0, true, true, false), pod(1, false, true, false), pod(2, false, false, false), pod(3, false, false, true)]
}

fn found(source: &Source) -> Found {
    let candidates = match (&source.fixed, &source.service) {
        (Some(fixed), _) => static_candidates(fixed),
        (None, Some(service)) => service_candidates(&service.name),
        (None, None) => Vec::new(),
    };
    Found { priority: source.priority, candidates }
}

fn frames(document: &Document, mode: Mode) -> Vec<u8> {
    let Document { name, spec } = document;
    let PoolSpec { sources, .. } = spec;
    let compiled = compile(spec, 1, mode).unwrap_or_else(|rejection| panic!("{name}: {rejection}"));
    assert_eq!(compiled.warnings, Vec::<String>::new(), "{name}");
    let mut endpoints = assemble(sources.iter().map(found).collect());
    assert_eq!(remarks(&compiled.policy, &endpoints), Vec::<String>::new(), "{name}");
    for endpoint in endpoints.iter_mut().filter(|e| e.port == 9004 && e.health == Health::Usable) {
        endpoint.health = Health::Down;
    }
    ServerFrame::encode_pool(name, 1, &compiled.policy, &endpoints)
}

#[test]
fn every_example_compiles_to_its_golden_frames() {
    let (embedded, cluster) = (examples("examples"), examples("examples/cluster"));
    assert!(embedded.len() >= 15 && cluster.len() >= 3);
    let all = embedded.iter().map(|d| (d, Mode::Embedded)).chain(cluster.iter().map(|d| (d, Mode::Cluster)));
    for (document, mode) in all {
        let golden = root().join(format!("plan/tests/golden/{}.jsonl", document.name.name));
        let frames = frames(document, mode);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &frames).expect("write the golden frames");
        }
        let found = std::fs::read(&golden).unwrap_or_default();
        assert_eq!(
            String::from_utf8_lossy(&frames),
            String::from_utf8_lossy(&found),
            "{} differs; if that is meant: UPDATE_GOLDEN=1 cargo test -p evenkeel-plan --test golden",
            golden.display()
        );
        for line in frames.split_inclusive(|b| *b == b'\n') {
            let frame = ServerFrame::decode(line).expect("our own frame");
            assert_eq!(frame.encode(), line, "a frame reads back as it was written");
        }
    }
}

#[test]
fn the_examples_use_ports_of_their_own() {
    // Only names tell apart who has a port of TLS; a listener without any claims its port whole.
    let names = |listener: &Listener| listener.hostnames.clone().unwrap_or_else(|| vec![String::new()]);
    let examples = examples("examples");
    let listeners = examples.iter().flat_map(|d| &d.spec.listeners);
    let mut claims: Vec<_> = listeners.flat_map(|l| names(l).into_iter().map(|name| (transport_port(l), name))).collect();
    claims.sort_unstable();
    for pair in claims.windows(2) {
        let apart = pair[0].0 != pair[1].0 || (!pair[0].1.is_empty() && pair[0].1 != pair[1].1);
        assert!(apart, "all examples run in one sidecar: {pair:?}");
    }
}
