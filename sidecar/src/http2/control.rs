//! Frames that carry no message: settings, windows, resets, pings, priorities, and the end of the connection.

use super::budget::Cost;
use super::connection::{Connection, Ending, Phase};
use super::fault::{Code, Reason, StreamFault};
use super::frame::{self, FrameHead, number};
use super::settings::{self, Setting};
use super::stream::Ended;
use super::{Event, Role, StreamId};
use std::time::Instant;

/// What the PING that follows the first GOAWAY carries.
const DRAIN_PING: [u8; 8] = *b"evenkeel";
const LAST_STREAM: u32 = 0x7fff_ffff;

impl Connection {
    pub(super) fn settings(&mut self, head: &FrameHead, payload: &[u8], now: Instant) -> Result<Event, Reason> {
        if head.has(frame::ACK) {
            return Ok(Event::None);
        }
        self.budget.spend(Cost::Settings, now)?;
        self.phase = Phase::Open;
        for setting in settings::read(payload, self.role) {
            match setting? {
                None => {}
                Some(Setting::TableSize(size)) => self.encoder.set_max(size),
                Some(Setting::MaxStreams(count)) => self.peer.max_streams = Some(count),
                Some(Setting::InitialWindow(size)) => self.change_windows(size)?,
            }
        }
        frame::settings_ack(&mut self.out);
        Ok(Event::PeerSettings)
    }

    /// The windows of all streams move by the difference (RFC 9113, 6.9.2).
    fn change_windows(&mut self, size: u32) -> Result<(), Reason> {
        let by = i64::from(size) - i64::from(self.peer.initial_window);
        self.peer.initial_window = size;
        for stream in self.streams.iter_mut() {
            stream.outbound.change(by).ok_or(Reason::WindowOverflow)?;
        }
        Ok(())
    }

    pub(super) fn window_update(&mut self, head: &FrameHead, payload: &[u8], now: Instant) -> Result<Event, Reason> {
        let increment = i64::from(number(payload, 0) & 0x7fff_ffff);
        self.budget.spend(Cost::Window, now)?;
        if head.stream == 0 {
            if increment == 0 {
                return Err(Reason::WindowIncrement);
            }
            let opened = self.outbound.change(increment).ok_or(Reason::WindowOverflow)?;
            return Ok(if opened { Event::Window { stream: None } } else { Event::None });
        }
        let Some(stream) = self.streams.get_mut(head.stream) else {
            return match self.is_idle_stream(head.stream) {
                true => Err(Reason::IdleStream),
                false => Ok(Event::None),
            };
        };
        if increment == 0 {
            return self.fail(head.stream, StreamFault::WindowIncrement, now);
        }
        match stream.outbound.change(increment) {
            None => self.fail(head.stream, StreamFault::WindowOverflow, now),
            Some(true) => Ok(Event::Window { stream: Some(StreamId(head.stream)) }),
            Some(false) => Ok(Event::None),
        }
    }

    pub(super) fn peer_reset(&mut self, head: &FrameHead, payload: &[u8], now: Instant) -> Result<Event, Reason> {
        if self.is_idle_stream(head.stream) {
            return Err(Reason::IdleStream);
        }
        if self.streams.get(head.stream).is_none() {
            self.budget.spend(Cost::Unknown, now)?;
            return Ok(Event::None);
        }
        // A server's resets are bounded by the requests that it gets.
        if self.role == Role::Server {
            self.budget.spend(Cost::Reset, now)?;
        }
        self.end(head.stream, Ended::Closed);
        let code = Code(number(payload, 0));
        Ok(Event::Reset { stream: StreamId(head.stream), code, processed: code != Code::REFUSED_STREAM })
    }

    pub(super) fn priority(&mut self, head: &FrameHead, payload: &[u8], now: Instant) -> Result<Event, Reason> {
        self.budget.spend(Cost::Priority, now)?;
        let fault = match payload.len() {
            5 if number(payload, 0) & 0x7fff_ffff != head.stream => return Ok(Event::None),
            5 => (StreamFault::Priority, Reason::Priority),
            _ => (StreamFault::FrameSize, Reason::FrameSize),
        };
        // A stream that nobody has opened cannot be reset.
        match self.streams.get(head.stream) {
            Some(_) => self.fail(head.stream, fault.0, now),
            None => Err(fault.1),
        }
    }

    pub(super) fn peer_ping(&mut self, head: &FrameHead, payload: &[u8], now: Instant) -> Result<Event, Reason> {
        let mut opaque = [0; 8];
        opaque.copy_from_slice(payload);
        if !head.has(frame::ACK) {
            self.budget.spend(Cost::Ping, now)?;
            frame::ping(&mut self.out, true, opaque);
            return Ok(Event::None);
        }
        if opaque == DRAIN_PING && self.ending == Ending::Announced {
            self.close(Code::NO_ERROR);
        }
        Ok(Event::None)
    }

    pub(super) fn go_away(&mut self, payload: &[u8]) -> Event {
        // A client's names the last of the server's streams, of which there are none: its own go on.
        if self.role == Role::Server {
            return Event::None;
        }
        let last = number(payload, 0) & LAST_STREAM;
        self.streams.end_above(last);
        self.ending = Ending::Closing;
        Event::GoAway { last: StreamId(last), code: Code(number(payload, 4)) }
    }

    /// Server: begins to end the connection: the client is told to open no more streams, those under way when it hears of
    /// it are still served (RFC 9113, 6.8). Client: opens no more.
    pub(crate) fn shutdown(&mut self) {
        if self.ending != Ending::Open {
            return;
        }
        if self.role == Role::Client {
            return self.close(Code::NO_ERROR);
        }
        frame::go_away(&mut self.out, LAST_STREAM, Code::NO_ERROR);
        frame::ping(&mut self.out, false, DRAIN_PING);
        self.ending = Ending::Announced;
    }

    /// Queues GOAWAY: no stream is taken or opened any more, those that are open may go on.
    pub(crate) fn close(&mut self, code: Code) {
        // Client: the last of the server's streams, of which there are none.
        let last = if self.role == Role::Server { self.last } else { 0 };
        frame::go_away(&mut self.out, last, code);
        self.ending = Ending::Closing;
    }
}
