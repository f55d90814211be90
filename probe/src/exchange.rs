//! One check on the wire: a connect, or a GET whose status counts. The caller bounds its time; the answer's head is bounded here.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use evenkeel_wire::{CheckKind, StatusRange};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::count::CheckReason;

/// The longest head of an answer, interim answers included.
const MAX_HEAD: usize = 8 * 1024;
const MAX_HEADERS: usize = 128;

/// What a check does, prepared once: the bytes to send and the statuses to see.
#[derive(Debug)]
pub(crate) enum Exchange {
    Tcp,
    Http {
        request: Vec<u8>,
        expected: Vec<StatusRange>,
    },
    /// A path or host that cannot stand in a request.
    Impossible,
}

impl Exchange {
    pub(crate) fn new(kind: &CheckKind, address: SocketAddr) -> Self {
        let CheckKind::Http { path, host, expected } = kind else { return Self::Tcp };
        let host = host.clone().unwrap_or_else(|| address.to_string());
        let graphic = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !path.starts_with('/') || !graphic(path) || !graphic(&host) {
            return Self::Impossible;
        }
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: evenkeel-probe/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            env!("CARGO_PKG_VERSION")
        );
        Self::Http { request: request.into_bytes(), expected: expected.clone() }
    }

    pub(crate) async fn run(&self, address: SocketAddr) -> CheckReason {
        let (request, expected) = match self {
            Self::Impossible => return CheckReason::Protocol,
            Self::Tcp => {
                return match TcpStream::connect(address).await {
                    Ok(_) => CheckReason::Passing,
                    Err(error) => blame(&error),
                };
            }
            Self::Http { request, expected } => (request, expected),
        };
        match ask(address, request).await {
            Ok(status) if expected.iter().any(|range| (range.start..=range.end).contains(&status)) => CheckReason::Passing,
            Ok(_) => CheckReason::Status,
            Err(reason) => reason,
        }
    }
}

/// Sends the request; the status of the final answer.
async fn ask(address: SocketAddr, request: &[u8]) -> Result<u16, CheckReason> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| blame(&error))?;
    stream.write_all(request).await.map_err(|error| blame(&error))?;
    let mut head = Vec::with_capacity(1024);
    let mut at = 0;
    loop {
        while let Some((status, length)) = parse(&head[at..])? {
            // 1xx announce the answer; 101 would be one, to a question that wasn't asked.
            if status >= 200 || status == 101 {
                return Ok(status);
            }
            at += length;
        }
        if head.len() == MAX_HEAD {
            return Err(CheckReason::Protocol);
        }
        let room = MAX_HEAD - head.len();
        let read = (&mut stream).take(room as u64).read_buf(&mut head).await.map_err(|error| blame(&error))?;
        if read == 0 {
            return Err(CheckReason::Reset);
        }
    }
}

/// Status and length of the first head in `bytes`; `None` until it is whole.
fn parse(bytes: &[u8]) -> Result<Option<(u16, usize)>, CheckReason> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => Ok(response.code.map(|status| (status, length))),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(CheckReason::Protocol),
    }
}

fn blame(error: &Error) -> CheckReason {
    match error.kind() {
        ErrorKind::ConnectionRefused => CheckReason::Refused,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe | ErrorKind::NotConnected => {
            CheckReason::Reset
        }
        ErrorKind::TimedOut => CheckReason::Timeout,
        _ => CheckReason::Unreachable,
    }
}
