//! How the SQL of times is read: types, `AT TIME ZONE`, and the day that `current_date` means.

use std::convert::Infallible;
use std::ops::ControlFlow;

use arrow::datatypes::FieldRef;
use datafusion::common::Result;
use datafusion::common::datatype::DataTypeExt as _;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, TimezoneInfo, Visit as _, VisitMut as _, Visitor,
    VisitorMut,
};

use crate::functions::time::{instant, local_time};

/// Plans TIMESTAMP as microseconds. DataFusion takes nanoseconds, which do not reach `TIMESTAMP '9999-12-31'`.
#[derive(Debug)]
pub(crate) struct TimeTypes;

impl TypePlanner for TimeTypes {
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

/// Puts the function `timezone`, as PostgreSQL does, in the place of `AT TIME ZONE`, of which DataFusion makes a cast to
/// nanoseconds.
pub(super) fn rewrite(parsed: &mut Parsed) {
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
                    let argument =
                        std::mem::replace(argument.as_mut(), Expr::Identifier(Ident::new("")));
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))
                });
                *expression = call("timezone", arguments.into());
            }
            ControlFlow::Continue(())
        }
    }
    let mut parsed = parsed;
    while let Parsed::Explain(explain) = parsed {
        parsed = &mut explain.statement;
    }
    if let Parsed::Statement(statement) = parsed {
        let ControlFlow::Continue(()) = statement.visit(&mut AtTimeZone);
    }
}

fn call(name: &str, args: Vec<FunctionArg>) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
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
    let mut parsed = parsed;
    while let Parsed::Explain(explain) = parsed {
        parsed = &explain.statement;
    }
    match parsed {
        Parsed::Statement(statement) => statement.visit(&mut CurrentDate).is_break(),
        _ => false,
    }
}
