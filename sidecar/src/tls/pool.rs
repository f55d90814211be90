//! What one pool needs of TLS: made of its policy when it comes into use, or refused.

use super::{Acceptor, Connector, Files, TlsRefusal};
use evenkeel_wire::{Listener, Policy, Protocol};
use std::sync::Arc;
use std::time::SystemTime;

/// The acceptors of a pool's listeners and the connectors to its endpoints.
#[derive(Clone, Default)]
pub(crate) struct PoolTls {
    acceptors: Vec<(u16, Arc<Acceptor>)>,
    http: Option<Arc<Connector>>,
    bytes: Option<Arc<Connector>>,
}

impl PoolTls {
    /// For those of its listeners that are served, and for its endpoints; with a refusal comes what it is of.
    pub(crate) fn new<'a>(
        policy: &Policy,
        listeners: impl Iterator<Item = &'a Listener>,
        files: &Files,
        now: SystemTime,
    ) -> Result<Self, (String, TlsRefusal)> {
        let upstream =
            |protocol| files.connector(&policy.upstream, protocol).map_err(|refusal| ("spec.upstream.tls".to_owned(), refusal));
        let (mut acceptors, mut http, mut bytes) = (Vec::new(), None, None);
        for listener in listeners {
            if let Some(tls) = &listener.tls {
                let refused = |refusal| (format!("listener `{}`", listener.name), refusal);
                acceptors.push((listener.port, files.acceptor(tls, listener.protocol, now).map_err(refused)?));
            }
            match listener.protocol {
                Protocol::Http if http.is_none() => http = upstream(Protocol::Http)?,
                Protocol::Tcp if bytes.is_none() => bytes = upstream(Protocol::Tcp)?,
                // What is passed through is TLS already, and datagrams are none.
                _ => {}
            }
        }
        Ok(Self { acceptors, http, bytes })
    }

    /// What ends TLS on the port.
    pub(crate) fn acceptor(&self, port: u16) -> Option<&Arc<Acceptor>> {
        self.acceptors.iter().find(|(at, _)| *at == port).map(|(_, acceptor)| acceptor)
    }

    /// What begins TLS to endpoints for what comes in by this protocol.
    pub(crate) fn connector(&self, protocol: Protocol) -> Option<&Arc<Connector>> {
        match protocol {
            Protocol::Http => self.http.as_ref(),
            Protocol::Tcp => self.bytes.as_ref(),
            Protocol::Tls | Protocol::Udp => None,
        }
    }
}
