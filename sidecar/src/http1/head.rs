//! Splits a head into its start line and its header lines, and refuses what is no line. Knows nothing of their meaning
//! but for the names that framing and hop-by-hop rules need. Works on a growing buffer; each byte is looked at once.

use super::{Fault, MAX_FIELDS, MAX_HEAD, scan};

/// A piece of the buffer that holds the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    start: u16,
    end: u16,
}

impl Span {
    /// The piece from `start` to before `end`; a head is shorter than `u16::MAX`.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= MAX_HEAD);
        Self { start: start as u16, end: end as u16 }
    }

    /// Its bytes.
    pub(crate) fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.start as usize..self.end as usize]
    }

    /// Where it starts.
    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    /// Where it ends.
    pub(crate) fn end(self) -> usize {
        self.end as usize
    }

    fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// The header names that mean something to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any other.
    Other,
    /// `Host`
    Host,
    /// `Content-Length`
    ContentLength,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Connection`
    Connection,
    /// `Keep-Alive`
    KeepAlive,
    /// `Expect`
    Expect,
    /// `Upgrade`
    Upgrade,
    /// The others that concern one hop only: `TE`, `Proxy-Connection`, `HTTP2-Settings`.
    Hop,
}

impl Kind {
    fn of(name: &[u8]) -> Self {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            2 if is(b"te") => Self::Hop,
            4 if is(b"host") => Self::Host,
            6 if is(b"expect") => Self::Expect,
            7 if is(b"upgrade") => Self::Upgrade,
            10 if is(b"connection") => Self::Connection,
            10 if is(b"keep-alive") => Self::KeepAlive,
            14 if is(b"content-length") => Self::ContentLength,
            14 if is(b"http2-settings") => Self::Hop,
            16 if is(b"proxy-connection") => Self::Hop,
            17 if is(b"transfer-encoding") => Self::TransferEncoding,
            _ => Self::Other,
        }
    }

    /// Whether the line goes on as it is; the others are dropped or written anew.
    fn is_end_to_end(self) -> bool {
        matches!(self, Self::Other | Self::Host)
    }
}

/// One header line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    /// The whole line with its CRLF.
    pub(crate) line: Span,
    /// The name.
    pub(crate) name: Span,
    /// What follows the colon, untrimmed.
    pub(crate) raw: Span,
    /// Which one it is.
    pub(crate) kind: Kind,
    /// Whether it goes on as it is.
    pub(crate) kept: bool,
}

impl Field {
    /// Reads the line at `at..end` (CRLF excluded).
    pub(crate) fn read(buf: &[u8], at: usize, end: usize) -> Result<Self, Fault> {
        let text = &buf[at..end];
        let Some(stop) = text.iter().position(|b| !scan::is_token(*b)) else {
            return Err(Fault::NoColon);
        };
        match text[stop] {
            b' ' | b'\t' if stop == 0 => return Err(Fault::Folded),
            b' ' | b'\t' => return Err(Fault::SpaceBeforeColon),
            b':' if stop > 0 => {}
            _ => return Err(Fault::HeaderName),
        }
        let kind = Kind::of(&text[..stop]);
        Ok(Self {
            line: Span::new(at, end + 2),
            name: Span::new(at, at + stop),
            raw: Span::new(at + stop + 1, end),
            kind,
            kept: kind.is_end_to_end(),
        })
    }

    /// The value without whitespace around it.
    pub(crate) fn value<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        scan::trim(self.raw.of(buf))
    }

    /// The value of a framing header: at most one space before it and nothing after it, since odd whitespace around
    /// these is only ever written to make two readers disagree.
    pub(crate) fn strict_value<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        let raw = self.raw.of(buf);
        raw.strip_prefix(b" ").unwrap_or(raw)
    }
}

/// How far a head has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// More bytes are needed.
    More,
    /// The start line has just been found; go on.
    StartLine(Span),
    /// All lines are there; the head is so many bytes long.
    Complete(usize),
}

/// The lines of one head; reused from head to head.
#[derive(Debug, Default)]
pub(crate) struct Head {
    fields: Vec<Field>,
    line: usize,
    scanned: usize,
    started: bool,
}

impl Head {
    /// Forgets the last head.
    pub(crate) fn reset(&mut self) {
        self.fields.clear();
        self.line = 0;
        self.scanned = 0;
        self.started = false;
    }

    /// The header lines so far.
    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The same, to mark those that don't go on.
    pub(crate) fn fields_mut(&mut self) -> &mut [Field] {
        &mut self.fields
    }

    /// Goes on reading; `buf` is the same as before or longer, and starts with the head.
    pub(crate) fn advance(&mut self, buf: &[u8]) -> Result<Step, Fault> {
        loop {
            let Some(line) = self.next_line(buf)? else {
                return Ok(Step::More);
            };
            if !self.started {
                // One empty line before a start line is skipped, as RFC 9112, 2.2 asks of a server.
                if line.is_empty() && line.start == 0 {
                    continue;
                }
                self.started = true;
                return Ok(Step::StartLine(line));
            }
            if line.is_empty() {
                return Ok(Step::Complete(self.line));
            }
            let field = Field::read(buf, line.start(), line.end())?;
            if self.fields.len() == MAX_FIELDS {
                return Err(Fault::TooManyHeaders);
            }
            self.fields.push(field);
        }
    }

    fn next_line(&mut self, buf: &[u8]) -> Result<Option<Span>, Fault> {
        let limit = buf.len().min(MAX_HEAD);
        loop {
            let found = scan::find_control(&buf[..limit], self.scanned);
            self.scanned = found.unwrap_or(limit);
            let next = buf[..limit].get(self.scanned + 1);
            match (found.map(|at| buf[at]), next) {
                (Some(b'\t'), _) => self.scanned += 1,
                (Some(b'\r'), Some(b'\n')) => {
                    let line = Span::new(self.line, self.scanned);
                    self.scanned += 2;
                    self.line = self.scanned;
                    return Ok(Some(line));
                }
                (None, _) | (Some(b'\r'), None) if limit < MAX_HEAD => return Ok(None),
                (None, _) | (Some(b'\r'), None) => return Err(self.too_large()),
                (Some(b'\r'), Some(_)) => return Err(Fault::BareCr),
                (Some(b'\n'), _) => return Err(Fault::BareLf),
                (Some(_), _) => return Err(Fault::Control),
            }
        }
    }

    fn too_large(&self) -> Fault {
        if self.started { Fault::HeadTooLarge } else { Fault::TargetTooLong }
    }

    /// Appends the lines that go on, in runs of neighbours.
    pub(crate) fn write_kept(&self, buf: &[u8], out: &mut Vec<u8>) {
        let mut run = Span::default();
        for field in &self.fields {
            match (field.kept, run.end == field.line.start) {
                (true, true) => run.end = field.line.end,
                (true, false) => {
                    out.extend_from_slice(run.of(buf));
                    run = field.line;
                }
                (false, _) => {}
            }
        }
        out.extend_from_slice(run.of(buf));
    }
}
