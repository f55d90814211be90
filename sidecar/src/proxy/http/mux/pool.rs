//! The shared HTTP/2 connections of one worker, by where they lead.

use super::{Shared, Stream};
use crate::metrics::OpenConnection;
use crate::proxy::capacity::Capacity;
use crate::proxy_protocol::Addresses;
use crate::table::Member;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Mutex;

/// So many keys are known before it is looked which are of no use any more.
const FEW: usize = 16;

/// The connections of one worker.
#[derive(Default)]
pub(in crate::proxy::http) struct Pool(RefCell<Known>);

#[derive(Default)]
struct Known {
    ways: HashMap<Key, Ways>,
    /// With so many, what is of no use is forgotten: seldom enough to cost little for each.
    full: usize,
}

/// The member's address and, where its endpoint is told whose connection it is, whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    member: usize,
    whose: Option<Addresses>,
}

impl Key {
    pub(super) fn new(member: &Arc<Member>, whose: Option<Addresses>) -> Self {
        Self { member: Arc::as_ptr(member).addr(), whose }
    }

    /// Whether all clients' requests may use what is there.
    pub(super) fn is_shared(&self) -> bool {
        self.whose.is_none()
    }
}

/// The ways to one member.
struct Ways {
    /// Kept alive, and with it the address that is its key.
    member: Arc<Member>,
    /// It has chosen HTTP/1.1 where it had the choice: then connections aren't shared, and nobody needs to wait for one.
    chose_http1: bool,
    open: Vec<Open>,
    /// Whoever holds it makes the next connection.
    turn: Arc<Mutex<()>>,
}

/// A connection; it counts, and has its place where places are few, while it can be found here.
struct Open {
    shared: Rc<Shared>,
    counted: OpenConnection,
}

impl Ways {
    /// Whether there is a connection, or somebody who wants to make one.
    fn are_in_use(&self) -> bool {
        !self.open.is_empty() || Arc::strong_count(&self.turn) > 1
    }
}

impl Known {
    /// What is known of a key, from now on if not before.
    fn enter(&mut self, key: Key, member: &Arc<Member>) -> &mut Ways {
        if self.ways.len() >= self.full && !self.ways.contains_key(&key) {
            self.ways.retain(|key, ways| ways.are_in_use() || key.is_shared() && !ways.member.is_gone());
            self.full = FEW.max(2 * self.ways.len());
        }
        self.ways.entry(key).or_insert_with(|| Ways {
            member: member.clone(),
            chose_http1: false,
            open: Vec::new(),
            turn: Arc::default(),
        })
    }
}

impl Pool {
    /// A stream of a connection that has room, if there is one; else the right to wait for one's turn to make another.
    pub(super) fn find(&self, key: Key, member: &Arc<Member>) -> Result<Stream, Arc<Mutex<()>>> {
        let mut known = self.0.borrow_mut();
        let ways = known.enter(key, member);
        let free = ways.open.iter().find(|open| open.shared.has_room());
        free.map(|open| Stream::unopened(open.shared.clone())).ok_or_else(|| ways.turn.clone())
    }

    /// From now on, requests find it.
    pub(super) fn add(&self, key: Key, shared: Rc<Shared>, counted: OpenConnection) {
        if let Some(ways) = self.0.borrow_mut().ways.get_mut(&key) {
            ways.open.push(Open { shared, counted });
        }
    }

    /// From now on, none does; it counts until what is returned is dropped.
    pub(super) fn remove(&self, key: Key, shared: &Rc<Shared>) -> Option<OpenConnection> {
        let ways = &mut self.0.borrow_mut().ways;
        let left = ways.get_mut(&key)?;
        let at = left.open.iter().position(|open| Rc::ptr_eq(&open.shared, shared));
        let removed = at.map(|at| left.open.swap_remove(at).counted);
        if !left.are_in_use() {
            ways.remove(&key);
        }
        removed
    }

    pub(super) fn has_chosen_http1(&self, key: Key) -> bool {
        self.0.borrow().ways.get(&key).is_some_and(|ways| ways.chose_http1)
    }

    pub(super) fn note_choice(&self, key: Key, http1: bool) {
        self.0.borrow_mut().ways.get_mut(&key).into_iter().for_each(|ways| ways.chose_http1 = http1);
    }

    /// Whether a connection without a stream is to be closed: places are few, and it is but one client's or another worker wants
    /// its place. That it wants one is forgotten with a yes.
    pub(super) fn yields(&self, key: Key, shared: &Rc<Shared>, worker: usize) -> bool {
        let known = self.0.borrow();
        let mut open = known.ways.get(&key).into_iter().flat_map(|ways| &ways.open);
        let permit = open.find(|open| Rc::ptr_eq(&open.shared, shared)).and_then(|open| open.counted.permit());
        permit.is_some_and(|permit| !key.is_shared() || permit.is_wanted(worker))
    }

    /// Closes a connection of the pool (to this member, if one is named) without a stream; whether there was one.
    pub(in crate::proxy::http) fn close_idle(&self, capacity: &Arc<Capacity>, member: Option<&Arc<Member>>) -> bool {
        let is_meant = |ways: &&mut Ways| member.is_none_or(|member| Arc::ptr_eq(member, &ways.member));
        let is_of_pool = |open: &Open| open.counted.permit().is_some_and(|permit| permit.is_of(capacity));
        let mut known = self.0.borrow_mut();
        let closed = known.ways.values_mut().filter(is_meant).find_map(|ways| {
            let at = ways.open.iter().position(|open| is_of_pool(open) && !open.shared.is_active())?;
            Some(ways.open.swap_remove(at))
        });
        // Its driver, next in turn on this thread, closes the socket.
        closed.inspect(|open| open.shared.leave()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::fixture::Fixture;
    use std::net::{Ipv4Addr, SocketAddr};

    #[test]
    fn what_is_known_of_one_client_alone_is_forgotten_with_it() {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let fixture = Fixture::new(crate::control::tests::policy(), &[at(1)]);
        let entry = fixture.pool();
        let member = entry.members().next().expect("a member");
        let key = |port| Key::new(member, Some(Addresses { source: at(port), destination: at(2) }));
        let pool = Pool::default();
        let first = pool.find(key(999), member);
        for port in 1_000..2_000 {
            assert!(pool.find(key(port), member).is_err(), "there is no connection");
            pool.note_choice(key(port), true);
        }
        assert!(pool.find(Key::new(member, None), member).is_err());
        let known = &pool.0.borrow().ways;
        assert!(known.len() <= FEW, "{} are known", known.len());
        assert!(known.contains_key(&key(999)), "it is at work");
        drop(first);
    }
}
