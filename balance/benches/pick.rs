//! What a request costs its balancer: the choice, the count on the endpoint and its end. Every algorithm over 10, 1,000 and 10,000
//! endpoints with requests in flight on each, keys and draws at random; the goals stand in `goals.rs`.

mod fleet;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel_balance::{Algorithm, PickArgs, Pool, ProbeAnswer, Rng, SmallRng, Table};

use fleet::cpu_time::CpuTime;
use fleet::{Fleet, algorithms};

/// What is in flight on each endpoint: no short cut for idle ones is taken, and the first owner of a key fits its bound.
const IN_FLIGHT: usize = 4;
/// The sizes at which a cost tells something about its growth.
const SIZES: [usize; 3] = [10, 1_000, 10_000];

fn picks(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("pick");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(30);
    for (name, algorithm) in algorithms() {
        let is_rendezvous = matches!(algorithm, Algorithm::ConsistentHash { table: Table::Rendezvous, .. });
        let by_probes = matches!(algorithm, Algorithm::Prequal | Algorithm::LeastExpectedTime);
        for count in SIZES.into_iter().filter(|&count| !is_rendezvous || count <= 1_000) {
            let Fleet { pool, .. } = &Fleet::new(algorithm.clone(), count, IN_FLIGHT);
            let (now, mut rng) = (Instant::now(), SmallRng::new(7));
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    if by_probes {
                        replies(pool, now, &mut rng);
                    }
                    let args = PickArgs { key: Some(rng.next_u64()), ..PickArgs::default() };
                    pool.pick(black_box(args), now, &mut rng)
                });
            });
        }
    }
    group.finish();
}

/// What comes with each request where probes are sent: three replies.
fn replies(pool: &Pool, now: Instant, rng: &mut SmallRng) {
    for _ in 0..3 {
        let (member, latency) = (&pool.members()[rng.below(pool.members().len())], Duration::from_millis(5));
        pool.probed(member, ProbeAnswer { in_flight: member.in_flight(), latency, each: latency / 5 }, now);
    }
}

criterion_group!(name = benches; config = Criterion::default().with_measurement(CpuTime); targets = picks);
criterion_main!(benches);
