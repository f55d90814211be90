//! From frames to changes: a pool is whole only at its commit, a pool that isn't understood is refused alone, and what has
//! not been named by `synced` goes. Pure; nothing is in use before it is whole.

use super::super::refusal::Refusal;
use super::super::{Incoming, MAX_ENDPOINTS, MAX_POOLS};
use evenkeel_wire::{Endpoint, FrameError, Goodbye, Policy, PoolName, ServerFrame, VERSION};
use std::collections::{BTreeMap, BTreeSet};

/// What the sidecar holds of a lineage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// The lineage, once an operator has said one.
    pub(super) lineage: Option<String>,
    /// The revision of each pool that came in it.
    pub(super) revisions: BTreeMap<PoolName, u64>,
}

/// One stream's frames so far.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    greeted: bool,
    building: BTreeMap<PoolName, Building>,
    named: BTreeSet<PoolName>,
}

#[derive(Debug)]
struct Building {
    revision: u64,
    /// `None` after a refusal: the rest of the revision is passed over.
    parts: Option<(Box<Policy>, Vec<Endpoint>)>,
}

/// What a frame asks for.
#[derive(Debug)]
pub(super) enum Change {
    /// Nothing (yet).
    None,
    /// The operator has said who it is; another lineage than before makes all revisions meaningless.
    Greeted {
        /// Its lineage.
        lineage: String,
        /// The zone of this process, where the operator knows it.
        zone: Option<String>,
    },
    /// Put this into use and answer.
    Apply(Box<Incoming>),
    /// Keep what is in use and say so.
    Keep {
        /// The pool.
        pool: PoolName,
        /// The revision in use.
        revision: u64,
    },
    /// Answer that it isn't understood.
    Refuse {
        /// The pool.
        pool: PoolName,
        /// The revision that is refused.
        revision: u64,
        /// Why.
        refusal: Refusal,
    },
    /// Take it out of use.
    Remove {
        /// The pool.
        pool: PoolName,
        /// Why.
        reason: String,
    },
    /// All wanted pools have been named, these.
    Synced {
        /// All that may stay.
        named: BTreeSet<PoolName>,
    },
    /// The operator ends the stream.
    Goodbye(Goodbye),
}

/// Why the stream cannot be followed any further.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// A line is no frame.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// The first line is no `hello`, or there are two.
    #[error("the feed must start with one `hello`")]
    NoHello,
    /// It speaks another version.
    #[error("the operator chose version {0} of the feed, this sidecar speaks {VERSION}; run versions that fit")]
    Version(u32),
    /// Endpoints or a commit of a revision that no `pool` frame has begun.
    #[error("pool {0}: a part of revision {1} without its beginning")]
    OutOfOrder(PoolName, u64),
    /// Far too many pools begun and not committed.
    #[error("over {MAX_POOLS} pools begun at once")]
    TooManyBegun,
}

impl Assembly {
    /// Takes one line's frame. What is held changes by the caller's hand only.
    pub(super) fn take(&mut self, frame: Result<ServerFrame, FrameError>, held: &Held) -> Result<Change, StreamError> {
        let frame = match frame {
            Err(FrameError::Body { pool, revision, source }) if self.greeted => {
                return Ok(self.refuse(pool, revision, Refusal::NotUnderstood(source.to_string())));
            }
            frame => frame?,
        };
        match frame {
            ServerFrame::Hello(hello) if !self.greeted => {
                self.greeted = true;
                if hello.version != VERSION {
                    return Err(StreamError::Version(hello.version));
                }
                Ok(Change::Greeted { lineage: hello.lineage, zone: hello.zone })
            }
            ServerFrame::Goodbye(goodbye) => Ok(Change::Goodbye(goodbye)),
            ServerFrame::Hello(_) => Err(StreamError::NoHello),
            _ if !self.greeted => Err(StreamError::NoHello),
            ServerFrame::Pool { pool, revision, policy } => self.begin(pool, revision, policy),
            ServerFrame::Endpoints { pool, revision, endpoints } => self.extend(pool, revision, endpoints),
            ServerFrame::Commit { pool, revision } => self.commit(pool, revision, held),
            ServerFrame::Remove { pool, reason } => {
                self.building.remove(&pool);
                self.named.remove(&pool);
                Ok(Change::Remove { pool, reason })
            }
            ServerFrame::Synced => Ok(Change::Synced { named: self.named.clone() }),
            ServerFrame::Heartbeat | ServerFrame::Unknown => Ok(Change::None),
        }
    }

    fn begin(&mut self, pool: PoolName, revision: u64, policy: Box<Policy>) -> Result<Change, StreamError> {
        if self.building.len() >= MAX_POOLS && !self.building.contains_key(&pool) {
            return Err(StreamError::TooManyBegun);
        }
        self.named.insert(pool.clone());
        self.building.insert(pool, Building { revision, parts: Some((policy, Vec::new())) });
        Ok(Change::None)
    }

    fn extend(&mut self, pool: PoolName, revision: u64, part: Vec<Endpoint>) -> Result<Change, StreamError> {
        let Some(building) = self.building.get_mut(&pool).filter(|building| building.revision == revision) else {
            return Err(StreamError::OutOfOrder(pool, revision));
        };
        let Some((_, endpoints)) = &mut building.parts else { return Ok(Change::None) };
        endpoints.extend(part);
        if endpoints.len() > MAX_ENDPOINTS {
            return Ok(self.refuse(pool, revision, Refusal::TooManyEndpoints));
        }
        Ok(Change::None)
    }

    fn commit(&mut self, pool: PoolName, revision: u64, held: &Held) -> Result<Change, StreamError> {
        let held = held.revisions.get(&pool).copied();
        let Some(Building { revision: begun, parts }) = self.building.remove(&pool) else {
            self.named.insert(pool.clone());
            return Ok(match held {
                Some(held) if held == revision => Change::Keep { pool, revision },
                _ => Change::Refuse { pool, revision, refusal: Refusal::NotHeld { revision } },
            });
        };
        if begun != revision {
            return Err(StreamError::OutOfOrder(pool, revision));
        }
        // A refused revision has had its answer.
        let Some((policy, mut endpoints)) = parts else { return Ok(Change::None) };
        if let Some(held) = held.filter(|held| *held > revision) {
            return Ok(Change::Refuse { pool, revision, refusal: Refusal::Older { revision, held } });
        }
        endpoints.shrink_to_fit();
        Ok(Change::Apply(Box::new(Incoming { name: pool, revision, policy: *policy, endpoints })))
    }

    fn refuse(&mut self, pool: PoolName, revision: u64, refusal: Refusal) -> Change {
        self.named.insert(pool.clone());
        self.building.insert(pool.clone(), Building { revision, parts: None });
        Change::Refuse { pool, revision, refusal }
    }
}

#[cfg(test)]
mod tests;
