//! Where the programs are: our own beside the running one, the others in the cache that `make deps` fills.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// The sidecar that cargo has built in this program's own profile; `EVENKEEL_SIDECAR` names another one.
pub fn sidecar() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("EVENKEEL_SIDECAR") {
        return found(path.into(), "it is what EVENKEEL_SIDECAR says");
    }
    let own = std::env::current_exe()?;
    let folder = own.parent().context("this program has no folder")?;
    // Tests stand one folder below the programs.
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    found(folder.join("evenkeel-sidecar"), "build it with `cargo build -p evenkeel-sidecar`")
}

/// A program of `e2e/cluster/deps`.
pub fn cached(name: &str) -> Result<PathBuf> {
    let cache = std::env::var_os("EVENKEEL_CACHE").map(PathBuf::from).or_else(default_cache);
    found(cache.context("EVENKEEL_CACHE isn't set")?.join("bin/current").join(name), "run `make deps`")
}

/// A file of this package.
pub fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn default_cache() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).map(|cache| cache.join("evenkeel"))
}

fn found(path: PathBuf, how: &str) -> Result<PathBuf> {
    if path.is_file() { Ok(path) } else { bail!("{} is missing; {how}", path.display()) }
}
