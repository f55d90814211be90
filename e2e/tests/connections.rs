//! What connections carry over from one request to the next: pipelined requests stay in order, and an upstream connection that
//! may hold more than it should is never used again.

use evenkeel_e2e::conformance::lane::{Lane, NEXT, all_cuts};
use evenkeel_e2e::stand::PATIENCE;
use evenkeel_e2e::stand::client::{Say, has_answers, say};
use evenkeel_e2e::stand::peers::Peer;
use evenkeel_e2e::stand::process::local;
use evenkeel_e2e::stand::recorder::{Answer, PLAIN};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use tempfile::TempDir;

fn lane() -> (Lane, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    (Lane::start(Peer::Evenkeel, folder.path()).expect("starts"), folder)
}

/// Requests of all framings, one behind the other.
const PIPELINE: [&str; 5] = [
    "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET\r\n",
    "HEAD /3 HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /4 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nGET\r\n0\r\n\r\n",
    "GET /5 HTTP/1.1\r\nHost: a\r\n\r\n",
];

#[test]
fn as_many_pipelined_requests_go_out_as_come_in_in_order_however_they_are_cut() {
    let (lane, _folder) = lane();
    let bytes = PIPELINE.concat();
    let to_head = [false, false, true, false, false];
    // One answer for all: with a length that HEAD's answer has too, but no body.
    let answer = Answer::of(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    lane.recorder().set_answer(answer);
    for cuts in all_cuts(bytes.len()) {
        let heard =
            say(lane.port(), &Say { bytes: bytes.as_bytes(), cuts: &cuts }, PATIENCE, |heard| has_answers(heard, &to_head, 5));
        let heard = heard.expect("connects");
        assert_eq!(heard.statuses(&to_head), [200; 5], "cut at {cuts:?}: {}", heard.bytes.escape_ascii());
        let seen: Vec<u8> = lane.recorder().take().expect("is quiet").iter().flat_map(|seen| seen.bytes.clone()).collect();
        let paths: Vec<&str> = std::str::from_utf8(&seen)
            .expect("text")
            .lines()
            .filter_map(|line| line.split_once(" HTTP/1.1"))
            .map(|(path, _)| path)
            .collect();
        assert_eq!(paths, ["GET /1", "POST /2", "HEAD /3", "POST /4", "GET /5"], "cut at {cuts:?}");
    }
}

#[test]
fn an_early_answer_leaves_a_connection_that_is_not_used_again() {
    let (lane, _folder) = lane();
    // Answers after the head: who expects 100 Continue gets a final answer instead, and its body is never read.
    let post = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let heard =
        say(lane.port(), &Say { bytes: post, cuts: &[] }, PATIENCE, |heard| has_answers(heard, &[], 1)).expect("connects");
    assert_eq!(heard.status(), 200);
    let first = lane.recorder().take_now().expect("is quiet");
    let heard =
        say(lane.port(), &Say { bytes: NEXT, cuts: &[] }, PATIENCE, |heard| has_answers(heard, &[], 1)).expect("connects");
    assert_eq!(heard.status(), 200);
    let next = lane.recorder().take().expect("is quiet");
    assert_eq!(next.len(), 1, "{next:?}");
    assert_ne!(first[0].connection, next[0].connection, "the body that was never sent would be read out of the next request");
}

#[test]
fn a_byte_on_an_idle_connection_throws_it_away() {
    let listener = TcpListener::bind(local(0)).expect("a free port");
    let folder = tempfile::tempdir().expect("a folder");
    let proxy = Peer::Evenkeel.start(listener.local_addr().expect("an address"), folder.path()).expect("starts");
    let mut client = TcpStream::connect(local(proxy.port())).expect("connects");
    let mut upstreams = Vec::new();
    for extra in [b"HTTP/1.1 200 Poison\r\nContent-Length: 0\r\n\r\n".as_slice(), b"", b""] {
        client.write_all(NEXT).expect("writes");
        // The connection before this one is kept, unless more was said on it than was asked for.
        if upstreams.len() < 2 {
            upstreams.push(listener.accept().expect("accepts").0);
        }
        let upstream: &mut TcpStream = upstreams.last_mut().expect("just accepted");
        let mut request = vec![0; NEXT.len()];
        upstream.read_exact(&mut request).expect("a request");
        assert_eq!(request, NEXT);
        upstream.write_all(PLAIN).expect("writes");
        let mut answer = vec![0; PLAIN.len()];
        client.read_exact(&mut answer).expect("is answered");
        assert_eq!(answer, PLAIN);
        upstream.write_all(extra).expect("writes");
    }
}
