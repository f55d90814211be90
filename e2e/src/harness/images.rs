//! Images of what this checkout builds: static programs, one per image, tagged by their content so that no test can run
//! a stale one. On another cluster than our own they are given by `EVENKEEL_{OPERATOR,SIDECAR,ECHO}_IMAGE`.

use super::cluster::{Cluster, checkout};
use super::command;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

// Also for a build with nothing in the cache.
const BUILD_LIMIT: Duration = Duration::from_secs(40 * 60);

/// The images' names.
#[derive(Debug, Clone)]
pub struct Images {
    /// The operator.
    pub operator: String,
    /// The sidecar.
    pub sidecar: String,
    /// The test server.
    pub echo: String,
}

struct Program {
    package: &'static str,
    name: &'static str,
    variable: &'static str,
}

const OPERATOR: Program =
    Program { package: "evenkeel-operator", name: "evenkeel-operator", variable: "EVENKEEL_OPERATOR_IMAGE" };
const SIDECAR: Program = Program { package: "evenkeel-sidecar", name: "evenkeel-sidecar", variable: "EVENKEEL_SIDECAR_IMAGE" };
const ECHO: Program = Program { package: "evenkeel-e2e", name: "echo", variable: "EVENKEEL_ECHO_IMAGE" };

impl Images {
    /// Builds what has changed and gives it to the cluster.
    pub fn provide(cluster: &Cluster) -> Result<Self> {
        Ok(Self { operator: provide(cluster, &OPERATOR)?, sidecar: provide(cluster, &SIDECAR)?, echo: provide(cluster, &ECHO)? })
    }
}

/// The sidecar's program, as the images have it.
pub fn sidecar_program() -> Result<PathBuf> {
    build(&SIDECAR)
}

fn provide(cluster: &Cluster, program: &Program) -> Result<String> {
    if let Ok(image) = std::env::var(program.variable) {
        return Ok(image);
    }
    let state = cluster.state().with_context(|| format!("or set {} to an image that it can pull", program.variable))?;
    let file = build(program)?;
    let image = format!("evenkeel.dev/{}:{}", program.name, digest(&file)?);
    // The mark goes when the cluster goes, and its images with it.
    let mark = state.join("loaded").join(image.replace(['/', ':'], "_"));
    if !mark.exists() {
        load(&image, &file, program.name)?;
        std::fs::create_dir_all(state.join("loaded"))?;
        std::fs::write(mark, "")?;
    }
    Ok(image)
}

fn build(program: &Program) -> Result<PathBuf> {
    let mut ship = Command::new(checkout().join("scripts/ship"));
    ship.args([program.package, program.name]);
    let said = command::run(&mut ship, b"", BUILD_LIMIT)?.successful("scripts/ship")?;
    Ok(PathBuf::from(said.trim_end()))
}

fn digest(file: &Path) -> Result<String> {
    let said = command::run(Command::new("sha256sum").arg(file), b"", Duration::from_secs(30))?;
    Ok(said.successful("sha256sum")?.chars().take(12).collect())
}

fn load(image: &str, file: &Path, name: &str) -> Result<()> {
    let root = std::env::temp_dir().join(format!("evenkeel-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&root)?;
    std::fs::copy(file, root.join(name)).with_context(|| format!("cannot copy {}", file.display()))?;
    let mut load = Command::new(checkout().join("e2e/cluster/load-image"));
    load.arg(image).arg(&root).arg(format!("/{name}"));
    let said = command::run(&mut load, b"", Duration::from_secs(60));
    std::fs::remove_dir_all(&root)?;
    said?.successful("load-image").map(drop)
}
