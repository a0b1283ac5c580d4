//! Types of columns and parameters, by PostgreSQL's numbers (pg_type.dat of PostgreSQL 15).

use arrow_schema::{DataType, Field};
use pgwire::messages::data::FieldDescription;
use varve_model::schema::LogicalType;

use crate::output::column::{Column, ColumnType};

pub(super) const BOOL: u32 = 16;
pub(super) const BYTEA: u32 = 17;
pub(super) const CHAR: u32 = 18;
pub(super) const NAME: u32 = 19;
pub(super) const INT8: u32 = 20;
pub(super) const INT2: u32 = 21;
pub(super) const INT4: u32 = 23;
pub(super) const TEXT: u32 = 25;
pub(super) const OID: u32 = 26;
pub(super) const JSON: u32 = 114;
pub(super) const FLOAT4: u32 = 700;
pub(super) const FLOAT8: u32 = 701;
pub(super) const UNKNOWN: u32 = 705;
pub(super) const BPCHAR: u32 = 1042;
pub(super) const VARCHAR: u32 = 1043;
pub(super) const DATE: u32 = 1082;
pub(super) const TIMESTAMP: u32 = 1114;
pub(super) const TIMESTAMPTZ: u32 = 1184;
pub(super) const NUMERIC: u32 = 1700;
pub(super) const UUID: u32 = 2950;
pub(super) const JSONB: u32 = 3802;

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Binary,
}

impl Format {
    /// The format of item `at`: none given means text, one counts for all.
    pub(super) fn of(codes: &[i16], at: usize) -> Self {
        let code = if codes.len() == 1 { codes.first() } else { codes.get(at) };
        if code == Some(&1) { Self::Binary } else { Self::Text }
    }
}

/// The type number of a column.
pub(super) fn of_column(column: &Column) -> u32 {
    match column.kind {
        ColumnType::Null | ColumnType::Other => TEXT,
        ColumnType::Decimal { .. } => NUMERIC,
        ColumnType::Logical(logical) => match logical {
            LogicalType::Boolean => BOOL,
            LogicalType::Int8 | LogicalType::Int16 | LogicalType::UInt8 => INT2,
            LogicalType::Int32 | LogicalType::UInt16 => INT4,
            LogicalType::Int64 | LogicalType::UInt32 => INT8,
            LogicalType::UInt64 => NUMERIC,
            LogicalType::Float32 => FLOAT4,
            LogicalType::Float64 => FLOAT8,
            LogicalType::String => TEXT,
            LogicalType::Json => JSON,
            LogicalType::Binary => BYTEA,
            LogicalType::Date => DATE,
            LogicalType::Timestamp(_) if column.zoned => TIMESTAMPTZ,
            LogicalType::Timestamp(_) => TIMESTAMP,
        },
    }
}

/// The type number of a parameter that has this arrow type.
pub(super) fn of_parameter(data_type: &DataType) -> u32 {
    of_column(&Column::of(&Field::new("", data_type.clone(), true)))
}

/// Bytes of a value; -1 when they vary.
fn size(oid: u32) -> i16 {
    match oid {
        BOOL => 1,
        INT2 => 2,
        INT4 | FLOAT4 | DATE => 4,
        INT8 | FLOAT8 | TIMESTAMP | TIMESTAMPTZ => 8,
        _ => -1,
    }
}

/// The description of a column of an answer.
pub(super) fn description(column: &Column, format: Format) -> FieldDescription {
    let oid = of_column(column);
    let name = column.name.replace('\0', "\u{fffd}");
    FieldDescription::new(name, 0, 0, oid, size(oid), -1, i16::from(format == Format::Binary))
}
