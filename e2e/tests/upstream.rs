//! HTTP/2 servers that misbehave, frame by frame: the client gets a typed answer, what was provably not processed is sent again and
//! isn't lost, and what comes next is served on another connection.

use anyhow::Result;
use evenkeel_e2e::stand::PATIENCE;
use evenkeel_e2e::stand::client::{Heard, Say, has_answers, say};
use evenkeel_e2e::stand::frames::{
    self, END_HEADERS, END_STREAM, code, frame, goaway, headers, kind, reset, settings, window_update,
};
use evenkeel_e2e::stand::server2::{Conversation, Script, Server};
use evenkeel_e2e::stand::sidecar::{Setup, Sidecar};
use std::process::Command;
use tempfile::TempDir;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

/// A sidecar in front of one HTTP/2 server.
struct Scene {
    server: Server,
    sidecar: Sidecar,
    folder: TempDir,
}

impl Scene {
    fn new(scripted: usize, script: Script) -> Self {
        Self::with(scripted, script, "")
    }

    fn with(scripted: usize, script: Script, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Server::start(scripted, script).expect("a server");
        let setup = Setup::http(&[server.address]).with(&format!("  upstream: {{protocol: HTTP2}}\n{more}"));
        let sidecar = Sidecar::start(&setup, folder.path()).expect("starts");
        Self { server, sidecar, folder }
    }

    fn ask(&self, request: &[u8]) -> Heard {
        say(self.sidecar.port, &Say { bytes: request, cuts: &[] }, PATIENCE, |heard| has_answers(heard, &[], 1))
            .expect("connects")
    }

    /// The status that an HTTP/2 client gets to a POST. (Not curl: 7.88 may drop an answer that comes before it has sent its body.)
    fn nghttp(&self) -> String {
        let body = self.folder.path().join("body");
        std::fs::write(&body, "hello").expect("writes");
        let mut command = Command::new("nghttp");
        command.args(["--null-out", "--verbose", "--timeout", "20", "--data"]).arg(body);
        let output = command.arg(format!("http://127.0.0.1:{}/", self.sidecar.port)).output().expect("nghttp; run `make deps`");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.split_once(":status: ").and_then(|(_, rest)| rest.get(..3)).map_or(said.clone(), str::to_owned)
    }

    fn is_well_again(&self, what: &str) {
        let heard = self.ask(GET);
        assert_eq!(heard.status(), 200, "after {what}: {}", heard.bytes.escape_ascii());
    }
}

/// Breaks the connection or the stream in a way that no request survives: a 502, and the next request is served.
fn is_a_502(what: &str, script: Script) {
    for http2 in [false, true] {
        // As often as a request may be tried, the server is bad; afterwards it is good.
        let scene = Scene::with(1, script, "  retry: {maxRetries: 0, retryOn: []}\n");
        let status = match http2 {
            false => scene.ask(POST).status().to_string(),
            true => scene.nghttp(),
        };
        assert_eq!(status, "502", "{what}, HTTP/2 client: {http2}\n{}", scene.sidecar.process.log());
        scene.is_well_again(what);
        assert_eq!(
            scene.server.requests(),
            if what.contains("before any frame") { 1 } else { 2 },
            "{what}: a POST was sent twice"
        );
    }
}

#[test]
fn servers_that_break_the_protocol_are_answered_for_with_502_and_left() {
    let breaks: [(&str, Script); 16] = [
        ("SETTINGS of five bytes", |c| after_head(c, |_| frame(kind::SETTINGS, 0, 0, &[0; 5]))),
        ("SETTINGS on a stream", |c| after_head(c, |id| frame(kind::SETTINGS, 0, id, &[]))),
        ("DATA on stream 0", |c| after_head(c, |_| frame(kind::DATA, 0, 0, b"x"))),
        ("DATA before HEADERS", |c| after_head(c, |id| frame(kind::DATA, END_STREAM, id, b"x"))),
        ("HEADERS with index 0", |c| after_head(c, |id| frame(kind::HEADERS, END_HEADERS, id, &[0x80]))),
        ("HEADERS with an index of nothing", |c| after_head(c, |id| frame(kind::HEADERS, END_HEADERS, id, &[0xff, 0x20]))),
        ("HEADERS with Huffman code that ends nowhere", |c| {
            after_head(c, |id| frame(kind::HEADERS, END_HEADERS, id, &[0, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'x']))
        }),
        ("a window over 2^31", |c| after_head(c, |id| [window_update(id, 0x7fff_ffff), window_update(id, 0x7fff_ffff)].concat())),
        ("the connection's window over 2^31", |c| after_head(c, |_| window_update(0, 0x7fff_ffff))),
        ("a window update of 0", |c| after_head(c, |id| window_update(id, 0))),
        ("a frame of over 16 KiB", |c| after_head(c, |id| frame(kind::DATA, 0, id, &[0; 16_385]))),
        ("PUSH_PROMISE", |c| after_head(c, |id| frame(kind::PUSH_PROMISE, END_HEADERS, id, &[0, 0, 0, 2, 0x88]))),
        ("CONTINUATION without HEADERS", |c| after_head(c, |id| frame(kind::CONTINUATION, END_HEADERS, id, &[0x88]))),
        ("HEADERS on a stream that nobody opened", |c| after_head(c, |id| headers(id + 2, &[(":status", "200")], true))),
        ("a reset with INTERNAL_ERROR", |c| after_head(c, |id| reset(id, code::INTERNAL_ERROR))),
        ("an end of the connection", |c| c.open(&[]).and_then(|()| c.whole_request().map(drop))),
    ];
    for (what, script) in breaks {
        is_a_502(what, script);
    }
}

#[test]
fn answers_that_are_no_messages_are_answered_for_with_502() {
    let answers: [(&str, Script); 12] = [
        ("no status", |c| answers_with(c, &[("content-length", "0")])),
        ("two statuses", |c| answers_with(c, &[(":status", "200"), (":status", "200")])),
        ("a status of letters", |c| answers_with(c, &[(":status", "2xx")])),
        ("a pseudo-header behind a header", |c| answers_with(c, &[("x", "y"), (":status", "200")])),
        ("a request's pseudo-header", |c| answers_with(c, &[(":status", "200"), (":path", "/")])),
        ("an unknown pseudo-header", |c| answers_with(c, &[(":status", "200"), (":x", "y")])),
        ("an upper-case name", |c| answers_with(c, &[(":status", "200"), ("X", "y")])),
        ("a connection header", |c| answers_with(c, &[(":status", "200"), ("connection", "close")])),
        ("transfer-encoding", |c| answers_with(c, &[(":status", "200"), ("transfer-encoding", "chunked")])),
        ("CR LF in a value", |c| answers_with(c, &[(":status", "200"), ("x", "y\r\nset-cookie: z")])),
        ("NUL in a value", |c| answers_with(c, &[(":status", "200"), ("x", "y\0z")])),
        ("101", |c| answers_with(c, &[(":status", "101")])),
    ];
    for (what, script) in answers {
        is_a_502(what, script);
    }
}

#[test]
fn heads_without_end_and_without_bound_are_answered_for_with_502() {
    is_a_502("a head of 64 KiB", |c| {
        let value = "x".repeat(8000);
        let lines =
            [(":status", "200"), ("a", &value), ("b", &value), ("c", &value), ("d", &value), ("e", &value), ("f", &value)];
        let block = frames::block(&lines);
        after_head(c, |id| continued(id, &block))
    });
    is_a_502("CONTINUATION without end", |c| {
        c.open(&[])?;
        let id = c.whole_request()?;
        c.write(&frame(kind::HEADERS, 0, id, &frames::block(&[(":status", "200")])))?;
        let line = frames::block(&[("x", "y")]);
        for _ in 0..1_000_000 {
            c.write(&frame(kind::CONTINUATION, 0, id, &line))?;
        }
        anyhow::bail!("a million lines were taken")
    });
    is_a_502("a bomb of table references", |c| {
        let mut block = frames::block(&[(":status", "200")]);
        block.push(0x40);
        frames::string(&mut block, b"x");
        frames::string(&mut block, &[b'y'; 3900]);
        block.extend([0x80 | 62; 8000]);
        after_head(c, |id| continued(id, &block))
    });
}

/// A block in as many frames as it takes.
fn continued(stream: u32, block: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = block.chunks(16_384).collect();
    let mut bytes = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let kind = if at == 0 { kind::HEADERS } else { kind::CONTINUATION };
        let flags = if at + 1 == parts.len() { END_HEADERS } else { 0 };
        bytes.extend(frame(kind, flags, stream, part));
    }
    bytes
}

/// Reads a request and says this to it; what comes on the same connection afterwards is served.
fn after_head(c: &mut Conversation, bytes: impl FnOnce(u32) -> Vec<u8>) -> Result<()> {
    c.open(&[])?;
    let id = c.whole_request()?;
    c.write(&bytes(id))?;
    loop {
        let id = c.whole_request()?;
        c.answer(id)?;
    }
}

fn answers_with(c: &mut Conversation, lines: &[(&str, &str)]) -> Result<()> {
    after_head(c, |id| headers(id, lines, true))
}

#[test]
fn a_server_that_speaks_something_else_is_answered_for_with_502() {
    is_a_502("HTTP/1 before any frame", |c| {
        c.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        c.until_end();
        Ok(())
    });
    is_a_502("PING before any frame", |c| {
        c.write(&frame(kind::PING, 0, 0, &[0; 8]))?;
        c.until_end();
        Ok(())
    });
}

#[test]
fn requests_that_were_provably_not_processed_are_sent_again_whatever_their_method() {
    let refusals: [(&str, Script); 4] = [
        ("REFUSED_STREAM", |c| after_head(c, |id| reset(id, code::REFUSED_STREAM))),
        ("a GOAWAY below the request", |c| {
            c.open(&[])?;
            let id = c.request()?.0;
            c.write(&goaway(id - 1, code::NO_ERROR))?;
            c.until_end();
            Ok(())
        }),
        ("a GOAWAY of 0 with an error", |c| {
            c.open(&[])?;
            c.request()?;
            c.write(&goaway(0, code::ENHANCE_YOUR_CALM))
        }),
        ("a GOAWAY before the request is read", |c| {
            c.open(&[])?;
            c.write(&goaway(0, code::NO_ERROR))?;
            c.until_end();
            Ok(())
        }),
    ];
    for (what, script) in refusals {
        for request in [GET, POST] {
            let scene = Scene::new(1, script);
            let heard = scene.ask(request);
            assert_eq!(heard.status(), 200, "{what}: {}\n{}", heard.bytes.escape_ascii(), scene.sidecar.process.log());
            // Nothing was lost, and nothing was sent more often than it had to be.
            assert!(scene.server.requests() <= 2, "{what}: {} requests for one", scene.server.requests());
        }
    }
}

#[test]
fn what_a_goaway_lets_pass_is_finished_and_the_next_request_goes_elsewhere() {
    let scene = Scene::new(1, |c| {
        c.open(&[])?;
        let id = c.whole_request()?;
        c.write(&goaway(id, code::NO_ERROR))?;
        c.answer(id)?;
        c.until_end();
        Ok(())
    });
    assert_eq!(scene.ask(POST).status(), 200);
    assert_eq!(scene.ask(POST).status(), 200);
    assert_eq!(scene.server.connections(), 2);
    assert_eq!(scene.server.requests(), 2);
}

#[test]
fn a_server_that_refuses_every_stream_is_asked_a_bounded_number_of_times() {
    let scene = Scene::new(usize::MAX, |c| {
        c.open(&[])?;
        loop {
            let id = c.request()?.0;
            c.write(&reset(id, code::REFUSED_STREAM))?;
        }
    });
    let heard = scene.ask(GET);
    assert!((502..=503).contains(&heard.status()), "{}", heard.bytes.escape_ascii());
    assert!((1..=10).contains(&scene.server.requests()), "{} requests for one", scene.server.requests());
}

#[test]
fn servers_that_take_one_stream_at_a_time_lose_no_request() {
    let scene = Scene::new(usize::MAX, |c| {
        c.open(&[(frames::MAX_CONCURRENT_STREAMS, 1)])?;
        loop {
            let id = c.whole_request()?;
            c.answer(id)?;
        }
    });
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..20).map(|_| scope.spawn(|| scene.ask(POST).status())).collect();
        let statuses: Vec<u16> = asking.into_iter().map(|thread| thread.join().expect("asks")).collect();
        assert_eq!(statuses, [200; 20]);
    });
}

#[test]
fn servers_that_take_no_streams_any_more_are_not_waited_for_without_end() {
    // One stream at first, then none.
    let scene = Scene::with(
        usize::MAX,
        |c| {
            c.open(&[(frames::MAX_CONCURRENT_STREAMS, 1)])?;
            let id = c.whole_request()?;
            c.write(&settings(&[(frames::MAX_CONCURRENT_STREAMS, 0)]))?;
            c.answer(id)?;
            c.until_end();
            Ok(())
        },
        "",
    );
    assert_eq!(scene.ask(GET).status(), 200);
    // Another connection takes it, or it is refused: what it may not do is hang.
    let heard = scene.ask(GET);
    assert!([200, 502, 503].contains(&heard.status()), "{}", heard.bytes.escape_ascii());
}

#[test]
fn a_body_of_another_length_than_was_said_is_never_passed_off_as_whole() {
    let bodies: [(&str, Script); 4] = [
        ("too short", |c| lengths(c, "10", b"hello")),
        ("too long", |c| lengths(c, "3", b"hello")),
        ("cut off by a reset", |c| {
            after_head(c, |id| {
                let head = headers(id, &[(":status", "200"), ("content-length", "10")], false);
                [head, frame(kind::DATA, 0, id, b"hello"), reset(id, code::INTERNAL_ERROR)].concat()
            })
        }),
        ("cut off in chunks", |c| {
            after_head(c, |id| {
                let head = headers(id, &[(":status", "200")], false);
                [head, frame(kind::DATA, 0, id, b"hello"), reset(id, code::CANCEL)].concat()
            })
        }),
    ];
    for (what, script) in bodies {
        let scene = Scene::new(1, script);
        let heard = scene.ask(POST);
        let is_whole = has_answers(&heard.bytes, &[], 1) && heard.status() == 200;
        assert!(!is_whole && heard.ended, "{what}: {} (ended {})", heard.bytes.escape_ascii(), heard.ended);
        scene.is_well_again(what);
    }
}

fn lengths(c: &mut Conversation, said: &str, body: &[u8]) -> Result<()> {
    after_head(c, |id| {
        let head = headers(id, &[(":status", "200"), ("content-length", said)], false);
        [head, frame(kind::DATA, END_STREAM, id, body)].concat()
    })
}

#[test]
fn a_server_that_never_reads_holds_up_its_own_request_alone_and_no_memory() {
    let scene = Scene::with(
        1,
        |c| {
            // SETTINGS that let much be sent, and not one byte is read after the preface.
            c.open(&[(frames::INITIAL_WINDOW_SIZE, 0x7fff_ffff)])?;
            c.write(&window_update(0, 0x7fff_0000))?;
            std::thread::park_timeout(PATIENCE);
            Ok(())
        },
        "  timeouts: {responseHead: 1s, streamIdle: 1s}\n",
    );
    let before = scene.sidecar.process.rss_kib().expect("runs");
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 64 << 20);
    let request = [head.into_bytes(), vec![b'x'; 64 << 20]].concat();
    let heard = scene.ask(&request);
    assert!(heard.status() >= 400 || heard.ended, "{}", heard.bytes.escape_ascii());
    let after = scene.sidecar.process.rss_kib().expect("runs");
    assert!(after < before + 8 * 1024, "{before} KiB became {after} KiB under a body that nobody took");
    scene.is_well_again("a server that never reads");
}

/// That the proxy asks at times, and waits 30 s at most for what isn't acknowledged, is one decision; see `watch_for_silence`.
#[test]
fn a_shared_connection_whose_server_falls_silent_is_noticed() {
    let scene = Scene::with(
        1,
        |server| {
            server.open(&[])?;
            let stream = server.whole_request()?;
            anyhow::ensure!(server.is_watched()?, "nobody asks");
            server.answer(stream)
        },
        "  retry: {maxRetries: 0, retryOn: []}\n",
    );
    let heard = scene.ask(GET);
    assert_eq!(heard.status(), 200, "{}", heard.bytes.escape_ascii());
}
