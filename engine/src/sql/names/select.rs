//! The names of one SELECT: `*` is expanded, equal names get distinct ones, and every clause has
//! its scope.

use datafusion::sql::sqlparser::ast::{
    Distinct, ExcludeSelectItem, Expr, GroupByExpr, Ident, OrderBy, OrderByKind, Select,
    SelectItem, SelectItemQualifiedWildcardKind, Value, WildcardAdditionalOptions,
};

use super::scope::{From, Named, normalized, parts};
use super::{Failure, Resolver, ambiguous};

/// A column of the select list.
struct SelectColumn {
    /// Its name, unless the planner makes one of the expression.
    name: Option<String>,
    /// Whether the name has to be written as an alias.
    is_aliased: bool,
    expr: Expr,
}

impl Resolver<'_> {
    pub(super) fn select(
        &mut self,
        select: &mut Select,
        order_by: Option<&mut OrderBy>,
    ) -> Result<Vec<Named>, Failure> {
        if select.exclude.is_some() || !select.lateral_views.is_empty() {
            return Err(Failure::Unsupported);
        }
        let mut from = From::default();
        for table in &mut select.from {
            let next = self.table_with_joins(table, &from)?;
            from = from.beside(next);
        }
        self.scopes.push(from);
        let columns = self.clauses(select, order_by);
        self.scopes.pop();
        columns
    }

    fn clauses(
        &mut self,
        select: &mut Select,
        order_by: Option<&mut OrderBy>,
    ) -> Result<Vec<Named>, Failure> {
        self.expr(&mut select.selection)?;
        let mut items = vec![];
        for item in std::mem::take(&mut select.projection) {
            self.item(item, &mut items)?;
        }
        if let Some(Distinct::On(exprs)) = &mut select.distinct {
            self.expr(exprs)?;
        }
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            self.expr(exprs)?;
        }
        self.expr(&mut select.having)?;
        self.expr(&mut select.qualify)?;
        self.expr(&mut select.named_window)?;
        let hides = order_by.as_deref().is_some_and(is_by_expressions);
        let columns = self.columns(&items, hides);
        if let Some(order_by) = order_by {
            self.order_by(order_by, &items, &columns)?;
        }
        select.projection = written(items, &columns);
        Ok(columns)
    }

    fn item(&mut self, item: SelectItem, items: &mut Vec<SelectColumn>) -> Result<(), Failure> {
        match item {
            SelectItem::UnnamedExpr(mut expr) => {
                let name = match &expr {
                    Expr::Identifier(name) => Some(normalized(name)),
                    Expr::CompoundIdentifier(names) => names.last().map(normalized),
                    _ => None,
                };
                self.expr(&mut expr)?;
                let is_aliased = match &expr {
                    Expr::Identifier(found) => name.as_ref() != Some(&normalized(found)),
                    Expr::CompoundIdentifier(found) => name != found.last().map(normalized),
                    _ => name.is_some(),
                };
                items.push(SelectColumn {
                    name,
                    is_aliased,
                    expr,
                });
            }
            SelectItem::ExprWithAlias { mut expr, alias } => {
                self.expr(&mut expr)?;
                items.push(SelectColumn {
                    name: Some(normalized(&alias)),
                    is_aliased: true,
                    expr,
                });
            }
            SelectItem::Wildcard(options) => {
                let outputs = self.scope()?.outputs.clone();
                let outputs = outputs.into_iter().map(|output| (output.name, output.expr));
                self.star(outputs.collect(), options, items)?;
            }
            SelectItem::QualifiedWildcard(kind, options) => {
                let SelectItemQualifiedWildcardKind::ObjectName(name) = kind else {
                    return Err(Failure::Unsupported);
                };
                let qualifier = parts(&name).ok_or(Failure::Unsupported)?;
                let relation = self.scope()?.relation(&qualifier);
                let relation = relation.ok_or(Failure::Unsupported)?;
                let columns = relation.columns.iter().map(|column| {
                    let expr = super::scope::column_of(&relation.qualifier, &column.internal);
                    (column.visible.clone(), expr)
                });
                self.star(columns.collect(), options, items)?;
            }
            SelectItem::ExprWithAliases { .. } => return Err(Failure::Unsupported),
        }
        Ok(())
    }

    /// The FROM of this SELECT, when all its columns are known.
    fn scope(&self) -> Result<&From, Failure> {
        let scope = self.scopes.last().filter(|scope| !scope.is_open);
        scope.ok_or(Failure::Unsupported)
    }

    fn star(
        &mut self,
        columns: Vec<(String, Expr)>,
        options: WildcardAdditionalOptions,
        items: &mut Vec<SelectColumn>,
    ) -> Result<(), Failure> {
        let left_out = left_out(&options)?;
        let mut replaced = options.opt_replace.map_or(vec![], |replace| replace.items);
        for element in &mut replaced {
            self.expr(&mut element.expr)?;
        }
        for (name, expr) in columns {
            if left_out.contains(&name) {
                continue;
            }
            let is_replaced = |name: &str| {
                let mut replaced = replaced.iter();
                replaced.find(|element| normalized(&element.column_name) == name)
            };
            let expr = is_replaced(&name).map_or(expr, |element| element.expr.clone());
            let is_aliased = match &expr {
                Expr::CompoundIdentifier(names) => {
                    names.last().map(normalized) != Some(name.clone())
                }
                _ => true,
            };
            items.push(SelectColumn {
                name: Some(name),
                is_aliased,
                expr,
            });
        }
        Ok(())
    }

    /// The columns of `items`, with distinct names. Where ORDER BY has expressions, an alias that
    /// is the name of a column of the FROM as well would stand between them and that column.
    fn columns(&mut self, items: &[SelectColumn], hides: bool) -> Vec<Named> {
        let columns = items.iter().map(|item| {
            let Some(name) = &item.name else {
                // The planner may make one name of two expressions, of a column and its cast for
                // instance.
                let internal = self.give(None);
                return Named {
                    visible: item.expr.to_string(),
                    internal,
                };
            };
            let same = items
                .iter()
                .filter(|other| other.name.as_ref() == Some(name));
            let is_hidden = hides && item.is_aliased && self.is_in_scope(name);
            match same.count() {
                1 if !is_hidden => Named::plain(name.clone()),
                _ => Named {
                    visible: name.clone(),
                    internal: self.give(Some(name.clone())),
                },
            }
        });
        columns.collect()
    }

    fn is_in_scope(&self, name: &str) -> bool {
        let scope = self.scopes.last();
        scope.is_some_and(|scope| scope.outputs.iter().any(|output| output.name == name))
    }

    /// ORDER BY: a name is that of a column of the select list where there is one, else it is of
    /// the FROM.
    fn order_by(
        &mut self,
        order_by: &mut OrderBy,
        items: &[SelectColumn],
        columns: &[Named],
    ) -> Result<(), Failure> {
        let OrderByKind::Expressions(exprs) = &mut order_by.kind else {
            return Ok(());
        };
        for order in exprs {
            if let Some(place) = place(&order.expr)
                && let Some((column, item)) = columns.iter().zip(items).nth(place)
                && is_written_alias(item, column)
            {
                order.expr = Expr::Identifier(Ident::with_quote('"', &column.internal));
                continue;
            }
            if let Expr::Identifier(name) = &order.expr {
                let visible = normalized(name);
                let mut named = columns.iter().zip(items);
                let found =
                    named.find(|(column, item)| column.visible == visible && item.name.is_some());
                if let Some((first, item)) = found {
                    // Columns that are one expression are in the same order.
                    let mut others = columns.iter().zip(items);
                    let is_other = |(column, other): (&Named, &SelectColumn)| {
                        column.visible == visible && other.expr != item.expr
                    };
                    if others.any(is_other) {
                        return Err(ambiguous(name));
                    }
                    order.expr = Expr::Identifier(Ident::with_quote('"', &first.internal));
                    continue;
                }
            }
            self.expr(&mut order.expr)?;
        }
        Ok(())
    }
}

/// The column that a number in ORDER BY stands for, from 0.
fn place(expr: &Expr) -> Option<usize> {
    let Expr::Value(value) = expr else {
        return None;
    };
    let Value::Number(number, _) = &value.value else {
        return None;
    };
    number.to_string().parse::<usize>().ok()?.checked_sub(1)
}

fn is_by_expressions(order_by: &OrderBy) -> bool {
    let OrderByKind::Expressions(exprs) = &order_by.kind else {
        return false;
    };
    let mut exprs = exprs.iter();
    exprs.any(|order| !matches!(order.expr, Expr::Identifier(_) | Expr::Value(_)))
}

fn left_out(options: &WildcardAdditionalOptions) -> Result<Vec<String>, Failure> {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace: _,
        opt_rename,
        opt_alias,
    } = options;
    if opt_ilike.is_some() || opt_rename.is_some() || opt_alias.is_some() {
        return Err(Failure::Unsupported);
    }
    let mut names = vec![];
    match opt_exclude {
        Some(ExcludeSelectItem::Single(name)) => {
            names.extend(parts(name).and_then(|mut name| name.pop()))
        }
        Some(ExcludeSelectItem::Multiple(several)) => {
            let several = several.iter().filter_map(parts);
            names.extend(several.filter_map(|mut name| name.pop()));
        }
        None => {}
    }
    if let Some(except) = opt_except {
        names.push(normalized(&except.first_element));
        names.extend(except.additional_elements.iter().map(normalized));
    }
    Ok(names)
}

/// Whether the column has its name by an alias.
fn is_written_alias(item: &SelectColumn, column: &Named) -> bool {
    item.is_aliased || item.name.as_ref() != Some(&column.internal)
}

/// `items` with the names that the planner is to know them by.
fn written(items: Vec<SelectColumn>, columns: &[Named]) -> Vec<SelectItem> {
    let items = items.into_iter().zip(columns).map(|(item, column)| {
        if is_written_alias(&item, column) {
            SelectItem::ExprWithAlias {
                expr: item.expr,
                alias: Ident::with_quote('"', &column.internal),
            }
        } else {
            SelectItem::UnnamedExpr(item.expr)
        }
    });
    items.collect()
}
