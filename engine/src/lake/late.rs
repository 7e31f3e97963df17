//! Whether a scan decodes the columns of its filter first, and the others only for the rows that are left.
//!
//! DataFusion's row filters are on or off for a whole session. They pay where many or large values are not decoded;
//! for a narrow scan of numbers they cost more than they save (TPC-H q6 takes twice as long with them).

use std::collections::HashSet;

use arrow::datatypes::{Field, Schema};
use datafusion::logical_expr::Expr;

/// So many columns beside those of the filter are worth it.
const COLUMNS_MIN: usize = 3;

/// Whether a scan of the columns `wanted` of `columns` filters rows before it decodes the rest.
pub(super) fn is_worth_it(columns: &Schema, wanted: &[usize], filters: &[Expr]) -> bool {
    // The filter that a hash join makes of its keys looks each row up, and often leaves most of them.
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
        let fields = [
            ("a", DataType::Int64),
            ("b", DataType::Int64),
            ("c", DataType::Float64),
        ];
        let more = [("d", DataType::Date32), ("text", DataType::Utf8)];
        let fields = fields.into_iter().chain(more);
        let fields = fields.map(|(name, data_type)| Field::new(name, data_type, true));
        let columns = Schema::new(fields.collect::<Vec<_>>());
        let check = |wanted: &[usize], filter: &str, expected: bool| {
            let filters = [col(filter).is_not_null(), lit(true)];
            assert_eq!(
                is_worth_it(&columns, wanted, &filters),
                expected,
                "{wanted:?}, {filter}"
            );
        };
        check(&[0, 1, 2], "a", false);
        check(&[0, 1, 2, 3], "a", true);
        check(&[1, 2, 3], "a", true);
        check(&[0], "a", false);
        check(&[4], "text", false);
        check(&[0, 4], "text", false);
        check(&[0, 4], "a", true);
        assert!(!is_worth_it(&columns, &[0, 1, 2, 3, 4], &[]));
    }
}
