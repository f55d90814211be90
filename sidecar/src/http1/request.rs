//! A request head becomes a plan that names every decision: what goes upstream, how its body is framed, whether the
//! connection may stay. Or it is refused before one byte has gone upstream.

use super::connection::{self, Options, Sender};
use super::head::{Field, Head, Kind, Span, Step};
use super::target::{self, Target};
use super::{Fault, Framing, Version, scan};

/// The methods that a proxy tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// HEAD: its answer has no body.
    Head,
    /// OPTIONS: may ask for `*`.
    Options,
    /// GET, PUT, DELETE: may be sent twice.
    Idempotent,
    /// All others.
    Other,
}

impl Method {
    /// The method's decision; CONNECT and TRACE are refused.
    fn read(text: &[u8]) -> Result<Self, Fault> {
        match text {
            b"GET" | b"PUT" | b"DELETE" => Ok(Self::Idempotent),
            b"HEAD" => Ok(Self::Head),
            b"OPTIONS" => Ok(Self::Options),
            b"CONNECT" | b"TRACE" => Err(Fault::Method),
            _ if scan::is_token_text(text) => Ok(Self::Other),
            _ => Err(Fault::RequestLine),
        }
    }
}

/// All that is decided about a request. The spans belong to the buffer that it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    /// What the method means here.
    pub(crate) method: Method,
    /// The method as it was written.
    pub(crate) method_text: Span,
    /// What is asked for.
    pub(crate) target: Target,
    /// The client's version.
    pub(crate) version: Version,
    /// Whether a Host line is among those that go on.
    pub(crate) has_host: bool,
    /// The body.
    pub(crate) body: Framing,
    /// Whether the client waits for a 100 before it sends the body; said upstream too.
    pub(crate) expects_continue: bool,
    /// Whether it asks for a WebSocket; said upstream too. Only then may a 101 be the answer.
    pub(crate) asks_websocket: bool,
    /// Whether the client would like to go on with this connection.
    pub(crate) keep_alive: bool,
    /// The head's length in the buffer.
    pub(crate) head_len: usize,
}

impl Request {
    /// Whether it may be sent a second time when nobody can tell if the first was seen (RFC 9110, 9.2.2).
    pub(crate) fn is_replayable(&self) -> bool {
        self.method != Method::Other && self.body == Framing::None
    }
}

/// Reads request heads, one after the other.
#[derive(Debug, Default)]
pub(crate) struct RequestParser {
    head: Head,
    line: Option<RequestLine>,
}

#[derive(Debug, Clone, Copy)]
struct RequestLine {
    method: Method,
    method_text: Span,
    target: Target,
    version: Version,
}

impl RequestParser {
    /// Starts with a new head.
    pub(crate) fn reset(&mut self) {
        self.head.reset();
        self.line = None;
    }

    /// Goes on reading; `buf` starts with the head and is the same as before or longer. `None`: more bytes are needed.
    pub(crate) fn advance(&mut self, buf: &[u8]) -> Result<Option<Request>, Fault> {
        loop {
            match self.head.advance(buf)? {
                Step::More => return Ok(None),
                Step::StartLine(span) => self.line = Some(RequestLine::read(buf, span)?),
                Step::Complete(head_len) => {
                    let line = self.line.ok_or(Fault::RequestLine)?;
                    return plan(&mut self.head, line, buf, head_len).map(Some);
                }
            }
        }
    }

    /// The lines of the head that was read last.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// The lines of this name don't go on.
    pub(crate) fn leave_out(&mut self, buf: &[u8], name: &str) {
        let fields = self.head.fields_mut().iter_mut();
        fields.filter(|f| f.name.of(buf).eq_ignore_ascii_case(name.as_bytes())).for_each(|f| f.kept = false);
    }

    /// The first value of the header `name` that isn't empty.
    pub(crate) fn find_header<'a>(&self, buf: &'a [u8], name: &str) -> Option<&'a [u8]> {
        let fields = self.head.fields().iter();
        let mut named = fields.filter(|f| f.name.of(buf).eq_ignore_ascii_case(name.as_bytes()));
        named.find_map(|f| Some(f.value(buf)).filter(|v| !v.is_empty()))
    }
}

impl RequestLine {
    fn read(buf: &[u8], span: Span) -> Result<Self, Fault> {
        let text = span.of(buf);
        let first = text.iter().position(|b| *b == b' ').ok_or(Fault::RequestLine)?;
        let last = text.iter().rposition(|b| *b == b' ').ok_or(Fault::RequestLine)?;
        let method = Method::read(&text[..first])?;
        if last <= first + 1 || text[first + 1..last].contains(&b' ') {
            return Err(Fault::RequestLine);
        }
        let at = |offset: usize| span.start() + offset;
        let target = Span::new(at(first + 1), at(last));
        Ok(Self {
            method,
            method_text: Span::new(at(0), at(first)),
            target: target::read(buf, target, method == Method::Options)?,
            version: Version::read(&text[last + 1..])?,
        })
    }
}

/// What the header lines say that matters to framing and routing.
#[derive(Default)]
struct Facts {
    host: Option<Span>,
    length: Option<u64>,
    chunked: bool,
    has_connection: bool,
    expects_continue: bool,
    names_websocket: bool,
}

fn plan(head: &mut Head, line: RequestLine, buf: &[u8], head_len: usize) -> Result<Request, Fault> {
    let facts = gather(head, buf, line.version)?;
    let options = match facts.has_connection {
        true => connection::read(head, buf, Sender::Client)?,
        false => Options::default(),
    };
    check_host(&facts, &line, buf)?;
    let body = match (facts.chunked, facts.length) {
        (true, Some(_)) => return Err(Fault::LengthAndEncoding),
        (true, None) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::None,
    };
    let RequestLine { method, method_text, target, version } = line;
    let has_body = !matches!(body, Framing::None | Framing::Length(0));
    let is_new = version == Version::Http11;
    Ok(Request {
        method,
        method_text,
        target,
        version,
        has_host: facts.host.is_some(),
        body,
        // RFC 9110, 10.1.1: in HTTP/1.0 it is ignored, and without a body there is nothing to wait with.
        expects_continue: facts.expects_continue && is_new && has_body,
        // RFC 9110, 7.8 and RFC 6455, 4.1: in HTTP/1.1, named by Connection, by GET. With a body, two readers could differ in
        // where the tunnel begins. Whatever asks otherwise goes on as a plain request.
        asks_websocket: facts.names_websocket && options.upgrade && is_new && !has_body && method_text.of(buf) == b"GET",
        keep_alive: !options.close && (is_new || options.keep_alive),
        head_len,
    })
}

fn gather(head: &Head, buf: &[u8], version: Version) -> Result<Facts, Fault> {
    let mut facts = Facts::default();
    for field in head.fields() {
        match field.kind {
            Kind::Other => check_shadow(field, buf)?,
            Kind::Host if facts.host.is_some() => return Err(Fault::HostRepeated),
            Kind::Host => {
                let value = field.value(buf);
                if !target::is_authority(value) {
                    return Err(Fault::Host);
                }
                facts.host = Some(field.raw);
            }
            Kind::ContentLength if facts.length.is_some() => return Err(Fault::ContentLengthRepeated),
            Kind::ContentLength => facts.length = Some(read_length(field.strict_value(buf))?),
            Kind::TransferEncoding if facts.chunked || version == Version::Http10 => {
                return Err(Fault::TransferEncoding);
            }
            Kind::TransferEncoding => facts.chunked = is_chunked(field.strict_value(buf))?,
            Kind::Connection => facts.has_connection = true,
            Kind::Expect if facts.expects_continue || !field.value(buf).eq_ignore_ascii_case(b"100-continue") => {
                return Err(Fault::Expect);
            }
            Kind::Expect => facts.expects_continue = true,
            Kind::Upgrade => facts.names_websocket |= connection::protocols(field, buf).any(connection::is_websocket),
            Kind::KeepAlive | Kind::Hop => {}
        }
    }
    Ok(facts)
}

/// Some servers read `_` as `-`: such a name would bring in a second framing behind our back.
fn check_shadow(field: &Field, buf: &[u8]) -> Result<(), Fault> {
    let name = field.name.of(buf);
    let shadows = match name.len() {
        14 => connection::same_name(name, b"content-length"),
        17 => connection::same_name(name, b"transfer-encoding"),
        _ => false,
    };
    if shadows { Err(Fault::ShadowName) } else { Ok(()) }
}

fn check_host(facts: &Facts, line: &RequestLine, buf: &[u8]) -> Result<(), Fault> {
    let host = facts.host.map(|span| scan::trim(span.of(buf)));
    match (host, line.target.authority) {
        (None, _) if line.version == Version::Http11 => Err(Fault::HostMissing),
        (Some(host), Some(authority)) => match target::is_same_authority(host, authority.of(buf), line.target.usual_port) {
            true => Ok(()),
            false => Err(Fault::HostDiffers),
        },
        _ => Ok(()),
    }
}

/// A length: plain digits that fit.
pub(crate) fn read_length(text: &[u8]) -> Result<u64, Fault> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Fault::ContentLength);
    }
    let add = |n: u64, b: &u8| n.checked_mul(10)?.checked_add(u64::from(b - b'0'));
    let length = text.iter().try_fold(0, add).ok_or(Fault::ContentLength)?;
    if length > i64::MAX as u64 { Err(Fault::ContentLength) } else { Ok(length) }
}

/// A Transfer-Encoding: exactly `chunked`.
pub(crate) fn is_chunked(text: &[u8]) -> Result<bool, Fault> {
    if text.eq_ignore_ascii_case(b"chunked") { Ok(true) } else { Err(Fault::TransferEncoding) }
}
