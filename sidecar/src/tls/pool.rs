//! What one pool needs of TLS: made of its policy when it comes into use, or refused.

use super::{Acceptor, Connector, Files, TlsRefusal};
use evenkeel_wire::{Listener, Policy};
use std::sync::Arc;
use std::time::SystemTime;

/// The acceptors of a pool's listeners and the connector to its endpoints.
#[derive(Clone, Default)]
pub(crate) struct PoolTls {
    acceptors: Vec<(u16, Arc<Acceptor>)>,
    connector: Option<Arc<Connector>>,
}

impl PoolTls {
    /// For those of its listeners that are served, and for its endpoints; with a refusal comes what it is of.
    pub(crate) fn new<'a>(
        policy: &Policy,
        listeners: impl Iterator<Item = &'a Listener>,
        files: &Files,
        now: SystemTime,
    ) -> Result<Self, (String, TlsRefusal)> {
        let mut acceptors = Vec::new();
        for (listener, tls) in listeners.filter_map(|listener| Some((listener, listener.tls.as_ref()?))) {
            let acceptor = files.acceptor(tls, listener.protocol, now);
            acceptors.push((listener.port, acceptor.map_err(|refusal| (format!("listener `{}`", listener.name), refusal))?));
        }
        let connector = policy.upstream.tls.as_ref().map(|tls| files.connector(tls)).transpose();
        Ok(Self { acceptors, connector: connector.map_err(|refusal| ("spec.upstream.tls".to_owned(), refusal))? })
    }

    /// What ends TLS on the port.
    pub(crate) fn acceptor(&self, port: u16) -> Option<&Arc<Acceptor>> {
        self.acceptors.iter().find(|(at, _)| *at == port).map(|(_, acceptor)| acceptor)
    }

    /// What begins TLS to endpoints.
    pub(crate) fn connector(&self) -> Option<&Arc<Connector>> {
        self.connector.as_ref()
    }
}
