//! What a client learns of a statement before it runs.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};

use crate::error::Error;
use crate::statements::parameters;

/// The columns and the parameters of a statement.
#[derive(Clone, Debug)]
pub struct Description {
    /// The columns of the result, as clients get them.
    pub columns: SchemaRef,
    /// The parameters without a value, ordered by number or by name.
    pub parameters: Schema,
    /// Time that this request for the statement and the earlier ones took.
    pub spent: Duration,
}

impl Description {
    /// Fails when a parameter has no value: such a statement cannot run.
    ///
    /// # Errors
    /// [`Error::UnboundParameters`].
    pub fn require_bound(&self) -> Result<(), Error> {
        parameters::require_bound(&self.parameters)
    }

    /// A number that is equal for equal names, types and nullability of columns.
    pub fn fingerprint(&self) -> u64 {
        fingerprint(&self.columns)
    }
}

/// The fingerprint of `columns`, see [`Description::fingerprint`].
pub(crate) fn fingerprint(columns: &Schema) -> u64 {
    let mut hasher = DefaultHasher::new();
    for field in columns.fields() {
        (field.name(), field.data_type(), field.is_nullable()).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn fingerprint_differs_for_other_columns() {
        let fingerprint = |data_type: DataType| {
            let columns = Schema::new(vec![Field::new("a", data_type, true)]);
            let description = Description {
                columns: Arc::new(columns),
                parameters: Schema::empty(),
                spent: Duration::ZERO,
            };
            description.fingerprint()
        };
        assert_eq!(fingerprint(DataType::Int64), fingerprint(DataType::Int64));
        assert_ne!(fingerprint(DataType::Int64), fingerprint(DataType::Int32));
    }
}
