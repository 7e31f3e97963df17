//! Late materialization: whether a scan decodes the columns of its filter first, and the others
//! only for the rows that pass.
//!
//! DataFusion enables row filters for a whole session or not at all. They pay when many or large
//! values need not be decoded; for a narrow scan of numbers they cost more than they save (TPC-H q6
//! takes twice as long with them).

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::Statistics;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::intervals::utils::check_support;
use datafusion::physical_expr::{AnalysisContext, PhysicalExpr, analyze};

/// From this many columns outside the filter, late materialization pays. With three, TPC-H q15,
/// whose filter passes one row of 26, takes half as long again as decoding all rows.
const COLUMNS_MIN: usize = 8;

/// A filter that passes a larger share of the rows saves too little.
const SHARE_MAX: f64 = 0.5;

/// Whether `predicate` passes most of the rows, estimated from the smallest and largest values of
/// its columns. False when the types, such as text, allow no estimate.
pub(super) fn keeps_most(
    predicate: &Arc<dyn PhysicalExpr>,
    columns: &SchemaRef,
    statistics: &Statistics,
) -> bool {
    if !check_support(predicate, columns) {
        return false;
    }
    let ends = AnalysisContext::try_from_statistics(columns, &statistics.column_statistics);
    let share = ends.and_then(|ends| analyze(predicate, ends, columns));
    share.is_ok_and(|kept| kept.selectivity.is_some_and(|share| share > SHARE_MAX))
}

/// Whether a scan of the columns `wanted` of `columns` should filter rows before it decodes the
/// rest.
pub(super) fn is_worth_it(columns: &Schema, wanted: &[usize], filters: &[Expr]) -> bool {
    // The dynamic filter of a hash join costs a lookup for each row, and often passes most of them.
    if filters.is_empty() {
        return false;
    }
    let filtered: HashSet<&str> = filters
        .iter()
        .flat_map(Expr::column_refs)
        .map(|column| column.name.as_str())
        .collect();
    let others = wanted.iter().map(|index| columns.field(*index));
    let others: Vec<&Field> = others
        .filter(|field| !filtered.contains(field.name().as_str()))
        .collect();
    others.len() >= COLUMNS_MIN || others.iter().any(|field| is_large(field))
}

/// Whether values have no fixed size.
fn is_large(field: &Field) -> bool {
    let data_type = field.data_type();
    data_type.is_string() || data_type.is_binary() || data_type.is_nested()
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use datafusion::logical_expr::{col, lit};

    use super::*;

    #[test]
    fn many_columns_or_a_text_beside_the_filter_are_worth_it() {
        let fields = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let fields = fields.map(|name| Field::new(name, DataType::Int64, true));
        let text = Field::new("text", DataType::Utf8, true);
        let columns = Schema::new(fields.into_iter().chain([text]).collect::<Vec<_>>());
        let check = |wanted: &[usize], filter: &str, expected: bool| {
            let filters = [col(filter).is_not_null(), lit(true)];
            assert_eq!(
                is_worth_it(&columns, wanted, &filters),
                expected,
                "{wanted:?}, {filter}"
            );
        };
        check(&[0, 1, 2, 3, 4, 5, 6, 7], "a", false);
        check(&[0, 1, 2, 3, 4, 5, 6, 7, 8], "a", true);
        check(&[1, 2, 3, 4, 5, 6, 7, 8], "a", true);
        check(&[0], "a", false);
        check(&[9], "text", false);
        check(&[0, 9], "text", false);
        check(&[0, 9], "a", true);
        assert!(!is_worth_it(&columns, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], &[]));
    }
}
