//! Writes the CustomResourceDefinitions as YAML, one file each, into the directory given; without one, to stdout.

use evenkeel_crds::kube::definitions;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        for definition in definitions() {
            println!("---\n{}", definition.yaml());
        }
        return ExitCode::SUCCESS;
    };
    let write = || {
        std::fs::create_dir_all(&directory)?;
        definitions().iter().try_for_each(|d| std::fs::write(directory.join(&d.file), d.yaml()))
    };
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crdgen: {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}
