//! CRC-32C (Castagnoli, RFC 3720 appendix B.4), bit by bit: at most one header a connection carries one.

/// The reversed polynomial.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Of these parts, one after the other.
pub(super) fn crc32c<const N: usize>(parts: [&[u8]; N]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
    !parts.into_iter().flatten().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}
