//! What a new snapshot costs: the control thread builds one at each change of a list, a weight or a policy.
//! The goals stand in `goals.rs`.

mod fleet;

use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel_balance::{Algorithm, Book, Config, Pool, Table};

use fleet::cpu_time::CpuTime;
use fleet::{RING, enter, hash};

fn builds() -> Vec<(&'static str, usize, Algorithm)> {
    let least = || Algorithm::LeastConnections { choice_count: 2 };
    let maglev = || hash(Table::MAGLEV, None);
    vec![
        ("least connections", 1_000, least()),
        ("least connections", 10_000, least()),
        ("ring of 150", 1_000, hash(RING, None)),
        ("ring of 150", 10_000, hash(RING, None)),
        ("Maglev of 65537", 10, maglev()),
        ("Maglev of 65537", 1_000, maglev()),
        ("Maglev of 65537", 10_000, maglev()),
        ("rendezvous", 1_000, hash(Table::Rendezvous, None)),
    ]
}

fn rebuilds(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("rebuild");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3)).sample_size(20);
    for (name, count, algorithm) in builds() {
        let book = Book::new();
        let members = enter(&book, count);
        group.bench_function(BenchmarkId::new(name, count), |bencher| {
            let list = || (Config::new(algorithm.clone()), members.clone());
            bencher.iter_batched(list, |(config, members)| Pool::try_new(config, members, 1), BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = Criterion::default().with_measurement(CpuTime); targets = rebuilds);
criterion_main!(benches);
