//! One source's session: answers go back to it while it lasts, and it ends when neither side has said anything for the idle time.
//! An endpoint that refuses loses it to another one at the next datagram.

use super::leg::Leg;
use super::listener::Listener;
use super::places::Place;
use crate::lifecycle::Open;
use crate::metrics::OpenConnection;
use crate::proxy::flag::Flag;
use evenkeel_balance::Endpoint;
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// A session is looked at so often, at the latest; once the process has been told to stop, this much silence ends it.
const LOOK: Duration = Duration::from_secs(5);
/// Answers that are passed on until others have their turn.
const BATCH: usize = 32;

/// A session; in the listener's table until it ends.
pub(super) struct Session {
    pub(super) source: SocketAddr,
    idle: Duration,
    moved_at: Cell<Instant>,
    leg: RefCell<Option<Rc<Leg>>>,
    /// The endpoint that refused last.
    avoided: RefCell<Option<Arc<Endpoint>>>,
    /// The leg is another one, or it is the end.
    changed: Notify,
    ended: Cell<bool>,
    /// Where it is among its source's sessions.
    pub(super) position: Cell<usize>,
    accounts: Cell<Option<(Place, Open, OpenConnection)>>,
}

impl Session {
    pub(super) fn new(source: SocketAddr, idle: Duration, leg: Leg, accounts: (Place, Open, OpenConnection)) -> Self {
        Self {
            source,
            idle,
            moved_at: Cell::new(Instant::now()),
            leg: RefCell::new(Some(Rc::new(leg))),
            avoided: RefCell::default(),
            changed: Notify::new(),
            ended: Cell::new(false),
            position: Cell::new(0),
            accounts: Cell::new(Some(accounts)),
        }
    }

    /// How long neither side has said anything.
    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.moved_at.get())
    }

    /// Something was said.
    pub(super) fn touch(&self, now: Instant) {
        self.moved_at.set(now);
    }

    /// The way to its endpoint, if it has one now.
    pub(super) fn leg(&self) -> Option<Rc<Leg>> {
        self.leg.borrow().clone()
    }

    /// The endpoint that refused last.
    pub(super) fn avoided(&self) -> Option<Arc<Endpoint>> {
        self.avoided.borrow().clone()
    }

    /// It goes to another endpoint from now on.
    pub(super) fn move_to(&self, leg: Leg) -> Rc<Leg> {
        let leg = Rc::new(leg);
        *self.leg.borrow_mut() = Some(leg.clone());
        self.changed.notify_one();
        leg
    }

    /// The endpoint refuses, so that the next datagram must find another one.
    pub(super) fn refuse(&self, leg: &Rc<Leg>) {
        leg.refused();
        let mut current = self.leg.borrow_mut();
        if current.as_ref().is_some_and(|current| Rc::ptr_eq(current, leg)) {
            *current = None;
            *self.avoided.borrow_mut() = Some(leg.member.endpoint().clone());
            self.changed.notify_one();
        }
    }

    /// It is over: its place is free at once. To be called by its listener.
    pub(super) fn end(&self, flag: Flag) {
        if let Some(leg) = self.leg.take() {
            leg.set_flag(flag);
        }
        self.accounts.take();
        self.ended.set(true);
        self.changed.notify_one();
    }

    /// Passes answers on until the session ends.
    pub(super) async fn run(self: Rc<Self>, listener: Rc<Listener>) {
        let mut timer = pin!(sleep_until(self.moved_at.get() + self.idle.min(LOOK)));
        while !self.ended.get() {
            let leg = self.leg();
            let answers = async {
                match &leg {
                    Some(leg) => self.pass_answers(leg, &listener).await,
                    None => pending().await,
                }
            };
            let gone = async {
                match &leg {
                    Some(leg) => leg.member.gone().await,
                    None => pending().await,
                }
            };
            let ended = tokio::select! {
                _ = answers => {
                    leg.iter().for_each(|leg| self.refuse(leg));
                    None
                }
                () = gone => Some(Flag::EndpointGone),
                () = self.changed.notified() => None,
                () = &mut timer => {
                    let now = Instant::now();
                    let silent = self.silent_for(now);
                    let limit = if listener.is_draining() { self.idle.min(LOOK) } else { self.idle };
                    timer.as_mut().reset(now + (limit.saturating_sub(silent)).clamp(Duration::from_millis(1), LOOK));
                    (silent >= limit).then_some(Flag::None)
                }
            };
            if let Some(flag) = ended {
                return listener.end(&self, flag);
            }
        }
    }

    /// Passes on what the endpoint says, until it refuses.
    async fn pass_answers(&self, leg: &Leg, listener: &Listener) -> io::Error {
        loop {
            match leg.socket.ready(Interest::READABLE | Interest::ERROR).await {
                Ok(ready) if ready.is_error() => match leg.take_error() {
                    Some(error) => return error,
                    None => continue,
                },
                Ok(_) => {}
                Err(error) => return error,
            }
            let now = Instant::now();
            for _ in 0..BATCH {
                match listener.pass_answer(leg, self.source, now) {
                    Ok(()) => self.touch(now),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return error,
                }
            }
            tokio::task::coop::consume_budget().await;
        }
    }
}
