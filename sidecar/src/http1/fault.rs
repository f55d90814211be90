//! What can be wrong with a message. One name serves as metric label, log field and flag; statuses are in `status.rs`.

/// Why a message isn't accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum Fault {
    /// A line that ends without CR.
    #[error("a line ends in a bare LF; end lines with CRLF")]
    BareLf,
    /// A CR that no LF follows.
    #[error("a bare CR")]
    BareCr,
    /// NUL or another control character.
    #[error("a control character")]
    Control,
    /// A folded line, or whitespace before the first header.
    #[error("a header line starts with whitespace; write each header on one line")]
    Folded,
    /// Whitespace between a header's name and its colon.
    #[error("whitespace before a header's colon")]
    SpaceBeforeColon,
    /// A header line without a colon.
    #[error("a header line without a colon")]
    NoColon,
    /// A header name that isn't a token.
    #[error("a header name that is not a token")]
    HeaderName,
    /// A name such as `Content_Length`.
    #[error("a header name with underscores that shadows a framing header")]
    ShadowName,
    /// More than [`super::MAX_FIELDS`].
    #[error("more than 100 header lines")]
    TooManyHeaders,
    /// More than [`super::MAX_HEAD`].
    #[error("a head of over 32 KiB")]
    HeadTooLarge,
    /// More than [`super::MAX_TARGET`].
    #[error("a request target of over 8 KiB")]
    TargetTooLong,
    /// Not `METHOD target HTTP/1.x`.
    #[error("the request line is not `METHOD target HTTP/1.1`")]
    RequestLine,
    /// Not `HTTP/1.x 200 reason`.
    #[error("the status line is not `HTTP/1.1 200 OK`")]
    StatusLine,
    /// Neither 1.0 nor 1.1.
    #[error("a version other than HTTP/1.0 and HTTP/1.1")]
    Version,
    /// CONNECT or TRACE.
    #[error("this method is not served")]
    Method,
    /// A target of no known form, with a fragment, or with characters outside of ASCII.
    #[error("the request target is not a path or an http URL")]
    Target,
    /// No Host in HTTP/1.1.
    #[error("no Host header")]
    HostMissing,
    /// More than one Host.
    #[error("more than one Host header")]
    HostRepeated,
    /// Not a host with an optional port.
    #[error("the Host header is not a host with an optional port")]
    Host,
    /// The URL's authority and Host differ.
    #[error("the URL and the Host header name different hosts")]
    HostDiffers,
    /// Not plain digits, or too great.
    #[error("a Content-Length that is not a plain number")]
    ContentLength,
    /// Content-Length twice (in an answer: with different values).
    #[error("more than one Content-Length")]
    ContentLengthRepeated,
    /// Both framings at once.
    #[error("Content-Length together with Transfer-Encoding")]
    LengthAndEncoding,
    /// Not exactly one `chunked`, or in HTTP/1.0.
    #[error("a Transfer-Encoding other than one `chunked`")]
    TransferEncoding,
    /// A `Connection` that isn't a list of tokens, or takes away what must stay.
    #[error("a Connection header that names a header which it may not")]
    Nomination,
    /// Any Expect.
    #[error("expectations are not served")]
    Expect,
    /// Not a plain hexadecimal number, or too great.
    #[error("a chunk size that is not a plain hexadecimal number")]
    ChunkSize,
    /// A chunk's extension with controls, or too long.
    #[error("a chunk extension with controls or of over 1 KiB")]
    ChunkExtension,
    /// No CRLF after a chunk's data.
    #[error("no CRLF after a chunk")]
    ChunkEnd,
    /// A trailer that may not be one.
    #[error("a trailer that only a head may carry")]
    Trailer,
    /// Too many or too long trailers.
    #[error("too many or too long trailers")]
    TrailersTooLarge,
    /// More than [`super::MAX_INTERIM`].
    #[error("more than ten interim answers")]
    TooManyInterim,
    /// A 101 that nobody asked for.
    #[error("an unsolicited 101")]
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
            Self::TooManyInterim => "too_many_interim",
            Self::UnsolicitedUpgrade => "unsolicited_upgrade",
        }
    }
}
