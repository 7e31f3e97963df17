//! SQL functions that every process of Isobar has.

pub(crate) mod aggregates;
mod cast_argument;
mod event_day;
pub(crate) mod intervals;
mod json;
pub(crate) mod lists;
mod mode;
pub(crate) mod numbers;
pub(crate) mod opaque;
pub(crate) mod shift;
pub(crate) mod texts;
pub(crate) mod time;

use std::sync::Arc;

use chrono_tz::Tz;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry as _;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::prelude::SessionContext;

use self::event_day::EventDay;
pub use self::event_day::event_day;
use self::intervals::date_diff::{AddDays, DateDiff};
use self::intervals::interval_scale;
use self::lists::list_field::ListField;
use self::lists::{element, nameless_field};
use self::mode::{Mode, Quantile};
use self::numbers::rounding;
use self::texts::{bounded, strpos, text_concat};

/// Planners of ours, which must stand before DataFusion's own: the first that plans an expression
/// decides.
pub(crate) fn planners() -> Vec<Arc<dyn ExprPlanner>> {
    vec![
        Arc::new(cast_argument::CastArgumentPlanner),
        Arc::new(nameless_field::NamelessFieldPlanner::new()),
        Arc::new(interval_scale::IntervalScalePlanner::new()),
    ]
}

/// Makes all functions known to `context`, for calendar days in `zone`.
pub(crate) fn register(context: &SessionContext, zone: Tz) -> Result<()> {
    context.register_udf(EventDay::new(zone).into());
    context.register_udf(ListField::new().into());
    for function in time::functions() {
        context.register_udf(function);
    }
    for (name, with_end) in [("generate_series", true), ("range", false)] {
        if let Ok(of_numbers) = context.table_function(name) {
            let of_numbers = Arc::clone(of_numbers.function());
            let series = time::Series {
                name,
                of_numbers,
                with_end,
            };
            context.register_udtf(name, Arc::new(series));
        }
    }
    for function in json::functions() {
        context.register_udf(function);
    }
    context.register_udf(DateDiff::new().into());
    context.register_udf(AddDays::add().into());
    context.register_udf(AddDays::sub().into());
    context.register_udaf(Mode::new().into());
    context.register_udaf(Quantile::new().into());
    context.register_udwf(shift::lead());
    context.register_udwf(shift::lag());
    for function in aggregates::functions() {
        context.register_udaf(function);
    }
    let state = context.state_ref();
    let mut state = state.write();
    bounded::register(&mut *state)?;
    strpos::register(&mut *state)?;
    rounding::register(&mut *state)?;
    state.register_function_rewrite(Arc::new(text_concat::TextConcatRewrite::new()))?;
    state.register_function_rewrite(Arc::new(element::ElementRewrite::new()))
}
