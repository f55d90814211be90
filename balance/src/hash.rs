//! The hashes that decide who owns a key. They are API: every sidecar of every version must agree, so seeds and byte order are pinned
//! and golden values stand in the tests. Changing one moves every key of every pool.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Seeds of ring points start here, so that a request key equal to a ring key doesn't fall on that endpoint's own point.
const POINT_SEED: u64 = 0x6576_656e_6b65_656c;

/// Seeds of the three hashes below: numbers of their own, so that none of them repeats another.
const MEMBER_SEED: u64 = 0x6576_656e_6d65_6d62;
const PAIR_SEED: u64 = 0x6576_656e_7061_6972;
const TURN_SEED: u64 = 0x6576_656e_7475_726e;

/// The hash of a request's key: XXH3, 64 bits, seed 0.
pub fn key_hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// Where point number `number` of an endpoint lies on the ring.
pub(crate) fn point_hash(ring_key: &str, number: u32) -> u64 {
    xxh3_64_with_seed(ring_key.as_bytes(), POINT_SEED.wrapping_add(u64::from(number)))
}

/// hash(key, n): the place where the walk of a key looks for its n-th owner; the first is the key's own hash.
pub(crate) fn rehash(key: u64, n: u32) -> u64 {
    if n == 0 { key } else { xxh3_64_with_seed(&key.to_le_bytes(), u64::from(n)) }
}

/// An endpoint in a rendezvous.
pub(crate) fn member_hash(ring_key: &str) -> u64 {
    xxh3_64_with_seed(ring_key.as_bytes(), MEMBER_SEED)
}

/// What a key and an endpoint draw together in a rendezvous; `member` is a [`member_hash`].
pub(crate) fn pair_hash(key: u64, member: u64) -> u64 {
    let mut pair = [0; 16];
    pair[..8].copy_from_slice(&key.to_le_bytes());
    pair[8..].copy_from_slice(&member.to_le_bytes());
    xxh3_64_with_seed(&pair, PAIR_SEED)
}

/// The two numbers that an endpoint's order of Maglev slots follows from: where it starts and how far it steps.
pub(crate) fn turn_hashes(ring_key: &str) -> (u64, u64) {
    (xxh3_64_with_seed(ring_key.as_bytes(), TURN_SEED), xxh3_64_with_seed(ring_key.as_bytes(), TURN_SEED + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_values_stay() {
        assert_eq!(key_hash(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(key_hash(b"user-42"), 0x50fe_4b21_cf7b_09cd);
        assert_eq!(point_hash("checkout-0", 0), 0x7974_e4bb_674b_44dd);
        assert_eq!(point_hash("checkout-0", 149), 0x257a_fbdd_2668_88c4);
        assert_eq!(rehash(42, 0), 42);
        assert_eq!(rehash(42, 1), 0x6757_2691_c5ab_fc9c);
        assert_eq!(member_hash("checkout-0"), 0x6d2c_bba6_6f03_1516);
        assert_eq!(pair_hash(42, 7), 0x70ed_4599_52f8_ccfe);
        assert_eq!(turn_hashes("checkout-0"), (0xcab2_5e45_8025_1e82, 0xdc62_0426_73d1_d740));
    }
}
