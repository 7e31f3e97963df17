//! DataFusion's aggregate functions with other accumulators where theirs answer wrongly.
//!
//! Names, signatures and result types stay DataFusion's, and so does every accumulator that is
//! right.

mod average;
pub(crate) mod collected;
mod extremes;
mod finished;
mod interval_sum;
mod pairs;
mod percentile;
mod sliding;
mod sum;

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::{
    average::avg_udaf, correlation, covariance, min_max, percentile_cont, regr, stddev,
    sum as sums, variance,
};
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, GroupsAccumulator, Operator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs,
};

use self::pairs::PairStatistic;
use self::sliding::Spread;

/// The functions to register in place of DataFusion's.
pub(super) fn functions() -> Vec<AggregateUDF> {
    let mut functions = repaired();
    functions.extend(collected::functions());
    functions
}

fn repaired() -> Vec<AggregateUDF> {
    let variance = |population, root| Repair::Spread(Spread { population, root });
    let pair = Repair::Pair;
    [
        (sums::sum_udaf(), Repair::Sum),
        (avg_udaf(), Repair::Average),
        (min_max::min_udaf(), Repair::Extreme),
        (min_max::max_udaf(), Repair::Extreme),
        (variance::var_samp_udaf(), variance(false, false)),
        (variance::var_pop_udaf(), variance(true, false)),
        (stddev::stddev_udaf(), variance(false, true)),
        (stddev::stddev_pop_udaf(), variance(true, true)),
        (percentile_cont::percentile_cont_udaf(), Repair::Percentile),
        (correlation::corr_udaf(), pair(PairStatistic::Correlation)),
        (
            covariance::covar_pop_udaf(),
            pair(PairStatistic::CovariancePopulation),
        ),
        (
            covariance::covar_samp_udaf(),
            pair(PairStatistic::CovarianceSample),
        ),
        (regr::regr_slope_udaf(), pair(PairStatistic::Slope)),
        (regr::regr_intercept_udaf(), pair(PairStatistic::Intercept)),
        (regr::regr_r2_udaf(), pair(PairStatistic::R2)),
        (regr::regr_avgx_udaf(), pair(PairStatistic::AverageX)),
        (regr::regr_avgy_udaf(), pair(PairStatistic::AverageY)),
        (regr::regr_sxx_udaf(), pair(PairStatistic::SquaresX)),
        (regr::regr_syy_udaf(), pair(PairStatistic::SquaresY)),
        (regr::regr_sxy_udaf(), pair(PairStatistic::Products)),
    ]
    .map(|(inner, repair)| AggregateUDF::from(Repaired { inner, repair }))
    .into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Repair {
    Sum,
    Average,
    Extreme,
    Spread(Spread),
    Percentile,
    Pair(PairStatistic),
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Repaired {
    inner: Arc<AggregateUDF>,
    repair: Repair,
}

impl Repaired {
    /// Of `min` and `max`, whether it is `max`.
    fn is_largest(&self) -> bool {
        self.inner.is_descending() == Some(true)
    }
}

impl AggregateUDFImpl for Repaired {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.inner.schema_name(params)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match self.repair {
            Repair::Sum => sum::return_type(&self.inner, arguments),
            _ => self.inner.return_type(arguments),
        }
    }

    fn return_field(&self, arguments: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(arguments)
    }

    fn is_nullable(&self) -> bool {
        self.inner.is_nullable()
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arguments)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match self.repair {
            Repair::Sum => sum::accumulator(&self.inner, args),
            Repair::Average => average::accumulator(&self.inner, args),
            Repair::Extreme => extremes::canonical(&args, self.is_largest(), |args| {
                self.inner.accumulator(args)
            }),
            Repair::Percentile => percentile::accumulator(&self.inner, args),
            Repair::Pair(statistic) => Ok(statistic.accumulator(self.inner.accumulator(args)?)),
            Repair::Spread(_) => self.inner.accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        match self.repair {
            Repair::Sum => sum::state_fields(&self.inner, args),
            _ => self.inner.state_fields(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        match self.repair {
            Repair::Sum => sum::has_groups_accumulator(&self.inner, args),
            _ => self.inner.groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match self.repair {
            Repair::Sum => sum::groups_accumulator(&self.inner, args),
            Repair::Average => average::groups_accumulator(&self.inner, args),
            Repair::Extreme => extremes::groups_accumulator(&self.inner, args),
            Repair::Percentile => percentile::groups_accumulator(&self.inner, args),
            Repair::Spread(_) | Repair::Pair(_) => self.inner.create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match self.repair {
            Repair::Sum => sum::sliding_accumulator(&self.inner, args),
            Repair::Average => average::sliding_accumulator(&self.inner, args),
            Repair::Extreme => extremes::canonical(&args, self.is_largest(), |args| {
                self.inner.create_sliding_accumulator(args)
            }),
            Repair::Spread(spread) if !args.is_distinct => Ok(spread.sliding_accumulator()),
            Repair::Pair(statistic) if !args.is_distinct => Ok(statistic.sliding_accumulator()),
            Repair::Percentile => percentile::accumulator(&self.inner, args),
            Repair::Spread(_) | Repair::Pair(_) => self.inner.create_sliding_accumulator(args),
        }
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn simplify_expr_op_literal(
        &self,
        function: &AggregateFunction,
        argument: &Expr,
        op: Operator,
        literal: &Expr,
        argument_is_left: bool,
    ) -> Result<Option<Expr>> {
        // `sum(x + 1)` is not `sum(x) + count(x)` where either of them leaves its type.
        match self.repair {
            Repair::Sum => Ok(None),
            _ => {
                let inner = self.inner.inner();
                inner.simplify_expr_op_literal(function, argument, op, literal, argument_is_left)
            }
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_udf()
    }

    fn is_descending(&self) -> Option<bool> {
        self.inner.is_descending()
    }

    fn supports_within_group_clause(&self) -> bool {
        self.inner.inner().supports_within_group_clause()
    }

    fn value_from_stats(&self, statistics: &StatisticsArgs) -> Option<ScalarValue> {
        self.inner.value_from_stats(statistics)
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(data_type)
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(data_type)
    }
}
