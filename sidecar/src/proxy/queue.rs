//! Who waits for room in a pool, in the order of arrival: so many at most, and each knows itself for how long. Room that comes free
//! calls one of them. While nobody waits, an end of a request costs one look at a counter.

use std::collections::BTreeMap;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{Relaxed, SeqCst},
    fence,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The most that wait for one pool, whatever its policy says.
pub(crate) const MAX_PENDING: usize = 10_000;

/// One pool's queue, shared by the workers.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Those who wait, called or not; read at each end of a request.
    pending: AtomicUsize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    /// Those who have not been called since they last found no room, by number.
    standing: BTreeMap<u64, Waker>,
    /// There may be room for more than those who have been called.
    more: bool,
    /// Somebody prompts it from time to time.
    prompted: bool,
}

/// One's place in the queue; given up when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    queue: Arc<Queue>,
    number: u64,
}

impl Queue {
    /// How many wait.
    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Relaxed)
    }

    /// Joins the end, standing; `None` if so many wait already. Only the first of all may look for room before it is called: for the
    /// others what is free now is somebody else's.
    pub(crate) fn join(self: &Arc<Self>, most: usize) -> Option<Ticket> {
        let mut line = self.line();
        if self.pending() >= most.min(MAX_PENDING) {
            return None;
        }
        let number = line.next;
        line.next += 1;
        line.standing.insert(number, Waker::noop().clone());
        self.pending.fetch_add(1, SeqCst);
        drop(line);
        // Either who frees room sees us in the count, or we see the room.
        fence(SeqCst);
        Some(Ticket { queue: self.clone(), number })
    }

    /// Some room has come free, counted as such before this call.
    pub(crate) fn call(&self) {
        if self.pending.load(SeqCst) > 0 {
            self.call_next();
        }
    }

    #[cold]
    fn call_next(&self) {
        let mut line = self.line();
        let called = line.standing.pop_first();
        // Who has been called already finds it, or calls the next in its place.
        line.more |= called.is_none() && self.pending() > 0;
        drop(line);
        if let Some((_, waker)) = called {
            waker.wake();
        }
    }

    /// There may be room that nobody called for: an endpoint has come back, another pool has left one. Whether anybody waits still.
    pub(crate) fn prompt(&self) -> bool {
        let mut line = self.line();
        line.prompted = self.pending() > 0;
        line.more |= line.prompted;
        let (goes_on, called) = (line.prompted, line.standing.pop_first());
        drop(line);
        if let Some((_, waker)) = called {
            waker.wake();
        }
        goes_on
    }

    /// Whether the caller is to [`Queue::prompt`] it from time to time until that says no: nobody else does.
    pub(crate) fn needs_prompter(&self) -> bool {
        !std::mem::replace(&mut self.line().prompted, true)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // The line is whole after each statement.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Whether nobody who still waits came earlier.
    pub(crate) fn is_first(&self) -> bool {
        // Those who have been called don't stand, but count.
        let line = self.queue.line();
        self.queue.pending() == line.standing.len()
            && line.standing.first_key_value().is_some_and(|(first, _)| *first == self.number)
    }

    /// Ready once called. Who looks for room then stands in line again first, lest a call be missed meanwhile.
    pub(crate) fn poll_called(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut line = self.queue.line();
        match line.standing.get_mut(&self.number) {
            Some(waker) => {
                waker.clone_from(cx.waker());
                Poll::Pending
            }
            None => {
                line.standing.insert(self.number, Waker::noop().clone());
                Poll::Ready(())
            }
        }
    }

    /// There was no room, or none for this one (`only_for_me`: another might take it).
    pub(crate) fn found_none(&self, only_for_me: bool) {
        let mut line = self.queue.line();
        line.more &= only_for_me;
        let next = if only_for_me { line.standing.range(self.number + 1..).next().map(|(number, _)| *number) } else { None };
        let called = next.and_then(|next| line.standing.remove(&next));
        drop(line);
        called.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut line = self.queue.line();
        let was_called = line.standing.remove(&self.number).is_none();
        let left = self.queue.pending.fetch_sub(1, SeqCst) - 1;
        // A call that this one doesn't answer any more is the next one's.
        line.more |= was_called;
        let called = if line.more { line.standing.pop_first() } else { None };
        line.more &= left > 0;
        drop(line);
        if let Some((_, waker)) = called {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_balance::{Rng, SmallRng};
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;

    #[derive(Default)]
    struct Bell(AtomicBool);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.store(true, SeqCst);
        }
    }

    /// One who waits; rings when it is to look for room.
    struct Client {
        ticket: Ticket,
        bell: Arc<Bell>,
        /// It was called, but others had been quicker.
        has_looked: bool,
    }

    impl Client {
        fn join(queue: &Arc<Queue>) -> Self {
            let client = Self { ticket: queue.join(100).expect("isn't full"), bell: Arc::default(), has_looked: false };
            assert!(!client.is_called());
            client
        }

        fn is_called(&self) -> bool {
            self.bell.0.store(false, SeqCst);
            self.ticket.poll_called(&mut Context::from_waker(&self.bell.clone().into())).is_ready()
        }

        fn rings(&self) -> bool {
            self.bell.0.load(SeqCst)
        }
    }

    #[test]
    fn as_many_wait_as_may_and_never_more_than_ten_thousand() {
        let queue = Arc::new(Queue::default());
        assert!(queue.join(0).is_none());
        let held: Vec<_> = (0..3).map_while(|_| queue.join(2)).collect();
        assert_eq!((held.len(), queue.pending()), (2, 2));
        let all: Vec<_> = std::iter::from_fn(|| queue.join(usize::MAX)).collect();
        assert_eq!(all.len() + held.len(), MAX_PENDING);
        drop((held, all));
        assert_eq!(queue.pending(), 0);
    }

    #[test]
    fn one_call_rings_one_bell_and_the_first_comes_first() {
        let queue = Arc::new(Queue::default());
        let clients: Vec<_> = (0..4).map(|_| Client::join(&queue)).collect();
        let ringing = || clients.iter().map(Client::rings).collect::<Vec<_>>();
        queue.call();
        assert_eq!(ringing(), [true, false, false, false]);
        queue.call();
        assert_eq!(ringing(), [true, true, false, false]);
    }

    #[test]
    fn only_the_first_of_all_may_look_before_it_is_called() {
        let queue = Arc::new(Queue::default());
        let first = queue.join(9).expect("isn't full");
        assert!(first.is_first());
        let second = queue.join(9).expect("isn't full");
        assert!(!second.is_first());
        queue.call();
        assert!(!second.is_first(), "the room is the first one's, though it doesn't stand any more");
        drop(first);
        assert!(!second.is_first(), "the call is its now");
        assert!(second.poll_called(&mut Context::from_waker(Waker::noop())).is_ready());
    }

    #[test]
    fn who_leaves_unserved_hands_its_call_on() {
        let queue = Arc::new(Queue::default());
        let (first, second) = (Client::join(&queue), Client::join(&queue));
        queue.call();
        assert!(first.rings() && !second.rings());
        drop(first);
        assert!(second.rings());
    }

    #[test]
    fn who_has_room_for_others_only_calls_the_one_behind() {
        let queue = Arc::new(Queue::default());
        let (first, second) = (Client::join(&queue), Client::join(&queue));
        queue.call();
        assert!(first.is_called());
        first.ticket.found_none(true);
        assert!(second.rings() && !first.is_called());
    }

    #[test]
    fn a_prompt_lets_in_as_many_as_there_is_room_for_one_after_the_other() {
        let queue = Arc::new(Queue::default());
        let mut clients: Vec<_> = (0..5).map(|_| Client::join(&queue)).collect();
        assert!(queue.needs_prompter() && !queue.needs_prompter() && queue.prompt());
        for _ in 0..3 {
            assert_eq!(clients.iter().filter(|client| client.rings()).count(), 1, "no herd");
            assert!(clients[0].is_called());
            clients.remove(0);
        }
        assert!(clients[0].is_called());
        clients[0].ticket.found_none(false);
        assert!(!clients[1].rings(), "the fourth found no room, so the fifth needn't look");
        clients.clear();
        assert!(!queue.prompt() && queue.needs_prompter());
    }

    /// Rooms come free, clients come, look and leave, in any order of these steps: nobody is called before whoever came
    /// earlier, and no room stays empty while somebody waits and nobody is called.
    #[test]
    fn no_room_is_forgotten_and_nobody_overtakes_in_any_order_of_steps() {
        for seed in 0..2_000 {
            let mut rng = SmallRng::new(seed);
            let queue = Arc::new(Queue::default());
            let (mut free, mut taken, mut waiting) = (2usize, 0usize, Vec::<Client>::new());
            for _ in 0..200 {
                match rng.below(4) {
                    0 if queue.pending() == 0 && free > 0 => (free, taken) = (free - 1, taken + 1),
                    0 => waiting.push(Client::join(&queue)),
                    1 if taken > 0 => {
                        (free, taken) = (free + 1, taken - 1);
                        queue.call();
                    }
                    2 if !waiting.is_empty() => drop(waiting.remove(rng.below(waiting.len()))),
                    _ => {
                        let Some(at) = waiting.iter().position(Client::rings) else { continue };
                        if waiting[at].is_called() && free > 0 {
                            (free, taken) = (free - 1, taken + 1);
                            drop(waiting.remove(at));
                        } else {
                            waiting[at].ticket.found_none(false);
                            waiting[at].has_looked = true;
                            assert!(!waiting[at].is_called(), "it waits again");
                        }
                    }
                }
                let called = waiting.iter().any(Client::rings);
                assert!(free == 0 || waiting.is_empty() || called, "seed {seed}: {free} free, {} wait", waiting.len());
                let last = waiting.iter().rposition(Client::rings).unwrap_or(0);
                assert!(
                    waiting[..last.min(waiting.len())].iter().all(|client| client.rings() || client.has_looked),
                    "seed {seed}: one was passed over"
                );
            }
        }
    }
}
