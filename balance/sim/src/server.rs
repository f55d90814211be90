//! One simulated server: slots, a queue in order of arrival, a speed that antagonists change, and what it tells those who ask.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use evenkeel_balance::{ProbeAnswer, ProbeLoad, Rng, SmallRng};

use crate::events::Nanos;
use crate::law::{Law, between, nanos, unit};
use crate::scenario::{Antagonist, Conduct, ServerSpec, Target};

/// A request on a server, by its number in the world's table.
pub(crate) type JobId = u32;

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) spec: ServerSpec,
    pub(crate) conduct: Conduct,
    /// Answers take this long, whatever the request.
    pub(crate) takes: Option<Law>,
    /// Speed as changes left it; the antagonist's factor comes on top.
    pub(crate) base_speed: f64,
    factor: f64,
    slots: u32,
    busy: u32,
    queue: VecDeque<(JobId, u64)>,
    /// Of the queue, those whose balancer still waits.
    waiting: u32,
    /// When the requests at work end, unordered.
    ends: Vec<Nanos>,
    /// Server time that probes cost and no service has paid yet.
    debt: Nanos,
    /// What it answers probes from.
    probes: ProbeLoad,
    /// Good answers so far, and slot time at work: what weighted round robin reads.
    pub(crate) good: u64,
    pub(crate) worked: Nanos,
    window: (Nanos, Nanos),
    /// Slot time at work, and slot time there was, within the measured window.
    pub(crate) busy_time: Nanos,
    pub(crate) slot_time: u128,
    slots_since: Nanos,
    rng: SmallRng,
}

impl Server {
    pub(crate) fn new(spec: ServerSpec, window: (Nanos, Nanos), rng: SmallRng) -> Self {
        Self {
            conduct: Conduct::Serving,
            takes: None,
            base_speed: spec.speed,
            factor: 1.0,
            slots: spec.slots,
            busy: 0,
            queue: VecDeque::new(),
            waiting: 0,
            ends: Vec::new(),
            debt: 0,
            probes: ProbeLoad::new(),
            good: 0,
            worked: 0,
            window,
            busy_time: 0,
            slot_time: 0,
            slots_since: 0,
            rng,
            spec,
        }
    }

    /// Requests it has, at work or waiting.
    pub(crate) fn in_flight(&self) -> u32 {
        self.busy + self.waiting
    }

    pub(crate) fn has_free_slot(&self) -> bool {
        self.busy < self.slots
    }

    pub(crate) fn enqueue(&mut self, job: JobId, work: Nanos) {
        self.queue.push_back((job, work));
        self.waiting += 1;
    }

    /// Its balancer doesn't wait any more: it will be passed over.
    pub(crate) fn abandon(&mut self) {
        self.waiting -= 1;
    }

    /// The next of the queue, abandoned or not, if a slot is free.
    pub(crate) fn next_queued(&mut self) -> Option<JobId> {
        if self.has_free_slot() { self.queue.pop_front().map(|(job, _)| job) } else { None }
    }

    /// A request leaves the queue for a slot.
    pub(crate) fn dequeued(&mut self) {
        self.waiting -= 1;
    }

    /// Begins a service; says when it ends.
    pub(crate) fn begin(&mut self, work: Nanos, now: Nanos) -> Nanos {
        let serves = match &self.takes {
            Some(law) => nanos(law.draw(&mut self.rng)),
            None => (work as f64 / self.speed()).round() as u64,
        };
        let end = now + serves + std::mem::take(&mut self.debt);
        self.busy += 1;
        if self.slots <= MOST_KNOWN {
            self.ends.push(end);
        }
        end
    }

    /// Ends a service.
    pub(crate) fn end(&mut self, began: Nanos, now: Nanos) {
        self.busy -= 1;
        if let Some(at) = self.ends.iter().position(|&end| end == now) {
            self.ends.swap_remove(at);
        }
        self.worked += now - began;
        let (from, to) = self.window;
        self.busy_time += now.min(to).saturating_sub(began.max(from));
    }

    /// A request has come; says how many there were before it.
    pub(crate) fn reached(&mut self) -> u32 {
        self.probes.began()
    }

    /// A request has ended; `latency` of a good answer that somebody waited for: what later estimates go by.
    pub(crate) fn left(&mut self, met: u32, latency: Option<Nanos>, now: Instant) {
        self.good += u64::from(latency.is_some());
        self.probes.ended(met, latency.map(Duration::from_nanos), now);
    }

    /// What it tells of itself along with a response.
    pub(crate) fn told(&self, now: Instant) -> ProbeAnswer {
        self.probes.answer(now)
    }

    /// Answers a probe, which the next service pays; one that hangs doesn't.
    pub(crate) fn probed(&mut self, cost: Nanos, now: Instant) -> Option<ProbeAnswer> {
        if self.conduct == Conduct::Hung {
            return None;
        }
        self.debt += cost;
        Some(self.told(now))
    }

    /// Work per second and slot, as of now.
    pub(crate) fn speed(&self) -> f64 {
        self.base_speed * self.factor
    }

    /// What the antagonist leaves from now on; says when it draws again.
    pub(crate) fn disturb(&mut self, antagonist: &Antagonist, now: Nanos, rng: &mut impl Rng) -> Nanos {
        let mut chance = unit(rng);
        let mut range = antagonist.leaves.last().map_or((1.0, 1.0), |last| last.1);
        for &(part, candidate) in &antagonist.leaves {
            if chance <= part {
                range = candidate;
                break;
            }
            chance -= part;
        }
        let leaves = between(range.0, range.1, rng);
        match antagonist.of {
            Target::Speed => self.factor = leaves,
            Target::Slots => {
                self.count_slots(now);
                self.slots = (f64::from(self.spec.slots) * leaves).round() as u32;
            }
        }
        now + nanos(between(antagonist.pause.0, antagonist.pause.1, rng))
    }

    /// Adds the slot time since the last change of the number of slots.
    pub(crate) fn count_slots(&mut self, now: Nanos) {
        let (from, to) = self.window;
        let span = now.min(to).saturating_sub(self.slots_since.max(from));
        self.slot_time += u128::from(span) * u128::from(self.slots);
        self.slots_since = now;
    }

    /// When a request with this work would end if it came now: knows the queue, what is left to do and the speed of the moment.
    pub(crate) fn would_end(&self, work: Nanos, now: Nanos, scratch: &mut Vec<Nanos>) -> Nanos {
        let speed = self.speed();
        let own = match &self.takes {
            Some(law) => nanos(law.mean()),
            None => (work as f64 / speed) as u64,
        };
        match self.conduct {
            Conduct::Hung | Conduct::Failing(_) => Nanos::MAX,
            Conduct::Serving if self.slots == 0 => Nanos::MAX,
            Conduct::Serving if self.busy < self.slots => now + own,
            Conduct::Serving => {
                scratch.clear();
                scratch.extend_from_slice(&self.ends);
                // Where antagonists took slots, the first to end aren't replaced.
                scratch.sort_unstable_by(|a, b| b.cmp(a));
                scratch.truncate(self.slots as usize);
                for &(_, waiting) in &self.queue {
                    Self::occupy(scratch, (waiting as f64 / speed) as u64, now);
                }
                Self::occupy(scratch, own, now)
            }
        }
    }

    fn occupy(ends: &mut [Nanos], work: Nanos, now: Nanos) -> Nanos {
        let Some(first) = ends.iter_mut().min() else { return now + work };
        *first = (*first).max(now) + work;
        *first
    }
}

/// Slots up to which the clairvoyant arm knows the end of each service.
const MOST_KNOWN: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::{Purpose, stream};

    fn server(slots: u32) -> Server {
        let spec = ServerSpec { slots, ..ServerSpec::default() };
        Server::new(spec, (0, Nanos::MAX), stream(1, Purpose::Servers, 0))
    }

    #[test]
    fn a_probe_is_paid_by_the_next_service() {
        let mut server = server(1);
        server.probed(40, Instant::now());
        server.probed(40, Instant::now());
        assert_eq!(server.begin(1_000, 0), 1_080);
        server.end(0, 1_080);
        assert_eq!(server.begin(1_000, 2_000), 3_000);
    }

    #[test]
    fn the_end_foreseen_counts_what_waits() {
        let mut server = server(2);
        let mut scratch = Vec::new();
        assert_eq!(server.would_end(50, 10, &mut scratch), 60);
        server.begin(100, 0);
        server.begin(300, 0);
        server.enqueue(1, 150);
        // The waiting one runs 100–250, ours after it on the same slot.
        assert_eq!(server.would_end(50, 10, &mut scratch), 300);
    }
}
