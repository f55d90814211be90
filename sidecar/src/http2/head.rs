//! A head on its way from fields to HTTP/1.1 text, or trailers to lines: judges each field, puts the start line and Host
//! first, joins cookie crumbs, and bounds it all. What is wrong is kept for the end, since the block's table goes on.

use super::StreamFault;
use super::hpack::Kind;
use super::last::LastBlock;
use super::pseudo::Pseudo;
use crate::http1::connection::is_head_only;
use crate::http1::request::read_length;
use crate::http1::{MAX_FIELDS, MAX_HEAD, scan};

/// Room in a head for what is written at its end.
const RESERVED: usize = 64;

/// What a block is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Shape {
    /// The head of a request.
    Request,
    /// The head of an answer.
    Response { to_head: bool },
    /// Trailers of either.
    Trailers,
    /// Nothing: the stream is of no interest any more, only the table is.
    #[default]
    Ignored,
}

/// What is known of a line that has been judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) kind: Kind,
    /// The name's length.
    pub(super) name: u16,
    /// Whether the value is text without whitespace around it.
    pub(super) is_text: bool,
}

/// What a finished head says beyond its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Summary {
    /// Of an answer; 0 of others.
    pub(super) status: u16,
    /// What `content-length` says.
    pub(super) length: Option<u64>,
}

/// Why a head isn't handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// As HTTP/1 text it would be over `MAX_HEAD` or `MAX_FIELDS`.
    TooLarge,
    /// A rule is broken.
    Fault(StreamFault),
}

/// The head that is being read, and then its text; reused from head to head, and without memory at first.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// The lines so far; the one that is being read stands at the end.
    text: Vec<u8>,
    /// What comes before the lines, and after them.
    pseudo: Pseudo,
    cookies: Vec<u8>,
    /// A line that moves from the end of `text` to its place.
    moving: Vec<u8>,
    shape: Shape,
    has_host: bool,
    started: bool,
    length: Option<u64>,
    lines: usize,
    unfit: Option<Unfit>,
    /// What the text was read from, if it would be the same again.
    last: LastBlock,
}

impl Head {
    /// The text that was read last.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Starts anew.
    pub(super) fn begin(&mut self, shape: Shape) {
        self.text.clear();
        self.pseudo.clear();
        self.cookies.clear();
        self.shape = shape;
        (self.has_host, self.started) = (false, false);
        (self.length, self.lines) = (None, 0);
        self.unfit = None;
        self.last.forget();
    }

    /// What was read last, if this block is the same. The table is, too: what changes it is a block, which isn't remembered.
    pub(super) fn find_same(&self, block: &[u8], meant: (Shape, bool)) -> Option<Summary> {
        self.last.find(block, meant)
    }

    /// Notes what the text was read from: a block that left the table as it was.
    pub(super) fn remember(&mut self, block: &[u8], end: bool, summary: Summary) {
        self.last.remember(block, (self.shape, end), summary);
    }

    /// Gives back buffers that have grown beyond `kept` bytes.
    pub(super) fn trim(&mut self, kept: usize) {
        self.pseudo.trim(kept);
        if self.text.capacity() > kept {
            self.last.forget();
        }
        for buffer in [&mut self.text, &mut self.cookies, &mut self.moving] {
            if buffer.capacity() > kept {
                *buffer = Vec::new();
            }
        }
    }

    /// Where the next line starts.
    pub(super) fn line_start(&self) -> usize {
        self.text.len()
    }

    /// The text, to write a line at its end.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Judges the line of `kind` at `start`, `name: value`, and ends it.
    pub(super) fn judge(&mut self, kind: Kind, start: usize, name: usize) -> Line {
        let is_text = scan::is_text(&self.text[start + name + 2..]);
        self.text.extend_from_slice(b"\r\n");
        // A name too long to be counted is too long for the table and the head, too.
        Line { kind, name: u16::try_from(name).unwrap_or(u16::MAX), is_text }
    }

    /// The line at `start` is whole: it stays there or is put where it belongs.
    pub(super) fn settle(&mut self, start: usize, line: Line) {
        if line.kind == Kind::Other && line.is_text && self.started && self.is_plain() {
            self.lines += 1;
            return self.check_size(self.text.len());
        }
        if self.shape != Shape::Ignored && self.unfit.is_none() {
            let mut moving = std::mem::take(&mut self.moving);
            moving.clear();
            moving.extend_from_slice(&self.text[start..]);
            self.text.truncate(start);
            self.field(&moving, line);
            self.moving = moving;
        } else {
            self.text.truncate(start);
        }
    }

    /// The same as a line that has been judged before.
    pub(super) fn repeat(&mut self, text: &[u8], line: Line) {
        if !(line.kind == Kind::Other && line.is_text && self.started && self.is_plain()) {
            return self.field(text, line);
        }
        self.push(text);
    }

    /// A field of the static table.
    pub(super) fn static_field(&mut self, kind: Kind, name: &[u8], value: &[u8]) {
        if kind.is_pseudo() {
            return self.pseudo(kind, value);
        }
        let start = self.line_start();
        for part in [name, b": ", value, b"\r\n"] {
            self.text.extend_from_slice(part);
        }
        self.settle(start, Line { kind, name: name.len() as u16, is_text: true });
    }

    /// The head is whole: its text ends with an empty line, trailers don't. `end`: no body follows.
    pub(super) fn finish(&mut self, end: bool) -> Result<Summary, Unfit> {
        if !self.started {
            self.start();
        }
        if let Shape::Request | Shape::Response { .. } = self.shape {
            self.write_end(end);
        }
        match self.unfit {
            Some(unfit) => Err(unfit),
            None => Ok(Summary { status: self.pseudo.status(), length: self.length }),
        }
    }

    /// Whether lines of names without meaning can be taken as they are.
    fn is_plain(&self) -> bool {
        self.unfit.is_none() && matches!(self.shape, Shape::Request | Shape::Response { .. })
    }

    fn fail(&mut self, fault: StreamFault) {
        self.unfit.get_or_insert(Unfit::Fault(fault));
    }

    fn check_size(&mut self, length: usize) {
        if length + self.cookies.len() + RESERVED > MAX_HEAD || self.lines > MAX_FIELDS {
            self.unfit.get_or_insert(Unfit::TooLarge);
        }
    }

    fn push(&mut self, text: &[u8]) {
        self.lines += 1;
        self.check_size(self.text.len() + text.len());
        if self.unfit.is_none() {
            self.text.extend_from_slice(text);
        }
    }

    fn field(&mut self, text: &[u8], line: Line) {
        if self.shape == Shape::Ignored || self.unfit.is_some() {
            return;
        }
        match line.kind {
            Kind::UnknownPseudo => return self.fail(StreamFault::PseudoHeader),
            Kind::Invalid => return self.fail(StreamFault::HeaderName),
            Kind::Connection => return self.fail(StreamFault::ConnectionHeader),
            _ if !line.is_text => return self.fail(StreamFault::HeaderValue),
            _ => {}
        }
        let name = usize::from(line.name);
        let value = &text[name + 2..text.len() - 2];
        if line.kind.is_pseudo() {
            return self.pseudo(line.kind, value);
        }
        if self.shape == Shape::Trailers {
            return match is_head_only(&text[..name]) {
                true => self.fail(StreamFault::Trailers),
                false => self.push(text),
            };
        }
        if !self.started {
            self.start();
        }
        match (line.kind, self.shape) {
            (Kind::Cookie, Shape::Request) => self.cookie(value),
            (Kind::Host, Shape::Request) => self.host(text, value),
            (Kind::ContentLength, _) => self.content_length(text, value),
            (Kind::Te, Shape::Request) if value.eq_ignore_ascii_case(b"trailers") => self.push(text),
            (Kind::Te, _) => self.fail(StreamFault::ConnectionHeader),
            _ => self.push(text),
        }
    }

    fn pseudo(&mut self, kind: Kind, value: &[u8]) {
        let read = match self.shape {
            Shape::Ignored => return,
            Shape::Request if !self.started => self.pseudo.read_of_request(kind, value).map(|length| self.check_size(length)),
            Shape::Response { .. } if !self.started => self.pseudo.read_of_response(kind, value),
            _ => Err(StreamFault::PseudoHeader),
        };
        if let Err(fault) = read {
            self.fail(fault);
        }
    }

    /// Writes the start line, and Host, as soon as all pseudo-headers must be known.
    fn start(&mut self) {
        self.started = true;
        if self.unfit.is_some() {
            return;
        }
        let written = match self.shape {
            Shape::Ignored | Shape::Trailers => return,
            Shape::Response { .. } => self.pseudo.write_status_line(&mut self.text),
            Shape::Request => self.pseudo.write_request_line(&mut self.text),
        };
        match written {
            // Host is a line.
            Ok(()) => self.lines += usize::from(self.pseudo.authority().is_some()),
            Err(fault) => self.fail(fault),
        }
        self.check_size(self.text.len());
    }

    /// Crumbs are joined for HTTP/1 (RFC 9113, 8.2.3).
    fn cookie(&mut self, value: &[u8]) {
        if !self.cookies.is_empty() {
            self.cookies.extend_from_slice(b"; ");
        }
        self.check_size(self.text.len() + value.len());
        if self.unfit.is_none() {
            self.cookies.extend_from_slice(value);
        }
    }

    fn host(&mut self, text: &[u8], value: &[u8]) {
        let authority = self.pseudo.authority();
        let differs = authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(value));
        let repeated = std::mem::replace(&mut self.has_host, true);
        match authority {
            _ if differs || repeated => self.fail(StreamFault::HostDiffers),
            Some(_) => {}
            None => self.push(text),
        }
    }

    fn content_length(&mut self, text: &[u8], value: &[u8]) {
        let same_again = matches!(self.shape, Shape::Response { .. });
        match (read_length(value), self.length) {
            (Ok(length), None) => {
                self.length = Some(length);
                self.push(text);
            }
            (Ok(length), Some(other)) if same_again && length == other => {}
            _ => self.fail(StreamFault::ContentLength),
        }
    }

    /// The cookies, the framing that HTTP/1 needs said, and the empty line. [`RESERVED`] has kept room.
    fn write_end(&mut self, end: bool) {
        let Self { text, cookies, shape, length, lines, .. } = self;
        let status = self.pseudo.status();
        if !cookies.is_empty() {
            *lines += 1;
            for part in [b"cookie: ", cookies.as_slice(), b"\r\n"] {
                text.extend_from_slice(part);
            }
        }
        let may_have_body = match shape {
            Shape::Response { to_head } => !(*to_head || status < 200 || matches!(status, 204 | 304)),
            _ => true,
        };
        let framing: &[u8] = match (length, end) {
            (Some(_), _) => b"",
            _ if !may_have_body => b"",
            (None, false) => b"Transfer-Encoding: chunked\r\n",
            (None, true) if *shape == Shape::Request => b"",
            (None, true) => b"Content-Length: 0\r\n",
        };
        text.extend_from_slice(framing);
        text.extend_from_slice(b"\r\n");
        *lines += usize::from(!framing.is_empty());
        if *lines > MAX_FIELDS {
            self.unfit.get_or_insert(Unfit::TooLarge);
        }
        if status != 0 && status < 200 && end {
            self.fail(StreamFault::Status);
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Head {
    pub(super) fn held(&self) -> usize {
        let own = [&self.text, &self.cookies, &self.moving].map(Vec::capacity).iter().sum::<usize>();
        own + self.pseudo.held() + self.last.held()
    }
}
