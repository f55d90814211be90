//! Lines to frames and back. Unknown frame types are [`ServerFrame::Unknown`] / [`ClientFrame::Unknown`] and are ignored by
//! readers; an unknown meaning inside a known pool is an error that names the pool, so that it alone is refused.

use crate::{Endpoint, MAX_LINE, Policy, PoolName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// From the operator to a sidecar.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerFrame {
    /// The first line.
    Hello(ServerHello),
    /// A pool's policy; starts a new state of it, that `Commit` completes.
    Pool {
        /// The pool.
        pool: PoolName,
        /// The revision that this builds, within the lineage.
        revision: u64,
        /// The policy.
        policy: Box<Policy>,
    },
    /// A part of the pool's full list.
    Endpoints {
        /// The pool.
        pool: PoolName,
        /// The revision that this builds.
        revision: u64,
        /// At most [`crate::MAX_PART`] of its endpoints.
        endpoints: Vec<Endpoint>,
    },
    /// Apply what has been said of the pool since its `Pool` frame; answered by an ack or a nack.
    Commit {
        /// The pool.
        pool: PoolName,
        /// The revision.
        revision: u64,
    },
    /// The pool is gone or no longer yours.
    Remove {
        /// The pool.
        pool: PoolName,
        /// Why, for people.
        reason: String,
    },
    /// All wanted pools have been named; those not named before it are dropped.
    Synced,
    /// Nothing has changed; the stream lives.
    Heartbeat,
    /// The operator will close the stream.
    Goodbye(Goodbye),
    /// A type that this version doesn't know; ignored.
    Unknown,
}

/// From a sidecar to the operator.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientFrame {
    /// The first line.
    Hello(ClientHello),
    /// A revision is in use.
    Ack {
        /// The pool.
        pool: PoolName,
        /// The revision.
        revision: u64,
    },
    /// A revision was refused; the last good one stays in use.
    Nack(Nack),
    /// A type that this version doesn't know; ignored.
    Unknown,
}

/// The operator's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerHello {
    /// The version chosen among the sidecar's.
    pub version: u32,
    /// Revisions are compared within one lineage only.
    pub lineage: String,
    /// The zone that the sidecar's pod is in, where the operator knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// The sidecar's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientHello {
    /// Versions of the feed's language that it speaks.
    pub versions: Vec<u32>,
    /// The lineage of `have`, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<String>,
    /// The pools that it wants, `namespace/name`; `namespace/*` for all of a namespace.
    pub pools: Vec<String>,
    /// What it holds: pool → revision.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub have: BTreeMap<String, u64>,
}

/// Why a revision was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nack {
    /// The pool.
    pub pool: PoolName,
    /// The revision.
    pub revision: u64,
    /// Why, for people.
    pub reason: String,
}

/// Why the operator ends a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Goodbye {
    /// Why, for people.
    pub reason: String,
    /// Wait this long before the next attempt, in milliseconds.
    pub retry_after_ms: u64,
}

/// Why a line is no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MAX_LINE`]: the stream can't be followed any further.
    #[error("a line of over {MAX_LINE} bytes; end the stream and connect again")]
    TooLong,
    /// Not an envelope: the stream can't be followed any further.
    #[error("not a frame ({0}); end the stream and connect again")]
    Envelope(#[source] serde_json::Error),
    /// A frame that speaks of a pool names none, or no revision.
    #[error("a `{0}` frame lacks its pool, revision or body; end the stream and connect again")]
    Incomplete(&'static str),
    /// A pool's name is not `namespace/name`.
    #[error("`{0}` does not name a pool; write namespace/name")]
    PoolName(String),
    /// The body of one pool isn't understood: refuse this revision of this pool, nothing else.
    #[error("pool {pool} revision {revision} isn't understood: {source}")]
    Body {
        /// The pool.
        pool: PoolName,
        /// The revision.
        revision: u64,
        /// What isn't understood.
        #[source]
        source: serde_json::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct Envelope<B> {
    r#type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pool: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    body: Option<B>,
}

fn none<B>() -> Option<B> {
    None
}

#[derive(Serialize, Deserialize)]
struct Part<E> {
    endpoints: E,
}

#[derive(Serialize, Deserialize)]
struct Reason {
    reason: String,
}

fn line<B: Serialize>(kind: &str, pool: Option<&PoolName>, revision: Option<u64>, body: Option<B>) -> Vec<u8> {
    let envelope = Envelope { r#type: kind.into(), pool: pool.map(PoolName::to_string), revision, body };
    let mut out = serde_json::to_vec(&envelope).expect("frames hold nothing that JSON cannot");
    out.push(b'\n');
    out
}

type Raw = Envelope<Box<RawValue>>;

fn parse(line: &[u8]) -> Result<Raw, FrameError> {
    if line.len() > MAX_LINE {
        return Err(FrameError::TooLong);
    }
    serde_json::from_slice(line).map_err(FrameError::Envelope)
}

impl Raw {
    fn pool(&self, kind: &'static str) -> Result<(PoolName, u64), FrameError> {
        let name = self.pool.as_deref().ok_or(FrameError::Incomplete(kind))?;
        Ok((name.parse()?, self.revision.ok_or(FrameError::Incomplete(kind))?))
    }

    fn body<'a, T: Deserialize<'a>>(&'a self, kind: &'static str) -> Result<T, FrameError> {
        let raw = self.body.as_deref().ok_or(FrameError::Incomplete(kind))?;
        serde_json::from_str(raw.get()).map_err(FrameError::Envelope)
    }

    /// A body of which only its pool depends.
    fn pool_body<'a, T: Deserialize<'a>>(&'a self, kind: &'static str) -> Result<(PoolName, u64, T), FrameError> {
        let (pool, revision) = self.pool(kind)?;
        let raw = self.body.as_deref().ok_or(FrameError::Incomplete(kind))?;
        match serde_json::from_str(raw.get()) {
            Ok(body) => Ok((pool, revision, body)),
            Err(source) => Err(FrameError::Body { pool, revision, source }),
        }
    }
}

impl ServerFrame {
    /// The frame as one line, its newline included.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => line("hello", None, None, Some(hello)),
            Self::Pool { pool, revision, policy } => line("pool", Some(pool), Some(*revision), Some(policy)),
            Self::Endpoints { pool, revision, endpoints } => {
                line("endpoints", Some(pool), Some(*revision), Some(Part { endpoints }))
            }
            Self::Commit { pool, revision } => line::<()>("commit", Some(pool), Some(*revision), None),
            Self::Remove { pool, reason } => line("remove", Some(pool), None, Some(Reason { reason: reason.clone() })),
            Self::Synced => line::<()>("synced", None, None, None),
            Self::Heartbeat => line::<()>("heartbeat", None, None, None),
            Self::Goodbye(goodbye) => line("goodbye", None, None, Some(goodbye)),
            Self::Unknown => line::<()>("unknown", None, None, None),
        }
    }

    /// Reads one line, with or without its newline.
    pub fn decode(line: &[u8]) -> Result<Self, FrameError> {
        let raw = parse(line)?;
        Ok(match raw.r#type.as_str() {
            "hello" => Self::Hello(raw.body("hello")?),
            "pool" => {
                let (pool, revision, policy) = raw.pool_body("pool")?;
                Self::Pool { pool, revision, policy }
            }
            "endpoints" => {
                let (pool, revision, part): (_, _, Part<Vec<Endpoint>>) = raw.pool_body("endpoints")?;
                Self::Endpoints { pool, revision, endpoints: part.endpoints }
            }
            "commit" => {
                let (pool, revision) = raw.pool("commit")?;
                Self::Commit { pool, revision }
            }
            "remove" => {
                let pool = raw.pool.as_deref().ok_or(FrameError::Incomplete("remove"))?.parse()?;
                Self::Remove { pool, reason: raw.body::<Reason>("remove")?.reason }
            }
            "synced" => Self::Synced,
            "heartbeat" => Self::Heartbeat,
            "goodbye" => Self::Goodbye(raw.body("goodbye")?),
            _ => Self::Unknown,
        })
    }

    /// The lines that carry one pool whole: its policy, its endpoints in parts, and the commit.
    pub fn encode_pool(pool: &PoolName, revision: u64, policy: &Policy, endpoints: &[Endpoint]) -> Vec<u8> {
        let mut out = line("pool", Some(pool), Some(revision), Some(policy));
        for part in endpoints.chunks(crate::MAX_PART) {
            out.extend(line("endpoints", Some(pool), Some(revision), Some(Part { endpoints: part })));
        }
        out.extend(line::<()>("commit", Some(pool), Some(revision), None));
        out
    }
}

impl ClientFrame {
    /// The frame as one line, its newline included.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => line("hello", None, None, Some(hello)),
            Self::Ack { pool, revision } => line::<()>("ack", Some(pool), Some(*revision), None),
            Self::Nack(Nack { pool, revision, reason }) => {
                line("nack", Some(pool), Some(*revision), Some(Reason { reason: reason.clone() }))
            }
            Self::Unknown => line::<()>("unknown", None, None, None),
        }
    }

    /// Reads one line, with or without its newline.
    pub fn decode(line: &[u8]) -> Result<Self, FrameError> {
        let raw = parse(line)?;
        Ok(match raw.r#type.as_str() {
            "hello" => Self::Hello(raw.body("hello")?),
            "ack" => {
                let (pool, revision) = raw.pool("ack")?;
                Self::Ack { pool, revision }
            }
            "nack" => {
                let (pool, revision) = raw.pool("nack")?;
                Self::Nack(Nack { pool, revision, reason: raw.body::<Reason>("nack")?.reason })
            }
            _ => Self::Unknown,
        })
    }
}
