//! Claims on headers: what is understood, what is refused and why, whatever the split.

use super::*;
use proptest::prelude::*;

fn addresses(source: &str, destination: &str) -> Addresses {
    Addresses { source: source.parse().expect("an address"), destination: destination.parse().expect("an address") }
}

/// What a header followed by bytes of the connection says, at every split.
fn read(header: &[u8]) -> Result<Header, Fault> {
    let followed = [header, b"GET / HTTP/1.1\r\n"].concat();
    fuzz::check(&followed);
    let Parsed { header: said, length } = parse(&followed)?.expect("is whole");
    assert_eq!(length, header.len(), "the rest is the connection's own");
    assert_eq!(parse(&header[..length - 1]), Ok(None), "one byte is missing");
    Ok(said)
}

fn v2(version_and_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("fits");
    [v2::SIGNATURE, &[version_and_command, family], &length.to_be_bytes(), block].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &u16::try_from(value.len()).expect("fits").to_be_bytes()[..], value].concat()
}

const V4_BLOCK: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];

#[test]
fn a_line_says_who_connected_to_what() {
    let expected = addresses("192.0.2.1:56324", "198.51.100.2:443");
    assert_eq!(read(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"), Ok(Header::Of(expected)));
    let expected = addresses("[2001:db8::1]:0", "[::]:65535");
    assert_eq!(read(b"PROXY TCP6 2001:DB8::1 :: 0 65535\r\n"), Ok(Header::Of(expected)));
    for unknown in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff:f...f:ffff who knows\r\n"] {
        assert_eq!(read(unknown.as_bytes()), Ok(Header::Own));
    }
}

#[test]
fn a_line_that_is_not_exact_is_refused() {
    let cases: [(&str, Fault); 22] = [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n", Fault::Line),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\rx", Fault::Line),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n", Fault::Line),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n", Fault::Line),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 7\r\n", Fault::Line),
        ("PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n", Fault::Line),
        ("PROXY TCP4\r\n", Fault::Line),
        ("PROXY TCP4\t192.0.2.1 198.51.100.2 56324 443\r\n", Fault::Family),
        ("PROXY  TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", Fault::Family),
        ("PROXY tcp4 192.0.2.1 198.51.100.2 56324 443\r\n", Fault::Family),
        ("PROXY UDP4 192.0.2.1 198.51.100.2 56324 443\r\n", Fault::Family),
        ("PROXY UNKNOWNS\r\n", Fault::Family),
        ("PROXY TCP4 2001:db8::1 198.51.100.2 56324 443\r\n", Fault::Address),
        ("PROXY TCP6 192.0.2.1 198.51.100.2 56324 443\r\n", Fault::Address),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::1 56324 443\r\n", Fault::Address),
        ("PROXY TCP4 192.0.2.01 198.51.100.2 56324 443\r\n", Fault::Address),
        ("PROXY TCP4 192.0.2.1 198.51.100 56324 443\r\n", Fault::Address),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", Fault::Port),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 0443 443\r\n", Fault::Port),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 +443 443\r\n", Fault::Port),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 -1\r\n", Fault::Port),
        ("PROX TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", Fault::Missing),
    ];
    for (line, fault) in cases {
        fuzz::check(line.as_bytes());
        assert_eq!(parse(line.as_bytes()), Err(fault), "{line:?}");
    }
    assert_eq!(parse(b"PROXY UNKNOWN \xff\r\n"), Err(Fault::Line));
}

#[test]
fn a_line_ends_within_107_bytes() {
    let line = |length: usize| [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; length - 16], b"\r\n".to_vec()].concat();
    assert_eq!(read(&line(107)), Ok(Header::Own));
    fuzz::check(&line(108));
    assert_eq!(parse(&line(108)), Err(Fault::TooLong));
    assert_eq!(parse(&line(108)[..107]), Err(Fault::TooLong), "its end isn't waited for");
    assert_eq!(parse(&line(109)[..106]), Ok(None));
}

#[test]
fn a_binary_header_says_who_connected_to_what() {
    let expected = Header::Of(addresses("192.0.2.1:56324", "198.51.100.2:443"));
    assert_eq!(read(&v2(0x21, 0x11, &V4_BLOCK)), Ok(expected));
    let mut block = [0; 36];
    (block[0], block[15], block[31], block[33], block[35]) = (0x20, 1, 2, 3, 4);
    assert_eq!(read(&v2(0x21, 0x21, &block)), Ok(Header::Of(addresses("[2000::1]:3", "[::2]:4"))));
    let followed = [&V4_BLOCK[..], &tlv(0x04, &[0; 7]), &tlv(0x20, b""), &tlv(0xee, b"x")].concat();
    assert_eq!(read(&v2(0x21, 0x11, &followed)), Ok(expected), "TLVs are passed over");
}

#[test]
fn a_binary_header_that_speaks_for_nobody_leaves_the_connections_own_addresses() {
    for (command, family, block) in
        [(0x20, 0, &[][..]), (0x20, 0xff, b"what"), (0x21, 0, b""), (0x21, 0, b"what"), (0x21, 0x31, &[7; 216])]
    {
        assert_eq!(read(&v2(command, family, block)), Ok(Header::Own), "{command:x} {family:x}");
    }
}

#[test]
fn a_binary_header_that_is_not_exact_is_refused() {
    let with = |tlvs: &[u8]| [&V4_BLOCK[..], tlvs].concat();
    let cases = [
        (v2(0x11, 0x11, &V4_BLOCK), Fault::Version),
        (v2(0x22, 0x11, &V4_BLOCK), Fault::Command),
        (v2(0x21, 0x12, &V4_BLOCK), Fault::Family),
        (v2(0x21, 0x10, &V4_BLOCK), Fault::Family),
        (v2(0x21, 0x01, &V4_BLOCK), Fault::Family),
        (v2(0x21, 0x41, &V4_BLOCK), Fault::Family),
        (v2(0x21, 0x11, &V4_BLOCK[..11]), Fault::Length),
        (v2(0x21, 0x21, &[0; 35]), Fault::Length),
        (v2(0x21, 0x31, &[0; 215]), Fault::Length),
        (v2(0x21, 0x11, &with(&[4])), Fault::Tlv),
        (v2(0x21, 0x11, &with(&[4, 0])), Fault::Tlv),
        (v2(0x21, 0x11, &with(&[4, 0, 2, 0])), Fault::Tlv),
        (v2(0x21, 0x11, &with(&tlv(3, &[0; 3]))), Fault::Checksum),
        (v2(0x21, 0x11, &with(&tlv(3, &[0; 4]))), Fault::Checksum),
        (v2(0x21, 0x11, &vec![0; MAX - 15]), Fault::TooLong),
        (v2(0x20, 0x00, &vec![0; MAX - 15]), Fault::TooLong),
    ];
    for (header, fault) in cases {
        fuzz::check(&header);
        assert_eq!(parse(&header), Err(fault), "{:?}", &header[12..16]);
    }
    assert_eq!(read(&v2(0x20, 0x00, &vec![0; MAX - 16])), Ok(Header::Own), "just within the bound");
    assert_eq!(parse(&[v2::SIGNATURE, &[0x31]].concat()), Err(Fault::Version), "at the first byte that tells");
}

#[test]
fn a_checksum_must_be_that_of_the_header() {
    assert_eq!(crc32c::crc32c([b"1234", b"56789"]), 0xe306_9283, "the check value of CRC-32C");
    let sealed = |tail: &[u8]| {
        let mut header = v2(0x21, 0x11, &[&V4_BLOCK[..], &tlv(3, &[0; 4]), tail].concat());
        let checksum = crc32c::crc32c([&header]);
        header[31..35].copy_from_slice(&checksum.to_be_bytes());
        header
    };
    let header = sealed(&tlv(0xee, b"tail"));
    assert_eq!(read(&header), Ok(Header::Of(addresses("192.0.2.1:56324", "198.51.100.2:443"))));
    // Not the fixed part nor the TLVs' lengths, which are refused for what they then say.
    for at in (16..28).chain(31..35).chain(38..header.len()) {
        let mut damaged = header.clone();
        damaged[at] ^= 1;
        assert_eq!(parse(&damaged), Err(Fault::Checksum), "byte {at}");
    }
    assert_eq!(parse(&sealed(&tlv(3, &[0; 4]))), Err(Fault::Checksum), "two of them");
}

#[test]
fn what_begins_otherwise_is_no_header_at_the_first_byte_that_differs() {
    for bytes in [&b"G"[..], b"PROXX", b"\r\n\r\n\r", b"\x16\x03\x01"] {
        assert_eq!(parse(bytes), Err(Fault::Missing));
    }
    assert_eq!(parse(b""), Ok(None));
}

#[test]
fn what_is_written_is_exact() {
    let mut out = Vec::new();
    write(ProxyVersion::V1, addresses("192.0.2.1:56324", "[::ffff:198.51.100.2]:443"), &mut out);
    assert_eq!(out, b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n");
    out.clear();
    write(ProxyVersion::V1, addresses("192.0.2.1:1", "[::1]:2"), &mut out);
    assert_eq!(out, b"PROXY TCP6 ::ffff:c000:201 ::1 1 2\r\n");
    out.clear();
    let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
    write(ProxyVersion::V1, addresses(longest, longest), &mut out);
    assert!(out.len() <= MAX_WRITTEN, "{}", out.len());
    out.clear();
    write(ProxyVersion::V2, addresses("192.0.2.1:56324", "198.51.100.2:443"), &mut out);
    assert_eq!(out, v2(0x21, 0x11, &V4_BLOCK));
}

proptest! {
    #[test]
    fn any_bytes_have_one_answer_whatever_the_split(
        begin in prop::sample::select(vec![&b""[..], v1::BEGIN, b"PROXY TCP4 ", b"PROXY TCP6 ", v2::SIGNATURE]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        fuzz::check(&[begin, &rest].concat());
    }

    #[test]
    fn any_addresses_can_be_written_and_read(
        source: std::net::SocketAddr, destination: std::net::SocketAddr,
    ) {
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let mut out = Vec::new();
            write(version, Addresses { source, destination }, &mut out);
            fuzz::check(&out);
            let is_read = matches!(parse(&out), Ok(Some(Parsed { header: Header::Of(_), .. })));
            prop_assert!(is_read, "{:?}", out);
        }
    }
}
