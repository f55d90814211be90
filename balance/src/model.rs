//! Models of what workers race on, run by shuttle: each is tried in hundreds of orders of its atomic steps, random ones and such with
//! few switches (Burckhardt et al., "A randomized scheduler with probabilistic guarantees of finding bugs", ASPLOS 2010). `make model`
//! runs them. Orders only: what weaker memory orderings allow beyond them it does not try.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Runner, thread};

use crate::standing::{Cache, Rules};
use crate::{
    Algorithm, Book, Config, Ejection, Endpoint, EndpointSpec, Health, InFlight, Outcome, Passive, PickArgs, PickReason, Pool,
    SmallRng, Table,
};

/// Orders tried of each model, by either way.
const ORDERS: usize = 300;
/// Switches at which the second way looks for a fault.
const DEPTH: usize = 3;

fn explore(model: impl Fn() + Clone + Send + Sync + 'static) {
    // Unoptimised code needs more than the 32 KiB that threads have else.
    let config = || {
        let mut config = shuttle::Config::default();
        config.stack_size = 1 << 18;
        config
    };
    Runner::new(RandomScheduler::new(ORDERS), config()).run(model.clone());
    Runner::new(PctScheduler::new(DEPTH, ORDERS), config()).run(model);
}

fn enter(book: &Book, weights: &[u16], now: Instant) -> Vec<Arc<Endpoint>> {
    let spec = |(number, &weight): (usize, &u16)| EndpointSpec {
        id: format!("uid-{number}:80"),
        ring_key: format!("shop/web-{number}:80"),
        address: ([10, 0, 0, number as u8], 80).into(),
        weight,
        zone: None,
        priority: 0,
        health: Health::Usable,
    };
    weights.iter().enumerate().map(spec).map(|spec| book.enter(spec, now)).collect()
}

fn hash(table: Table, hash_balance_factor: Option<u32>) -> Algorithm {
    Algorithm::ConsistentHash { table, hash_balance_factor }
}

const RING: Table = Table::Ring { virtual_nodes: 3 };
const MAGLEV: Table = Table::Maglev { size: 23 };

fn algorithms() -> Vec<Algorithm> {
    let least = |choice_count| Algorithm::LeastConnections { choice_count };
    vec![
        Algorithm::RoundRobin,
        Algorithm::Random,
        least(0),
        least(2),
        Algorithm::LeastResponseTime { choice_count: 2 },
        Algorithm::ResponseTimeWeighted,
        Algorithm::Packing { limit: 5 },
        Algorithm::Prequal,
        Algorithm::LeastCost { choice_count: 2 },
        hash(RING, Some(125)),
        hash(MAGLEV, Some(125)),
        hash(Table::Rendezvous, None),
    ]
}

/// Runs `worker` in this many threads over one pool; all they hold in the end.
fn race(pool: &Arc<Pool>, threads: u64, worker: impl Fn(&Pool, u64) -> Vec<InFlight> + Clone + Send + 'static) -> Vec<InFlight> {
    let handles: Vec<_> = (0..threads)
        .map(|number| {
            let (pool, worker) = (Arc::clone(pool), worker.clone());
            thread::spawn(move || worker(&pool, number))
        })
        .collect();
    handles.into_iter().flat_map(|handle| handle.join().unwrap()).collect()
}

#[test]
fn counts_are_exact_while_requests_come_and_go_and_health_flips() {
    for algorithm in algorithms() {
        explore(move || {
            let now = Instant::now();
            let members = enter(&Book::new(), &[100, 50, 200], now);
            let pool = Arc::new(Pool::try_new(Config::new(algorithm.clone()), members.clone(), 1).unwrap());
            let flipped = Arc::clone(&members[0]);
            let flip = thread::spawn(move || {
                flipped.set_health(Health::Draining, now);
                flipped.set_weight(7);
                flipped.set_health(Health::Usable, now);
            });
            let held = race(&pool, 2, move |pool, number| {
                let mut rng = SmallRng::new(number);
                let mut pick = || pool.pick(PickArgs { key: Some(9), ..PickArgs::default() }, now, &mut rng).unwrap().lease;
                let (kept, ended) = (pick(), pick());
                drop(ended);
                vec![kept, pick()]
            });
            flip.join().unwrap();
            for member in &members {
                let own = held.iter().filter(|lease| Arc::ptr_eq(lease.endpoint(), member)).count();
                assert_eq!(member.in_flight() as usize, own);
            }
            drop(held);
            assert!(members.iter().all(|member| member.in_flight() == 0));
        });
    }
}

/// The only primary hands over to the only backup, and back: whoever counts that anew must not leave the others with nobody.
#[test]
fn somebody_is_found_while_the_last_one_hands_over() {
    explore(|| {
        let now = Instant::now();
        let members = enter(&Book::new(), &[100; 2], now);
        members[1].set_priority(1);
        members[1].set_health(Health::NotReady, now);
        let pool = Arc::new(Pool::try_new(Config::new(Algorithm::Random), members.clone(), 1).unwrap());
        let hand_over = thread::spawn(move || {
            for (comes, goes) in [(1, 0), (0, 1)] {
                members[comes].set_health(Health::Usable, now);
                members[goes].set_health(Health::NotReady, now);
            }
        });
        race(&pool, 2, move |pool, number| {
            let mut rng = SmallRng::new(number);
            (0..2).map(|_| pool.pick(PickArgs::default(), now, &mut rng).unwrap().lease).collect()
        });
        hand_over.join().unwrap();
    });
}

/// Four endpoints, factor 125: with six requests in flight nobody may have more than ⌈1.25 · 6 ÷ 4⌉ = 2.
#[test]
fn racing_picks_of_one_key_never_pass_the_bound_together() {
    explore(|| {
        let now = Instant::now();
        let members = enter(&Book::new(), &[100; 4], now);
        let pool = Arc::new(Pool::try_new(Config::new(hash(RING, Some(125))), members.clone(), 1).unwrap());
        let held = race(&pool, 3, move |pool, number| {
            let mut rng = SmallRng::new(number);
            let args = PickArgs { key: Some(9), ..PickArgs::default() };
            let mut pick = || pool.pick(args, now, &mut rng).unwrap().lease;
            let (kept, ended) = (pick(), pick());
            drop(ended);
            vec![kept, pick()]
        });
        assert_eq!(held.len(), 6);
        let counts: Vec<_> = members.iter().map(|member| member.in_flight()).collect();
        assert!(counts.iter().all(|&count| count <= 2), "{counts:?}");
    });
}

/// A limit of 2 over two endpoints: five picks race for four places, whatever the algorithm.
#[test]
fn racing_picks_never_pass_the_limit_together() {
    for algorithm in algorithms() {
        explore(move || {
            let now = Instant::now();
            let members = enter(&Book::new(), &[100; 2], now);
            let config = Config { endpoint_limit: Some(2), ..Config::new(algorithm.clone()) };
            let pool = Arc::new(Pool::try_new(config, members.clone(), 1).unwrap());
            let _first = pool.pick(PickArgs { key: Some(9), ..PickArgs::default() }, now, &mut SmallRng::new(1)).unwrap();
            race(&pool, 2, move |pool, number| {
                let mut rng = SmallRng::new(number);
                let picks = (0..2).map(|_| pool.pick(PickArgs { key: Some(9), ..PickArgs::default() }, now, &mut rng));
                let held: Vec<_> = picks.flatten().map(|pick| pick.lease).collect();
                assert!(pool.members().iter().all(|member| member.in_flight() <= 2));
                held
            });
            assert_eq!(members.iter().map(|member| member.in_flight()).sum::<u32>(), 1, "all that were taken are given back");
        });
    }
}

#[test]
fn a_sum_that_is_remembered_is_never_more_than_what_is_left() {
    explore(|| {
        let now = Instant::now();
        let members = enter(&Book::new(), &[100; 2], now);
        // A pool with a bound has ends counted.
        let pool = Pool::try_new(Config::new(hash(RING, Some(100))), members.clone(), 1).unwrap();
        let pick = || pool.pick(PickArgs { key: Some(9), ..PickArgs::default() }, now, &mut SmallRng::new(1)).unwrap().lease;
        let _held = [pick(), pick()];
        let ends = [pick(), pick()].map(|lease| thread::spawn(move || drop(lease)));
        let ended = members[0].load().ended();
        let sum = ended.sum(members.iter().map(|member| member.in_flight()));
        ends.into_iter().for_each(|end| end.join().unwrap());
        assert!(ended.left(sum) <= 2, "{} of 2", ended.left(sum));
    });
}

/// Each weight is a decimal digit, so that the sum says who was counted: it must be as many as the same view says there are.
#[test]
fn a_view_of_the_standing_is_never_torn() {
    explore(|| {
        let now = Instant::now();
        let book = Book::new();
        let members = Arc::new(enter(&book, &[1, 10, 100, 1_000], now));
        let rules = Arc::new(Rules { panic_threshold: 0, watched: false, slow_start: None, zone: None, subset: None });
        let cache = Arc::new(Cache::new(&members, &rules, members[0].shared().epoch()));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (members, rules, cache) = (Arc::clone(&members), Arc::clone(&rules), Arc::clone(&cache));
                thread::spawn(move || {
                    for _ in 0..2 {
                        let standing = cache.get(members[0].shared().epoch(), &members, &rules).0;
                        let digits = (standing.weight / 100).to_string();
                        assert_eq!(digits.matches('1').count(), standing.candidates, "{standing:?}");
                        assert_eq!(digits.trim_matches(['0', '1']), "", "{standing:?}");
                    }
                })
            })
            .collect();
        for (member, health) in [(0, Health::Down), (3, Health::Down), (0, Health::Usable)] {
            members[member].set_health(health, now);
            let _ = cache.get(members[0].shared().epoch(), &members, &rules);
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        let last = cache.get(members[0].shared().epoch(), &members, &rules).0;
        assert_eq!((last.candidates, last.weight), (3, 11_100), "the last change is seen");
    });
}

#[test]
fn a_due_probing_request_is_given_once_and_comes_back_unanswered() {
    for algorithm in algorithms() {
        explore(move || {
            let now = Instant::now();
            let members = enter(&Book::new(), &[100; 2], now);
            let passive = Passive {
                consecutive_errors: 1,
                window: Duration::from_secs(60),
                base_ejection: Duration::from_secs(1),
                max_ejection: Duration::from_secs(60),
                max_ejection_percent: 50,
            };
            let config = Config { passive: Some(passive), ..Config::new(algorithm.clone()) };
            let pool = Arc::new(Pool::try_new(config, members.clone(), 1).unwrap());
            assert!(pool.judge(&members[0], Outcome::ConnectError, now).is_some());
            let later = now + Duration::from_secs(2);
            let bad = Arc::clone(&members[0]);
            let held = race(&pool, 3, move |pool, number| {
                let mut rng = SmallRng::new(number);
                // Keys enough that the ejected one's own is among them.
                let picks = (0..4u64)
                    .map(|key| pool.pick(PickArgs { key: Some(key << 62), ..PickArgs::default() }, later, &mut rng).unwrap());
                let probes: Vec<_> =
                    picks.filter(|picked| picked.reason == PickReason::Probe).map(|picked| picked.lease).collect();
                assert!(probes.iter().all(|probe| Arc::ptr_eq(probe.endpoint(), &bad)));
                probes
            });
            assert_eq!(held.len(), 1, "given once");
            assert_eq!(members[0].ejection(), Ejection::Probing);
            drop(held);
            assert!(matches!(members[0].ejection(), Ejection::Open { .. }), "and given back");
        });
    }
}
