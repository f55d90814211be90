//! The counts of one pool: a shard for each worker, and a series for each endpoint. At most [`MAX_SERIES`] endpoints have
//! series of their own; the rest, and those that have left, are counted together.

use super::histogram::{Histogram, Reading};
use super::{Direction, Side};
use crate::proxy::capacity::Permit;
use crate::proxy::flag::{CodeClass, Flag, Retried};
use crate::proxy::turned_away::TurnedAway;
use crate::proxy::udp::Dropped;
use evenkeel_balance::{EjectReason, PickReason};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// The most endpoints of a pool that are counted one by one.
const MAX_SERIES: usize = 1_000;
const CELLS: usize = CodeClass::ALL.len() * Flag::ALL.len();
pub(super) const PICKS: [PickReason; 12] = [
    PickReason::RoundRobin,
    PickReason::Random,
    PickReason::Packed,
    PickReason::Probed,
    PickReason::LeastLoaded,
    PickReason::Owner,
    PickReason::Overflow,
    PickReason::Fallback,
    PickReason::Panic,
    PickReason::Spill,
    PickReason::Probe,
    PickReason::LastResort,
];
pub(super) const EJECTIONS: [EjectReason; 4] =
    [EjectReason::ConnectErrors, EjectReason::GatewayErrors, EjectReason::ServerErrors, EjectReason::ProbeFailed];

/// One pool's counts.
#[derive(Debug)]
pub(crate) struct PoolMetrics {
    shards: Box<[Shard]>,
    series: Mutex<Series>,
    budget: Arc<AtomicUsize>,
    /// Of endpoints beyond the budget.
    rest: Arc<[Grid]>,
}

#[derive(Debug, Default)]
struct Series {
    live: BTreeMap<String, Arc<EndpointSeries>>,
    /// Left the list, but a request may still count there.
    leaving: Vec<Arc<EndpointSeries>>,
    /// What those counted that are gone for good.
    departed: Cells,
}

/// One worker's part of a pool's counts.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard {
    worker: usize,
    durations: Histogram,
    queued: Histogram,
    bytes: [AtomicU64; 2],
    picks: [AtomicU64; PICKS.len()],
    retries: [AtomicU64; Retried::ALL.len()],
    ejections: [AtomicU64; EJECTIONS.len()],
    refused: [AtomicU64; TurnedAway::ALL.len()],
    datagrams: [AtomicU64; 2],
    dropped: [AtomicU64; Dropped::ALL.len()],
    opened: [AtomicU64; 2],
    closed: [AtomicU64; 2],
    /// Requests that got no endpoint.
    unassigned: Grid,
}

/// Requests by class and flag.
type Grid = [AtomicU64; CELLS];
/// What some grids held at one moment.
#[derive(Debug, Clone)]
pub(super) struct Cells([u64; CELLS]);

/// The requests of one endpoint in one pool.
#[derive(Debug)]
pub(crate) struct EndpointSeries {
    label: String,
    shards: Box<[OnceLock<Option<Box<Grid>>>]>,
    budget: Arc<AtomicUsize>,
    rest: Arc<[Grid]>,
}

/// Everything a pool has counted, added up.
pub(super) struct Totals {
    pub(super) durations: Reading,
    pub(super) queued: Reading,
    pub(super) bytes: [u64; 2],
    pub(super) picks: [u64; PICKS.len()],
    pub(super) retries: [u64; Retried::ALL.len()],
    pub(super) ejections: [u64; EJECTIONS.len()],
    pub(super) refused: [u64; TurnedAway::ALL.len()],
    pub(super) datagrams: [u64; 2],
    pub(super) dropped: [u64; Dropped::ALL.len()],
    pub(super) opened: [u64; 2],
    pub(super) open: [u64; 2],
    /// By the endpoint's label: its address, `-` for none, `other` for those beyond the budget and those that have left.
    pub(super) requests: Vec<(String, Cells)>,
}

fn grid() -> Grid {
    std::array::from_fn(|_| AtomicU64::new(0))
}

impl Default for Cells {
    fn default() -> Self {
        Self([0; CELLS])
    }
}

impl Cells {
    fn add(&mut self, grid: &Grid) {
        for (sum, cell) in self.0.iter_mut().zip(grid) {
            *sum += cell.load(Relaxed);
        }
    }

    /// The cells that aren't zero.
    pub(super) fn counts(&self) -> impl Iterator<Item = (CodeClass, Flag, u64)> {
        let keys = CodeClass::ALL.into_iter().flat_map(|class| Flag::ALL.map(|flag| (class, flag)));
        keys.zip(self.0).filter(|(_, count)| *count > 0).map(|((class, flag), count)| (class, flag, count))
    }
}

impl Totals {
    /// Requests that ended so.
    pub(super) fn ended_as(&self, flag: Flag) -> u64 {
        let counts = self.requests.iter().flat_map(|(_, cells)| cells.counts());
        counts.filter(|(_, known, _)| *known == flag).map(|(_, _, count)| count).sum()
    }
}

impl PoolMetrics {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            shards: (0..workers).map(Shard::new).collect(),
            series: Mutex::default(),
            budget: Arc::new(AtomicUsize::new(MAX_SERIES * workers)),
            rest: (0..workers).map(|_| grid()).collect(),
        }
    }

    /// The part that this worker writes.
    pub(crate) fn shard(&self, worker: usize) -> &Shard {
        &self.shards[worker]
    }

    /// The series of an endpoint that is in the list, made at its first mention.
    pub(crate) fn enter(&self, id: &str, label: &str) -> Arc<EndpointSeries> {
        let mut series = self.lock();
        if let Some(known) = series.live.get(id) {
            return known.clone();
        }
        let fresh = Arc::new(EndpointSeries {
            label: label.into(),
            shards: self.shards.iter().map(|_| OnceLock::new()).collect(),
            budget: self.budget.clone(),
            rest: self.rest.clone(),
        });
        series.live.insert(id.into(), fresh.clone());
        fresh
    }

    /// Ends the series of endpoints that aren't in the list any more; their counts stay in the pool's sums.
    pub(crate) fn retain(&self, is_listed: impl Fn(&str) -> bool) {
        let mut series = self.lock();
        let Series { live, leaving, departed } = &mut *series;
        let gone: Vec<String> = live.keys().filter(|id| !is_listed(id)).cloned().collect();
        leaving.extend(gone.iter().filter_map(|id| live.remove(id)));
        leaving.retain(|series| {
            let in_use = Arc::strong_count(series) > 1;
            if !in_use {
                series.add_to(departed);
            }
            in_use
        });
    }

    pub(super) fn totals(&self) -> Totals {
        let sum = |of: &dyn Fn(&Shard) -> &AtomicU64| self.shards.iter().map(|shard| of(shard).load(Relaxed)).sum::<u64>();
        let (mut durations, mut queued) = (Reading::default(), Reading::default());
        let mut unassigned = Cells::default();
        for shard in &self.shards {
            shard.durations.add_to(&mut durations);
            shard.queued.add_to(&mut queued);
            unassigned.add(&shard.unassigned);
        }
        // Closed before opened: a connection that comes and goes in between must not count as minus one.
        let closed: [u64; 2] = std::array::from_fn(|at| sum(&|shard| &shard.closed[at]));
        let opened: [u64; 2] = std::array::from_fn(|at| sum(&|shard| &shard.opened[at]));
        let mut requests = self.endpoint_requests();
        requests.push(("-".into(), unassigned));
        Totals {
            durations,
            queued,
            bytes: std::array::from_fn(|at| sum(&|shard| &shard.bytes[at])),
            picks: std::array::from_fn(|at| sum(&|shard| &shard.picks[at])),
            retries: std::array::from_fn(|at| sum(&|shard| &shard.retries[at])),
            ejections: std::array::from_fn(|at| sum(&|shard| &shard.ejections[at])),
            refused: std::array::from_fn(|at| sum(&|shard| &shard.refused[at])),
            datagrams: std::array::from_fn(|at| sum(&|shard| &shard.datagrams[at])),
            dropped: std::array::from_fn(|at| sum(&|shard| &shard.dropped[at])),
            opened,
            open: std::array::from_fn(|at| opened[at].saturating_sub(closed[at])),
            requests,
        }
    }

    fn endpoint_requests(&self) -> Vec<(String, Cells)> {
        let series = self.lock();
        let mut other = series.departed.clone();
        self.rest.iter().for_each(|grid| other.add(grid));
        series.leaving.iter().for_each(|series| series.add_to(&mut other));
        // Two identities may share an address for a moment; their sums share the label.
        let mut by_label: BTreeMap<&str, Cells> = BTreeMap::new();
        for series in series.live.values() {
            series.add_to(by_label.entry(&series.label).or_default());
        }
        let mut requests: Vec<_> = by_label.into_iter().map(|(label, cells)| (label.to_owned(), cells)).collect();
        requests.push(("other".into(), other));
        requests
    }

    fn lock(&self) -> MutexGuard<'_, Series> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EndpointSeries {
    fn grid(&self, worker: usize) -> &Grid {
        let own = self.shards[worker].get_or_init(|| {
            let claimed = self.budget.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
            claimed.then(|| Box::new(grid()))
        });
        own.as_deref().unwrap_or(&self.rest[worker])
    }

    fn add_to(&self, cells: &mut Cells) {
        for grid in self.shards.iter().filter_map(|shard| shard.get()?.as_deref()) {
            cells.add(grid);
        }
    }
}

impl Drop for EndpointSeries {
    fn drop(&mut self) {
        let claimed = self.shards.iter().filter(|shard| matches!(shard.get(), Some(Some(_)))).count();
        self.budget.fetch_add(claimed, Relaxed);
    }
}

impl Shard {
    fn new(worker: usize) -> Self {
        Self {
            worker,
            durations: Histogram::default(),
            queued: Histogram::default(),
            bytes: Default::default(),
            picks: Default::default(),
            retries: Default::default(),
            ejections: Default::default(),
            refused: Default::default(),
            datagrams: Default::default(),
            dropped: Default::default(),
            opened: Default::default(),
            closed: Default::default(),
            unassigned: grid(),
        }
    }

    /// One request, at its end.
    pub(crate) fn count_request(&self, series: Option<&Arc<EndpointSeries>>, class: CodeClass, flag: Flag) {
        let grid = series.map_or(&self.unassigned, |series| series.grid(self.worker));
        grid[class as usize * Flag::ALL.len() + flag as usize].fetch_add(1, Relaxed);
    }

    /// How long a request took and what it moved.
    pub(crate) fn settle(&self, took: Duration, bytes: [u64; 2]) {
        self.durations.observe(took);
        self.add_bytes(Direction::Upstream, bytes[Direction::Upstream as usize]);
        self.add_bytes(Direction::Downstream, bytes[Direction::Downstream as usize]);
    }

    /// How long a request waited for room, whatever came of it.
    pub(crate) fn count_queued(&self, waited: Duration) {
        self.queued.observe(waited);
    }

    /// Bytes that went this way.
    pub(crate) fn add_bytes(&self, direction: Direction, bytes: u64) {
        self.bytes[direction as usize].fetch_add(bytes, Relaxed);
    }

    pub(crate) fn count_pick(&self, reason: PickReason) {
        if let Some(at) = PICKS.iter().position(|known| *known == reason) {
            self.picks[at].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn count_retry(&self, retried: Retried) {
        self.retries[retried as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn count_ejection(&self, reason: EjectReason) {
        if let Some(at) = EJECTIONS.iter().position(|known| *known == reason) {
            self.ejections[at].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn count_refused(&self, reason: TurnedAway) {
        self.refused[reason as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn count_datagram(&self, direction: Direction) {
        self.datagrams[direction as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn count_dropped(&self, reason: Dropped) {
        self.dropped[reason as usize].fetch_add(1, Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn datagrams(&self, direction: Direction) -> u64 {
        self.datagrams[direction as usize].load(Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped[reason as usize].load(Relaxed)
    }

    fn count_open(&self, side: Side) {
        self.opened[side as usize].fetch_add(1, Relaxed);
    }

    fn count_close(&self, side: Side) {
        self.closed[side as usize].fetch_add(1, Relaxed);
    }
}

/// Counts one open connection until dropped.
pub(crate) struct OpenConnection {
    pool: Arc<PoolMetrics>,
    worker: usize,
    side: Side,
    permit: Option<Permit>,
}

impl OpenConnection {
    /// Opened now, by this worker.
    pub(crate) fn new(pool: Arc<PoolMetrics>, worker: usize, side: Side) -> Self {
        pool.shard(worker).count_open(side);
        Self { pool, worker, side, permit: None }
    }

    /// It has this place among those that the pool's limits allow.
    pub(crate) fn holding(mut self, permit: Option<Permit>) -> Self {
        self.permit = permit;
        self
    }

    /// Its place, if any.
    pub(crate) fn permit(&self) -> Option<&Permit> {
        self.permit.as_ref()
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.pool.shard(self.worker).count_close(self.side);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(pool: &PoolMetrics) -> u64 {
        pool.totals().requests.iter().flat_map(|(_, cells)| cells.counts().map(|(_, _, count)| count).collect::<Vec<_>>()).sum()
    }

    fn labels(pool: &PoolMetrics) -> Vec<String> {
        let requests = pool.totals().requests;
        requests.into_iter().filter(|(_, cells)| cells.counts().next().is_some()).map(|(label, _)| label).collect()
    }

    #[test]
    fn counts_outlive_their_endpoint_in_the_sum_but_not_under_its_name() {
        let pool = PoolMetrics::new(2);
        let series = pool.enter("a", "10.0.0.1:80");
        pool.shard(0).count_request(Some(&series), CodeClass::Success, Flag::None);
        pool.shard(1).count_request(Some(&series), CodeClass::Success, Flag::None);
        assert_eq!((sum(&pool), labels(&pool)), (2, vec!["10.0.0.1:80".to_owned()]));
        pool.retain(|_| false);
        pool.shard(0).count_request(Some(&series), CodeClass::Success, Flag::None);
        assert_eq!((sum(&pool), labels(&pool)), (3, vec!["other".to_owned()]));
        drop(series);
        pool.retain(|_| false);
        assert_eq!(sum(&pool), 3);
        assert!(pool.lock().leaving.is_empty());
    }

    #[test]
    fn endpoints_beyond_the_budget_are_counted_together() {
        let pool = PoolMetrics::new(1);
        for index in 0..MAX_SERIES + 5 {
            let series = pool.enter(&index.to_string(), &format!("10.0.0.1:{index}"));
            pool.shard(0).count_request(Some(&series), CodeClass::Success, Flag::None);
        }
        let requests = pool.totals().requests;
        assert_eq!(sum(&pool), MAX_SERIES as u64 + 5);
        let other = requests.iter().find(|(label, _)| label == "other").expect("is always there");
        assert_eq!(other.1.counts().map(|(_, _, count)| count).sum::<u64>(), 5);
    }

    #[test]
    fn open_connections_are_those_not_closed() {
        let pool = Arc::new(PoolMetrics::new(1));
        let first = OpenConnection::new(pool.clone(), 0, Side::Downstream);
        let _second = OpenConnection::new(pool.clone(), 0, Side::Downstream);
        drop(first);
        assert_eq!((pool.totals().opened, pool.totals().open), ([2, 0], [1, 0]));
    }
}
