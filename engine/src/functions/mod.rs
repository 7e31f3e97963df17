//! SQL functions that every process of the house knows.

mod element;
mod event_day;
mod list_field;

use std::sync::Arc;

use chrono_tz::Tz;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry as _;
use datafusion::prelude::SessionContext;

use self::event_day::EventDay;
pub use self::event_day::event_day;
use self::list_field::ListField;

/// Makes all functions known to `context`, for calendar days in `zone`.
pub(crate) fn register(context: &SessionContext, zone: Tz) -> Result<()> {
    context.register_udf(EventDay::new(zone).into());
    context.register_udf(ListField::new().into());
    let state = context.state_ref();
    state
        .write()
        .register_function_rewrite(Arc::new(element::Rewrite::new()))
}
