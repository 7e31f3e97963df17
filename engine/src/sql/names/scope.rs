//! What names mean at one place of a statement: the relations of a FROM, and those of the queries
//! around it.

use datafusion::sql::sqlparser::ast::{Expr, Ident, ObjectName, ObjectNamePart};

/// A column of a relation: the name that a statement calls it by, and the one that it has for the
/// planner.
///
/// They differ where a query has two columns of one name: the planner refuses those, so each gets a
/// name of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) visible: String,
    pub(super) internal: String,
}

impl Named {
    pub(super) fn plain(name: String) -> Self {
        Self {
            internal: name.clone(),
            visible: name,
        }
    }
}

/// A table or subquery of a FROM.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    /// Catalog, schema and table as far as they are written, or the alias; empty where there is
    /// none.
    pub(super) qualifier: Vec<String>,
    pub(super) columns: Vec<Named>,
}

/// A column of `*`: its name, and what it is computed by.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub(super) name: String,
    pub(super) expr: Expr,
}

/// The rows of a FROM.
#[derive(Clone, Debug, Default)]
pub(super) struct From {
    pub(super) relations: Vec<Relation>,
    /// The columns of `*`, in order.
    pub(super) outputs: Vec<Output>,
    /// Whether it has a relation whose columns are not known, such as a table function.
    pub(super) is_open: bool,
}

/// What a name stands for.
#[derive(Debug)]
pub(super) enum Meaning {
    Column(Box<Expr>),
    /// Several columns have this name.
    Ambiguous,
    /// None that is known.
    Unknown,
}

impl From {
    pub(super) fn of(relation: Relation) -> Self {
        let outputs = relation.columns.iter().map(|column| Output {
            name: column.visible.clone(),
            expr: column_of(&relation.qualifier, &column.internal),
        });
        Self {
            outputs: outputs.collect(),
            relations: vec![relation],
            is_open: false,
        }
    }

    pub(super) fn open() -> Self {
        Self {
            is_open: true,
            ..Self::default()
        }
    }

    /// Both side by side, as in a cross join.
    pub(super) fn beside(mut self, other: Self) -> Self {
        self.relations.extend(other.relations);
        self.outputs.extend(other.outputs);
        self.is_open |= other.is_open;
        self
    }

    /// What `name` without a qualifier means.
    pub(super) fn unqualified(&self, name: &str) -> Meaning {
        let mut found = self.outputs.iter().filter(|output| output.name == name);
        match (found.next(), found.next()) {
            (Some(output), None) => Meaning::Column(Box::new(output.expr.clone())),
            (Some(_), Some(_)) => Meaning::Ambiguous,
            (None, _) => Meaning::Unknown,
        }
    }

    /// What the column `name` of `qualifier` means.
    pub(super) fn qualified(&self, qualifier: &[String], name: &str) -> Meaning {
        let Some(relation) = self.relation(qualifier) else {
            return Meaning::Unknown;
        };
        let mut found = relation.columns.iter();
        let mut found = found.by_ref().filter(|column| column.visible == name);
        match (found.next(), found.next()) {
            (Some(column), None) => {
                Meaning::Column(Box::new(column_of(&relation.qualifier, &column.internal)))
            }
            (Some(_), Some(_)) => Meaning::Ambiguous,
            (None, _) => Meaning::Unknown,
        }
    }

    /// The relation that `qualifier` names: its last parts are those of the relation.
    pub(super) fn relation(&self, qualifier: &[String]) -> Option<&Relation> {
        self.relations.iter().find(|relation| {
            !qualifier.is_empty()
                && (relation.qualifier.ends_with(qualifier)
                    || (!relation.qualifier.is_empty() && qualifier.ends_with(&relation.qualifier)))
        })
    }
}

/// A reference to a column, quoted so that its case is kept.
pub(super) fn column_of(qualifier: &[String], name: &str) -> Expr {
    let quoted = |part: &str| Ident::with_quote('"', part);
    if qualifier.is_empty() {
        return Expr::Identifier(quoted(name));
    }
    let parts = qualifier.iter().map(|part| quoted(part));
    Expr::CompoundIdentifier(parts.chain([quoted(name)]).collect())
}

/// An identifier as the planner reads it: lower case unless it is quoted.
pub(in crate::sql) fn normalized(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

pub(super) fn parts(name: &ObjectName) -> Option<Vec<String>> {
    let part = |part: &ObjectNamePart| part.as_ident().map(normalized);
    name.0.iter().map(part).collect()
}
