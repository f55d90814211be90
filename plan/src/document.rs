//! Files of pools for the embedded mode: YAML documents as `kubectl apply` takes them. Reading is bounded and strict: what
//! isn't understood is an error that names the document, the line and the field, never skipped.

use evenkeel_crds::pool::PoolSpec;
use evenkeel_crds::{GROUP, VERSION};
use evenkeel_wire::PoolName;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use std::collections::BTreeSet;
use std::fmt;

/// The longest file, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// The most documents of a file.
pub const MAX_DOCUMENTS: usize = 256;
/// The kind that a document must have.
pub const KIND: &str = "BalancerPool";

/// One pool as a file names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its name; the namespace is `default` unless the file says otherwise.
    pub name: PoolName,
    /// Its spec, of the right shape. What it means is for [`crate::compile`] to say.
    pub spec: PoolSpec,
}

/// Which document of a file: its number, from 1, and its name where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    number: usize,
    name: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "document {}", self.number)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

/// Why a file isn't read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Longer than [`MAX_BYTES`].
    #[error("{size} bytes, more than {MAX_BYTES}; split the file")]
    TooLong {
        /// The length in bytes.
        size: usize,
    },
    /// Nothing to read.
    #[error("no document; give at least one {KIND}")]
    Empty,
    /// Not YAML, or beyond the limits on documents, nodes, depth and aliases.
    #[error("not readable as YAML: {problem}")]
    Yaml {
        /// What is wrong, and where.
        problem: String,
    },
    /// Another kind or version of resource.
    #[error("{place}: {field} is {}; it must be {expected}", .found.as_ref().map_or("missing".into(), |f| format!("`{f}`")))]
    NotAPool {
        /// Which document.
        place: Place,
        /// The field.
        field: &'static str,
        /// What it says.
        found: Option<String>,
        /// What it must say.
        expected: String,
    },
    /// No name, or none that Kubernetes would take.
    #[error("{place}: {problem}")]
    Name {
        /// Which document.
        place: Place,
        /// What is wrong.
        problem: String,
    },
    /// The same pool twice.
    #[error("{place}: an earlier document has this pool; give each once")]
    Twice {
        /// The later document.
        place: Place,
    },
    /// A field that is unknown, missing or of the wrong type.
    #[error("{place}: {problem}")]
    Field {
        /// Which document.
        place: Place,
        /// What is wrong, and where.
        problem: String,
    },
}

/// What is read of a document first, whatever the rest of it says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    api_version: Option<String>,
    kind: Option<String>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
}

/// The whole document. What the cluster adds, as `kubectl get -o yaml` shows it, may stay in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code, reason = "named so that all other fields are refused")]
struct Whole {
    api_version: IgnoredAny,
    kind: IgnoredAny,
    metadata: IgnoredAny,
    spec: PoolSpec,
    #[serde(default)]
    status: IgnoredAny,
}

/// A document whose errors say where in it they are, besides the line.
struct Traced(Whole);

impl<'de> Deserialize<'de> for Traced {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_path_to_error::deserialize(deserializer).map(Self).map_err(|error| match error.path().to_string().as_str() {
            "." => error.into_inner(),
            path => serde::de::Error::custom(format!("{path}: {}", in_words(error.inner().to_string()))),
        })
    }
}

/// What the reader says of a value that isn't of its type, and what people are told.
const WORDS: [(&str, &str); 4] = [
    ("invalid u8", "not a whole number from 0 to 255"),
    ("invalid u16", "not a whole number from 0 to 65535"),
    ("invalid u32", "not a whole number from 0 to 4294967295"),
    ("invalid IP address syntax", "not an IPv4 or IPv6 address (names aren't looked up)"),
];

fn in_words(said: String) -> String {
    let known = WORDS.iter().find_map(|(from, to)| Some((to, said.strip_prefix(from)?)));
    known.map_or_else(|| said.clone(), |(to, rest)| format!("{to}{rest}"))
}

/// Reads all pools of a file's text, or says what is wrong with the first that isn't right.
pub fn read(text: &str) -> Result<Vec<Document>, DocumentError> {
    if text.len() > MAX_BYTES {
        return Err(DocumentError::TooLong { size: text.len() });
    }
    let names = read_headers(text)?;
    let mut documents = Vec::with_capacity(names.len());
    let mut bytes = text.as_bytes();
    for (result, (name, place)) in serde_saphyr::read_with_options::<_, Traced>(&mut bytes, options()).zip(names) {
        match result {
            Ok(Traced(whole)) => documents.push(Document { name, spec: whole.spec }),
            Err(error) => return Err(DocumentError::Field { place, problem: error.to_string() }),
        }
    }
    Ok(documents)
}

fn read_headers(text: &str) -> Result<Vec<(PoolName, Place)>, DocumentError> {
    let headers: Vec<Header> = serde_saphyr::from_multiple_with_options(text, options())
        .map_err(|error| DocumentError::Yaml { problem: error.to_string() })?;
    if headers.is_empty() {
        return Err(DocumentError::Empty);
    }
    let mut seen = BTreeSet::new();
    let mut names = Vec::with_capacity(headers.len());
    for (i, header) in headers.into_iter().enumerate() {
        let (name, place) = check_header(i + 1, header)?;
        if !seen.insert(name.clone()) {
            return Err(DocumentError::Twice { place });
        }
        names.push((name, place));
    }
    Ok(names)
}

fn check_header(number: usize, header: Header) -> Result<(PoolName, Place), DocumentError> {
    let Header { api_version, kind, metadata } = header;
    let Metadata { name, namespace } = metadata.unwrap_or(Metadata { name: None, namespace: None });
    let shorten = |s: &String| s.chars().take(80).collect::<String>();
    let place = Place { number, name: name.as_ref().map(shorten) };
    for (field, found, expected) in [("kind", kind, KIND.to_owned()), ("apiVersion", api_version, format!("{GROUP}/{VERSION}"))] {
        if found.as_ref() != Some(&expected) {
            let found = found.as_ref().map(shorten);
            return Err(DocumentError::NotAPool { place, field, found, expected });
        }
    }
    let namespace = namespace.unwrap_or_else(|| "default".into());
    let Some(name) = name else {
        return Err(DocumentError::Name { place, problem: "metadata.name is missing; name the pool".into() });
    };
    match format!("{namespace}/{name}").parse::<PoolName>() {
        Ok(name) => Ok((name, place)),
        Err(_) => {
            let problem = "metadata.name and metadata.namespace must be lower-case letters, digits, `-` and `.`".into();
            Err(DocumentError::Name { place, problem })
        }
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(MAX_BYTES),
            max_documents: MAX_DOCUMENTS,
            max_events: 500_000,
            max_nodes: 200_000,
            max_depth: 32,
            max_aliases: 1_000,
            max_anchors: 1_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 50_000,
            max_replay_stack_depth: 16,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Merge,
        strict_booleans: true,
        with_snippet: false,
    }
}
