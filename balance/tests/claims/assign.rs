//! Optimal assignment: as good as two other solvers and as trying everything, and typed errors for what cannot be solved.

use evenkeel_balance::assign::{AssignError, Cost, LARGEST_COST, assign};
use pathfinding::{kuhn_munkres::kuhn_munkres_min, matrix::Matrix};
use proptest::prelude::*;

/// Whole numbers, so that sums are exact and two best assignments have equal totals.
fn matrix(rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<i32>>> {
    (rows, columns).prop_flat_map(|(rows, columns)| prop::collection::vec(prop::collection::vec(-1_000..1_000, columns), rows))
}

fn floats(costs: &[Vec<i32>]) -> Vec<Vec<f64>> {
    costs.iter().map(|row| row.iter().copied().map(f64::from).collect()).collect()
}

fn transposed(costs: &[Vec<i32>]) -> Vec<Vec<i32>> {
    (0..costs[0].len()).map(|column| costs.iter().map(|row| row[column]).collect()).collect()
}

/// The least total, by trying everything.
fn by_force(costs: &[Vec<i32>], row: usize, used: &mut Vec<bool>) -> i32 {
    if row == costs.len() {
        return 0;
    }
    let mut best = i32::MAX;
    for column in 0..used.len() {
        if !std::mem::replace(&mut used[column], true) {
            best = best.min(costs[row][column] + by_force(costs, row + 1, used));
            used[column] = false;
        }
    }
    best
}

/// As many pairs as the shorter side has, no column twice, and the total is theirs.
fn check(costs: &[Vec<i32>]) -> Result<f64, TestCaseError> {
    let found = assign(&floats(costs)).unwrap();
    let mut columns: Vec<usize> = found.columns.iter().flatten().copied().collect();
    let pairs = columns.len();
    prop_assert_eq!(found.columns.len(), costs.len());
    prop_assert_eq!(pairs, costs.len().min(costs[0].len()));
    columns.sort_unstable();
    columns.dedup();
    prop_assert_eq!(columns.len(), pairs, "a column twice: {:?}", found.columns);
    let total: i32 = found.columns.iter().zip(costs).filter_map(|(column, row)| column.map(|column| row[column])).sum();
    prop_assert_eq!(found.total, f64::from(total));
    Ok(found.total)
}

proptest! {
    #[test]
    fn assignment_is_as_cheap_as_trying_everything(costs in matrix(1..7, 1..7)) {
        let wide = if costs.len() <= costs[0].len() { costs.clone() } else { transposed(&costs) };
        let least = by_force(&wide, 0, &mut vec![false; wide[0].len()]);
        prop_assert_eq!(check(&costs)?, f64::from(least));
    }

    #[test]
    fn assignment_is_as_cheap_as_that_of_kuhn_munkres(costs in matrix(1..40, 1..40)) {
        let wide = if costs.len() <= costs[0].len() { costs.clone() } else { transposed(&costs) };
        let (least, _) = kuhn_munkres_min(&Matrix::from_rows(wide).unwrap());
        prop_assert_eq!(check(&costs)?, f64::from(least));
    }

    #[test]
    fn assignment_is_as_cheap_as_that_of_jonker_volgenant(size in 1usize..40, seed in prop::collection::vec(0.0f64..1_000.0, 40 * 40)) {
        let costs: Vec<Vec<f64>> = seed.chunks(40).take(size).map(|row| row[..size].to_vec()).collect();
        let flat = lapjv::Matrix::from_shape_vec((size, size), costs.concat()).unwrap();
        let (rows, _) = lapjv::lapjv(&flat).unwrap();
        let least = lapjv::cost(&flat, &rows);
        let total = assign(&costs).unwrap().total;
        prop_assert!((total - least).abs() <= 1e-9 * least.max(1.0), "{total} against {least}");
    }
}

#[test]
fn cost_is_the_weighted_sum_of_latency_load_and_resource() {
    let cost = |latency, load, resource| Cost { latency, load, resource }.total();
    assert!((cost(10.0, 3.0, 50.0) - (5.0 + 4.8 + 10.0)).abs() < 1e-12);
    assert!((cost(0.0, 0.0, 0.0) - 0.3).abs() < 1e-12, "an idle endpoint next door isn't free");
    assert!((cost(0.0, 1.0, 0.0) - cost(0.0, 0.0, 0.0) - 0.9).abs() < 1e-12, "the first request costs 1.8 ms' worth");
    assert!((cost(0.0, 10.0, 0.0) - cost(0.0, 9.0, 0.0) - 6.3).abs() < 1e-12, "the tenth 12.6 ms' worth");
}

#[test]
fn a_near_endpoint_is_filled_until_a_far_one_is_cheaper() {
    // Two endpoints at 2 and 12 ms, each listed four times, with one more request in flight each time; six sidecars.
    let column = |latency: f64, load: usize| Cost { latency, load: load as f64, resource: 0.0 }.total();
    let row: Vec<f64> = (0..4).map(|load| column(2.0, load)).chain((0..4).map(|load| column(12.0, load))).collect();
    let found = assign(&vec![row; 6]).unwrap();
    // The near one's cost 1.3, 2.2, 3.7, 5.8 and the far one's 6.3, 7.2: all four near ones first.
    let mut columns: Vec<usize> = found.columns.into_iter().flatten().collect();
    columns.sort_unstable();
    assert_eq!(columns, [0, 1, 2, 3, 4, 5]);
    assert!((found.total - 26.5).abs() < 1e-9, "{}", found.total);
}

#[test]
fn what_cannot_be_assigned_is_refused_with_a_reason() {
    assert_eq!(assign(&[]), Err(AssignError::Empty));
    assert_eq!(assign(&[vec![], vec![]]), Err(AssignError::Empty));
    let ragged = assign(&[vec![1.0, 2.0], vec![1.0]]);
    assert_eq!(ragged, Err(AssignError::Ragged { row: 1, columns: 1, expected: 2 }));
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 2.0 * LARGEST_COST] {
        let error = assign(&[vec![1.0, 2.0], vec![1.0, bad]]).unwrap_err();
        assert!(matches!(error, AssignError::Cost { row: 1, column: 1, .. }), "{error:?}");
        assert!(error.to_string().contains("row 1, column 1"));
    }
    let dear = assign(&[vec![LARGEST_COST, 1.0], vec![LARGEST_COST, LARGEST_COST]]).unwrap();
    assert_eq!(dear.columns, [Some(1), Some(0)]);
}
