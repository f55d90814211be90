//! DNS by datagrams and by connections.

use crate::common::example::{Example, backends};
use crate::common::{PATIENCE, free_port};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// One that answers queries by either transport, each with its own address as the A record.
struct Dns {
    port: u16,
    _serving: JoinSet<()>,
}

impl Dns {
    async fn start() -> Self {
        loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
            let port = listener.local_addr().expect("an address").port();
            // The same number may be taken there.
            let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await else { continue };
            let mut serving = JoinSet::new();
            serving.spawn(async move {
                let mut query = [0; 512];
                while let Ok((length, from)) = socket.recv_from(&mut query).await {
                    let _ = socket.send_to(&answer(&query[..length], port), from).await;
                }
            });
            serving.spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let Ok(length) = stream.read_u16().await else { continue };
                    let mut query = vec![0; length.into()];
                    let Ok(_) = stream.read_exact(&mut query).await else { continue };
                    let answer = answer(&query, port);
                    let _ = stream.write_all(&[&(answer.len() as u16).to_be_bytes()[..], &answer].concat()).await;
                }
            });
            return Self { port, _serving: serving };
        }
    }
}

/// A query for `example.com`, type A (RFC 1035, section 4.1).
fn query(id: u16) -> Vec<u8> {
    let header = [id, 0x0100, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
    [&header[..], b"\x07example\x03com\0", &[0, 1, 0, 1]].concat()
}

/// 127.0 and the port.
fn answer(query: &[u8], port: u16) -> Vec<u8> {
    let header = [&query[..2], &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]].concat();
    let [high, low] = port.to_be_bytes();
    [&header[..], &query[12..], &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, high, low]].concat()
}

/// Who answered.
fn who(answer: &[u8], id: u16) -> u16 {
    assert_eq!(answer[..2], id.to_be_bytes(), "the answer to this query");
    let [.., high, low] = answer else { panic!("an answer") };
    u16::from_be_bytes([*high, *low])
}

async fn ask(socket: &UdpSocket, id: u16) -> u16 {
    socket.send(&query(id)).await.expect("is sent");
    let mut answer = [0; 512];
    let length = timeout(PATIENCE, socket.recv(&mut answer)).await.expect("is answered").expect("is heard");
    who(&answer[..length], id)
}

async fn client(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    socket.connect((Ipv4Addr::LOCALHOST, port)).await.expect("connects");
    socket
}

#[tokio::test]
async fn queries_of_one_socket_go_to_one_server_and_those_of_others_to_all_by_either_transport() {
    let servers = [Dns::start().await, Dns::start().await, Dns::start().await, Dns::start().await];
    let at = free_port().await;
    let ports = servers.each_ref().map(|server| server.port);
    let change = ("port: 18053".to_owned(), format!("port: {at}"));
    let _example = Example::start("udp-dns", &[backends(ports), vec![change]].concat()).await;
    let (mut by_udp, mut by_tcp) = (BTreeSet::new(), BTreeSet::new());
    for n in 0..8 {
        let socket = client(at).await;
        let first = ask(&socket, n).await;
        for id in 100..104 {
            assert_eq!(ask(&socket, id).await, first, "one session, one server");
        }
        by_udp.insert(first);
    }
    for n in 0..8 {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, at)).await.expect("connects");
        let query = query(n);
        stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], &query].concat()).await.expect("is sent");
        let length = timeout(PATIENCE, stream.read_u16()).await.expect("is answered").expect("a length");
        let mut answer = vec![0; length.into()];
        stream.read_exact(&mut answer).await.expect("an answer");
        by_tcp.insert(who(&answer, n));
    }
    let all = BTreeSet::from(ports);
    assert_eq!((by_udp, by_tcp), (all.clone(), all));
}
