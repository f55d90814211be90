//! What a run of claims leaves: CSV and plots in a folder, and the page `docs/balancing.md`. Text and figures only: the same claims
//! give the same bytes.

pub mod page;
pub mod plot;
pub mod table;

use std::fs;
use std::io;
use std::path::Path;

use crate::claim::{Claim, Verdict};

/// Writes every table as CSV and every plot as SVG.
pub fn write_figures(folder: &Path, results: &[(Claim, Verdict)]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (claim, verdict) in results {
        for (number, table) in verdict.tables.iter().enumerate() {
            fs::write(folder.join(format!("{}-{}.csv", claim.name, number + 1)), table.csv())?;
        }
        for (number, plot) in verdict.plots.iter().enumerate() {
            fs::write(folder.join(plot_name(claim, number)), plot.svg())?;
        }
    }
    Ok(())
}

/// The file of a claim's plot.
pub(crate) fn plot_name(claim: &Claim, number: usize) -> String {
    format!("{}-{}.svg", claim.name, number + 1)
}
