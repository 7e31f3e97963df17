//! How the SQL of times is read: types, `AT TIME ZONE`, and the day that `current_date` means.

use std::convert::Infallible;
use std::ops::ControlFlow;

use arrow::datatypes::FieldRef;
use datafusion::common::Result;
use datafusion::common::datatype::DataTypeExt as _;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Ident, Statement, TimezoneInfo, Visit as _, VisitMut as _, Visitor, VisitorMut,
};

use super::names::call;
use super::statement_of;
use crate::functions::time::{instant, local_time};

/// Plans TIMESTAMP as microseconds. DataFusion takes nanoseconds, which do not reach `TIMESTAMP
/// '9999-12-31'`.
#[derive(Debug)]
pub(crate) struct TimeTypePlanner;

impl TypePlanner for TimeTypePlanner {
    fn plan_type_field(&self, sql_type: &DataType) -> Result<Option<FieldRef>> {
        let DataType::Timestamp(None | Some(6), zone) = sql_type else {
            return Ok(None);
        };
        let planned = match zone {
            TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => local_time(),
            TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => instant(),
        };
        Ok(Some(planned.into_nullable_field_ref()))
    }
}

/// Puts the function `timezone`, as PostgreSQL does, in the place of `AT TIME ZONE`, of which
/// DataFusion makes a cast to nanoseconds.
pub(super) fn rewrite(statement: &mut Statement) {
    struct AtTimeZone;
    impl VisitorMut for AtTimeZone {
        type Break = Infallible;
        fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Infallible> {
            if let Expr::AtTimeZone {
                timestamp,
                time_zone,
            } = expression
            {
                let arguments = [time_zone, timestamp].map(|argument| {
                    std::mem::replace(argument.as_mut(), Expr::Identifier(Ident::new("")))
                });
                *expression = call("timezone", arguments.into());
            }
            ControlFlow::Continue(())
        }
    }
    let ControlFlow::Continue(()) = statement.visit(&mut AtTimeZone);
}

/// Whether `parsed` asks for `current_date`, the day in UTC.
pub(super) fn asks_for_current_date(parsed: &Parsed) -> bool {
    struct CurrentDate;
    impl Visitor for CurrentDate {
        type Break = ();
        fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
            match expression {
                Expr::Function(function) => {
                    let name = function.name.to_string().to_ascii_lowercase();
                    if name == "current_date" || name == "today" {
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    statement_of(parsed).is_some_and(|statement| statement.visit(&mut CurrentDate).is_break())
}
