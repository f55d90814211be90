//! Names in hellos: those of real clients, however their bytes come, and what is none.

use super::*;
use crate::tls::fuzz;
use crate::tls::hello::{Hello, HelloFault, MAX_HELLO, parse};
use proptest::prelude::*;

/// The first bytes of a client of the library that asks for `name`.
pub(super) fn real(name: &str) -> Vec<u8> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().expect("versions");
    let mut config = builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("writes");
    bytes
}

/// The same hello in records of at most `size` bytes.
fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    hello[5..].chunks(size).flat_map(|part| [&[22, 3, 1, (part.len() >> 8) as u8, part.len() as u8], part].concat()).collect()
}

/// A hello with these extensions.
fn with_extensions(extensions: &[u8]) -> Vec<u8> {
    let vector16 = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let body = [&[3; 34][..], &[0], &vector16(&[19, 1]), &[1, 0], &vector16(extensions)].concat();
    let message = [&[1, 0][..], &vector16(&body)].concat();
    [&[22, 3, 1][..], &vector16(&message)].concat()
}

/// The extension that asks for these names.
fn names(names: &[(u8, &[u8])]) -> Vec<u8> {
    let vector16 = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let list: Vec<u8> = names.iter().flat_map(|(kind, name)| [&[*kind][..], &vector16(name)].concat()).collect();
    [&[0, 0][..], &vector16(&vector16(&list))].concat()
}

fn named(name: &str) -> Result<Option<Hello>, HelloFault> {
    Ok(Some(Hello { server_name: Some(name.into()) }))
}

#[test]
fn the_name_of_a_real_client_is_read_at_the_last_byte_of_its_hello_and_not_before() {
    let hello = real("Db.Example.com");
    for end in 0..hello.len() {
        assert_eq!(parse(&hello[..end]), Ok(None), "{end} of {}", hello.len());
    }
    assert_eq!(parse(&hello), named("db.example.com"));
    assert_eq!(parse(&[&hello[..], b"what follows is no affair of ours"].concat()), named("db.example.com"));
}

#[test]
fn records_of_any_size_make_the_same_hello() {
    let hello = real("db.example.com");
    for size in [1, 2, 3, 4, 5, 17, 200, 10_000] {
        let split = in_records(&hello, size);
        assert_eq!(parse(&split), named("db.example.com"), "in records of {size}");
        fuzz::check(&split);
    }
}

#[test]
fn who_asks_for_no_name_has_none() {
    assert_eq!(parse(&real("192.0.2.1")), Ok(Some(Hello { server_name: None })), "an address isn't sent");
    assert_eq!(parse(&with_extensions(&[])), Ok(Some(Hello { server_name: None })));
}

#[test]
fn what_breaks_a_rule_is_no_name() {
    use HelloFault::{BadName, Length, Names, NoTls, OtherMessage, TooLong};
    let long = "a.".repeat(127);
    for (bytes, fault) in [
        (b"GET / HTTP/1.1\r\n".to_vec(), NoTls),
        (b"\x16\x02".to_vec(), NoTls),
        (b"\x16\x03\x01\x00\x01\x01\x17\x03\x03\x00\x01\x00".to_vec(), NoTls),
        (b"\x16\x03\x01\x00\x00".to_vec(), Length),
        (b"\x16\x03\x01\x40\x01".to_vec(), Length),
        (b"\x16\x03\x01\x00\x01\x02".to_vec(), OtherMessage),
        (b"\x16\x03\x01\x00\x04\x01\x00\x40\x01".to_vec(), TooLong),
        (in_records(&[&[0; 5][..], &[1, 0, 0x3f, 0], &[0; 0x3f00]].concat(), 1), TooLong),
        (with_extensions(&names(&[(0, b"a"), (0, b"b")])), Names),
        (with_extensions(&names(&[(1, b"a")])), Names),
        (with_extensions(&names(&[])), Names),
        (with_extensions(&[names(&[(0, b"a")]), names(&[(0, b"a")])].concat()), Names),
        (with_extensions(&names(&[(0, b"")])), BadName),
        (with_extensions(&names(&[(0, b"a..b")])), BadName),
        (with_extensions(&names(&[(0, b"a.")])), BadName),
        (with_extensions(&names(&[(0, b"a\0b")])), BadName),
        (with_extensions(&names(&[(0, "ä".as_bytes())])), BadName),
        (with_extensions(&names(&[(0, &[b'a'; 64])])), BadName),
        (with_extensions(&names(&[(0, format!("{long}a").as_bytes())])), BadName),
        (with_extensions(&[0, 0, 0]), Length),
        (with_extensions(&[0, 0, 0, 9, 0]), Length),
    ] {
        assert_eq!(parse(&bytes), Err(fault), "{bytes:?}");
    }
    assert_eq!(parse(&with_extensions(&names(&[(0, &[b'a'; 63])]))), named(&"a".repeat(63)));
    assert!(MAX_HELLO > 10 * real("db.example.com").len());
}

proptest! {
    #[test]
    fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzz::check(&bytes);
    }

    #[test]
    fn nor_does_a_hello_that_was_damaged(at in 0usize..512, with: u8, size in 1usize..600) {
        let mut hello = real("db.example.com");
        let at = at % hello.len();
        hello[at] = with;
        fuzz::check(&hello);
        fuzz::check(&in_records(&hello, size));
    }
}
