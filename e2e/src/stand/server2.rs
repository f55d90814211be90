//! An HTTP/2 backend that does what a script says, frame by frame, on its first connections, and serves well on all others.

use super::diag::Diag;
use super::frames::{self, END_STREAM, Frame, frame, headers, kind, read_frame, read_preface, settings};
use super::process::local;
use anyhow::Result;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// What happens on a connection that a script has.
pub type Script = fn(&mut Conversation) -> Result<()>;

/// The backend. Its threads end with its connections.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    counts: Arc<Counts>,
}

/// What the backend counts.
#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
    stopped: AtomicBool,
}

/// One connection, seen from the server.
pub struct Conversation {
    stream: TcpStream,
    counts: Arc<Counts>,
}

impl Server {
    /// The script has the first `scripted` connections, from the first byte on.
    pub fn start(scripted: usize, script: Script) -> Result<Self> {
        let listener = TcpListener::bind(local(0))?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let counting = Arc::clone(&counts);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if counting.stopped.load(Ordering::Acquire) {
                    return;
                }
                let number = counting.connections.fetch_add(1, Ordering::AcqRel);
                let mut conversation = Conversation { stream, counts: Arc::clone(&counting) };
                let script = if number < scripted { script } else { serve_well };
                std::thread::spawn(move || {
                    let _ = conversation.stream.set_nodelay(true);
                    let _ = conversation.stream.set_read_timeout(Some(Duration::from_secs(30)));
                    // An error is the proxy's end of the connection; what the client got says the rest.
                    let _ = script(&mut conversation);
                });
            }
        });
        Ok(Self { address, counts })
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::Acquire)
    }

    /// Requests so far, those of scripts included.
    pub fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::Acquire)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.counts.stopped.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
    }
}

/// Answers every request with `ok`, on any number of streams.
pub fn serve_well(conversation: &mut Conversation) -> Result<()> {
    conversation.open(&[])?;
    loop {
        let stream = conversation.whole_request()?;
        conversation.answer(stream)?;
    }
}

impl Conversation {
    /// The preface, and SETTINGS of our own with these.
    pub fn open(&mut self, own: &[(u16, u32)]) -> Result<()> {
        read_preface(&self.stream)?;
        self.write(&settings(own))
    }

    /// Whether the proxy would notice that we are gone without a word.
    pub fn is_watched(&self) -> Result<bool> {
        Diag::new()?.is_kept_alive(&self.stream)
    }

    /// Any bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The next frame; SETTINGS and PING are acknowledged, DATA is credited.
    pub fn frame(&mut self) -> Result<Frame> {
        let frame = read_frame(&self.stream)?;
        match frame.kind {
            kind::SETTINGS if frame.flags & END_STREAM == 0 => self.write(&self::frame(kind::SETTINGS, END_STREAM, 0, &[]))?,
            kind::PING if frame.flags & END_STREAM == 0 => self.write(&self::frame(kind::PING, END_STREAM, 0, &frame.payload))?,
            kind::DATA if !frame.payload.is_empty() => {
                let length = frame.payload.len() as u32;
                self.write(&[frames::window_update(0, length), frames::window_update(frame.stream, length)].concat())?;
            }
            kind::HEADERS => drop(self.counts.requests.fetch_add(1, Ordering::AcqRel)),
            _ => {}
        }
        Ok(frame)
    }

    /// The stream of the next request's head, and whether that was all of it.
    pub fn request(&mut self) -> Result<(u32, bool)> {
        loop {
            let frame = self.frame()?;
            if frame.kind == kind::HEADERS {
                return Ok((frame.stream, frame.ends_stream()));
            }
        }
    }

    /// The stream of the next request that is complete.
    pub fn whole_request(&mut self) -> Result<u32> {
        loop {
            let frame = self.frame()?;
            if frame.ends_stream() {
                return Ok(frame.stream);
            }
        }
    }

    /// 200 and `ok`.
    pub fn answer(&mut self, stream: u32) -> Result<()> {
        let head = headers(stream, &[(":status", "200"), ("content-length", "2")], false);
        self.write(&[head, frame(kind::DATA, END_STREAM, stream, b"ok")].concat())
    }

    /// Reads on until the proxy ends the connection: what it says at the end.
    pub fn until_end(&mut self) -> Option<Frame> {
        let mut last = None;
        while let Ok(frame) = self.frame() {
            if matches!(frame.kind, kind::GOAWAY | kind::RST_STREAM) {
                last = Some(frame);
            }
        }
        last
    }
}
