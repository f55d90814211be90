//! The assignment of least total cost (FEATURES A20): each row gets a column of its own. Shortest augmenting paths over a dense
//! matrix (Jonker and Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment problems", Computing
//! 1987; the Hungarian method of Kuhn, 1955, in its O(n³) form). Pure arithmetic; for a control plane, never for a pick.

use std::fmt;

/// What sending work from one place to another costs: 0.5·latency + 0.3·(load + 1)² + 0.2·resource.
///
/// The terms are in one currency: from an idle endpoint the first request in flight costs 0.9 more, as much as 1.8 ms or 4.5 percent
/// points; from 9 in flight the next costs 6.3 more, as much as 12.6 ms. The square is what spreads work: where one endpoint may
/// be given several times, list it as several columns with `load` 0, 1, 2, … more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Milliseconds there and back.
    pub latency: f64,
    /// Requests in flight by what a normal endpoint (weight 100) takes: in-flight · 100 ÷ weight.
    pub load: f64,
    /// Percent of its scarcest resource in use, 0–100.
    pub resource: f64,
}

impl Cost {
    /// The sum, in halves of a millisecond's worth.
    pub fn total(&self) -> f64 {
        0.5 * self.latency + 0.3 * (self.load + 1.0).powi(2) + 0.2 * self.resource
    }
}

/// Who gets what.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// For each row its column; `None` for some where there are more rows than columns.
    pub columns: Vec<Option<usize>>,
    /// The sum of the costs of all pairs.
    pub total: f64,
}

/// Why there is no assignment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AssignError {
    /// No rows, or rows without columns.
    Empty,
    /// A row is longer or shorter than the first.
    Ragged {
        /// Which.
        row: usize,
        /// How many columns it has.
        columns: usize,
        /// How many the first has.
        expected: usize,
    },
    /// A cost that cannot be summed: no number, infinite, or over [`LARGEST_COST`].
    Cost {
        /// Where.
        row: usize,
        /// Where.
        column: usize,
        /// What it says.
        value: f64,
    },
}

impl fmt::Display for AssignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the cost matrix is empty: give at least one row and one column"),
            Self::Ragged { row, columns, expected } => {
                write!(f, "row {row} has {columns} columns and the first has {expected}: make all equally long")
            }
            Self::Cost { row, column, value } => {
                write!(f, "the cost in row {row}, column {column} is {value}: use a number of at most {LARGEST_COST:e}")
            }
        }
    }
}

impl std::error::Error for AssignError {}

/// Costs are at most this large. Sums of doubles keep 15 digits: beside a cost of 10¹² a thousandth is lost. What mustn't be paired costs more than
/// the sum of all else and not much more, say 10⁹.
pub const LARGEST_COST: f64 = 1e12;

/// Pairs as many rows with columns as there are of the fewer of both, at the least total cost. `costs[row][column]`, rectangular,
/// any sign. O(n²·m) for n of the fewer and m of the more; of equally good assignments always the same one.
pub fn assign(costs: &[Vec<f64>]) -> Result<Assignment, AssignError> {
    let (rows, columns) = (costs.len(), costs.first().map_or(0, Vec::len));
    if columns == 0 {
        return Err(AssignError::Empty);
    }
    for (row, line) in costs.iter().enumerate() {
        if line.len() != columns {
            return Err(AssignError::Ragged { row, columns: line.len(), expected: columns });
        }
        if let Some(column) = line.iter().position(|value| value.is_nan() || value.abs() > LARGEST_COST) {
            return Err(AssignError::Cost { row, column, value: line[column] });
        }
    }
    let mut assigned = vec![None; rows];
    if rows <= columns {
        for (column, row) in Solver::new(rows, columns, |row, column| costs[row][column]).solve().into_iter().enumerate() {
            row.into_iter().for_each(|row: usize| assigned[row] = Some(column));
        }
    } else {
        assigned = Solver::new(columns, rows, |column, row| costs[row][column]).solve();
    }
    let total = assigned.iter().zip(costs).filter_map(|(column, line)| column.map(|column| line[column])).sum();
    Ok(Assignment { columns: assigned, total })
}

/// Each of the fewer ("sources") gets one of the more ("targets").
struct Solver<F> {
    sources: usize,
    cost: F,
    /// The potentials: cost − source − target is at least 0 everywhere, and 0 on assigned pairs.
    source: Vec<f64>,
    target: Vec<f64>,
    /// The source of each target.
    owner: Vec<Option<usize>>,
}

impl<F: Fn(usize, usize) -> f64> Solver<F> {
    fn new(sources: usize, targets: usize, cost: F) -> Self {
        Self { sources, cost, source: vec![0.0; sources], target: vec![0.0; targets], owner: vec![None; targets] }
    }

    fn solve(mut self) -> Vec<Option<usize>> {
        for source in 0..self.sources {
            self.augment(source);
        }
        self.owner
    }

    /// Assigns one more source along the shortest path of reduced costs to a free target (Dijkstra over targets), and moves the
    /// potentials so that they stay valid.
    fn augment(&mut self, start: usize) {
        let targets = self.target.len();
        let mut distance = vec![f64::INFINITY; targets];
        // The target before each on its path; none: it is reached from the new source itself.
        let mut before: Vec<Option<usize>> = vec![None; targets];
        let mut settled = vec![false; targets];
        let (mut source, mut last, mut walked) = (start, None, 0.0);
        let free = loop {
            let mut nearest: Option<usize> = None;
            for target in (0..targets).filter(|&target| !settled[target]) {
                let reached = walked + (self.cost)(source, target) - self.source[source] - self.target[target];
                if reached < distance[target] {
                    distance[target] = reached;
                    before[target] = last;
                }
                if nearest.is_none_or(|best| distance[target] < distance[best]) {
                    nearest = Some(target);
                }
            }
            // There are at least as many targets as sources, so that one is free until all sources have theirs.
            let Some(target) = nearest else { return };
            settled[target] = true;
            walked = distance[target];
            let Some(owner) = self.owner[target] else { break target };
            (source, last) = (owner, Some(target));
        };
        self.source[start] += walked;
        for target in (0..targets).filter(|&target| settled[target] && target != free) {
            let gained = walked - distance[target];
            self.target[target] -= gained;
            if let Some(owner) = self.owner[target] {
                self.source[owner] += gained;
            }
        }
        let mut at = free;
        while let Some(previous) = before[at] {
            self.owner[at] = self.owner[previous];
            at = previous;
        }
        self.owner[at] = Some(start);
    }
}
