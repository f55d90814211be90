//! An answer's head becomes a plan: how its body ends, what the client is told, whether the upstream connection may be
//! used again. What is no answer is refused; the client gets a 502.

use super::connection::{self, Sender};
use super::head::{Head, Kind, Span, Step};
use super::request::{Method, Request, is_chunked, read_length};
use super::{Fault, Framing, MAX_INTERIM, Version};

/// All that is decided about an answer, but for what depends on the client's wishes ([`deliver`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// The status code and the reason as they were written.
    pub(crate) status_text: Span,
    /// How the body ends.
    pub(crate) body: Framing,
    /// The framing that the head declares, though there may be no body (HEAD, 304).
    pub(crate) declared: Framing,
    /// Whether the upstream connection may carry another request afterwards.
    pub(crate) keep_alive: bool,
    /// After how many idle seconds the server will close, if it says so.
    pub(crate) idle_seconds: Option<u64>,
    /// The head's length in the buffer.
    pub(crate) head_len: usize,
}

impl Response {
    /// Whether the final answer is still to come.
    pub(crate) fn is_interim(&self) -> bool {
        self.status < 200 && !self.is_upgrade()
    }

    /// Whether it is a 101 to a request that asked for it: from here on the connection speaks WebSocket.
    pub(crate) fn is_upgrade(&self) -> bool {
        self.status == 101
    }
}

/// What of the request decides on how its answer is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// It was a HEAD.
    pub(crate) head: bool,
    /// It asked for a WebSocket.
    pub(crate) websocket: bool,
    /// It waits for a 100.
    pub(crate) expects_continue: bool,
}

impl Asked {
    /// What this request asks for.
    pub(crate) fn by(request: &Request) -> Self {
        let Request { method, asks_websocket, expects_continue, .. } = *request;
        Self { head: method == Method::Head, websocket: asks_websocket, expects_continue }
    }
}

/// Reads the heads of the answers to one request: interim ones, then the final one.
#[derive(Debug, Default)]
pub(crate) struct ResponseParser {
    head: Head,
    line: Option<StatusLine>,
    interim: u32,
    continued: bool,
}

#[derive(Debug, Clone, Copy)]
struct StatusLine {
    version: Version,
    status: u16,
    text: Span,
}

impl ResponseParser {
    /// Starts with the answers to a new request.
    pub(crate) fn reset(&mut self) {
        self.next();
        (self.interim, self.continued) = (0, false);
    }

    /// Starts with the next head, after an interim one.
    pub(crate) fn next(&mut self) {
        self.head.reset();
        self.line = None;
    }

    /// Goes on reading; `buf` starts with the head and is the same as before or longer. `None`: more bytes are needed.
    pub(crate) fn advance(&mut self, buf: &[u8], asked: Asked) -> Result<Option<Response>, Fault> {
        loop {
            match self.head.advance(buf)? {
                Step::More => return Ok(None),
                Step::StartLine(span) => self.line = Some(StatusLine::read(buf, span, asked)?),
                Step::Complete(head_len) => {
                    let line = self.line.ok_or(Fault::StatusLine)?;
                    let response = plan(&mut self.head, line, buf, asked, head_len)?;
                    return self.count(response, asked).map(Some);
                }
            }
        }
    }

    fn count(&mut self, mut response: Response, asked: Asked) -> Result<Response, Fault> {
        if response.is_interim() {
            self.interim += 1;
            self.continued |= response.status == 100;
            if self.interim > MAX_INTERIM {
                return Err(Fault::TooManyInterim);
            }
        }
        // A server that never said 100 may take the body for the next request, whether or not it was sent (RFC 9110, 10.1.1).
        response.keep_alive &= !asked.expects_continue || self.continued;
        Ok(response)
    }

    /// Whether a 100 has been among the answers.
    pub(crate) fn has_continued(&self) -> bool {
        self.continued
    }

    /// The lines of the head that was read last.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }
}

impl StatusLine {
    fn read(buf: &[u8], span: Span, asked: Asked) -> Result<Self, Fault> {
        let text = span.of(buf);
        // Nothing may stand before an answer, not even the empty line that a request may have.
        if span.start() != 0 || text.len() < 12 || text[8] != b' ' {
            return Err(Fault::StatusLine);
        }
        let version = Version::read(&text[..8])?;
        let digits = &text[9..12];
        let after_fits = text.get(12).is_none_or(|b| *b == b' ');
        if !digits.iter().all(u8::is_ascii_digit) || digits[0] == b'0' || !after_fits {
            return Err(Fault::StatusLine);
        }
        let status = digits.iter().fold(0, |n, b| n * 10 + u16::from(b - b'0'));
        if status == 101 && !asked.websocket {
            return Err(Fault::UnsolicitedUpgrade);
        }
        Ok(Self { version, status, text: Span::new(span.start() + 9, span.end()) })
    }
}

#[derive(Default)]
struct Facts {
    length: Option<u64>,
    chunked: bool,
    has_connection: bool,
    idle_seconds: Option<u64>,
    upgrade: Upgrade,
}

/// What an answer's `Upgrade` lines say together.
#[derive(Default, PartialEq, Eq)]
enum Upgrade {
    #[default]
    Nothing,
    WebSocket,
    Other,
}

fn gather(head: &Head, buf: &[u8], version: Version) -> Result<Facts, Fault> {
    let mut facts = Facts::default();
    for field in head.fields() {
        match field.kind {
            Kind::ContentLength => {
                // Servers that fill the number in later leave spaces around it; they are no danger, since it is written anew.
                let length = read_length(field.value(buf))?;
                if facts.length.is_some_and(|other| other != length) {
                    return Err(Fault::ContentLengthRepeated);
                }
                facts.length = Some(length);
            }
            Kind::TransferEncoding if facts.chunked || version == Version::Http10 => {
                return Err(Fault::TransferEncoding);
            }
            Kind::TransferEncoding => facts.chunked = is_chunked(field.value(buf))?,
            Kind::Connection => facts.has_connection = true,
            Kind::KeepAlive => facts.idle_seconds = read_idle_seconds(field.value(buf)),
            Kind::Upgrade => {
                for protocol in connection::protocols(field, buf) {
                    let is_first = facts.upgrade == Upgrade::Nothing && connection::is_websocket(protocol);
                    facts.upgrade = if is_first { Upgrade::WebSocket } else { Upgrade::Other };
                }
            }
            Kind::Other | Kind::Host | Kind::Expect | Kind::Hop => {}
        }
    }
    Ok(facts)
}

fn plan(head: &mut Head, line: StatusLine, buf: &[u8], asked: Asked, head_len: usize) -> Result<Response, Fault> {
    let StatusLine { version, status, text } = line;
    let facts = gather(head, buf, version)?;
    let options = match facts.has_connection {
        true => connection::read(head, buf, Sender::Server)?,
        false => Default::default(),
    };
    if status == 101 && !(options.upgrade && facts.upgrade == Upgrade::WebSocket) {
        return Err(Fault::UnsolicitedUpgrade);
    }
    let framing = match (facts.chunked, facts.length) {
        (true, _) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    };
    let never_has_body = status < 200 || status == 204;
    let has_no_body = never_has_body || status == 304 || asked.head;
    let declared = match framing {
        _ if never_has_body => Framing::None,
        Framing::UntilClose if has_no_body => Framing::None,
        framing => framing,
    };
    let body = if has_no_body { Framing::None } else { framing };
    let both = facts.chunked && facts.length.is_some();
    let keep_alive = !options.close
        && !both
        && status != 101
        && body != Framing::UntilClose
        && (version == Version::Http11 || options.keep_alive);
    Ok(Response { status, status_text: text, body, declared, keep_alive, idle_seconds: facts.idle_seconds, head_len })
}

/// `timeout` of a `Keep-Alive` header, such as `timeout=5, max=100`.
fn read_idle_seconds(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    text.split(',').find_map(|p| p.trim().strip_prefix("timeout=")?.trim().parse().ok())
}

/// How an answer goes to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// The framing that the client is told.
    pub(crate) declared: Framing,
    /// How the body goes out.
    pub(crate) body: Framing,
    /// The `Connection` header.
    pub(crate) connection: Persistence,
}

/// What the client is told of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// HTTP/1.1 goes on: nothing needs to be said.
    Default,
    /// HTTP/1.0 goes on, since it asked for it.
    KeepAlive,
    /// This is the last answer.
    Close,
    /// From here on it speaks WebSocket.
    Upgrade,
}

/// Decides how the answer goes out. `keep_alive`: the client and the proxy would like to go on.
pub(crate) fn deliver(response: &Response, version: Version, keep_alive: bool) -> Delivery {
    let for_version = |framing| match (framing, version) {
        // HTTP/1.0 knows no chunks: the end of the connection ends the body.
        (Framing::Chunked, Version::Http10) => Framing::UntilClose,
        (framing, _) => framing,
    };
    let body = for_version(response.body);
    let connection = match (keep_alive && body != Framing::UntilClose, version) {
        _ if response.is_upgrade() => Persistence::Upgrade,
        _ if response.is_interim() => Persistence::Default,
        (false, _) => Persistence::Close,
        (true, Version::Http10) => Persistence::KeepAlive,
        (true, Version::Http11) => Persistence::Default,
    };
    Delivery { declared: for_version(response.declared), body, connection }
}
