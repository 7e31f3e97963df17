//! Lists and texts that a window collects have a limit.
//!
//! `array_agg(x) OVER ()` makes a list of all rows for each row, in one step that nothing can stop:
//! 10^6 rows are 10^12 values. Here the functions over windows are those that refuse it, see
//! [`collected`].

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::logical_expr::{Expr, LogicalPlan, WindowFunctionDefinition};
use datafusion::optimizer::AnalyzerRule;

use super::rewrite_expressions;
use crate::functions::aggregates::collected;

#[derive(Debug)]
pub(crate) struct WindowLists;

impl AnalyzerRule for WindowLists {
    fn name(&self) -> &'static str {
        "window_lists"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite_expressions(plan, |expression, _| expression.transform_up(with_limit))
    }
}

fn with_limit(mut expression: Expr) -> Result<Transformed<Expr>> {
    if let Expr::WindowFunction(window) = &mut expression
        && let WindowFunctionDefinition::AggregateUDF(function) = &window.fun
        && let Some(limited) = collected::over_window(function)
    {
        window.fun = WindowFunctionDefinition::AggregateUDF(Arc::new(limited));
        return Ok(Transformed::yes(expression));
    }
    Ok(Transformed::no(expression))
}
