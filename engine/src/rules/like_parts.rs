//! Looks for the longest part of a pattern before the whole of it is matched.
//!
//! `text LIKE '%"id":501,%gust%'` is matched by a regular expression, byte by byte. Most texts lack
//! the part `"id":501,`, and a search for that alone takes a fraction of the time: `text LIKE
//! '%"id":501,%' AND text LIKE '%"id":501,%gust%'`.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::{Cast, Like};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

#[derive(Debug)]
pub(crate) struct LikeParts;

impl AnalyzerRule for LikeParts {
    fn name(&self) -> &'static str {
        "like_parts"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Filter(mut filter) => {
                let predicate = std::mem::take(&mut filter.predicate);
                let predicate = predicate.transform_up(search_first)?;
                Ok(predicate.update_data(|predicate| {
                    filter.predicate = predicate;
                    LogicalPlan::Filter(filter)
                }))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(plan.data)
    }
}

fn search_first(condition: Expr) -> Result<Transformed<Expr>> {
    let Expr::Like(whole) = &condition else {
        return Ok(Transformed::no(condition));
    };
    let Some(part) = longest_part(whole) else {
        return Ok(Transformed::no(condition));
    };
    let part = ScalarValue::from(format!("%{part}%"));
    // Of the type that the whole pattern has.
    let part = match whole.pattern.as_ref() {
        Expr::Literal(pattern, _) => Expr::Literal(part.cast_to(&pattern.data_type())?, None),
        Expr::Cast(cast) => Expr::Cast(Cast {
            expr: Box::new(Expr::Literal(part, None)),
            ..cast.clone()
        }),
        _ => return Ok(Transformed::no(condition)),
    };
    let search = Expr::Like(Like {
        pattern: Box::new(part),
        ..whole.clone()
    });
    Ok(Transformed::yes(search.and(condition)))
}

/// The longest of several parts that each text has which matches; none where the pattern is
/// searched for as a whole already.
fn longest_part(like: &Like) -> Option<&str> {
    let pattern = match like.pattern.as_ref() {
        Expr::Cast(cast) => cast.expr.as_ref(),
        pattern => pattern,
    };
    let Expr::Literal(pattern, _) = pattern else {
        return None;
    };
    let pattern = pattern.try_as_str()??;
    let is_column = matches!(like.expr.as_ref(), Expr::Column(_));
    if !is_column || like.negated || like.case_insensitive || pattern.contains(['_', '\\']) {
        return None;
    }
    let parts = pattern.split('%').filter(|part| !part.is_empty());
    let longest = parts.clone().max_by_key(|part| part.len())?;
    // What begins or ends with a part, or has one alone, is matched without an expression.
    (parts.count() > 1).then_some(longest)
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    #[test]
    fn the_longest_of_several_parts_is_searched_for_first() {
        let check = |pattern: &str, expected: Option<&str>| {
            let Expr::Like(like) = col("a").like(lit(pattern)) else {
                panic!("no LIKE");
            };
            assert_eq!(longest_part(&like), expected, "{pattern}");
        };
        check("%ab%cde%", Some("cde"));
        check("ab%c", Some("ab"));
        check("%ab%", None);
        check("ab%", None);
        check("%", None);
        check("%a_b%cd%", None);
        check("%a\\%b%cd%", None);
    }
}
