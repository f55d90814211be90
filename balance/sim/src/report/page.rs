//! The page `docs/balancing.md`: what is claimed, under which laws, and what was seen, losses too.

use std::fmt::Write;

use super::plot_name;
use crate::claim::{Claim, Judged, Verdict};

const OPENING: &str = "\
# Balancing, measured

Each way to choose an endpoint stands or falls here by figures. The fleets are simulated: N independent balancers and M servers with slots
and queues on a virtual clock. `make sim` runs every claim anew, writes this page, and fails where one doesn't hold; what is marked as
missed is a goal that was never reached, and doesn't fail it. The same seeds give the same bytes. `make test` fails where this page isn't what the run says.

**How to read it.** Requests arrive open loop: none waits for another one's answer, so a slow fleet gets no relief. All arms of a seed meet
the same requests at the same moments on servers that are disturbed alike; latencies count from arrival to answer, failed requests by the
time that they took. Table figures are medians over seeds. *Utilisation* is the part of all slot time at work; *busiest share* is the
traffic of the server with most of it, 1 is fair; *won–lost–tied* counts seeds in which the p99 is lower or higher by over 1 %. *Plain*
arms are the rules as their papers or best-known code have them, written first and not tuned since; the *clairvoyant* one knows every
queue and every speed. All others are the library that the sidecar runs.

**What a simulation can't show**: processing time of the balancer itself, connection set-up, bursts of real clients, and servers that slow
down in ways no law here has. When to take which algorithm, its cost and its source: the documentation of the crate `evenkeel-balance`
(`balance/src/lib.rs`). Why the simulator is made as it is: [ADR 5](adr/0005-the-simulator.md).
";

/// The page. `plots`: the folder of the plots as the page links to it.
pub fn page(results: &[(Claim, Verdict)], seeds: u64, plots: &str) -> String {
    let mut text = OPENING.to_owned();
    // Writing to a string cannot fail.
    let _ = write!(text, "\nSeeds: 1 to {seeds}, paired. CSV of all tables: `target/sim/` after `make sim`.\n\n## Claims\n\n");
    text.push_str("| claim | figure | must be | is | |\n|---|---|---|---|---|\n");
    for (claim, verdict) in results {
        for (number, check) in verdict.checks.iter().enumerate() {
            let name = if number == 0 { format!("[{}](#{})", claim.title, anchor(claim.title)) } else { String::new() };
            let word = check.judged.as_str();
            let word = if check.judged == Judged::Holds { word.to_owned() } else { format!("**{word}**") };
            let _ = writeln!(text, "| {name} | {} | {} | {} | {word} |", check.what, check.limit, check.seen);
        }
    }
    for (claim, verdict) in results {
        let _ = write!(text, "\n## {}\n\nSource: {}\n\nSet-up: {}\n", claim.title, claim.source, claim.setup);
        for note in &verdict.notes {
            let _ = write!(text, "\n{note}\n");
        }
        for (number, plot) in verdict.plots.iter().enumerate() {
            let _ = write!(text, "\n![{}]({plots}/{})\n", plot.title, plot_name(claim, number));
        }
        for table in &verdict.tables {
            let _ = write!(text, "\n{}", table.markdown());
        }
    }
    text
}

/// A heading's anchor as Markdown hosts make it: lower case, spaces as hyphens, other signs left out.
fn anchor(title: &str) -> String {
    let kept = title.to_lowercase();
    kept.chars()
        .filter(|sign| sign.is_alphanumeric() || matches!(sign, ' ' | '-' | '_'))
        .map(|sign| if sign == ' ' { '-' } else { sign })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_miss_is_said_so_and_does_not_break_the_claim() {
        let claim = Claim { name: "x", title: "A claim", source: "s", setup: "t", run: |_| Verdict::default() };
        let mut verdict = Verdict::default();
        verdict.known_above("p99, ms", 12.0, 10.0);
        assert!(verdict.holds());
        let page = page(&[(claim, verdict)], 20, "balancing");
        assert!(page.contains("| p99, ms | ≤ 10 | 12 | **missed** |"), "{page}");
    }

    #[test]
    fn a_broken_figure_is_said_so() {
        let claim = Claim { name: "x", title: "A claim, plain", source: "s", setup: "t", run: |_| Verdict::default() };
        let mut verdict = Verdict::default();
        verdict.at_most("p99, ms", 12.0, 10.0);
        assert!(!verdict.holds());
        let page = page(&[(claim, verdict)], 20, "balancing");
        assert!(page.contains("| [A claim, plain](#a-claim-plain) | p99, ms | ≤ 10 | 12 | **broken** |"), "{page}");
    }
}
