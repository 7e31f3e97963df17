//! What a statement costs to plan, worked out from its text.
//!
//! The planner puts the query of each name of WITH where the name stands, and works on all copies:
//! 24 names, each of which stands twice in the next one, are 1 KB of text and a plan of 16 million
//! nodes, which takes the machine's memory before anything can stop it. A cube over 40 columns is
//! as short and as large. Planning of a subquery inside an expression takes twice as long with each
//! level. Such statements are refused before they are planned.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, GroupByWithModifier, Ident, ObjectName, Query, Select, SetExpr, TableFactor,
    Visit, Visitor, With,
};

use super::statement_of;
use crate::error::Error;

/// Most tables and queries that a statement has once each name of WITH is replaced by its query.
const NODES_MAX: u64 = 10_000;
/// Deepest nesting of subqueries inside expressions.
const SUBQUERIES_MAX: usize = 12;
/// Most grouping sets of one query: those of a cube over 12 columns.
const GROUPING_SETS_MAX: u64 = 1 << 12;

/// That `parsed` can be planned at a bearable cost.
pub(crate) fn check(parsed: &Parsed) -> Result<(), Error> {
    let Some(statement) = statement_of(parsed) else {
        return Ok(());
    };
    let names = CteCosts::default();
    let mut parts = QueryParts::new(&names, 0);
    let refused = statement.visit(&mut parts);
    if let ControlFlow::Break(refusal) = refused {
        return Err(refusal);
    }
    within_budget(parts.nodes)
}

fn within_budget(nodes: u64) -> Result<(), Error> {
    if nodes > NODES_MAX {
        return Err(Error::PlanTooLarge { limit: NODES_MAX });
    }
    Ok(())
}

/// What the names of WITH that are in sight cost.
#[derive(Clone, Default)]
struct CteCosts(HashMap<String, u64>);

impl CteCosts {
    fn of(&self, name: &ObjectName) -> u64 {
        let [part] = name.0.as_slice() else {
            return 1;
        };
        let known = part.as_ident().and_then(|name| self.0.get(&folded(name)));
        known.copied().unwrap_or(1)
    }
}

/// A name as the planner compares it.
fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

fn cost_of_query(query: &Query, outer: &CteCosts, depth: usize) -> Result<u64, Error> {
    let mut names = outer.clone();
    if let Some(with) = &query.with {
        add_names(&mut names, with, depth)?;
    }
    let nodes = cost_of_body(&query.body, &names, depth)?;
    let mut parts = QueryParts::new(&names, depth);
    if let ControlFlow::Break(refusal) = query.order_by.visit(&mut parts) {
        return Err(refusal);
    }
    let nodes = nodes.saturating_add(parts.nodes).saturating_add(1);
    within_budget(nodes)?;
    Ok(nodes)
}

fn add_names(names: &mut CteCosts, with: &With, depth: usize) -> Result<(), Error> {
    for table in &with.cte_tables {
        let name = folded(&table.alias.name);
        if with.recursive {
            // Inside its own query it stands for the rows of the round before.
            names.0.insert(name.clone(), 1);
        }
        let cost = cost_of_query(&table.query, names, depth)?;
        names.0.insert(name, cost);
    }
    Ok(())
}

fn cost_of_body(body: &SetExpr, names: &CteCosts, depth: usize) -> Result<u64, Error> {
    match body {
        SetExpr::Select(select) => cost_of_select(select, names, depth),
        SetExpr::Query(query) => cost_of_query(query, names, depth),
        SetExpr::SetOperation { left, right, .. } => {
            let left = cost_of_body(left, names, depth)?;
            Ok(left.saturating_add(cost_of_body(right, names, depth)?))
        }
        other => {
            let mut parts = QueryParts::new(names, depth);
            match other.visit(&mut parts) {
                ControlFlow::Continue(()) => Ok(parts.nodes.saturating_add(1)),
                ControlFlow::Break(refusal) => Err(refusal),
            }
        }
    }
}

fn cost_of_select(select: &Select, names: &CteCosts, depth: usize) -> Result<u64, Error> {
    let sets = grouping_sets(&select.group_by);
    if sets > GROUPING_SETS_MAX {
        return Err(Error::GroupingSets {
            limit: GROUPING_SETS_MAX,
        });
    }
    let mut parts = QueryParts::new(names, depth);
    match select.visit(&mut parts) {
        ControlFlow::Continue(()) => Ok(parts.nodes.saturating_add(1)),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

/// Grouping sets of a GROUP BY: those of its parts, each with each.
fn grouping_sets(group_by: &GroupByExpr) -> u64 {
    let power = |columns: usize| {
        let columns = u32::try_from(columns).unwrap_or(u32::MAX);
        1_u64.checked_shl(columns).unwrap_or(u64::MAX)
    };
    let (columns, modifiers) = match group_by {
        GroupByExpr::All(modifiers) => (0, modifiers),
        GroupByExpr::Expressions(columns, modifiers) => (columns.len(), modifiers),
    };
    let parts = match group_by {
        GroupByExpr::All(_) => [].as_slice(),
        GroupByExpr::Expressions(parts, _) => parts.as_slice(),
    };
    let parts = parts.iter().map(|part| match part {
        Expr::Cube(columns) => power(columns.len()),
        Expr::Rollup(columns) => columns.len() as u64 + 1,
        Expr::GroupingSets(sets) => sets.len() as u64,
        _ => 1,
    });
    let modifiers = modifiers.iter().map(|modifier| match modifier {
        GroupByWithModifier::Cube => power(columns),
        GroupByWithModifier::Rollup => columns as u64 + 1,
        GroupByWithModifier::Totals => 2,
        GroupByWithModifier::GroupingSets(Expr::GroupingSets(sets)) => sets.len() as u64,
        GroupByWithModifier::GroupingSets(_) => 1,
    });
    parts.chain(modifiers).fold(1, u64::saturating_mul)
}

/// Adds up the tables and queries of one query, and has the queries inside it add up theirs.
struct QueryParts<'a> {
    names: &'a CteCosts,
    nodes: u64,
    /// Of subqueries inside expressions around this query.
    depth: usize,
    /// Of queries inside this one; what is below them is counted already.
    inside: usize,
    /// The next query stands in FROM.
    is_derived: bool,
}

impl<'a> QueryParts<'a> {
    fn new(names: &'a CteCosts, depth: usize) -> Self {
        Self {
            names,
            nodes: 0,
            depth,
            inside: 0,
            is_derived: true,
        }
    }

    fn add(&mut self, query: &Query) -> Result<(), Error> {
        let depth = self.depth + usize::from(!self.is_derived);
        if depth > SUBQUERIES_MAX {
            return Err(Error::SubqueriesTooDeep {
                limit: SUBQUERIES_MAX,
            });
        }
        let nodes = cost_of_query(query, self.names, depth)?;
        self.nodes = self.nodes.saturating_add(nodes);
        Ok(())
    }
}

impl Visitor for QueryParts<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
        if self.inside == 0
            && let Err(refusal) = self.add(query)
        {
            return ControlFlow::Break(refusal);
        }
        self.is_derived = false;
        self.inside += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<Error> {
        self.inside -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Error> {
        if self.inside == 0 {
            match factor {
                TableFactor::Table { name, .. } => {
                    self.nodes = self.nodes.saturating_add(self.names.of(name));
                }
                TableFactor::Derived { .. } => self.is_derived = true,
                _ => self.nodes = self.nodes.saturating_add(1),
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<Error> {
        if self.inside == 0 {
            self.is_derived = false;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use crate::sql::parse_one;

    fn check(text: &str) -> Result<(), String> {
        let statement = parse_one(text, "text").expect(text);
        super::check(&statement.parsed()).map_err(|refusal| refusal.to_string())
    }

    fn chain(names: usize, query: impl Fn(&str) -> String) -> String {
        let mut text = "WITH c0 AS (SELECT 1 AS x)".to_owned();
        for name in 1..=names {
            let before = format!("c{}", name - 1);
            text += &format!(", c{name} AS ({})", query(&before));
        }
        format!("{text} SELECT count(*) FROM c{names}")
    }

    #[test]
    fn names_that_multiply_are_refused() {
        let union = |name: &str| format!("SELECT x FROM {name} UNION ALL SELECT x FROM {name}");
        let join = |name: &str| format!("SELECT a.x FROM {name} a JOIN {name} b ON a.x = b.x");
        let nested = |name: &str| {
            format!("SELECT x FROM (SELECT x FROM {name}) t WHERE x IN (SELECT x FROM {name})")
        };
        let once = |name: &str| format!("SELECT x + 1 AS x FROM {name}");
        for query in [&union as &dyn Fn(&str) -> String, &join, &nested] {
            assert_eq!(check(&chain(8, query)), Ok(()));
            for names in [24, 40] {
                let refusal = check(&chain(names, query)).unwrap_err();
                assert!(
                    refusal.contains("WITH") && refusal.contains("10000"),
                    "{refusal}"
                );
            }
        }
        assert_eq!(check(&chain(60, once)), Ok(()));
        let quoted = chain(24, |name| union(name)).replace("c3", "\"C3\"");
        assert!(check(&quoted).is_err());
        let explained = format!("EXPLAIN {}", chain(24, union));
        assert!(check(&explained).is_err());
    }

    #[test]
    fn recursive_name_stands_for_one_table_inside_itself() {
        let text = "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 9) SELECT * FROM t";
        assert_eq!(check(text), Ok(()));
    }

    #[test]
    fn many_grouping_sets_are_refused() {
        let columns = |count: usize| {
            let columns: Vec<_> = (0..count).map(|column| format!("c{column}")).collect();
            columns.join(", ")
        };
        let group = |by: String| check(&format!("SELECT count(*) FROM t GROUP BY {by}"));
        assert_eq!(group(format!("CUBE ({})", columns(12))), Ok(()));
        for count in [13, 22, 40, 70] {
            let refusal = group(format!("CUBE ({})", columns(count))).unwrap_err();
            assert!(refusal.contains("4096"), "{refusal}");
        }
        assert_eq!(group(format!("ROLLUP ({})", columns(40))), Ok(()));
        assert!(group(format!("CUBE ({}), CUBE (a, b)", columns(11))).is_err());
        assert!(check(&format!(
            "SELECT * FROM (SELECT 1 FROM t WHERE x IN (SELECT count(*) FROM t GROUP BY CUBE ({}))) u",
            columns(20)
        ))
        .is_err());
    }

    #[test]
    fn subqueries_that_nest_deep_are_refused() {
        let nested = |levels: usize| {
            let open = "SELECT x FROM t WHERE x IN (".repeat(levels);
            format!("{open}SELECT x FROM t{}", ")".repeat(levels))
        };
        assert_eq!(check(&nested(12)), Ok(()));
        let refusal = check(&nested(15)).unwrap_err();
        assert!(refusal.contains("12"), "{refusal}");
        let derived = |levels: usize| {
            let open = "SELECT * FROM (".repeat(levels);
            format!("{open}SELECT 1{}", ") t".repeat(levels))
        };
        assert_eq!(check(&derived(15)), Ok(()));
    }
}
