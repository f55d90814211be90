//! A short run of the attacks (`make abuse` is the long one): floods are cut off by name, a well-behaved client loses no request
//! meanwhile, and memory has a bound. How fast the client is served is not asked here: this machine may be busy.

use evenkeel_e2e::abuse::attack::Attack;
use evenkeel_e2e::abuse::attacker::{End, attack, flood};
use evenkeel_e2e::abuse::gauge::Gauge;
use evenkeel_e2e::conformance::lane::NEXT;
use evenkeel_e2e::stand::PATIENCE;
use evenkeel_e2e::stand::client::{Say, has_answers, say};
use evenkeel_e2e::stand::frames::{self, code};
use evenkeel_e2e::stand::process::local;
use evenkeel_e2e::stand::recorder::{Answer, Recorder};
use evenkeel_e2e::stand::sidecar::{Setup, Sidecar};
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

/// Rounds of 16 frames: over every budget, and an end.
const ROUNDS: u32 = 2000;
/// What the attacks of this test may cost: 100 connections, each with 32 KiB of buffers each way and as much of the allocator's.
const BOUND_KIB: u64 = 16 * 1024;

#[test]
fn floods_are_answered_with_enhance_your_calm() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Recorder::start().expect("a backend");
    let sidecar = Sidecar::start(&Setup::http(&[backend.address]), folder.path()).expect("starts");
    let tolerated: Vec<(Attack, End)> = Attack::FLOODS
        .into_iter()
        .map(|attack| (attack, flood(attack, sidecar.port, ROUNDS).expect("connects")))
        .filter(|(_, end)| *end != End::GoAway(code::ENHANCE_YOUR_CALM))
        .collect();
    assert_eq!(tolerated, []);
}

#[test]
fn what_is_reset_in_the_same_breath_never_goes_upstream() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Recorder::start().expect("a backend");
    let sidecar = Sidecar::start(&Setup::http(&[backend.address]), folder.path()).expect("starts");
    let mut stream = TcpStream::connect(local(sidecar.port)).expect("connects");
    let resets: Vec<u8> = (0..10).flat_map(|number| Attack::RapidReset.round(number)).collect();
    let ping = frames::frame(frames::kind::PING, 0, 0, b"all read");
    stream.write_all(&[frames::PREFACE, &frames::settings(&[]), &resets, &ping].concat()).expect("writes");
    // SETTINGS come first, and the answer to PING last: 160 requests have been read by then.
    while frames::read_frame(&stream).expect("a frame").kind != frames::kind::PING {}
    // Whatever was begun for them has come further than this one.
    let good = say(sidecar.port, &Say { bytes: NEXT, cuts: &[] }, PATIENCE, |heard| has_answers(heard, &[], 1));
    assert_eq!(good.expect("connects").status(), 200);
    let seen = backend.take().expect("is quiet");
    assert!(matches!(seen.as_slice(), [seen] if seen.bytes == NEXT), "{seen:?}");
}

#[test]
fn a_well_behaved_client_loses_nothing_and_memory_has_a_bound_whatever_others_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Recorder::start().expect("a backend");
    let large = [b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n".to_vec(), vec![b'x'; 200_000]].concat();
    for hostile in Attack::FLOODS.into_iter().chain(Attack::SLOW) {
        backend.set_answer(if hostile == Attack::SlowReads {
            Answer::of(&large)
        } else {
            Answer::of(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        });
        let sidecar = Sidecar::start(&Setup::http(&[backend.address]), folder.path()).expect("starts");
        let (port, time) = (sidecar.port, Duration::from_millis(700));
        Gauge::measure(sidecar.port, Duration::from_millis(100)).expect("is served");
        let before = sidecar.process.rss_kib().expect("runs");
        let gauge = std::thread::scope(|scope| {
            let connections = if Attack::SLOW.contains(&hostile) { 100 } else { 8 };
            let attacking = scope.spawn(move || attack(hostile, port, connections, time));
            let gauge = Gauge::measure(sidecar.port, time).expect("is served");
            attacking.join().expect("attacks").expect("attacks");
            gauge
        });
        assert_eq!(gauge.failed, 0, "{hostile}");
        assert!(gauge.answered() > 0, "{hostile}: {} answers", gauge.answered());
        let after = sidecar.process.rss_kib().expect("runs");
        assert!(after < before + BOUND_KIB, "{hostile}: {before} KiB became {after} KiB");
        // What the attack made the proxy send upstream is forgotten here, or the recorder would grow.
        backend.take_now().expect("is quiet");
    }
}
