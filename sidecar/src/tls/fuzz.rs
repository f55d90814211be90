//! What fuzzing holds to be true of any first bytes of a connection.

use super::hello::parse;

/// The hello that is read doesn't depend on how the bytes came, and what follows it changes nothing.
pub(crate) fn check(bytes: &[u8]) {
    let whole = parse(bytes);
    let known = (0..bytes.len()).map(|end| parse(&bytes[..end])).find(|early| *early != Ok(None));
    if let Some(early) = known {
        assert_eq!(early, whole, "what was known early is what is known late");
    }
    if let Ok(Some(hello)) = &whole {
        let name = hello.server_name.as_deref().unwrap_or("a");
        assert!(
            (1..=253).contains(&name.len()) && name.bytes().all(|byte| !byte.is_ascii_uppercase() && byte.is_ascii_graphic())
        );
    }
}
