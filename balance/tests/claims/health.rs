//! Floor, panic threshold, last resort.

use std::sync::Arc;
use std::time::Instant;

use evenkeel_balance::{Algorithm, Book, Config, Endpoint, Health, NoEndpoint, PickArgs, PickReason, Pool, Rng, SmallRng};
use proptest::prelude::*;

use crate::world::{algorithms, config, enter, least, pool};

const HEALTHS: [Health; 4] = [Health::Usable, Health::Draining, Health::NotReady, Health::Down];

/// Who may be picked, written down as the contract has it.
fn candidates(members: &[Arc<Endpoint>], threshold: usize) -> (Vec<Health>, Option<PickReason>) {
    let count = |health| members.iter().filter(|member| member.health() == health).count();
    let (usable, down) = (count(Health::Usable), count(Health::Down));
    if usable + down == 0 {
        (vec![Health::Draining], Some(PickReason::LastResort))
    } else if usable * 100 < threshold * (usable + down) {
        (vec![Health::Usable, Health::Down], Some(PickReason::Panic))
    } else if usable == 0 {
        (vec![Health::Draining], Some(PickReason::LastResort))
    } else {
        (vec![Health::Usable], None)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn an_unusable_endpoint_is_never_picked(healths in prop::collection::vec(0usize..4, 1..40), threshold in prop::sample::select(vec![0u8, 30, 50, 100]), seed: u64) {
        for algorithm in algorithms() {
            let book = Book::new();
            let members = enter(&book, healths.len());
            let passive = None;
            let pool = Pool::try_new(Config { panic_threshold: threshold, passive, ..Config::new(algorithm) }, members.clone(), seed).unwrap();
            let mut rng = SmallRng::new(seed);
            // Twice, the second time with other healths on the same pool: what it keeps of them must not grow stale.
            for turn in 0..2 {
                members.iter().zip(&healths).for_each(|(member, &health)| member.set_health(HEALTHS[(health + turn) % 4], Instant::now()));
                let (allowed, reason) = candidates(&members, usize::from(threshold));
                let exists = members.iter().any(|member| allowed.contains(&member.health()));
                for key in 0..20 {
                    match pool.pick(PickArgs { key: Some(seed ^ key), tried: &[], class: None }, Instant::now(), &mut rng) {
                        Ok(picked) => {
                            prop_assert!(allowed.contains(&picked.lease.endpoint().health()));
                            prop_assert!(reason.is_none_or(|reason| reason == picked.reason));
                        }
                        Err(error) => prop_assert!(!exists && error == NoEndpoint::NoneUsable),
                    }
                }
            }
        }
    }
}

/// Chance that changes the world: all members start to drain when the first number is drawn.
struct Drain<'a>(&'a [Arc<Endpoint>], SmallRng);

impl Rng for Drain<'_> {
    fn next_u64(&mut self) -> u64 {
        self.0.iter().for_each(|member| member.set_health(Health::Draining, Instant::now()));
        self.1.next_u64()
    }
}

#[test]
fn a_pick_under_which_all_candidates_go_away_looks_again() {
    let book = Book::new();
    let members = enter(&book, 4);
    let mut rng = Drain(&members, SmallRng::new(1));
    let picked = pool(least(2), &members).pick(PickArgs::default(), Instant::now(), &mut rng);
    assert_eq!(picked.map(|pick| pick.reason).ok(), Some(PickReason::LastResort));
}

#[test]
fn half_unhealthy_is_no_panic_and_one_fewer_is() {
    let book = Book::new();
    let members = enter(&book, 10);
    let pool = pool(least(2), &members);
    members[..5].iter().for_each(|member| member.set_health(Health::Down, Instant::now()));
    assert!(!pool.is_panicking());
    members[5].set_health(Health::Down, Instant::now());
    assert!(pool.is_panicking());
    members[5].set_health(Health::Usable, Instant::now());
    assert!(!pool.is_panicking());
}

#[test]
fn draining_and_not_ready_members_do_not_bring_panic() {
    let book = Book::new();
    let members = enter(&book, 10);
    let pool = pool(least(2), &members);
    members[..5].iter().for_each(|member| member.set_health(Health::Draining, Instant::now()));
    members[5..9].iter().for_each(|member| member.set_health(Health::NotReady, Instant::now()));
    assert!(!pool.is_panicking());
}

#[test]
fn panic_uses_all_and_threshold_0_never_panics() {
    let book = Book::new();
    let members = enter(&book, 3);
    members.iter().for_each(|member| member.set_health(Health::Down, Instant::now()));
    let picks = |threshold| {
        let pool =
            Pool::try_new(Config { panic_threshold: threshold, ..config(Algorithm::RoundRobin) }, members.clone(), 1).unwrap();
        (0..3)
            .map(|_| pool.pick(PickArgs::default(), Instant::now(), &mut SmallRng::new(1)).map(|pick| pick.reason))
            .collect::<Vec<_>>()
    };
    assert_eq!(picks(50), [Ok(PickReason::Panic); 3]);
    assert_eq!(picks(0), [Err(NoEndpoint::NoneUsable); 3]);
}

#[test]
fn an_empty_pool_says_so() {
    let pool = pool(least(2), &[]);
    assert_eq!(pool.pick(PickArgs::default(), Instant::now(), &mut SmallRng::new(1)).err(), Some(NoEndpoint::Empty));
    assert!(!pool.is_panicking());
}
