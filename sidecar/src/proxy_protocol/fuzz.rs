//! What must hold of any bytes, for the fuzzer and for tests.

use super::{Header, MAX, Parsed, ProxyVersion, parse, write};

/// Reads `bytes` as a header: at every split the answer is that of the whole, and what was read can be written and read again.
pub(crate) fn check(bytes: &[u8]) {
    let whole = parse(bytes);
    for end in 0..bytes.len().min(MAX + 1) {
        match parse(&bytes[..end]) {
            Ok(None) => {}
            answer => {
                assert_eq!(answer, whole, "the first {end} bytes have another answer than all");
                break;
            }
        }
    }
    let Ok(Some(Parsed { header, length })) = whole else {
        assert!(whole.is_err() || bytes.len() < MAX, "no header may be waited for any longer");
        return;
    };
    assert!(length <= bytes.len() && length <= MAX);
    let Header::Of(addresses) = header else { return };
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let mut written = Vec::new();
        write(version, addresses, &mut written);
        assert!(written.len() <= super::MAX_WRITTEN);
        let Ok(Some(Parsed { header: Header::Of(again), length })) = parse(&written) else {
            panic!("{written:?} isn't understood");
        };
        let canonical = |end: std::net::SocketAddr| (end.ip().to_canonical(), end.port());
        assert_eq!(length, written.len());
        assert_eq!(canonical(again.source), canonical(addresses.source));
        assert_eq!(canonical(again.destination), canonical(addresses.destination));
    }
}
