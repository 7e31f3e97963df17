//! Correlation, covariance and regression over a sliding window, and the coefficient of
//! determination; over groups the others are DataFusion's.

use arrow::array::{ArrayRef, AsArray as _};
use arrow::datatypes::Float64Type;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Accumulator;

use super::finished::Finished;
use super::sliding::{Sliding, Summary};

/// A statistic of pairs of values `(y, x)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum PairStatistic {
    Correlation,
    CovariancePopulation,
    CovarianceSample,
    Slope,
    Intercept,
    R2,
    AverageX,
    AverageY,
    SquaresX,
    SquaresY,
    Products,
}

/// Number and means of pairs, and the sums of the squares and products of their distances from
/// these.
#[derive(Clone, Copy, Debug)]
struct PairMoments {
    count: f64,
    mean_y: f64,
    mean_x: f64,
    squares_y: f64,
    squares_x: f64,
    products: f64,
}

impl Summary for PairMoments {
    type Row = (f64, f64);

    fn rows(arguments: &[ArrayRef]) -> Vec<(f64, f64)> {
        let ys = arguments[0].as_primitive::<Float64Type>();
        let xs = arguments[1].as_primitive::<Float64Type>();
        let pairs = ys.iter().zip(xs);
        pairs.filter_map(|(y, x)| y.zip(x)).collect()
    }

    fn of((y, x): (f64, f64)) -> Self {
        Self {
            count: 1.0,
            mean_y: y,
            mean_x: x,
            // Infinite values have no distances.
            squares_y: (y * 0.0).abs(),
            squares_x: (x * 0.0).abs(),
            products: (y * 0.0 * x * 0.0).abs(),
        }
    }

    fn merge(self, later: Self) -> Self {
        let count = self.count + later.count;
        let (dy, dx) = (later.mean_y - self.mean_y, later.mean_x - self.mean_x);
        let weight = self.count * later.count / count;
        Self {
            count,
            mean_y: self.mean_y + dy * later.count / count,
            mean_x: self.mean_x + dx * later.count / count,
            squares_y: self.squares_y + later.squares_y + dy * dy * weight,
            squares_x: self.squares_x + later.squares_x + dx * dx * weight,
            products: self.products + later.products + dy * dx * weight,
        }
    }
}

impl PairStatistic {
    pub(super) fn sliding_accumulator(self) -> Box<dyn Accumulator> {
        Box::new(Sliding::<PairMoments>::new(move |pairs| self.of(pairs)))
    }

    /// DataFusion's accumulator `inner` of this statistic, with the result that it has here.
    pub(super) fn accumulator(self, inner: Box<dyn Accumulator>) -> Box<dyn Accumulator> {
        if self != Self::R2 {
            return inner;
        }
        Box::new(Finished::new(inner, |inner: &mut dyn Accumulator| {
            let found = inner.evaluate()?;
            Ok(if found.is_null() && is_constant_y(&inner.state()?) {
                ScalarValue::from(1.0)
            } else {
                found
            })
        }))
    }

    fn of(self, pairs: PairMoments) -> Option<f64> {
        let PairMoments {
            count,
            mean_y,
            mean_x,
            squares_y,
            squares_x,
            products,
        } = pairs;
        let slope = (count > 1.0 && squares_x != 0.0).then(|| products / squares_x);
        let varies = count > 1.0 && squares_x != 0.0 && squares_y != 0.0;
        match self {
            Self::Correlation => varies.then(|| products / (squares_x.sqrt() * squares_y.sqrt())),
            Self::CovariancePopulation => Some(products / count),
            Self::CovarianceSample => (count > 1.0).then(|| products / (count - 1.0)),
            Self::Slope => slope,
            Self::Intercept => slope.map(|slope| mean_y - slope * mean_x),
            // A line meets values that are all the same; DataFusion has null there.
            Self::R2 if slope.is_some() && squares_y == 0.0 => Some(1.0),
            Self::R2 => varies.then(|| products / squares_x * products / squares_y),
            Self::AverageX => Some(mean_x),
            Self::AverageY => Some(mean_y),
            Self::SquaresX => Some(squares_x),
            Self::SquaresY => Some(squares_y),
            Self::Products => Some(products),
        }
    }
}

/// Whether y is the same for all of several x, by the state of DataFusion's accumulator of a
/// regression.
fn is_constant_y(state: &[ScalarValue]) -> bool {
    let [_count, _mean_x, _mean_y, squares_x, squares_y, _products] = state else {
        return false;
    };
    let zero = ScalarValue::from(0.0);
    squares_x > &zero && squares_y == &zero
}
