//! Columns with capitals, which other writers create: an unquoted name is folded to lower case, and
//! matches none of them.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

/// The hint for a missing column, if one exists that differs by capitals only.
pub(super) fn quoted(error: &DataFusionError) -> Option<String> {
    let DataFusionError::SchemaError(error, _) = error.find_root() else {
        return None;
    };
    let SchemaError::FieldNotFound {
        field,
        valid_fields,
    } = error.as_ref()
    else {
        return None;
    };
    let asked = field.name.to_lowercase();
    let mut meant = valid_fields
        .iter()
        .filter(|known| known.name != field.name && known.name.to_lowercase() == asked);
    let meant = &meant.next()?.name;
    Some(format!(
        "did you mean \"{}\"? A name with capitals stands in quotes",
        meant.replace('"', "\"\"")
    ))
}

#[cfg(test)]
mod tests {
    use datafusion::common::{Column, SchemaError};
    use datafusion::error::DataFusionError;

    use super::quoted;

    #[test]
    fn hint_quotes_the_column_with_capitals() {
        let check = |asked: &str, known: &[&str], expected: Option<&str>| {
            let missing = SchemaError::FieldNotFound {
                field: Box::new(Column::from_name(asked)),
                valid_fields: known.iter().map(|name| Column::from_name(*name)).collect(),
            };
            let error = DataFusionError::SchemaError(Box::new(missing), Box::new(None));
            let found = quoted(&error.context("planning"));
            let expected = expected
                .map(|name| format!("did you mean {name}? A name with capitals stands in quotes"));
            assert_eq!(found, expected, "{asked}");
        };
        check("orderid", &["id", "OrderId"], Some("\"OrderId\""));
        check("größe", &["GRÖßE"], Some("\"GRÖßE\""));
        check("say", &["Say"], Some("\"Say\""));
        check("orderid", &["id", "order_id"], None);
    }
}
