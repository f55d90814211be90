//! Holds what was observed to what the table says, word by word. Pure.

use super::lane::{NEXT, Observed, is_head};
use crate::cases::{Case, Kind, Verdict};
use crate::stand::recorder::{End, Seen};
use crate::stand::request::{contains, dechunk, find, head_length, status};

/// Types of TLS records.
const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;

/// What is wrong, for people.
type Judgement = Result<(), String>;

/// Whether the case went as the table says.
pub fn judge(case: &Case, observed: &Observed) -> Judgement {
    match case.kind {
        Kind::Head => judge_head(case, observed),
        Kind::Body => judge_body(case, observed),
        Kind::Answer => judge_answer(case, observed),
    }?;
    let Some(next) = &observed.next else { return Ok(()) };
    let is_alone = matches!(next.upstream.as_slice(), [seen] if seen.bytes == NEXT);
    ensure(is_alone && next.status == 200, || format!("something was left behind for the next request: {next:?}"))
}

fn judge_head(case: &Case, observed: &Observed) -> Judgement {
    let Verdict::Fails { status, fault } = &case.verdict else {
        let seen: Vec<u8> = observed.upstream.iter().flat_map(|seen| seen.bytes.clone()).collect();
        return ensure(seen.starts_with(&case.sees), || format!("upstream saw {:?}; {}", observed.upstream, heard(observed)));
    };
    // Who begins TLS is told so in its own words (RFC 8446, section 6), not in HTTP's.
    let is_told = match case.send.first() {
        Some(&HANDSHAKE) => ensure(observed.heard.bytes.first() == Some(&ALERT) && observed.heard.ended, || heard(observed)),
        _ => refused(observed, *status, fault),
    };
    is_told?;
    ensure(observed.upstream.is_empty(), || format!("bytes went upstream: {:?}", observed.upstream))
}

fn judge_body(case: &Case, observed: &Observed) -> Judgement {
    let seen = match (observed.upstream.as_slice(), &case.verdict) {
        ([], Verdict::Fails { status, fault }) => return refused(observed, *status, fault),
        ([seen], _) => seen,
        (seen, _) => return Err(format!("upstream saw {seen:?}; {}", heard(observed))),
    };
    let body = Body::of_request(&seen.bytes).ok_or_else(|| format!("no head went upstream: {seen:?}"))?;
    if let Verdict::Fails { status, fault } = &case.verdict {
        let is_good = case.data.starts_with(&body.data) && case.trailers.starts_with(&body.trailers);
        ensure(is_good, || format!("more went upstream than is good: {seen:?}"))?;
        ensure(!body.ended && seen.requests == 0, || format!("a bad body was ended upstream: {seen:?}"))?;
        ensure(matches!(seen.end, Some(End::Fin | End::Reset)), || format!("the request upstream was not aborted: {seen:?}"))?;
        return refused(observed, *status, fault);
    }
    let is_same = body.data == case.data && body.trailers == case.trailers && body.ended;
    ensure(is_same, || format!("upstream saw {seen:?}"))?;
    ensure(observed.heard.status() == 200, || heard(observed))
}

/// The client got this refusal and nothing else, and its connection was ended in order.
fn refused(observed: &Observed, expected: u16, fault: &str) -> Judgement {
    let client = &observed.heard;
    ensure(client.statuses(&[]) == [expected], || heard(observed))?;
    ensure(contains(&client.bytes, fault.as_bytes()), || format!("the reason is not {fault}: {}", heard(observed)))?;
    ensure(client.ended && !client.reset, || format!("the connection was not closed in order: {}", heard(observed)))
}

fn judge_answer(case: &Case, observed: &Observed) -> Judgement {
    let heard_bytes = observed.heard.bytes.as_slice();
    let is_cut = matches!(case.verdict, Verdict::Cut { .. });
    let Some(rest) = heard_bytes.strip_prefix(case.sees.as_slice()) else {
        // What comes at once with its own end may be cut off before its head went out.
        return ensure(is_cut && observed.heard.reset && case.sees.starts_with(heard_bytes), || heard(observed));
    };
    let [seen] = observed.upstream.as_slice() else { return Err(format!("upstream saw {:?}", observed.upstream)) };
    // After a refused answer the connection that it came on has ended.
    let kept = if case.verdict == Verdict::Passes { case.kept } else { Some(false) };
    if let Some(kept) = kept {
        judge_kept(kept, seen, observed)?;
    }
    match &case.verdict {
        Verdict::Fails { status: expected, fault } => {
            ensure(status(rest) == *expected && contains(rest, fault.as_bytes()), || heard(observed))
        }
        Verdict::Passes => {
            let body = Body::of_answer(case, rest);
            ensure(body.data == case.data && body.trailers == case.trailers && body.ended, || heard(observed))
        }
        Verdict::Cut { .. } => {
            let body = Body::of_answer(case, rest);
            ensure(case.data.starts_with(&body.data) && !body.ended, || heard(observed))?;
            ensure(observed.heard.ended, || format!("the client was left waiting: {}", heard(observed)))
        }
    }
}

fn judge_kept(kept: bool, seen: &Seen, observed: &Observed) -> Judgement {
    let Some(next) = &observed.next else { return Err("no request came next".into()) };
    let again = next.upstream.iter().any(|next| next.connection == seen.connection);
    ensure(kept == again, || format!("the upstream connection was {}used again", if again { "" } else { "not " }))
}

/// A body as it went out.
struct Body {
    data: Vec<u8>,
    trailers: Vec<u8>,
    ended: bool,
}

impl Body {
    fn of_request(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at(head_length(bytes)?);
        Some(Self::read(head, rest, false))
    }

    /// The last of the heads that the case names is the final one.
    fn of_answer(case: &Case, rest: &[u8]) -> Self {
        let heads = case.sees.as_slice();
        let last = heads.windows(5).rposition(|window| window == b"HTTP/").map_or(heads, |at| &heads[at..]);
        Self::read(last, rest, is_head(&case.after) || matches!(status(last), 204 | 304))
    }

    fn read(head: &[u8], rest: &[u8], is_bodiless: bool) -> Self {
        let length = find(head, "content-length").and_then(|text| std::str::from_utf8(&text).ok()?.parse::<usize>().ok());
        if is_bodiless || find(head, "transfer-encoding").is_none() {
            let ended = is_bodiless || length.is_none_or(|length| rest.len() == length);
            return Self { data: rest.to_vec(), trailers: Vec::new(), ended };
        }
        let mut data = Vec::new();
        let Some(at) = dechunk(rest, &mut data) else { return Self { data, trailers: Vec::new(), ended: false } };
        let trailers = &rest[at..];
        let ended = head_length(trailers) == Some(trailers.len());
        let lines = if ended { &trailers[..trailers.len() - 2] } else { trailers };
        Self { data, trailers: lines.to_vec(), ended }
    }
}

fn heard(observed: &Observed) -> String {
    let heard = &observed.heard;
    let bytes = heard.bytes[..heard.bytes.len().min(800)].escape_ascii();
    format!("the client heard \"{bytes}\" (ended {}, reset {})", heard.ended, heard.reset)
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Judgement {
    if holds { Ok(()) } else { Err(otherwise()) }
}
