//! The types of SQL that the lake has, as drivers ask for them.

use arrow::datatypes::DataType;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode};

/// One row of the answer.
struct Type {
    name: &'static str,
    code: XdbcDataType,
    /// Digits of an exact number, bits of an approximate one, characters of anything else.
    size: Option<i32>,
    kind: Kind,
}

enum Kind {
    /// Base of its digits, and its largest scale.
    Number {
        radix: i32,
        scale_max: Option<i32>,
    },
    Text,
    Instant(XdbcDatetimeSubcode),
    Other,
}

const EXACT: Kind = Kind::Number {
    radix: 10,
    scale_max: Some(0),
};
const APPROXIMATE: Kind = Kind::Number {
    radix: 2,
    scale_max: None,
};
const DECIMAL: Kind = Kind::Number {
    radix: 10,
    scale_max: Some(38),
};
const TIMESTAMP: Kind = Kind::Instant(XdbcDatetimeSubcode::XdbcSubcodeTimestamp);

use XdbcDataType as X;

const TYPES: [Type; 13] = [
    Type {
        name: "BOOLEAN",
        code: X::XdbcBit,
        size: Some(1),
        kind: Kind::Other,
    },
    Type {
        name: "TINYINT",
        code: X::XdbcTinyint,
        size: Some(3),
        kind: EXACT,
    },
    Type {
        name: "SMALLINT",
        code: X::XdbcSmallint,
        size: Some(5),
        kind: EXACT,
    },
    Type {
        name: "INTEGER",
        code: X::XdbcInteger,
        size: Some(10),
        kind: EXACT,
    },
    Type {
        name: "BIGINT",
        code: X::XdbcBigint,
        size: Some(19),
        kind: EXACT,
    },
    Type {
        name: "REAL",
        code: X::XdbcReal,
        size: Some(24),
        kind: APPROXIMATE,
    },
    Type {
        name: "DOUBLE",
        code: X::XdbcDouble,
        size: Some(53),
        kind: APPROXIMATE,
    },
    Type {
        name: "DECIMAL",
        code: X::XdbcDecimal,
        size: Some(38),
        kind: DECIMAL,
    },
    Type {
        name: "VARCHAR",
        code: X::XdbcVarchar,
        size: None,
        kind: Kind::Text,
    },
    Type {
        name: "VARBINARY",
        code: X::XdbcVarbinary,
        size: None,
        kind: Kind::Other,
    },
    Type {
        name: "DATE",
        code: X::XdbcDate,
        size: Some(10),
        kind: Kind::Instant(XdbcDatetimeSubcode::XdbcSubcodeYear),
    },
    Type {
        name: "TIME",
        code: X::XdbcTime,
        size: Some(15),
        kind: Kind::Instant(XdbcDatetimeSubcode::XdbcSubcodeTime),
    },
    Type {
        name: "TIMESTAMP",
        code: X::XdbcTimestamp,
        size: Some(26),
        kind: TIMESTAMP,
    },
];

pub(crate) fn build() -> Result<XdbcTypeInfoData, FlightError> {
    let mut builder = XdbcTypeInfoDataBuilder::new();
    for row in TYPES {
        builder.append(row.described());
    }
    builder.build()
}

impl Type {
    fn described(self) -> XdbcTypeInfo {
        let is_text = matches!(self.kind, Kind::Text);
        let quote = matches!(self.kind, Kind::Text | Kind::Instant(_)).then(|| "'".to_owned());
        let (radix, scale_max) = match self.kind {
            Kind::Number { radix, scale_max } => (Some(radix), scale_max),
            _ => (None, None),
        };
        let (sql_data_type, datetime_subcode) = match self.kind {
            Kind::Instant(subcode) => (XdbcDataType::XdbcDatetime, Some(subcode)),
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

/// What SQL calls a type of Arrow.
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
    fn one_type_can_be_asked_for_alone() {
        let types = build().expect("types");
        let all = types.record_batch(None).expect("all");
        assert_eq!(all.num_rows(), TYPES.len());
        let bigint = i32::from(XdbcDataType::XdbcBigint);
        assert_eq!(types.record_batch(bigint).expect("one").num_rows(), 1);
        assert_eq!(types.record_batch(12_345).expect("none").num_rows(), 0);
    }

    #[test]
    fn columns_are_called_by_types_that_are_listed() {
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
