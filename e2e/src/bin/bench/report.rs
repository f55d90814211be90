//! From rounds to a table and `summary.json`: the median of the ratios pair by pair, beside the goals. Pure.

use crate::measure::{Turn, Weight};
use crate::peer::Peer;
use serde_json::{Value, json};
use std::fmt::Write;

/// All turns of one round.
pub(crate) struct Round(pub(crate) Vec<(Peer, Turn)>);

/// What the bench found.
pub(crate) struct Summary {
    load: String,
    rows: Vec<Row>,
    failed: u64,
    counted: Vec<f64>,
    weight: Weight,
}

struct Row {
    peer: Peer,
    cpu_us: f64,
    per_second: f64,
    rss_mib: f64,
    /// Our CPU over the peer's, and the goal for it.
    ratio: Option<(f64, f64)>,
}

impl Summary {
    /// Medians over the rounds.
    pub(crate) fn new(load: &str, rounds: &[Round], weight: &Weight) -> Self {
        let turns = |peer| rounds.iter().filter_map(move |round| round.of(peer));
        let rows = Peer::ALL
            .into_iter()
            .map(|peer| Row {
                peer,
                cpu_us: median(turns(peer).map(|turn| turn.cpu_us).collect()),
                per_second: median(turns(peer).map(|turn| turn.per_second).collect()),
                rss_mib: median(turns(peer).map(|turn| turn.rss_kib as f64 / 1024.0).collect()),
                ratio: goal(peer).map(|goal| {
                    (
                        median(
                            rounds
                                .iter()
                                .filter_map(|round| Some(round.of(Peer::Evenkeel)?.cpu_us / round.of(peer)?.cpu_us))
                                .collect(),
                        ),
                        goal,
                    )
                }),
            })
            .collect();
        let all = rounds.iter().flat_map(|round| &round.0);
        Self {
            load: load.into(),
            rows,
            failed: all.clone().map(|(_, turn)| turn.failed).sum(),
            counted: all.filter_map(|(_, turn)| turn.counted).collect(),
            weight: *weight,
        }
    }

    /// No failed request, and our own count within 1 % of the load generator's in every turn.
    pub(crate) fn is_valid(&self) -> bool {
        self.failed == 0 && !self.counted.is_empty() && self.counted.iter().all(|ratio| (ratio - 1.0).abs() <= 0.01)
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut out = format!("\n{}\n\n", self.load);
        let _ = writeln!(
            out,
            "{:10} {:>16} {:>12} {:>10} {:>22}",
            "proxy", "CPU µs/request", "requests/s", "RSS MiB", "our CPU ÷ its (goal)"
        );
        for row in &self.rows {
            let ratio = row.ratio.map_or_else(String::new, |(ratio, goal)| {
                format!("{ratio:.2} (≤ {goal:.2}) {}", if ratio <= goal { "met" } else { "MISSED" })
            });
            let _ = writeln!(
                out,
                "{:10} {:16.1} {:12.0} {:10.1} {:>22}",
                row.peer.name(),
                row.cpu_us,
                row.per_second,
                row.rss_mib,
                ratio
            );
        }
        for (what, value, goal) in self.weights() {
            let _ = writeln!(out, "{what}: {value:.1} MiB (≤ {goal}) {}", if value <= goal { "met" } else { "MISSED" });
        }
        let worst = self.counted.iter().map(|ratio| (ratio - 1.0).abs()).fold(0.0, f64::max);
        let _ = writeln!(
            out,
            "failed requests: {}   our metrics against wrk's count, worst round: {:.2} % off (≤ 1)\n",
            self.failed,
            worst * 100.0
        );
        out
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "proxy": row.peer.name(), "cpuMicrosPerRequest": row.cpu_us, "requestsPerSecond": row.per_second, "rssMiB": row.rss_mib,
                    "ratio": row.ratio.map(|(ratio, _)| ratio), "goal": row.ratio.map(|(_, goal)| goal), "met": row.ratio.map(|(ratio, goal)| ratio <= goal),
                })
            })
            .collect();
        let weights: Vec<Value> = self
            .weights()
            .into_iter()
            .map(|(what, value, goal)| json!({"what": what, "mib": value, "goal": goal, "met": value <= goal}))
            .collect();
        let summary = json!({"load": self.load, "proxies": rows, "weights": weights, "failed": self.failed, "countedOverSent": self.counted, "valid": self.is_valid()});
        format!("{summary:#}\n")
    }

    fn weights(&self) -> [(&'static str, f64, f64); 2] {
        [
            ("sidecar RSS 10 s after start", self.weight.rss_kib as f64 / 1024.0, 8.0),
            ("sidecar binary", self.weight.binary as f64 / (1024.0 * 1024.0), 12.0),
        ]
    }
}

impl Round {
    fn of(&self, peer: Peer) -> Option<&Turn> {
        self.0.iter().find(|(other, _)| *other == peer).map(|(_, turn)| turn)
    }
}

/// The most that our CPU may be of the peer's.
fn goal(peer: Peer) -> Option<f64> {
    match peer {
        Peer::Evenkeel => None,
        Peer::Haproxy => Some(0.9),
        Peer::Nginx => Some(0.55),
    }
}

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

    fn turn(cpu_us: f64, counted: Option<f64>) -> Turn {
        Turn { cpu_us, per_second: 1.0, failed: 0, counted, rss_kib: 1024 }
    }

    #[test]
    fn the_ratio_is_the_median_of_pairs() {
        let weight = Weight { rss_kib: 1, binary: 1 };
        let rounds: Vec<Round> = [(1.0, 2.0), (10.0, 10.0), (3.0, 4.0)]
            .map(|(ours, its)| Round(vec![(Peer::Evenkeel, turn(ours, Some(1.0))), (Peer::Haproxy, turn(its, None))]))
            .into();
        let summary = Summary::new("load", &rounds, &weight);
        assert_eq!(summary.rows[1].ratio, Some((0.75, 0.9)));
        assert!(summary.is_valid());
    }

    #[test]
    fn a_count_that_is_two_percent_off_is_not_valid() {
        let rounds = [Round(vec![(Peer::Evenkeel, turn(1.0, Some(0.98)))])];
        assert!(!Summary::new("load", &rounds, &Weight { rss_kib: 1, binary: 1 }).is_valid());
    }
}
