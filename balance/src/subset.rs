//! Which k of n endpoints one sidecar uses (FEATURES A23), by rendezvous ranking (Thaler and Ravishankar, "Using name-based mappings
//! to increase hit rates", IEEE/ACM ToN 1998): each sidecar ranks all endpoints by a hash of both names and uses the first k usable
//! ones. An endpoint's rank among the others depends on nobody else, so that one that joins, leaves or fails alters one entry.
//!
//! Weights play no part: a heavy endpoint gets its larger share inside each subset that has it, and would get it twice were it in
//! more of them. With s sidecars an endpoint is in s·k/n subsets give or take √(s·k/n·(1 − k/n)), as gRFC A68 has it for random subsets.

use std::cmp::Reverse;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::endpoint::Endpoint;

/// A part of the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subset {
    /// How many endpoints are used.
    pub size: u32,
    /// The hash of the sidecar's own identity, by [`crate::key_hash`].
    pub seed: u64,
}

/// The indices of `members` from the one that the sidecar of this seed prefers to the one that it avoids. `members` in canonical
/// order; those of one ring key (a pod that drains beside its successor) stand together. O(n log n).
pub(crate) fn ranking(seed: u64, members: &[Arc<Endpoint>]) -> Vec<u32> {
    rank(seed, members.iter().map(|member| member.ring_key()))
}

fn rank<'a>(seed: u64, ring_keys: impl Iterator<Item = &'a str>) -> Vec<u32> {
    let mut scores: Vec<(Reverse<u64>, u32)> =
        (0..).zip(ring_keys).map(|(index, key)| (Reverse(xxh3_64_with_seed(key.as_bytes(), seed)), index)).collect();
    scores.sort_unstable();
    scores.into_iter().map(|(_, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::rng::{Rng, SmallRng};

    /// The first `size` usable ones.
    fn subset<'a>(seed: u64, names: &[&'a str], usable: impl Fn(&str) -> bool, size: usize) -> BTreeSet<&'a str> {
        let ranked = rank(seed, names.iter().copied()).into_iter().map(|index| names[index as usize]);
        ranked.filter(|name| usable(name)).take(size).collect()
    }

    proptest! {
        #[test]
        fn one_endpoints_change_alters_at_most_one_entry(seed: u64, count in 1usize..60, size in 1usize..25, which: prop::sample::Index) {
            let names: Vec<String> = (0..count).map(|number| format!("shop/web-{number}:80")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let changed = names[which.index(count)];
            let without: Vec<&str> = names.iter().copied().filter(|&name| name != changed).collect();
            let before = subset(seed, &names, |_| true, size);
            prop_assert_eq!(before.len(), size.min(count));
            for after in [subset(seed, &without, |_| true, size), subset(seed, &names, |name| name != changed, size)] {
                prop_assert!(before.difference(&after).count() <= 1, "gone: {before:?} {after:?}");
                prop_assert!(after.difference(&before).count() <= 1, "new: {before:?} {after:?}");
                prop_assert!(before.contains(changed) || before == after, "a change outside the subset alters nothing");
            }
        }
    }

    #[test]
    fn many_sidecars_cover_the_endpoints_as_evenly_as_chance_allows() {
        let names: Vec<String> = (0..100).map(|number| format!("shop/web-{number}:80")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut rng = SmallRng::new(23);
        let mut users = std::collections::BTreeMap::new();
        for _ in 0..1_000 {
            for name in subset(rng.next_u64(), &names, |_| true, 20) {
                *users.entry(name).or_insert(0u32) += 1;
            }
        }
        // 1,000 sidecars × 20 of 100: binomial with mean 200 and deviation 12.6.
        assert_eq!(users.len(), 100);
        assert!(users.values().all(|count| (150..=250).contains(count)), "{users:?}");
        let variance = users.values().map(|&count| (f64::from(count) - 200.0).powi(2)).sum::<f64>() / 100.0;
        assert!((90.0..260.0).contains(&variance), "a fair hash has 160: {variance}");
    }

    #[test]
    fn golden_ranking_stays() {
        let names = ["a", "b", "c", "shop/web-0:80", "shop/web-1:80", "shop/web-2:80", "shop/web-3:80"];
        assert_eq!(rank(42, names.into_iter()), [6, 5, 4, 1, 0, 2, 3]);
    }
}
