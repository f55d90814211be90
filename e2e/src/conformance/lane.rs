//! A proxy with its recording backend, and one case at a time through it.

use crate::cases::{Case, Kind, Verdict};
use crate::stand::PATIENCE;
use crate::stand::client::{Heard, Say, has_answers, say};
use crate::stand::peers::{Peer, Running};
use crate::stand::process::local;
use crate::stand::recorder::{Answer, PLAIN, Recorder, Seen, Then};
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Duration;

/// How long a peer may be silent before it counts as waiting for more.
const SILENCE: Duration = Duration::from_secs(1);
/// The request that follows a case, to see what the case has left behind.
pub const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: next\r\n\r\n";

/// A proxy and a backend of its own.
pub struct Lane {
    peer: Peer,
    proxy: Running,
    recorder: Recorder,
}

/// What one case, cut in one way, has led to.
#[derive(Debug, Clone)]
pub struct Observed {
    /// What the client heard.
    pub heard: Heard,
    /// What the backend saw.
    pub upstream: Vec<Seen>,
    /// What came of the next request, where one was sent.
    pub next: Option<Next>,
}

/// What came of the request that follows a case on a client connection of its own.
#[derive(Debug, Clone)]
pub struct Next {
    /// What the backend saw.
    pub upstream: Vec<Seen>,
    /// The client's status.
    pub status: u16,
}

impl Lane {
    /// Starts both; the proxy's files go into `folder`.
    pub fn start(peer: Peer, folder: &Path) -> Result<Self> {
        let recorder = Recorder::start()?;
        let proxy = peer.start(recorder.address, folder)?;
        Ok(Self { peer, proxy, recorder })
    }

    /// The address that clients connect to, as the table's `{local}`.
    pub fn address(&self) -> String {
        local(self.proxy.port()).to_string()
    }

    /// The proxy's port.
    pub fn port(&self) -> u16 {
        self.proxy.port()
    }

    /// The backend.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Sends a case, the side that is judged cut at these places.
    pub fn run(&mut self, case: &Case, cuts: &[usize]) -> Result<Observed> {
        let observed = match case.kind {
            Kind::Answer => self.answer(case, cuts).and_then(|observed| self.go_on(observed)),
            // What a request leaves behind doesn't hang on where it was cut in two.
            Kind::Head | Kind::Body if cuts.len() == 1 => self.request(case, cuts),
            Kind::Head | Kind::Body => self.request(case, cuts).and_then(|observed| self.go_on(observed)),
        };
        observed.with_context(|| format!("{:?} case \"{}\" cut at {cuts:?}", case.kind, case.name))
    }

    /// What an answer's bytes lead to at a client of this proxy.
    pub fn replay_answer(&mut self, request: &[u8], answer: &[u8]) -> Result<Heard> {
        self.recorder.set_answer(Answer { bytes: answer.to_vec(), cuts: Vec::new(), then: Then::Close });
        let heard = self.say(request, &[], |bytes| has_answers(bytes, &[is_head(request)], 1))?;
        self.recorder.take()?;
        self.recorder.set_answer(Answer::of(PLAIN));
        Ok(heard)
    }

    /// What a client's bytes lead to.
    pub fn replay_request(&mut self, bytes: &[u8]) -> Result<Heard> {
        let heard = self.say(bytes, &[], |heard| has_answers(heard, &[is_head(bytes)], 1))?;
        self.recorder.take()?;
        Ok(heard)
    }

    fn request(&mut self, case: &Case, cuts: &[usize]) -> Result<Observed> {
        let bytes = [case.after.as_slice(), &case.send].concat();
        let answered = |heard: &[u8]| has_answers(heard, &[is_head(&bytes)], 1);
        let heard = match (&case.verdict, case.kind) {
            (Verdict::Passes, Kind::Head) if self.is_own() => self.say(&bytes, cuts, |heard| {
                // Some heads announce bodies that never come: the client leaves when the head has arrived.
                answered(heard) || self.has_arrived(case.sees.len())
            })?,
            // Who should be refused is listened to until the end; a peer may disagree and answer.
            (Verdict::Fails { .. }, _) if self.is_own() => self.say(&bytes, cuts, |_| false)?,
            _ => self.say(&bytes, cuts, answered)?,
        };
        Ok(Observed { heard, upstream: self.take()?, next: None })
    }

    fn has_arrived(&self, length: usize) -> bool {
        let all = |seen: &[&Seen]| seen.iter().map(|seen| seen.bytes.len()).sum::<usize>() >= length;
        // A failure shows in what was seen.
        let _ = self.recorder.wait_until("a head that has not arrived", all);
        true
    }

    fn answer(&mut self, case: &Case, cuts: &[usize]) -> Result<Observed> {
        let then = if case.ends { Then::Close } else { Then::Keep };
        self.recorder.set_answer(Answer { bytes: case.send.clone(), cuts: cuts.to_vec(), then });
        let expected = case.sees.len() + case.data.len();
        let is_tunnel = case.sees.starts_with(b"HTTP/1.1 101");
        let heard = self.say(&case.after, &[], |heard| match &case.verdict {
            Verdict::Passes if is_tunnel => heard.len() >= expected,
            // An answer that breaks off ends the connection.
            Verdict::Cut { .. } => false,
            _ => has_answers(heard, &[is_head(&case.after)], 1),
        })?;
        Ok(Observed { heard, upstream: self.take()?, next: None })
    }

    fn say(&self, bytes: &[u8], cuts: &[usize], will_do: impl FnMut(&[u8]) -> bool) -> Result<Heard> {
        let limit = if self.is_own() { PATIENCE } else { SILENCE };
        say(self.proxy.port(), &Say { bytes, cuts }, limit, will_do)
    }

    fn is_own(&self) -> bool {
        self.peer == Peer::Evenkeel
    }

    /// A peer may leave a request upstream open for as long as its timeouts say; the sidecar may not.
    fn take(&self) -> Result<Vec<Seen>> {
        if self.is_own() { self.recorder.take() } else { self.recorder.take_now() }
    }

    /// Sends the next request.
    fn go_on(&self, observed: Observed) -> Result<Observed> {
        self.recorder.set_answer(Answer::of(PLAIN));
        let next = say(self.proxy.port(), &Say { bytes: NEXT, cuts: &[] }, PATIENCE, |heard| has_answers(heard, &[], 1))?;
        let next = Next { upstream: self.take()?, status: next.status() };
        Ok(Observed { next: Some(next), ..observed })
    }
}

/// Whether this request's answer has no body.
pub fn is_head(request: &[u8]) -> bool {
    request.starts_with(b"HEAD ")
}

/// Where `length` bytes are cut: in one piece, byte by byte, and in two at every place. What is longer than 2 KiB is cut at its
/// first and last 128 places and at 128 between.
pub fn all_cuts(length: usize) -> Vec<Vec<usize>> {
    let places: Vec<usize> = match length {
        0..=2048 => (1..length).collect(),
        _ => (1..128).chain((128..length - 128).step_by(length / 128)).chain(length - 128..length).collect(),
    };
    let mut cuts = vec![Vec::new(), places.clone()];
    cuts.extend(places.into_iter().map(|place| vec![place]));
    cuts
}
