//! What can be wrong with a message. One name serves as metric label, log field and flag; statuses are in `status.rs`.

/// Why a message isn't accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// A line that ends without CR.
    BareLf,
    /// A CR that no LF follows.
    BareCr,
    /// NUL or another control character.
    Control,
    /// A folded line, or whitespace before the first header.
    Folded,
    /// Whitespace between a header's name and its colon.
    SpaceBeforeColon,
    /// A header line without a colon.
    NoColon,
    /// A header name that isn't a token.
    HeaderName,
    /// A name such as `Content_Length`.
    ShadowName,
    /// More than [`super::MAX_FIELDS`].
    TooManyHeaders,
    /// More than [`super::MAX_HEAD`].
    HeadTooLarge,
    /// More than [`super::MAX_TARGET`].
    TargetTooLong,
    /// Not `METHOD target HTTP/1.x`.
    RequestLine,
    /// Not `HTTP/1.x 200 reason`.
    StatusLine,
    /// Neither 1.0 nor 1.1.
    Version,
    /// CONNECT or TRACE.
    Method,
    /// A target of no known form, with a fragment, or with characters outside of ASCII.
    Target,
    /// No Host in HTTP/1.1.
    HostMissing,
    /// More than one Host.
    HostRepeated,
    /// Not a host with an optional port.
    Host,
    /// The URL's authority and Host differ.
    HostDiffers,
    /// Not plain digits, or too great.
    ContentLength,
    /// Content-Length twice (in an answer: with different values).
    ContentLengthRepeated,
    /// Both framings at once.
    LengthAndEncoding,
    /// Not exactly one `chunked`, or in HTTP/1.0.
    TransferEncoding,
    /// A `Connection` that isn't a list of tokens, or takes away what must stay.
    Nomination,
    /// An Expect other than one `100-continue`.
    Expect,
    /// Not a plain hexadecimal number, or too great.
    ChunkSize,
    /// A chunk's extension with controls, or too long.
    ChunkExtension,
    /// No CRLF after a chunk's data.
    ChunkEnd,
    /// A trailer that may not be one.
    Trailer,
    /// Too many or too long trailers.
    TrailersTooLarge,
    /// An HTTP/2 stream or connection that broke the rules of HTTP/2.
    Http2,
    /// More than [`super::MAX_INTERIM`].
    TooManyInterim,
    /// A 101 that nobody asked for, or to another protocol than the one asked for.
    UnsolicitedUpgrade,
}

impl Fault {
    /// The label, log field and flag.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::BareLf => "bare_lf",
            Self::BareCr => "bare_cr",
            Self::Control => "control",
            Self::Folded => "folded",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::NoColon => "no_colon",
            Self::HeaderName => "header_name",
            Self::ShadowName => "shadow_name",
            Self::TooManyHeaders => "too_many_headers",
            Self::HeadTooLarge => "head_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::RequestLine => "request_line",
            Self::StatusLine => "status_line",
            Self::Version => "version",
            Self::Method => "method",
            Self::Target => "target",
            Self::HostMissing => "host_missing",
            Self::HostRepeated => "host_repeated",
            Self::Host => "host",
            Self::HostDiffers => "host_differs",
            Self::ContentLength => "content_length",
            Self::ContentLengthRepeated => "content_length_repeated",
            Self::LengthAndEncoding => "length_and_encoding",
            Self::TransferEncoding => "transfer_encoding",
            Self::Nomination => "nomination",
            Self::Expect => "expect",
            Self::ChunkSize => "chunk_size",
            Self::ChunkExtension => "chunk_extension",
            Self::ChunkEnd => "chunk_end",
            Self::Trailer => "trailer",
            Self::TrailersTooLarge => "trailers_too_large",
            Self::Http2 => "http2",
            Self::TooManyInterim => "too_many_interim",
            Self::UnsolicitedUpgrade => "unsolicited_upgrade",
        }
    }

    /// What is wrong, for people.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::BareLf => "a line ends in a bare LF; end lines with CRLF",
            Self::BareCr => "a bare CR",
            Self::Control => "a control character",
            Self::Folded => "a header line starts with whitespace; write each header on one line",
            Self::SpaceBeforeColon => "whitespace before a header's colon",
            Self::NoColon => "a header line without a colon",
            Self::HeaderName => "a header name that is not a token",
            Self::ShadowName => "a header name with underscores that shadows a framing header",
            Self::TooManyHeaders => "more than 100 header lines",
            Self::HeadTooLarge => "a head of over 32 KiB",
            Self::TargetTooLong => "a request target of over 8 KiB",
            Self::RequestLine => "the request line is not `METHOD target HTTP/1.1`",
            Self::StatusLine => "the status line is not `HTTP/1.1 200 OK`",
            Self::Version => "a version other than HTTP/1.0 and HTTP/1.1",
            Self::Method => "this method is not served",
            Self::Target => "the request target is not a path or an http URL",
            Self::HostMissing => "no Host header",
            Self::HostRepeated => "more than one Host header",
            Self::Host => "the Host header is not a host with an optional port",
            Self::HostDiffers => "the URL and the Host header name different hosts",
            Self::ContentLength => "a Content-Length that is not a plain number",
            Self::ContentLengthRepeated => "more than one Content-Length",
            Self::LengthAndEncoding => "Content-Length together with Transfer-Encoding",
            Self::TransferEncoding => "a Transfer-Encoding other than one `chunked`",
            Self::Nomination => "a Connection header that names a header which it may not",
            Self::Expect => "an expectation other than one `100-continue`",
            Self::ChunkSize => "a chunk size that is not a plain hexadecimal number",
            Self::ChunkExtension => "a chunk extension with controls or of over 1 KiB",
            Self::ChunkEnd => "no CRLF after a chunk",
            Self::Trailer => "a trailer that only a head may carry",
            Self::TrailersTooLarge => "too many or too long trailers",
            Self::Http2 => "not HTTP/2 as its rules want it; does the endpoint speak it?",
            Self::TooManyInterim => "more than ten interim answers",
            Self::UnsolicitedUpgrade => "a 101 that was not asked for, or to another protocol",
        }
    }
}
