//! The demo: Evenkeel's embedded mode on real processes. Four backends, the pools of `examples/`, traffic, one backend killed and revived
//! on the way. Shows who gets what while it happens, checks the shares, and ends by itself: 0 when all claims held, 1 when one did not.

mod acts;
mod stage;
mod view;

use anyhow::Result;
use stage::Stage;
use std::process::ExitCode;
use view::View;

fn main() -> Result<ExitCode> {
    let mut view = View::new();
    let mut stage = Stage::start()?;
    view.text(&format!(
        "Four backends and one sidecar are running: {} of memory, its live view is at http://{}.",
        stage.sidecar_memory(),
        stage::ADMIN
    ));
    let mut claims = Vec::new();
    for act in acts::ALL {
        claims.extend(act(&mut stage, &mut view)?);
    }
    view.summary(&claims);
    Ok(if claims.iter().all(|claim| claim.held) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
