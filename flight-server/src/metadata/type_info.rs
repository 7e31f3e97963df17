//! The SQL types, as `CommandGetXdbcTypeInfo` lists them.

use arrow::datatypes::DataType;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode};

/// One row of the list.
struct SqlType {
    name: &'static str,
    code: XdbcDataType,
    /// Digits of an exact number, bits of an approximate one, characters of anything else.
    size: Option<i32>,
    kind: TypeKind,
}

enum TypeKind {
    /// The base of the digits, and the largest scale.
    Number {
        radix: i32,
        scale_max: Option<i32>,
    },
    Text,
    Instant(XdbcDatetimeSubcode),
    Other,
}

const EXACT: TypeKind = TypeKind::Number {
    radix: 10,
    scale_max: Some(0),
};
const APPROXIMATE: TypeKind = TypeKind::Number {
    radix: 2,
    scale_max: None,
};
const DECIMAL: TypeKind = TypeKind::Number {
    radix: 10,
    scale_max: Some(38),
};
const TIMESTAMP: TypeKind = TypeKind::Instant(XdbcDatetimeSubcode::XdbcSubcodeTimestamp);

use XdbcDataType as X;

const TYPES: [SqlType; 13] = [
    SqlType {
        name: "BOOLEAN",
        code: X::XdbcBit,
        size: Some(1),
        kind: TypeKind::Other,
    },
    SqlType {
        name: "TINYINT",
        code: X::XdbcTinyint,
        size: Some(3),
        kind: EXACT,
    },
    SqlType {
        name: "SMALLINT",
        code: X::XdbcSmallint,
        size: Some(5),
        kind: EXACT,
    },
    SqlType {
        name: "INTEGER",
        code: X::XdbcInteger,
        size: Some(10),
        kind: EXACT,
    },
    SqlType {
        name: "BIGINT",
        code: X::XdbcBigint,
        size: Some(19),
        kind: EXACT,
    },
    SqlType {
        name: "REAL",
        code: X::XdbcReal,
        size: Some(24),
        kind: APPROXIMATE,
    },
    SqlType {
        name: "DOUBLE",
        code: X::XdbcDouble,
        size: Some(53),
        kind: APPROXIMATE,
    },
    SqlType {
        name: "DECIMAL",
        code: X::XdbcDecimal,
        size: Some(38),
        kind: DECIMAL,
    },
    SqlType {
        name: "VARCHAR",
        code: X::XdbcVarchar,
        size: None,
        kind: TypeKind::Text,
    },
    SqlType {
        name: "VARBINARY",
        code: X::XdbcVarbinary,
        size: None,
        kind: TypeKind::Other,
    },
    SqlType {
        name: "DATE",
        code: X::XdbcDate,
        size: Some(10),
        kind: TypeKind::Instant(XdbcDatetimeSubcode::XdbcSubcodeYear),
    },
    SqlType {
        name: "TIME",
        code: X::XdbcTime,
        size: Some(15),
        kind: TypeKind::Instant(XdbcDatetimeSubcode::XdbcSubcodeTime),
    },
    SqlType {
        name: "TIMESTAMP",
        code: X::XdbcTimestamp,
        size: Some(26),
        kind: TIMESTAMP,
    },
];

pub(crate) fn build() -> Result<XdbcTypeInfoData, FlightError> {
    let mut builder = XdbcTypeInfoDataBuilder::new();
    for sql_type in TYPES {
        builder.append(sql_type.xdbc_info());
    }
    builder.build()
}

impl SqlType {
    fn xdbc_info(self) -> XdbcTypeInfo {
        let is_text = matches!(self.kind, TypeKind::Text);
        let quote =
            matches!(self.kind, TypeKind::Text | TypeKind::Instant(_)).then(|| "'".to_owned());
        let (radix, scale_max) = match self.kind {
            TypeKind::Number { radix, scale_max } => (Some(radix), scale_max),
            _ => (None, None),
        };
        let (sql_data_type, datetime_subcode) = match self.kind {
            TypeKind::Instant(subcode) => (XdbcDataType::XdbcDatetime, Some(subcode)),
            _ => (self.code, None),
        };
        XdbcTypeInfo {
            type_name: self.name.to_owned(),
            data_type: self.code,
            column_size: self.size,
            literal_prefix: quote.clone(),
            literal_suffix: quote,
            create_params: None,
            nullable: Nullable::NullabilityNullable,
            case_sensitive: is_text,
            searchable: if is_text {
                Searchable::Full
            } else {
                Searchable::Basic
            },
            unsigned_attribute: radix.map(|_| false),
            fixed_prec_scale: false,
            auto_increment: radix.map(|_| false),
            local_type_name: Some(self.name.to_owned()),
            minimum_scale: scale_max.map(|_| 0),
            maximum_scale: scale_max,
            sql_data_type,
            datetime_subcode,
            num_prec_radix: radix,
            interval_precision: None,
        }
    }
}

/// The SQL name of an Arrow type.
pub(crate) fn name_of(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 | DataType::UInt8 => "SMALLINT",
        DataType::Int32 | DataType::UInt16 => "INTEGER",
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "BIGINT",
        DataType::Float16 | DataType::Float32 => "REAL",
        DataType::Float64 => "DOUBLE",
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => "DECIMAL",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR",
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "VARBINARY",
        DataType::Date32 | DataType::Date64 => "DATE",
        DataType::Time32(_) | DataType::Time64(_) => "TIME",
        DataType::Timestamp(..) => "TIMESTAMP",
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => "ARRAY",
        DataType::Struct(_) => "STRUCT",
        DataType::Map(..) => "MAP",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn single_type_is_returned_alone() {
        let types = build().expect("types");
        let all = types.record_batch(None).expect("all");
        assert_eq!(all.num_rows(), TYPES.len());
        let bigint = i32::from(XdbcDataType::XdbcBigint);
        assert_eq!(types.record_batch(bigint).expect("one").num_rows(), 1);
        assert_eq!(types.record_batch(12_345).expect("none").num_rows(), 0);
    }

    #[test]
    fn names_of_column_types_are_listed() {
        for data_type in [
            DataType::Int64,
            DataType::Float64,
            DataType::Utf8,
            DataType::Date32,
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            DataType::Binary,
        ] {
            let name = name_of(&data_type);
            assert!(TYPES.iter().any(|known| known.name == name), "{name}");
        }
    }
}
