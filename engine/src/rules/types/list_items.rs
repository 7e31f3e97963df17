//! Keeps DataFusion from what it does wrongly to lists behind IN.
//!
//! - It takes an item for a constant if it gives one value for a batch without rows. Each CASE
//!   does, and the value is null: `trim(x) IN ('a', CASE …)` finds nothing but `a` then, and NOT IN
//!   no row at all.
//! - It intersects the lists of `x IN (a, b) AND x IN (c, d)` as if items with other names had
//!   other values.
//! - It makes a constant of two lists without a common item, also for a null: `x NOT IN (1) OR x
//!   NOT IN (2)` is true there.
//! - It takes the items of the second list from the first in `x IN (1, 2) AND x NOT IN (3, NULL)`,
//!   which is never true.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, binary_expr, lit};
use datafusion::optimizer::AnalyzerRule;

use crate::functions::lists::any_equal;
use crate::rules::{is_variable, rewrite_expressions};

#[derive(Debug)]
pub(crate) struct ListItems;

impl AnalyzerRule for ListItems {
    fn name(&self) -> &'static str {
        "list_items"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite_expressions(plan, |expression, _| {
            expression.transform_up(|part| Ok(repair(part)))
        })
    }
}

fn repair(condition: Expr) -> Transformed<Expr> {
    match condition {
        // One form, so that no pair of lists appears behind this rule.
        Expr::Not(inner) => match *inner {
            Expr::InList(mut list) => {
                list.negated = !list.negated;
                let list = with_null_aside(list);
                Transformed::yes(list)
            }
            inner => Transformed::no(Expr::Not(Box::new(inner))),
        },
        Expr::InList(list) if list.list.iter().any(is_variable) => with_variables(list),
        Expr::InList(list) if list.negated => Transformed::yes(with_null_aside(list)),
        Expr::BinaryExpr(pair) if is_merged_wrongly(&pair) => {
            let BinaryExpr { left, op, right } = pair;
            let right = match *right {
                Expr::InList(list) => one_by_one(list),
                right => right,
            };
            Transformed::yes(binary_expr(*left, op, right))
        }
        other => Transformed::no(other),
    }
}

fn with_variables(list: InList) -> Transformed<Expr> {
    match list.list.as_slice() {
        // DataFusion takes a subquery in two pairs of parentheses for one in a single pair.
        [Expr::ScalarSubquery(_)] => Transformed::no(Expr::InList(list)),
        // Equality may be the key of a join.
        [item] => {
            let comparison = if list.negated {
                Operator::NotEq
            } else {
                Operator::Eq
            };
            Transformed::yes(binary_expr(*list.expr, comparison, item.clone()))
        }
        _ => Transformed::yes(one_by_one(list)),
    }
}

fn one_by_one(list: InList) -> Expr {
    let found = any_equal::call(*list.expr, list.list);
    if list.negated {
        Expr::Not(Box::new(found))
    } else {
        found
    }
}

/// `x NOT IN (1) AND NULL` for `x NOT IN (1, NULL)`.
fn with_null_aside(mut list: InList) -> Expr {
    if !list.negated || !list.list.iter().any(is_null) {
        return Expr::InList(list);
    }
    list.list.retain(|item| !is_null(item));
    let null = lit(ScalarValue::Boolean(None));
    if list.list.is_empty() {
        return null;
    }
    Expr::InList(list).and(null)
}

fn is_null(item: &Expr) -> bool {
    match item {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null(&cast.expr),
        _ => false,
    }
}

/// Whether the two sides are lists for one value that DataFusion makes one list of, with another
/// answer where it is null.
fn is_merged_wrongly(pair: &BinaryExpr) -> bool {
    let (Expr::InList(left), Expr::InList(right)) = (pair.left.as_ref(), pair.right.as_ref())
    else {
        return false;
    };
    let united = match pair.op {
        Operator::And => left.negated && right.negated,
        Operator::Or => !left.negated && !right.negated,
        _ => return false,
    };
    left.expr == right.expr && !united
}
