//! The engine's claims: each kind of bad framing is refused by its name, and no split of the bytes changes a result.

mod bodies;
#[allow(unreachable_pub, reason = "it is a module of a library, too")]
#[path = "../../../../e2e/src/cases.rs"]
mod cases;
mod requests;
mod responses;
mod table;

use super::response::Asked;
use super::{Event, Fault, Framing, Reader, Request, RequestParser, Response, ResponseParser, response, write};

/// What became of a request head: the plan and the head that goes upstream.
type Planned<P> = Result<Option<(P, String)>, Fault>;

/// Feeds `bytes` in growing prefixes that end at `cuts`, then whole.
fn request_with(bytes: &[u8], cuts: &[usize]) -> Planned<Request> {
    let mut parser = RequestParser::default();
    for end in cuts.iter().copied().chain([bytes.len()]) {
        if let Some(request) = parser.advance(&bytes[..end])? {
            let mut out = Vec::new();
            write::request_head(&mut out, bytes, parser.head(), &request, "local:1");
            return Ok(Some((request, String::from_utf8_lossy(&out).into())));
        }
    }
    Ok(None)
}

fn response_with(bytes: &[u8], cuts: &[usize], asked: Asked) -> Planned<Response> {
    let mut parser = ResponseParser::default();
    for end in cuts.iter().copied().chain([bytes.len()]) {
        if let Some(response) = parser.advance(&bytes[..end], asked)? {
            let mut out = Vec::new();
            let delivery = response::deliver(&response, super::Version::Http11, true);
            write::response_head(&mut out, bytes, parser.head(), &response, &delivery);
            return Ok(Some((response, String::from_utf8_lossy(&out).into())));
        }
    }
    Ok(None)
}

/// What a body came to: its data, its trailers, what is left of the input, whether it is complete.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Read {
    data: Vec<u8>,
    trailers: Vec<u8>,
    rest: Vec<u8>,
    done: bool,
    fault: Option<Fault>,
}

/// Offers `bytes` in pieces that end at `cuts`, keeping what isn't consumed, as a connection does.
fn body_with(framing: Framing, bytes: &[u8], cuts: &[usize]) -> Read {
    let mut reader = Reader::new(framing);
    let mut read = Read { data: vec![], trailers: vec![], rest: vec![], done: false, fault: None };
    let mut at = 0;
    for end in cuts.iter().copied().chain([bytes.len()]) {
        loop {
            let step = match reader.step(&bytes[at..end]) {
                Ok(step) => step,
                Err(fault) => {
                    read.fault = Some(fault);
                    return read;
                }
            };
            match &step.event {
                Event::Data(range) => read.data.extend(&bytes[at..end][range.clone()]),
                Event::Trailer(range) => read.trailers.extend(&bytes[at..end][range.clone()]),
                Event::End => read.done = true,
                Event::More => {}
            }
            at += step.consumed;
            if matches!(step.event, Event::More | Event::End) {
                break;
            }
        }
    }
    read.rest = bytes[at..].to_vec();
    read
}

/// Every way to cut so many bytes once, and the one that cuts everywhere. In the midst of long runs of the same byte, every
/// 97th place has to do.
fn all_cuts(length: usize) -> Vec<Vec<usize>> {
    const ENDS: usize = 600;
    let is_near = |at: &usize| *at < ENDS || length - at < ENDS || at.is_multiple_of(97);
    let mut cuts: Vec<Vec<usize>> = (0..length).filter(is_near).map(|at| vec![at]).collect();
    cuts.push((0..length).collect());
    cuts
}

fn request(bytes: &[u8]) -> Planned<Request> {
    let whole = request_with(bytes, &[]);
    for cuts in all_cuts(bytes.len()) {
        assert_eq!(request_with(bytes, &cuts), whole, "cut at {cuts:?}: {}", String::from_utf8_lossy(bytes));
    }
    whole
}

fn response(bytes: &[u8], to_head: bool) -> Planned<Response> {
    let asked = Asked { head: to_head, ..Asked::default() };
    let whole = response_with(bytes, &[], asked);
    for cuts in all_cuts(bytes.len()) {
        assert_eq!(response_with(bytes, &cuts, asked), whole, "cut at {cuts:?}");
    }
    whole
}

fn body(framing: Framing, bytes: &[u8]) -> Read {
    let whole = body_with(framing, bytes, &[]);
    for cuts in all_cuts(bytes.len()) {
        assert_eq!(body_with(framing, bytes, &cuts), whole, "cut at {cuts:?}");
    }
    whole
}
