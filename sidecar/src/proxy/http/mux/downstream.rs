//! HTTP/2 from clients: each stream is served as a connection with one request, by the same code as HTTP/1.

use super::driver::{Driver, Over};
use super::quiet::Quiet;
use super::{Shared, Stream};
use crate::http1::Fault;
use crate::http2::{Code, Connection, Limits};
use crate::proxy::http::buffer::Input;
use crate::proxy::http::{self, Next, NoRequest, Terms};
use crate::proxy::turned_away::{self, Caller, TurnedAway};
use crate::stream;
use crate::worker::Worker;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long a client may take to take our last word.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves an HTTP/2 connection to its end; `input` is what has been read of it.
pub(in crate::proxy::http) async fn serve(
    worker: Rc<Worker>,
    socket: stream::Stream,
    input: Input,
    caller: Caller,
    mut terms: Terms,
) {
    let shared = Shared::new(Connection::server(&Limits::default(), Instant::now().into_std()), true);
    let mut driver = Driver::new(shared.clone(), socket, input);
    let mut quiet = Quiet::new(terms.idle);
    let mut draining = pin!(worker.lifecycle().draining());
    let mut age = terms.allowance.until().map(|until| Box::pin(sleep_until(until)));
    let (mut leaving, mut is_spent) = (false, false);
    let over = poll_fn(|cx| {
        loop {
            let mut is_old = || age.as_mut().is_some_and(|age| age.as_mut().poll(cx).is_ready());
            if !leaving && (is_spent || is_old() || draining.as_mut().poll(cx).is_ready()) {
                leaving = true;
                shared.0.borrow_mut().engine.shutdown();
            }
            let mut spawn = |stream: Stream| {
                is_spent |= terms.allowance.take(Instant::now());
                tokio::task::spawn_local(serve_stream(worker.clone(), stream, caller, terms.of_stream()));
            };
            let over = driver.poll(cx, &worker.http().buffers, &mut spawn);
            if over.is_ready() {
                return over;
            }
            if leaving || !is_spent {
                break;
            }
        }
        quiet.poll(cx, &shared).map(|()| Over::Done)
    });
    let over = over.await;
    if let (Over::Broken(reason), Some(pool)) = (over, http::find_pool(&worker, caller.port)) {
        let of_kind = match reason.code() {
            Code::ENHANCE_YOUR_CALM => TurnedAway::Http2Flood,
            _ => TurnedAway::Http2Broken,
        };
        turned_away::note(&worker, &pool, caller, of_kind, reason.as_str());
    }
    driver.farewell(over, &worker.http().buffers, FAREWELL).await;
}

/// One request.
async fn serve_stream(worker: Rc<Worker>, stream: Stream, caller: Caller, terms: Terms) {
    // Reset in the same breath as it was opened: nothing is done for it, least of all upstream.
    if stream.is_cut_off() {
        return;
    }
    let is_too_large = stream.is_too_large();
    let parts = worker.http().take_parts();
    let mut connection = http::Connection::new(worker, stream::Stream::H2(stream), Input::default(), parts, caller, terms);
    let next = match is_too_large {
        true => connection.answer(&Err(NoRequest::Bad(Fault::HeadTooLarge))).await,
        false => connection.serve_request().await,
    };
    match next {
        Next::Abort => connection.client.abort(),
        Next::Linger => connection.linger().await,
        Next::Request | Next::Close => {}
    }
}
