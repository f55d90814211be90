//! The code of string literals (RFC 7541, appendix B). It is canonical, so the lengths say all. Decoding looks at twelve
//! bits at a time, which mostly hold two symbols.

use super::Malformed;

/// How many bits each byte takes, and then the end of a string.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28,
    28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7,
    6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24,
    23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22,
    23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27,
    26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25,
    24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
const EOS: usize = 256;
const LONGEST: usize = 30;
/// Bits that are looked at in one step.
const STEP: u32 = 12;

/// The code, symbols in order of length and then of value.
struct Code {
    symbols: [u16; 257],
    /// For each length: the first code of that length, in 30 bits from the left, and the place of its symbol.
    first: [u32; LONGEST + 2],
    place: [u16; LONGEST + 2],
}

const fn code() -> Code {
    let mut built = Code { symbols: [0; 257], first: [0; LONGEST + 2], place: [0; LONGEST + 2] };
    let (mut length, mut place, mut next) = (1, 0, 0u32);
    while length <= LONGEST {
        built.first[length] = next;
        built.place[length] = place as u16;
        let mut symbol = 0;
        while symbol <= EOS {
            if LENGTHS[symbol] as usize == length {
                built.symbols[place] = symbol as u16;
                place += 1;
                next += 1 << (LONGEST - length);
            }
            symbol += 1;
        }
        length += 1;
    }
    built.first[LONGEST + 1] = next;
    built.place[LONGEST + 1] = place as u16;
    built
}

static CODE: Code = code();

/// What the next twelve bits start with: up to two whole symbols. None: a longer code, see [`long`].
#[derive(Clone, Copy)]
struct Pair {
    symbols: [u8; 2],
    /// Bits of the first symbol, and of all.
    first: u8,
    all: u8,
}

impl Pair {
    const LONG: Self = Self { symbols: [0; 2], first: 0, all: 0 };
}

const fn pairs() -> [Pair; 1 << STEP] {
    let code = code();
    let mut table = [Pair::LONG; 1 << STEP];
    let mut place = 0;
    let mut at = 0;
    while place < code.symbols.len() && LENGTHS[code.symbols[place] as usize] as u32 <= STEP {
        let symbol = code.symbols[place] as u8;
        let bits = LENGTHS[symbol as usize];
        let mut left = 1usize << (STEP - bits as u32);
        while left > 0 {
            table[at] = Pair { symbols: [symbol, 0], first: bits, all: bits };
            (at, left) = (at + 1, left - 1);
        }
        place += 1;
    }
    let single = table;
    let mut bits = 0;
    while bits < at {
        let one = single[bits];
        let two = single[(bits << one.first) & ((1 << STEP) - 1)];
        if two.first > 0 && one.first + two.first <= STEP as u8 {
            let symbols = [one.symbols[0], two.symbols[0]];
            table[bits] = Pair { symbols, first: one.first, all: one.first + two.first };
        }
        bits += 1;
    }
    table
}

static PAIRS: [Pair; 1 << STEP] = pairs();

/// Appends what `input` stands for. Padding must be fewer than eight ones (RFC 7541, 5.2).
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let start = out.len();
    // No symbol takes fewer than five bits; two bytes are written at a time.
    out.resize(start + input.len() * 8 / 5 + 2, 0);
    let length = decode_into(input, &mut out[start..]);
    out.truncate(start + length.unwrap_or(0));
    length.map(|_| ())
}

fn decode_into(input: &[u8], out: &mut [u8]) -> Result<usize, Malformed> {
    let mut bits = Bits { input, word: 0, held: 0 };
    let mut length = 0;
    loop {
        bits.fill();
        while bits.held >= STEP {
            let pair = PAIRS[(bits.word >> (64 - STEP)) as usize];
            if pair.all == 0 {
                break;
            }
            put(out, length, pair.symbols);
            length += 1 + usize::from(pair.all != pair.first);
            bits.take(u32::from(pair.all));
        }
        if bits.held < STEP && !bits.input.is_empty() {
            continue;
        }
        // A longer symbol, or the last ones.
        bits.fill();
        match bits.next()? {
            Some(symbol) => put(out, length, [symbol, 0]),
            None => return Ok(length),
        }
        length += 1;
    }
}

fn put(out: &mut [u8], at: usize, symbols: [u8; 2]) {
    if let Some(room) = out.get_mut(at..at + 2) {
        room.copy_from_slice(&symbols);
    }
}

/// Bits from the left of `word`; those beyond `held` are zero.
struct Bits<'a> {
    input: &'a [u8],
    word: u64,
    held: u32,
}

impl Bits<'_> {
    fn fill(&mut self) {
        if let Some(next) = self.input.first_chunk::<8>() {
            let bytes = (63 - self.held) / 8;
            let fresh = u64::from_be_bytes(*next) & !(u64::MAX >> (bytes * 8));
            self.word |= fresh >> self.held;
            self.held += bytes * 8;
            self.input = &self.input[bytes as usize..];
            return;
        }
        while self.held <= 56
            && let Some((byte, rest)) = self.input.split_first()
        {
            self.word |= u64::from(*byte) << (56 - self.held);
            self.held += 8;
            self.input = rest;
        }
    }

    fn take(&mut self, count: u32) {
        self.word <<= count;
        self.held -= count;
    }

    /// The next symbol of any length; none if only padding is left.
    fn next(&mut self) -> Result<Option<u8>, Malformed> {
        let code = (self.word >> (64 - LONGEST)) as u32;
        let length = (5..=LONGEST).find(|length| code < CODE.first[length + 1]).ok_or(Malformed)?;
        if length as u32 > self.held {
            let is_padding = self.held < 8 && self.word.leading_ones() == self.held;
            return if is_padding && self.input.is_empty() { Ok(None) } else { Err(Malformed) };
        }
        let offset = (code - CODE.first[length]) >> (LONGEST - length);
        let symbol = CODE.symbols[usize::from(CODE.place[length]) + offset as usize];
        self.take(length as u32);
        u8::try_from(symbol).map(Some).map_err(|_| Malformed)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Appends `text` in the code, as slowly as the RFC describes it.
    pub(in super::super) fn encode(text: &[u8]) -> Vec<u8> {
        let (mut out, mut bits) = (Vec::new(), Vec::new());
        for byte in text {
            let place = CODE.symbols.iter().position(|s| *s == u16::from(*byte)).expect("all are there");
            let length = usize::from(LENGTHS[usize::from(*byte)]);
            let offset = place - usize::from(CODE.place[length]);
            let code = (CODE.first[length] >> (LONGEST - length)) + offset as u32;
            bits.extend((0..length).rev().map(|bit| code >> bit & 1));
        }
        for eight in bits.chunks(8) {
            let padded = eight.iter().copied().chain(std::iter::repeat(1)).take(8);
            out.push(padded.fold(0, |byte, bit| byte << 1 | bit as u8));
        }
        out
    }

    fn decoded(input: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = b"before".to_vec();
        decode(input, &mut out).map(|()| out.split_off(6))
    }

    #[test]
    fn the_examples_of_the_rfc_decode() {
        let example = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decoded(&example).as_deref(), Ok(b"www.example.com".as_slice()));
        assert_eq!(decoded(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).as_deref(), Ok(b"no-cache".as_slice()));
        let date = [
            0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b, 0x81, 0x66, 0xe0, 0x82, 0xa6,
            0x2d, 0x1b, 0xff,
        ];
        assert_eq!(decoded(&date).as_deref(), Ok(b"Mon, 21 Oct 2013 20:13:21 GMT".as_slice()));
        assert_eq!(decoded(&[]), Ok(vec![]));
    }

    #[test]
    fn every_byte_decodes_alone_and_between_others() {
        for byte in 0..=255u8 {
            for text in [vec![byte], vec![b'a', byte, b'Z'], vec![byte; 9]] {
                assert_eq!(decoded(&encode(&text)), Ok(text));
            }
        }
    }

    #[test]
    fn padding_is_fewer_than_eight_ones() {
        let with = |more: &[u8]| [encode(b"0000").as_slice(), more].concat();
        assert_eq!(encode(b"0000"), [0, 0, 0x0f]);
        assert!(decoded(&with(&[])).is_ok());
        assert_eq!(decoded(&with(&[0xff])), Err(Malformed));
        assert_eq!(decoded(&[0xff]), Err(Malformed));
        assert_eq!(decoded(&[0x07]).as_deref(), Ok(b"0".as_slice()));
        for wrong in [0x00, 0x01, 0x03, 0x05, 0x06] {
            assert!(decoded(&[0, 0, wrong]).is_err() || wrong == 0, "{wrong:#x}");
        }
    }

    #[test]
    fn the_end_of_a_string_is_no_symbol() {
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(Malformed));
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xfc]), Err(Malformed));
        assert_eq!(decoded(&[0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decoded(&encode(&text)), Ok(text));
        }

        #[test]
        fn text_decodes(text in "[ -~]{0,200}") {
            prop_assert_eq!(decoded(&encode(text.as_bytes())), Ok(text.into_bytes()));
        }

        #[test]
        fn what_decodes_is_the_one_encoding_of_it(input in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(text) = decoded(&input) {
                prop_assert_eq!(encode(&text), input);
            }
        }
    }
}
