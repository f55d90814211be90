//! Each case of the conformance table, however its bytes are cut; and damaged ones, which must come out the same whatever
//! the cuts.

use super::super::response::{Asked, deliver};
use super::super::{Event, Fault, Framing, MAX_FIELDS, Reader, RequestParser, ResponseParser, status, write};
use super::cases::{self, Case, Kind, Verdict};
use super::{all_cuts, body_with, request_with};
use proptest::prelude::*;
use std::sync::LazyLock;

const LOCAL: &str = "local:1";

static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| cases::http1(LOCAL).expect("a good table"));

fn of_kind(kind: Kind) -> impl Iterator<Item = &'static Case> {
    CASES.iter().filter(move |case| case.kind == kind)
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    sees: String,
    data: String,
    trailers: String,
    verdict: Verdict,
    kept: Option<bool>,
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into()
}

impl Seen {
    fn expected(case: &Case) -> Self {
        let verdict = case.verdict.clone();
        Self { sees: show(&case.sees), data: show(&case.data), trailers: show(&case.trailers), verdict, kept: case.kept }
    }
}

fn refused(fault: Fault) -> Verdict {
    Verdict::Fails { status: status::of_request_fault(fault), fault: fault.as_str().into() }
}

/// The head that the request is sent on with.
fn head(bytes: &[u8], cuts: &[usize]) -> Seen {
    let (sees, verdict) = match request_with(bytes, cuts) {
        Ok(Some((_, upstream))) => (upstream, Verdict::Passes),
        Ok(None) => ("incomplete".into(), Verdict::Passes),
        Err(fault) => (String::new(), refused(fault)),
    };
    Seen { sees, data: String::new(), trailers: String::new(), verdict, kept: None }
}

fn framing(after: &[u8]) -> Framing {
    request_with(after, &[]).expect("a good head").expect("a whole head").0.body
}

/// The body after a head with this framing.
fn body(framing: Framing, bytes: &[u8], cuts: &[usize]) -> Seen {
    let read = body_with(framing, bytes, cuts);
    let verdict = read.fault.map_or(Verdict::Passes, refused);
    assert_eq!(read.done, read.fault.is_none(), "{}", show(bytes));
    Seen { sees: String::new(), data: show(&read.data), trailers: show(&read.trailers), verdict, kept: None }
}

/// An answer on its way, as a proxy reads it: head after head, then the body.
struct Answer<'a> {
    case: &'a Case,
    asked: Asked,
    heads: ResponseParser,
    body: Option<Reader>,
    keep_alive: bool,
    at: usize,
    sees: Vec<u8>,
    data: Vec<u8>,
    trailers: Vec<u8>,
}

impl<'a> Answer<'a> {
    fn read(case: &'a Case, cuts: &[usize]) -> Seen {
        let request = request_with(&case.after, &[]).expect("a good request").expect("a whole request").0;
        let mut answer = Self {
            case,
            asked: Asked::by(&request),
            heads: ResponseParser::default(),
            body: None,
            keep_alive: false,
            at: 0,
            sees: vec![],
            data: vec![],
            trailers: vec![],
        };
        let bytes = &case.send;
        let ends = cuts.iter().copied().chain([bytes.len()]);
        let mut fault = None;
        for end in ends {
            if let Err(found) = answer.take(&bytes[..end]) {
                fault = Some(found.as_str());
                break;
            }
        }
        answer.judge(fault)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        while self.body.is_none() {
            let Some(response) = self.heads.advance(&bytes[self.at..], self.asked)? else { return Ok(()) };
            let delivery = deliver(&response, super::super::Version::Http11, true);
            write::response_head(&mut self.sees, &bytes[self.at..], self.heads.head(), &response, &delivery);
            self.at += response.head_len;
            if !response.is_interim() {
                self.keep_alive = response.keep_alive;
                // After a 101 all that comes is the tunnel's.
                let framing = if response.is_upgrade() { Framing::UntilClose } else { response.body };
                self.body = Some(Reader::new(framing));
            }
            self.heads.next();
        }
        let Some(reader) = &mut self.body else { return Ok(()) };
        loop {
            let step = reader.step(&bytes[self.at..])?;
            match &step.event {
                Event::Data(range) => self.data.extend(&bytes[self.at..][range.clone()]),
                Event::Trailer(range) => self.trailers.extend(&bytes[self.at..][range.clone()]),
                Event::More | Event::End => {}
            }
            self.at += step.consumed;
            if matches!(step.event, Event::More | Event::End) {
                return Ok(());
            }
        }
    }

    fn judge(self, fault: Option<&str>) -> Seen {
        let cut_off = self.case.ends && self.body.as_ref().is_none_or(|body| !body.may_end_here());
        let fault = fault.or(cut_off.then_some("end"));
        let verdict = match (fault, &self.body) {
            (None, _) => Verdict::Passes,
            (Some(fault), None) => Verdict::Fails { status: 502, fault: fault.into() },
            (Some(fault), Some(_)) => Verdict::Cut { fault: fault.into() },
        };
        let is_over = self.body.as_ref().is_some_and(Reader::is_done) && self.at == self.case.send.len();
        let kept = self.case.kept.map(|_| is_over && self.keep_alive);
        Seen { sees: show(&self.sees), data: show(&self.data), trailers: show(&self.trailers), verdict, kept }
    }
}

#[test]
fn each_head_of_the_table_becomes_what_the_table_says_however_it_arrives() {
    for case in of_kind(Kind::Head) {
        for cuts in [vec![]].into_iter().chain(all_cuts(case.send.len())) {
            assert_eq!(head(&case.send, &cuts), Seen::expected(case), "{} cut at {cuts:?}", case.name);
        }
    }
}

#[test]
fn each_body_of_the_table_becomes_what_the_table_says_however_it_arrives() {
    for case in of_kind(Kind::Body) {
        let (framing, expected) = (framing(&case.after), Seen::expected(case));
        for cuts in [vec![]].into_iter().chain(all_cuts(case.send.len())) {
            let seen = body(framing, &case.send, &cuts);
            assert_eq!(seen.verdict, expected.verdict, "{} cut at {cuts:?}", case.name);
            if expected.verdict == Verdict::Passes {
                assert_eq!(seen, expected, "{} cut at {cuts:?}", case.name);
            }
            let is_part = expected.data.starts_with(&seen.data) && expected.trailers.starts_with(&seen.trailers);
            assert!(is_part, "{} cut at {cuts:?}: {seen:?}", case.name);
        }
    }
}

#[test]
fn each_answer_of_the_table_becomes_what_the_table_says_however_it_arrives() {
    for case in of_kind(Kind::Answer) {
        for cuts in [vec![]].into_iter().chain(all_cuts(case.send.len())) {
            assert_eq!(Answer::read(case, &cuts), Seen::expected(case), "{} cut at {cuts:?}", case.name);
        }
    }
}

/// One of the cases that aren't long, damaged in one place, and where to cut it.
fn damaged() -> impl Strategy<Value = (Case, Vec<usize>)> {
    let short: Vec<&'static Case> = CASES.iter().filter(|case| case.send.len() < 1024).collect();
    let places = (any::<prop::sample::Index>(), any::<u8>(), prop::collection::vec(any::<prop::sample::Index>(), 0..6));
    (prop::sample::select(short), places).prop_map(|(case, (place, byte, cuts))| {
        let mut case = case.clone();
        let length = case.send.len();
        case.send[place.index(length)] = byte;
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(length)).collect();
        cuts.sort_unstable();
        (case, cuts)
    })
}

proptest! {
    #[test]
    fn any_split_gives_the_same_result((case, cuts) in damaged()) {
        let (whole, cut) = match case.kind {
            Kind::Head => (head(&case.send, &[]), head(&case.send, &cuts)),
            Kind::Answer => (Answer::read(&case, &[]), Answer::read(&case, &cuts)),
            Kind::Body => {
                let framing = framing(&case.after);
                let read = |cuts: &[usize]| body_with(framing, &case.send, cuts);
                prop_assert_eq!(read(&cuts), read(&[]));
                return Ok(());
            }
        };
        prop_assert_eq!(cut, whole);
    }

    /// What goes upstream is a head that is read the same way again, so that the next hop cannot differ from us.
    #[test]
    fn what_is_written_is_read_again_as_the_same((case, _) in damaged()) {
        prop_assume!(case.kind == Kind::Head);
        if let Ok(Some((request, upstream))) = request_with(&case.send, &[]) {
            let mut parser = RequestParser::default();
            let again = parser.advance(upstream.as_bytes()).expect("is accepted").expect("is whole");
            prop_assert_eq!(again.body, request.body);
            prop_assert_eq!(again.expects_continue, request.expects_continue);
            prop_assert_eq!(again.asks_websocket, request.asks_websocket);
            prop_assert_eq!(again.head_len, upstream.len());
        }
    }
}

/// The fuzzer's claims hold of each case, and where a line is added to as many as may be.
#[test]
fn what_the_fuzzer_claims_holds_of_the_table() {
    use super::super::fuzz;
    fuzz::check_request(format!("GET / HTTP/1.0\r\n{}\r\n", "a:\r\n".repeat(MAX_FIELDS)).as_bytes());
    fuzz::check_response(format!("\0HTTP/1.0 200 OK\r\n{}\r\n", "a:\r\n".repeat(MAX_FIELDS)).as_bytes());
    for case in CASES.iter() {
        match case.kind {
            Kind::Head => fuzz::check_request(&case.send),
            Kind::Body => fuzz::check_chunked(&case.send),
            Kind::Answer => (0..8).for_each(|flags| fuzz::check_response(&[&[flags], case.send.as_slice()].concat())),
        }
    }
}
