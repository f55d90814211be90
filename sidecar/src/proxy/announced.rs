//! The PROXY header at the beginning of a client's connection: taken from the socket to its last byte and no further. A connection
//! that waits for its header holds only what has come of it.

use super::turned_away::TurnedAway;
use crate::proxy_protocol::{self, Addresses, Header, Parsed};
use crate::worker::Worker;
use evenkeel_wire::{Cidr, ProxyProtocolIn};
use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The longest that a header may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection isn't served, and what is known beyond that.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) reason: TurnedAway,
    pub(super) detail: String,
}

/// Waits for the header of a connection between `own` addresses; whose connection it then is.
pub(super) async fn receive(
    worker: &Worker,
    stream: &TcpStream,
    own: Addresses,
    asked: &ProxyProtocolIn,
) -> Result<Addresses, Refused> {
    let sender = own.source.ip();
    if !asked.trusted.iter().any(|network: &Cidr| network.contains(sender)) {
        let detail = format!("{sender} is in none of the trusted networks");
        return Err(Refused { reason: TurnedAway::ProxyHeaderForbidden, detail });
    }
    match tokio::time::timeout(TIMEOUT, take(worker, stream)).await {
        Ok(Ok(Header::Of(addresses))) => Ok(addresses),
        Ok(Ok(Header::Own)) => Ok(own),
        Ok(Err(bad)) => Err(bad.into()),
        Err(_) => {
            let detail = format!("no whole header within {} s", TIMEOUT.as_secs());
            Err(Refused { reason: TurnedAway::ProxyHeaderTimeout, detail })
        }
    }
}

/// Why there is no header.
enum Bad {
    Fault(proxy_protocol::Fault),
    /// The connection ended or broke in the midst of it, or before.
    Ended(io::Error),
}

impl From<io::Error> for Bad {
    fn from(error: io::Error) -> Self {
        Self::Ended(error)
    }
}

impl From<Bad> for Refused {
    fn from(bad: Bad) -> Self {
        let (reason, detail) = match bad {
            Bad::Fault(fault @ proxy_protocol::Fault::Missing) => (TurnedAway::ProxyHeaderMissing, fault.to_string()),
            Bad::Fault(fault) => (TurnedAway::ProxyHeaderBad, fault.to_string()),
            Bad::Ended(error) => (TurnedAway::ProxyHeaderMissing, error.to_string()),
        };
        Self { reason, detail }
    }
}

/// Looks at what is there before it takes it, so that the connection's own bytes stay in the socket.
async fn take(worker: &Worker, stream: &TcpStream) -> Result<Header, Bad> {
    let mut held = Vec::new();
    loop {
        stream.readable().await?;
        match stream.try_io(Interest::READABLE, || worker.with_scratch(|buffer| look(stream, &mut held, buffer))) {
            Ok(Look::Whole(header)) => return Ok(header),
            Ok(Look::Part) => {}
            Ok(Look::Bad(fault)) => return Err(Bad::Fault(fault)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What the bytes that are there make of the header.
enum Look {
    Whole(Header),
    Part,
    Bad(proxy_protocol::Fault),
}

/// `held` are the bytes that were taken before; they and what follows in the socket are read as a header.
fn look(stream: &TcpStream, held: &mut Vec<u8>, buffer: &mut [u8]) -> io::Result<Look> {
    let before = held.len();
    let room = &mut buffer[..proxy_protocol::MAX - before];
    let (_, there) = rustix::net::recv(stream, &mut *room, rustix::net::RecvFlags::PEEK)?;
    if there == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    held.extend_from_slice(&room[..there]);
    let (looked, taken) = match proxy_protocol::parse(held) {
        Ok(Some(Parsed { header, length })) => (Look::Whole(header), length - before),
        // No header is longer than the bound, so that there is always room for more.
        Ok(None) => (Look::Part, there),
        Err(fault) => return Ok(Look::Bad(fault)),
    };
    // These bytes are there: nothing else reads from the socket.
    rustix::net::recv(stream, &mut room[..taken], rustix::net::RecvFlags::empty())?;
    Ok(looked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Shared;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";

    /// A client, and what the proxy makes of its beginning.
    fn on_worker(trusted: &str, test: impl AsyncFnOnce(&mut TcpStream, Receiving)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
        runtime.expect("a runtime").block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let destination = listener.local_addr().expect("an address");
            let (client, accepted) = tokio::join!(TcpStream::connect(destination), listener.accept());
            let (stream, source) = accepted.expect("a connection");
            let shared = Shared { table: Arc::default(), lifecycle: Arc::default(), access_log: false, pod_ip: None };
            let asked = ProxyProtocolIn { trusted: vec![trusted.parse().expect("a network")] };
            let worker = Worker::new(0, shared, 7);
            let receiving = Receiving { worker, stream, own: Addresses { source, destination }, asked };
            test(&mut client.expect("connects"), receiving).await;
        });
    }

    struct Receiving {
        worker: Worker,
        stream: TcpStream,
        own: Addresses,
        asked: ProxyProtocolIn,
    }

    impl Receiving {
        async fn receive(&self) -> Result<Addresses, TurnedAway> {
            receive(&self.worker, &self.stream, self.own, &self.asked).await.map_err(|refused| refused.reason)
        }
    }

    #[test]
    fn the_header_is_taken_to_its_last_byte_and_no_further_however_it_arrives() {
        for pause_after in 0..LINE.len() + 3 {
            on_worker("127.0.0.0/8", async |client, mut receiving| {
                let bytes = [LINE, b"own"].concat();
                let sending = async {
                    client.write_all(&bytes[..pause_after]).await.expect("is sent");
                    // The proxy has its turn; whether it has seen all of this by then must not matter.
                    for _ in 0..10 {
                        tokio::task::yield_now().await;
                    }
                    client.write_all(&bytes[pause_after..]).await.expect("is sent");
                };
                let (received, ()) = tokio::join!(receiving.receive(), sending);
                let Addresses { source, destination } = received.expect("a header");
                assert_eq!((source.to_string(), destination.to_string()), ("192.0.2.1:56324".into(), "198.51.100.2:443".into()));
                let mut rest = [0; 3];
                receiving.stream.read_exact(&mut rest).await.expect("the rest is there");
                assert_eq!(&rest, b"own");
            });
        }
    }

    #[test]
    fn a_sender_that_speaks_for_itself_keeps_its_own_addresses() {
        on_worker("127.0.0.1/32", async |client, receiving| {
            client.write_all(b"PROXY UNKNOWN\r\n").await.expect("is sent");
            assert_eq!(receiving.receive().await, Ok(receiving.own));
        });
    }

    #[test]
    fn who_isnt_trusted_is_turned_away_unheard() {
        on_worker("10.0.0.0/8", async |client, receiving| {
            client.write_all(LINE).await.expect("is sent");
            assert_eq!(receiving.receive().await, Err(TurnedAway::ProxyHeaderForbidden));
        });
    }

    #[test]
    fn without_a_whole_header_in_time_a_connection_is_turned_away() {
        on_worker("127.0.0.0/8", async |client, receiving| {
            tokio::time::pause();
            let start = tokio::time::Instant::now();
            client.write_all(&LINE[..LINE.len() - 1]).await.expect("is sent");
            assert_eq!(receiving.receive().await, Err(TurnedAway::ProxyHeaderTimeout));
            assert!((TIMEOUT..TIMEOUT * 2).contains(&start.elapsed()), "{:?}", start.elapsed());
        });
    }

    #[test]
    fn what_is_no_header_or_a_bad_one_is_turned_away_for_that() {
        for (bytes, reason) in [
            (&b"GET / HTTP/1.1\r\n"[..], TurnedAway::ProxyHeaderMissing),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 99999\r\n", TurnedAway::ProxyHeaderBad),
        ] {
            on_worker("127.0.0.0/8", async |client, receiving| {
                client.write_all(bytes).await.expect("is sent");
                assert_eq!(receiving.receive().await, Err(reason));
            });
        }
        on_worker("127.0.0.0/8", async |client, receiving| {
            client.write_all(&LINE[..9]).await.expect("is sent");
            client.shutdown().await.expect("ends");
            assert_eq!(receiving.receive().await, Err(TurnedAway::ProxyHeaderMissing));
        });
    }
}
