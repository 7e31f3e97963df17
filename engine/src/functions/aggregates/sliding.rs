//! Statistics of DOUBLE over a window whose rows leave as well as come.
//!
//! DataFusion subtracts what leaves: an infinity leaves NaN behind for ever, 1e20 takes the digits
//! of its neighbours with it, and a variance becomes negative. Here the window is kept as two
//! stacks, of which each holds summaries that are only ever merged: what has left has no trace, and
//! each row costs a constant number of merges.

use std::fmt::Debug;

use arrow::array::{ArrayRef, AsArray as _};
use arrow::datatypes::Float64Type;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::Accumulator;

/// What is kept of some rows.
pub(super) trait Summary: Copy + Debug + Send + Sync + 'static {
    /// What one row has.
    type Row: Copy + Send + Sync;

    /// The rows of the arguments that have no null.
    fn rows(arguments: &[ArrayRef]) -> Vec<Self::Row>;
    fn of(row: Self::Row) -> Self;
    fn merge(self, later: Self) -> Self;
}

/// The values of the only argument.
fn values(arguments: &[ArrayRef]) -> Vec<f64> {
    let values = arguments[0].as_primitive::<Float64Type>();
    values.iter().flatten().collect()
}

/// Sum and number of values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Total {
    pub(super) sum: f64,
    pub(super) count: u64,
}

impl Summary for Total {
    type Row = f64;

    fn rows(arguments: &[ArrayRef]) -> Vec<f64> {
        values(arguments)
    }

    fn of(value: f64) -> Self {
        Self {
            sum: value,
            count: 1,
        }
    }

    fn merge(self, later: Self) -> Self {
        Self {
            sum: self.sum + later.sum,
            count: self.count + later.count,
        }
    }
}

/// Number, mean and sum of squared distances from it, merged as Chan, Golub and LeVeque do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Summary for Moments {
    type Row = f64;

    fn rows(arguments: &[ArrayRef]) -> Vec<f64> {
        values(arguments)
    }

    fn of(value: f64) -> Self {
        Self {
            count: 1.0,
            mean: value,
            // An infinite value has no variance.
            squares: (value * 0.0).abs(),
        }
    }

    fn merge(self, later: Self) -> Self {
        let count = self.count + later.count;
        let delta = later.mean - self.mean;
        Self {
            count,
            mean: self.mean + delta * later.count / count,
            squares: self.squares
                + later.squares
                + delta * delta * self.count * later.count / count,
        }
    }
}

/// Variance or standard deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Spread {
    pub(super) population: bool,
    pub(super) root: bool,
}

impl Spread {
    pub(super) fn sliding_accumulator(self) -> Box<dyn Accumulator> {
        Box::new(Sliding::<Moments>::new(move |moments| {
            let degrees = if self.population {
                moments.count
            } else {
                moments.count - 1.0
            };
            let variance = moments.squares / degrees;
            let spread = if self.root { variance.sqrt() } else { variance };
            (degrees > 0.0).then_some(spread)
        }))
    }
}

/// A window as two stacks.
pub(super) struct Sliding<S: Summary> {
    /// Summaries of the older rows, each from one row to the last of them; the oldest row is on
    /// top.
    older: Vec<S>,
    /// The newer rows, and their summary.
    newer: Vec<S::Row>,
    newest: Option<S>,
    result: Box<dyn Fn(S) -> Option<f64> + Send + Sync>,
}

impl<S: Summary> Sliding<S> {
    pub(super) fn new(result: impl Fn(S) -> Option<f64> + Send + Sync + 'static) -> Self {
        Self {
            older: Vec::new(),
            newer: Vec::new(),
            newest: None,
            result: Box::new(result),
        }
    }

    /// Turns the newer rows into the older.
    fn turn(&mut self) {
        let mut summary: Option<S> = None;
        for value in self.newer.drain(..).rev() {
            let value = S::of(value);
            let merged = summary.map_or(value, |later| value.merge(later));
            self.older.push(merged);
            summary = Some(merged);
        }
        self.newest = None;
    }
}

impl<S: Summary> Debug for Sliding<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sliding")
            .field("rows", &(self.older.len() + self.newer.len()))
            .finish_non_exhaustive()
    }
}

impl<S: Summary> Accumulator for Sliding<S> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for row in S::rows(values) {
            self.newer.push(row);
            let row = S::of(row);
            let merged = self.newest.map_or(row, |earlier| earlier.merge(row));
            self.newest = Some(merged);
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for _ in S::rows(values) {
            if self.older.is_empty() {
                self.turn();
            }
            self.older.pop();
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        not_in_parts()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        not_in_parts()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let older = self.older.last().copied();
        let all = match (older, self.newest) {
            (Some(older), Some(newer)) => Some(older.merge(newer)),
            (one, other) => one.or(other),
        };
        Ok(ScalarValue::Float64(all.and_then(|all| (self.result)(all))))
    }

    fn size(&self) -> usize {
        size_of_val(self)
            + self.older.capacity() * size_of::<S>()
            + self.newer.capacity() * size_of::<S::Row>()
    }
}

/// What a sliding accumulator says when it is to be merged with others, as grouping does: a window
/// has one.
pub(super) fn not_in_parts<T>() -> Result<T> {
    exec_err!("a sliding window is not computed in parts")
}
