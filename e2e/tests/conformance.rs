//! The conformance table through a real sidecar on real sockets, cut at every byte.

use evenkeel_e2e::cases::{self, Case, Kind};
use evenkeel_e2e::conformance::judge::judge;
use evenkeel_e2e::conformance::lane::{Lane, all_cuts};
use evenkeel_e2e::conformance::page;
use evenkeel_e2e::conformance::verdict::verdict;
use evenkeel_e2e::stand::peers::Peer;
use evenkeel_e2e::stand::programs::source;
use tempfile::TempDir;

fn lane() -> (Lane, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    (Lane::start(Peer::Evenkeel, folder.path()).expect("starts"), folder)
}

fn table(lane: &Lane) -> Vec<Case> {
    cases::http1(&lane.address()).expect("a good table")
}

/// Every case of a kind, cut in every way. All that went wrong is said at once.
fn holds_however_it_is_cut(kind: Kind) {
    let (mut lane, _folder) = lane();
    let (mut runs, mut wrong) = (0, Vec::new());
    for case in table(&lane).iter().filter(|case| case.kind == kind) {
        for cuts in all_cuts(if kind == Kind::Answer { case.send.len() } else { case.after.len() + case.send.len() }) {
            runs += 1;
            let judged = lane.run(case, &cuts).map_err(|error| format!("{error:#}")).and_then(|observed| judge(case, &observed));
            if let Err(why) = judged {
                wrong.push(format!("{} / {} cut at {:?}: {why}", case.rule, case.name, &cuts[..cuts.len().min(3)]));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {kind:?} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert!(runs > 1000, "only {runs} runs");
}

#[test]
fn bad_heads_are_refused_and_good_ones_go_on_as_the_table_says_however_they_are_cut() {
    holds_however_it_is_cut(Kind::Head);
}

#[test]
fn bad_bodies_are_aborted_and_good_ones_go_on_as_the_table_says_however_they_are_cut() {
    holds_however_it_is_cut(Kind::Body);
}

#[test]
fn answers_are_refused_cut_off_or_passed_on_as_the_table_says_however_they_are_cut() {
    holds_however_it_is_cut(Kind::Answer);
}

#[test]
fn the_page_says_of_our_own_column_what_is_so() {
    let ((mut lane, _a), (mut reference, _b)) = (lane(), lane());
    let page = std::fs::read_to_string(source("../docs/conformance.md")).expect("docs/conformance.md; run `make conformance`");
    let seen: Vec<(String, String)> = table(&lane)
        .iter()
        .map(|case| {
            let observed = lane.run(case, &[]).expect("runs");
            (page::name(case), verdict(case, &observed, &mut reference).expect("a word").to_string())
        })
        .collect();
    let said = page::own_column(&page);
    let differing: Vec<_> = seen.iter().filter(|row| !said.contains(row)).collect();
    assert!(differing.is_empty() && said.len() == seen.len(), "run `make conformance`; {} rows, new: {differing:?}", said.len());
}
