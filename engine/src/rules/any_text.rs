//! `x ~ '.*'` of a null is null.
//!
//! DataFusion makes `x IS NOT NULL` of this one pattern. Another one that says the same is matched.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use super::conditions::guards::is_regex;
use super::rewrite_expressions;

#[derive(Debug)]
pub(crate) struct AnyText;

impl AnalyzerRule for AnyText {
    fn name(&self) -> &'static str {
        "any_text"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite_expressions(plan, |expression, _| expression.transform_up(match_any))
    }
}

fn match_any(mut expression: Expr) -> Result<Transformed<Expr>> {
    let pattern = match &mut expression {
        Expr::BinaryExpr(binary) if is_regex(binary.op) => Some(binary.right.as_mut()),
        Expr::ScalarFunction(function) if function.name() == "regexp_like" => {
            function.args.get_mut(1)
        }
        _ => None,
    };
    if let Some(Expr::Literal(pattern, _)) = pattern
        && pattern.try_as_str() == Some(Some(".*"))
    {
        *pattern = ScalarValue::from("(?:.*)").cast_to(&pattern.data_type())?;
        return Ok(Transformed::yes(expression));
    }
    Ok(Transformed::no(expression))
}
