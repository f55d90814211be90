//! Figures worth keeping: `target/e2e/summary.json`, and beside it the same as a table. All test programs of a run add to
//! them; `e2e/run` begins anew.

use super::cluster::checkout;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The claim that it belongs to.
    pub claim: String,
    /// What was measured.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: String,
    /// What it must be, for people; empty for a figure that is only told.
    pub bound: String,
}

/// The figures of a run.
pub struct Results {
    folder: PathBuf,
    writing: Mutex<()>,
}

impl Default for Results {
    fn default() -> Self {
        Self { folder: checkout().join("target/e2e"), writing: Mutex::new(()) }
    }
}

impl Results {
    /// Keeps a figure; one of the same claim and name is replaced.
    pub fn keep(&self, figure: Figure) -> Result<()> {
        let _alone = self.writing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let path = self.folder.join("summary.json");
        let mut figures = read(&path)?;
        figures.retain(|kept| (&kept.claim, &kept.name) != (&figure.claim, &figure.name));
        println!("{}", row(&figure));
        figures.push(figure);
        std::fs::create_dir_all(&self.folder)?;
        std::fs::write(path, serde_json::to_string_pretty(&figures)?)?;
        let table: String = figures.iter().map(|figure| row(figure) + "\n").collect();
        Ok(std::fs::write(self.folder.join("table.txt"), table)?)
    }
}

fn read(path: &Path) -> Result<Vec<Figure>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(_) => Ok(Vec::new()),
    }
}

fn row(figure: &Figure) -> String {
    let Figure { claim, name, value, unit, bound } = figure;
    format!("{claim:<52} {name:<44} {value:>10.3} {unit:<6} {bound}").trim_end().to_owned()
}
