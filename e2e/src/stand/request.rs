//! Reads HTTP/1 messages as lenient servers and clients do, to find where one ends. A second opinion: nothing of the sidecar's
//! parser is in here.

/// Which side wrote the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request.
    Request,
    /// An answer; `to_head`: to a HEAD, so without a body.
    Answer {
        /// It answers a HEAD.
        to_head: bool,
    },
}

/// How far the first message of some bytes goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// More bytes are needed.
    Partial,
    /// It is complete, and this long.
    Complete(usize),
    /// An answer that ends with its connection.
    UntilClose,
}

/// The status of an answer; 0 if there is none.
pub fn status(answer: &[u8]) -> u16 {
    let digits = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Where the first message ends.
pub fn extent(bytes: &[u8], kind: Kind) -> Extent {
    // An empty line before a request is passed over.
    let skipped = if kind == Kind::Request { bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count() } else { 0 };
    let Some(head) = head_length(&bytes[skipped..]) else { return Extent::Partial };
    let (head, rest) = (&bytes[skipped..skipped + head], &bytes[skipped + head..]);
    let before = skipped + head.len();
    let bodiless = match kind {
        Kind::Request => false,
        Kind::Answer { to_head } => to_head || matches!(status(head), 100..=199 | 204 | 304),
    };
    let body = match (find(head, "transfer-encoding"), find(head, "content-length")) {
        _ if bodiless => Some(0),
        (Some(coding), _) if contains(&coding, b"chunked") => chunked_length(rest),
        (_, Some(length)) => match std::str::from_utf8(&length).ok().and_then(|text| text.trim().parse::<usize>().ok()) {
            Some(length) => (rest.len() >= length).then_some(length),
            None => Some(0),
        },
        (_, None) if kind == Kind::Request => Some(0),
        (_, None) => return Extent::UntilClose,
    };
    body.map_or(Extent::Partial, |body| Extent::Complete(before + body))
}

/// The value of the first header of this name (lower case), trimmed and in lower case.
pub fn find(head: &[u8], name: &str) -> Option<Vec<u8>> {
    head.split(|b| *b == b'\n').skip(1).find_map(|line| {
        let colon = line.iter().position(|b| *b == b':')?;
        line[..colon]
            .trim_ascii()
            .eq_ignore_ascii_case(name.as_bytes())
            .then(|| line[colon + 1..].trim_ascii().to_ascii_lowercase())
    })
}

/// Whether `part` occurs in `text`, letter case aside.
pub fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// The length of a head with its empty line.
pub fn head_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = bytes[at..].iter().position(|b| *b == b'\n')?;
        let empty = bytes[at..at + line].iter().all(|b| *b == b'\r');
        at += line + 1;
        if empty {
            return Some(at);
        }
    }
}

fn chunked_length(bytes: &[u8]) -> Option<usize> {
    let trailers = dechunk(bytes, &mut Vec::new())?;
    head_length(&bytes[trailers..]).map(|length| trailers + length)
}

/// Takes the data out of chunks: where the trailers begin, `None` if the last chunk hasn't come. What is no chunk ends them,
/// since a server would give up there.
pub fn dechunk(bytes: &[u8], data: &mut Vec<u8>) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = bytes[at..].iter().position(|b| *b == b'\n')?;
        let digits: String = bytes[at..at + line].iter().map(|b| *b as char).take_while(char::is_ascii_hexdigit).collect();
        at += line + 1;
        let Ok(size @ 1..) = usize::from_str_radix(&digits, 16) else { return Some(at) };
        let end = at.checked_add(size)?;
        data.extend_from_slice(&bytes[at..end.min(bytes.len())]);
        at = end.checked_add(2)?;
        if at > bytes.len() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_end_where_their_framing_says() {
        let request = |text: &str| extent(text.as_bytes(), Kind::Request);
        let answer = |text: &str| extent(text.as_bytes(), Kind::Answer { to_head: false });
        assert_eq!(request("GET / HTTP/1.1\r\nHost: a\r\n"), Extent::Partial);
        assert_eq!(request("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET"), Extent::Complete(27));
        assert_eq!(request("P / H\r\nContent-Length: 3\r\n\r\nab"), Extent::Partial);
        assert_eq!(request("P / H\r\nContent-Length: 3\r\n\r\nabcd"), Extent::Complete(31));
        let chunked = "P / H\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: 1\r\n\r\n";
        for end in 0..chunked.len() {
            assert_eq!(request(&chunked[..end]), Extent::Partial, "{end}");
        }
        assert_eq!(request(chunked), Extent::Complete(chunked.len()));
        assert_eq!(answer("HTTP/1.1 200 OK\r\n\r\nabc"), Extent::UntilClose);
        assert_eq!(answer("HTTP/1.1 204 No\r\n\r\nabc"), Extent::Complete(19));
        assert_eq!(status(b"HTTP/1.1 404 Not Found\r\n"), 404);
    }
}
