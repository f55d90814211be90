//! What a pick costs: the choice, the count on the endpoint and its end. Every algorithm over 10, 1,000 and 10,000 endpoints with
//! requests in flight on each; the goals stand in `goals.rs`.

mod fleet;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel_balance::{Algorithm, PickArgs, Rng, SmallRng, Table};

use fleet::{Fleet, algorithms};

/// What is in flight on each endpoint: enough that no short cut for idle ones is taken.
const IN_FLIGHT: usize = 4;
/// The sizes at which a cost tells something about its growth.
const SIZES: [usize; 3] = [10, 1_000, 10_000];

fn picks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(50);
    for (name, algorithm) in algorithms() {
        let is_rendezvous = matches!(algorithm, Algorithm::ConsistentHash { table: Table::Rendezvous, .. });
        for count in SIZES.into_iter().filter(|&count| !is_rendezvous || count <= 1_000) {
            let Fleet { pool, .. } = &Fleet::new(algorithm.clone(), count, IN_FLIGHT);
            let (now, mut rng) = (Instant::now(), SmallRng::new(7));
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    let args = PickArgs { key: Some(rng.next_u64()), ..PickArgs::default() };
                    pool.pick(black_box(args), now, &mut rng)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, picks);
criterion_main!(benches);
