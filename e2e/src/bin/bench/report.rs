//! From turns to a table and `summary.json`: the median of the ratios pair by pair, with their spread, beside the goals. Pure.

use crate::peer::Peer;
use crate::row::{Figure, Goal, Row};
use crate::turn::Turn;
use crate::weigh::{Weighed, Weight};
use serde_json::{Value, json};
use std::fmt::Write;

/// The most that our own count may be off.
const MISCOUNT: f64 = 0.01;

/// All turns of one round.
pub(crate) type Round = Vec<(Peer, Turn)>;

/// What a run found.
#[derive(Default)]
pub(crate) struct Summary {
    lines: Vec<Line>,
    rows: Vec<Value>,
    /// Why figures of this run don't count.
    invalid: Vec<String>,
}

/// One figure beside its goal.
struct Line {
    row: &'static str,
    what: String,
    ours: f64,
    its: Option<f64>,
    /// What the goal is about: the ratio's median, or our figure itself.
    value: f64,
    spread: Option<(f64, f64)>,
    most: f64,
    then: Option<f64>,
}

impl Summary {
    /// A row's rounds.
    pub(crate) fn add_rounds(&mut self, row: &Row, rounds: &[Round]) {
        for goal in row.goals {
            self.lines.push(Line::of_goal(row, goal, rounds));
        }
        let turns = |peer| rounds.iter().filter_map(move |round| find(round, peer));
        let failed: u64 = rounds.iter().flatten().map(|(_, turn)| turn.failed).sum();
        if failed > 0 {
            self.invalid.push(format!("{}: {failed} failed requests", row.name));
        }
        let counts: Vec<f64> = rounds.iter().flatten().filter_map(|(_, turn)| turn.miscounted).collect();
        let worst = counts.iter().copied().fold(0.0, f64::max);
        if counts.len() < rounds.len() || worst > MISCOUNT {
            self.invalid.push(format!("{}: our metrics are {:.1} % off what was sent", row.name, worst * 100.0));
        }
        let peers: Vec<Value> = row
            .peers()
            .into_iter()
            .map(|peer| {
                let median_of = |of: fn(&Turn) -> f64| median(turns(peer).map(of).collect());
                json!({
                    "peer": peer.name(), "cpuMicrosPerRequest": median_of(|turn| turn.cpu_us), "requestsPerSecond": median_of(|turn| turn.per_second),
                    "rssMiB": median_of(|turn| turn.rss_mib), "p99Micros": median_of(|turn| turn.p99_us),
                })
            })
            .collect();
        self.rows.push(json!({
            "row": row.name, "title": row.title, "rounds": rounds.len(), "peers": peers, "failed": failed, "miscounted": worst,
        }));
    }

    /// A row that has no figures.
    pub(crate) fn add_failure(&mut self, row: &str, error: &anyhow::Error) {
        self.invalid.push(format!("{row}: {error:#}"));
    }

    /// A row of memory.
    pub(crate) fn add_weight(&mut self, weight: &Weight, weighed: Weighed) {
        for (when, mib) in [("10 s after start", weighed.idle), ("60 s after load", weighed.after)] {
            let what = format!("RSS MiB, {} endpoints, {when}", weight.endpoints);
            let Weight { name: row, most, then, .. } = *weight;
            self.lines.push(Line { row, what, ours: mib, its: None, value: mib, spread: None, most, then });
        }
        if weighed.failed > 0 {
            self.invalid.push(format!("{}: {} failed requests", weight.name, weighed.failed));
        }
    }

    /// Whether all figures count; a missed goal does, too.
    pub(crate) fn is_valid(&self) -> bool {
        self.invalid.is_empty()
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut out = format!(
            "\n{:12} {:40} {:>9} {:>9} {:>7} {:>13} {:>7}\n",
            "row", "figure", "Evenkeel", "its", "ratio", "spread", "goal"
        );
        for line in &self.lines {
            let its = line.its.map_or(String::new(), |its| format!("{its:.1}"));
            let ratio = line.its.map_or(String::new(), |_| format!("{:.2}", line.value));
            let spread = line.spread.map_or(String::new(), |(least, most)| format!("{least:.2}–{most:.2}"));
            let goal = format!("≤ {}", line.most);
            let Line { row, what, ours, .. } = line;
            let verdict = line.verdict();
            let _ = writeln!(out, "{row:12} {what:40} {ours:9.1} {its:>9} {ratio:>7} {spread:>13} {goal:>7}  {verdict}");
        }
        for reason in &self.invalid {
            let _ = writeln!(out, "not valid: {reason}");
        }
        out
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        let figures: Vec<Value> = self
            .lines
            .iter()
            .map(|line| {
                json!({
                    "row": line.row, "figure": line.what, "ours": line.ours, "its": line.its, "value": line.value,
                    "least": line.spread.map(|spread| spread.0), "most": line.spread.map(|spread| spread.1),
                    "goal": line.most, "then": line.then, "met": line.value <= line.most,
                })
            })
            .collect();
        let summary = json!({"valid": self.is_valid(), "notValid": self.invalid, "figures": figures, "rows": self.rows});
        format!("{summary:#}\n")
    }
}

impl Line {
    fn of_goal(row: &Row, goal: &Goal, rounds: &[Round]) -> Self {
        let pairs: Vec<(f64, f64)> = rounds
            .iter()
            .filter_map(|round| Some((goal.figure.of(round, Peer::Evenkeel)?, goal.figure.of(round, goal.peer)?)))
            .collect();
        let ratios: Vec<f64> = pairs.iter().map(|(ours, its)| ours / its).collect();
        let spread = ratios.iter().fold((f64::INFINITY, 0.0), |(least, most), ratio| (ratio.min(least), ratio.max(most)));
        Self {
            row: row.name,
            what: format!("{} ÷ {}", goal.figure.name(), goal.peer.name()),
            ours: median(pairs.iter().map(|pair| pair.0).collect()),
            its: Some(median(pairs.iter().map(|pair| pair.1).collect())),
            value: median(ratios),
            spread: Some(spread),
            most: goal.most,
            then: goal.then,
        }
    }

    fn verdict(&self) -> String {
        match (self.value <= self.most, self.then) {
            (false, _) => "MISSED".into(),
            (true, Some(then)) if self.value > then => format!("ok, next ≤ {then}"),
            (true, _) => "ok".into(),
        }
    }
}

impl Figure {
    /// The figure of one peer in one round.
    fn of(self, round: &Round, peer: Peer) -> Option<f64> {
        let turn = find(round, peer)?;
        Some(match self {
            Self::Cpu => turn.cpu_us,
            Self::Rss => turn.rss_mib,
            // Below a microsecond a proxy adds nothing that this could measure.
            Self::AddedP99 => (turn.p99_us - find(round, Peer::Direct)?.p99_us).max(1.0),
        })
    }
}

fn find(round: &Round, peer: Peer) -> Option<&Turn> {
    round.iter().find(|(other, _)| *other == peer).map(|(_, turn)| turn)
}

/// NaN if there are none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::ROWS;

    fn row(name: &str) -> &'static Row {
        static ALL: [Row; ROWS.len()] = ROWS;
        ALL.iter().find(|row| row.name == name).expect("a row")
    }

    fn turn(cpu_us: f64) -> Turn {
        Turn { cpu_us, miscounted: Some(0.0), ..Turn::default() }
    }

    fn tls_row(pairs: &[(f64, f64)]) -> Summary {
        let its = |cpu_us| Turn { cpu_us, ..Turn::default() };
        let rounds: Vec<Round> =
            pairs.iter().map(|pair| vec![(Peer::Evenkeel, turn(pair.0)), (Peer::Haproxy, its(pair.1))]).collect();
        let mut summary = Summary::default();
        summary.add_rounds(row("tls"), &rounds);
        summary
    }

    #[test]
    fn the_ratio_is_the_median_of_pairs() {
        let summary = tls_row(&[(1.0, 2.0), (10.0, 10.0), (3.0, 4.0)]);
        let line = &summary.lines[0];
        assert_eq!((line.value, line.spread, line.verdict().as_str()), (0.75, Some((0.5, 1.0)), "ok"));
        assert!(summary.is_valid() && summary.table().contains("0.50–1.00"));
        assert_eq!(tls_row(&[(4.0, 5.0)]).lines[0].verdict(), "MISSED");
    }

    #[test]
    fn a_goal_that_is_met_may_name_the_next() {
        let line =
            |value| Line { row: "", what: String::new(), ours: 0.0, its: None, value, spread: None, most: 6.0, then: Some(5.0) };
        assert_eq!(line(5.5).verdict(), "ok, next ≤ 5");
        assert_eq!(line(5.0).verdict(), "ok");
    }

    #[test]
    fn what_is_added_is_more_than_without_a_proxy() {
        let of = |p99_us| Turn { p99_us, miscounted: Some(0.0), ..Turn::default() };
        let round = vec![(Peer::Evenkeel, of(150.0)), (Peer::Direct, of(100.0)), (Peer::Haproxy, of(200.0))];
        let mut summary = Summary::default();
        summary.add_rounds(row("p99"), &[round]);
        assert_eq!(summary.lines[0].value, 0.5);
    }

    #[test]
    fn figures_with_failures_or_a_wrong_count_are_not_valid() {
        let with = |ours: Turn| {
            let mut summary = Summary::default();
            summary.add_rounds(row("tls"), &[vec![(Peer::Evenkeel, ours), (Peer::Haproxy, Turn::default())]]);
            summary.is_valid()
        };
        assert!(with(turn(1.0)));
        assert!(!with(Turn { failed: 1, ..turn(1.0) }));
        assert!(!with(Turn { miscounted: Some(0.02), ..turn(1.0) }));
        assert!(!with(Turn { miscounted: None, ..turn(1.0) }));
    }
}
