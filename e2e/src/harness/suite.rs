//! What all tests of one program share: the cluster, the images, the release and the figures. Made once, by the first
//! test that needs it; if that fails, every test fails with the reason.

use super::cluster::Cluster;
use super::images::Images;
use super::install::{self, NAMESPACE, OPERATOR};
use super::results::{Figure, Results};
use anyhow::{Result, anyhow};
use std::sync::OnceLock;

static SUITE: OnceLock<Result<Suite, String>> = OnceLock::new();

/// What all tests share.
pub struct Suite {
    /// The cluster under test.
    pub cluster: Cluster,
    /// What runs on it.
    pub images: Images,
    results: Results,
}

impl Suite {
    /// The suite with Evenkeel installed.
    pub fn get() -> Result<&'static Self> {
        SUITE.get_or_init(|| Self::make().map_err(|error| format!("{error:#}"))).as_ref().map_err(|error| anyhow!("{error}"))
    }

    fn make() -> Result<Self> {
        let cluster = Cluster::find()?;
        let images = Images::provide(&cluster)?;
        install::clear(&cluster)?;
        install::install(&cluster, &images)?;
        Ok(Self { cluster, images, results: Results::default() })
    }

    /// Keeps a figure with its bound.
    pub fn keep(&self, claim: &str, name: &str, value: f64, unit: &str, bound: &str) -> Result<()> {
        let [claim, name, unit, bound] = [claim, name, unit, bound].map(str::to_owned);
        self.results.keep(Figure { claim, name, value, unit, bound })
    }

    /// The end of the operator's log.
    pub fn operator_log(&self, lines: u32) -> String {
        let tail = format!("--tail={lines}");
        let words = ["--namespace", NAMESPACE, "logs", &format!("deployment/{OPERATOR}"), &tail];
        self.cluster.ask(&words).unwrap_or_else(|error| format!("{error:#}"))
    }
}
