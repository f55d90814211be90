//! `docs/conformance.md`: written from what was seen, and read again to hold it to that.

use super::verdict::{Verdict, is_good};
use crate::cases::Case;
use crate::stand::peers::Peer;
use std::fmt::Write;

const HEAD: &str = "# HTTP/1 conformance\n\nWhat proxies make of bad messages, and of good ones that look odd. `make conformance` sends each case of \
`e2e/conformance/http1.txt` through each proxy, configured as its manual has it, and writes this page; `make test` holds our own column, \
and much more than this page says (exact bytes upstream, every cut), to be so.\n\n\
- **refused**: with that status, or by closing the connection; nothing complete went on.\n\
- **repaired**: something went on that breaks no rule any more.\n\
- **passed on**: what went on still breaks a rule (so says our parser), or more requests went on than came.\n\
- **waits**: nothing came back within a second.\n";

/// The whole page; a case's verdicts stand in the order of [`Peer::ALL`].
pub fn write(rows: &[(Case, Vec<Verdict>)]) -> String {
    let mut page = format!("{HEAD}\n{}", summary(rows));
    let names: Vec<_> = Peer::ALL.iter().map(|peer| peer.name()).collect();
    let mut rule = "";
    for (case, verdicts) in rows {
        if rule != case.rule {
            rule = &case.rule;
            let _ = write!(page, "\n## {rule}\n\n| case | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
        }
        let cells: Vec<String> = verdicts.iter().map(ToString::to_string).collect();
        let _ = writeln!(page, "| {} | {} |", name(case), cells.join(" | "));
    }
    page
}

/// Our own cells: the case's name in the page and the word beside it, in the page's order.
pub fn own_column(page: &str) -> Vec<(String, String)> {
    let cells = |line: &str| -> Vec<String> { line.split(" | ").map(|cell| cell.trim_matches(['|', ' ']).to_owned()).collect() };
    let rows = page.lines().skip_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with("| ")).map(cells);
    rows.filter_map(|cells| Some((cells.first()?.clone(), cells.get(1)?.clone()))).filter(|(name, _)| name != "case").collect()
}

/// A case's name as the page has it.
pub fn name(case: &Case) -> String {
    case.name.replace('|', "\\|")
}

fn summary(rows: &[(Case, Vec<Verdict>)]) -> String {
    let (good, bad): (Vec<_>, Vec<_>) = rows.iter().partition(|(case, _)| is_good(case));
    let mut text = format!(
        "\n| | {} bad: refused | repaired | passed on | waits | {} good: served | not |\n|---|---|---|---|---|---|---|\n",
        bad.len(),
        good.len()
    );
    for (at, peer) in Peer::ALL.iter().enumerate() {
        let count = |rows: &[&(Case, Vec<Verdict>)], is: fn(&Verdict) -> bool| {
            rows.iter().filter(|(_, verdicts)| verdicts.get(at).is_some_and(is)).count()
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            peer.name(),
            count(&bad, |verdict| matches!(verdict, Verdict::Refused(_))),
            count(&bad, |verdict| *verdict == Verdict::Repaired),
            count(&bad, |verdict| *verdict == Verdict::Passed),
            count(&bad, |verdict| *verdict == Verdict::Waits),
            count(&good, |verdict| *verdict == Verdict::Served),
            count(&good, |verdict| *verdict != Verdict::Served),
        );
    }
    text
}
