//! `OVER (w ORDER BY x)`: a window that begins with a named one.
//!
//! The planner leaves the name out, and so the PARTITION BY of the window that has it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, NamedWindowDefinition, NamedWindowExpr, Query, Select, SetExpr, Statement,
    VisitMut, VisitorMut, WindowSpec, WindowType,
};

use super::names::normalized;
use super::refusals::Refusal;

/// Writes the named windows out where another begins with them.
pub(super) fn rewrite(statement: &mut Statement) -> Result<(), Refusal> {
    match statement.visit(&mut Windows) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

struct Windows;

impl VisitorMut for Windows {
    type Break = Refusal;

    /// Subqueries come first, so that the names that are left are those of this query.
    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Refusal> {
        let SetExpr::Select(select) = query.body.as_mut() else {
            return ControlFlow::Continue(());
        };
        let mut named = match NamedWindows::of(select) {
            Ok(named) => named,
            Err(refusal) => return ControlFlow::Break(refusal),
        };
        // `post_visit_select` has written out those of the SELECT.
        query.order_by.visit(&mut named)
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Refusal> {
        match NamedWindows::of(select) {
            Ok(mut named) => select.visit(&mut named),
            Err(refusal) => ControlFlow::Break(refusal),
        }
    }
}

/// The windows of one SELECT, in its order.
struct NamedWindows(Vec<(String, WindowSpec)>);

impl NamedWindows {
    fn of(select: &mut Select) -> Result<Self, Refusal> {
        let mut named = Self(Vec::new());
        for NamedWindowDefinition(name, window) in &mut select.named_window {
            let spec = match window {
                NamedWindowExpr::NamedWindow(other) => named.spec(other)?.clone(),
                NamedWindowExpr::WindowSpec(spec) => {
                    named.write_out(spec)?;
                    spec.clone()
                }
            };
            named.0.push((normalized(name), spec));
        }
        Ok(named)
    }

    fn spec(&self, name: &Ident) -> Result<&WindowSpec, Refusal> {
        let mut found = self.0.iter();
        let found = found.find(|(known, _)| *known == normalized(name));
        found.map(|(_, spec)| spec).ok_or_else(|| {
            (
                format!("no window is named {name}; name it behind WINDOW"),
                name.span,
            )
        })
    }

    fn write_out(&self, spec: &mut WindowSpec) -> Result<(), Refusal> {
        let Some(name) = spec.window_name.take() else {
            return Ok(());
        };
        let base = self.spec(&name)?;
        let again = if !spec.partition_by.is_empty() {
            Some("PARTITION BY")
        } else if !spec.order_by.is_empty() && !base.order_by.is_empty() {
            Some("ORDER BY")
        } else {
            None
        };
        if let Some(clause) = again {
            let message = format!(
                "a window that begins with {name} cannot have a {clause} of its own; write it out"
            );
            return Err((message, name.span));
        }
        if base.window_frame.is_some() {
            let message = format!(
                "no window can begin with {name}, which has a frame; write it out, or write OVER {name}"
            );
            return Err((message, name.span));
        }
        spec.partition_by.clone_from(&base.partition_by);
        if spec.order_by.is_empty() {
            spec.order_by.clone_from(&base.order_by);
        }
        Ok(())
    }
}

impl VisitorMut for NamedWindows {
    type Break = Refusal;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Refusal> {
        if let Expr::Function(call) = expr
            && let Some(WindowType::WindowSpec(spec)) = &mut call.over
            && let Err(refusal) = self.write_out(spec)
        {
            return ControlFlow::Break(refusal);
        }
        ControlFlow::Continue(())
    }
}
