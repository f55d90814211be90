//! Bytes: which may stand where, and the search for the next one that needs a look.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The place of the first control character (0x00–0x1F, 0x7F) at or after `from`. HTAB, CR and LF count as such.
pub(crate) fn find_control(buf: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(word) = buf.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let hits = controls(*word);
        if hits != 0 {
            return Some(at + (hits.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let rest = buf.get(at..)?;
    rest.iter().position(|b| b.is_ascii_control()).map(|i| at + i)
}

/// Whether `value` is one of a field: no controls but tabs, no whitespace at the ends (RFC 9113, 8.2.1).
pub(crate) fn is_text(value: &[u8]) -> bool {
    let is_blank = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    if is_blank(value.first()) || is_blank(value.last()) {
        return false;
    }
    let Some(last) = value.last_chunk::<8>() else {
        return value.iter().all(|b| !b.is_ascii_control() || *b == b'\t');
    };
    let (eights, _) = value.as_chunks::<8>();
    let has_control = eights.iter().chain([last]).fold(0, |found, eight| found | controls(*eight)) != 0;
    !has_control || value.iter().all(|b| !b.is_ascii_control() || *b == b'\t')
}

/// Marks the controls among eight bytes, each in the highest bit of its byte; 0 if there is none. A borrow can only mark bytes
/// above a true hit, so the lowest mark is right.
fn controls(eight: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(eight);
    let below = word.wrapping_sub(ONES * 0x20) & !word;
    let delete = word ^ (ONES * 0x7f);
    (below | delete.wrapping_sub(ONES) & !delete) & HIGHS
}

/// Whether `b` may be part of a token (RFC 9110, 5.6.2).
pub(crate) const fn is_token(b: u8) -> bool {
    TOKEN[b as usize]
}

/// Whether `text` is a token.
pub(crate) fn is_token_text(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| is_token(*b))
}

/// `text` without spaces and tabs at its ends.
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let start = text.iter().position(|b| !blank(b)).unwrap_or(text.len());
    let end = text.iter().rposition(|b| !blank(b)).map_or(start, |i| i + 1);
    &text[start..end]
}

static TOKEN: [bool; 256] = token_table();

const fn token_table() -> [bool; 256] {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 128 {
        let byte = b as u8;
        table[b] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        b += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_is_found_wherever_it_stands() {
        for control in (0u8..0x20).chain([0x7f]) {
            for at in 0..40 {
                let mut text: Vec<u8> = (0..40).map(|i| [b' ', b'~', 0x80, 0xff, b'a'][i % 5]).collect();
                text[at] = control;
                for from in 0..=at {
                    assert_eq!(find_control(&text, from), Some(at), "{control} at {at} from {from}");
                }
                assert_eq!(find_control(&text, at + 1), None);
            }
        }
    }

    #[test]
    fn the_first_of_several_controls_is_found() {
        assert_eq!(find_control(b"abc\x1f\x1f\x7fxx\r\n", 0), Some(3));
        assert_eq!(find_control(b"ab \x7f\x00", 0), Some(3));
    }
}
