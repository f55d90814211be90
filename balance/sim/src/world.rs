//! One run: a scenario, an arm and a seed make an [`Outcome`], the same one every time. Arrivals, work and antagonists draw from
//! streams of their own, so that all arms of a seed meet the same requests at the same moments on servers that are disturbed
//! alike.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use evenkeel_balance::{InFlight, ProbeAnswer, SmallRng};

use crate::arm::{Arm, Ask, Balancer, Ending};
use crate::events::{Nanos, Queue};
use crate::law::{Purpose, nanos, stream};
use crate::outcome::{End, Outcome, Record};
use crate::plain::Feedback;
use crate::scenario::{Conduct, Event, Scenario};
use crate::server::{JobId, Server};
use crate::traffic::{Arrival, Traffic};

/// What is due at a moment. Arrivals and timeouts come in order of time by themselves and don't pass through the queue.
#[derive(Debug, Clone, Copy)]
enum Due {
    /// A request reaches its server.
    Reach(JobId),
    /// A service ends.
    Finish(JobId),
    /// An answer reaches its balancer.
    Answer(JobId, bool),
    /// A balancer's probe reaches a server.
    Probe(u32, u32),
    /// What it was told reaches the balancer.
    Told(u32, u32, ProbeAnswer),
    Disturb(usize),
    Change(usize),
}

#[derive(Debug, Default)]
struct Request {
    arrived: Nanos,
    work: Nanos,
    class: Option<u64>,
    balancer: u32,
    /// The attempt that it waits for: number, server, when it was sent, what counts it.
    attempt: u32,
    server: u32,
    sent: Nanos,
    lease: Option<InFlight>,
    job: JobId,
    tried: Vec<u32>,
    /// Of this place in the table; older events of another request don't fit.
    generation: u32,
}

/// An attempt on a server, from sending to answer.
#[derive(Debug, Clone, Copy, Default)]
struct Job {
    request: u32,
    generation: u32,
    attempt: u32,
    server: u32,
    work: Nanos,
    state: State,
    reached: Nanos,
    began: Nanos,
    took: Nanos,
    in_flight: u32,
    queue: u32,
    told: ProbeAnswer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Sent,
    Queued,
    /// Queued, but nobody waits any more.
    Abandoned,
    AtWork,
}

struct World<'a> {
    scenario: &'a Scenario,
    origin: Instant,
    now: Nanos,
    queue: Queue<Due>,
    timeouts: VecDeque<(Nanos, u32, u32, u32)>,
    servers: Vec<Server>,
    present: Vec<bool>,
    balancers: Vec<Balancer>,
    traffic: Traffic<'a>,
    requests: Vec<Request>,
    free_requests: Vec<u32>,
    jobs: Vec<Job>,
    free_jobs: Vec<JobId>,
    antagonists: Vec<SmallRng>,
    picks: Vec<SmallRng>,
    /// Of no meaning between calls.
    targets: Vec<usize>,
    outcome: Outcome,
}

/// Runs a scenario.
pub fn run(scenario: &Scenario, arm: &Arm, seed: u64) -> Outcome {
    let mut world = World::new(scenario, arm, seed);
    world.begin();
    world.go();
    world.settle()
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, arm: &Arm, seed: u64) -> Self {
        let origin = Instant::now();
        let window = (nanos(scenario.warm_up), nanos(scenario.length));
        let count = scenario.balancers.len();
        let servers = scenario.servers.iter().enumerate();
        Self {
            scenario,
            origin,
            now: 0,
            queue: Queue::new(),
            timeouts: VecDeque::new(),
            servers: servers.map(|(n, spec)| Server::new(spec.clone(), window, stream(seed, Purpose::Servers, n))).collect(),
            present: scenario.servers.iter().map(|spec| spec.present).collect(),
            balancers: (0..count).map(|number| Balancer::new(arm, scenario, number, seed, origin)).collect(),
            traffic: Traffic::new(scenario, seed),
            requests: Vec::new(),
            free_requests: Vec::new(),
            jobs: Vec::new(),
            free_jobs: Vec::new(),
            antagonists: (0..scenario.servers.len()).map(|n| stream(seed, Purpose::Antagonists, n)).collect(),
            picks: (0..count).map(|n| stream(seed, Purpose::Picks, n)).collect(),
            targets: Vec::new(),
            outcome: Outcome::new(scenario),
        }
    }

    fn begin(&mut self) {
        self.tell_members();
        for index in 0..self.servers.len() {
            self.disturb(index);
        }
        for (index, change) in self.scenario.changes.iter().enumerate() {
            self.queue.push(nanos(change.at), Due::Change(index));
        }
    }

    /// Until nothing is due. Ties: events of the queue, then timeouts, then arrivals.
    fn go(&mut self) {
        let mut arrival = self.traffic.next_at(0);
        loop {
            let (event, timeout) = (self.queue.next_at(), self.timeouts.front().map_or(Nanos::MAX, |due| due.0));
            let next = event.min(timeout).min(arrival);
            if next == Nanos::MAX {
                return;
            }
            debug_assert!(next >= self.now);
            self.now = next;
            if event == next {
                if let Some((_, due)) = self.queue.pop() {
                    self.happen(due, arrival != Nanos::MAX);
                }
            } else if timeout == next {
                if let Some((_, request, generation, attempt)) = self.timeouts.pop_front() {
                    self.time_out(request, generation, attempt);
                }
            } else {
                self.arrive();
                arrival = self.traffic.next_at(next);
            }
        }
    }

    fn happen(&mut self, due: Due, arriving: bool) {
        match due {
            Due::Reach(job) => self.reach(job),
            Due::Finish(job) => self.finish(job),
            Due::Answer(job, good) => self.answer(job, good),
            Due::Probe(balancer, server) => self.probe(balancer, server),
            Due::Told(balancer, server, answer) => self.balancers[balancer as usize].probed(server as usize, answer, self.now),
            // Antagonists end with the arrivals, else no run would.
            Due::Disturb(_) if !arriving => {}
            Due::Disturb(server) => self.disturb(server),
            Due::Change(index) => self.change(index),
        }
    }

    fn arrive(&mut self) {
        let Arrival { balancer, work, class } = self.traffic.draw();
        let index = self.free_requests.pop().unwrap_or(self.requests.len() as u32);
        if index as usize == self.requests.len() {
            self.requests.push(Request::default());
        }
        let request = &mut self.requests[index as usize];
        (request.arrived, request.work, request.class) = (self.now, work, class);
        (request.balancer, request.attempt) = (balancer, 0);
        request.tried.clear();
        self.outcome.arrived += 1;
        self.send(index);
    }

    fn send(&mut self, index: u32) {
        let request = &mut self.requests[index as usize];
        let balancer = request.balancer as usize;
        let ask = Ask { balancer, work: request.work, class: request.class, tried: &request.tried, now: self.now };
        let choice = self.balancers[balancer].pick(&ask, self.scenario, &self.servers, &mut self.picks[balancer]);
        let Some(choice) = choice else {
            let end = if request.attempt == 0 { End::NoServer } else { End::Error };
            return self.conclude(index, end);
        };
        request.attempt += 1;
        (request.server, request.sent, request.lease) = (choice.server as u32, self.now, choice.lease);
        if self.now >= self.outcome.from {
            self.outcome.attempts[choice.server] += 1;
        }
        let job = Job {
            request: index,
            generation: request.generation,
            attempt: request.attempt,
            server: request.server,
            work: request.work,
            ..Job::default()
        };
        let id = self.free_jobs.pop().unwrap_or(self.jobs.len() as u32);
        if id as usize == self.jobs.len() {
            self.jobs.push(job);
        } else {
            self.jobs[id as usize] = job;
        }
        let request = &mut self.requests[index as usize];
        request.job = id;
        if let Some(timeout) = self.scenario.timeout {
            let due = self.now + timeout.as_nanos() as Nanos;
            self.timeouts.push_back((due, index, request.generation, request.attempt));
        }
        match self.scenario.delay(balancer, choice.server) {
            0 => self.reach(id),
            delay => self.queue.push(self.now + delay, Due::Reach(id)),
        }
        self.send_probes(balancer);
    }

    fn send_probes(&mut self, balancer: usize) {
        let mut targets = std::mem::take(&mut self.targets);
        self.balancers[balancer].probe_targets(self.now, &mut self.picks[balancer], &mut targets);
        for server in targets.drain(..) {
            match self.scenario.delay(balancer, server) {
                0 => self.probe(balancer as u32, server as u32),
                delay => self.queue.push(self.now + delay, Due::Probe(balancer as u32, server as u32)),
            }
        }
        self.targets = targets;
    }

    fn probe(&mut self, balancer: u32, server: u32) {
        let cost = self.scenario.probe_cost.as_nanos() as Nanos;
        let Some(answer) = self.servers[server as usize].probed(cost, self.origin + Duration::from_nanos(self.now)) else {
            return;
        };
        match self.scenario.delay(balancer as usize, server as usize) {
            0 => self.balancers[balancer as usize].probed(server as usize, answer, self.now),
            delay => self.queue.push(self.now + delay, Due::Told(balancer, server, answer)),
        }
    }

    fn reach(&mut self, id: JobId) {
        let job = &mut self.jobs[id as usize];
        let server = &mut self.servers[job.server as usize];
        match server.conduct {
            // Nobody will ever look at it again.
            Conduct::Hung => self.free_jobs.push(id),
            Conduct::Failing(after) => self.queue.push(self.now + after.as_nanos() as Nanos, Due::Finish(id)),
            Conduct::Serving => {
                job.reached = self.now;
                job.in_flight = server.reached();
                if server.has_free_slot() {
                    self.serve(id);
                } else {
                    job.state = State::Queued;
                    let work = job.work;
                    server.enqueue(id, work);
                }
            }
        }
    }

    fn serve(&mut self, id: JobId) {
        let job = &mut self.jobs[id as usize];
        job.state = State::AtWork;
        job.began = self.now;
        let end = self.servers[job.server as usize].begin(job.work, self.now);
        self.queue.push(end, Due::Finish(id));
    }

    fn finish(&mut self, id: JobId) {
        let job = &mut self.jobs[id as usize];
        let good = job.state == State::AtWork;
        let (index, balancer) = (job.server as usize, self.requests[job.request as usize].balancer as usize);
        if good {
            let server = &mut self.servers[index];
            server.end(job.began, self.now);
            job.took = self.now - job.began;
            job.queue = server.in_flight();
            let request = &self.requests[job.request as usize];
            let awaited = request.generation == job.generation && request.attempt == job.attempt;
            let now = self.origin + Duration::from_nanos(self.now);
            server.left(job.in_flight, awaited.then(|| self.now - job.reached), now);
            job.told = server.told(now);
            self.refill(index);
        }
        match self.scenario.delay(balancer, index) {
            0 => self.answer(id, good),
            delay => self.queue.push(self.now + delay, Due::Answer(id, good)),
        }
    }

    /// Gives free slots to those who wait.
    fn refill(&mut self, index: usize) {
        while let Some(next) = self.servers[index].next_queued() {
            if self.jobs[next as usize].state == State::Abandoned {
                self.free_jobs.push(next);
            } else {
                self.servers[index].dequeued();
                self.serve(next);
            }
        }
    }

    fn answer(&mut self, id: JobId, good: bool) {
        let job = self.jobs[id as usize];
        self.free_jobs.push(id);
        let request = &self.requests[job.request as usize];
        if request.generation != job.generation || request.attempt != job.attempt {
            return;
        }
        let feedback = Feedback { queue: job.queue, service: job.took, told: job.told };
        self.end_attempt(job.request, if good { Ending::Good(feedback) } else { Ending::Error });
    }

    fn time_out(&mut self, index: u32, generation: u32, attempt: u32) {
        let request = &self.requests[index as usize];
        if request.generation != generation || request.attempt != attempt {
            return;
        }
        let job = &mut self.jobs[request.job as usize];
        if job.state == State::Queued {
            job.state = State::Abandoned;
            let server = &mut self.servers[job.server as usize];
            server.abandon();
            server.left(job.in_flight, None, self.origin + Duration::from_nanos(self.now));
        }
        self.end_attempt(index, Ending::TimedOut);
    }

    fn end_attempt(&mut self, index: u32, ending: Ending) {
        let request = &mut self.requests[index as usize];
        let (balancer, server, lease) = (request.balancer as usize, request.server as usize, request.lease.take());
        self.balancers[balancer].ended(server, lease, ending, request.sent, self.now);
        let end = match ending {
            Ending::Good(_) => End::Good,
            Ending::Error => End::Error,
            Ending::TimedOut => End::TimedOut,
        };
        if end != End::Good && request.attempt <= self.scenario.retries {
            request.tried.push(request.server);
            return self.send(index);
        }
        self.conclude(index, end);
    }

    fn conclude(&mut self, index: u32, end: End) {
        let request = &mut self.requests[index as usize];
        request.generation += 1;
        self.outcome.record(Record {
            arrived: request.arrived,
            latency: self.now - request.arrived,
            server: if request.attempt == 0 { u32::MAX } else { request.server },
            balancer: request.balancer,
            attempts: request.attempt,
            end,
        });
        self.free_requests.push(index);
    }

    fn disturb(&mut self, index: usize) {
        let Some(antagonist) = &self.scenario.servers[index].antagonist else { return };
        let next = self.servers[index].disturb(antagonist, self.now, &mut self.antagonists[index]);
        self.queue.push(next, Due::Disturb(index));
        self.refill(index);
    }

    fn change(&mut self, index: usize) {
        let change = &self.scenario.changes[index];
        let server = &mut self.servers[change.server];
        match &change.what {
            Event::Join | Event::Leave => {
                self.present[change.server] = change.what == Event::Join;
                // Changes of one moment are one new list.
                let later = self.scenario.changes.get(index + 1);
                if !later.is_some_and(|next| next.at == change.at && matches!(next.what, Event::Join | Event::Leave)) {
                    self.tell_members();
                }
            }
            Event::Speed(speed) => server.base_speed = *speed,
            Event::Takes(law) => server.takes = law.clone(),
            Event::Conduct(conduct) => server.conduct = *conduct,
        }
    }

    fn tell_members(&mut self) {
        let members: Vec<usize> = (0..self.present.len()).filter(|&index| self.present[index]).collect();
        for balancer in &mut self.balancers {
            balancer.set_members(members.clone(), self.scenario, self.now);
        }
    }

    /// What never got an answer ends with the run; then the books must be even.
    fn settle(mut self) -> Outcome {
        let free: std::collections::HashSet<u32> = self.free_requests.iter().copied().collect();
        let open: Vec<u32> = (0..self.requests.len() as u32).filter(|index| !free.contains(index)).collect();
        for index in open {
            let request = &mut self.requests[index as usize];
            drop(request.lease.take());
            self.conclude(index, End::Unanswered);
        }
        for server in &mut self.servers {
            server.count_slots(Nanos::MAX);
            self.outcome.busy_time.push(server.busy_time);
            self.outcome.slot_time.push(server.slot_time);
        }
        self.outcome.left_in_flight = self.balancers.iter().map(Balancer::in_flight).sum();
        self.outcome
    }
}
