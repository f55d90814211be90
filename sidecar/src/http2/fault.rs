//! What can be wrong with a connection or a stream. One name serves as metric label and log field.

/// An error code (RFC 9113, 7), as it stands in RST_STREAM and GOAWAY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Code(pub(crate) u32);

impl Code {
    /// NO_ERROR
    pub(crate) const NO_ERROR: Self = Self(0x0);
    /// PROTOCOL_ERROR
    pub(crate) const PROTOCOL: Self = Self(0x1);
    /// INTERNAL_ERROR
    pub(crate) const INTERNAL: Self = Self(0x2);
    /// FLOW_CONTROL_ERROR
    pub(crate) const FLOW_CONTROL: Self = Self(0x3);
    /// STREAM_CLOSED
    pub(crate) const STREAM_CLOSED: Self = Self(0x5);
    /// FRAME_SIZE_ERROR
    pub(crate) const FRAME_SIZE: Self = Self(0x6);
    /// REFUSED_STREAM: the request was not looked at and may be sent again.
    pub(crate) const REFUSED_STREAM: Self = Self(0x7);
    /// CANCEL
    pub(crate) const CANCEL: Self = Self(0x8);
    /// COMPRESSION_ERROR
    pub(crate) const COMPRESSION: Self = Self(0x9);
    /// ENHANCE_YOUR_CALM
    pub(crate) const ENHANCE_YOUR_CALM: Self = Self(0xb);
}

/// Why a connection cannot go on. GOAWAY has been queued: send what is pending, then close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fatal {
    /// What the peer is told.
    pub(crate) code: Code,
    /// What was wrong.
    pub(crate) reason: Reason,
}

/// What the peer of a connection did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// The connection doesn't start with the preface and SETTINGS.
    Preface,
    /// A frame of over 16 KiB, or of a length that its kind cannot have.
    FrameSize,
    /// Padding that is longer than its frame.
    Padding,
    /// A frame on stream 0 that belongs to a stream, or the other way round.
    FrameStream,
    /// A stream number that the peer may not open, or not any more.
    StreamId,
    /// A frame on a stream that nobody has opened.
    IdleStream,
    /// HEADERS on a stream that has ended.
    ClosedStream,
    /// Something else between HEADERS and its CONTINUATION, or a CONTINUATION without HEADERS.
    Continuation,
    /// A setting with a value that it may not have.
    Setting,
    /// A window update of nothing on the whole connection.
    WindowIncrement,
    /// A window beyond 2^31 - 1.
    WindowOverflow,
    /// More DATA than the connection's window allowed.
    WindowExceeded,
    /// A header block that cannot be decoded.
    Compression,
    /// A stream that depends on itself.
    Priority,
    /// PUSH_PROMISE, though it is switched off.
    Push,
    /// Too many streams reset by the peer.
    ResetFlood,
    /// Too many streams that had to be reset because of the peer's frames.
    FaultFlood,
    /// Too many PING frames.
    PingFlood,
    /// Too many SETTINGS frames.
    SettingsFlood,
    /// Too many DATA frames without data.
    EmptyFlood,
    /// A header block of too many frames or bytes.
    ContinuationFlood,
    /// Too many PRIORITY frames.
    PriorityFlood,
    /// Too many WINDOW_UPDATE frames.
    WindowFlood,
    /// Too many frames of unknown kinds, or for streams that have gone.
    UnknownFlood,
}

impl Reason {
    /// The label and log field.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Preface => "preface",
            Self::FrameSize => "frame_size",
            Self::Padding => "padding",
            Self::FrameStream => "frame_stream",
            Self::StreamId => "stream_id",
            Self::IdleStream => "idle_stream",
            Self::ClosedStream => "closed_stream",
            Self::Continuation => "continuation",
            Self::Setting => "setting",
            Self::WindowIncrement => "window_increment",
            Self::WindowOverflow => "window_overflow",
            Self::WindowExceeded => "window_exceeded",
            Self::Compression => "compression",
            Self::Priority => "priority",
            Self::Push => "push",
            Self::ResetFlood => "reset_flood",
            Self::FaultFlood => "fault_flood",
            Self::PingFlood => "ping_flood",
            Self::SettingsFlood => "settings_flood",
            Self::EmptyFlood => "empty_flood",
            Self::ContinuationFlood => "continuation_flood",
            Self::PriorityFlood => "priority_flood",
            Self::WindowFlood => "window_flood",
            Self::UnknownFlood => "unknown_flood",
        }
    }

    /// What the peer is told of it.
    pub(crate) fn code(self) -> Code {
        match self {
            Self::FrameSize => Code::FRAME_SIZE,
            Self::ClosedStream => Code::STREAM_CLOSED,
            Self::WindowOverflow | Self::WindowExceeded => Code::FLOW_CONTROL,
            Self::Compression => Code::COMPRESSION,
            Self::ResetFlood
            | Self::FaultFlood
            | Self::PingFlood
            | Self::SettingsFlood
            | Self::EmptyFlood
            | Self::ContinuationFlood
            | Self::PriorityFlood
            | Self::WindowFlood
            | Self::UnknownFlood => Code::ENHANCE_YOUR_CALM,
            _ => Code::PROTOCOL,
        }
    }
}

impl Reason {
    /// The end of the connection, with the usual code.
    pub(super) fn fatal(self) -> Fatal {
        Fatal { code: self.code(), reason: self }
    }
}

/// What was wrong with one stream; the others go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum StreamFault {
    /// A header name with capitals, or that is no token.
    HeaderName,
    /// A header value with controls, or with whitespace around it.
    HeaderValue,
    /// A pseudo-header that is unknown, missing, repeated, misplaced or of no proper form.
    PseudoHeader,
    /// A header that concerns one HTTP/1 connection only, or `te` other than `trailers`.
    ConnectionHeader,
    /// `host` differs from `:authority`, or stands there twice.
    HostDiffers,
    /// Not plain digits, repeated, or not the length of the body.
    ContentLength,
    /// A body where there is none: an answer to HEAD, 204 or 304.
    UnexpectedBody,
    /// Trailers that don't end the stream, of names that only a head may carry, or of more than a head may have.
    Trailers,
    /// A status that isn't 100 to 999, is 101, or an interim answer that ends the stream.
    Status,
    /// DATA before the head of the answer.
    DataBeforeHead,
    /// A frame on a stream that its sender has ended.
    StreamClosed,
    /// More DATA than the stream's window allowed.
    WindowExceeded,
    /// A window beyond 2^31 - 1.
    WindowOverflow,
    /// A window update of nothing.
    WindowIncrement,
    /// A stream that depends on itself.
    Priority,
    /// A PRIORITY frame of a wrong length.
    FrameSize,
}

impl StreamFault {
    /// The label and log field.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::HeaderName => "header_name",
            Self::HeaderValue => "header_value",
            Self::PseudoHeader => "pseudo_header",
            Self::ConnectionHeader => "connection_header",
            Self::HostDiffers => "host_differs",
            Self::ContentLength => "content_length",
            Self::UnexpectedBody => "unexpected_body",
            Self::Trailers => "trailers",
            Self::Status => "status",
            Self::DataBeforeHead => "data_before_head",
            Self::StreamClosed => "stream_closed",
            Self::WindowExceeded => "window_exceeded",
            Self::WindowOverflow => "window_overflow",
            Self::WindowIncrement => "window_increment",
            Self::Priority => "priority",
            Self::FrameSize => "frame_size",
        }
    }

    /// What the peer is told of it.
    pub(crate) fn code(self) -> Code {
        match self {
            Self::StreamClosed => Code::STREAM_CLOSED,
            Self::WindowExceeded | Self::WindowOverflow => Code::FLOW_CONTROL,
            Self::FrameSize => Code::FRAME_SIZE,
            _ => Code::PROTOCOL,
        }
    }
}
