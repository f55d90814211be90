//! Prints the figures of the last run of `pick` and `rebuild` beside their goals. Reads what criterion left under the target folder;
//! a goal without a figure is an error, a missed one is said.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Which bench, and the most that it may take, in nanoseconds.
const GOALS: [(&str, &str, f64); 6] = [
    ("pick", "two choices/1000", 50.0),
    ("pick", "ring with bounded load/1000", 150.0),
    ("pick", "Maglev/1000", 30.0),
    ("pick", "full scan/1000", 3_000.0),
    ("rebuild", "ring of 150/10000", 100e6),
    ("rebuild", "Maglev of 65537/1000", 2e6),
];

/// One bench: its name, the median in nanoseconds (the mean is moved by whatever else the machine does) and the ends of its 95 %
/// confidence interval.
struct Figure {
    name: String,
    median: f64,
    low: f64,
    high: f64,
}

fn main() -> ExitCode {
    let root = criterion_root();
    let mut complete = true;
    println!("{:<40} {:>10} {:>23} {:>10}", "bench", "median", "95 % confidence", "goal");
    for group in ["pick", "rebuild"] {
        let figures = read_group(&root.join(group), group);
        for figure in &figures {
            println!(
                "{}",
                row(figure, GOALS.iter().find(|goal| format!("{}/{}", goal.0, goal.1) == figure.name).map(|goal| goal.2))
            );
        }
        for goal in GOALS.iter().filter(|goal| goal.0 == group) {
            let name = format!("{}/{}", goal.0, goal.1);
            if !figures.iter().any(|figure| figure.name == name) {
                println!("{name:<40} no figure: run `make bench-core`");
                complete = false;
            }
        }
    }
    if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn row(figure: &Figure, goal: Option<f64>) -> String {
    let spread = format!("{} – {}", time(figure.low), time(figure.high));
    let goal = goal.map_or_else(String::new, |goal| {
        let missed =
            if figure.median > goal { format!("  MISSED, {:.2} times the goal", figure.median / goal) } else { String::new() };
        format!(" ≤ {:>8}{missed}", time(goal))
    });
    format!("{:<40} {:>10} {spread:>23}{goal}", figure.name, time(figure.median))
}

/// Every bench of a group, by name and size.
fn read_group(folder: &Path, group: &str) -> Vec<Figure> {
    let mut found = Vec::new();
    collect(folder, &mut found);
    let mut figures: Vec<_> = found.iter().filter_map(|path| read(path, group)).collect();
    figures.sort_by_key(|figure| {
        let (name, size) = figure.name.rsplit_once('/').unwrap_or((&figure.name, ""));
        (name.to_owned(), size.parse::<u64>().unwrap_or(0))
    });
    figures
}

/// The folders called `new` below a folder: criterion keeps the last run of each bench in one.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name() == "new" {
            found.push(entry.path());
        } else if entry.path().is_dir() {
            collect(&entry.path(), found);
        }
    }
}

fn read(folder: &Path, group: &str) -> Option<Figure> {
    let json = |file: &str| serde_json::from_slice::<serde_json::Value>(&std::fs::read(folder.join(file)).ok()?).ok();
    let (id, estimates) = (json("benchmark.json")?, json("estimates.json")?);
    let median = &estimates["median"];
    let interval = &median["confidence_interval"];
    Some(Figure {
        name: format!("{group}/{}/{}", id["function_id"].as_str()?, id["value_str"].as_str()?),
        median: median["point_estimate"].as_f64()?,
        low: interval["lower_bound"].as_f64()?,
        high: interval["upper_bound"].as_f64()?,
    })
}

fn time(nanos: f64) -> String {
    match nanos {
        _ if nanos < 1e3 => format!("{nanos:.1} ns"),
        _ if nanos < 1e6 => format!("{:.2} µs", nanos / 1e3),
        _ => format!("{:.2} ms", nanos / 1e6),
    }
}

/// Where criterion writes: `criterion/` of the target folder, in which this program lies two levels deep (`release/deps`).
fn criterion_root() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.ancestors().nth(3).map(|target| target.join("criterion")).unwrap_or_default()
}
