//! One TLS connection of either role without its socket: ciphertext in, plaintext and ciphertext out. It keeps nothing of what
//! passes but its keys; where bytes wait is the caller's.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{CommonState, Error};

/// The keys and the state of one connection.
pub(super) enum Session {
    /// A client's connection.
    Server(UnbufferedServerConnection),
    /// One to an endpoint.
    Client(UnbufferedClientConnection),
}

/// What some ciphertext came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Advance {
    /// So many bytes of it are done with.
    pub(super) used: usize,
    /// The peer has properly ended its side.
    pub(super) ended: bool,
}

/// What one state asks for.
enum Step {
    Again,
    Wait,
    Ended,
}

impl Session {
    /// What the handshake agreed on.
    pub(super) fn state(&self) -> &CommonState {
        match self {
            Self::Server(connection) => connection,
            Self::Client(connection) => connection,
        }
    }

    /// Takes in ciphertext until more of it is needed: what was left the last time, and what came since. `plain` gets what it
    /// held; `out` is what must be sent, even after an error.
    pub(super) fn advance(
        &mut self,
        bytes: &mut [u8],
        mut plain: impl FnMut(&[u8]),
        out: &mut Vec<u8>,
    ) -> Result<Advance, Error> {
        let (mut used, mut ended) = (0, false);
        loop {
            let rest = &mut bytes[used..];
            let (discard, step) = match self {
                Self::Server(connection) => step(connection.process_tls_records(rest), &mut plain, out),
                Self::Client(connection) => step(connection.process_tls_records(rest), &mut plain, out),
            };
            used += discard;
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Wait) => return Ok(Advance { used, ended }),
                Ok(Step::Ended) => ended = true,
                Err(error) => {
                    self.take_alert(out);
                    return Err(error);
                }
            }
        }
    }

    /// After an error there may be an alert that says why.
    fn take_alert(&mut self, out: &mut Vec<u8>) {
        let _ = match self {
            Self::Server(connection) => step(connection.process_tls_records(&mut []), &mut |_| {}, out),
            Self::Client(connection) => step(connection.process_tls_records(&mut []), &mut |_| {}, out),
        };
    }

    /// Makes ciphertext of `plain`, which must not be before the handshake's end: so many bytes of `out`. `left` is what
    /// [`Session::advance`] has left over.
    pub(super) fn seal(&mut self, plain: &[u8], left: &mut [u8], out: &mut [u8]) -> Option<usize> {
        match self {
            Self::Server(connection) => seal(connection.process_tls_records(left), plain, out),
            Self::Client(connection) => seal(connection.process_tls_records(left), plain, out),
        }
    }

    /// The proper end of this side.
    pub(super) fn end(&mut self, left: &mut [u8], out: &mut Vec<u8>) {
        /// More than an alert needs.
        const ROOM: usize = 128;
        let mut alert = [0; ROOM];
        let ended = match self {
            Self::Server(connection) => end(connection.process_tls_records(left), &mut alert),
            Self::Client(connection) => end(connection.process_tls_records(left), &mut alert),
        };
        out.extend_from_slice(&alert[..ended.unwrap_or(0)]);
    }
}

fn step<Side>(
    status: UnbufferedStatus<'_, '_, Side>,
    plain: &mut impl FnMut(&[u8]),
    out: &mut Vec<u8>,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    plain(record.payload);
                }
                Some(Err(error)) => break Err(error),
                None => break Ok(Step::Again),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut message)) => {
            // Its size is told by the first refusal.
            let at = out.len();
            if let Err(EncodeError::InsufficientSize(needed)) = message.encode(&mut []) {
                out.resize(at + needed.required_size, 0);
                let encoded = message.encode(&mut out[at..]);
                debug_assert_eq!(encoded.ok(), Some(needed.required_size));
            }
            Ok(Step::Again)
        }
        Ok(ConnectionState::TransmitTlsData(sent)) => {
            sent.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::PeerClosed) => Ok(Step::Ended),
        // Nobody asks for early data.
        Ok(_) => Ok(Step::Wait),
        Err(error) => Err(error),
    };
    (discard, step)
}

fn seal<Side>(status: UnbufferedStatus<'_, '_, Side>, plain: &[u8], out: &mut [u8]) -> Option<usize> {
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => traffic.encrypt(plain, out).ok(),
        _ => None,
    }
}

fn end<Side>(status: UnbufferedStatus<'_, '_, Side>, out: &mut [u8]) -> Option<usize> {
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => traffic.queue_close_notify(out).ok(),
        _ => None,
    }
}
