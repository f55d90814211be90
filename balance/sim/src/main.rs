//! `sim`: runs the claims, writes their figures and the page, and says with its exit code whether all hold and the page is up to date.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use evenkeel_sim::claim::{Claim, Seeds, Verdict};
use evenkeel_sim::claims::ALL;
use evenkeel_sim::report::{page::page, write_figures};

const USAGE: &str = "\
sim [--claim NAME]… [--seeds N] [--jobs N] [--out DIR] [--docs FILE | --check FILE]

  --claim NAME   only this claim; may be repeated. Without it: all
  --seeds N      paired seeds of each claim (20)
  --jobs N       threads (available parallelism)
  --out DIR      where CSV and plots go (target/sim)
  --docs FILE    write the page, and its plots into a folder of the page's name beside it
  --check FILE   fail unless the page and its plots are what would be written
  --list         name the claims

Exit code 1: a claim doesn't hold or the page is out of date. 2: wrong arguments, or a file can't be written.";

struct Options {
    claims: Vec<Claim>,
    all: bool,
    seeds: u64,
    jobs: usize,
    out: PathBuf,
    docs: Option<PathBuf>,
    check: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("sim: {message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let results = run_all(&options);
    let mut good = results.iter().all(|(_, verdict)| verdict.holds());
    match deliver(&options, &results) {
        Ok(fresh) => good &= fresh,
        Err(error) => {
            eprintln!("sim: {error}");
            return ExitCode::from(2);
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_all(options: &Options) -> Vec<(Claim, Verdict)> {
    let mut results = Vec::new();
    for &claim in &options.claims {
        let began = Instant::now();
        let verdict = (claim.run)(&Seeds::new(options.seeds, options.jobs, claim.name));
        println!("{} ({:.1} s)", claim.name, began.elapsed().as_secs_f64());
        for check in &verdict.checks {
            println!("  {:<6} {}: {} (must be {})", check.judged.as_str(), check.what, check.seen, check.limit);
        }
        if !options.all {
            verdict.tables.iter().for_each(|table| println!("\n{}", table.markdown()));
        }
        results.push((claim, verdict));
    }
    results
}

/// Writes what was asked for; says whether the page is what it should be.
fn deliver(options: &Options, results: &[(Claim, Verdict)]) -> Result<bool, String> {
    write_figures(&options.out, results).map_err(|error| format!("{}: {error}", options.out.display()))?;
    let Some(file) = options.docs.as_ref().or(options.check.as_ref()) else { return Ok(true) };
    let folder = file.with_extension("");
    let plots = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut files = vec![(file.clone(), page(results, options.seeds, &plots))];
    for (claim, verdict) in results {
        for (number, plot) in verdict.plots.iter().enumerate() {
            files.push((folder.join(format!("{}-{}.svg", claim.name, number + 1)), plot.svg()));
        }
    }
    if options.docs.is_some() {
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for (path, text) in &files {
            fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        return Ok(true);
    }
    Ok(files.iter().filter(|(path, text)| !is_fresh(path, text)).count() == 0)
}

fn is_fresh(path: &Path, text: &str) -> bool {
    let there = fs::read_to_string(path).unwrap_or_default();
    if there == text {
        return true;
    }
    let line = there.lines().zip(text.lines()).position(|(old, new)| old != new);
    let line = line.unwrap_or_else(|| there.lines().count().min(text.lines().count())) + 1;
    eprintln!("sim: {} isn't what this run says, from line {line} on: run `make sim`", path.display());
    false
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut options =
        Options { claims: Vec::new(), all: true, seeds: 20, jobs, out: "target/sim".into(), docs: None, check: None };
    while let Some(flag) = args.next() {
        match flag.as_str() {
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(None);
            }
            "--list" => {
                ALL.iter().for_each(|claim| println!("{}\t{}", claim.name, claim.title));
                return Ok(None);
            }
            _ => {}
        }
        let value = args.next().ok_or_else(|| format!("{flag} isn't known or misses its value"))?;
        let number = || {
            value.parse::<u64>().ok().filter(|&number| number > 0).ok_or_else(|| format!("{flag} {value}: a number from 1 on"))
        };
        match flag.as_str() {
            "--claim" => {
                let found =
                    ALL.iter().find(|claim| claim.name == value).ok_or_else(|| format!("no claim {value}: try --list"))?;
                options.claims.push(*found);
                options.all = false;
            }
            "--seeds" => options.seeds = number()?,
            "--jobs" => options.jobs = number()? as usize,
            "--out" => options.out = value.into(),
            "--docs" => options.docs = Some(value.into()),
            "--check" => options.check = Some(value.into()),
            _ => return Err(format!("{flag} isn't known")),
        }
    }
    let page = options.docs.is_some() || options.check.is_some();
    if options.docs.is_some() && options.check.is_some() {
        return Err("--docs and --check exclude each other".to_owned());
    }
    if options.all {
        options.claims = ALL.to_vec();
    } else if page {
        return Err("the page is about all claims: leave --claim out".to_owned());
    }
    Ok(Some(options))
}
