//! What most tests begin with: backends, a pool named `shop` over the Service `web`, and clients whose sidecars see all
//! of them usable.

use super::manifest::{self, Backends};
use super::temp_ns::TempNs;
use anyhow::Result;
use serde_json::{Value, json};

/// The pool's name.
pub const POOL: &str = "shop";
/// The Service's name.
pub const SERVICE: &str = "web";
/// The port that the clients' sidecars listen on.
pub const PORT: u16 = 18080;

/// `ConsistentHash` by the header `X-User`, and what else is said.
pub fn by_user(more: &Value) -> Value {
    let mut settings = json!({"keys": [{"type": "Header", "header": {"name": "X-User"}}]});
    manifest::merge(&mut settings, more);
    json!({"algorithm": {"type": "ConsistentHash", "consistentHash": settings}})
}

impl TempNs {
    /// Makes the scene; the names of the backends' pods.
    pub fn scene(&self, backends: &[Backends], pool: &Value, clients: &[&str]) -> Result<Vec<String>> {
        for set in backends {
            self.backends(set)?;
        }
        self.apply(&[manifest::pool(POOL, &manifest::spec(SERVICE, PORT, pool))])?;
        let count = backends.iter().map(|set| set.replicas as usize).sum();
        let pods = self.ready_pods(&format!("app={SERVICE}"), count)?;
        for client in clients {
            self.client(client, POOL)?;
        }
        for client in clients {
            self.ready_pods(&format!("app={client}"), 1)?;
            self.sees(client, POOL, count)?;
        }
        Ok(pods)
    }
}

/// Backends of the scene's Service, all alike.
pub fn web(replicas: u32, words: &[&str]) -> Backends {
    Backends::new(SERVICE, replicas, words)
}

/// A set of the scene's Service, beside others.
pub fn part(name: &str, replicas: u32, words: &[&str]) -> Backends {
    Backends { service: Some(SERVICE.into()), ..Backends::new(name, replicas, words) }
}
