//! Consistent hashing over any of the tables: whom a key belongs to follows from ring keys, weights and the table's own settings
//! alone, so that all processes agree; health and load only move the walk along the key's own sequence of owners.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::bounded::{self, Bound};
use super::maglev::{self, Maglev};
use super::rendezvous::{self, Rendezvous};
use super::ring::{self, Ring};
use super::{Choice, Hunt, Table};
use crate::config::BuildError;
use crate::endpoint::Endpoint;
use crate::rng::Rng;

#[derive(Debug)]
pub(crate) struct Consistent {
    owners: Owners,
    bound: Option<Bound>,
}

#[derive(Debug)]
enum Owners {
    Ring(Ring),
    Maglev(Maglev),
    Rendezvous(Rendezvous),
}

/// What [`Consistent::try_new`] would say of members with these ring keys and weights, in any order.
pub(super) fn check<'a>(
    table: Table,
    hash_balance_factor: Option<u32>,
    members: impl IntoIterator<Item = (&'a str, u16)>,
) -> Result<(), BuildError> {
    hash_balance_factor.map_or(Ok(()), bounded::check)?;
    match table {
        Table::Ring { virtual_nodes } => ring::check(members, virtual_nodes),
        Table::Maglev { size } => {
            let ring_keys: BTreeSet<&str> = members.into_iter().map(|(ring_key, _)| ring_key).collect();
            maglev::check(size, ring_keys.len())
        }
        Table::Rendezvous => rendezvous::check(members.into_iter().count()),
    }
}

/// The same expression over whichever table it is.
macro_rules! over {
    ($owners:expr, $table:ident => $body:expr) => {
        match $owners {
            Owners::Ring($table) => $body,
            Owners::Maglev($table) => $body,
            Owners::Rendezvous($table) => $body,
        }
    };
}

impl Consistent {
    /// `members` in canonical order.
    pub(crate) fn try_new(table: Table, hash_balance_factor: Option<u32>, members: &[Arc<Endpoint>]) -> Result<Self, BuildError> {
        let bound = hash_balance_factor.map(|percent| Bound::try_new(percent, members)).transpose()?;
        let members = members.iter().map(|member| (member.ring_key(), member.weight()));
        let owners = match table {
            Table::Ring { virtual_nodes } => Owners::Ring(Ring::try_new(members, virtual_nodes)?),
            Table::Maglev { size } => Owners::Maglev(Maglev::try_new(members, size)?),
            Table::Rendezvous => Owners::Rendezvous(Rendezvous::try_new(members)?),
        };
        Ok(Self { owners, bound })
    }

    pub(crate) fn pick(&self, hunt: &Hunt<'_>, key: u64, rng: &mut impl Rng) -> Option<Choice> {
        over!(&self.owners, table => bounded::pick(hunt, table.walk(key), self.bound.as_ref(), rng))
    }

    /// The members' indices, each once, in the order in which picks, overflow and retries of a key ask them. Found as they are
    /// asked for.
    pub(crate) fn sequence(&self, key: u64, members: usize) -> impl Iterator<Item = usize> {
        let mut seen = vec![false; members];
        let fresh = move |&index: &usize| !std::mem::replace(&mut seen[index], true);
        let walk: Box<dyn Iterator<Item = usize> + '_> = over!(&self.owners, table => Box::new(table.walk(key)));
        walk.filter(fresh)
    }
}
